/*
 * The running server: composition root of store, runtime, life cycle and API on one loop.
 * Included by main.c only. Thread rule: main thread.
 */
#pragma once

#include "server/config.h"

/* Runs until SIGTERM or SIGINT (sandboxes go on running); returns the exit code. */
int app_run(const struct config *config);
