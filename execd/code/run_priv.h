/*
 * What the files of a run share: its course (run.c), its outputs (run_store.c), its end (run_end.c), and what
 * it does for kernels that deviate (run_quirks.c).
 *
 * Private to execd/code. Thread rule: loop thread only.
 */
#pragma once

#include <event2/util.h>

#include "proto/base/patience.h"
#include "execd/code/run.h"
#include "execd/proc/leaf.h"
#include "proto/base/str.h"

/* RESTING: the kernel would refuse it just now, or is at something else (`waits`). */
enum run_state { RUN_QUEUED, RUN_RESTING, RUN_SENT, RUN_BUSY, RUN_DONE };

struct code_run {
    enum run_state state;
    struct channel *channel; /* ref */
    char *code;              /* owned; NULL once sent */
    size_t size;             /* bytes that it keeps while it waits */
    char *input;             /* owned; lines for its questions, NULL = none */
    size_t input_at;         /* bytes of it that were given */
    struct kernel *kernel;   /* borrowed from the context, while it runs */
    char msg_id[JMSG_ID_MAX];
    int64_t timeout_ms;        /* 0 = none */
    int patience_ms, quiet_ms; /* silence that ends the wait for what is owed; how much there was */
    int owed_looks;            /* how many end the wait in any case */
    int64_t started_ns;        /* 0 = not begun, or it waits */
    struct leaf_usage before;
    struct patience timer;    /* what the protocol still owes */
    struct patience deadline; /* of timeout_ms */
    struct event *arrival;    /* owned: something is in the store */
    void (*on_change)(void *arg);
    void *arg;
    struct kernel_msg *head, **tail; /* outputs not shown yet, owned */
    size_t stored, offset;           /* bytes in the list; bytes shown of its head */
    uint64_t n_dropped;              /* no room for them */
    uint64_t n_broken;               /* messages without sense */
    json_t *error; /* owned; last error message, its place in the stream still open */
    json_t *reply; /* owned; content of the reply */
    bool idle, lost, failed;
    bool waits;   /* until run_send */
    bool overdue; /* its time is over; the context has not looked yet */
    enum run_end
        told; /* why it was interrupted; no longer held back then: a stopped kernel cannot react */
    unsigned n_nudges;
    unsigned quirks;       /* of enum kernel_quirk */
    bool has_result;       /* one was shown */
    bool waited;           /* long enough for one */
    struct strbuf said;    /* run_quirks.c: the last of its stderr */
    bool drained;          /* what the kernel wrote past the protocol has been fetched */
    struct code_run *next; /* for the context */
};

/* run_store.c */
/* Shows what the channel has room for; `all` regardless of room, before a forced end. */
void run_pump(struct code_run *run, bool all);
void run_drop_store(struct code_run *run);
void run_on_arrival(evutil_socket_t fd, short what, void *arg); /* of `arrival` */

/* run.c */
/* Its time begins: when it is sent, and anew when the kernel is at it, which may do something for a client first. */
void run_arm_deadline(struct code_run *run);
/* Outputs were shown: the run may be over, or its reader made room. */
void run_moved(struct code_run *run);

/* run_end.c */
/* Both reply and idle (or their watchdog) are in: exactly one terminal event. */
void run_conclude(struct code_run *run);

/* run_quirks.c */
void run_quirks_begin(struct code_run *run);
void run_quirks_hear(struct code_run *run, const json_t *stream); /* a stream message was shown */
void run_quirks_mend(struct code_run *run, json_t *error);
void run_quirks_count(struct code_run *run); /* it went well */
/* Reply and idle are in: takes what the kernel wrote past the protocol before them, once. */
void run_quirks_drain(struct code_run *run);
/* They are in, but a result may follow: how long to wait for it. 0 when there is nothing to wait for any more. */
int run_quirks_wait_ms(struct code_run *run);
void run_quirks_end(struct code_run *run, bool failed); /* legal on a run that never began */
