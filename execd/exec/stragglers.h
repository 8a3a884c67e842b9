/*
 * Programs that an interrupt has missed: a shell reports the end of the run, and they go on.
 *
 * Between its fork and its exec a child still has the shell's handler, which swallows SIGINT; the shell itself is thrown
 * back to its prompt. Then the program runs on although its run was cancelled, and bash waits for it before it goes on
 * with the next text. So after an interrupted run the shell's children that were not yet programs of their own when the
 * signal went out get it again, and at last SIGKILL. Background jobs are not meant: they ignore SIGINT, or have process
 * groups of their own. (One that is not that far when the first signal goes out is hit by it, as at a terminal.)
 *
 * The caller owns it; it knows no other callback than its own timer. Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/err.h"

struct event_base;
struct stragglers;

struct stragglers *stragglers_new(struct event_base *base) must_check; /* NULL: no memory */
void stragglers_free(struct stragglers *s);                            /* NULL is fine */

/* Just before SIGINT goes to the shell's process group: what is a program of its own by now will get it. */
void stragglers_note(struct stragglers *s, pid_t shell);
/* The shell has reported the end of the run that was interrupted. Ends an earlier chase. */
void stragglers_chase(struct stragglers *s, pid_t shell);
