/*
 * One tool in one sandbox: its request to the execd there, and its result as ms-enclave's clients read it.
 * Thread rule: loop thread only.
 */
#pragma once

#include "server/enclave/tools.h"
#include "server/service/lifecycle.h"

struct enclave_call;

/* result: a ToolResult, the callee's reference. Runs once, posted, unless the call is cancelled. */
typedef void (*enclave_call_fn)(void *arg, json_t *result);

/* Parameters are checked here: unknown tools, those that the sandbox has not, bad values. Nothing of them is kept. */
int enclave_call_start(struct event_base *base, struct lifecycle *lc, const struct sandbox *sb,
                       const char *tool, const json_t *parameters, enclave_call_fn on_done,
                       void *arg, struct enclave_call **ret_call, struct err *err) must_check;
void enclave_call_cancel(
    struct enclave_call *call); /* NULL is fine; the program in the sandbox ends too */
