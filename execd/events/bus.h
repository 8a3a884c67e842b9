/*
 * What happens in this sandbox, as one bounded log that many may follow: GET /events.
 *
 *   events_publish(EVENTS_COMMAND_STARTED, json_pack("{s:s}", "id", id));
 *
 * Publishing never fails and never waits: the log keeps the latest EVENTS_KEPT entries (each at most EVENTS_JSON_MAX
 * bytes, a larger one loses its fields), older ones go. A reader that is overtaken is told by a gap; it costs the
 * others nothing. Sequence numbers start at 1 and are contiguous. The text of an entry is one JSON object:
 * {"type":...,"seq":...,"timestamp":ms, fields...}. No secrets: command texts, environments and outputs stay out.
 *
 * One bus per process. Before events_start and after events_stop publishing does nothing, so that producers need not
 * know whether somebody listens. Thread rule: loop thread only.
 */
#pragma once

#include <jansson.h>

#include "proto/base/err.h"

#define EVENTS_KEPT 1024
#define EVENTS_JSON_MAX 4096

struct event_base;

enum events_type {
    EVENTS_COMMAND_STARTED,  /* id, background */
    EVENTS_COMMAND_FINISHED, /* id, end, exit_code, duration_ms */
    EVENTS_SESSION_CREATED,  /* id */
    EVENTS_SESSION_ENDED,    /* id, reason */
    EVENTS_PTY_CREATED,      /* id */
    EVENTS_PTY_ENDED,        /* id, reason: exited (exit_code) or deleted */
    EVENTS_KERNEL_STATE, /* id (context), language, state: starting, idle, busy, dead, deleted */
    EVENTS_PORT_OPENED,  /* port, address, pid, command */
    EVENTS_PORT_CLOSED,  /* port, address, pid, command: as it was last seen */
    EVENTS_OOM,          /* kills (new ones), total */
    EVENTS_PRESSURE,     /* resource, state: high or normal, some_avg10 */
    EVENTS_SHUTDOWN,     /* the last one */
    EVENTS_TYPE_MAX,
};

int events_start(struct event_base *base) must_check;
void events_stop(void); /* readers must be gone */
/* The agent shuts down: publishes the last event; nothing is taken after it, and readers end behind it. */
void events_close(void);
bool events_closed(void);

/* Takes the reference; fields is an object or NULL. */
void events_publish(enum events_type type, json_t *fields);

/* A reader; embedded in its owner. */
struct events_reader {
    uint64_t next; /* sequence number it wants next */
    void (*on_ready)(void *arg);
    void *arg;
    struct events_reader *link_next, **link_prev;
};
struct events_entry {
    uint64_t seq;
    const char *type; /* its wire name; "gap" for what the log no longer has */
    const char *json; /* valid until the loop runs again or something is published */
    size_t len;
};

uint64_t events_last(void); /* sequence number of the newest entry; 0 = none yet */
/* Begins with the entry behind `since`, or with a gap where that one is no longer kept. A number that this log has not
 * given yet (it is from before a restart) begins with the oldest entry kept. on_ready is called when something was published to a reader that had read everything; posted, not from inside
 * events_publish. */
void events_attach(struct events_reader *r, uint64_t since, void (*on_ready)(void *), void *arg);
void events_detach(struct events_reader *r); /* legal on a zeroed struct */
/* The next entry, and on to the one behind it; false when everything was read. */
bool events_read(struct events_reader *r, struct events_entry *ret_entry);

/* Sources that cost something to watch (ports, pressure) run only while somebody follows: called with true at the first
 * reader and with false behind the last; posted. */
void events_on_audience(void (*on_audience)(void *arg, bool present), void *arg);
