/* Responses from an untrusted peer: where they end, and that broken ones are never taken for whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/http/reply.h"

/* Reads one response that arrives in pieces and ends with a FIN; body gets its data. */
static enum reply_result read_reply(const char *bytes, size_t piece, bool head_request,
                                    struct strbuf *body)
{
    struct evbuffer *in = evbuffer_new();
    struct reply r;
    struct err err = {0};
    size_t n = strlen(bytes), at = 0;
    enum reply_result result = REPLY_MORE;

    strbuf_reset(body);
    reply_init(&r, head_request, 65536);
    while (result != REPLY_END && result != REPLY_BAD) {
        struct slice data;
        size_t used;

        result = reply_next(&r, in, at > n, &data, &used, &err);
        if (result == REPLY_DATA) {
            strbuf_add(body, data.ptr, data.len);
            evbuffer_drain(in, used);
        } else if (result == REPLY_MORE) {
            size_t len = at < n && n - at < piece ? n - at : piece;

            assert_true(at <= n);
            if (at < n)
                evbuffer_add(in, bytes + at, at + len > n ? n - at : len);
            at += at < n ? len : 1;
        }
    }
    assert_true(result == REPLY_END || err.code == ERR_BACKEND_RESPONSE_FAILED);
    reply_done(&r);
    evbuffer_free(in);
    return result;
}

static void test_framings_at_every_split(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *body;
        bool head_request;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellorest", "hello", false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
         "chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\nrest",
         "hello", false},
        {"HTTP/1.0 200 OK\r\n\r\nhello", "hello", false},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: x\r\n\r\nHTTP/1.1 200 "
         "OK\r\nContent-Length: 0\r\n\r\n",
         "", false},
        {"HTTP/1.1 204 No Content\r\n\r\nrest", "", false},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "", true},
    };
    struct strbuf body;

    strbuf_init(&body, 1024);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t piece = 1; piece <= strlen(rows[i].bytes); piece++) {
            if (read_reply(rows[i].bytes, piece, rows[i].head_request, &body) != REPLY_END)
                fail_msg("row %zu in pieces of %zu", i, piece);
            assert_string_equal(body.data ? body.data : "", rows[i].body);
        }
    }
    strbuf_done(&body);
}

static void test_I04_broken_responses(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\r\n",
    };
    struct strbuf body;

    strbuf_init(&body, 1024);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (read_reply(rows[i], 4096, false, &body) != REPLY_BAD)
            fail_msg("row %zu was taken: %s", i, rows[i]);
    }
    strbuf_done(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framings_at_every_split),
        cmocka_unit_test(test_I04_broken_responses),
    };
    return cmocka_run_group_tests_name("reply", tests, NULL, NULL);
}
