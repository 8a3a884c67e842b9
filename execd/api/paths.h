/*
 * Paths in requests: one expansion for every file route (contracts/execd.md 3.6).
 * ~ and $NAME by execd's own environment, then absolute against its start directory. Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/mem.h"
#include "proto/base/err.h"

/* Result in the arena. Empty paths are refused. */
int api_path(struct arena *arena, const char *given, const char **ret_path,
             struct err *err) must_check;
