#include "execd/gateway/message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/ids.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"
#include "proto/json/json_build.h"
#include "proto/json/json_scan.h"

/* ---- one body, shared ------------------------------------------------------------------------------ */

struct message_body {
    size_t refs, size;
    bool is_counted;
    struct slice buffers[]; /* and behind them the bytes of all parts */
};

static size_t n_bytes; /* loop thread */

static size_t bytes_of(const struct jmsg_parts *p)
{
    size_t n = p->header.len + p->parent.len + p->metadata.len + p->content.len;

    for (size_t i = 0; i < p->n_buffers; i++)
        n += p->buffers[i].len;
    return n;
}

static struct slice put(char **at, struct slice part)
{
    struct slice copy = {*at, part.len};

    if (part.len > 0)
        memcpy(*at, part.ptr, part.len);
    *at += part.len;
    return copy;
}

/* Parts were received, or made by us: their sum is far from overflowing. */
static struct message_body *make_body(const struct jmsg_parts *p, struct jmsg_parts *ret_parts)
{
    size_t size = sizeof(struct message_body) + p->n_buffers * sizeof(struct slice) + bytes_of(p);
    struct message_body *body = malloc(size);

    if (body == NULL)
        return NULL;
    *body = (struct message_body){.size = size};
    char *at = (char *)(body->buffers + p->n_buffers);
    ret_parts->header = put(&at, p->header);
    ret_parts->parent = put(&at, p->parent);
    ret_parts->metadata = put(&at, p->metadata);
    ret_parts->content = put(&at, p->content);
    for (size_t i = 0; i < p->n_buffers; i++)
        body->buffers[i] = put(&at, p->buffers[i]);
    ret_parts->buffers = body->buffers;
    ret_parts->n_buffers = p->n_buffers;
    return body;
}

static struct message *pack(const struct jmsg_parts *p, bool is_counted)
{
    struct message *m = calloc(1, sizeof(*m));

    if (m == NULL || (m->body = make_body(p, &m->parts)) == NULL) {
        free(m);
        return NULL;
    }
    m->body->refs = 1;
    m->body->is_counted = is_counted;
    m->size = sizeof(*m) + m->body->size;
    if (is_counted)
        n_bytes += m->size;
    return m;
}

struct message *message_share(const struct message *m)
{
    struct message *other = malloc(sizeof(*other));

    if (other == NULL)
        return NULL;
    *other = *m;
    other->body->refs++;
    if (other->body->is_counted)
        n_bytes += sizeof(*other);
    return other;
}

void message_free(struct message *m)
{
    if (m == NULL)
        return;
    struct message_body *body = m->body;
    size_t freed = sizeof(*m) + (body->refs == 1 ? body->size : 0);
    if (body->is_counted)
        n_bytes -= freed;
    if (--body->refs == 0)
        free(body);
    free(m);
}

size_t message_bytes(void)
{
    return n_bytes;
}

/* ---- a kernel's ------------------------------------------------------------------------------------ */

int message_copy(enum kernel_channel channel, const struct jmsg *msg, struct message **ret_message)
{
    struct strbuf fixed[4] = {0};
    struct jmsg_parts parts = msg->parts;
    struct slice *const rows[] = {&parts.header, &parts.parent, &parts.metadata, &parts.content};
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(rows) && r >= 0; i++)
        r = frame_clean(rows[i], &fixed[i]);
    struct message *m = r >= 0 ? pack(&parts, true) : NULL;
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        strbuf_done(&fixed[i]);
    if (m == NULL)
        return r < 0 ? r : -ENOMEM;
    m->channel = channel;
    memcpy(m->id, msg->id, sizeof(m->id));
    memcpy(m->type, msg->type, sizeof(m->type));
    memcpy(m->parent_id, msg->parent_id, sizeof(m->parent_id));
    *ret_message = m;
    return 0;
}

struct message *message_keep(const struct frame *frame)
{
    struct message *m = pack(&frame->parts, false);

    if (m == NULL)
        return NULL;
    m->channel = frame->channel;
    memcpy(m->id, frame->id, sizeof(m->id));
    memcpy(m->type, frame->type, sizeof(m->type));
    return m;
}

void message_frame(const struct message *m, struct frame *ret_frame)
{
    memset(ret_frame, 0, sizeof(*ret_frame));
    ret_frame->channel = m->channel;
    memcpy(ret_frame->id, m->id, sizeof(m->id));
    memcpy(ret_frame->type, m->type, sizeof(m->type));
    ret_frame->parts = m->parts;
}

bool message_has_state(const struct message *m, const char *state)
{
    if (m->channel != CHANNEL_IOPUB || strcmp(m->type, "status") != 0)
        return false;
    return json_text_is(json_find_member(m->parts.content, "execution_state"), state);
}

/* ---- ours ------------------------------------------------------------------------------------------ */

static char *make_header(const char *id, const char *type, size_t *ret_len)
{
    char date[CLOCK_RFC3339_MAX];

    clock_format_us(clock_wall_us(), date);
    cleanup_json json_t *header =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "msg_id", id, "msg_type", type, "username",
                  "execd", "session", "execd", "date", date, "version", JMSG_PROTOCOL_VERSION);
    return header != NULL ? json_compact(header, ret_len) : NULL;
}

struct message *message_make(enum kernel_channel channel, const char *type, struct slice parent,
                             json_t *content)
{
    static const struct slice empty_object = SLICE_LIT("{}");
    char id[ID_UUID_LEN + 1];
    size_t header_len = 0, content_len = 0;
    struct message *m = NULL;

    ids_uuid(id);
    cleanup_free char *header = make_header(id, type, &header_len);
    cleanup_free char *text = content != NULL ? json_compact(content, &content_len) : NULL;
    json_decref(content);
    if (header == NULL || text == NULL)
        return NULL;
    struct jmsg_parts parts = {.header = {header, header_len},
                               .parent = parent.len > 0 ? parent : empty_object,
                               .metadata = empty_object,
                               .content = {text, content_len}};
    m = pack(&parts, true);
    if (m == NULL)
        return NULL;
    m->channel = channel;
    memcpy(m->id, id, sizeof(id));
    (void)snprintf(m->type, sizeof(m->type), "%s",
                   type); /* a request's type with "reply" is shorter */
    return m;
}

struct message *message_status(struct slice parent, const char *state)
{
    return message_make(CHANNEL_IOPUB, "status", parent,
                        json_pack("{s:s}", "execution_state", state));
}

struct message *message_stderr(struct slice parent, const char *text)
{
    return message_make(CHANNEL_IOPUB, "stream", parent,
                        json_pack("{s:s, s:s}", "name", "stderr", "text", text));
}

/* Most clients show the traceback alone. */
static json_t *error_content(const struct message_fault *fault)
{
    json_t *line = json_sprintf("%s: %s", fault->ename, fault->evalue);

    return json_pack("{s:s, s:s, s:[o, s*]}", "ename", fault->ename, "evalue", fault->evalue,
                     "traceback", line != NULL ? line : json_string(fault->ename),
                     fault->last_words);
}

struct message *message_error(struct slice parent, const struct message_fault *fault)
{
    return message_make(CHANNEL_IOPUB, "error", parent, error_content(fault));
}

struct message *message_error_reply(enum kernel_channel channel, const char *request_type,
                                    struct slice parent, const struct message_fault *fault)
{
    char type[JMSG_TYPE_MAX];
    int stem = (int)(strlen(request_type) - (sizeof("request") - 1));
    json_t *content = error_content(fault);

    (void)snprintf(type, sizeof(type), "%.*sreply", stem, request_type); /* shorter than it was */
    json_put(&content, "status", json_string("error"));
    if (strcmp(request_type, "execute_request") == 0)
        json_put(&content, "execution_count", json_integer(0));
    return message_make(channel, type, parent, content);
}
