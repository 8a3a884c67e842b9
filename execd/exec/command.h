/*
 * Commands: one child process tree each, its channel, its true end.
 *
 * State: STARTING → RUNNING → DRAINING (leader gone, output still arrives) → DONE. Exactly one terminal event:
 * EXECUTION_COMPLETE for exit 0, else ERROR CommandExecError (contracts/execd.md 2.5). Interrupt sends SIGTERM to
 * the tree and SIGKILL after a grace; timeout sends SIGKILL at once. The record stays for status queries, at least
 * 24 h unless more than `history_max` finished ones exist, or their texts are long (contracts/v1.1.md 1.4).
 * Knows nothing of HTTP. Thread rule: loop thread only.
 */
#pragma once

#include "execd/harden/policy.h"
#include "execd/proc/receipt.h"
#include "execd/stream/archive.h"
#include "execd/stream/channel.h"
#include "execd/stream/feed.h"
#include "execd/stream/spool.h"
#include "proto/json/jfield.h"

struct command;
struct command_manager;

struct command_config {
    unsigned running_max;   /* 1,024 */
    unsigned history_max;   /* 10,000 finished records without output */
    size_t history_text;    /* 32 MiB: of their commands; the oldest records go first */
    int64_t history_ms;     /* 24 h */
    int interrupt_grace_ms; /* 3,000 */
    int linger_ms;          /* 150: how long a held-open pipe may delay the end */
    uint64_t log_max;       /* 256 MiB: stored output of one background command */
    uint64_t logs_max;      /* 1 GiB: of all ended ones; the oldest logs go first */
    unsigned log_files_max; /* 512: of those, logs too long for memory */
    struct channel_limits channel;
    struct archive *archive; /* borrowed; may be NULL in tests: then nobody can come back */
    struct work_pool *pool;  /* borrowed; writes the logs of background commands */
};

struct command_request { /* strings are copied */
    const char *command; /* exactly one of command / argv */
    struct jstrings argv;
    const char *cwd;
    struct jmap envs;
    int64_t timeout_ms; /* 0 = none */
    bool has_uid, has_gid;
    uint32_t uid, gid;
    bool background;
    const char *stdin_text; /* written to the standard input; NULL = none */
    size_t stdin_len;
    bool sweep;                  /* what its leader leaves behind is killed with its end */
    bool stdin_open;             /* and it stays open for command_stdin */
    const struct policy *policy; /* borrowed for the call; NULL = none */
    bool
        lossy; /* output that no client takes in time is dropped from the middle, the command never waits */
};

enum command_end {
    COMMAND_END_NONE,
    COMMAND_END_EXIT,
    COMMAND_END_SIGNAL,
    COMMAND_END_TIMEOUT,
    COMMAND_END_INTERRUPTED,
    COMMAND_END_OOM,
    COMMAND_END_SPAWN_FAILED,
    COMMAND_END_SHUTDOWN
};

struct command_status {
    const char *id, *content; /* borrowed from the command */
    bool running;
    bool has_exit_code;
    int exit_code;                   /* -1 when killed by a signal */
    const char *error;               /* NULL on success */
    int64_t started_us, finished_us; /* wall clock; finished 0 while running */
    enum command_end end;
    const struct receipt *receipt; /* NULL while running */
};

int command_manager_new(struct event_base *base, const struct command_config *config,
                        struct command_manager **ret_manager) must_check;
void command_manager_free(struct command_manager *m);

/* Validates and starts. Validation failures (bad cwd, too many, ...) are errors; a spawn failure is not: the
 * command exists and its channel says INIT, ERROR (contracts/execd.md 2.2). The channel is the caller's reference. */
int command_start(struct command_manager *m, const struct command_request *request,
                  struct command **ret_command, struct channel **ret_channel,
                  struct err *err) must_check;
struct command *command_find(struct command_manager *m, const char *id); /* NULL if unknown */
const char *command_id(const struct command *c);
void command_get_status(const struct command *c, struct command_status *ret_status);
/* on_gone is posted once when the command is DONE (also at once). -ESRCH when it was already finished. */
int command_interrupt(struct command *c, void (*on_gone)(void *arg), void *arg,
                      struct err *err) must_check;
void command_cancel_wait(struct command *c, void *arg); /* forgets an on_gone with this arg */

/* The standard input (feed_is_open says whether it still is); NULL when none was asked for. */
struct feed *command_stdin(struct command *c);
/* The log of a background command; NULL for others and for one whose log is gone. */
const struct spool *command_log(const struct command *c);
bool command_is_background(const struct command *c);
/* "exit", "oom", ...: for receipts and metrics. */
const char *command_end_name(enum command_end end);

/* Streams learn why they end: SIGTERM to the commands, SIGKILL after grace_ms, then on_done (posted, once; may be
 * NULL). Whatever left its command's process group is not searched for here: shutdown_start, which belongs beside
 * this, ends every process. */
void command_manager_shutdown(struct command_manager *m, int grace_ms, void (*on_done)(void *),
                              void *arg);

struct command_counts {
    uint64_t started, running, by_end[COMMAND_END_SHUTDOWN + 1], bytes_out;
};
void command_manager_counts(const struct command_manager *m, struct command_counts *ret_counts);
