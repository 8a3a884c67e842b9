/*
 * Shell sessions: a shell that keeps its variables, functions, options, directory and jobs from run to run.
 *
 * Runs of one session queue; each has its own channel: INIT (the session's id, contracts/execd.md 3.4), output, RECEIPT,
 * exactly one terminal event. A timeout or an interrupt ends the run and not the session: SIGINT (twice), after a grace SIGKILL
 * to all but the shell, and only if that does not help either, the shell too. When the shell ends (`exit`, a signal) its
 * run gets a SESSION event {"state":"ended",...} and the shell's status; what it had started ends with it. The session
 * stays: the next run begins a new shell in the directory of the last report, and says so ({"state":"restarted"}).
 * Output that arrives between runs (of background jobs) belongs to no run and is dropped, counted.
 * Knows nothing of HTTP. Thread rule: loop thread only.
 */
#pragma once

#include "execd/exec/shell_driver.h"
#include "execd/proc/receipt.h"
#include "execd/stream/archive.h"
#include "execd/stream/spool.h"
#include "proto/base/ids.h"

struct session;
struct session_manager;
struct session_run;

struct session_config {
    unsigned sessions_max; /* 256 */
    unsigned queue_max;    /* 64 runs that wait in one session */
    size_t
        queue_text; /* 64 MiB: of the runs that wait in all sessions, their commands and variables */
    unsigned history_max; /* 256 ended runs remembered per session */
    int grace_ms;         /* 2,000: between the steps of an interrupt */
    uint64_t log_max;     /* 16 MiB: stored output of a background run */
    struct archive *archive;
    struct work_pool *pool;
};

struct session_request { /* strings are copied */
    const char *cwd;     /* made when it is not there; NULL = execd's start directory */
    const struct jmap *envs;
    const char *language; /* it is a code context of this language (shell_context.h); NULL = none */
    bool is_default;      /* the one for runs that name no context */
    const struct shell_wrap *wrap; /* borrowed; NULL = none. Such a shell is not started again */
    const char
        *error_name; /* constant: ename of a timeout or a lost shell; NULL = CommandExecError */
    void (*on_idle_change)(void *arg); /* a first run began or the last one ended; may be NULL */
    void *arg;
};

struct session_run_request { /* strings are copied */
    const char *command;
    const char *cwd; /* must exist; NULL = where the shell is */
    struct jmap envs;
    int64_t timeout_ms; /* 0 = none; runs from its start, not from its queueing */
    bool separate;      /* stderr as stderr events; else it goes into stdout, in order */
    bool background;    /* its output is stored in a log */
    bool verbatim; /* a stream that is seen again has the output as it was, whatever its lines */
};

int session_manager_new(struct event_base *base, const struct session_config *config,
                        struct session_manager **ret_manager) must_check;
void session_manager_free(struct session_manager *m);
/* Every run ends with reason agent_shutdown, every shell is killed. */
void session_manager_shutdown(struct session_manager *m);

int session_create(struct session_manager *m, const struct session_request *request,
                   struct session **ret_session, struct err *err) must_check;
struct session *session_find(struct session_manager *m, const char *id);
/* Kills everything; runs end with their terminal event. The session is unknown from now on. */
void session_delete(struct session *s);
const char *session_id(const struct session *s);
const char *session_language(const struct session *s); /* NULL: no code context */
bool session_is_default(const struct session *s);

/* *ret_channel: the caller's reference. */
int session_start_run(struct session *s, const struct session_run_request *request,
                      struct session_run **ret_run, struct channel **ret_channel,
                      struct err *err) must_check;
struct session_run *session_find_run(struct session *s, const char *run_id);
const char *session_run_id(const struct session_run *run);
/* Ends the run; one that still waits is taken from the queue. NULL = the one that runs now. -ESRCH: there is none. */
int session_interrupt(struct session *s, struct session_run *run, struct err *err) must_check;
/* A new shell where the first began, with the same variables; runs end with an error. */
int session_restart(struct session *s, struct err *err) must_check;
/* Ends the runs that wait, then the one that runs now. */
void session_interrupt_all(struct session *s);

struct session_status {
    bool alive;                      /* the shell is there, or will be with the next run */
    bool busy;                       /* a run is on */
    unsigned queued;                 /* runs that wait */
    int64_t created_us, last_run_us; /* wall clock; last_run 0 = none yet */
    int64_t idle_since_ms;           /* monotonic; of the last change */
    uint64_t runs, restarts, stray_bytes;
    const char *cwd; /* as last reported */
    pid_t pid;       /* of the shell or its wrapper; 0 = none */
};
void session_get_status(const struct session *s, struct session_status *ret_status);
void session_each(struct session_manager *m, void (*visit)(struct session *s, void *arg),
                  void *arg);

struct session_run_status {
    bool running, has_exit_code;
    int exit_code;
    const char *error; /* NULL on success */
    int64_t started_us, finished_us;
    const struct spool *log; /* NULL: not in the background */
};
void session_run_get_status(const struct session_run *run, struct session_run_status *ret_status);
