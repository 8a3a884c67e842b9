/*
 * POST /sandboxes: the body as a table, and the rules that a table cannot say (contracts/server.md 1.6, v1.1.md 2.3).
 *
 * Wrong shapes are 422, wrong values 400; what this runtime cannot give is refused with the reason, never ignored
 * (hardening J06). Pure. Thread rule: loop thread only.
 */
#pragma once

#include "server/model/sandbox.h"

/* Fills a spec whose strings live in the arena. */
int create_request_decode(struct slice body, struct arena *arena, struct sandbox_spec *ret_spec,
                          struct err *err) must_check;
