#include "execd/proc/leaf.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/proc/leaf_priv.h"
#include "execd/proc/tree.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

#define INIT_GROUP "init"
#define WORK_GROUP "work"
#define PROCS_MAX (256U << 10) /* bytes of one cgroup.procs that are looked at per call */
#define KILL_BUDGET_MS 3
#define BATCH 256
#define RETRIES 4 /* condemned leaves that are tried with a new one */

struct leaf {
    char *name; /* owned */
    bool has_group;
    struct cgroup_dirs dirs;     /* owned */
    int joins[PLAN_CGROUPS_MAX]; /* owned */
    size_t n_joins;
    uint64_t tag; /* TREE_NO_TAG with a group */
    pid_t leader;
    uint64_t oom_kills; /* as last read */
    TAILQ_ENTRY(leaf) in_condemned;
};

static struct {
    struct cgroup_dirs root; /* the sandbox's own */
    struct cgroup_dirs work; /* parent of the leaves; all -1 without groups */
    bool has_work;
    char mode[96];
    uint64_t oom_kills;           /* of all leaves, as far as read */
    TAILQ_HEAD(, leaf) condemned; /* freed by their users, whose groups could not be removed yet */
} leaves;

/* ---- what this container gives ---- */

static bool has_any(const struct cgroup_dirs *d)
{
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++)
        if (d->fd[c] >= 0)
            return true;
    return false;
}

static const char *version_of(const struct cgroup_dirs *d)
{
    bool v1 = false, v2 = false;
    for (int c = 0; c < CGROUP_UNIFIED; c++) {
        v1 = v1 || (d->fd[c] >= 0 && !d->v2[c]);
        v2 = v2 || (d->fd[c] >= 0 && d->v2[c]);
    }
    if (v1 && (v2 || d->fd[CGROUP_UNIFIED] >= 0))
        return "cgroup hybrid";
    return v1 ? "cgroup v1" : "cgroup v2";
}

/* Is fd[c] the same directory as an earlier controller's? Then it needs no join of its own. */
static bool is_repeated(const struct cgroup_dirs *d, int c)
{
    struct stat mine, other;
    if (fstat(d->fd[c], &mine) < 0)
        return true;
    for (int i = 0; i < c; i++)
        if (d->fd[i] >= 0 && fstat(d->fd[i], &other) == 0 && other.st_dev == mine.st_dev &&
            other.st_ino == mine.st_ino)
            return true;
    return false;
}

/* Joining through v1's tasks moves one thread and skips the lock over all forks of the machine that cgroup.procs
 * takes: 15 us instead of 6 to 19 ms when nobody has moved for a while (measured on 6.18; the kernel waits for an
 * RCU grace period). Whoever joins has one thread: a child before exec, or we before anything else. */
static const char *join_file(const struct cgroup_dirs *d, int c)
{
    return d->v2[c] ? "cgroup.procs" : "tasks";
}

static int join_self(const struct cgroup_dirs *d, struct err *err)
{
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (d->fd[c] < 0 || is_repeated(d, c))
            continue;
        int result = cgroup_write(d->fd[c], join_file(d, c), "0");
        if (result < 0)
            return err_sys(err, 0, -result, "move to cgroup '" INIT_GROUP "'");
    }
    return 0;
}

/* cgroup2: controllers reach the children only when the parent says so. Those that are missing are not there. */
static void enable_controllers(const struct cgroup_dirs *d)
{
    static const char *const wanted[] = {"+cpu", "+memory", "+pids", "+io"};
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (d->fd[c] < 0 || !d->v2[c] || is_repeated(d, c))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
            (void)!cgroup_write(d->fd[c], "cgroup.subtree_control", wanted[i]);
    }
}

uint64_t leaf_reserve(uint64_t limit, uint64_t reserve)
{
    /* Of small limits an eighth. Limits beyond 2^60 are the kernel's way to say "none". */
    if (limit == 0 || limit >= UINT64_C(1) << 60)
        return 0;
    return limit - MIN(reserve, limit / 8);
}

/* The workload may use a little less than the sandbox has: what is left keeps PID 1 going (hardening M21). */
static void limit_work(int from, int to, const char *file, uint64_t reserve)
{
    uint64_t limit;
    char text[32];
    if (from < 0 || to < 0 || cgroup_read_u64(from, file, &limit) < 0)
        return;
    uint64_t lowered = leaf_reserve(limit, reserve);
    if (lowered == 0)
        return;
    snprintf(text, sizeof(text), "%llu", (unsigned long long)lowered);
    int result = cgroup_write(to, file, text);
    if (result < 0)
        log_event(LOG_LEVEL_DEBUG, "leaf", "no reserve for PID 1", "file", file, "error",
                  err_name(-result), NULL);
}

static int make_groups(struct err *err)
{
    struct cgroup_dirs init, *root = &leaves.root, *work = &leaves.work;
    int result = cgroup_dirs_make_child(root, INIT_GROUP, &init, err);
    if (result < 0)
        return result;
    result = join_self(&init, err);
    cgroup_dirs_done(&init);
    if (result < 0)
        return result;
    enable_controllers(root);
    if ((result = cgroup_dirs_make_child(root, WORK_GROUP, work, err)) < 0)
        return result;
    enable_controllers(work);
    bool memory_v2 = root->v2[CGROUP_MEMORY];
    limit_work(root->fd[CGROUP_MEMORY], work->fd[CGROUP_MEMORY],
               memory_v2 ? "memory.max" : "memory.limit_in_bytes", LEAF_MEMORY_RESERVE);
    limit_work(root->fd[CGROUP_PIDS], work->fd[CGROUP_PIDS], "pids.max", LEAF_PIDS_RESERVE);
    return 0;
}

/* Are we alone in the group that we were started in? Only then is it a container's own and ours to rearrange: a
 * group that is shared (with the host, in the worst case) is left as it is. Processes outside our pid namespace
 * are not listed on v1 and are 0 on v2, so v1 asks the pids counter; a root group has none. */
static bool is_exclusive(const struct cgroup_dirs *d)
{
    char procs[64];
    uint64_t count;
    if (getpid() != 1)
        return false;
    if (d->fd[CGROUP_PIDS] >= 0)
        return cgroup_read_u64(d->fd[CGROUP_PIDS], "pids.current", &count) == 0 && count == 1;
    return d->fd[CGROUP_UNIFIED] >= 0 &&
           fd_slurp_at(d->fd[CGROUP_UNIFIED], "cgroup.procs", procs, sizeof(procs)) > 0 &&
           strcmp(procs, "1\n") == 0;
}

static void set_mode(const char *first, const char *second)
{
    snprintf(leaves.mode, sizeof(leaves.mode), "%s%s", first, second);
}

static void try_groups(bool was_handed)
{
    struct err err = {.errnum = 0};
    if (make_groups(&err) == 0) {
        leaves.has_work = true;
        set_mode(was_handed ? "handed " : "own ", version_of(&leaves.root));
        return;
    }
    cgroup_dirs_done(&leaves.work);
    set_mode("none: ", err.errnum == EROFS ? "read-only cgroup" : err_name(err.errnum));
    log_event(LOG_LEVEL_DEBUG, "leaf", "no groups of our own", "error", err.text, NULL);
}

void leaf_setup(struct cgroup_dirs *handed)
{
    bool was_handed = handed != NULL && has_any(handed);
    TAILQ_INIT(&leaves.condemned);
    cgroup_dirs_init(&leaves.work);
    leaves.has_work = false;
    if (was_handed) {
        leaves.root = *handed;
        cgroup_dirs_init(handed);
    } else if (cgroup_dirs_open_self(&leaves.root) < 0) {
        cgroup_dirs_init(&leaves.root);
    }
    if (!has_any(&leaves.root))
        set_mode("none: ", "no cgroup file system");
    else if (!was_handed && !is_exclusive(&leaves.root))
        set_mode("none: ", "the cgroup is shared");
    else
        try_groups(was_handed);
}

const char *leaf_mode(void)
{
    return leaves.mode;
}

bool leaf_has_groups(void)
{
    return leaves.has_work;
}

const struct cgroup_dirs *leaf_root(void)
{
    return &leaves.root;
}

/* ---- one leaf ---- */

static int open_joins(struct leaf *leaf, struct err *err)
{
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (leaf->dirs.fd[c] < 0 || is_repeated(&leaf->dirs, c))
            continue;
        const char *file = join_file(&leaf->dirs, c);
        int fd = openat(leaf->dirs.fd[c], file, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
            return err_sys(err, 0, errno, "open '%s' of cgroup '%s'", file, leaf->name);
        leaf->joins[leaf->n_joins++] = fd;
    }
    return 0;
}

static void close_leaf(struct leaf *leaf)
{
    for (size_t i = 0; i < leaf->n_joins; i++)
        close(leaf->joins[i]);
    leaf->n_joins = 0;
    cgroup_dirs_done(&leaf->dirs);
}

static bool remove_group(const struct leaf *leaf)
{
    int result = cgroup_dirs_remove_child(&leaves.work, leaf->name);
    return result != -EBUSY && result != -ENOTEMPTY;
}

static void destroy(struct leaf *leaf)
{
    free(leaf->name);
    free(leaf);
}

/* Zombies and late exits keep a group busy for a moment, a daemon for as long as it lives: some are tried with every
 * later leaf, in turn, so that those that stay cost no more the more they are. */
static void retry_condemned(void)
{
    const struct leaf *kept = NULL;
    struct leaf *leaf;
    for (int i = 0; i < RETRIES && (leaf = TAILQ_FIRST(&leaves.condemned)) != kept; i++) {
        TAILQ_REMOVE(&leaves.condemned, leaf, in_condemned);
        if (remove_group(leaf)) {
            destroy(leaf);
            continue;
        }
        TAILQ_INSERT_TAIL(&leaves.condemned, leaf, in_condemned);
        kept = kept != NULL ? kept : leaf;
    }
}

void leaf_teardown(void)
{
    struct leaf *leaf;
    while ((leaf = TAILQ_FIRST(&leaves.condemned)) != NULL) {
        TAILQ_REMOVE(&leaves.condemned, leaf, in_condemned);
        (void)remove_group(leaf); /* the last try */
        destroy(leaf);
    }
    if (leaves.has_work && cgroup_dirs_remove_child(&leaves.root, WORK_GROUP) < 0)
        log_event(LOG_LEVEL_DEBUG, "leaf", "the work group is still in use", NULL);
    cgroup_dirs_done(&leaves.work);
    cgroup_dirs_done(&leaves.root);
    leaves.has_work = false;
}

int leaf_new(const char *kind, struct leaf **ret_leaf, struct err *err)
{
    static unsigned long n_leaves;
    retry_condemned();
    struct leaf *leaf = xnew(struct leaf);
    leaf->name = xasprintf("%s-%lu", kind, ++n_leaves);
    cgroup_dirs_init(&leaf->dirs);
    if (!leaves.has_work) {
        leaf->tag = tree_new_tag();
        *ret_leaf = leaf;
        return 0;
    }
    int result = cgroup_dirs_make_child(&leaves.work, leaf->name, &leaf->dirs, err);
    if (result == 0) {
        leaf->has_group = true;
        result = open_joins(leaf, err);
    }
    if (result < 0) {
        leaf_free(leaf);
        return result;
    }
    *ret_leaf = leaf;
    return 0;
}

int leaf_new_below(const char *kind, const struct leaf *origin, struct leaf **ret_leaf,
                   struct err *err)
{
    int result = leaf_new(kind, ret_leaf, err);
    if (result == 0 && !(*ret_leaf)->has_group)
        (*ret_leaf)->tag = tree_new_tag_below(origin->tag);
    return result;
}

void leaf_free(struct leaf *leaf)
{
    if (leaf == NULL)
        return;
    close_leaf(leaf);
    if (!leaf->has_group || remove_group(leaf))
        destroy(leaf);
    else
        TAILQ_INSERT_TAIL(&leaves.condemned, leaf, in_condemned);
}

void leaf_add_to_plan(struct leaf *leaf, struct spawn_plan *plan)
{
    for (size_t i = 0; i < leaf->n_joins && plan->n_cgroup_procs < PLAN_CGROUPS_MAX; i++)
        plan->cgroup_procs[plan->n_cgroup_procs++] = leaf->joins[i];
    plan->tag = leaf->tag;
}

void leaf_set_leader(struct leaf *leaf, pid_t pid)
{
    leaf->leader = pid;
}

/* ---- its processes ---- */

static int procs_dir(const struct cgroup_dirs *d)
{
    for (int c = CGROUP_CONTROLLER_MAX - 1; c >= 0; c--)
        if (d->fd[c] >= 0)
            return d->fd[c];
    return -1;
}

/* Signals a batch after a second look at the list: a number that is still listed once its pidfd is open is the
 * process that was meant. Empties the batch. */
static int signal_batch(int dirfd, struct pidref *batch, size_t n, char *list, int signum)
{
    int hit = 0;
    bool readable = n > 0 && fd_slurp_at(dirfd, "cgroup.procs", list, PROCS_MAX) > 0;
    for (size_t i = 0; i < n; i++) {
        hit += readable && leaf_list_has(list, (uint32_t)batch[i].pid) &&
               pidref_signal(&batch[i], signum) == 0;
        pidref_done(&batch[i]);
    }
    return hit;
}

static int signal_listed(int dirfd, int signum, const struct pid_list *spared)
{
    struct pidref batch[BATCH];
    size_t in_batch = 0;
    int hit = 0;
    cleanup_free char *first = malloc(PROCS_MAX), *second = malloc(PROCS_MAX);
    if (first == NULL || second == NULL ||
        fd_slurp_at(dirfd, "cgroup.procs", first, PROCS_MAX) <= 0)
        return 0;
    char *save = NULL;
    for (char *word = strtok_r(first, "\n", &save); word != NULL;
         word = strtok_r(NULL, "\n", &save)) {
        uint32_t pid;
        if (str_to_u32(word, &pid) < 0 || pid == 0 || pid_list_has(spared, (pid_t)pid))
            continue;
        if (pidref_open(&batch[in_batch], (pid_t)pid) == 0)
            in_batch++;
        if (in_batch == BATCH) {
            hit += signal_batch(dirfd, batch, in_batch, second, signum);
            in_batch = 0;
        }
    }
    return hit + signal_batch(dirfd, batch, in_batch, second, signum);
}

bool leaf_list_has(const char *list, uint32_t pid)
{
    char word[16];
    size_t len = (size_t)snprintf(word, sizeof(word), "%u\n", pid);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += len)
        if (at == list || at[-1] == '\n')
            return true;
    return false;
}

/* Neither a group nor /proc: the process group is all we know. */
static int signal_group_of_leader(const struct leaf *leaf, int signum)
{
    return leaf->leader > 1 && kill(-leaf->leader, signum) == 0 ? 1 : 0;
}

int leaf_signal(struct leaf *leaf, int signum)
{
    if (leaf->has_group)
        return signal_listed(procs_dir(&leaf->dirs), signum, NULL);
    int n = tree_signal_tagged(leaf->tag, leaf->leader, signum, NULL);
    return n < 0 ? signal_group_of_leader(leaf, signum) : n;
}

int leaf_signal_leader(struct leaf *leaf, int signum)
{
    return leaf->has_group ? leaf_signal(leaf, signum) : signal_group_of_leader(leaf, signum);
}

void leaf_signal_group(struct leaf *leaf, int signum)
{
    (void)signal_group_of_leader(leaf, signum); /* nobody there: as good */
}

int leaf_kill_others(struct leaf *leaf, const struct pid_list *spared)
{
    if (leaf->has_group)
        return signal_listed(procs_dir(&leaf->dirs), SIGKILL, spared);
    return MAX(tree_signal_tagged(leaf->tag, leaf->leader, SIGKILL, spared), 0);
}

bool leaf_is_empty(struct leaf *leaf)
{
    if (leaf->has_group)
        return cgroup_is_empty(&leaf->dirs);
    int n = tree_signal_tagged(leaf->tag, leaf->leader, 0, NULL);
    return n < 0 ? signal_group_of_leader(leaf, 0) == 0 : n == 0;
}

bool leaf_kill(struct leaf *leaf)
{
    if (leaf->has_group) {
        /* Fails only in thawing; the next call tries again. */
        (void)!cgroup_kill_all(&leaf->dirs);
        return cgroup_is_empty(&leaf->dirs);
    }
    /* Rounds, because what forks while it is being killed shows up in the next scan (hardening B02). */
    int64_t until = clock_monotonic_ms() + KILL_BUDGET_MS;
    do {
        if (leaf_signal(leaf, SIGKILL) == 0)
            return leaf_is_empty(leaf);
    } while (clock_monotonic_ms() < until);
    return false;
}

void leaf_read_usage(struct leaf *leaf, struct leaf_usage *ret_usage)
{
    *ret_usage = (struct leaf_usage){0};
    if (!leaf->has_group)
        return;
    leaf_usage_from_group(&leaf->dirs, ret_usage);
    if (ret_usage->oom_kills > leaf->oom_kills) {
        leaves.oom_kills += ret_usage->oom_kills - leaf->oom_kills;
        leaf->oom_kills = ret_usage->oom_kills;
    }
}

uint64_t leaf_oom_kills(void)
{
    return leaves.oom_kills;
}
