/*
 * The environment of children: execd's own without its secrets, plus the env file, plus the request's.
 *
 * Taken once at start; EXECD_*, JUPYTER_* and the tokens KG_AUTH_TOKEN and EG_AUTH_TOKEN are removed except
 * EXECD_ENVS and JUPYTER_PORT, which children need
 * (contracts/v1.1.md 1.3, hardening A24), and OPENSANDBOX_* names that speak of tokens, keys or secrets.
 * Precedence: daemon < file < request. Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/err.h"
#include "proto/json/jfield.h"

struct arena;

/* Copies and scrubs `environ`, erases the removed values in place (hardening 6.2), and keeps the working directory
 * of this moment as the start directory. Call once in main, after the options have been read from the environment
 * and before the directory changes. */
void environment_capture(void);

/* Where execd was started: the base of relative working directories, and the default one. "/" before capture. */
const char *environment_start_dir(void);
/* execd's own environment as children inherit it; NULL-terminated, empty before capture. */
const char *const *environment_daemon(void);

/* Builds envp in the arena. overlay may be NULL. The EXECD_ENVS file is read anew each time, ≤ 1 MiB; its faults
 * are logged, never fatal. */
int environment_build(struct arena *arena, const struct jmap *overlay, const char *const **ret_envp,
                      struct err *err) must_check;
/* Value in an envp, NULL if absent. */
const char *environment_get(const char *const *envp, const char *name);

/* Parses the env file's text (contracts/v1.1.md 1.3: plain, double and single quoted, multi-line, last wins).
 * An entry whose quote is not closed at the end of the text is left out: somebody is still writing it.
 * Lines that are no entry are skipped and counted in *ret_bad_lines (may be NULL). -ENOMEM. */
int environment_parse_file(struct arena *arena, const char *text, size_t len, struct jmap *ret_map,
                           size_t *ret_bad_lines) must_check;

/* Expands and checks a working directory with the child's own environment: absolute, existing, a directory; a
 * leading ~ is the HOME of execd itself. Empty or NULL → execd's start directory. Result in the arena. Texts of
 * contracts/execd.md 1.4 "cwd". */
int environment_resolve_cwd(struct arena *arena, const char *cwd, const char *const *envp,
                            const char **ret_cwd, struct err *err) must_check;

/* The same for a directory that is made when it is not there, with all its parents. */
int environment_make_cwd(struct arena *arena, const char *cwd, const char *const *envp,
                         const char **ret_cwd, struct err *err) must_check;
