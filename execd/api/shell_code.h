/*
 * The code routes where the language is a shell's: answered by sessions instead of kernels.
 *
 * A kernelspec for the language wins, but over a context that is there already. Thread rule: loop thread only.
 */
#pragma once

#include "execd/api/api.h"

/* A new context of this language is a shell's. */
bool shell_code_serves(const struct api *api, const char *language);
/* Does a shell run this? id names a context, or is NULL or empty. */
bool shell_code_takes(const struct api *api, const char *id, const char *language);

int shell_code_run(const struct api *api, const char *id, const char *language,
                   const struct session_run_request *request, unsigned *ret_ahead,
                   struct session_run **ret_run, struct channel **ret_channel,
                   struct err *err) must_check;
int shell_code_create(const struct api *api, const struct session_request *request,
                      struct session **ret_session, struct err *err) must_check;
json_t *shell_code_describe(const struct session *s); /* NULL: no memory */
/* Appends all of a language; NULL or "" = of any. *list becomes NULL without memory. */
void shell_code_list(const struct api *api, const char *language, json_t **list);
