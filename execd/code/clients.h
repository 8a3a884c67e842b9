/*
 * Clients of a context's kernel, beside its runs: they speak Jupyter messages and hear what it publishes.
 *
 * A client belongs to a context, not to a process: it survives restarts. It hears every iopub message (of runs and
 * of other clients too, but not of execd's own probes), and the replies and questions for input that belong to what it
 * sent itself, matched by msg_id: the kernel knows one correspondent only. What it sends is signed here; parts go
 * through byte for byte otherwise.
 * What a client has sent and the kernel has not finished is bounded (CLIENT_OPEN_*), so that a kernel that does not read
 * costs a bounded amount of memory. A client that lags behind holds the kernel (SIGSTOP), which delays all others:
 * only for moments.
 * Callbacks come from the loop, never from inside a function of this module. Thread rule: loop thread only.
 * Source: contracts/jupyter.md 1.3, 2.7.
 */
#pragma once

#include "execd/code/connection.h"
#include "execd/code/context.h"
#include "execd/code/jmsg.h"

#define CLIENT_OPEN_MAX 512               /* requests without an end */
#define CLIENT_OPEN_BYTES_MAX (32u << 20) /* and their bytes */
#define KERNEL_OPEN_BYTES_MAX (64u << 20) /* of all clients of a kernel, those that have left too */
#define CLIENT_ROUTES_MAX                                                                          \
    (2 * CLIENT_OPEN_MAX) /* late replies and outputs of so many ids find their way */

struct code_client;

struct code_client_ops {
    /* A message of the kernel; borrowed with all its parts. */
    void (*on_message)(void *arg, enum kernel_channel channel, const struct jmsg *msg);
    /* The kernel has published something that was too large: it is lost, and what came behind it may be. Or, msg: it had
     * too many buffers, and this alone is lost; borrowed. */
    void (*on_lost)(void *arg, const struct jmsg *msg);
    /* The kernel is starting, restarting, ready or dead (code_context_death says why): requests under way in a kernel
     * that is gone have no end of their own. */
    void (*on_state)(void *arg, enum code_state state);
    /* The context goes (deleted, its kernel is dead, execd ends): last call, the client is detached already. */
    void (*on_end)(void *arg);
};

/* NULL when CODE_CLIENTS_MAX are connected; those that are away do not count, and the caller bounds them. What those
 * that have left sent goes on counting in bytes only. ops is borrowed. */
struct code_client *code_client_attach(struct code_context *ctx, const struct code_client_ops *ops,
                                       void *arg);
void code_client_detach(struct code_client *client); /* NULL is fine; no callback any more */

/* header must hold the msg_id given. -EAGAIN: too much is open, or the kernel would drop
 * it (a run that comes while another one is failing); -EMSGSIZE: too many buffers; -ESRCH: there is no
 * kernel (err says why). */
int code_client_send(struct code_client *client, enum kernel_channel channel, const char *msg_id,
                     const struct jmsg_parts *parts, struct err *err) must_check;
/* Inside of on_message: a number of the message, never 0, the same for all who hear it and no other's. */
uint64_t code_client_serial(const struct code_client *client);
/* The kernel seems to have missed what this client sent: wakes it (kernel_nudge). */
void code_client_nudge(struct code_client *client);
/* The kernel waits while a client cannot take more. An interrupt and the client's end lift it. */
void code_client_hold(struct code_client *client, bool value);
/* It held for so long and took nothing: that comes out of what all clients of the kernel may (hold_budget.h). */
void code_client_charge_hold(struct code_client *client, int64_t ms);
bool code_client_may_hold(struct code_client *client); /* without having shown that it reads */
/* Nobody is behind it for now: it hears everything, but is not counted (code_context_n_clients). */
void code_client_set_away(struct code_client *client, bool value);
