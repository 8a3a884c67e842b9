/*
 * Whether output texts keep their line terminators (contracts/v1.1.md 1.2): today's clients want them, older ones
 * expect one event per line without. Nothing in a request tells them apart but the User-Agent.
 * Pure. Thread rule: any thread.
 */
#pragma once

#include "proto/base/defs.h"

enum line_endings {
    LINES_AUTO,
    LINES_KEEP,
    LINES_STRIP,
    LINES_VERBATIM, /* not a setting: output that has been cut into pieces already */
};

/* "auto", "keep", "strip"; else -EINVAL. */
int line_endings_parse(const char *text, enum line_endings *ret_mode) must_check;
/* AUTO decided by User-Agent (contracts/v1.1.md 1.2, last row); user_agent may be NULL. */
enum line_endings line_endings_choose(enum line_endings configured, const char *user_agent);
