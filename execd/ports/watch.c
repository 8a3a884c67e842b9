#include "execd/ports/watch.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "execd/events/bus.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/work.h"
#include "proto/json/jfield.h"

#define ASKERS_MAX 256
#define POLL_S 1

struct asker {
    ports_fn on_ports;
    void *arg;
};

struct port_watch {
    struct work_pool *pool; /* borrowed */
    struct event *poll;     /* owned: runs while there is an audience */
    struct event *answer;   /* owned: posts an answer from what is known */
    struct asker askers[ASKERS_MAX];
    size_t n_askers;
    struct port_seen *seen; /* owned, by port then address; PORTS_MAX long */
    size_t n_seen;
    struct port_list *scan; /* owned; the pool's while `scanning` */
    int scan_error;
    bool scanning, ever, announce; /* announce: changes are told as events */
    bool truncated, from_netlink;
    int64_t scanned_ms; /* monotonic */
};

/* ---- what changed ---------------------------------------------------------------------------------- */

/* The name of a process is any bytes: jfield repairs them. */
static json_t *fields_of(const struct port_entry *e)
{
    struct {
        const char *address, *command;
        int64_t port, pid;
    } shown = {e->address, e->comm, e->port, e->pid};
    const struct jfield fields[] = {
        {.name = "port", .kind = JFIELD_I64, .offset = offsetof(__typeof__(shown), port)},
        {.name = "address", .kind = JFIELD_STRING, .offset = offsetof(__typeof__(shown), address)},
        {.name = "pid",
         .kind = JFIELD_I64,
         .flags = JFIELD_OMIT_EMPTY,
         .offset = offsetof(__typeof__(shown), pid)},
        {.name = "command",
         .kind = JFIELD_STRING,
         .flags = JFIELD_OMIT_EMPTY,
         .offset = offsetof(__typeof__(shown), command)},
    };

    return jfield_encode(fields, ARRAY_LEN(fields), &shown);
}

static void tell(const struct port_watch *w, enum events_type type, const struct port_entry *e)
{
    if (w->announce)
        events_publish(type, fields_of(e));
}

/* Both lists have one order: what is only in the old one has closed, what is only in the new one is open. */
static void merge(struct port_watch *w)
{
    struct port_seen *fresh = calloc(PORTS_MAX, sizeof(*fresh));
    const struct port_list *scan = w->scan;
    int64_t now_us = clock_wall_us();
    size_t old = 0;

    if (fresh == NULL)
        return; /* what was known stays until the next scan */
    for (size_t i = 0; i < scan->n; i++) {
        const struct port_entry *e = &scan->items[i];

        while (old < w->n_seen && port_entry_compare(&w->seen[old].entry, e) < 0)
            tell(w, EVENTS_PORT_CLOSED, &w->seen[old++].entry);
        bool known = old < w->n_seen && port_entry_compare(&w->seen[old].entry, e) == 0;
        fresh[i] = (struct port_seen){*e, known ? w->seen[old].since_us : now_us};
        if (known)
            old++;
        else
            tell(w, EVENTS_PORT_OPENED, e);
    }
    while (old < w->n_seen)
        tell(w, EVENTS_PORT_CLOSED, &w->seen[old++].entry);
    free(w->seen);
    w->seen = fresh;
    w->n_seen = scan->n;
    w->truncated = scan->truncated;
    w->from_netlink = scan->from_netlink;
}

/* ---- answers --------------------------------------------------------------------------------------- */

static void answer_all(struct port_watch *w, const struct err *err)
{
    const struct port_view view = {w->seen, w->n_seen, w->truncated, w->from_netlink};

    while (w->n_askers > 0) {
        struct asker a = w->askers[--w->n_askers];
        a.on_ports(a.arg, err == NULL ? &view : NULL, err);
    }
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    answer_all(arg, NULL);
}

/* ---- scans ----------------------------------------------------------------------------------------- */

static void run_scan(void *arg)
{
    struct port_watch *w = arg;

    w->scan_error = ports_scan(w->scan); /* nobody else touches these while `scanning` */
}

static void scan_done(void *arg)
{
    struct port_watch *w = arg;
    struct err err = {0};

    w->scanning = false;
    if (w->scan_error == -ECANCELED) {
        (void)err_set(&err, ERR_SHUTTING_DOWN, ECANCELED,
                      "the agent is shutting down"); /* a value */
        answer_all(w, &err);
        return;
    }
    if (w->scan_error < 0) {
        (void)err_sys(&err, ERR_NOT_SUPPORTED, -w->scan_error,
                      "the kernel does not tell who listens"); /* a value */
        answer_all(w, &err);
        return;
    }
    merge(w);
    w->ever = true;
    w->scanned_ms = clock_monotonic_ms();
    w->announce = event_pending(w->poll, EV_TIMEOUT, NULL) != 0;
    answer_all(w, NULL);
}

static int start_scan(struct port_watch *w)
{
    if (w->scanning)
        return 0;
    w->scan_error = -ECANCELED; /* stays when the pool ends before the job ran */
    int r = work_post(w->pool, run_scan, scan_done, w);
    w->scanning = r == 0;
    return r;
}

static void on_poll(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)start_scan(arg); /* a full pool: the next second */
}

static void on_audience(void *arg, bool present)
{
    static const struct timeval period = {.tv_sec = POLL_S};
    struct port_watch *w = arg;

    w->announce = false; /* what changed while nobody looked is no news */
    if (!present)
        (void)event_del(w->poll); /* cannot fail for an initialised event */
    else if (event_add(w->poll, &period) == 0)
        (void)start_scan(w);
}

int port_watch_get(struct port_watch *w, ports_fn on_ports, void *arg, struct err *err)
{
    if (w->n_askers == ASKERS_MAX)
        return err_set(err, ERR_OVERLOADED, EAGAIN, "too many ask for the ports at once");
    if (w->ever && clock_monotonic_ms() - w->scanned_ms < PORTS_AGE_MS)
        event_active(w->answer, EV_TIMEOUT, 0);
    else if (start_scan(w) < 0)
        return err_set(err, ERR_OVERLOADED, EAGAIN, "the workers are busy, try again");
    w->askers[w->n_askers++] = (struct asker){on_ports, arg};
    return 0;
}

void port_watch_cancel(struct port_watch *w, void *arg)
{
    for (size_t i = 0; i < w->n_askers; i++) {
        if (w->askers[i].arg == arg) {
            w->askers[i] = w->askers[--w->n_askers];
            return;
        }
    }
}

/* ---- life ------------------------------------------------------------------------------------------ */

int port_watch_new(struct event_base *base, struct work_pool *pool, struct port_watch **ret_watch)
{
    struct port_watch *w = xnew(struct port_watch);

    w->pool = pool;
    w->poll = event_new(base, -1, EV_PERSIST, on_poll, w);
    w->answer = event_new(base, -1, 0, on_answer, w);
    w->scan = calloc(1, sizeof(*w->scan));
    if (w->poll == NULL || w->answer == NULL || w->scan == NULL) {
        port_watch_free(w);
        return -ENOMEM;
    }
    events_on_audience(on_audience, w);
    *ret_watch = w;
    return 0;
}

void port_watch_free(struct port_watch *w)
{
    if (w == NULL)
        return;
    if (w->poll != NULL)
        event_free(w->poll);
    if (w->answer != NULL)
        event_free(w->answer);
    free(w->seen);
    free(w->scan);
    free(w);
}
