/*
 * The start as `jupyter kernelgateway ...` or `jupyter enterprisegateway ...`: execd under the name jupyter takes the
 * command lines and variables (KG_*, EG_*) of those servers, so that images made for them need no other change.
 *
 * As there, no token means that none is asked for. What is known there and has no meaning here is said on standard
 * error and left out; what is known nowhere is refused; what would make the server less safe or another one than asked for (TLS, notebook-http) is refused.
 * Thread rule: main, before the options are read. Source: contracts/jupyter.md 2.12.
 */
#pragma once

#include "proto/base/err.h"
#include "proto/base/mem.h"

/* Was execd called by one of those names? */
bool jupyter_is_wanted(int argc, char *const *argv);

enum jupyter_result { JUPYTER_RUN, JUPYTER_EXIT };

/* JUPYTER_RUN: the command line of execd that does the same, in the arena; the words of secrets are those of argv, to be wiped.
 * JUPYTER_EXIT: --help or --version was answered on standard output. -EINVAL with a text that teaches. */
int jupyter_prepare(int argc, char *const *argv, struct arena *arena, int *ret_argc,
                    char ***ret_argv, struct err *err) must_check;
