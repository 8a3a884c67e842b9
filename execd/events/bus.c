#include "execd/events/bus.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/json/jfield.h"

#define WATCHERS_MAX 4 /* of the audience: one per source */

struct kept {
    char *json; /* owned */
    size_t len;
    enum events_type type;
};

static struct {
    struct event *wake; /* owned; NULL = not started */
    uint64_t last;      /* of the newest entry */
    struct kept ring[EVENTS_KEPT];
    struct events_reader *readers;
    bool closed;
    bool audience; /* what the sources were told */
    struct {
        void (*on_audience)(void *, bool);
        void *arg;
    } sources[WATCHERS_MAX];
    size_t n_sources;
    char gap[128];
} bus;

/* The stream's `event:` and the object's "type". */
static const char *const names[EVENTS_TYPE_MAX] = {
    [EVENTS_COMMAND_STARTED] = "command_started",
    [EVENTS_COMMAND_FINISHED] = "command_finished",
    [EVENTS_SESSION_CREATED] = "session_created",
    [EVENTS_SESSION_ENDED] = "session_ended",
    [EVENTS_PTY_CREATED] = "pty_created",
    [EVENTS_PTY_ENDED] = "pty_ended",
    [EVENTS_KERNEL_STATE] = "kernel_state",
    [EVENTS_PORT_OPENED] = "port_opened",
    [EVENTS_PORT_CLOSED] = "port_closed",
    [EVENTS_OOM] = "oom",
    [EVENTS_PRESSURE] = "pressure",
    [EVENTS_SHUTDOWN] = "shutdown",
};

static uint64_t oldest(void)
{
    return bus.last > EVENTS_KEPT ? bus.last - EVENTS_KEPT + 1 : 1;
}

/* ---- readers are called from the loop, never from inside a publish --------------------------------- */

static void tell_sources(void)
{
    bool present = bus.readers != NULL;

    if (present == bus.audience)
        return;
    bus.audience = present;
    for (size_t i = 0; i < bus.n_sources; i++)
        bus.sources[i].on_audience(bus.sources[i].arg, present);
}

/* on_ready may detach its own reader, not another one. */
static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct events_reader *next;

    (void)fd;
    (void)what;
    (void)arg;
    tell_sources();
    for (struct events_reader *r = bus.readers; r != NULL; r = next) {
        next = r->link_next;
        if (r->next <= bus.last)
            r->on_ready(r->arg);
    }
}

static void wake(void)
{
    if (bus.wake != NULL)
        event_active(bus.wake, EV_TIMEOUT, 0);
}

int events_start(struct event_base *base)
{
    bus.wake = event_new(base, -1, 0, on_wake, NULL);
    return bus.wake != NULL ? 0 : -ENOMEM;
}

void events_stop(void)
{
    if (bus.wake != NULL)
        event_free(bus.wake);
    for (size_t i = 0; i < EVENTS_KEPT; i++)
        free(bus.ring[i].json);
    memset(&bus, 0, sizeof(bus));
}

void events_on_audience(void (*on_audience)(void *, bool), void *arg)
{
    if (bus.n_sources < WATCHERS_MAX) {
        bus.sources[bus.n_sources].on_audience = on_audience;
        bus.sources[bus.n_sources++].arg = arg;
    }
}

/* ---- the log --------------------------------------------------------------------------------------- */

static char *encode(enum events_type type, uint64_t seq, json_t *fields, size_t *ret_len)
{
    cleanup_json json_t *event = json_pack("{s:s, s:I, s:I}", "type", names[type], "seq",
                                           (json_int_t)seq, "timestamp", clock_wall_ms());

    if (event != NULL && fields != NULL)
        (void)json_object_update(event, fields); /* no memory: the event comes without them */
    return event != NULL ? json_compact(event, ret_len) : NULL;
}

void events_publish(enum events_type type, json_t *fields)
{
    cleanup_json json_t *owned = fields;
    size_t len = 0;

    if (bus.wake == NULL || bus.closed)
        return;
    char *json = encode(type, bus.last + 1, owned, &len);
    if (json != NULL && len > EVENTS_JSON_MAX) {
        free(json);
        json = encode(type, bus.last + 1, NULL, &len);
    }
    if (json == NULL)
        return; /* no memory: numbers stay contiguous, the event is lost */
    struct kept *slot = &bus.ring[bus.last++ % EVENTS_KEPT];
    free(slot->json);
    *slot = (struct kept){json, len, type};
    wake();
}

void events_close(void)
{
    events_publish(EVENTS_SHUTDOWN, NULL);
    bus.closed = true;
}

bool events_closed(void)
{
    return bus.closed;
}

uint64_t events_last(void)
{
    return bus.last;
}

void events_attach(struct events_reader *r, uint64_t since, void (*on_ready)(void *), void *arg)
{
    r->next = since <= bus.last ? since + 1 : oldest();
    r->on_ready = on_ready;
    r->arg = arg;
    r->link_next = bus.readers;
    r->link_prev = &bus.readers;
    if (bus.readers != NULL)
        bus.readers->link_prev = &r->link_next;
    bus.readers = r;
    wake();
}

void events_detach(struct events_reader *r)
{
    if (r->link_prev == NULL)
        return;
    *r->link_prev = r->link_next;
    if (r->link_next != NULL)
        r->link_next->link_prev = r->link_prev;
    r->link_prev = NULL;
    wake();
}

static void read_gap(struct events_reader *r, struct events_entry *ret)
{
    uint64_t last = oldest() - 1;
    int len =
        snprintf(bus.gap, sizeof(bus.gap),
                 "{\"type\":\"gap\",\"timestamp\":%lld,\"dropped\":{\"from\":%llu,\"to\":%llu}}",
                 (long long)clock_wall_ms(), (unsigned long long)r->next, (unsigned long long)last);

    *ret = (struct events_entry){.seq = last, .type = "gap", .json = bus.gap, .len = (size_t)len};
    r->next = last + 1;
}

bool events_read(struct events_reader *r, struct events_entry *ret_entry)
{
    if (r->next > bus.last)
        return false;
    if (r->next < oldest()) {
        read_gap(r, ret_entry);
        return true;
    }
    const struct kept *slot = &bus.ring[(r->next - 1) % EVENTS_KEPT];
    *ret_entry = (struct events_entry){
        .seq = r->next++, .type = names[slot->type], .json = slot->json, .len = slot->len};
    return true;
}
