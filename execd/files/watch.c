#include "execd/files/watch.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "execd/files/place.h"
#include "execd/files/watch_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"
#include "proto/base/work.h"

#define MASK                                                                                       \
    (IN_CREATE | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM |              \
     IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF)
#define RETAIN (256U * 1024) /* of one channel: 64 of them are 16 MiB */
#define TIMER_S 5            /* how often idleness is looked at */
#define SETTLE_US                                                                                  \
    (20 * 1000) /* the other half of a move, or room in the pool, is awaited so long */

static TAILQ_HEAD(, watch) watches = TAILQ_HEAD_INITIALIZER(watches);
static unsigned n_watches;

static void destroy(struct watch *w)
{
    TAILQ_REMOVE(&watches, w, link);
    n_watches--;
    watch_scan_done(&w->scan);
    watch_dirs_done(&w->dirs);
    watch_dirs_done(&w->todo);
    guard_fd(&w->fd);
    channel_unref(w->ch);
    free(w->moved_from);
    free(w->root);
    free(w);
}

/* No event comes any more; what the pool still holds is freed when it comes back. */
static void close_watch(struct watch *w)
{
    struct event **const events[] = {&w->readable, &w->timer, &w->settle};

    w->gone = true;
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        if (*events[i] != NULL)
            event_free(*events[i]);
        *events[i] = NULL;
    }
    if (w->ch != NULL && !channel_is_closed(w->ch))
        channel_append_number(w->ch, EVENT_EXECUTION_COMPLETE, 0);
    if (!w->scanning)
        destroy(w);
}

/* ---- scans ---- */

static void on_scanned(void *arg);

static void scan_in_pool(void *arg)
{
    struct watch *w = arg;

    watch_scan_work(&w->scan);
}

static int post_scan(struct watch *w)
{
    int rc = work_post(w->pool, scan_in_pool, on_scanned, w);

    w->scanning = rc == 0;
    return rc;
}

void watch_await(struct watch *w)
{
    static const struct timeval tv = {.tv_usec = SETTLE_US};

    (void)event_add(w->settle, &tv); /* fails without memory only; the 5 s timer does the same */
}

static int begin_scan(struct watch *w, const char *path, bool report)
{
    watch_scan_done(&w->scan);
    watch_scan_init(&w->scan, path);
    w->scan.inotify_fd = w->fd;
    w->scan.root = w->root;
    w->scan.recursive = w->recursive;
    w->scan.report = report;
    w->scan.mask = MASK;
    w->scan.known = &w->dirs;
    w->scan.room = WATCH_DIRS_MAX - MIN(w->dirs.n, (size_t)WATCH_DIRS_MAX);
    return post_scan(w);
}

/* What began with a move may end with the next event: its time counts from when events are read again. Without memory
 * the timer calls again; the kernel keeps the events, or tells of their overflow. */
static void read_on(struct watch *w)
{
    if (event_add(w->readable, NULL) == 0 && w->moved_from != NULL)
        watch_await(w);
}

/* The next directory, or reading goes on. A full pool is asked again later. */
static void scan_next(struct watch *w)
{
    if (w->scanning)
        return;
    if (w->todo.n == 0) {
        read_on(w);
        return;
    }
    bool report =
        w->todo.items[0].path[0] != '\0'; /* the root again: only its watches are wanted */
    if (begin_scan(w, w->todo.items[0].path, report) < 0)
        watch_await(w);
    else
        watch_dirs_remove(&w->todo, w->todo.items[0].wd);
}

void watch_want_scan(struct watch *w, const char *path)
{
    if (!w->recursive)
        return;
    if (watch_dirs_put(&w->todo, w->next_todo++, path) < 0)
        watch_tell_gap(w, WATCH_GAP_LIMIT);
    event_del(w->readable);
}

static void take_results(struct watch *w)
{
    struct watch_scan *s = &w->scan;

    for (size_t i = 0; i < s->added.n; i++) {
        const struct watch_dir *dir = &s->added.items[i];
        if (watch_dirs_put(&w->dirs, dir->wd, dir->path) < 0)
            s->over_limit = true;
        if (dir->path[0] == '\0')
            w->root_wd = dir->wd;
    }
    for (const char *at = s->found.data; at < s->found.data + s->found.len; at += strlen(at) + 1)
        watch_tell(w, "created", at + 1, at[0] == 'd', NULL);
    watch_scan_clear(s);
}

static void started(struct watch *w)
{
    watch_started_fn on_started = w->on_started;
    struct channel_limits limits = {.retain = RETAIN, .head = 1, .lossy = true};
    struct err err = {0};

    w->on_started = NULL;
    if (w->scan.over_limit)
        (void)err_set(&err, ERR_WATCH_LIMIT, ENOSPC,
                      "'%s' has more directories than can be watched (%d, or the kernel's limit)",
                      w->root, WATCH_DIRS_MAX);
    else if (place_is_missing(-w->scan.error))
        (void)err_sys(&err, ERR_FILE_NOT_FOUND, -w->scan.error, "file not found. '%s'", w->root);
    else if (w->scan.error < 0)
        (void)err_sys(&err, ERR_FILE_ACCESS, -w->scan.error, "error accessing file: '%s'", w->root);
    if (err.errnum != 0) {
        on_started(w->arg, NULL, NULL, &err);
        close_watch(w);
        return;
    }
    w->ch = channel_new(event_get_base(w->timer), &limits);
    channel_append_text(w->ch, EVENT_INIT, w->id);
    take_results(w);
    w->root_is_dir = w->scan.is_dir;
    w->read_ms = clock_monotonic_ms();
    on_started(w->arg, w->ch, w->id, NULL);
    scan_next(w);
}

/* A scan that is not at its end goes on; a full pool ends it, and what it did not reach is not watched. */
static bool goes_on(struct watch *w)
{
    if (w->scan.ended)
        return false;
    if (post_scan(w) == 0)
        return true; /* the scan is the pool's now */
    w->scan.over_limit = true;
    return false;
}

static void on_scanned(void *arg)
{
    struct watch *w = arg;

    w->scanning = false;
    if (w->gone) {
        destroy(w);
        return;
    }
    w->missed = w->missed || w->scan.vanished;
    if (w->ch == NULL) { /* the first scan: its results wait for the channel */
        if (w->scan.over_limit || !goes_on(w))
            started(w);
        return;
    }
    take_results(w);
    if (goes_on(w))
        return;
    if (w->scan.over_limit)
        watch_tell_gap(w, WATCH_GAP_LIMIT);
    scan_next(w);
}

/* ---- life ---- */

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct watch *w = arg;

    (void)fd;
    (void)what;
    LOOP_WORK("descriptor", "watched files");
    watch_read(w);
    if (w->root_wd < 0)
        close_watch(w); /* the root is gone */
    else if (w->todo.n > 0)
        scan_next(w);
}

/* A scan in the pool reads `dirs`, so nothing is settled before it is back; nor while events wait unread, of which one
 * may be the other half. read_on() asks for another call. */
static void on_settle(evutil_socket_t fd, short what, void *arg)
{
    struct watch *w = arg;

    (void)fd;
    (void)what;
    LOOP_WORK("timer", "watched files");
    if (w->scanning)
        return;
    if (w->todo.n == 0)
        watch_settle_move(w);
    scan_next(w);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct watch *w = arg;
    struct channel_stats stats;

    if (w->ch == NULL)
        return;
    if (!event_pending(w->settle, EV_TIMEOUT, NULL))
        on_settle(fd, what, arg); /* where watch_await had no memory */
    channel_get_stats(w->ch, &stats);
    if (stats.readers > 0)
        w->read_ms = clock_monotonic_ms();
    else if (clock_monotonic_ms() - w->read_ms >= WATCH_IDLE_MS)
        close_watch(w);
}

static int make_resources(struct watch *w, struct event_base *base, struct err *err)
{
    static const struct timeval tv = {.tv_sec = TIMER_S};

    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->fd < 0)
        return err_sys(err, errno == EMFILE ? ERR_WATCH_LIMIT : 0, errno, "watch '%s'", w->root);
    w->readable = event_new(base, w->fd, EV_READ | EV_PERSIST, on_readable, w);
    w->timer = event_new(base, -1, EV_PERSIST, on_timer, w);
    w->settle = event_new(base, -1, 0, on_settle, w);
    if (w->readable == NULL || w->timer == NULL || w->settle == NULL ||
        event_add(w->timer, &tv) < 0)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for another watch");
    if (begin_scan(w, "", false) < 0)
        return err_set(err, ERR_OVERLOADED, EAGAIN, "too many file operations at once");
    return 0;
}

int watch_start(const char *path, bool recursive, struct event_base *base, struct work_pool *pool,
                watch_started_fn on_started, void *arg, struct watch **ret_watch, struct err *err)
{
    if (n_watches == WATCHES_MAX)
        return err_set(err, ERR_WATCH_LIMIT, EMFILE, "more than %d watches at once", WATCHES_MAX);
    struct watch *w = xnew(struct watch);
    w->root = xstrdup(path);
    w->recursive = recursive;
    w->pool = pool;
    w->root_wd = -1;
    w->on_started = on_started;
    w->arg = arg;
    ids_hex(w->id);
    TAILQ_INSERT_TAIL(&watches, w, link);
    n_watches++;
    int rc = make_resources(w, base, err);
    if (rc < 0) {
        close_watch(w);
        return rc;
    }
    *ret_watch = w;
    return 0;
}

void watch_cancel(struct watch *w)
{
    close_watch(w);
}

void watch_close_all(void)
{
    struct watch *w, *next;

    for (w = TAILQ_FIRST(&watches); w != NULL; w = next) {
        next = TAILQ_NEXT(w, link);
        if (!w->gone)
            close_watch(w);
    }
}
