/*
 * What the files of the life cycle share: the registry of live sandboxes and its owner.
 * Private to server/service. Thread rule: loop thread only.
 */
#pragma once

#include <uthash.h>

#include "proto/base/codec.h"
#include "server/service/lifecycle.h"

struct event;
struct live;
struct freeze;

/* Somebody who waits for the end of a creation or of a removal. */
struct waiter {
    lifecycle_fn done; /* NULL once cancelled */
    void *arg;
    struct waiter *next;
};

/* One sandbox in the registry. */
struct live {
    struct sandbox sb;
    struct lifecycle *lc;    /* borrowed */
    struct waiter *creator;  /* owned; NULL when nobody waits (adopted, or answered) */
    int64_t begun_ns;        /* monotonic: when its creation was asked for; 0 = adopted */
    bool starting;           /* the runtime works on it */
    bool orphaned;           /* the creator went away while it was starting: remove when started */
    bool removing;           /* the runtime's remove is under way */
    struct waiter *deleters; /* owned list */
    int64_t retry_boot_ms;   /* a failed removal is tried again then; 0 = none */
    UT_hash_handle hh;       /* by sb.id */
};

struct lifecycle {
    struct event_base *base; /* borrowed */
    struct lifecycle_config config;
    struct store *store;     /* borrowed */
    struct runtime *runtime; /* borrowed */
    struct live *registry;   /* uthash, owned */
    struct freeze *freezes;  /* owned list: pauses and resumes under way */
    uint8_t master[32];      /* key of the tokens */
    char boot_id[40];
    int timer_fd;                  /* owned; timerfd on CLOCK_BOOTTIME */
    struct event *timer;           /* owned */
    int64_t armed_boot_ms;         /* when the timer is to fire */
    int64_t hearing_until_boot_ms; /* nothing expires before; 0 = no such time */
    struct lifecycle_counts counts;
};

struct live *live_find(struct lifecycle *lc, const char *id);
struct live *live_add(struct lifecycle *lc, const struct sandbox *sb); /* takes the arena */
void live_free(struct live *l); /* out of the registry, waiters dropped */
/* Applies op and stamps the transition; reason and message must be constants or live in the arena. */
void live_apply(struct live *l, enum sandbox_op op, const char *reason, const char *message);
/* Calls and frees a list of waiters. */
void waiters_answer(struct waiter **list, const struct sandbox *sb, const struct err *err);

void live_remove(struct live *l); /* asks the runtime; answers deleters in the end */
void lifecycle_on_exit(void *arg, const char *id, const struct runtime_exit *exit);

/* expiry.c */
int expiry_start(struct lifecycle *lc, struct err *err) must_check;
void expiry_stop(struct lifecycle *lc);
void expiry_arm(struct lifecycle *lc); /* call after every change of an expiry */
void expiry_set(struct lifecycle *lc, struct sandbox *sb, int64_t expires_us);

/* freeze.c */
void freezes_cancel(struct lifecycle *lc, const void *arg); /* the asker is gone */
void freezes_free(struct lifecycle *lc);

/* reconcile.c */
int reconcile(struct lifecycle *lc, struct err *err) must_check;

/* tokens.c */
int tokens_load(struct lifecycle *lc, struct err *err) must_check;
void tokens_verifier(struct lifecycle *lc, const struct sandbox *sb, char out[SHA256_HEX_LEN + 1]);
