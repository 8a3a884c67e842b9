/*
 * Terminal sessions: a shell on a pseudo terminal (or on pipes) that outlives the clients who look at it.
 *
 *   created ──term_start──► running ──leader reaped, output drained──► exited ──term_start──► running ...
 *       └──────────────────────────┴──────────term_delete──────────────────┴──► killed, freed when its tree is gone
 *
 * Output goes into a ring (ring.h), which viewers read at their own pace through term_ring. One viewer may be the
 * writer. While the writer keeps taking output, a shell that is faster waits for it; a writer that takes nothing for
 * a second no longer holds the shell, and is overtaken by the ring. Viewers that only look never hold it.
 * All that the process wrote before its end is in the ring when viewers learn of the exit.
 * Thread rule: loop thread only. Source: contracts/execd.md 3.5, 6.2 C18; hardening G.
 */
#pragma once

#include <sys/queue.h>

#include "execd/pty/recording.h"
#include "execd/pty/ring.h"
#include "proto/base/err.h"

struct event_base;
struct term;
struct term_manager;

/* Zeroed fields take the default. */
struct term_config {
    unsigned sessions_max;  /* 1,024, those that are being killed included */
    unsigned viewers_max;   /* 64 for one session */
    unsigned attached_max;  /* 2,048 for all sessions, writers included */
    size_t ring_size;       /* 1 MiB; sessions beyond ring_total get a sixteenth */
    size_t ring_total;      /* 128 MiB of rings in full size */
    size_t recording_size;  /* 16 MiB for one session */
    size_t recording_total; /* 64 MiB for all */
};

int term_manager_new(struct event_base *base, const struct term_config *config,
                     struct term_manager **ret_manager) must_check;
/* Hangs every session up and lets its viewers go (TERM_GONE_SHUTDOWN); no session starts any more. */
void term_manager_shutdown(struct term_manager *m);
void term_manager_free(
    struct term_manager *m); /* frees the viewers' sessions without telling them */

struct term_request {
    const char *cwd;     /* made when it is not there; NULL or "": execd's own */
    const char *command; /* for the shell; NULL or "": interactive */
    bool record;
    uint32_t cols, rows; /* size at the first start, up to TERM_CELLS_MAX; 0: 80 by 24 */
};
#define TERM_CELLS_MAX 65535 /* what the kernel's struct holds */

/* Makes a session; nothing runs yet. At the limit the session that exited longest ago, and that nobody looks at, makes
 * room. ERR_TOO_MANY_TERMINALS, ERR_SHUTTING_DOWN, errors of the working directory, ERR_OUT_OF_MEMORY (recording). */
int term_create(struct term_manager *m, const struct term_request *request, struct term **ret_term,
                struct err *err) must_check;
struct term *term_find(struct term_manager *m, const char *id);
struct term *term_next(struct term_manager *m,
                       struct term *after); /* NULL: the first; in order of creation */
/* Kills its whole tree; the session is not found any more. Viewers get TERM_GONE_DELETED. */
void term_delete(struct term *t);

struct term_counts {
    uint64_t started;                    /* processes */
    unsigned sessions, running, clients; /* those being killed are no sessions any more */
    size_t recorded_bytes;
};
void term_manager_counts(const struct term_manager *m, struct term_counts *ret_counts);

enum term_mode { TERM_PTY, TERM_PIPE };

struct term_info {
    const char *id; /* borrowed */
    bool running, has_exited;
    enum term_mode mode; /* of the latest process */
    int exit_code;       /* of the latest process once has_exited: -1 = by a signal */
    uint64_t output_offset;
    bool has_writer;
    unsigned viewers; /* the writer not counted */
    unsigned cols, rows;
    bool recorded;
    int64_t created_us; /* wall clock */
};
void term_get_info(const struct term *t, struct term_info *ret_info);
const struct ring *term_ring(const struct term *t);
struct recording *term_recording(const struct term *t); /* borrowed; NULL when not recorded */

/* ---- looking at a session ---- */

enum term_gone { TERM_GONE_TAKEN_OVER, TERM_GONE_DELETED, TERM_GONE_SHUTDOWN };

/* Embedded by whoever looks. Callbacks come from the loop, or from term_attach (taking over), term_delete and
 * term_manager_shutdown; none may attach, detach or delete. */
struct term_viewer {
    void (*on_output)(struct term_viewer *v); /* the ring has more */
    /* The process has ended, and everything it wrote is in the ring below `until`. Once; the viewer stays attached (for
     * on_gone) until it detaches, but is no writer any more. */
    void (*on_exit)(struct term_viewer *v, int exit_code, uint64_t until);
    void (*on_gone)(struct term_viewer *v, enum term_gone why); /* it is detached already */
    void (*on_input_room)(struct term_viewer *v); /* whoever waits for it may term_write again */
    /* Has the client taken anything since term_moved or the last question? */
    bool (*is_reading)(struct term_viewer *v);
    /* private to the room */
    struct term *term;
    bool as_writer; /* attached as the writer, which it need not be any more */
    bool has_ended;
    uint64_t offset; /* the writer's, as it told */
    int64_t moved_ms;
    LIST_ENTRY(term_viewer) link;
};

/* May this many more look at it? ERR_TOO_MANY_TERMINALS. Asked before a handshake is answered. */
int term_check_room(const struct term *t, bool writer, struct err *err) must_check;
bool term_has_writer(const struct term *t);
/* As the writer: takes the place of the present one, who gets TERM_GONE_TAKEN_OVER. */
void term_attach(struct term *t, struct term_viewer *v, bool writer);
void term_detach(struct term_viewer *v); /* legal when not attached */
/* The writer has sent everything below offset to its client. */
void term_moved(struct term_viewer *v, uint64_t offset);

/* ---- its process ---- */

/* Starts the shell anew. Not while it runs. */
int term_start(struct term *t, enum term_mode mode, struct err *err) must_check;
/* Queues input; whoever has much asks term_takes_input and waits for on_input_room. Dropped when nothing runs.
 * -EPIPE when the process reads no more. */
int term_write(struct term *t, const char *p, size_t n) must_check;
bool term_takes_input(const struct term *t);
/* SIGINT and SIGQUIT: to the foreground job. SIGHUP, SIGTERM and SIGKILL: to it and to the shell. -ESRCH. */
int term_signal(struct term *t, int signum) must_check;
/* Applied a moment later, the latest of many; kept for the next start. Cut to 1..TERM_CELLS_MAX. */
void term_resize(struct term *t, int64_t cols, int64_t rows);
