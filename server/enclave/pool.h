/*
 * The pool of ms-enclave's API: sandboxes made in advance; each request for a tool takes the one that has been idle
 * longest, or waits for one (contracts/jupyter.md 3.5).
 *
 * Nothing is reset between two uses, as there. The pool is forgotten with the server; its sandboxes stay. A sandbox that
 * is gone leaves the pool when its turn comes. Thread rule: loop thread only.
 */
#pragma once

#include "server/enclave/call.h"

struct enclave_pool;
struct pool_use;

#define POOL_SIZE_MAX 256
#define POOL_WAITING_MAX 1024
#define POOL_WAIT_S 3600 /* when the request names no limit */

struct enclave_pool *enclave_pool_new(struct event_base *base, struct lifecycle *lc);
void enclave_pool_free(struct enclave_pool *pool); /* NULL is fine; requests are over by then */

/* Makes n more sandboxes, side by side; on_done is posted once: ids is an array (the callee's reference) of those that
 * could be made; err (the first failure) is set when there is none. */
typedef void (*pool_filled_fn)(void *arg, json_t *ids, const struct err *err);
int enclave_pool_fill(struct enclave_pool *pool, const struct sandbox_spec *spec, unsigned n,
                      pool_filled_fn on_done, void *arg, struct err *err) must_check;
/* Nobody waits for the answer of a fill with this arg any more. */
void enclave_pool_forget(struct enclave_pool *pool, const void *arg);

/* Runs a tool in the next idle sandbox; on_done once: result (the callee's reference) or err. */
typedef void (*pool_done_fn)(void *arg, json_t *result, const struct err *err);
int enclave_pool_use(struct enclave_pool *pool, const char *tool, const json_t *parameters,
                     int64_t wait_ms, pool_done_fn on_done, void *arg, struct pool_use **ret_use,
                     struct err *err) must_check;
void enclave_pool_cancel(struct pool_use *use);

enum pool_state { POOL_NONE, POOL_IDLE, POOL_BUSY };
enum pool_state enclave_pool_state(const struct enclave_pool *pool, const char *id);
unsigned enclave_pool_size(const struct enclave_pool *pool);
