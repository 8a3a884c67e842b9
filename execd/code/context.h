/*
 * Code contexts: one kernel each, a queue of runs, and the channel of every run.
 *
 * A context is created for a language (kernelspec by language), has an id (UUID), and owns its kernel process:
 * the kernel dies with it. Runs are queued; each has a channel that ends with exactly one terminal event, also
 * when the kernel dies, lies or hangs after an interrupt. The default context of a kernelspec, whatever name leads
 * to that, is made on first use.
 * Knows nothing of HTTP. Thread rule: loop thread only. Source: contracts/execd.md 1.6, 3.1; jupyter.md 1.
 */
#pragma once

#include "execd/code/kernel_info.h"
#include "execd/code/kernel_stats.h"
#include "execd/code/kernelspec.h"
#include "execd/stream/channel.h"
#include "proto/json/jfield.h"

struct code_manager;
struct code_context;
struct kernelspecs;
struct checkpoint;
struct work_pool;

#define CODE_CLIENTS_MAX 64  /* per context */
#define CODE_CONTEXTS_MAX 64 /* defaults of struct code_config */
#define CODE_CULL_INTERVAL_MS 60000
/* Contexts that are kept to say why their kernel did not start: so long, and so many beside the others. */
#define CODE_DEAD_MS 60000
#define CODE_DEAD_MAX 8

/* Why a kernel is gone that nobody told to go: the name and the text of an error, and what it wrote last (valid UTF-8; may
 * be NULL). */
struct code_death {
    const char *ename, *evalue, *last_words;
    bool at_start; /* it was never ready */
};

struct code_config {                 /* zeroed fields take the default */
    unsigned contexts_max;           /* CODE_CONTEXTS_MAX */
    unsigned (*n_others)(void *arg); /* contexts without a kernel, which count too; may be NULL */
    void *others_arg;
    unsigned queue_max;     /* 128 runs waiting per context */
    int start_ms;           /* 30,000: kernel start budget */
    int interrupt_grace_ms; /* 5,000: then the kernel is killed */
    int64_t cull_idle_ms;   /* contexts go after so long without work; 0 = they stay */
    int cull_interval_ms;   /* CODE_CULL_INTERVAL_MS: how often that is looked at */
    const char *
        runtime_dir; /* 0700 folder for sockets and connection files, made if missing; NULL: chosen */
    bool zygote_off;           /* every kernel starts cold */
    unsigned pool;             /* kernels that wait ready once IPython was used; 0: none */
    unsigned checkpoints_max;  /* per context; 0: none can be made */
    uint64_t checkpoint_bytes; /* of all together; 0: a quarter of the memory */
    struct work_pool *workers; /* borrowed; may be NULL */
    const char *preload;       /* modules for warm interpreters, separated by commas; may be NULL */
    /* A kernel has died or did not start; everything borrowed. May be NULL. */
    void (*on_death)(void *arg, const struct code_context *ctx, const struct code_death *death);
    void *death_arg;
    struct channel_limits channel;
};

int code_manager_new(struct event_base *base, const struct code_config *config,
                     struct code_manager **ret_manager, struct err *err) must_check;
void code_manager_free(struct code_manager *m); /* kills every kernel */
/* Every run ends with reason agent_shutdown, no kernel starts any more; who ends all processes ends the kernels. m may
 * be NULL. */
void code_manager_shutdown(struct code_manager *m);

/* What a context is to be; fields that are NULL are left to us. */
struct code_context_options {
    const char *language;
    const char *spec;        /* name of a kernelspec: this one, whatever its language */
    const char *id;          /* a UUID that no context has yet */
    const char *cwd;         /* made when missing */
    const struct jmap *envs; /* copied */
    const char *origin;      /* checkpoint of which the first kernel is a copy */
    bool keep_dead;          /* should its kernel not start, it stays for CODE_DEAD_MS, dead */
};

/* Starts a kernel. The context is there at once (*ret_ctx, may be NULL); on_ready (may be NULL) is posted once, with
 * the context or with NULL and err. */
typedef void (*code_ready_fn)(void *arg, struct code_context *ctx, const struct err *err);
int code_context_create(struct code_manager *m, const struct code_context_options *options,
                        code_ready_fn on_ready, void *arg, struct code_context **ret_ctx,
                        struct err *err) must_check;
/* A new kernel under the same id, with the same working directory and variables; a dead context lives again. Runs end
 * with an error. on_ready as above; a restart that is under way already is joined, not repeated. */
int code_context_restart(struct code_context *ctx, code_ready_fn on_ready, void *arg,
                         struct err *err) must_check;
void code_cancel_ready(struct code_manager *m,
                       void *arg); /* the asker is gone; the context stays */

struct code_context *code_context_find(struct code_manager *m, const char *id);
struct code_context *code_context_next(struct code_manager *m,
                                       struct code_context *prev); /* NULL starts; oldest first */
const char *code_context_id(const struct code_context *ctx);
const char *code_context_language(const struct code_context *ctx);
/* The name, in any case, is what it was made for, its kernelspec's, or the language of that. */
bool code_context_speaks(const struct code_context *ctx, const char *language);
const char *code_context_cwd(const struct code_context *ctx);
/* How its kernel was started: "checkpoint" (a copy), "pool" (forked in advance), "forked" from a warm interpreter, or
 * "cold"; "" when it is gone. *ret_note: why, if there is something to say; "". */
const char *code_context_start(const struct code_context *ctx, const char **ret_note);
enum code_state { CODE_STARTING, CODE_RESTARTING, CODE_IDLE, CODE_BUSY, CODE_DEAD, CODE_STATE_MAX };
enum code_state code_context_state(const struct code_context *ctx);
const char *code_state_name(enum code_state state); /* "starting", … as Jupyter says it */
const char *code_context_spec(const struct code_context *ctx); /* name of its kernelspec */
/* False while its kernel has not died; borrowed. */
bool code_context_death(const struct code_context *ctx, struct code_death *ret_death);
bool code_context_is_kept_dead(const struct code_context *ctx); /* CODE_DEAD_MS are running */
/* When it last began or ended to work; microseconds since 1970. */
int64_t code_context_active_us(const struct code_context *ctx);
unsigned code_context_n_clients(const struct code_context *ctx);
/* What is known of a context and its kernel. */
struct code_details {
    const struct kernel_info *kernel; /* borrowed; NULL until it is ready, and when it is dead */
    int64_t created_us, active_us;    /* wall clock */
    unsigned queued;                  /* runs that wait */
    uint64_t memory_now, memory_peak; /* bytes; 0 = unknown */
};
void code_context_get_details(const struct code_context *ctx, struct code_details *ret_details);
/* The kernelspecs that can be seen now; to be freed with kernelspecs_free. */
struct kernelspecs *code_kernelspecs(struct code_manager *m);
/* There is none with this name (by_name) or for this language: err says how to add one, or what is wrong with the one
 * that is there. */
int code_refuse_spec(const struct kernelspecs *specs, const char *name, bool by_name,
                     struct err *err) must_check;
/* There are max contexts, which is the limit. */
int code_refuse_room(unsigned max, struct err *err) must_check;
bool code_has_language(struct code_manager *m, const char *language); /* a kernel for it */

/* Kills the kernel; runs end with an error event. on_gone (may be NULL) is posted when it has been reaped. */
void code_context_delete(struct code_context *ctx, void (*on_gone)(void *), void *arg);

/* Copies of a context's kernel. The first makes one, if the kernel is at rest and a fork takes along all there is of it,
 * else ERR_CHECKPOINT_REFUSED names what is in the way; fn is posted once. */
typedef void (*code_checkpoint_fn)(void *arg, const struct checkpoint *c, const struct err *err);
int code_context_checkpoint(struct code_context *ctx, code_checkpoint_fn fn, void *arg,
                            struct err *err) must_check;
/* The kernel as it was: as a restart, but by a copy of the checkpoint, which stays. */
int code_context_rewind(struct code_context *ctx, const char *checkpoint_id, code_ready_fn on_ready,
                        void *arg, struct err *err) must_check;
/* A context of its own that goes on from the checkpoint; as code_context_create. */
int code_context_branch(struct code_context *ctx, const char *checkpoint_id, code_ready_fn on_ready,
                        void *arg, struct err *err) must_check;
int code_checkpoint_delete(struct code_context *ctx, const char *checkpoint_id,
                           struct err *err) must_check;
json_t *code_context_checkpoints(const struct code_context *ctx);

/* Code to run. Fields that are NULL or 0 are left to us. */
struct code_run_request {
    struct code_context *context; /* NULL: the default context of the language, made on first use */
    const char *language;
    const char *code;
    int64_t timeout_ms; /* of work in the kernel, or of waiting for another's; 0 = no limit */
    const char *input;  /* lines for the questions of the code, in order; NULL = it may not ask */
};
/* Queues it. The channel exists at once, also while the kernel starts: a failure to start is an ERROR event there.
 * *ret_channel is the caller's reference; INIT text = context id. *ret_ahead (may be NULL): how many runs are before
 * it. */
int code_run(struct code_manager *m, const struct code_run_request *request,
             struct channel **ret_channel, unsigned *ret_ahead, struct err *err) must_check;
/* Interrupts the current run (and drops queued ones: they end with an error event); one that waits for the cell of a
 * client is dropped, too. Without any, what the kernel does for a client. */
int code_interrupt(struct code_context *ctx, struct err *err) must_check;
/* For clients: interrupts what the kernel works on. When that is theirs, runs wait on. */
int code_interrupt_kernel(struct code_context *ctx, struct err *err) must_check;

struct code_counts {
    uint64_t runs_ok, runs_failed, kernels_started, kernels_died, frames_dropped, pool_taken;
    uint64_t checkpoints_made, checkpoints_evicted, checkpoint_bytes;
    unsigned contexts, busy, pool_ready, checkpoints;
};
/* By type of kernel, gauges too. Borrowed until the next call. */
const struct kernel_stats *code_manager_stats(struct code_manager *m);
void code_manager_counts(const struct code_manager *m, struct code_counts *ret_counts);
