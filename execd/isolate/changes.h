/*
 * What an isolated session has changed, read from its upper layers, and bringing it into the directories themselves.
 *
 * An upper layer holds what was written: files as they are, a character device 0:0 where something was deleted, and
 * directories, which hide the lower one's content when they carry the overlay's opaque mark. What equals the lower
 * layer is no change, so that nothing is left after a commit.
 * A commit takes one file at a time: each is written beside its place and renamed over it. Extended attributes and
 * hard links are not kept; sockets and devices are skipped and counted.
 * The work is done in the pool, on copies: the session must stay until the callback. Thread rule: loop thread only.
 */
#pragma once

#include "execd/isolate/manager.h"

enum changes_work { CHANGES_LIST, CHANGES_COMMIT };

/* LIST: {"changes": [{"path", "kind", "type", "size"}], "truncated"}; COMMIT: {"committed", "skipped"}. */
typedef void (*changes_done_fn)(void *arg, json_t *result, const struct err *err);

/* result is the callee's reference, NULL with err. on_done is posted once. -EBUSY: something runs in the session, or it
 * is being committed. */
int isolate_changes(struct isolate_session *s, enum changes_work work, changes_done_fn on_done,
                    void *arg, struct err *err) must_check;
