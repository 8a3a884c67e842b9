/*
 * What the files of the manager of isolated sessions share. Private to execd/isolate. Thread rule: loop thread only.
 */
#pragma once

#include <uthash.h>

#include "execd/isolate/control.h"
#include "execd/isolate/manager.h"
#include "execd/isolate/store.h"
#include "execd/proc/pidref.h"

#define LOST_RUNS 256

enum isolate_state { ISOLATE_STARTING, ISOLATE_ACTIVE, ISOLATE_DEAD };

/* What is left of a background run when its session is gone. */
struct lost_run {
    char session[ID_UUID_LEN + 1], run[ID_UUID_LEN + 1];
    int64_t started_us;
};

struct isolate_session {
    struct isolate_manager *manager; /* borrowed */
    enum isolate_state state;
    struct session *shell; /* owned by manager->shells */
    struct shell_wrap wrap;
    struct control *control;  /* owned */
    char dir[ID_HEX_LEN + 1]; /* in the store */
    struct arena arena;       /* holds layers */
    struct isolate_layer *layers;
    size_t n_layers;
    bool background;
    struct isolate_session *
        *worker; /* where the work on its layers keeps it; NULL = there is none */
    bool doomed; /* unknown to everybody, deleted as soon as that is over */
    json_t *echo;
    int64_t idle_timeout_ms;
    struct event *idle; /* owned: deletes */
    isolate_created_fn on_created;
    void *arg;
    UT_hash_handle hh;
    const char *id; /* borrowed from shell */
};

struct probe_waiter {
    isolate_probed_fn on_reply;
    void *arg;
    struct probe_waiter *next;
};

/* The trial: under way while child is set, over when `known`. */
struct probe {
    bool known;
    struct isolate_reply reply;
    char message[ERR_TEXT_MAX]; /* of reply */
    struct control *control;    /* owned */
    struct pidref child;
    struct event *notify;         /* owned: posts the answers */
    struct probe_waiter *waiters; /* owned */
};

struct isolate_manager {
    struct event_base *base; /* borrowed */
    struct isolate_config config;
    struct session_manager *shells; /* owned */
    struct store *store;            /* owned; NULL until it is needed */
    struct isolate_session *by_id;  /* uthash; owns */
    unsigned n;
    struct lost_run lost[LOST_RUNS]; /* a ring */
    size_t next_lost;
    struct probe probe;
    bool shutting_down;
};

/* Work on the layers; false: it is busy. *worker = s until isolate_work_done, which may free the session; the end of the
 * manager makes it NULL. */
bool isolate_work_begin(struct isolate_session *s, bool alone, struct isolate_session **worker);
void isolate_work_done(struct isolate_session *s);

/* Nothing needs the store any more: its directory goes, in the pool. Otherwise only `name` in it. */
void isolate_leave_store(struct isolate_manager *m, const char *name);
int isolate_open_store(struct isolate_manager *m, struct err *err) must_check;
int isolate_probe_init(struct isolate_manager *m) must_check;
void isolate_probe_done(struct isolate_manager *m);
