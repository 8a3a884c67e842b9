#include "execd/proc/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "execd/proc/pidref.h"
#include "proto/base/fd.h"
#include "proto/base/ids.h"

/* Fewer values than this make a chance meeting of two tags thinkable. */
#define TAG_LIMIT_MIN (UINT64_C(1) << 40)
#define TAG_LIMIT_MAX (UINT64_C(1) << 62)

/* How far a tag is below the one of its parent, at most: generations never come to an end. */
#define TAG_STEP (UINT64_C(1) << 32)

struct proc_stat {
    pid_t pid, ppid, session;
    char state;
};

/* Drawn, not counted: other execds on this machine, or inside one of our own commands, draw from the same numbers.
 * The upper half only, so that a nested one, whose limit our tag is, still has plenty. */
uint64_t tree_new_tag(void)
{
    struct rlimit limit;
    uint64_t drawn;
    if (getrlimit(RLIMIT_LOCKS, &limit) < 0 || limit.rlim_max < TAG_LIMIT_MIN)
        return TREE_NO_TAG;
    /* Below RLIM_INFINITY, which every untagged process has. */
    uint64_t half = MIN((uint64_t)limit.rlim_max, TAG_LIMIT_MAX) / 2;
    ids_random(&drawn, sizeof(drawn));
    return half + drawn % half;
}

uint64_t tree_new_tag_below(uint64_t tag)
{
    uint64_t drawn;
    if (tag <= TAG_STEP)
        return TREE_NO_TAG;
    ids_random(&drawn, sizeof(drawn));
    return tag - 1 - drawn % TAG_STEP;
}

/* ---- reading /proc ---- */

static int read_proc(pid_t pid, const char *file, char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
    ssize_t len = fd_slurp_at(AT_FDCWD, path, buf, size);
    return len < 0 ? (int)len : 0;
}

/* "pid (comm) S ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime ...": comm may hold
 * anything, so the fields are counted from its last parenthesis. */
static int read_stat(pid_t pid, struct proc_stat *ret_stat)
{
    char buf[1024];
    int result = read_proc(pid, "stat", buf, sizeof(buf));
    if (result < 0)
        return result;
    const char *p = strrchr(buf, ')');
    struct proc_stat s = {.pid = pid};
    if (p == NULL || sscanf(p + 1, " %c %d %*d %d", &s.state, &s.ppid, &s.session) != 3)
        return -EPROTO;
    *ret_stat = s;
    return 0;
}

static bool is_alive(const struct proc_stat *s)
{
    return s->state != 'Z' && s->state != 'X';
}

/* The line "Max file locks            <soft>  <hard>  locks". */
static bool has_tag(pid_t pid, uint64_t tag)
{
    static const char label[] = "Max file locks";
    char buf[4096];
    if (tag == TREE_NO_TAG || read_proc(pid, "limits", buf, sizeof(buf)) < 0)
        return false;
    const char *line = strstr(buf, label);
    return line != NULL && strtoull(line + sizeof(label) - 1, NULL, 10) == tag;
}

typedef void (*visit_fn)(pid_t pid, void *arg);

static int each_process(visit_fn visit, void *arg)
{
    DIR *dir = opendir("/proc");
    if (dir == NULL)
        return -errno;
    bool found_self = false;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char *end;
        long pid = strtol(entry->d_name, &end, 10);
        if (*end != '\0' || pid <= 0)
            continue;
        if (pid == getpid())
            found_self = true;
        else
            visit((pid_t)pid, arg);
    }
    closedir(dir);
    /* An empty folder, or the /proc of another pid namespace. */
    return found_self ? 0 : -ENOENT;
}

/* ---- tagged processes ---- */

struct tag_scan {
    uint64_t tag;
    pid_t session;
    int signum;
    const struct pid_list *spared;
    int n;
};

static bool belongs(const struct proc_stat *s, const struct tag_scan *scan)
{
    return is_alive(s) &&
           ((scan->session != 0 && s->session == scan->session) || has_tag(s->pid, scan->tag));
}

static void visit_tagged(pid_t pid, void *arg)
{
    struct tag_scan *scan = arg;
    struct proc_stat s;
    if (pid_list_has(scan->spared, pid) || read_stat(pid, &s) < 0 || !belongs(&s, scan))
        return;
    if (scan->signum == 0) {
        scan->n++;
        return;
    }
    struct pidref ref;
    /* Read again: now the number cannot change hands any more. */
    if (pidref_open(&ref, pid) == 0 && read_stat(pid, &s) == 0 && belongs(&s, scan) &&
        pidref_signal(&ref, scan->signum) == 0)
        scan->n++;
    pidref_done(&ref);
}

int tree_signal_tagged(uint64_t tag, pid_t session, int signum, const struct pid_list *spared)
{
    struct tag_scan scan = {.tag = tag, .session = session, .signum = signum, .spared = spared};
    int result = each_process(visit_tagged, &scan);
    return result < 0 ? result : scan.n;
}

/* ---- everything below us ---- */

struct all_scan {
    struct proc_stat *list; /* owned */
    size_t n, cap;
};

static void visit_any(pid_t pid, void *arg)
{
    struct all_scan *scan = arg;
    if (scan->n == scan->cap) {
        size_t cap = scan->cap == 0 ? 64 : scan->cap * 2;
        struct proc_stat *list = reallocarray(scan->list, cap, sizeof(*list));
        if (list == NULL)
            return; /* these are found by the next round */
        scan->list = list;
        scan->cap = cap;
    }
    if (read_stat(pid, &scan->list[scan->n]) == 0)
        scan->n++;
}

static int by_pid(const void *a, const void *b)
{
    const struct proc_stat *x = a, *y = b;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

/* Follows parents upwards; the table may change under us, so the way is bounded. */
static bool is_below_us(const struct all_scan *scan, const struct proc_stat *s)
{
    for (int depth = 0; s != NULL && depth < 1000; depth++) {
        if (s->ppid == getpid())
            return true;
        struct proc_stat key = {.pid = s->ppid};
        s = bsearch(&key, scan->list, scan->n, sizeof(key), by_pid);
    }
    return false;
}

static int signal_below(const struct all_scan *scan, int signum)
{
    int n = 0;
    for (size_t i = 0; i < scan->n; i++) {
        const struct proc_stat *s = &scan->list[i];
        if (!is_alive(s) || !is_below_us(scan, s))
            continue;
        struct pidref ref;
        struct proc_stat again;
        bool same = pidref_open(&ref, s->pid) == 0 && read_stat(s->pid, &again) == 0 &&
                    again.ppid == s->ppid;
        if (same && (signum == 0 || pidref_signal(&ref, signum) == 0))
            n++;
        pidref_done(&ref);
    }
    return n;
}

int tree_signal_all(int signum)
{
    struct all_scan scan = {0};
    int result = each_process(visit_any, &scan);
    if (getpid() == 1) {
        int n = 0;
        for (size_t i = 0; i < scan.n; i++)
            n += is_alive(&scan.list[i]);
        if (signum != 0)
            (void)kill(-1, signum); /* everything but us; ESRCH when there is nothing */
        result = result < 0 ? result : n;
    } else if (result == 0) {
        if (scan.n > 0)
            qsort(scan.list, scan.n, sizeof(*scan.list), by_pid);
        result = signal_below(&scan, signum);
    }
    free(scan.list);
    return result;
}
