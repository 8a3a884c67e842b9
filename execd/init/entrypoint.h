/*
 * The user's own program, started and supervised by execd: what the image would have run without us.
 *
 * One per process. It gets a session of its own, execd's standard streams (and the container's terminal, where
 * execd gave it up), the environment and working directory that execd was started with, and a leaf of its own.
 * Thread rule: loop thread only. Source: contracts/v1.1.md 1.9, execd.md 3.13, hardening 3.
 */
#pragma once

#include "proto/base/err.h"

#define ENTRYPOINT_CANNOT_EXECUTE 126
#define ENTRYPOINT_NOT_FOUND 127

/* argv is NULL-terminated and borrowed for the call. on_exit runs once, with the code that execd itself would end
 * with: 0..255 as it is, 128+n for signal n. -errno when it could not be started: no on_exit then. */
typedef void (*entrypoint_fn)(void *arg, int code);
int entrypoint_start(const char *const *argv, entrypoint_fn on_exit, void *arg,
                     struct err *err) must_check;

/* The exit code for a program that could not be started: 127 when it is not there, else 126. */
int entrypoint_exec_code(int errnum);

bool entrypoint_is_running(void);
void entrypoint_signal(int signum); /* to the program itself; nothing when it is not running */
void entrypoint_forget(
    void); /* no callback any more; frees the leaf. The process is not touched. */
