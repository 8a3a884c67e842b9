/*
 * What the files of the session engine share. Private to execd/exec. Thread rule: loop thread only.
 */
#pragma once

#include <event2/util.h>
#include <uthash.h>

#include "execd/exec/session.h"

struct event;

enum run_end {
    RUN_END_NONE,
    RUN_END_EXIT,
    RUN_END_TIMEOUT,
    RUN_END_INTERRUPTED,
    RUN_END_SHELL_GONE,
    RUN_END_DELETED,
    RUN_END_RESTARTED,
    RUN_END_SHUTDOWN,
    RUN_END_SPAWN_FAILED,
};

struct session_run {
    char id[ID_UUID_LEN + 1];
    struct session *session; /* borrowed */
    char *command, *cwd;     /* owned; given back when the run has begun */
    struct jmap envs;        /* in arena, like them */
    struct arena arena;
    size_t text; /* bytes of command and envs */
    int64_t timeout_ms;
    bool separate;
    struct channel *channel; /* ref; NULL when over */
    struct spool *spool;     /* owned; background only */
    bool closed, stored;     /* the terminal event is in; the log is whole */
    enum run_end end;
    int status;                      /* of the shell: 0 to 255, or -1 for a signal */
    char *error;                     /* owned; NULL on success */
    int64_t started_us, finished_us; /* wall clock */
    int64_t started_ns;              /* monotonic */
    struct leaf_usage before;
    struct session_run *prev, *next; /* in session->queue, or session->ended */
};

/* How far the ending of the current run has come. */
enum stop_step { STOP_NONE, STOP_INTERRUPTED, STOP_AGAIN, STOP_OTHERS_KILLED, STOP_SHELL_KILLED };

struct session {
    char id[ID_UUID_LEN + 1];
    struct session_manager *manager; /* borrowed */
    char *start_cwd, *cwd;           /* owned */
    char *language;                  /* owned; NULL: no code context */
    bool is_default;
    struct arena arena; /* holds envs */
    struct jmap envs;
    const struct shell_wrap *wrap;
    const char *error_name;
    void (*on_idle_change)(void *arg);
    void *arg;
    struct leaf *leaf;           /* owned; of the shell that is there */
    struct shell_driver *driver; /* owned; NULL without a shell */
    bool shell_seen;             /* there was one before: the next is a restart */
    struct session_run *current;
    struct session_run *queue, *ended; /* utlist DL */
    unsigned n_queued, n_ended;
    enum stop_step stop;
    struct event *timer; /* owned: timeout of the current run, then the steps of its end */
    int64_t due_ms;      /* of timer, loop_clock_ms */
    struct event *watch; /* owned: runs with a run, looks whether the shell still reports */
    unsigned silent;     /* how often in a row it did not */
    struct event *kick;  /* owned: posts what must not run inside a callback of the driver */
    int64_t created_us, last_run_us, idle_since_ms;
    uint64_t runs, restarts, stray_bytes;
    UT_hash_handle hh;
};

struct session_manager {
    struct event_base *base; /* borrowed */
    struct session_config config;
    struct session *by_id; /* uthash; owns */
    unsigned n;
    struct condemned *condemned; /* owned list: leaves that are being emptied */
    struct event *reap;          /* owned: goes on with that */
    size_t queued_text;          /* bytes of the runs that wait, in all sessions */
    bool shutting_down;
};

struct condemned {
    struct leaf *leaf; /* owned */
    struct condemned *prev, *next;
};

/* session_run.c */
struct session_run *session_run_new(struct session *s, const struct session_run_request *request,
                                    struct err *err);
void session_run_free(struct session_run *run);
void session_run_enqueue(struct session_run *run);
void session_run_dequeue(struct session_run *run);
void session_run_begin(struct session_run *run);
/* Appends receipt and terminal event, exactly once. exit: how the shell ended, or NULL. */
void session_run_close(struct session_run *run, const struct exit_status *exit);

/* session.c */
int session_make_events(struct session *s) must_check; /* -ENOMEM */
int session_start_shell(struct session *s, struct err *err) must_check;
/* The shell is gone, or has to go: with it goes all that it started. */
void session_drop_shell(struct session *s);
/* Ends every run of the session with this reason. */
void session_close_all(struct session *s, enum run_end reason);
void session_publish_end(const struct session *s, const char *reason);
/* Goes on with emptying the leaves of shells that had to go; arg is the manager. An event's callback. */
void session_reap(evutil_socket_t fd, short what, void *arg);
