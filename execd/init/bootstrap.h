/*
 * The start as OpenSandbox's bootstrap.sh: execd called by that name, or `execd bootstrap ...`, prepares the
 * environment and chooses the program, then goes on as an init would. One file is all that must be put into an image.
 *
 * What needs a shell (a script to be sourced, certificates to be installed) is done by one: execd executes a shell in
 * its own place, which sources the script and executes execd again, so the process id stays and whatever the script
 * exports is simply there. Images without a shell can be started as long as neither is asked for.
 * Thread rule: main, before the options are read. Source: contracts/execd.md 3.11.
 */
#pragma once

#include "proto/base/err.h"
#include "proto/base/mem.h"

#define BOOTSTRAP_ENVS_DEFAULT "/opt/opensandbox/.env"

/* Is this command line one for bootstrap_prepare? */
bool bootstrap_is_wanted(int argc, char *const *argv);

/* Sets EXECD_ENVS and makes its file, and puts the command line that execd is to run with in *ret_argc and *ret_argv
 * (arena, with borrowed words): options first, then "--" and the program. Does not come back when a shell takes over:
 * that calls execd again. -errno with its text. */
int bootstrap_prepare(int argc, char *const *argv, struct arena *arena, int *ret_argc,
                      char ***ret_argv, struct err *err) must_check;

/* The part that a shell does, as sh takes it behind -c. $0 is execd, the arguments go behind it. */
extern const char bootstrap_script[];

/* The program for a shell's words, as data: BOOTSTRAP_CMD, else what stands behind -c, joined by blanks, else the
 * words as they are, else the shell alone. NULL-terminated, in the arena; NULL without memory. */
const char **bootstrap_program(const char *cmd, const char *shell, int n_words, char *const *words,
                               struct arena *arena);
