/* The older framing: a message is one JSON object. With buffers it is binary: big-endian u32 n, then n offsets from the
 * start of the frame, of the JSON text and of every buffer; then these bytes. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "execd/gateway/frame_priv.h"
#include "proto/json/jfield.h"
#include "proto/json/json_scan.h"

static uint32_t read_u32(const char *p)
{
    uint32_t value;

    memcpy(&value, p, sizeof(value));
    return be32toh(value);
}

/* ---- in ------------------------------------------------------------------------------------------- */

/* Offset i, or the end behind the last one; -1 when it does not follow the one before. */
static int64_t offset_at(struct slice data, uint32_t n, uint32_t i)
{
    uint32_t least = i == 0 ? 4 * (n + 1) : read_u32(data.ptr + 4 * i);
    uint32_t offset = i < n ? read_u32(data.ptr + 4 * (i + 1)) : (uint32_t)data.len;

    return offset >= least && offset <= data.len ? (int64_t)offset : -1;
}

static int split_binary(struct slice data, struct frame *frame, struct slice *ret_text,
                        struct err *err)
{
    uint32_t n = data.len >= 4 && data.len <= UINT32_MAX ? read_u32(data.ptr) : 0;

    if (n == 0 || data.len / 4 < (size_t)n + 1)
        return err_set(err, 0, EBADMSG, "the frame's head is cut short");
    if (n > JMSG_BUFFERS_MAX + 1)
        return err_set(err, 0, EPROTO, "at most %d buffers", JMSG_BUFFERS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        int64_t start = offset_at(data, n, i), end = offset_at(data, n, i + 1);
        if (start < 0 || end < start)
            return err_set(err, 0, EBADMSG, "offset %u of the frame is wrong", i);
        struct slice part = {data.ptr + start, (size_t)(end - start)};
        if (i == 0)
            *ret_text = part;
        else
            frame->buffers[i - 1] = part;
    }
    frame->parts.n_buffers = n - 1;
    return 0;
}

/* The name between the quotes; names that need escapes are nobody's. */
static int read_channel(struct slice value, struct slice *ret_channel, struct err *err)
{
    static const struct slice null = SLICE_LIT("null");

    if (value.len == 0 || (value.len == null.len && memcmp(value.ptr, null.ptr, null.len) == 0))
        return 0;
    if (value.ptr[0] != '"' || value.len < 3)
        return err_set(err, 0, EPROTO, "channel: one of shell, control, stdin");
    *ret_channel = (struct slice){value.ptr + 1, value.len - 2};
    return 0;
}

int frame_legacy_decode(bool is_binary, struct slice data, struct frame *frame,
                        struct slice *ret_channel, struct err *err)
{
    struct slice text = data;
    int r = is_binary ? split_binary(data, frame, &text, err) : 0;

    if (r < 0)
        return r;
    if (json_scan(text, &text) < 0)
        return err_set(err, 0, EBADMSG, "no valid JSON");
    if (text.ptr[0] != '{')
        return err_set(err, 0, EPROTO, "a message is a JSON object");
    /* "buffers" in the text is [], {} or null: bytes come behind it only. */
    frame->parts.header = json_find_member(text, "header");
    frame->parts.parent = json_find_member(text, "parent_header");
    frame->parts.metadata = json_find_member(text, "metadata");
    frame->parts.content = json_find_member(text, "content");
    return read_channel(json_find_member(text, "channel"), ret_channel, err);
}

/* ---- out ------------------------------------------------------------------------------------------ */

static void add_string(struct strbuf *b, const char *text)
{
    json_escape(b, text, strlen(text));
}

static void write_tail(const struct frame_source *source, struct strbuf *tail)
{
    strbuf_init(tail, 16 * (JMSG_ID_MAX + JMSG_TYPE_MAX));
    strbuf_adds(tail, ",\"msg_id\":");
    add_string(tail, source->id);
    strbuf_adds(tail, ",\"msg_type\":");
    add_string(tail, source->type);
    strbuf_addf(tail, ",\"channel\":\"%s\"", frame_channel_name(source->channel));
    if (source->seq != 0)
        strbuf_addf(tail, ",\"seq\":%llu", (unsigned long long)source->seq);
    strbuf_adds(tail, source->parts.n_buffers > 0 ? "}" : ",\"buffers\":[]}");
}

static void add_text(const struct frame_source *source, struct frame_out *out)
{
    const struct jmsg_parts *p = &source->parts;

    write_tail(source, &out->tail);
    frame_out_add(out, SLICE_LIT("{\"header\":"));
    frame_out_add(out, p->header);
    frame_out_add(out, SLICE_LIT(",\"parent_header\":"));
    frame_out_add(out, p->parent);
    frame_out_add(out, SLICE_LIT(",\"metadata\":"));
    frame_out_add(out, p->metadata);
    frame_out_add(out, SLICE_LIT(",\"content\":"));
    frame_out_add(out, p->content);
    frame_out_add(out, (struct slice){out->tail.data, out->tail.len});
}

static void add_u32(struct strbuf *b, size_t value)
{
    uint32_t big = htobe32((uint32_t)value);

    strbuf_add(b, &big, sizeof(big));
}

static void write_head(const struct frame_source *source, struct frame_out *out)
{
    const struct jmsg_parts *p = &source->parts;
    size_t n = p->n_buffers + 1, at = 4 * (n + 1);

    strbuf_init(&out->head, at);
    add_u32(&out->head, n);
    add_u32(&out->head, at);
    at += out->size; /* of the text: nothing else has been added */
    for (size_t i = 0; i < p->n_buffers; i++) {
        add_u32(&out->head, at);
        at += p->buffers[i].len;
    }
}

int frame_legacy_encode(const struct frame_source *source, struct frame_out *out)
{
    const struct jmsg_parts *p = &source->parts;

    out->is_binary = p->n_buffers > 0;
    if (out->is_binary)
        frame_out_add(out, (struct slice){0}); /* the head, below */
    add_text(source, out);
    if (out->is_binary) {
        write_head(source, out);
        out->pieces[0] = (struct slice){out->head.data, out->head.len};
        out->size += out->head.len;
    }
    for (size_t i = 0; i < p->n_buffers; i++)
        frame_out_add(out, p->buffers[i]);
    return strbuf_check(&out->tail) < 0 || strbuf_check(&out->head) < 0 ? -ENOMEM : 0;
}
