#include "execd/code/kernel.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "execd/code/askline.h"
#include "execd/code/kernel_priv.h"
#include "execd/code/pool.h"
#include "execd/proc/proc_usage.h"
#include "execd/proc/reaper.h"
#include "execd/proc/receipt.h"
#include "execd/proc/runnable.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/loop_delay.h"

/* Between kernel_info requests while starting; later half of the time it has had: they wait for it in its queue, and a
 * slow one has to answer them all (tslab breaks down over too many at once: EBUSY). */
#define PROBE_MS 100
#define PROBE_MAX_MS 2000
#define PROBE_AGAIN_MS 20  /* the reply came before the subscription was there */
#define STDIN_LINK_MS 1000 /* mostly it is there by then, or 10 ms later; a kernel may do without */
/* One that had less than a fifth of its time to start as CPU time, and is found ready to run, was starved, not stuck: the
 * time since the look before does not count, up to so many times its time. */
#define STARVED_SHARE 5
#define STARVED_TIMES 10
#define SHUTDOWN_GRACE_MS 250 /* contracts/kernels.md 3.2: some answer shutdown and hang */
#define TERM_GRACE_MS 300
#define REKILL_MS 10 /* at first: it may be a walk through all processes */
#define REKILL_MAX_MS 1000
#define STUCK_MS 4000
/* A dead kernel is waited for until its tree is gone and both its connections have ended: what it had sent comes before
 * that. Some process of the tree may not go; once all have, the end of the connections is only a matter of CPU time. */
#define SETTLE_MS 200
#define LINK_END_MS 5000
/* A kernel that lives mends a broken connection in 20 ms. One that became another program never does. */
#define LINK_GRACE_MS 2000
#define INTERRUPT_SETTLE_MS 25
#define COMPILED_MS 1000       /* INTERRUPT_SETTLE_MS of QUIRK_COMPILES_FIRST */
#define INTERRUPT_AGAIN_MS 500 /* for the same, as long as the request goes on */
#define INTERRUPT_AGAIN_MAX 8

void kernel_arm(struct kernel *k, int ms)
{
    patience_start(&k->patience, ms);
}

bool kernel_is_ready(const struct kernel *k)
{
    return k->state == KERNEL_READY;
}

unsigned kernel_quirks(const struct kernel *k)
{
    return k->quirks;
}

void kernel_rest(struct kernel *k, int ms)
{
    k->rest_until_ms = clock_monotonic_ms() + ms;
}

int kernel_rest_left(const struct kernel *k)
{
    int64_t left = k->rest_until_ms - clock_monotonic_ms();
    return left > 0 ? (int)left : 0;
}

const char *kernel_how(const struct kernel *k, const char **ret_note)
{
    *ret_note = k->process.note;
    return k->process.is_copy  ? "checkpoint"
           : k->process.pooled ? "pool"
           : k->process.forked ? "forked"
                               : "cold";
}

void kernel_usage(const struct kernel *k, struct leaf_usage *ret_usage)
{
    *ret_usage = (struct leaf_usage){0};
    if (k->process.leaf)
        leaf_read_usage(k->process.leaf, ret_usage);
    if (ret_usage->from_cgroup)
        return;
    if (k->exited)
        *ret_usage = k->end_usage;
    else if (pidref_is_set(&k->process.ref))
        proc_usage_read(k->process.ref.pid, ret_usage);
}

const struct kernel_info *kernel_get_info(const struct kernel *k)
{
    return kernel_is_ready(k) ? &k->info : NULL;
}

bool kernel_was_oom(const struct kernel *k)
{
    return k->oom;
}

int kernel_fork_socket(const struct kernel *k, const char **ret_why)
{
    *ret_why = !k->own_program              ? "only kernels of ipykernel can be copied"
               : k->state != KERNEL_READY   ? "it is not ready"
               : k->process.control == NULL ? "it is not ready"
                                            : NULL;
    return *ret_why ? -1 : askline_socket(k->process.control);
}

const struct leaf *kernel_leaf(const struct kernel *k)
{
    return k->process.leaf;
}

/* ---- state ------------------------------------------------------------------------------------- */

void kernel_check_ready(struct kernel *k)
{
    if (k->state != KERNEL_STARTING || k->entering)
        return;
    if (k->info_seen && k->iopub_seen && k->stdin_linked) {
        k->state = KERNEL_READY;
        patience_stop(&k->patience);
        k->ops->on_ready(k->arg);
    } else if (k->info_seen && !k->iopub_seen) {
        kernel_arm(k, PROBE_AGAIN_MS);
    } else if (k->info_seen && !k->stdin_awaited) {
        k->stdin_awaited = true;
        kernel_arm(k, STDIN_LINK_MS);
    }
}

bool kernel_is_at_work(const struct kernel *k)
{
    return !k->exited &&
           (k->held != 0 || proc_is_runnable(k->process.ref.pid) || proc_is_runnable(getpid()));
}

static bool is_starved(const struct kernel *k, int64_t now_ms)
{
    struct leaf_usage usage;
    if (!pidref_is_set(&k->process.ref) || !proc_is_runnable(k->process.ref.pid))
        return false;
    proc_usage_read(k->process.ref.pid, &usage);
    int64_t cpu_ms = (int64_t)(usage.cpu_user_us + usage.cpu_system_us) / 1000;
    return cpu_ms < (now_ms - k->started_ms) / STARVED_SHARE;
}

void kernel_start_tick(struct kernel *k)
{
    if (k->stdin_awaited && !k->entering) {
        k->stdin_linked = true; /* it has none: it asks nothing, or nobody hears it */
        kernel_check_ready(k);
        return;
    }
    int64_t now = loop_clock_ms();
    int64_t latest = k->started_ms + (int64_t)k->host->start_ms * STARVED_TIMES;
    if (now > k->looked_ms && is_starved(k, now))
        k->deadline_ms = MIN(k->deadline_ms + now - k->looked_ms, latest);
    k->looked_ms = now;
    if (now < k->deadline_ms) {
        kernel_nudge(k);
        kernel_arm(k, (int)MIN(MAX((now - k->started_ms) / 2, PROBE_MS), PROBE_MAX_MS));
        return;
    }
    char reason[160];
    (void)snprintf(reason, sizeof(reason),
                   "not ready after %d ms (%s; %llu broken messages so far)", k->host->start_ms,
                   k->info_seen ? "it answers but publishes nothing" : "it does not answer",
                   (unsigned long long)k->host->frames_dropped); /* cutting is fine */
    kernel_kill(k, reason);
}

/* And again by stop_tick, until the reaper tells, later and later. */
static void kill_step(struct kernel *k)
{
    int64_t now = loop_clock_ms();
    if (k->killed_ms == 0)
        k->killed_ms = now;
    (void)leaf_kill(k->process.leaf); /* nobody left is fine */
    kernel_arm(k, (int)MIN(MAX((now - k->killed_ms) / 4, REKILL_MS), REKILL_MAX_MS));
}

static void tell_stuck(struct kernel *k)
{
    char text[sizeof(k->reason) + 80];
    k->stuck = true;
    (void)snprintf(text, sizeof(text),
                   "%s%sit is not dead yet: the system holds one of its processes", k->reason,
                   k->reason[0] ? "; " : ""); /* fits */
    if (k->ops->on_stuck)
        k->ops->on_stuck(k->arg, text);
}

static void stop_tick(struct kernel *k)
{
    if (!k->term_sent) {
        k->term_sent = true;
        (void)leaf_signal(k->process.leaf, SIGTERM); /* nobody left is fine */
        kernel_arm(k, TERM_GRACE_MS);
        return;
    }
    kill_step(k);
    if (!k->stuck && loop_clock_ms() - k->killed_ms >= STUCK_MS)
        tell_stuck(k);
}

static void die(struct kernel *k)
{
    k->state = KERNEL_DEAD;
    kernel_drain_output(k); /* what it wrote last explains its end */
    for (int i = 0; i < CHANNEL_MAX; i++) {
        zsock_close(k->channels[i]);
        k->channels[i] = NULL;
    }
    connection_remove(&k->connection);
    k->ops->on_dead(k->arg, k->reason);
}

static void settle_tick(struct kernel *k)
{
    bool empty = leaf_kill(k->process.leaf);
    bool quiet = (k->links_seen & ~k->links_down) == 0;
    int64_t left_ms = k->deadline_ms - loop_clock_ms();
    if ((empty && quiet) || left_ms <= (empty ? 0 : LINK_END_MS - SETTLE_MS))
        die(k);
    else
        kernel_arm(k, REKILL_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct kernel *k = arg;
    if (!patience_is_over(&k->patience))
        return;
    switch (k->state) {
    case KERNEL_STARTING:
        kernel_start_tick(k);
        break;
    case KERNEL_STOPPING:
        stop_tick(k);
        break;
    case KERNEL_SETTLING:
        settle_tick(k);
        break;
    case KERNEL_READY:
        if (k->held == 0) /* what is stopped mends nothing */
            kernel_kill(k, "it closed its connection");
        break;
    case KERNEL_DEAD:
        break;
    }
}

void kernel_settle(struct kernel *k)
{
    k->exited = true;
    k->state = KERNEL_SETTLING;
    k->deadline_ms = loop_clock_ms() + LINK_END_MS;
    (void)leaf_kill(k->process.leaf); /* repeated by settle_tick */
    kernel_arm(k, 0);
}

void kernel_on_exit(void *arg, const struct exit_status *status)
{
    struct kernel *k = arg;
    char text[KERNEL_DEATH_TEXT_MAX];
    if (k->entering && !k->reason[0]) { /* nobody has run anything in it yet */
        kernel_replace(k);
        return;
    }
    k->oom = kernel_process_death_text(&k->process, status, text, sizeof(text));
    k->end_usage = receipt_of_rusage(&status->rusage);
    if (!k->reason[0] || k->oom)
        (void)snprintf(k->reason, sizeof(k->reason), "%s", text); /* fits */
    kernel_settle(k);
}

/* While it is ready, both its connections must stand or come back soon. */
void kernel_watch_link(struct kernel *k, enum kernel_channel channel, bool up)
{
    unsigned bit = 1u << channel;
    k->links_seen |= bit;
    k->links_down = up ? k->links_down & ~bit : k->links_down | bit;
    if (k->state == KERNEL_SETTLING)
        kernel_arm(k, 0);
    if (k->state != KERNEL_READY)
        return;
    if (k->links_down == 0)
        patience_stop(&k->patience);
    else if (!evtimer_pending(k->patience.timer, NULL))
        kernel_arm(k, LINK_GRACE_MS);
}

static void signal_leader(const struct kernel *k, int signum)
{
    if (!k->exited && pidref_is_set(&k->process.ref))
        (void)!pidref_signal(&k->process.ref, signum); /* it may just be ending */
}

void kernel_hold(struct kernel *k, enum kernel_hold who, bool value)
{
    bool before = k->held != 0;
    k->held = value ? k->held | who : k->held & ~(unsigned)who;
    if (before == (k->held != 0))
        return;
    signal_leader(k, k->held ? SIGSTOP : SIGCONT);
    kernel_pause_output(k, k->held != 0);
    if (k->held == 0 && k->state == KERNEL_READY && k->links_down != 0)
        kernel_arm(k, LINK_GRACE_MS); /* only now it can mend them */
}

/* A stopped process can react to nothing; who still lags behind says so again. */
static void let_go(struct kernel *k)
{
    kernel_hold(k, KERNEL_HOLD_RUN | KERNEL_HOLD_CLIENT, false);
}

/* ---- interrupts ---------------------------------------------------------------------------------- */

static int interrupt_now(struct kernel *k, struct err *err)
{
    let_go(k);
    if (k->exited || pidref_signal(&k->process.ref, 0) < 0)
        return err_set(err, ERR_RUNTIME_ERROR, ESRCH, "the kernel is gone");
    if (k->interrupt_by_message)
        return kernel_send(k, CHANNEL_CONTROL, "interrupt_request", (struct slice){0},
                           json_object(), NULL);
    /* The group: child processes of the cell are interrupted too. The leader was seen alive above. */
    if (kill(-k->process.ref.pid, SIGINT) < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, errno, "interrupt the kernel");
    return 0;
}

static void interrupt_again_later(struct kernel *k)
{
    struct timeval wait = {0, INTERRUPT_AGAIN_MS * 1000};
    bool goes_on = k->status_of[0] != '\0';
    if ((k->quirks & QUIRK_COMPILES_FIRST) && goes_on && k->interrupts_left-- > 0)
        (void)event_add(k->interrupt, &wait); /* without, the one before was the last */
}

static void on_interrupt_due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    if (interrupt_now(arg, NULL) == 0) /* a kernel that is gone needs none */
        interrupt_again_later(arg);
}

/* Between its `busy` and the first line of the code a kernel is in its own code: there an interrupt is lost, or hits
 * what writes the reply. */
int kernel_interrupt(struct kernel *k, struct err *err)
{
    int settle_ms = (k->quirks & QUIRK_COMPILES_FIRST) ? COMPILED_MS : INTERRUPT_SETTLE_MS;
    int64_t left = k->status_ms + settle_ms - clock_monotonic_ms();
    struct timeval wait = {left / 1000, (suseconds_t)(left % 1000 * 1000)};
    k->interrupts_left = INTERRUPT_AGAIN_MAX;
    if (left > 0 && event_add(k->interrupt, &wait) == 0)
        return 0;
    int r = interrupt_now(k, err);
    if (r == 0)
        interrupt_again_later(k);
    return r;
}

/* ---- life ---------------------------------------------------------------------------------------- */

static int make_events(struct kernel *k)
{
    bool good = patience_init(&k->patience, k->host->base, on_timer, k);
    k->interrupt = evtimer_new(k->host->base, on_interrupt_due, k);
    return good && k->interrupt ? kernel_watch_output(k) : -ENOMEM;
}

/* From the warm interpreter, or cold after all. */
static void on_started(void *arg, int result, const struct err *err)
{
    struct kernel *k = arg;
    if (result >= 0) {
        reaper_watch(k->process.ref.pid, kernel_on_exit, k);
        if (k->state == KERNEL_STOPPING)
            (void)leaf_kill(k->process.leaf); /* repeated by stop_tick */
        return;
    }
    if (!k->reason[0])
        (void)snprintf(k->reason, sizeof(k->reason), "%s", err->text); /* fits */
    kernel_settle(k);
}

int kernel_start(struct kernel_host *host, const struct kernel_plan *plan,
                 const struct kernel_ops *ops, void *arg, struct kernel **ret_kernel,
                 struct err *err)
{
    if (host->pool && !plan->in_advance && !plan->is_copy) {
        int r = pool_take(host->pool, plan, ops, arg, ret_kernel, err);
        if (r != -EAGAIN)
            return r;
    }
    struct kernel *k = xcalloc(1, sizeof(*k));
    k->host = host;
    k->ops = ops;
    k->arg = arg;
    k->process = KERNEL_PROCESS_UNSET;
    k->interrupt_by_message = plan->spec->interrupt_by_message;
    k->own_program = kernel_can_be_forked(plan->spec);
    k->quirks = plan->spec->traits.quirks;
    jmsg_session_init(&k->session);
    int r = connection_make(host->runtime_dir, plan->spec, &k->session, &k->connection, err);
    int started = -1;
    if (r >= 0)
        r = started =
            kernel_process_start(&k->process, host, plan, k->connection.file, on_started, k, err);
    if (r >= 0)
        r = kernel_connect(k, err);
    if (r >= 0 && make_events(k) < 0)
        r = err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a kernel");
    if (r < 0) {
        if (err && err->code == 0)
            err->code = ERR_KERNEL_UNAVAILABLE;
        kernel_free(k);
        return r;
    }
    k->started_ms = k->looked_ms = loop_clock_ms();
    k->deadline_ms = k->started_ms + host->start_ms;
    if (started == 0)
        reaper_watch(k->process.ref.pid, kernel_on_exit, k);
    kernel_start_tick(k);
    *ret_kernel = k;
    return 0;
}

void kernel_free(struct kernel *k)
{
    if (!k)
        return;
    if (pidref_is_set(&k->process.ref) && !k->exited)
        reaper_forget(k->process.ref.pid);
    patience_done(&k->patience);
    if (k->interrupt)
        event_free(k->interrupt);
    kernel_unwatch_output(k);
    for (int i = 0; i < CHANNEL_MAX; i++)
        zsock_close(k->channels[i]);
    kernel_process_done(&k->process);
    connection_remove(&k->connection);
    explicit_bzero(&k->session, sizeof(k->session));
    free(k);
}

void kernel_stop(struct kernel *k)
{
    if (k->state == KERNEL_STARTING)
        kernel_kill(k, "deleted");
    if (k->state != KERNEL_READY)
        return;
    let_go(k);
    k->state = KERNEL_STOPPING;
    (void)snprintf(k->reason, sizeof(k->reason), "deleted"); /* a short constant */
    (void)!kernel_send(k, CHANNEL_CONTROL, "shutdown_request", (struct slice){0},
                       json_pack("{s:b}", "restart", 0), NULL); /* signals follow in any case */
    kernel_arm(k, SHUTDOWN_GRACE_MS);
}

void kernel_kill(struct kernel *k, const char *reason)
{
    if (k->exited)
        return;
    if (reason && !k->reason[0])
        (void)snprintf(k->reason, sizeof(k->reason), "%s", reason); /* cutting is fine */
    if (k->process.birth) { /* not there yet: it never will be */
        birth_cancel(take_ptr(&k->process.birth));
        kernel_settle(k);
        return;
    }
    k->state = KERNEL_STOPPING;
    k->term_sent = true;
    kill_step(k);
}
