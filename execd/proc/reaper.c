#include "execd/proc/reaper.h"
#include "proto/base/loop_delay.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/mem.h"

#define BUCKETS 256
#define KEPT_MAX 1024

/*
 * One announced child.
 *
 *   EXPECTED ── watch ──► WATCHED ── reaped ──► (told, freed)
 *      └── reaped ──► KEPT ── watch ──► DUE ── next loop turn ──► (told, freed)
 *
 * forget frees the entry in any state. KEPT and DUE entries are on the list of the same name.
 */
enum child_state { CHILD_EXPECTED, CHILD_WATCHED, CHILD_KEPT, CHILD_DUE };

struct child {
    pid_t pid;
    enum child_state state;
    reaper_fn on_exit;
    void *arg;
    struct exit_status status; /* KEPT, DUE */
    LIST_ENTRY(child) in_bucket;
    TAILQ_ENTRY(child) in_queue; /* KEPT, DUE */
};
LIST_HEAD(child_list, child);
TAILQ_HEAD(child_queue, child);

static struct {
    struct child_list buckets[BUCKETS];
    struct child_queue kept, due;
    size_t n_kept;
    uint64_t reaped;
    int signal_fd;           /* owned */
    struct event *on_signal; /* owned; NULL while not initialised */
    struct event *on_due;    /* owned; activated when `due` gets its first entry */
    void (*on_empty)(void *arg);
    void *empty_arg;
} reaper = {.signal_fd = -1};

/* The words of the contract's reference implementation, by number. */
static const char *const signal_texts[] = {
    [1] = "hangup",
    [2] = "interrupt",
    [3] = "quit",
    [4] = "illegal instruction",
    [5] = "trace/breakpoint trap",
    [6] = "aborted",
    [7] = "bus error",
    [8] = "floating point exception",
    [9] = "killed",
    [10] = "user defined signal 1",
    [11] = "segmentation fault",
    [12] = "user defined signal 2",
    [13] = "broken pipe",
    [14] = "alarm clock",
    [15] = "terminated",
    [16] = "stack fault",
    [17] = "child exited",
    [18] = "continued",
    [19] = "stopped (signal)",
    [20] = "stopped",
    [21] = "stopped (tty input)",
    [22] = "stopped (tty output)",
    [23] = "urgent I/O condition",
    [24] = "CPU time limit exceeded",
    [25] = "file size limit exceeded",
    [26] = "virtual timer expired",
    [27] = "profiling timer expired",
    [28] = "window changed",
    [29] = "I/O possible",
    [30] = "power failure",
    [31] = "bad system call",
};

void exit_status_text(const struct exit_status *status, char *buf, size_t size)
{
    const char *core = status->core ? " (core dumped)" : "";
    if (!status->signalled)
        snprintf(buf, size, "exit status %d", status->code);
    else if (status->code > 0 && (size_t)status->code < ARRAY_LEN(signal_texts))
        snprintf(buf, size, "signal: %s%s", signal_texts[status->code], core);
    else
        snprintf(buf, size, "signal: signal %d%s", status->code, core);
}

/* ---- the table of announced children ---- */

static struct child_list *bucket_of(pid_t pid)
{
    return &reaper.buckets[(unsigned)pid % BUCKETS];
}

static struct child *child_find(pid_t pid)
{
    struct child *c;
    LIST_FOREACH(c, bucket_of(pid), in_bucket)
    if (c->pid == pid)
        return c;
    return NULL;
}

static struct child *child_add(pid_t pid)
{
    struct child *c = xnew(struct child);
    c->pid = pid;
    c->state = CHILD_EXPECTED;
    LIST_INSERT_HEAD(bucket_of(pid), c, in_bucket);
    return c;
}

static void child_unqueue(struct child *c)
{
    if (c->state == CHILD_KEPT) {
        TAILQ_REMOVE(&reaper.kept, c, in_queue);
        reaper.n_kept--;
    } else if (c->state == CHILD_DUE) {
        TAILQ_REMOVE(&reaper.due, c, in_queue);
    }
}

static void child_free(struct child *c)
{
    child_unqueue(c);
    LIST_REMOVE(c, in_bucket);
    free(c);
}

static void child_keep(struct child *c, const struct exit_status *status)
{
    c->status = *status;
    c->state = CHILD_KEPT;
    TAILQ_INSERT_TAIL(&reaper.kept, c, in_queue);
    if (++reaper.n_kept > KEPT_MAX)
        child_free(TAILQ_FIRST(&reaper.kept));
}

/* Frees first: the callback may spawn, watch or forget. */
static void child_tell(struct child *c, const struct exit_status *status)
{
    reaper_fn on_exit = c->on_exit;
    void *arg = c->arg;
    struct exit_status copy = *status;
    child_free(c);
    on_exit(arg, &copy);
}

void reaper_expect(pid_t pid)
{
    reaper_forget(pid);
    (void)child_add(pid);
}

void reaper_watch(pid_t pid, reaper_fn on_exit, void *arg)
{
    struct child *c = child_find(pid);
    if (c == NULL)
        c = child_add(pid);
    c->on_exit = on_exit;
    c->arg = arg;
    if (c->state == CHILD_EXPECTED)
        c->state = CHILD_WATCHED;
    if (c->state != CHILD_KEPT)
        return;
    child_unqueue(c);
    c->state = CHILD_DUE;
    TAILQ_INSERT_TAIL(&reaper.due, c, in_queue);
    event_active(reaper.on_due, EV_TIMEOUT, 0);
}

void reaper_forget(pid_t pid)
{
    struct child *c = child_find(pid);
    if (c != NULL)
        child_free(c);
}

uint64_t reaper_count(void)
{
    return reaper.reaped;
}

/* ---- waiting ---- */

static void reaped_one(pid_t pid, int wait_status, const struct rusage *rusage)
{
    struct exit_status status = {.rusage = *rusage};
    struct child *c = child_find(pid);
    reaper.reaped++;
    if (c == NULL)
        return;
    status.signalled = WIFSIGNALED(wait_status);
    status.code = status.signalled ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    status.core = status.signalled && WCOREDUMP(wait_status);
    if (c->state == CHILD_WATCHED)
        child_tell(c, &status);
    else if (c->state == CHILD_EXPECTED)
        child_keep(c, &status);
}

bool reaper_is_child(pid_t pid)
{
    siginfo_t info;

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

bool reaper_is_watched(pid_t pid)
{
    const struct child *c = child_find(pid);

    return c != NULL && c->state == CHILD_WATCHED;
}

bool reaper_run(void)
{
    for (;;) {
        struct rusage rusage;
        int wait_status;
        pid_t pid = wait4(-1, &wait_status, WNOHANG | __WALL, &rusage);
        if (pid == 0)
            return true;
        if (pid > 0)
            reaped_one(pid, wait_status, &rusage);
        else if (errno != EINTR)
            return false;
    }
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    struct signalfd_siginfo drained[16];
    (void)what;
    (void)arg;
    LOOP_WORK("descriptor", "ends of processes");
    /* What it says does not matter: signals coalesce, wait4 knows. */
    while (read(fd, drained, sizeof(drained)) == (ssize_t)sizeof(drained))
        ;
    if (!reaper_run() && reaper.on_empty != NULL)
        reaper.on_empty(reaper.empty_arg);
}

void reaper_on_empty(void (*on_empty)(void *arg), void *arg)
{
    reaper.on_empty = on_empty;
    reaper.empty_arg = arg;
    if (reaper.on_signal != NULL)
        event_active(reaper.on_signal, EV_READ, 0); /* perhaps it is so already */
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    struct child *c;
    while ((c = TAILQ_FIRST(&reaper.due)) != NULL)
        child_tell(c, &c->status);
}

/* ---- life cycle ---- */

static int open_signal_fd(struct err *err)
{
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    int result = pthread_sigmask(SIG_BLOCK, &chld, NULL);
    if (result != 0)
        return err_sys(err, 0, result, "block SIGCHLD");
    /* An ignored SIGCHLD (inherited over exec) would let the kernel reap, and statuses would be lost. */
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR)
        return err_sys(err, 0, errno, "reset SIGCHLD");
    reaper.signal_fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    return reaper.signal_fd < 0 ? err_sys(err, 0, errno, "open a signalfd for SIGCHLD") : 0;
}

int reaper_init(struct event_base *base, struct err *err)
{
    for (size_t i = 0; i < BUCKETS; i++)
        LIST_INIT(&reaper.buckets[i]);
    TAILQ_INIT(&reaper.kept);
    TAILQ_INIT(&reaper.due);
    reaper.n_kept = 0;
    int result = open_signal_fd(err);
    if (result < 0)
        return result;
    if (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return err_sys(err, 0, errno, "become a subreaper");
    reaper.on_signal = event_new(base, reaper.signal_fd, EV_READ | EV_PERSIST, on_signal, NULL);
    reaper.on_due = event_new(base, -1, 0, on_due, NULL);
    if (reaper.on_signal == NULL || reaper.on_due == NULL ||
        event_add(reaper.on_signal, NULL) < 0) {
        reaper_done();
        return err_set(err, 0, ENOMEM, "watch SIGCHLD: out of memory");
    }
    /* What died before the signal was watched. */
    event_active(reaper.on_signal, EV_READ, 0);
    return 0;
}

void reaper_done(void)
{
    for (size_t i = 0; i < BUCKETS; i++)
        while (!LIST_EMPTY(&reaper.buckets[i]))
            child_free(LIST_FIRST(&reaper.buckets[i]));
    if (reaper.on_signal != NULL)
        event_free(reaper.on_signal);
    if (reaper.on_due != NULL)
        event_free(reaper.on_due);
    if (reaper.signal_fd >= 0)
        close(reaper.signal_fd);
    reaper.on_signal = reaper.on_due = NULL;
    reaper.on_empty = NULL;
    reaper.signal_fd = -1;
}
