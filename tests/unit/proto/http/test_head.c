/* Heads as programs disagree about them: each row must be refused, or read in the one right way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/api/errors.h"
#include "proto/http/head.h"
#include "proto/http/head_scan.h"

static struct head head;
static char *text; /* of the head */

/* Scan and parse as the connection does; 0 or the error's code. */
static int parse_bytes(const char *bytes, size_t len, bool response)
{
    struct head_scan s;
    struct err err = {0};
    size_t used;
    int r;

    free(text);
    text = malloc(len);
    memcpy(text, bytes, len);
    head_init(&head);
    head_scan_init(&s, response, 32768, 100);
    r = head_scan_feed(&s, text, len, &used, &err);
    if (r == 1)
        r = response ? head_parse_response(&head, text, used, &err)
                     : head_parse_request(&head, text + s.skip, used - s.skip, &err);
    else if (r == 0)
        fail_msg("incomplete head: %s", bytes);
    assert_true(r == 0 || err.code != 0);
    return r < 0 ? err.code : 0;
}

static int parse(const char *bytes)
{
    return parse_bytes(bytes, strlen(bytes), false);
}

#define HEAD "POST /a HTTP/1.1\r\nHost: x\r\n"
#define END "\r\n\r\n"

static void test_D01_D48_malformed_heads_are_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        HEAD "Content-Length: +1" END,
        HEAD "Content-Length: 1_0" END,
        HEAD "Content-Length: +1_0" END,
        HEAD "Content-Length: 010" END,
        HEAD "Content-Length: 00" END,
        HEAD "Content-Length:" END,
        HEAD "Content-Length: -1" END,
        HEAD "Content-Length: 0x1" END,
        HEAD "Content-Length: 1Z" END,
        HEAD "Content-Length: 1 2" END,
        HEAD "Content-Length: 1, 1" END,
        HEAD "Content-Length: 1,1" END,
        HEAD "Content-Length: 1"
             "\r\nContent-Length: 1" END,
        HEAD "Content-Length: 1"
             "\r\nContent-Length: 2" END,
        HEAD "Content-Length: 1\xa0" END,
        HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" END,
        HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity" END,
        HEAD "Transfer-Encoding: ,chunked" END,
        HEAD "Transfer-Encoding: chunked," END,
        HEAD "Transfer-Encoding: chunked, chunked" END,
        HEAD "Transfer-Encoding: \xa0"
             "chunked" END,
        HEAD "Transfer-Encoding: \x0b"
             "chunked" END,
        HEAD "Transfer-Encoding: chunked, gzip" END,
        HEAD "Transfer-Encoding: chunke" END,
        HEAD "Transfer-Encoding: chunked;a=b" END,
        HEAD "Transfer-Encoding: \"chunked\"" END,
        HEAD "Transfer-Encoding: xchunked" END,
        HEAD "Transfer-Encoding:" END,
        HEAD "Transfer-Encoding: identity" END,
        HEAD "Transfer-Encoding: chunked\r\nContent-Length: 5" END,
        HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked" END,
        HEAD "Content-Length: 5\r\nTransfer-Encoding: identity" END,
        HEAD "Transfer-Encoding : chunked" END,
        HEAD "Content-Length : 5" END,
        HEAD " Content-Length: 5" END,
        HEAD "X: y\r\n folded" END,
        HEAD "X: y\r\n\tfolded" END,
        HEAD ": no name" END,
        HEAD "no colon" END,
        HEAD "na me: x" END,
        HEAD "n(me: x" END,
        HEAD "X: a\rb" END,
        HEAD "X: a\nY: b" END,
        HEAD "X: a\r\n\rX: b" END,
        HEAD "X: \x01" END,
        HEAD "X: \x7f" END,
        "POST /a HTTP/1.1\nHost: x" END,
        "POST /a HTTP/1.1\r\nHost: x\r\n\n\r\n",
        "POST /a HTTP/1.1\rHost: x" END,
        "POST /a HTTP/1.1 \r\nHost: x" END,
        "POST  /a HTTP/1.1\r\nHost: x" END,
        "POST /a  HTTP/1.1\r\nHost: x" END,
        "POST /a b HTTP/1.1\r\nHost: x" END,
        "POST\t/a HTTP/1.1\r\nHost: x" END,
        "POST /a\r\nHost: x" END,
        "POST\r\nHost: x" END,
        "POST /a HTTP/1.2\r\nHost: x" END,
        "POST /a HTTP/2.0\r\nHost: x" END,
        "POST /a HTTP/0.9\r\nHost: x" END,
        "POST /a HTTP/1.10\r\nHost: x" END,
        "POST /a HTTP/01.1\r\nHost: x" END,
        "POST /a HTTP/1.4294967297\r\nHost: x" END,
        "POST /a HTTP/1,1\r\nHost: x" END,
        "POST /a http/1.1\r\nHost: x" END,
        "POST /a HTTPS/1.1\r\nHost: x" END,
        "POST /a#b HTTP/1.1\r\nHost: x" END,
        "POST a HTTP/1.1\r\nHost: x" END,
        "POST * HTTP/1.1\r\nHost: x" END,
        "POST /a\x01 HTTP/1.1\r\nHost: x" END,
        "\r\n\r\nPOST /a HTTP/1.1\r\nHost: x" END,
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (parse(rows[i]) != ERR_BAD_REQUEST)
            fail_msg("row %zu was not refused as malformed: %s", i, rows[i]);
    }
    assert_int_equal(parse_bytes(HEAD "X: a\0b" END, sizeof(HEAD "X: a\0b" END) - 1, false),
                     ERR_BAD_REQUEST);
    assert_int_equal(parse_bytes("GET /\0 HTTP/1.1" END, sizeof("GET /\0 HTTP/1.1" END) - 1, false),
                     ERR_BAD_REQUEST);
}

static void test_D50_codings_and_huge_lengths(void **state)
{
    (void)state;
    assert_int_equal(parse(HEAD "Content-Length: 9223372036854775808" END), ERR_BAD_REQUEST);
    assert_int_equal(parse(HEAD "Content-Length: 18446744073709551616" END), ERR_BAD_REQUEST);
    assert_int_equal(parse(HEAD "Content-Length: 99999999999999999999" END), ERR_BAD_REQUEST);
    assert_int_equal(parse(HEAD "Content-Length: 9223372036854775807" END), 0);
    assert_true(head.content_length == INT64_MAX);
    assert_int_equal(parse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked" END), ERR_BAD_REQUEST);
    assert_int_equal(parse(HEAD "Transfer-Encoding: gzip, chunked" END), ERR_UNSUPPORTED_ENCODING);
    assert_int_equal(parse(HEAD "Transfer-Encoding: cHuNkEd" END), 0);
    assert_true(head.chunked);
    assert_int_equal(head.content_length, -1);
}

static void test_D51_host_and_absolute_form(void **state)
{
    (void)state;
    assert_int_equal(parse("GET / HTTP/1.1" END), ERR_BAD_REQUEST);
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: a\r\nHost: a" END), ERR_BAD_REQUEST);
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: a:99999" END), ERR_BAD_REQUEST);
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: u@a" END), ERR_BAD_REQUEST);
    assert_int_equal(parse("GET / HTTP/1.0" END), 0);
    assert_int_equal(parse("GET http://b/x HTTP/1.1\r\nHost: a" END), ERR_BAD_REQUEST);
    assert_int_equal(parse("GET http://u@a/x HTTP/1.1\r\nHost: a" END), ERR_BAD_REQUEST);
    assert_int_equal(parse("GET ftp://a/x HTTP/1.1\r\nHost: a" END), ERR_BAD_REQUEST);
    assert_int_equal(parse("GET http:///x HTTP/1.1\r\nHost: a" END), ERR_BAD_REQUEST);
    assert_int_equal(parse("GET HTTP://A:80/x?q HTTP/1.1\r\nHost: a:80" END), 0);
    assert_string_equal(head.path, "/x");
    assert_string_equal(head.query, "q");
    assert_true(head.absolute_form);
    assert_int_equal(parse("GET http://a HTTP/1.1\r\nHost: a" END), 0);
    assert_string_equal(head.path, "/");
    assert_int_equal(parse("GET http://a?q HTTP/1.1\r\nHost: a" END), 0);
    assert_string_equal(head.path, "/");
    assert_string_equal(head.query, "q");
}

static void test_D56_expectations_D60_content_encodings(void **state)
{
    (void)state;
    assert_int_equal(parse(HEAD "Expect: 100-Continue\r\nContent-Length: 1" END), 0);
    assert_true(head.expect_continue);
    assert_int_equal(parse(HEAD "Expect: 200-ok" END), ERR_EXPECTATION_FAILED);
    assert_int_equal(parse(HEAD "Expect: 100-continue\r\nExpect: 100-continue" END),
                     ERR_EXPECTATION_FAILED);
    assert_int_equal(parse("POST / HTTP/1.0\r\nExpect: 100-continue" END), 0);
    assert_false(head.expect_continue);
    assert_int_equal(parse(HEAD "Content-Encoding: gzip" END), ERR_UNSUPPORTED_ENCODING);
    assert_int_equal(parse(HEAD "Content-Encoding: identity, br" END), ERR_UNSUPPORTED_ENCODING);
    assert_int_equal(parse(HEAD "Content-Encoding: identity\r\nContent-Encoding: gzip" END),
                     ERR_UNSUPPORTED_ENCODING);
    assert_int_equal(parse(HEAD "Content-Encoding: identity" END), 0);
}

static void test_D58_methods(void **state)
{
    (void)state;
    static const char *const refused[] = {"TRACE", "CONNECT", "PRI", "get",
                                          "Get",   "FOO",     "G",   "GETX"};
    char line[64];

    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        (void)snprintf(line, sizeof(line), "%s / HTTP/1.1\r\nHost: x" END, refused[i]);
        assert_int_equal(parse(line), ERR_BAD_REQUEST);
    }
    assert_int_equal(parse("CONNECT a:1 HTTP/1.1\r\nHost: a:1" END), ERR_BAD_REQUEST);
    assert_int_equal(parse("OPTIONS * HTTP/1.1\r\nHost: a" END), 0);
    assert_string_equal(head.path, "*");
    assert_int_equal(parse("PROPFIND / HTTP/1.1\r\nHost: a" END), 0);
    assert_string_equal(head.method, "PROPFIND");
}

static void test_fields_are_trimmed_and_kept_apart(void **state)
{
    (void)state;
    assert_int_equal(
        parse("GET /p?a=1&b HTTP/1.1\r\nHost:x\r\nA: \t 1 2 \t\r\nb:\r\na: caf\xe9" END), 0);
    assert_string_equal(head.method, "GET");
    assert_string_equal(head.path, "/p");
    assert_string_equal(head.query, "a=1&b");
    assert_int_equal(head.n_fields, 4);
    assert_string_equal(head_get(&head, "a"), "1 2");
    assert_string_equal(head_get(&head, "B"), "");
    assert_int_equal(head_count(&head, "A"), 2);
    assert_string_equal(head.fields[3].value, "caf\xe9");
    assert_null(head_get(&head, "c"));
}

static void test_connection_options(void **state)
{
    (void)state;
    assert_int_equal(parse(HEAD "\r\n"), 0);
    assert_true(head.keep_alive);
    assert_int_equal(parse(HEAD "Connection: x, Close" END), 0);
    assert_false(head.keep_alive);
    assert_int_equal(parse("GET / HTTP/1.0" END), 0);
    assert_false(head.keep_alive);
    assert_int_equal(parse("GET / HTTP/1.0\r\nConnection: keep-alive" END), 0);
    assert_true(head.keep_alive);
    assert_int_equal(
        parse(HEAD "Connection: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket" END),
        0);
    assert_true(head.upgrade && head_is_websocket(&head));
    assert_true(head_connection_has(&head, "a"));
    assert_int_equal(parse(HEAD "Upgrade: websocket" END), 0);
    assert_false(head.upgrade || head_is_websocket(&head));
    assert_int_equal(parse(HEAD "Connection: upgrade\r\nUpgrade: h2c, WebSocket" END), 0);
    assert_true(head_is_websocket(&head));
    assert_int_equal(parse(HEAD "Connection: upgrade\r\nUpgrade: websockets" END), 0);
    assert_true(head.upgrade && !head_is_websocket(&head));
}

static int parse_reply(const char *bytes)
{
    return parse_bytes(bytes, strlen(bytes), true);
}

static void test_I04_responses(void **state)
{
    (void)state;
    assert_int_equal(parse_reply("HTTP/1.1 200 OK\r\nContent-Length: 3" END), 0);
    assert_int_equal(head.status, 200);
    assert_string_equal(head.reason, "OK");
    assert_int_equal(head.content_length, 3);
    assert_int_equal(parse_reply("HTTP/1.0 404 Not \xe9t\xe9" END), 0);
    assert_true(head.http10);
    assert_int_equal(
        parse_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3" END),
        ERR_BAD_REQUEST);
    assert_int_equal(parse_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip" END),
                     ERR_BAD_REQUEST);
    assert_int_equal(parse_reply("HTTP/2 200\r\nA: b" END), ERR_BAD_REQUEST);
    assert_int_equal(parse_reply("HTTP/1.1 99 X" END), ERR_BAD_REQUEST);
    assert_int_equal(parse_reply("HTTP/1.1 600 X" END), ERR_BAD_REQUEST);
    assert_int_equal(parse_reply("ICY 200 OK" END), ERR_BAD_REQUEST);
    assert_int_equal(parse_reply("SSH-2.0-x" END), ERR_BAD_REQUEST);
}

static int teardown(void **state)
{
    (void)state;
    free(text);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_D01_D48_malformed_heads_are_refused),
        cmocka_unit_test(test_D50_codings_and_huge_lengths),
        cmocka_unit_test(test_D51_host_and_absolute_form),
        cmocka_unit_test(test_D56_expectations_D60_content_encodings),
        cmocka_unit_test(test_D58_methods),
        cmocka_unit_test(test_fields_are_trimmed_and_kept_apart),
        cmocka_unit_test(test_connection_options),
        cmocka_unit_test(test_I04_responses),
    };
    return cmocka_run_group_tests_name("head", tests, NULL, teardown);
}
