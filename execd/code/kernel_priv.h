/*
 * What the files of a kernel share: its life (kernel.c), its messages (kernel_wire.c) and its
 * output outside of them (kernel_output.c).
 *
 * Private to execd/code. Thread rule: loop thread only.
 */
#pragma once

#include "execd/code/connection.h"
#include "execd/code/kernel.h"
#include "execd/code/kernel_spawn.h"
#include "proto/base/patience.h"
#include "execd/code/zsock.h"

struct event;

enum kernel_state { KERNEL_STARTING, KERNEL_READY, KERNEL_STOPPING, KERNEL_SETTLING, KERNEL_DEAD };

struct kernel {
    struct kernel_host *host; /* borrowed */
    const struct kernel_ops *ops;
    void *arg;
    enum kernel_state state;
    struct jmsg_session session;
    struct connection connection;
    struct kernel_process process;
    struct zsock
        *channels[CHANNEL_MAX];  /* owned; CHANNEL_HEARTBEAT stays NULL: the pidfd tells of death */
    struct patience patience;    /* meaning by state */
    struct event *interrupt;     /* owned; pending: an interrupt that waits until it hits */
    int interrupts_left;         /* how often the one that was asked for may be repeated */
    int64_t status_ms;           /* when the last status arrived */
    char status_of[JMSG_ID_MAX]; /* the request that the kernel is at; "" when it has ended */
    struct event *output_events[KERNEL_PIPES]; /* owned */
    char tail[KERNEL_TAIL_MAX + 1];
    size_t tail_len;
    char reason[512], refusal[120];
    /* By loop_clock_ms: */
    int64_t deadline_ms; /* of the state */
    int64_t started_ms,
        looked_ms;         /* while it starts: since when, and the latest look at how it fares */
    int64_t killed_ms;     /* when SIGKILL went out first; 0 = never */
    int64_t rest_until_ms; /* by clock_monotonic_ms */
    bool stuck;            /* it has not died of that in time, and that was told */
    bool interrupt_by_message;
    bool own_program;            /* zygote.py: its publisher waits for us, and it can be copied */
    bool entering;               /* from the pool: folder and environment are being taken over */
    unsigned quirks;             /* of enum kernel_quirk */
    char executing[JMSG_ID_MAX]; /* the execute_request that was sent last */
    bool info_seen, iopub_seen, stdin_linked; /* the parts of readiness */
    bool stdin_awaited;                       /* as the last of them, for a while */
    struct kernel_info info;                  /* once info_seen */
    bool iopub_broken;                        /* while it was ready; told when it comes back */
    unsigned links_seen;                      /* bit per channel that had a connection once */
    unsigned links_down;                      /* and per one whose connection broke */
    bool term_sent, exited, oom;
    struct leaf_usage end_usage; /* once exited, where there is no group that still tells */
    unsigned held;               /* set of enum kernel_hold: any one stops the process */
};

/* kernel.c */
void kernel_arm(struct kernel *k, int ms);
void kernel_check_ready(struct kernel *k);
void kernel_start_tick(struct kernel *k);
void kernel_settle(struct kernel *k);
void kernel_on_exit(void *arg, const struct exit_status *status); /* for the reaper */
/* The connection of a channel broke or came back. */
void kernel_watch_link(struct kernel *k, enum kernel_channel channel, bool up);

/* kernel_reuse.c */
/* One that could not enter and is gone: another one starts, cold. */
void kernel_replace(struct kernel *k);

/* kernel_output.c */
int kernel_watch_output(struct kernel *k) must_check;
void kernel_unwatch_output(struct kernel *k);
/* Its children, which nobody stops, wait for their reader like any other. */
void kernel_pause_output(struct kernel *k, bool pause);
void kernel_drain_output(struct kernel *k); /* what is in the pipes now */

/* kernel_wire.c */
int kernel_connect(struct kernel *k, struct err *err) must_check;
/* Takes content. parent: header of the message that it answers, or empty. ret_id may be NULL. */
int kernel_send(struct kernel *k, enum kernel_channel channel, const char *type,
                struct slice parent, json_t *content, char *ret_id) must_check;
