/*
 * Code contexts that are shell sessions: the languages that a shell speaks by itself.
 *
 * A session with a language is a code context: it has its id, queue, state and end; nothing is kept beside it.
 * Thread rule: loop thread only. Source: contracts/execd.md 1.6, kernels.md 0.
 */
#pragma once

#include "execd/exec/session.h"

/* "bash", "sh", "shell", in any case. */
bool shell_context_speaks(const char *language);
/* How many there are, and how many of them run something. */
struct shell_context_counts {
    unsigned n, busy;
};
struct shell_context_counts shell_context_count(struct session_manager *m);
/* A session that is a context; NULL. */
struct session *shell_context_find(struct session_manager *m, const char *id);
/* The one for runs that name no context; NULL while there is none. */
struct session *shell_context_default(struct session_manager *m, const char *language);
/* A new default one where ctx is NULL. *ret_ahead: runs before it. *ret_run is borrowed,
 * *ret_channel the caller's. */
int shell_context_run(struct session_manager *m, struct session *ctx, const char *language,
                      const struct session_run_request *request, unsigned *ret_ahead,
                      struct session_run **ret_run, struct channel **ret_channel,
                      struct err *err) must_check;
/* Deletes all of a language. */
void shell_context_delete_all(struct session_manager *m, const char *language);
