/*
 * One kernel: its process tree, its sockets and its life, from spawn to the last file gone.
 *
 *   STARTING ──(kernel_info_reply, iopub message, stdin)──► READY ──kernel_stop──► STOPPING
 *      │  kernel_info again and again,                       │      shutdown_request, 250 ms, SIGTERM,
 *      │  start budget                                       │      300 ms, SIGKILL to the tree
 *      └──────────────┬──────────────────────────────────────┴──────────┬─────────┘
 *                     ▼ process reaped                                   ▼
 *                 SETTLING: tree killed, what it sent before its end is read ──► DEAD (on_dead, once)
 *
 * Ready needs three parts: the reply proves the request path, the iopub message the subscription (outputs of a first
 * cell would be lost otherwise), and stdin must be connected (its questions would be). Descriptors 1 and 2 of the process
 * end in a pipe that is always drained; its last 8 KiB explain a death. Some kernels let the user's own output go there:
 * then it is delivered by on_iopub.
 *
 * iopub has no back-pressure of its own: a slow subscriber loses messages silently. So everything is taken at
 * once, and the process is stopped (SIGSTOP) while a reader lags behind (kernel_hold) or execd itself does.
 *
 * Callbacks come from the loop, never from inside a function of this module. Thread rule: loop thread only.
 * Source: contracts/jupyter.md 1.12, kernels.md 5.
 */
#pragma once

#include "execd/code/connection.h"
#include "execd/code/jmsg.h"
#include "execd/code/kernel_info.h"
#include "execd/code/kernelspec.h"
#include "execd/proc/leaf.h"

struct event_base;
struct zcontext;
struct zmsg;
struct kernel;
struct zygotes;
struct pool;
struct leaf;

#define KERNEL_TAIL_MAX 8192
#define KERNEL_MESSAGE_MAX (32u << 20) /* bytes; a larger one is lost */

/* What all kernels of a manager share. */
struct kernel_host {
    struct event_base *base;   /* borrowed */
    struct zcontext *zcontext; /* borrowed */
    const char *runtime_dir;   /* borrowed; NULL = chosen at start */
    struct zygotes *zygotes;   /* borrowed; NULL = every start is cold */
    struct pool *pool;         /* borrowed; NULL = no kernel waits ready */
    int start_ms;
    uint64_t frames_dropped; /* malformed, wrongly signed, or of too many parts */
};

/* A message and the frames it points into; owned by whom it was given to. */
struct kernel_msg {
    struct jmsg msg;
    struct zmsg *frames; /* owned; NULL once loaded */
    bool broken;         /* its content was tried, and is no object */
    size_t size;
    struct kernel_msg *next; /* for the owner's queue */
};
void kernel_msg_free(struct kernel_msg *m); /* NULL is fine */
/* Parses the content and lets go of the frames, so that large outputs are held once. As jmsg_load. */
int kernel_msg_load(struct kernel_msg *m) must_check;

struct kernel_ops {
    /* Every message on every channel, also while it starts, before it goes its own way below. Borrowed, with all
     * its parts. True: somebody took it; a reply or a question for input then ends here. */
    bool (*on_message)(void *arg, enum kernel_channel channel, const struct jmsg *msg);
    void (*on_ready)(void *arg);
    void (*on_reply)(void *arg, const struct jmsg *msg); /* shell; borrowed */
    void (*on_iopub)(void *arg, struct kernel_msg *m);   /* caused by us; owned by the callee */
    /* A question of the code for a line of input: to be answered by kernel_answer. Borrowed. */
    void (*on_input)(void *arg, const struct jmsg *msg);
    /* The connection broke and is back, for a message was too large: msg is NULL. Or this one had so many buffers that they are
     * not all there: on_message does not see it, the others do. Borrowed. */
    void (*on_output_lost)(void *arg, const struct jmsg *msg);
    /* It was killed and does not die: the system holds one of its processes (hardening B17). Once, and on_dead follows if
     * that ever ends. May be NULL. */
    void (*on_stuck)(void *arg, const char *reason);
    void (*on_dead)(void *arg, const char *reason); /* last call; the tree is gone */
};

struct kernel_plan {
    const struct kernelspec *spec;
    const char *cwd;         /* NULL or "" = execd's; made when missing */
    const struct jmap *envs; /* may be NULL */
    bool in_advance;         /* for nobody yet: only when it can be forked */
    bool is_copy; /* forked from a checkpoint, of which copy_fd is the socket (borrowed) */
    int copy_fd;
    const struct leaf *copy_leaf; /* borrowed */
};

/* Is it an IPython kernel as usual, PYTHON -m ipykernel_launcher ...? */
bool kernel_can_be_forked(const struct kernelspec *spec);

/* Validates, spawns, connects. -errno with the cause; then nothing is left behind. */
int kernel_start(struct kernel_host *host, const struct kernel_plan *plan,
                 const struct kernel_ops *ops, void *arg, struct kernel **ret_kernel,
                 struct err *err) must_check;
/* For one started in advance: a silent cell that leaves no trace, so that the first true one finds its way paved. An
 * execute_reply follows. */
int kernel_rehearse(struct kernel *k) must_check;
/* Gives one that was started in advance to a caller of kernel_start, who notices nothing: on_ready follows when it has
 * taken folder and environment over; if it cannot, it starts again, cold. -EAGAIN: it does not fit this plan. */
int kernel_reuse(struct kernel *k, const struct kernel_plan *plan, const struct kernel_ops *ops,
                 void *arg, struct err *err) must_check;
/* To another owner: its events go there from now on. */
void kernel_hand_over(struct kernel *k, const struct kernel_ops *ops, void *arg);
/* After on_dead nothing is left to do; before, the tree is killed on the spot and on_dead does not come. */
void kernel_free(struct kernel *k);

bool kernel_is_ready(const struct kernel *k);
/* "checkpoint" (a copy), "pool" (forked in advance), "forked" from a warm interpreter, or "cold"; why (may be ""). */
const char *kernel_how(const struct kernel *k, const char **ret_note);
/* Where it takes requests for a copy of itself; -1: it cannot be copied, *ret_why says why. */
int kernel_fork_socket(const struct kernel *k, const char **ret_why);
const struct leaf *kernel_leaf(const struct kernel *k);
/* What it wrote to descriptors 1 and 2 lately: text, repaired UTF-8 is up to the reader. */
const char *kernel_tail(const struct kernel *k);
unsigned kernel_quirks(const struct kernel *k); /* of enum kernel_quirk */
/* Nothing should be asked of it for a while; how long still, in ms. */
void kernel_rest(struct kernel *k, int ms);
int kernel_rest_left(const struct kernel *k);
/* What it wrote to them and has not been delivered yet, a piece at a time; NULL when there is no more, and for a
 * kernel whose output does not bypass the protocol. The caller's. */
struct kernel_msg *kernel_next_output(struct kernel *k);

/* What its processes have used since its start; after its end, until then. */
void kernel_usage(const struct kernel *k, struct leaf_usage *ret_usage);
/* Some thread of its process, or of ours, which carry its messages, is ready to run, or it is held: what it has not
 * said it may just have had no time for. */
bool kernel_is_at_work(const struct kernel *k);
/* It was killed for lack of memory. */
bool kernel_was_oom(const struct kernel *k);

/* NULL until it is ready. */
const struct kernel_info *kernel_get_info(const struct kernel *k);

/* Sends an execute_request; ret_id is its msg_id. */
int kernel_execute(struct kernel *k, const char *code, bool may_ask,
                   char ret_id[JMSG_ID_MAX]) must_check;
/* The line that a question gets; valid UTF-8. */
void kernel_answer(struct kernel *k, const struct jmsg *question, struct slice line);
/* Somebody else's message, signed and sent. -EAGAIN when the kernel takes nothing and the queue is full, -EMSGSIZE. */
int kernel_send_parts(struct kernel *k, enum kernel_channel channel,
                      const struct jmsg_parts *parts) must_check;
/* The id belongs to a message of kernel_execute, kernel_nudge and the like. */
bool kernel_is_own(const struct kernel *k, const char *msg_id);
/* A request of this type is something that a kernel is at, and that can be interrupted (contracts/jupyter.md 2.2). */
bool kernel_is_work(const char *type);
/* Sends something harmless on shell: wakes a kernel that has missed a request (contracts/jupyter.md 1.12). */
void kernel_nudge(struct kernel *k);
/* SIGINT to its process group, or interrupt_request where its kernelspec says so; a moment later where the kernel has
 * only just begun. */
int kernel_interrupt(struct kernel *k, struct err *err) must_check;
/* Who wants the process to wait (SIGSTOP): it runs while nobody does. */
enum kernel_hold {
    KERNEL_HOLD_RUN = 1 << 0,    /* the reader of a run lags behind */
    KERNEL_HOLD_CLIENT = 1 << 1, /* a client does */
    KERNEL_HOLD_US = 1 << 2,     /* execd itself */
};
void kernel_hold(struct kernel *k, enum kernel_hold who, bool value);

void kernel_stop(struct kernel *k); /* politely, then not; idempotent */
void kernel_kill(struct kernel *k,
                 const char *reason); /* at once; reason (may be NULL) becomes on_dead's */
