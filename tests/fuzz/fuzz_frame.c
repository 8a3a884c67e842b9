/*
 * Frames of gateway clients: the first byte chooses the framing, the rest is what came. What is accepted is sane, and
 * encoded again in either framing it decodes to the same parts. A kernel's part that passes is one JSON object.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/gateway/frame.h"
#include "proto/json/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool value)
{
    if (!value)
        abort();
}

static bool same(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static void require_same(const struct frame *a, const struct frame *b)
{
    require(a->channel == b->channel && strcmp(a->id, b->id) == 0 && strcmp(a->type, b->type) == 0);
    require(same(a->parts.header, b->parts.header) && same(a->parts.parent, b->parts.parent) &&
            same(a->parts.metadata, b->parts.metadata) && same(a->parts.content, b->parts.content));
    require(a->parts.n_buffers == b->parts.n_buffers);
    for (size_t i = 0; i < a->parts.n_buffers; i++)
        require(same(a->buffers[i], b->buffers[i]));
}

static void try_again(const struct frame *f, enum framing framing)
{
    struct frame_source source = {f->channel, f->id, f->type, f->parts, 0};
    struct frame_out out;
    struct frame again;
    require(frame_encode(framing, &source, &out) == 0);
    char *all = malloc(out.size + 1);
    size_t at = 0;
    for (size_t i = 0; i < out.n_pieces; i++) {
        if (out.pieces[i].len > 0)
            memcpy(all + at, out.pieces[i].ptr, out.pieces[i].len);
        at += out.pieces[i].len;
    }
    require(at == out.size);
    require(frame_decode(framing, out.is_binary, (struct slice){all, at}, &again, NULL) == 0);
    require_same(f, &again);
    frame_done(&again);
    frame_out_done(&out);
    free(all);
}

static void try_clean(struct slice part)
{
    struct strbuf fixed = {0};
    if (frame_clean(&part, &fixed) == 0)
        require(part.ptr[0] == '{' && json_scan(part, NULL) == 0);
    strbuf_done(&fixed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f;
    if (size == 0)
        return 0;
    struct slice rest = {(const char *)data + 1, size - 1};
    enum framing framing = data[0] & 1 ? FRAMING_V1 : FRAMING_LEGACY;
    bool is_binary = framing == FRAMING_V1 || data[0] & 2;
    if (frame_decode(framing, is_binary, rest, &f, NULL) == 0) {
        require(f.id[0] != '\0' && strlen(f.id) < JMSG_ID_MAX && f.channel != CHANNEL_IOPUB);
        try_again(&f, FRAMING_LEGACY);
        try_again(&f, FRAMING_V1);
    }
    frame_done(&f);
    try_clean(rest);
    return 0;
}
