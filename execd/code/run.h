/*
 * One run of code: from the queue of its context to the terminal event of its channel.
 *
 *   QUEUED ──run_begin──► RESTING ──► SENT ──status busy──► BUSY ──reply and idle, in any order──► DONE
 *                           │          │                     │
 *                           └──────────┴─────────────────────┴──run_fail (death, interrupt, deletion)──► DONE
 *
 * Reply and outputs travel on different sockets, so a run ends only when both its execute_reply and its `idle`
 * are in, matched by the request's msg_id. One of them missing is a kernel's fault and has a watchdog:
 *   idle without reply    500 ms, then an error (the outcome is unknown)
 *   reply without idle  2,000 ms (200 ms after a broken connection), then the reply counts and STDERR says
 *                       that outputs may be missing
 *   no busy               a harmless message after 250 ms, 1 s, 4 s: some kernels miss a request until then
 *
 * Outputs are taken from the kernel at once and kept here while the channel has no room: above STORE_HOLD the
 * kernel is stopped until the reader catches up, above STORE_MAX (a kernel that cannot be stopped) they are
 * dropped and the loss is said. So a flood costs a bounded amount of memory and loses nothing in a healthy kernel.
 *
 * A time limit counts from run_begin, and anew from the moment when the kernel begins with the code. Then the run is
 * overdue, and the context interrupts it as it does when it is asked to; a run that still ends well has ended well. One
 * that still waits for another's work ends at once.
 *
 * Before its terminal event stands a receipt. Its peak of memory is that of the kernel since its start: kernels keep
 * what their runs leave behind.
 *
 * A context drives its runs and looks at run_is_done after every call; on_change tells it of what timers and
 * readers caused. Thread rule: loop thread only. Source: contracts/jupyter.md 1.8, 1.9; kernels.md 5.
 */
#pragma once

#include "execd/code/kernel.h"
#include "execd/stream/channel.h"

struct code_run;
struct code_run_request;

/* Why a run ended, as its receipt tells it. */
enum run_end {
    RUN_NOT_ENDED,
    RUN_END_EXIT,
    RUN_END_ERROR, /* of the code, or of the protocol */
    RUN_END_TIMEOUT,
    RUN_END_CANCELLED, /* interrupt, restart or deletion */
    RUN_END_OOM,
    RUN_END_KERNEL_DIED,
    RUN_END_NOT_STARTED, /* the kernel, that is */
    RUN_END_SHUTDOWN,
    RUN_END_MAX
};

/* An end that the code did not choose; texts are copied. */
struct run_failure {
    enum run_end end;
    const char *ename, *evalue;
    const char *detail; /* becomes a line of the traceback; may be NULL */
};

/* Channel with INIT = context_id; the request is copied. NULL when it is too large for the memory at hand. */
struct code_run *run_new(struct event_base *base, const struct channel_limits *limits,
                         const char *context_id, const struct code_run_request *request,
                         void (*on_change)(void *arg), void *arg);
void run_free(struct code_run *run); /* NULL is fine; a run that is not DONE fails */

struct channel *run_channel(struct code_run *run); /* borrowed */
bool run_is_done(const struct code_run *run);
/* The kernel is at work on it: an interrupt will hit. */
bool run_is_busy(const struct code_run *run);
bool run_failed(const struct code_run *run);      /* DONE by an error */
int64_t run_start_ns(const struct code_run *run); /* monotonic; 0 = it has never been sent */
/* Its time is over and nobody has interrupted it yet. */
bool run_is_overdue(const struct code_run *run);
size_t run_size(const struct code_run *run); /* bytes of the request */

/* wait: the kernel does not get the code before run_send, for it is at something else. */
void run_begin(struct code_run *run, struct kernel *kernel, bool wait);
void run_send(struct code_run *run);                       /* legal on one that waits for nothing */
bool run_is_sent(const struct code_run *run);              /* the kernel has its code */
const char *run_request(const struct code_run *run);       /* msg_id, once sent */
void run_take(struct code_run *run, struct kernel_msg *m); /* iopub; takes m, whatever its parent */
void run_take_reply(struct code_run *run, const struct jmsg *msg);
void run_output_lost(struct code_run *run);
/* Answers a question for input. False when it is not this run's, or the run was given nothing to say. */
bool run_answer(struct code_run *run, const struct jmsg *question);
/* An interrupt is on its way, because of CANCELLED or TIMEOUT: the kernel is not held back any more, outputs beyond
 * the store are dropped. */
void run_set_interrupted(struct code_run *run, enum run_end why);
/* Ends it now: outputs that were taken are shown first. */
void run_fail(struct code_run *run, const struct run_failure *failure);

/* Runs form the queue of their context. */
struct code_run *run_next(const struct code_run *run);
void run_set_next(struct code_run *run, struct code_run *next);
