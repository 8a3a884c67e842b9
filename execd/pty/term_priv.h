/*
 * What the files of a terminal session share: the session and its manager.
 *
 * Private to execd/pty. Thread rule: loop thread only.
 */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>
#include <uthash.h>

#include "execd/proc/leaf.h"
#include "execd/proc/reaper.h"
#include "execd/pty/term.h"
#include "proto/base/ids.h"

struct evbuffer;

/* One descriptor that output comes from: the terminal's master, or a pipe. */
struct term_source {
    struct term *term; /* borrowed: embeds this */
    int fd;            /* owned; -1 when closed */
    enum ring_stream stream;
    struct event readable; /* initialised while fd is open */
    struct event retry;    /* the terminal has no other side at the moment */
};

struct term {
    char id[ID_HEX_LEN + 1];
    struct term_manager *manager; /* borrowed */
    char *cwd, *command;          /* owned; command NULL: interactive */
    int64_t created_us;
    struct ring ring;
    struct recording *recording; /* ref; NULL: not recorded */

    enum term_mode mode;
    bool running, has_exited;
    int exit_code;
    int64_t exited_ms; /* monotonic */
    struct pidref leader;
    struct leaf *leaf; /* owned; from the first start on, for all processes */

    struct term_source sources[2]; /* PTY: the first alone */
    int input_fd;                  /* PTY: the first source's, borrowed; pipe: owned; -1 */
    struct evbuffer *input;        /* owned; NULL while nothing waits */
    struct event writable;
    bool input_was_full; /* on_input_room is due */
    unsigned cols, rows;
    struct event resize; /* pending: the size is not applied yet */
    struct event hold;   /* pending: nothing is read until the writer moves, or this fires */

    LIST_HEAD(term_viewers, term_viewer) viewers;
    struct term_viewer *writer; /* borrowed; one of them */
    unsigned n_viewers; /* attached as such: the writer is none, also when its process has ended */

    struct event kill; /* deleted: again until the tree is empty */
    TAILQ_ENTRY(term) link;
    UT_hash_handle hh;
};

struct term_manager {
    struct event_base *base; /* borrowed */
    struct term_config config;
    struct term *by_id;       /* uthash; owns */
    TAILQ_HEAD(, term) dying; /* owns: deleted, being killed */
    unsigned n_sessions;      /* both */
    unsigned n_attached;
    uint64_t n_started;
    size_t ring_bytes; /* of rings in full size, mapped or not */
    struct recording_budget recordings;
    bool shutting_down;
};

/* term_io.c */
void term_io_init(struct term *t);
int term_io_start(struct term *t, int out, int err_out, int in, struct err *err) must_check;
void term_io_drain(struct term *t);   /* what was written before the end, without waiting */
void term_io_stop(struct term *t);    /* closes everything; legal when nothing is open */
void term_io_release(struct term *t); /* the writer moved or left: reading goes on */

/* term_run.c */
void term_run_init(struct term *t);
void term_on_exit(void *arg, const struct exit_status *status);
void term_settle_size(struct term *t); /* applies it now if it is not yet */
