/* v1.kernel.websocket.jupyter.org: little-endian u64 n, then n offsets from the start of the frame: of the channel's
 * name, of every part, and of the end; then these bytes. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "execd/gateway/frame_priv.h"

#define OFFSETS_MIN 6 /* channel, header, parent, metadata, content, end */
#define OFFSETS_MAX (OFFSETS_MIN + JMSG_BUFFERS_MAX)

static uint64_t read_u64(const char *p)
{
    uint64_t value;

    memcpy(&value, p, sizeof(value));
    return le64toh(value);
}

/* Offsets must cover the frame in order, from behind themselves to its end. */
static int read_offsets(struct slice data, uint64_t offsets[OFFSETS_MAX], size_t *ret_n,
                        struct err *err)
{
    uint64_t n = data.len >= 8 ? read_u64(data.ptr) : 0;

    if (n < OFFSETS_MIN || n >= data.len / 8)
        return err_set(err, 0, EBADMSG, "the frame's head is cut short");
    if (n > OFFSETS_MAX)
        return err_set(err, 0, EPROTO, "at most %d buffers", JMSG_BUFFERS_MAX);
    for (size_t i = 0; i < n; i++) {
        offsets[i] = read_u64(data.ptr + 8 * (i + 1));
        if (offsets[i] < (i == 0 ? 8 * (n + 1) : offsets[i - 1]) || offsets[i] > data.len)
            return err_set(err, 0, EBADMSG, "offset %zu of the frame is wrong", i);
    }
    if (offsets[n - 1] != data.len)
        return err_set(err, 0, EBADMSG, "the frame is longer than its offsets say");
    *ret_n = (size_t)n;
    return 0;
}

int frame_v1_decode(struct slice data, struct frame *frame, struct slice *ret_channel,
                    struct err *err)
{
    uint64_t offsets[OFFSETS_MAX];
    struct slice parts[OFFSETS_MAX];
    size_t n = 0;
    int r = read_offsets(data, offsets, &n, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i + 1 < n; i++)
        parts[i] = (struct slice){data.ptr + offsets[i], (size_t)(offsets[i + 1] - offsets[i])};
    *ret_channel = parts[0];
    frame->parts.header = parts[1];
    frame->parts.parent = parts[2];
    frame->parts.metadata = parts[3];
    frame->parts.content = parts[4];
    frame->parts.n_buffers = n - OFFSETS_MIN;
    memcpy(frame->buffers, parts + OFFSETS_MIN - 1, (n - OFFSETS_MIN) * sizeof(parts[0]));
    return 0;
}

static void add_u64(struct strbuf *b, uint64_t value)
{
    value = htole64(value);
    strbuf_add(b, &value, sizeof(value));
}

int frame_v1_encode(const struct frame_source *source, struct frame_out *out)
{
    const struct jmsg_parts *p = &source->parts;
    const char *channel = frame_channel_name(source->channel);
    size_t n = OFFSETS_MIN + p->n_buffers, at = 8 * (n + 1);

    strbuf_init(&out->head, at);
    frame_out_add(out, (struct slice){0}); /* the head, below */
    frame_out_add(out, (struct slice){channel, strlen(channel)});
    frame_out_add(out, p->header);
    frame_out_add(out, p->parent);
    frame_out_add(out, p->metadata);
    frame_out_add(out, p->content);
    for (size_t i = 0; i < p->n_buffers; i++)
        frame_out_add(out, p->buffers[i]);
    add_u64(&out->head, n);
    for (size_t i = 1; i < out->n_pieces; i++) {
        add_u64(&out->head, at);
        at += out->pieces[i].len;
    }
    add_u64(&out->head, at);
    out->pieces[0] = (struct slice){out->head.data, out->head.len};
    out->size = at;
    out->is_binary = true;
    return strbuf_check(&out->head) < 0 ? -ENOMEM : 0;
}
