/*
 * What the files of execd/exec share: the command, its manager, and how one is started.
 * Private to execd/exec. Thread rule: loop thread only.
 */
#pragma once

#include <uthash.h>

#include "execd/exec/command.h"
#include "execd/proc/leaf.h"
#include "execd/stream/pump.h"
#include "proto/base/ids.h"

struct event;

/* Somebody who asked for an interrupt and waits for the end. */
struct command_waiter {
    void (*on_gone)(void *arg);
    void *arg;
    struct command_waiter *next;
};

struct command {
    char id[ID_HEX_LEN + 1];
    struct command_manager *manager; /* borrowed */
    char *content;                   /* owned: what status shows */
    struct channel *channel;         /* ref; NULL when DONE */
    struct leaf *leaf;               /* owned; NULL before the start and when DONE */
    struct pidref leader;
    struct pump *pump;   /* owned; NULL when its pipes are through */
    struct feed *feed;   /* owned; NULL without standard input and when DONE */
    struct spool *spool; /* owned; background only */
    bool background;
    bool sweep;             /* what the leader leaves behind is killed */
    bool told;              /* the terminal event was appended */
    bool closed;            /* and its leader is gone */
    bool stored;            /* the log is complete, or there is none */
    struct receipt receipt; /* once closed */
    struct event *timer;  /* owned: timeout or grace, whichever comes first, then repeated kills */
    int64_t timer_due_ms; /* loop_clock_ms */
    struct event *notify; /* owned: posts the waiters' callbacks */
    struct command_waiter *waiters; /* owned */
    int64_t timeout_ms;
    int64_t started_us, finished_us; /* wall clock */
    int64_t started_ns, closed_ms;   /* monotonic */
    bool leader_gone;
    bool terminating;  /* SIGTERM went to the tree; SIGKILL follows when the grace is over */
    bool killing;      /* SIGKILL goes to the tree until it is empty */
    int64_t killed_ms; /* loop_clock_ms; when that began, 0 = not yet */
    bool
        held; /* the leader does not die of it: its stream ends, its record goes on until it is gone */
    struct exit_status status; /* once leader_gone */
    enum command_end end;      /* NONE while running, unless the reason is known before the end */
    char *error;               /* owned; NULL on success */
    bool done;
    struct command *prev, *next; /* in manager->running or manager->finished */
    UT_hash_handle hh;           /* by id */
};

struct command_manager {
    struct event_base *base; /* borrowed */
    struct command_config config;
    struct command *by_id;    /* uthash; owns */
    struct command *running;  /* utlist DL, oldest first */
    struct command *finished; /* utlist DL, oldest first */
    unsigned n_running, n_finished;
    size_t finished_text; /* bytes of the finished ones' content */
    uint64_t logs_bytes;  /* stored by finished commands */
    unsigned n_logs;      /* of them in files */
    struct command_counts counts;
    /* shutdown */
    bool shutting_down;
    struct event *grace; /* owned */
    void (*on_shut_down)(void *arg);
    void *shut_down_arg;
};

/* launch.c: starts the process of a validated request. A spawn failure is -errno with a text for the client. */
struct launch {
    struct spawn_plan plan; /* environment, directory and policy */
    struct arena *arena;    /* scratch of the request */
};
int launch_prepare(const struct command_request *request, struct arena *arena,
                   struct launch *ret_launch, struct err *err) must_check;
int launch_run(struct command *c, const struct command_request *request, struct launch *launch,
               struct err *err) must_check;
void launch_done(struct launch *launch); /* after launch_prepare, also a failed one */
/* Text for status: the command, or argv quoted for a shell. malloc'ed. */
char *launch_describe(const struct command_request *request);

/* command.c */
void command_on_pump_end(void *arg);
void command_on_exit(void *arg, const struct exit_status *status);
void command_kill(struct command *c,
                  enum command_end reason); /* SIGKILL to the tree, now and until it is empty */
void command_terminate(struct command *c, enum command_end reason,
                       int grace_ms); /* SIGTERM, then command_kill */
/* For the end of the agent: signals without a search for what left the leader's group. */
void command_shut_down(struct command *c, int signum);
void command_free(struct command *c);

/* manager.c */
void manager_on_done(struct command *c);
