/*
 * What the files of contexts share: the list of them (manager.c), their life (context.c), their runs (context_runs.c)
 * and their clients (clients.c).
 *
 * Private to execd/code. Thread rule: loop thread only.
 */
#pragma once

#include "execd/code/checkpoint.h"
#include "execd/code/clients.h"
#include "execd/code/context.h"
#include "execd/code/hold_budget.h"
#include "execd/code/kernel.h"
#include "execd/code/kernel_stats.h"
#include "proto/base/patience.h"
#include "execd/code/run.h"
#include "proto/base/ids.h"

struct event;

#define LEFTOVERS_MAX 4
#define SPECS_TOLD_MAX (4 * KERNELSPEC_BROKEN_MAX)

/*
 * Life of a context:
 *
 *   STARTING ──on_ready──► READY ──kernel dies──► DEAD ──delete──► GONE
 *      │                      └──────────restart──────┴─► RESTARTING ──old one reaped, new one ready──► READY
 *      └───────start fails────┴────────delete─────────────────────► GONE ──kernel reaped──► freed
 *
 * A start that fails ends in DEAD for a while where keep_dead was asked for. GONE contexts are not found any more. Everything that calls back or frees runs from `post`, never from inside
 * a function that somebody called.
 */
enum context_state {
    CONTEXT_STARTING,
    CONTEXT_RESTARTING,
    CONTEXT_READY,
    CONTEXT_DEAD,
    CONTEXT_GONE
};

/* Somebody who waits for the kernel. */
struct ready_wait {
    code_ready_fn fn;
    void *arg;
    struct ready_wait *next;
};

struct code_context {
    struct code_manager *manager; /* borrowed */
    enum context_state state;
    char id[ID_UUID_LEN + 1];
    struct arena arena;          /* of the next five */
    const char *language, *spec; /* spec: name of the kernelspec */
    const char *spec_language;   /* of that */
    const char *cwd;             /* as it was asked for, "" if not */
    struct jmap envs;
    bool is_default;             /* made by a run without context */
    struct kernel *kernel;       /* owned; NULL once it is dead and its end was handled */
    bool kernel_ended;           /* to be freed by post */
    int64_t start_ns;            /* when it was started; monotonic */
    char origin[ID_HEX_LEN + 1]; /* checkpoint of which the first kernel is a copy; "" = none */
    struct heir *heir;           /* owned: of a rewind; NULL = none */
    bool restart_wanted;         /* once the old kernel is gone */
    struct code_run *current, *queue; /* owned */
    unsigned n_queued;
    size_t queued_bytes;   /* of what waits */
    bool interrupt_wanted; /* as soon as the current run is busy */
    struct patience interrupt_grace;
    struct event *post;       /* owned */
    struct ready_wait *waits; /* owned */
    struct err start_err;
    char death[600];               /* why the kernel died; "" while it has not */
    bool died_at_start;            /* not later */
    char *last_words;              /* owned; of the kernel that died; valid UTF-8; NULL = none */
    bool was_ready;                /* a kernel of it */
    bool keep_dead;                /* it stays when none ever gets ready, */
    int64_t dead_until_ms;         /* so long, monotonic; 0 = that is not so */
    int64_t active_us, created_us; /* wall clock */
    int64_t active_ms;             /* as active_us, monotonic */
    int64_t cull_idle_ms;          /* 0 = it stays */
    const char *gone_reason;     /* why it was deleted, a constant; NULL = somebody asked for it */
    struct code_client *clients; /* owned by who attached them */
    struct hold_budget hold_budget; /* of the clients */
    unsigned clients_walked;        /* their list is being walked, so many times */
    uint64_t client_work;  /* hash of a request, no run, that the kernel works on; 0 = none */
    bool client_replied;   /* only the idle of that is missing */
    bool client_lost;      /* that may have gone with a connection */
    bool client_interrupt; /* as soon as it does */
    char leftovers[LEFTOVERS_MAX][JMSG_ID_MAX]; /* requests of runs that were given up */
    unsigned n_leftovers;
    bool leftover_busy;        /* the kernel is at one */
    char failing[JMSG_ID_MAX]; /* a client's run that has failed and not ended yet; "" = none */
    int64_t failing_until_ms;  /* how long that counts */
    enum context_state told;   /* to the clients */
    void (*on_gone)(void *arg);
    void *gone_arg;
    struct code_context *next;
};

struct code_manager {
    struct event_base *base; /* borrowed */
    struct code_config config;
    char *runtime_dir; /* owned */
    uint64_t n_heard;  /* messages to clients */
    struct kernel_host host;
    struct kernelspec_env spec_env; /* values owned */
    struct code_context *contexts;  /* owned, oldest first */
    bool shutting_down;
    struct event *cull_timer;        /* owned; NULL until a context may be culled */
    int cull_every_ms;               /* what it is set to while it is pending */
    struct event *dead_timer;        /* owned; NULL until a context is kept dead */
    struct checkpoints *checkpoints; /* owned */
    struct code_counts counts;       /* of runs and kernels; the rest is asked for elsewhere */
    struct kernel_stats stats;       /* without the gauges */
    uint64_t told[SPECS_TOLD_MAX];   /* broken kernelspecs that the log knows, the latest */
    unsigned n_told;                 /* ever */
};

void context_free(struct code_context *ctx); /* kills its kernel; runs end with an error event */
void context_tell(const struct code_context *ctx); /* its state, as an event */

void context_touch(struct code_context *ctx); /* it is used just now */

/* cull.c */
void cull_watch(struct code_context *ctx); /* a new one that has cull_idle_ms */
void cull_done(struct code_manager *m);

/* context_death.c */
/* The kernel has ended by itself; tail: what it wrote last. */
void context_note_death(struct code_context *ctx, bool starting, const char *reason,
                        const char *tail);
void context_note_no_start(struct code_context *ctx, const struct err *err); /* there was none */
void context_forget_death(struct code_context *ctx);     /* another kernel takes its place */
void context_tell_death(const struct code_context *ctx); /* to who has configured on_death */
/* A kernel that did not start: true when the context stays nevertheless. */
bool context_stay_dead(struct code_context *ctx);
void context_dead_done(struct code_manager *m);

/* As code_context_restart; rewound: the heir takes over. */
int context_restart(struct code_context *ctx, bool rewound, code_ready_fn on_ready, void *arg,
                    struct err *err) must_check;
void context_post(
    struct code_context *ctx); /* everything that must not happen on a caller's stack */
/* Named ones first: a restart takes the same spec again, as it is now. specs are the caller's. */
int context_find_spec(struct code_manager *m, const char *name, const char *language,
                      struct kernelspecs **ret_specs, const struct kernelspec **ret_spec,
                      struct err *err) must_check;

/* heir.c: one at a time */
int heir_start(struct code_context *ctx, struct checkpoint *c, code_ready_fn fn, void *arg,
               struct err *err) must_check;
void heir_tend(struct code_context *ctx); /* from post */
/* Once the old kernel is gone. The kernel is the caller's, to be handed over to; *ret_death (NULL: it lives) is why it
 * has died meanwhile. heir_free follows. */
struct kernel *heir_take(struct code_context *ctx, const char **ret_death) must_check;
void heir_cancel(struct code_context *ctx, const void *arg); /* the asker is gone */
void heir_free(struct code_context *ctx);                    /* kills it; none is fine */

/* context_copies.c */
/* Makes the plan one for a copy when there is an origin, which is used up by that. */
int context_use_origin(struct code_context *ctx, struct kernel_plan *plan,
                       struct err *err) must_check;

/* context_runs.c */
/* After anything that may have moved the current run. */
void context_tick(struct code_context *ctx);
extern const struct run_failure context_shutting_down; /* manager.c */
void context_fail_runs(struct code_context *ctx, const struct run_failure *failure);
/* From now on the kernel has its grace to react to an interrupt. */
void context_arm_kill(struct code_context *ctx);
/* It did not. */
void context_interrupt_overdue(struct code_context *ctx);

/* leftovers.c */
/* The request of a run that is given up; false: there are too many. */
bool leftovers_add(struct code_context *ctx, const char *msg_id);
void leftovers_forget(struct code_context *ctx); /* the kernel is another one */
void leftovers_take(struct code_context *ctx,
                    struct kernel_msg *m); /* iopub; m stays the caller's */
void leftovers_take_reply(struct code_context *ctx, const struct jmsg *msg);

/* clients.c */
/* Interrupts what the kernel does for a client, now or as soon as it begins: a signal before that would be lost. */
int clients_interrupt(struct code_context *ctx, struct err *err) must_check;
/* Who of the clients it concerns hears it. True: a reply or question was theirs. */
bool clients_take(struct code_context *ctx, enum kernel_channel channel, const struct jmsg *msg);
void clients_tell_lost(struct code_context *ctx, const struct jmsg *msg); /* as on_lost */
/* The end of what the kernel does for a client may be among what was lost. */
void clients_check_work(struct code_context *ctx);
void clients_tell(struct code_context *ctx); /* the state, when it has changed; the end */
void clients_end(struct code_context *ctx);
