#include "execd/ports/holders.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/fd.h"

struct search {
    struct port_list *list;
    size_t missing; /* entries without a holder */
    unsigned left;  /* descriptors that may still be looked at */
};

static bool inode_of(int fds, const char *name, uint64_t *ret_inode)
{
    char target[64];
    ssize_t n = readlinkat(fds, name, target, sizeof(target) - 1);
    unsigned long long inode;

    if (n <= 0)
        return false;
    target[n] = '\0';
    if (sscanf(target, "socket:[%llu]", &inode) != 1)
        return false;
    *ret_inode = inode;
    return true;
}

static void give(struct search *s, uint64_t inode, pid_t pid, const char *comm)
{
    for (size_t i = 0; i < s->list->n; i++) {
        struct port_entry *e = &s->list->items[i];

        if (e->inode != inode || e->pid != 0)
            continue;
        e->pid = pid;
        memcpy(e->comm, comm, strlen(comm) + 1);
        s->missing--;
    }
}

static void look_into(struct search *s, int proc, const char *pid)
{
    char path[300], comm[32] = ""; /* a name is at most 255 bytes */
    const struct dirent *entry;
    uint64_t inode;

    (void)snprintf(path, sizeof(path), "%s/fd", pid); /* it fits */
    int fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *fds = fd >= 0 ? fdopendir(fd) : NULL;
    if (fds == NULL) {
        if (fd >= 0)
            close(fd);
        return; /* gone, or not ours to look into */
    }
    (void)snprintf(path, sizeof(path), "%s/comm", pid); /* it fits */
    if (fd_slurp_at(proc, path, comm, sizeof(comm)) < 0)
        comm[0] = '\0';
    comm[MIN(strcspn(comm, "\n"), sizeof(s->list->items[0].comm) - 1)] = '\0';
    while (s->missing > 0 && s->left > 0 && (entry = readdir(fds)) != NULL) {
        s->left--;
        if (inode_of(fd, entry->d_name, &inode))
            give(s, inode, (pid_t)strtol(pid, NULL, 10), comm);
    }
    closedir(fds);
}

void holders_find(struct port_list *list)
{
    struct search s = {.list = list, .missing = list->n, .left = PORTS_FDS_MAX};
    DIR *proc = list->n > 0 ? opendir("/proc") : NULL;
    const struct dirent *entry;

    if (proc == NULL)
        return;
    while (s.missing > 0 && s.left > 0 && (entry = readdir(proc)) != NULL) {
        s.left--;
        if (isdigit((unsigned char)entry->d_name[0]))
            look_into(&s, dirfd(proc), entry->d_name);
    }
    if (s.left == 0)
        list->truncated = true;
    closedir(proc);
}
