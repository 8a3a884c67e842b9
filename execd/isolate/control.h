/*
 * execd's end of a session's control socket: gives the plan, hears how the set-up went, and that the session ended.
 *
 * Closing it ends the session (init.h). Thread rule: loop thread only.
 */
#pragma once

#include "execd/isolate/plan.h"

struct event_base;
struct control;

struct control_ops {
    /* Once, or never when it is gone before; reply lives until this returns. */
    void (*on_reply)(void *arg, const struct isolate_reply *reply);
    /* Once: the other end is closed, or did not answer in time. The last callback. */
    void (*on_gone)(void *arg);
};

/* *ret_theirs is the descriptor for the new process; the caller closes it after the start. */
int control_new(struct event_base *base, const struct isolate_plan *plan,
                const struct control_ops *ops, void *arg, struct control **ret_control,
                int *ret_theirs, struct err *err) must_check;
/* The session's mount namespace, borrowed; -1 until it is set up. */
int control_mount_ns(const struct control *c);
/* Reads once what is there, for an owner who knows from elsewhere that the other end is gone. Callbacks as ever. */
void control_hear(struct control *c);
void control_free(struct control *c); /* no callback afterwards; NULL is fine */
