/*
 * What the files of contexts share: the list of them (manager.c) and what one does (context.c).
 *
 * Private to execd/code. Thread rule: loop thread only.
 */
#pragma once

#include "execd/code/context.h"
#include "execd/code/kernel.h"
#include "execd/code/run.h"
#include "proto/base/ids.h"

struct event;

/*
 * Life of a context:
 *
 *   STARTING ──on_ready──► READY ──kernel dies──► DEAD ──delete──► GONE
 *      └───────start fails────┴────────delete─────────────────────► GONE ──kernel reaped──► freed
 *
 * GONE contexts are not found any more. Everything that calls back or frees runs from `post`, never from inside
 * a function that somebody called.
 */
enum context_state { CONTEXT_STARTING, CONTEXT_READY, CONTEXT_DEAD, CONTEXT_GONE };

struct code_context {
    struct code_manager *manager; /* borrowed */
    enum context_state state;
    char id[ID_UUID_LEN + 1];
    char *language, *cwd;             /* owned; cwd as it was asked for, "" if not */
    bool is_default;                  /* made by a run without context */
    struct kernel *kernel;            /* owned; NULL once it is dead and its end was handled */
    bool kernel_ended;                /* to be freed by post */
    struct code_run *current, *queue; /* owned */
    unsigned n_queued;
    bool interrupt_wanted;                /* as soon as the current run is busy */
    struct event *interrupt_timer, *post; /* owned */
    code_ready_fn on_ready;               /* NULL once called or cancelled */
    void *ready_arg;
    struct err start_err;
    void (*on_gone)(void *arg);
    void *gone_arg;
    struct code_context *next;
};

struct code_manager {
    struct event_base *base; /* borrowed */
    struct code_config config;
    char *runtime_dir; /* owned */
    struct kernel_host host;
    struct kernelspec_env spec_env; /* values owned */
    struct code_context *contexts;  /* owned, oldest first */
    struct code_counts counts;      /* without the two gauges */
};

void context_free(struct code_context *ctx); /* kills its kernel; runs end with an error event */
