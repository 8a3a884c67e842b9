/*
 * Isolated sessions: a long-lived shell in namespaces of its own, whose writes stay in layers of its own.
 *
 * State: STARTING (set-up under way) → ACTIVE → DEAD (its shell has ended; what can be told about it stays) → deleted.
 * Runs, their queue, their output and their ends are those of execd/exec/session.h. A session goes by DELETE, when it
 * was idle for as long as it was asked to be, or with execd; its layers go with it.
 * Knows nothing of HTTP. Thread rule: loop thread only. Source: contracts/v1.1.md 1.6.
 */
#pragma once

#include "execd/exec/session.h"
#include "execd/isolate/request.h"

struct isolate_manager;
struct isolate_session;

struct isolate_config {
    const char *root;           /* of the upper layers; NULL = /var/lib/execd/isolation */
    const char *const *allowed; /* NULL-terminated; NULL = /workspace, /mnt, /media, /data */
    unsigned sessions_max;      /* 64 */
    struct archive *archive;    /* borrowed */
    struct work_pool *pool;     /* borrowed */
};

int isolate_manager_new(struct event_base *base, const struct isolate_config *config,
                        struct isolate_manager **ret_manager) must_check;
void isolate_manager_free(struct isolate_manager *m); /* NULL is fine */
void isolate_manager_shutdown(struct isolate_manager *m);

/* on_created is posted once: the session is ACTIVE, or err says why there is none. -errno: it is never called. */
typedef void (*isolate_created_fn)(void *arg, struct isolate_session *s, const struct err *err);
int isolate_create(struct isolate_manager *m, const struct isolate_request *request,
                   isolate_created_fn on_created, void *arg, struct isolate_session **ret_session,
                   struct err *err) must_check;
/* Nobody waits any more: a session that is still STARTING is given up. */
void isolate_abandon(struct isolate_session *s);

/* Sets a session up for trial and takes it down again; what it says is remembered. on_reply is posted once. */
typedef void (*isolate_probed_fn)(void *arg, const struct isolate_reply *reply);
void isolate_probe(struct isolate_manager *m, isolate_probed_fn on_reply, void *arg);
void isolate_probe_forget(struct isolate_manager *m, void *arg);

struct isolate_session *isolate_find(struct isolate_manager *m, const char *id);
/* At once, or when the work on its layers is over; unknown from now on. */
void isolate_delete(struct isolate_session *s);
/* Its layers are being read or committed: nothing can be run. */
bool isolate_is_working(const struct isolate_session *s);
void isolate_each(struct isolate_manager *m, void (*visit)(struct isolate_session *s, void *arg),
                  void *arg);

const char *isolate_id(const struct isolate_session *s);
struct session *isolate_shell(struct isolate_session *s); /* runs, status */
bool isolate_is_dead(const struct isolate_session *s);
const json_t *isolate_echo(const struct isolate_session *s); /* borrowed */
/* Its mount namespace, borrowed; -1 when it is gone. */
int isolate_mount_ns(const struct isolate_session *s);
/* Seconds until it is deleted for being idle; -1 = never, or it is busy. */
int64_t isolate_idle_left(const struct isolate_session *s);
/* Only where the first overlay keeps what is written: nowhere else a log could be (contracts/v1.1.md 1.6). */
bool isolate_takes_background(const struct isolate_session *s);

/* Remembers a background run beyond its session; isolate_lost_run: its start, 0 = unknown. */
void isolate_note_run(struct isolate_session *s, const char *run_id, int64_t started_us);
int64_t isolate_lost_run(const struct isolate_manager *m, const char *session_id,
                         const char *run_id);

/* Where a session's layers are: overlay i of the request, NULL when it is none that persists. */
struct isolate_layer {
    const char *path;  /* in the session, and of the lower layer */
    const char *upper; /* the directory with "upper" and "work" */
};
size_t isolate_layers(const struct isolate_session *s, struct isolate_layer *ret_layers,
                      size_t max);
