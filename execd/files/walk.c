#include "execd/files/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "execd/files/names.h"
#include "proto/base/cleanup.h"
#include "proto/base/mem.h"
#include "proto/base/path.h"

#define GETDENTS_SIZE (32 * 1024)
#define BATCH_MIN (8U * 1024) /* names of one level, whatever the others took */

/*
 * One directory on the way. Its names are taken in batches: a batch holds the lowest names above `after`, and where
 * `more` is set, reading the directory again gives the next one.
 *
 *   reading (batch) → names one by one → [more: reading the next batch] → left
 */
struct level {
    struct names batch;
    size_t next;     /* in the batch */
    size_t path_len; /* of w->path while in this directory */
    bool reading;
    char *after; /* owned; the last name of the batch before; NULL in the first */
};

struct walk {
    int root_fd; /* owned */
    int dir_fd;  /* owned; the directory of the top level; -1: to be opened */
    char path[PATH_MAX];
    struct level *levels; /* owned, WALK_DEPTH_MAX */
    size_t n_levels;
    size_t names_bytes; /* of all batches below the top */
    char *dents;        /* owned, GETDENTS_SIZE */
    bool enter;         /* the entry reported last is a directory: go into it */
    bool cut, lacks_memory;
};

static struct level *top(struct walk *w)
{
    return &w->levels[w->n_levels - 1];
}

static void close_dir(struct walk *w)
{
    guard_fd(&w->dir_fd);
    w->dir_fd = -1;
}

static void leave(struct walk *w)
{
    struct level *level = top(w);

    names_done(&level->batch);
    free(level->after);
    close_dir(w);
    w->n_levels--;
    if (w->n_levels > 0)
        w->names_bytes -= names_bytes(&top(w)->batch);
}

static void begin_batch(struct walk *w, struct level *level)
{
    size_t left = w->names_bytes < WALK_NAMES_MAX ? WALK_NAMES_MAX - w->names_bytes : 0;

    names_init(&level->batch, MAX(left / 2, BATCH_MIN));
    level->next = 0;
    level->reading = true;
}

/* Takes dir_fd over. */
static void push(struct walk *w, int dir_fd, size_t path_len)
{
    if (w->n_levels > 0)
        w->names_bytes += names_bytes(&top(w)->batch);
    close_dir(w);
    w->dir_fd = dir_fd;
    struct level *level = &w->levels[w->n_levels++];
    *level = (struct level){.path_len = path_len};
    begin_batch(w, level);
}

static void enter(struct walk *w)
{
    int fd;

    w->enter = false;
    if (w->n_levels == WALK_DEPTH_MAX) {
        w->cut = true;
        return;
    }
    /* O_NONBLOCK: a FIFO may have taken the name meanwhile; O_DIRECTORY then refuses it at once. */
    fd = openat(w->dir_fd, path_basename(w->path),
                O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0)
        push(w, fd, strlen(w->path));
}

int walk_new(const char *root, struct walk **ret_walk)
{
    struct walk *w = xnew(struct walk);

    w->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    w->dir_fd = -1;
    int rc = w->root_fd < 0 ? -errno : 0;
    w->levels = malloc(WALK_DEPTH_MAX * sizeof(*w->levels));
    w->dents = malloc(GETDENTS_SIZE);
    if (rc == 0 && (w->levels == NULL || w->dents == NULL))
        rc = -ENOMEM;
    int fd = rc == 0 ? openat(w->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (rc == 0 && fd < 0)
        rc = -errno;
    if (rc < 0) {
        walk_free(w);
        return rc;
    }
    push(w, fd, 0);
    *ret_walk = w;
    return 0;
}

void walk_free(struct walk *w)
{
    if (w == NULL)
        return;
    while (w->n_levels > 0)
        leave(w);
    close_dir(w);
    guard_fd(&w->root_fd);
    free(w->levels);
    free(w->dents);
    free(w);
}

static void take_name(struct walk *w, struct level *level, const struct dirent64 *entry)
{
    const char *name = entry->d_name;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return;
    if (level->after != NULL && strcmp(name, level->after) <= 0)
        return;
    int rc = names_add(&level->batch, entry->d_type, name);
    w->cut |= rc < 0;
    w->lacks_memory |= rc == -ENOMEM;
}

/* One piece of the directory into the batch. An error ends it: what was read so far counts. */
static void read_piece(struct walk *w, struct level *level)
{
    ssize_t n = getdents64(w->dir_fd, w->dents, GETDENTS_SIZE);

    for (ssize_t at = 0; at < n;) {
        const struct dirent64 *entry = (const void *)(w->dents + at);
        take_name(w, level, entry);
        at += entry->d_reclen;
    }
    if (n <= 0) {
        names_sort(&level->batch);
        level->reading = false;
    }
}

/* The parent may have been left for a subdirectory: back by its path, and out of it when it is gone. */
static bool open_top(struct walk *w)
{
    if (w->dir_fd >= 0)
        return true;
    w->path[top(w)->path_len] = '\0';
    int fd = path_open_beneath(w->root_fd, w->path[0] != '\0' ? w->path : ".",
                               O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    if (fd < 0)
        return false;
    w->dir_fd = fd;
    return true;
}

static bool next_batch(struct walk *w, struct level *level)
{
    if (!level->batch.dropped || level->batch.n == 0)
        return false;
    free(level->after);
    level->after = xstrdup(names_at(&level->batch, level->batch.n - 1));
    names_done(&level->batch);
    begin_batch(w, level);
    return lseek(w->dir_fd, 0, SEEK_SET) == 0;
}

static bool set_path(struct walk *w, const struct level *level, const char *name)
{
    size_t at = level->path_len, len = strlen(name);

    if (at + 1 + len >= sizeof(w->path)) {
        w->cut = true;
        return false;
    }
    if (at > 0)
        w->path[at++] = '/';
    memcpy(w->path + at, name, len + 1);
    return true;
}

static unsigned char type_of(int dir_fd, const char *name, unsigned char told)
{
    struct stat st;

    if (told != DT_UNKNOWN)
        return told;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return DT_UNKNOWN;
    return (unsigned char)IFTODT(st.st_mode);
}

/* False: the name is left out. */
static bool report(struct walk *w, struct level *level, struct walk_entry *ret_entry)
{
    size_t i = level->next++;
    const char *name = names_at(&level->batch, i);
    unsigned char type = type_of(w->dir_fd, name, names_tag(&level->batch, i));

    if (type == DT_UNKNOWN || !set_path(w, level, name))
        return false;
    w->enter = type == DT_DIR;
    *ret_entry = (struct walk_entry){
        .path = w->path, .name = path_basename(w->path), .dir_fd = w->dir_fd, .type = type};
    return true;
}

enum walk_result walk_next(struct walk *w, struct walk_entry *ret_entry)
{
    if (w->enter)
        enter(w);
    while (w->n_levels > 0) {
        struct level *level = top(w);
        if (!open_top(w)) {
            leave(w);
            continue;
        }
        if (level->reading) {
            read_piece(w, level);
            return WALK_WORKING;
        }
        if (level->next == level->batch.n) {
            if (!next_batch(w, level))
                leave(w);
            continue;
        }
        if (report(w, level, ret_entry))
            return WALK_ENTRY;
    }
    return WALK_END;
}

void walk_skip(struct walk *w)
{
    w->enter = false;
}

bool walk_is_cut(const struct walk *w)
{
    return w->cut;
}

bool walk_lacks_memory(const struct walk *w)
{
    return w->lacks_memory;
}
