/*
 * A shell that lives longer than one command: it is fed text, run by run, and tells how each run ended.
 *
 * How it is driven. The shell is interactive, so that SIGINT ends what runs and not the shell, but it has no terminal:
 * it reads its lines from a pipe. Each run is one line that evaluates the client's text, quoted, with /dev/null as
 * standard input, and one line that reports status and directory on descriptor 3. While the text runs, the shell has
 * moved its own descriptors out of the way (close-on-exec), so that programs see 0, 1 and 2 only; and a report counts
 * only with the run's own 128-bit nonce, which stands in no variable and on no command line. Nothing that a program
 * prints can be taken for a report (hardening B13).
 * An interrupt waits until the shell has said that it begins: it must never hit a line that is still being read.
 *   bash evaluates inside a sourced file (descriptors 6 and 7), because there it announces no background jobs.
 *   Other shells drop what they have read ahead when a text fails or is interrupted; their pipe is in packet mode and
 *   the report begins a packet of its own.
 *
 * The caller owns the leaf and kills by it. Thread rule: loop thread only.
 */
#pragma once

#include "execd/proc/leaf.h"
#include "execd/proc/reaper.h"
#include "proto/json/jfield.h"

struct event_base;
struct shell_driver;

/* A program that prepares the ground and then starts the shell: its arguments, closed by NULL, stand before the
 * shell's. It must pass descriptors 0 to 7 on and end as the shell ends. */
struct shell_wrap {
    const char *file; /* absolute */
    const char *const *argv;
    int config_fd;       /* given as descriptor 8; -1 = none; borrowed */
    uint64_t namespaces; /* CLONE_NEW* that it starts in */
    bool trusted;        /* spawn_plan.trusted */
};

struct shell_start {
    const char *const *envp;
    const char *cwd;
    struct leaf *leaf;             /* borrowed; outlives the driver */
    const struct shell_wrap *wrap; /* NULL = none */
};

struct shell_ops {
    /* Output of programs; stream 0 is stdout, 1 is stderr. */
    void (*on_output)(void *arg, int stream, const char *p, size_t n);
    /* The run is over; all that it has written was given to on_output. Leaves the driver alive. */
    void (*on_result)(void *arg, int status, const char *cwd);
    /* The shell is gone, and everything that it has written was given to on_output. Last callback. */
    void (*on_exit)(void *arg, const struct exit_status *status);
};

/* Environment that the shell needs beside the client's; an overlay for environment_build. */
extern const struct jmap shell_driver_env;

int shell_driver_new(struct event_base *base, const struct shell_start *start,
                     const struct shell_ops *ops, void *arg, struct shell_driver **ret_driver,
                     struct err *err) must_check;
void shell_driver_free(struct shell_driver *d); /* closes; no callback afterwards; NULL is fine */

pid_t shell_driver_pid(
    const struct shell_driver *d); /* of the shell, or of its wrapper; 0 when it is gone */

struct shell_text {
    const char *code;
    const char *cwd;         /* changed to first and for good; NULL = stay */
    const struct jmap *envs; /* for this run only (bash), NULL = none */
    bool merge;              /* stderr goes into stdout, in order */
};
#define SHELL_TEXT_MAX (64U << 20) /* bytes, quoted: each ' takes four */
/* One at a time: the next after on_result. -EPIPE when the shell is gone; -EOVERFLOW beyond SHELL_TEXT_MAX and -ENOMEM,
 * of which the shell hears nothing: it is ready for another. */
int shell_driver_run(struct shell_driver *d, const struct shell_text *text) must_check;

/* Looks at once for what the loop has not seen yet: output, and the end of the run. Calls back meanwhile. */
void shell_driver_settle(struct shell_driver *d);

/* SIGINT to the shell's process group, as Ctrl-C would; and the report is asked for once more, since the interrupt
 * may have hit it. */
void shell_driver_interrupt(struct shell_driver *d);
/* SIGKILL to everything but the shell itself. */
void shell_driver_kill_others(struct shell_driver *d);

/* The shell has read everything, the report's line too, waits for more, and yet there is no report: seen twice in a row, some time
 * apart, there will be none, because the text has redefined what the report is made with. */
bool shell_driver_is_silent(const struct shell_driver *d);

/* Stops and goes on with reading output: the programs wait meanwhile. */
void shell_driver_hold(struct shell_driver *d, bool hold);
