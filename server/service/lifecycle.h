/*
 * The life of sandboxes: create, get, list, renew, patch, delete, expiry and reconciliation.
 *
 * Owns the registry of live sandboxes; talks to one runtime and one store. Nothing is acknowledged before it is
 * stored; on start store and runtime are reconciled, so that a kill -9 at any instant leaves no orphan, no double
 * and no lost sandbox (hardening J13–J16). Knows nothing of HTTP. Thread rule: loop thread only.
 */
#pragma once

#include "server/runtime/runtime.h"
#include "server/store/store.h"

struct lifecycle;

struct lifecycle_config {
    unsigned sandboxes_max; /* 2,000 */
    int64_t timeout_max_s;  /* 0 = none */
};

/* Loads, reconciles, arms the expiry sweep. */
int lifecycle_new(struct event_base *base, const struct lifecycle_config *config,
                  struct store *store, struct runtime *runtime, struct lifecycle **ret_lifecycle,
                  struct err *err) must_check;
void lifecycle_free(struct lifecycle *lc); /* sandboxes keep running */

/* done is posted once: sandbox (borrowed for the call) or err. If the asker is gone (lifecycle_cancel) the sandbox
 * is removed again, since nobody will ever know its id. */
typedef void (*lifecycle_fn)(void *arg, const struct sandbox *sb, const struct err *err);
int lifecycle_create(struct lifecycle *lc, const struct sandbox_spec *spec, lifecycle_fn done,
                     void *arg, struct err *err) must_check;
void lifecycle_cancel(struct lifecycle *lc, void *arg);
void lifecycle_delete(struct lifecycle *lc, const char *id, lifecycle_fn done, void *arg);

/* Freezes the sandbox whole, or lets it go on; done as for creation. Its lifetime goes on meanwhile. */
void lifecycle_freeze(struct lifecycle *lc, const char *id, bool pause, lifecycle_fn done,
                      void *arg);

const struct sandbox *lifecycle_find(struct lifecycle *lc,
                                     const char *id); /* NULL: unknown or already gone */

struct lifecycle_filter {
    bool by_state;
    bool states[SANDBOX_STATE_MAX];
    struct jmap metadata;
    unsigned page, page_size; /* from 1 */
};
struct lifecycle_page {
    const struct sandbox **items; /* arena */
    size_t n, total;
};
int lifecycle_list(struct lifecycle *lc, const struct lifecycle_filter *filter, struct arena *arena,
                   struct lifecycle_page *ret_page) must_check;

int lifecycle_renew(struct lifecycle *lc, const char *id, int64_t expires_us,
                    struct err *err) must_check;
/* NULL values delete keys; flat merge. */
int lifecycle_patch_metadata(struct lifecycle *lc, const char *id, const struct jpair *changes,
                             size_t n, struct err *err) must_check;

/* The clear execd token of a sandbox: HMAC of the master key, base64url (hardening 6.1). */
#define TOKEN_TEXT_SIZE 44 /* 43 characters for 32 bytes, and NUL */
void lifecycle_token(struct lifecycle *lc, const struct sandbox *sb, char out[TOKEN_TEXT_SIZE]);
int lifecycle_execd_target(struct lifecycle *lc, const struct sandbox *sb,
                           struct relay_target *ret_target, struct arena *arena) must_check;

struct lifecycle_counts {
    uint64_t created, create_failed, deleted, expired, exited;
    unsigned by_state[SANDBOX_STATE_MAX];
    int64_t last_create_us;
};
void lifecycle_counts(const struct lifecycle *lc, struct lifecycle_counts *ret_counts);
