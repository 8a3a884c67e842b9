/* Multipart bodies: first line = Content-Type, the rest = body; one outcome for every split. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    uint64_t sum;
    size_t opened, closed;
};

static void mix(struct outcome *o, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        o->sum = o->sum * 31 + (uint8_t)p[i] + 1;
}

static int on_part(void *arg, const struct multipart_part *part, struct err *err)
{
    struct outcome *o = arg;

    (void)err;
    if (o->opened != o->closed)
        abort();
    o->opened++;
    mix(o, part->name, strlen(part->name));
    mix(o, part->type, strlen(part->type));
    if (part->filename)
        mix(o, part->filename, strlen(part->filename));
    return 0;
}

static int on_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct outcome *o = arg;

    (void)err;
    if (o->opened != o->closed + 1 || n == 0)
        abort();
    mix(o, p, n);
    return 0;
}

static int on_part_end(void *arg, struct err *err)
{
    (void)err;
    ((struct outcome *)arg)->closed++;
    return 0;
}

static int parse(const char *type, const char *p, size_t n, size_t piece, struct outcome *o)
{
    static const struct multipart_ops ops = {on_part, on_data, on_part_end};
    struct multipart *m;
    struct err err = {0};
    int r = multipart_new(type, 20, &ops, o, &m, &err);

    if (r < 0)
        return r;
    for (size_t at = 0; r == 0 && at < n; at += piece)
        r = multipart_feed(m, p + at, n - at < piece ? n - at : piece, &err);
    if (r == 0)
        r = multipart_finish(m, &err);
    if (r == 0 && o->opened != o->closed)
        abort();
    multipart_free(m);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole = {0}, bytes = {0};
    const uint8_t *line = memchr(data, '\n', size);
    size_t type_len = line ? (size_t)(line - data) : size;
    const char *body = (const char *)data + (line ? type_len + 1 : size);
    size_t body_len = size - (size_t)(body - (const char *)data);
    char *type = malloc(type_len + 1);

    memcpy(type, data, type_len);
    type[type_len] = '\0';
    if (parse(type, body, body_len, body_len ? body_len : 1, &whole) !=
        parse(type, body, body_len, 1, &bytes))
        abort();
    if (whole.opened != bytes.opened || whole.closed != bytes.closed || whole.sum != bytes.sum)
        abort();
    free(type);
    return 0;
}
