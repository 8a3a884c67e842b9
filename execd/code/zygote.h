/*
 * Zygotes: a warm Python per interpreter that forks a kernel in a few milliseconds.
 *
 * zygote.py is its program. It is started on the first wish for a kernel of that interpreter (which itself starts
 * cold), and again when it has died; one that dies again and again is left alone for a while. What kept one from getting
 * warm is said in a line of the log, once, and to each kernel that starts cold for that reason; modules that could not be
 * preloaded to each that is forked. A kernel is forked twice,
 * so that it becomes a child of execd; it says its number over a socket of its own and begins only after execd watches
 * it, so that no end is missed. Whenever a fork cannot be safe - threads, packages installed meanwhile, variables that
 * an interpreter reads at its start - the answer is no, with the reason, and the caller starts cold.
 * Thread rule: loop thread only. Source: contracts/kernels.md 3.3, 3.4.
 */
#pragma once

#include "execd/code/birth.h"

struct arena;
struct event_base;
struct zygotes;

#define ZYGOTE_FD 3 /* where its program has the socket to execd */

struct zygote_request {
    const char *python;           /* absolute path of the interpreter */
    const char *const *arguments; /* of ipykernel, behind the module's name; NULL-terminated */
    const char *const *envp;
    const char *cwd;
    int out_fd;        /* becomes 1 and 2; borrowed */
    struct leaf *leaf; /* which it joins; borrowed */
};

/* preload: more modules, separated by commas; may be NULL. */
struct zygotes *zygotes_new(struct event_base *base, const char *preload);
void zygotes_free(struct zygotes *z);

/* 0: fn is called later, once. -EAGAIN: no warm one yet, or not for this request; *ret_why says why, and behind a 0 what
 * is to be said of the warm start (may be ""). It lives until the next call. */
int zygotes_fork(struct zygotes *z, const struct zygote_request *request, birth_fn fn, void *arg,
                 struct birth **ret_birth, const char **ret_why) must_check;
/* The same kernel started cold, on the same program: its arguments. NULL when out of memory. */
const char *const *zygote_cold_argv(const char *python, const char *const *arguments,
                                    struct arena *arena);

/* What a warm interpreter, or a copy of a kernel, is told. */
json_t *zygote_request_json(const struct zygote_request *request);
json_t *zygote_env_json(const char *const *envp);
