#include "execd/gateway/fanout.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/json/jfield.h"
#include "proto/json/json_load.h"

/* Some clients take 1 MiB at most. A piece of text may grow sixfold by escapes. */
#define SPLIT_AT (512u << 10)
#define PIECE_MAX (128u << 10)

static void clear(struct fanout *f)
{
    struct message *m;

    while ((m = TAILQ_FIRST(&f->list)) != NULL) {
        TAILQ_REMOVE(&f->list, m, link);
        message_free(m);
    }
    f->serial = 0;
}

static void on_forget(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    clear(arg);
}

int fanout_init(struct fanout *f, struct event_base *base)
{
    *f = (struct fanout){.forget = evtimer_new(base, on_forget, f)};
    TAILQ_INIT(&f->list);
    return f->forget != NULL ? 0 : -ENOMEM;
}

void fanout_done(struct fanout *f)
{
    clear(f);
    if (f->forget != NULL)
        event_free(f->forget);
}

static int add_piece(struct fanout *f, const struct message *whole, const char *name,
                     struct slice text)
{
    struct message *piece =
        message_make(CHANNEL_IOPUB, "stream", whole->parts.parent,
                     json_pack("{s:s, s:s%}", "name", name, "text", text.ptr, text.len));

    if (piece == NULL)
        return -ENOMEM;
    memcpy(piece->parent_id, whole->parent_id, sizeof(piece->parent_id));
    TAILQ_INSERT_TAIL(&f->list, piece, link);
    return 0;
}

/* A stream output that is too large for some clients goes in pieces: 1. 0: it has to go as it is. */
static int split_stream(struct fanout *f, const struct message *m)
{
    struct slice content = m->parts.content;

    if (m->channel != CHANNEL_IOPUB || content.len <= SPLIT_AT || strcmp(m->type, "stream") != 0)
        return 0;
    cleanup_json json_t *stream = json_load_tolerant(content);
    const json_t *name = json_object_get(stream, "name"), *text = json_object_get(stream, "text");
    if (!json_is_string(name) || !json_is_string(text))
        return 0;
    const char *p = json_string_value(text);
    for (size_t left = json_string_length(text), n; left > 0; left -= n, p += n) {
        n = utf8_cut(p, left, PIECE_MAX);
        int r = add_piece(f, m, json_string_value(name), (struct slice){p, n});
        if (r < 0)
            return r;
    }
    return 1;
}

static int prepare(struct fanout *f, enum kernel_channel channel, const struct jmsg *msg)
{
    struct message *m;
    int r = message_copy(channel, msg, &m);

    if (r < 0)
        return r;
    r = split_stream(f, m);
    if (r == 0)
        TAILQ_INSERT_TAIL(&f->list, m, link);
    else
        message_free(m);
    return MIN(r, 0);
}

int fanout_get(struct fanout *f, uint64_t serial, enum kernel_channel channel,
               const struct jmsg *msg, const struct message_list **ret_list)
{
    if (f->serial != serial) {
        clear(f);
        f->result = prepare(f, channel, msg);
        f->serial = serial;
        event_active(f->forget, EV_TIMEOUT, 0);
    }
    *ret_list = &f->list;
    return f->result;
}
