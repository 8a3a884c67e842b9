#include "execd/gateway/outbox.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/str.h"

void outbox_init(struct outbox *o, const struct outbox_limits *limits)
{
    memset(o, 0, sizeof(*o));
    TAILQ_INIT(&o->list);
    o->limits = *limits;
    o->next_seq = 1;
    strbuf_init(&o->left_out_parent, JMSG_HEADER_MAX * 3 + 1);
}

static void drop(struct outbox *o, struct message *m)
{
    TAILQ_REMOVE(&o->list, m, link);
    message_free(m);
}

void outbox_done(struct outbox *o)
{
    while (!TAILQ_EMPTY(&o->list))
        drop(o, TAILQ_FIRST(&o->list));
    strbuf_done(&o->left_out_parent);
}

/* ---- in -------------------------------------------------------------------------------------------- */

static void append(struct outbox *o, struct message *m)
{
    m->seq = o->next_seq++;
    TAILQ_INSERT_TAIL(&o->list, m, link);
    o->unsent_bytes += m->size;
    if (o->unsent == NULL)
        o->unsent = m;
}

/* Without it a client would wait for ever. */
static bool is_essential(const struct message *m)
{
    static const char *const types[] = {"status", "error", "execute_input"};

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(m->type, types[i]) == 0)
            return true;
    return m->channel != CHANNEL_IOPUB;
}

static bool has_room(const struct outbox *o, const struct message *m)
{
    bool is_stream = strcmp(m->type, "stream") == 0;

    if (o->away || is_essential(m) || o->unsent == NULL)
        return true;
    return o->unsent_bytes + m->size <= (is_stream ? o->limits.stream_max : o->limits.output_max);
}

static void leave_out(struct outbox *o, struct message *m)
{
    o->n_left_out++;
    o->left_out_bytes += m->parts.content.len;
    strbuf_reset(&o->left_out_parent);
    strbuf_add(&o->left_out_parent, m->parts.parent.ptr, m->parts.parent.len);
    message_free(m);
}

static void tell(struct outbox *o, struct slice parent, const char *text)
{
    struct message *note = message_stderr(parent, text);

    if (note != NULL) /* else there is no memory to tell that there is none */
        append(o, note);
}

static void tell_left_out(struct outbox *o)
{
    char text[160];

    if (o->n_left_out == 0)
        return;
    (void)snprintf(text, sizeof(text),
                   "\n[%" PRIu64 " outputs of %" PRIu64
                   " bytes are left out: this client reads too slowly]\n",
                   o->n_left_out, o->left_out_bytes); /* fits */
    tell(o, (struct slice){o->left_out_parent.data, o->left_out_parent.len}, text);
    o->n_left_out = o->left_out_bytes = 0;
}

/* Nobody is there: the newest is worth most. One message alone always stays. */
static void trim_away(struct outbox *o)
{
    while (o->away && o->unsent_bytes > o->limits.away_max && TAILQ_NEXT(o->unsent, link) != NULL) {
        struct message *m = o->unsent;

        o->unsent = TAILQ_NEXT(m, link);
        o->unsent_bytes -= m->size;
        o->n_lost++;
        drop(o, m);
    }
}

void outbox_put(struct outbox *o, struct message *m)
{
    if (!has_room(o, m)) {
        leave_out(o, m);
        return;
    }
    tell_left_out(o);
    append(o, m);
    trim_away(o);
}

bool outbox_is_too_full(const struct outbox *o)
{
    return !o->away && o->unsent_bytes > o->limits.hard_max && TAILQ_NEXT(o->unsent, link) != NULL;
}

/* ---- out ------------------------------------------------------------------------------------------- */

struct message *outbox_peek(const struct outbox *o)
{
    return o->unsent;
}

static void trim_kept(struct outbox *o)
{
    while (o->kept_bytes > o->limits.keep_max) {
        struct message *m = TAILQ_FIRST(&o->list);

        o->kept_bytes -= m->size;
        drop(o, m);
    }
}

void outbox_sent(struct outbox *o, size_t wire_size)
{
    struct message *m = o->unsent;

    m->wire_size = wire_size;
    o->unsent = TAILQ_NEXT(m, link);
    o->unsent_bytes -= m->size;
    o->kept_bytes += m->size;
    trim_kept(o);
}

/* ---- away and back --------------------------------------------------------------------------------- */

/* The last one that was sent is unsent again; false when there is none. */
static bool step_back(struct outbox *o)
{
    struct message *m = o->unsent != NULL ? TAILQ_PREV(o->unsent, message_list, link)
                                          : TAILQ_LAST(&o->list, message_list);

    if (m == NULL)
        return false;
    o->unsent = m;
    o->unsent_bytes += m->size;
    o->kept_bytes -= m->size;
    return true;
}

void outbox_leave(struct outbox *o, size_t undelivered)
{
    o->away = true;
    while (undelivered > 0 && step_back(o))
        undelivered -= MIN(undelivered, o->unsent->wire_size);
    trim_away(o);
}

/* From where on the client has seen nothing; it is told of what is not there any more. */
static void seek(struct outbox *o, uint64_t last_seq)
{
    while (step_back(o))
        ;
    while (o->unsent != NULL && o->unsent->seq <= last_seq)
        outbox_sent(o, o->unsent->wire_size);
    uint64_t first = o->unsent != NULL ? o->unsent->seq : o->next_seq;
    o->n_lost = first > last_seq + 1 ? first - last_seq - 1 : 0;
}

/* In front of what it is to see next, under the number of the last one that is lost: the others have theirs already. */
static void tell_lost(struct outbox *o)
{
    char text[128];

    (void)snprintf(text, sizeof(text),
                   "\n[%" PRIu64 " messages are lost: the client was away too long]\n",
                   o->n_lost); /* fits */
    struct message *note = message_stderr((struct slice){0}, text);
    o->n_lost = 0;
    if (note == NULL)
        return;
    if (o->unsent == NULL) {
        append(o, note);
        return;
    }
    note->seq = o->unsent->seq - 1;
    TAILQ_INSERT_BEFORE(o->unsent, note, link);
    o->unsent = note;
    o->unsent_bytes += note->size;
}

void outbox_return(struct outbox *o, const uint64_t *last_seq)
{
    o->away = false;
    if (last_seq != NULL && *last_seq < o->next_seq)
        seek(o, *last_seq);
    if (o->n_lost > 0)
        tell_lost(o);
}
