/* Chunked bodies: the same data and the same end at every split. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum chunked_result result;
    size_t used, len;
    uint64_t sum;
};

static struct outcome decode(const char *p, size_t n, size_t piece)
{
    struct outcome o = {.result = CHUNKED_MORE};
    struct chunked c;

    chunked_init(&c);
    while (o.used < n && o.result == CHUNKED_MORE) {
        size_t run = n - o.used < piece ? n - o.used : piece, used = 0;
        struct slice s = {NULL, 0};
        enum chunked_result r = chunked_next(&c, p + o.used, run, &used, &s);

        if (r == CHUNKED_BAD) {
            o.result = r;
            break;
        }
        if (used == 0 || used > run)
            abort();
        o.used += used;
        for (size_t i = 0; r == CHUNKED_DATA && i < s.len; i++)
            o.sum = o.sum * 31 + (uint8_t)s.ptr[i];
        o.len += r == CHUNKED_DATA ? s.len : 0;
        o.result = r == CHUNKED_END ? r : CHUNKED_MORE;
    }
    if (o.result == CHUNKED_BAD)
        o.used = 0; /* how far it got depends on the pieces */
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole = decode((const char *)data, size, size ? size : 1);
    struct outcome bytes = decode((const char *)data, size, 1);

    if (whole.result != bytes.result || whole.used != bytes.used || whole.len != bytes.len ||
        whole.sum != bytes.sum)
        abort();
    return 0;
}
