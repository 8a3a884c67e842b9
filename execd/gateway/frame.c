#include "execd/gateway/frame.h"

#include <errno.h>
#include <string.h>

#include "execd/gateway/frame_priv.h"
#include "proto/base/clock.h"
#include "proto/json/jfield.h"
#include "proto/json/json_load.h"
#include "proto/json/json_scan.h"

static const char *const channel_names[CHANNEL_MAX] = {
    [CHANNEL_SHELL] = "shell",     [CHANNEL_IOPUB] = "iopub",  [CHANNEL_STDIN] = "stdin",
    [CHANNEL_CONTROL] = "control", [CHANNEL_HEARTBEAT] = "hb",
};

const char *frame_channel_name(enum kernel_channel channel)
{
    return channel_names[channel];
}

/* ---- parts --------------------------------------------------------------------------------------- */

static const struct slice empty_object = SLICE_LIT("{}");

static bool is_null(struct slice value)
{
    return value.len == 0 || (value.len == 4 && memcmp(value.ptr, "null", 4) == 0);
}

/* Valid JSON, without blanks around; nothing and null count as an empty object. */
static int check_object(struct slice *part)
{
    if (part->len > 0 && json_scan(*part, part) < 0)
        return -EBADMSG;
    if (is_null(*part))
        *part = empty_object;
    return part->ptr[0] == '{' ? 0 : -EPROTO;
}

int frame_clean(struct slice *part, struct strbuf *fixed)
{
    if (!utf8_is_valid(part->ptr, part->len)) {
        strbuf_init(fixed, 3 * part->len + 1);
        strbuf_add_repaired(fixed, part->ptr, part->len);
        if (strbuf_check(fixed) < 0)
            return -ENOMEM;
        *part = (struct slice){fixed->data, fixed->len};
    }
    return check_object(part) < 0 ? -EBADMSG : 0;
}

/* ---- headers ------------------------------------------------------------------------------------- */

static int copy_text(const json_t *header, const char *key, char *buf, size_t size, struct err *err)
{
    const json_t *value = json_object_get(header, key);
    const char *text = json_string_value(value);

    if (text == NULL || text[0] == '\0' || json_string_length(value) != strlen(text) ||
        strlen(text) >= size)
        return err_set(err, 0, EPROTO, "header.%s must be a text of 1 to %zu bytes", key, size - 1);
    memcpy(buf, text, strlen(text) + 1);
    return 0;
}

/* Members put in front: those of its own that come behind them win. */
static int add_members(struct frame *frame, bool version)
{
    struct slice old = frame->parts.header;
    char date[CLOCK_RFC3339_MAX];

    clock_format_us(clock_wall_us(), date);
    strbuf_init(&frame->header, old.len + 2 * sizeof(date));
    strbuf_addf(&frame->header, "{\"date\":\"%s\",", date);
    if (version)
        strbuf_adds(&frame->header, "\"version\":\"" JMSG_PROTOCOL_VERSION "\",");
    strbuf_add(&frame->header, old.ptr + 1, old.len - 1); /* it has members */
    frame->parts.header = (struct slice){frame->header.data, frame->header.len};
    return strbuf_check(&frame->header) < 0 ? -ENOMEM : 0;
}

int frame_renew(struct frame *frame)
{
    return frame->header.data == NULL ? add_members(frame, false) : 0; /* else: dated now */
}

static int take_header(struct frame *frame, struct err *err)
{
    struct slice text = frame->parts.header;

    if (text.len > FRAME_HEADER_MAX)
        return err_set(err, 0, EPROTO, "a header of %zu bytes, at most %u", text.len,
                       FRAME_HEADER_MAX);
    cleanup_json json_t *header = json_load_tolerant(text);
    if (header == NULL)
        return err_set(err, 0, EPROTO, "the header cannot be read");
    int r = copy_text(header, "msg_id", frame->id, sizeof(frame->id), err);
    if (r >= 0)
        r = copy_text(header, "msg_type", frame->type, sizeof(frame->type), err);
    bool no_date = json_object_get(header, "date") == NULL,
         no_version = json_object_get(header, "version") == NULL;
    if (r >= 0 && (no_date || no_version) && add_members(frame, no_version) < 0)
        return err_set(err, 0, ENOMEM, "no memory for a header");
    return r;
}

/* ---- channels ------------------------------------------------------------------------------------ */

/* Clients that name no channel mean the one that the type belongs to. */
static enum kernel_channel channel_of_type(const char *type)
{
    static const char *const control[] = {"shutdown_request",        "interrupt_request",
                                          "debug_request",           "usage_request",
                                          "create_subshell_request", "delete_subshell_request",
                                          "list_subshell_request"};

    if (strcmp(type, "input_reply") == 0)
        return CHANNEL_STDIN;
    for (size_t i = 0; i < ARRAY_LEN(control); i++)
        if (strcmp(type, control[i]) == 0)
            return CHANNEL_CONTROL;
    return CHANNEL_SHELL;
}

static int take_channel(struct frame *frame, struct slice name, struct err *err)
{
    static const enum kernel_channel open[] = {CHANNEL_SHELL, CHANNEL_CONTROL, CHANNEL_STDIN};

    frame->channel = channel_of_type(frame->type);
    if (name.len == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(open); i++) {
        if (strlen(channel_names[open[i]]) == name.len &&
            memcmp(channel_names[open[i]], name.ptr, name.len) == 0) {
            frame->channel = open[i];
            return 0;
        }
    }
    return err_set(err, 0, EPROTO, "channel: one of shell, control, stdin");
}

/* ---- in ------------------------------------------------------------------------------------------- */

static int check_parts(struct frame *frame, struct err *err)
{
    struct {
        const char *name;
        struct slice *part;
    } rows[] = {{"header", &frame->parts.header},
                {"parent_header", &frame->parts.parent},
                {"metadata", &frame->parts.metadata},
                {"content", &frame->parts.content}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int r = check_object(rows[i].part);
        if (r < 0)
            return err_set(err, 0, -r, "%s is %s", rows[i].name,
                           r == -EBADMSG ? "no valid JSON" : "no object");
    }
    return 0;
}

int frame_decode(enum framing framing, bool is_binary, struct slice data, struct frame *ret_frame,
                 struct err *err)
{
    struct slice channel = {0};
    int r;

    memset(ret_frame, 0, sizeof(*ret_frame));
    ret_frame->parts.buffers = ret_frame->buffers;
    if (framing == FRAMING_V1 && !is_binary)
        return err_set(err, 0, EBADMSG, "text in a protocol of binary frames");
    r = framing == FRAMING_V1 ? frame_v1_decode(data, ret_frame, &channel, err)
                              : frame_legacy_decode(is_binary, data, ret_frame, &channel, err);
    if (r >= 0)
        r = check_parts(ret_frame, err);
    if (r >= 0)
        r = take_header(ret_frame, err);
    return r >= 0 ? take_channel(ret_frame, channel, err) : r;
}

void frame_done(struct frame *frame)
{
    strbuf_done(&frame->header);
}

/* ---- out ------------------------------------------------------------------------------------------ */

void frame_out_add(struct frame_out *out, struct slice piece)
{
    out->pieces[out->n_pieces++] = piece;
    out->size += piece.len;
}

int frame_encode(enum framing framing, const struct frame_source *source, struct frame_out *ret_out)
{
    memset(ret_out, 0, sizeof(*ret_out));
    return framing == FRAMING_V1 ? frame_v1_encode(source, ret_out)
                                 : frame_legacy_encode(source, ret_out);
}

void frame_out_done(struct frame_out *out)
{
    strbuf_done(&out->head);
    strbuf_done(&out->tail);
}
