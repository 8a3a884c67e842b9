#include "execd/stream/channel.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "execd/stream/channel_priv.h"
#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"

#define SEGMENT_FIRST 2048
#define SEGMENT_NEXT (128 * 1024)
#define RETAIN_DEFAULT (1024 * 1024)
#define WINDOW_DEFAULT (1024 * 1024)
#define STALL_DEFAULT_MS 60000
/* One JSON fragment: a kernel's result is bounded before it comes here. */
#define FRAGMENT_MAX (64 * 1024 * 1024)
/* Entries up to this size are bookkeeping and always find memory. */
#define SMALL_MAX 2048

struct channel *channel_new(struct event_base *base, const struct channel_limits *limits)
{
    struct channel *ch = xnew(struct channel);

    ch->refs = 1;
    ch->base = base;
    if (limits != NULL)
        ch->limits = *limits;
    if (ch->limits.retain == 0)
        ch->limits.retain = RETAIN_DEFAULT;
    if (ch->limits.head == 0)
        ch->limits.head = ch->limits.retain / 8;
    if (ch->limits.window == 0)
        ch->limits.window = WINDOW_DEFAULT;
    if (ch->limits.stall_ms == 0)
        ch->limits.stall_ms = STALL_DEFAULT_MS;
    ch->next_seq = 1;
    return ch;
}

struct channel *channel_ref(struct channel *ch)
{
    ch->refs++;
    return ch;
}

void channel_unref(struct channel *ch)
{
    if (ch == NULL || --ch->refs > 0)
        return;
    while (ch->head != NULL) {
        struct segment *s = ch->head;
        ch->head = s->next;
        free(s);
    }
    if (ch->tick != NULL)
        event_free(ch->tick);
    if (ch->stall != NULL)
        event_free(ch->stall);
    free(ch);
}

/* --- what is posted --- */

/* Where the reader stands, in bytes of the log since the beginning. */
static uint64_t position(const struct channel *ch, const struct channel_reader *r)
{
    if (r->next >= ch->next_seq)
        return ch->appended;
    return r->segment != NULL ? r->segment->pos + r->offset : ch->head->pos;
}

/* What is held between the reader and the writer; the hole, if it is still before the reader, does not count. */
static uint64_t lag(const struct channel *ch, const struct channel_reader *r)
{
    uint64_t at = position(ch, r), behind = ch->appended - at;

    return at < ch->limits.head ? behind - MIN(behind, ch->bytes_dropped) : behind;
}

bool channel_has_room(const struct channel *ch)
{
    if (ch->limits.lossy)
        return true;
    for (const struct channel_reader *r = ch->readers; r != NULL; r = r->link_next) {
        if (!r->cut && lag(ch, r) >= ch->limits.window)
            return false;
    }
    return true;
}

static struct channel_reader *posted_reader(struct channel *ch)
{
    for (struct channel_reader *r = ch->readers; r != NULL; r = r->link_next) {
        if (r->ready_posted)
            return r;
    }
    return NULL;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct channel *ch = channel_ref(arg);
    struct channel_reader *r;

    (void)fd;
    (void)what;
    LOOP_WORK("timer", "readers of a stream");
    while ((r = posted_reader(ch)) != NULL) { /* callbacks may attach, detach and free readers */
        r->ready_posted = false;
        r->on_ready(r->arg);
    }
    if (ch->on_room != NULL && channel_has_room(ch)) {
        void (*on_room)(void *) = ch->on_room;
        ch->on_room = NULL;
        on_room(ch->room_arg);
    }
    channel_unref(ch);
}

void channel_post(struct channel *ch)
{
    if (ch->tick == NULL)
        ch->tick = event_new(ch->base, -1, 0, on_tick, ch);
    if (ch->tick != NULL)
        event_active(ch->tick, EV_TIMEOUT, 0);
}

void channel_post_reader(struct channel *ch, struct channel_reader *r)
{
    r->ready_posted = true;
    channel_post(ch);
}

/* --- writing --- */

static struct segment *add_segment(struct channel *ch, size_t need)
{
    size_t size = MAX(need, ch->head == NULL ? (size_t)SEGMENT_FIRST : (size_t)SEGMENT_NEXT);
    struct segment *s = malloc(sizeof(*s) + size);

    if (s == NULL && need <= SMALL_MAX) {
        size = need;
        s = xmalloc(sizeof(*s) + size);
    }
    if (s == NULL)
        return NULL;
    *s = (struct segment){.first_seq = ch->next_seq,
                          .end_seq = ch->next_seq,
                          .pos = ch->appended,
                          .at = {ch->bytes[0], ch->bytes[1]},
                          .size = size};
    if (ch->tail != NULL)
        ch->tail->next = s;
    else
        ch->head = s;
    ch->tail = s;
    return s;
}

static bool is_needed(const struct channel *ch, const struct segment *s)
{
    for (const struct channel_reader *r = ch->readers; r != NULL; r = r->link_next) {
        if (!r->cut && r->next < s->end_seq)
            return true;
    }
    return false;
}

/* The reference to the oldest segment that may leave: what it points at is the tail when there is none. */
static struct segment **oldest_to_leave(struct channel *ch)
{
    struct segment **at = &ch->head;

    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the walk ends at the tail
    while (*at != ch->tail && (*at)->pos < ch->limits.head)
        at = &(*at)->next;
    return at;
}

void channel_evict(struct channel *ch)
{
    if (ch->held <= ch->limits.retain)
        return;
    struct segment **at = oldest_to_leave(ch);
    while (ch->held > ch->limits.retain && *at != ch->tail &&
           (ch->limits.lossy || !is_needed(ch, *at))) {
        struct segment *old = *at;
        for (struct channel_reader *r = ch->readers; r != NULL; r = r->link_next) {
            if (r->segment == old) /* it looks anew for what is left */
                r->segment = NULL;
        }
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the walk ends at the tail
        *at = old->next;
        ch->held -= old->used;
        ch->bytes_dropped += old->used;
        free(old);
    }
}

/* A closed log that nobody reads needs no room for more. */
void channel_trim(struct channel *ch)
{
    struct segment **last = &ch->head;

    if (!ch->closed || ch->readers != NULL || ch->head == NULL)
        return;
    while (*last != ch->tail)
        last = &(*last)->next;
    struct segment *smaller = realloc(ch->tail, sizeof(*smaller) + ch->tail->used);
    if (smaller == NULL)
        return;
    smaller->size = smaller->used;
    *last = ch->tail = smaller;
}

/* Stands for an error whose text did not fit into memory. */
static const char lost_error[] = "{\"ename\":\"Error\",\"evalue\":\"\",\"traceback\":[]}";

/* No memory for an entry: it is counted as lost. An end is an end all the same. */
static void lose(struct channel *ch, enum event_type type, size_t len)
{
    ch->bytes_dropped += len;
    if (type == EVENT_STDOUT || type == EVENT_STDERR)
        ch->bytes[type == EVENT_STDERR] += len;
    if (event_rows[type].terminal)
        channel_append(ch, EVENT_ERROR, lost_error, sizeof(lost_error) - 1);
}

void channel_append(struct channel *ch, enum event_type type, const void *data, size_t len)
{
    bool output = type == EVENT_STDOUT || type == EVENT_STDERR;
    size_t need = sizeof(struct header) + padded(len);

    assert(!ch->closed);
    if (output && len == 0)
        return;
    struct segment *s = ch->tail;
    if (s == NULL || s->size - s->used < need)
        s = add_segment(ch, need);
    if (s == NULL) {
        lose(ch, type, len);
        return;
    }
    struct header h = {
        .seq = ch->next_seq++, .wall_ms = clock_wall_ms(), .len = (uint32_t)len, .type = type};
    if (output) {
        h.at = ch->bytes[type == EVENT_STDERR];
        ch->bytes[type == EVENT_STDERR] += len;
    }
    memcpy(s->data + s->used, &h, sizeof(h));
    memcpy(s->data + s->used + sizeof(h), data, len);
    s->used += need;
    s->end_seq = ch->next_seq;
    ch->held += need;
    ch->appended += need;
    ch->closed = event_rows[type].terminal;
    channel_evict(ch);
    for (struct channel_reader *r = ch->readers; r != NULL; r = r->link_next) {
        if (r->next == h.seq) /* had read everything: it has all its time */
            r->moved_ms = loop_clock_ms();
        channel_post_reader(ch, r);
    }
    channel_trim(ch);
}

void channel_append_text(struct channel *ch, enum event_type type, const char *text)
{
    struct strbuf json;

    strbuf_init(&json, FRAGMENT_MAX);
    json_escape(&json, text, strlen(text));
    if (strbuf_check(&json) == 0)
        channel_append(ch, type, json.data, json.len);
    else
        channel_append(ch, type, "\"\"", 2);
    strbuf_done(&json);
}

void channel_append_number(struct channel *ch, enum event_type type, int64_t value)
{
    char text[24];

    int n = snprintf(text, sizeof(text), "%lld", (long long)value);
    channel_append(ch, type, text, (size_t)n);
}

void channel_append_error(struct channel *ch, const char *ename, const char *evalue,
                          const char *const *traceback)
{
    struct strbuf json;

    strbuf_init(&json, FRAGMENT_MAX);
    strbuf_adds(&json, "{\"ename\":");
    json_escape(&json, ename, strlen(ename));
    strbuf_adds(&json, ",\"evalue\":");
    json_escape(&json, evalue, strlen(evalue));
    strbuf_adds(&json, ",\"traceback\":[");
    for (size_t i = 0; traceback != NULL && traceback[i] != NULL; i++) {
        if (i > 0)
            strbuf_addc(&json, ',');
        json_escape(&json, traceback[i], strlen(traceback[i]));
    }
    strbuf_adds(&json, "]}");
    if (strbuf_check(&json) == 0)
        channel_append(ch, EVENT_ERROR, json.data, json.len);
    else
        channel_append(ch, EVENT_ERROR, lost_error, sizeof(lost_error) - 1);
    strbuf_done(&json);
}

void channel_set_ahead(struct channel *ch, unsigned n)
{
    ch->ahead = n;
}

unsigned channel_ahead(const struct channel *ch)
{
    return ch->ahead;
}

bool channel_is_closed(const struct channel *ch)
{
    return ch->closed;
}

/* --- waiting for room --- */

static void arm_stall(struct channel *ch);

/* A reader that has held the writer up for too long is cut off; the writer and everybody else go on. */
static void on_stall(evutil_socket_t fd, short what, void *arg)
{
    struct channel *ch = arg;
    int64_t now = loop_clock_ms();

    (void)fd;
    (void)what;
    if (ch->on_room == NULL)
        return;
    for (struct channel_reader *r = ch->readers; r != NULL; r = r->link_next) {
        if (!r->cut && lag(ch, r) >= ch->limits.window &&
            now - r->moved_ms >= ch->limits.stall_ms) {
            r->cut = true;
            channel_post_reader(ch, r);
        }
    }
    channel_post(ch); /* there may be room now */
    if (!channel_has_room(ch))
        arm_stall(ch);
}

static void arm_stall(struct channel *ch)
{
    int wait = MIN(ch->limits.stall_ms, 1000);
    struct timeval tv = {.tv_sec = wait / 1000, .tv_usec = (wait % 1000) * 1000};

    if (ch->stall == NULL)
        ch->stall = event_new(ch->base, -1, 0, on_stall, ch);
    if (ch->stall != NULL)
        (void)event_add(
            ch->stall,
            &tv); /* without memory for a timer the next reader's progress still wakes us */
}

void channel_on_room(struct channel *ch, void (*on_room)(void *arg), void *arg)
{
    ch->on_room = on_room;
    ch->room_arg = arg;
    if (on_room == NULL)
        return;
    if (channel_has_room(ch))
        channel_post(ch);
    else
        arm_stall(ch);
}

void channel_get_stats(const struct channel *ch, struct channel_stats *ret_stats)
{
    *ret_stats = (struct channel_stats){
        .first_seq = ch->head != NULL ? ch->head->first_seq : ch->next_seq,
        .last_seq = ch->next_seq - 1,
        .bytes_total = ch->bytes[0] + ch->bytes[1],
        .bytes_dropped = ch->bytes_dropped,
        .bytes_held = ch->held,
    };
    for (const struct channel_reader *r = ch->readers; r != NULL; r = r->link_next)
        ret_stats->readers++;
}
