/* WebSocket frames: the same messages and the same fault at every split, and no more memory than allowed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/http/ws_frame.h"

#define LIMIT 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    unsigned messages;
    uint16_t fault;
    uint64_t sum;
};

static void add(struct outcome *o, const struct ws_message *m)
{
    o->messages++;
    o->sum = o->sum * 31 + (unsigned)m->opcode * 7 + m->close_code;
    for (size_t i = 0; i < m->len; i++)
        o->sum = o->sum * 31 + (uint8_t)m->data[i];
    if (m->opcode == WS_TEXT && !utf8_is_valid(m->data, m->len))
        abort();
    if (m->len > (m->opcode >= WS_CLOSE ? WS_CONTROL_MAX : LIMIT))
        abort();
}

static struct outcome read_all(const char *p, size_t n, size_t piece)
{
    struct outcome o = {0};
    struct ws_parser parser;

    ws_parser_init(&parser, LIMIT);
    for (size_t at = 0; at < n;) {
        struct ws_message m = {0};
        size_t run = n - at < piece ? n - at : piece, used = 0;
        enum ws_result r = ws_parser_next(&parser, p + at, run, &used, &m);

        if (used > run || parser.cap > LIMIT || (r == WS_MORE && used != run))
            abort();
        at += used;
        if (r == WS_MESSAGE)
            add(&o, &m);
        if (r == WS_BAD) {
            o.fault = parser.fault.code;
            break;
        }
    }
    ws_parser_done(&parser);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole = read_all((const char *)data, size, size ? size : 1);
    struct outcome bytes = read_all((const char *)data, size, 1);

    if (whole.messages != bytes.messages || whole.fault != bytes.fault || whole.sum != bytes.sum)
        abort();
    return 0;
}
