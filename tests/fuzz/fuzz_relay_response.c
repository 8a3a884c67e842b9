/* Responses of a backend: one reading at every split, and no end that was not there. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum reply_result result;
    uint64_t sum;
    size_t len, heads;
};

/* What the relay cuts up: lines with a colon behind a name, and an empty one last. */
static void check_trailers(const struct strbuf *text)
{
    const char *line = text->data, *end;

    for (; (end = strstr(line, "\r\n")) != line; line = end + 2) {
        const char *colon = end != NULL ? memchr(line, ':', (size_t)(end - line)) : NULL;
        if (colon == NULL || colon == line)
            abort();
    }
    if (line + 2 != text->data + text->len)
        abort();
}

static struct outcome read_all(const uint8_t *p, size_t n, size_t piece)
{
    struct evbuffer *in = evbuffer_new();
    struct outcome o = {.result = REPLY_MORE};
    struct reply r;
    size_t at = 0;
    bool eof = false;

    reply_init(&r, false, 65536);
    while (o.result != REPLY_END && o.result != REPLY_BAD) {
        struct slice data = {NULL, 0};
        struct err err = {0};
        size_t used = 0;

        o.result = reply_next(&r, in, eof, &data, &used, &err);
        if (o.result == REPLY_DATA) {
            for (size_t i = 0; i < data.len; i++)
                o.sum = o.sum * 31 + (uint8_t)data.ptr[i];
            o.len += data.len;
            evbuffer_drain(in, used);
        } else if (o.result == REPLY_HEAD) {
            o.heads++;
        } else if (o.result == REPLY_MORE) {
            size_t run = n - at < piece ? n - at : piece;

            if (eof)
                abort(); /* the end of the input must decide */
            eof = run == 0;
            evbuffer_add(in, p + at, run);
            at += run;
        }
    }
    if (o.result == REPLY_END && r.trailers.len > 0)
        check_trailers(&r.trailers);
    for (size_t i = 0; o.result == REPLY_END && i < r.trailers.len; i++)
        o.sum = o.sum * 31 + (uint8_t)r.trailers.data[i];
    reply_done(&r);
    evbuffer_free(in);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole = read_all(data, size, size ? size : 1);
    struct outcome bytes = read_all(data, size, 1);

    if (whole.result != bytes.result || whole.heads != bytes.heads || whole.len != bytes.len ||
        whole.sum != bytes.sum)
        abort();
    return 0;
}
