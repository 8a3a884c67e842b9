/*
 * How long the event loop was kept from its descriptors and timers: counted always, told in the log from a second on.
 *
 * A round of the loop is the time from the return of epoll_wait to the next call: that long a descriptor or timer may
 * have had to wait for its turn. The program's own epoll_wait (loop_delay.c) measures it, so an idle loop wakes up for
 * nothing. What ran is known where somebody said so (LOOP_WORK). A round of LOOP_STALL_MS or more is one warning,
 * module "loop": its longest piece of work, its milliseconds, and how many of these the thread was ready but had no CPU
 * (a starved machine, a quota), where the kernel tells.
 * That epoll_wait never answers EINTR: interrupted, it looks once more and tells what is ready, on every thread. Behind a
 * stop or a freeze (a paused sandbox) the loop so reads what has arrived before it runs the timers that came due.
 * Thread rule: the thread that called loop_delay_start; other threads' rounds are not measured.
 * Source: hardening.md N05; signal(7), "Interruption of system calls".
 */
#pragma once

#include "proto/base/metrics_text.h"

#define LOOP_STALL_MS 1000
#define LOOP_DELAY_BOUNDS 7

struct loop_delay {
    uint64_t
        rounds[LOOP_DELAY_BOUNDS + 1]; /* by length: loop_delay_bounds_s, the last beyond all */
    uint64_t sum_us, max_us;
    uint64_t stalls; /* rounds of LOOP_STALL_MS or more */
};
extern const double loop_delay_bounds_s[LOOP_DELAY_BOUNDS];

/* From now on the calling thread's loop is measured: the first one that it waits on. */
void loop_delay_start(void);
void loop_delay_get(struct loop_delay *ret);

/* The monotonic clock without the time in which the process of the calling thread's loop stood still: a stop or a freeze,
 * or a call that slept. For deadlines: one that ends while nobody looks would be missed although what it waits for has
 * arrived. Work and a lack of CPU count in full (where the kernel does not tell, all does): a deadline comes however busy
 * the loop is. Timers may fire before it: whoever uses it looks, and arms again. */
int64_t loop_clock_ms(void);

/* What the rest of this block does, for the log: LOOP_WORK("POST", "/command"). Both texts borrowed, valid until the
 * round's end. A block inside ends the outer block's name. */
#define LOOP_WORK(kind, name)                                                                      \
    __attribute__((cleanup(loop_work_end), unused)) int loop_work_guard =                          \
        loop_work_begin((kind), (name))
int loop_work_begin(const char *kind, const char *name); /* 0 */
void loop_work_end(const int *guard);

/* The families PREFIX_loop_delay_seconds (histogram), PREFIX_loop_delay_max_seconds and PREFIX_loop_stalls. */
void loop_delay_write_metrics(const char *prefix, struct strbuf *out, enum metric_format format);
