/*
 * WebSocket frames: the case classes 1 to 7, 9 and 10 of the Autobahn suite as rows, each at several splits.
 *
 * A row's `in` is a little language: one frame per word, "OPCODE[!]:PAYLOAD": t text, b binary, + continuation,
 * c close, p ping, o pong; `!` clears FIN. What must come out is written likewise; "=1002" is the fault.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/defs.h"
#include "proto/http/ws_frame.h"

#define LIMIT 1048576

/* ---- building client frames -------------------------------------------------------------------- */

struct bytes {
    char data[2 * LIMIT];
    size_t len;
};
static struct bytes wire;

static void add(struct bytes *b, const void *p, size_t n)
{
    assert_true(b->len + n <= sizeof(b->data));
    memcpy(b->data + b->len, p, n);
    b->len += n;
}

static void add_frame(struct bytes *b, uint8_t first, const char *payload, size_t n)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t head[WS_HEAD_MAX];
    size_t head_len = ws_frame_head((enum ws_opcode)0, n, head);

    head[0] = first;
    head[1] |= 0x80;
    add(b, head, head_len);
    add(b, mask, 4);
    for (size_t i = 0; i < n; i++) {
        char c = (char)(payload[i] ^ mask[i % 4]);
        add(b, &c, 1);
    }
}

static uint8_t opcode_of(char letter)
{
    static const char letters[] = "+tbcpo";
    static const uint8_t codes[] = {0x0, 0x1, 0x2, 0x8, 0x9, 0xa};
    const char *at = strchr(letters, letter);

    assert_non_null(at);
    return codes[at - letters];
}

/* Payloads in rows hold no blank; "\xNN" bytes are as they are. */
static void build(struct bytes *b, const char *row)
{
    b->len = 0;
    while (*row != '\0') {
        uint8_t first = opcode_of(*row++);
        if (*row == '!')
            row++;
        else
            first |= 0x80;
        assert_int_equal(*row++, ':');
        size_t n = strcspn(row, " ");
        add_frame(b, first, row, n);
        row += n;
        row += *row == ' ';
    }
}

/* ---- reading ----------------------------------------------------------------------------------- */

static char letter_of(enum ws_opcode opcode)
{
    switch (opcode) {
    case WS_TEXT:
        return 't';
    case WS_BINARY:
        return 'b';
    case WS_CLOSE:
        return 'c';
    case WS_PING:
        return 'p';
    default:
        return 'o';
    }
}

static void describe(const struct ws_message *m, char *out, size_t size)
{
    size_t at = strlen(out);

    at += (size_t)snprintf(out + at, size - at, "%s%c:", at > 0 ? " " : "", letter_of(m->opcode));
    if (m->opcode == WS_CLOSE)
        at += (size_t)snprintf(out + at, size - at, "%u,", m->close_code);
    (void)snprintf(out + at, size - at, "%.*s", (int)m->len, m->data);
}

/* Everything that comes out of the bytes, fed in pieces. */
static void parse(const char *p, size_t n, size_t piece, char *out, size_t size)
{
    struct ws_parser parser;
    size_t at = 0;

    out[0] = '\0';
    ws_parser_init(&parser, LIMIT);
    while (at < n) {
        struct ws_message m = {0};
        size_t used = 0;
        enum ws_result r = ws_parser_next(&parser, p + at, MIN(piece, n - at), &used, &m);

        at += used;
        if (r == WS_MESSAGE)
            describe(&m, out, size);
        if (r == WS_BAD) {
            size_t len = strlen(out);
            (void)snprintf(out + len, size - len, "%s=%u", len > 0 ? " " : "", parser.fault.code);
            break;
        }
    }
    ws_parser_done(&parser);
}

static void check_bytes(const char *name, const char *want)
{
    static char got[8192];
    static const size_t pieces[] = {1, 2, 3, 5, 7, 64, 4096, sizeof(wire.data)};

    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        parse(wire.data, wire.len, pieces[i], got, sizeof(got));
        if (strcmp(got, want) != 0)
            fail_msg("%s in pieces of %zu: got '%s', want '%s'", name, pieces[i], got, want);
    }
}

struct row {
    const char *name, *in, *want;
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        build(&wire, rows[i].in);
        check_bytes(rows[i].name, rows[i].want);
    }
}

/* ---- the rows ---------------------------------------------------------------------------------- */

static void test_G01_1_and_9_sizes(void **state)
{
    static const size_t sizes[] = {0,     1,     125,    126,    127,    128,     65535,
                                   65536, 65537, 131072, 262144, 524288, 1048575, 1048576};
    static char payload[LIMIT];
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (uint8_t opcode = WS_TEXT; opcode <= WS_BINARY; opcode++) {
            memset(payload, opcode == WS_TEXT ? '*' : 0xfe, sizes[i]);
            wire.len = 0;
            add_frame(&wire, 0x80 | opcode, payload, sizes[i]);
            for (size_t piece = 997; piece <= 2 * LIMIT; piece *= 1500) {
                struct ws_parser p;
                struct ws_message m = {0};
                size_t at = 0, used;
                enum ws_result r = WS_MORE;
                ws_parser_init(&p, LIMIT);
                while (at < wire.len && r == WS_MORE) {
                    r = ws_parser_next(&p, wire.data + at, MIN(piece, wire.len - at), &used, &m);
                    at += used;
                }
                assert_int_equal(r, WS_MESSAGE);
                assert_int_equal(at, wire.len);
                assert_int_equal(m.opcode, opcode);
                assert_int_equal(m.len, sizes[i]);
                assert_memory_equal(m.data, payload, sizes[i]);
                assert_true(p.cap <= LIMIT);
                ws_parser_done(&p);
            }
        }
    }
}

static void test_G01_2_pings(void **state)
{
    static const struct row rows[] = {
        {"2.1", "p:", "p:"},
        {"2.2", "p:hello", "p:hello"},
        {"2.3", "p:\xfe\xff\xfd", "p:\xfe\xff\xfd"},
        {"2.7", "o:", "o:"},
        {"2.8", "o:unasked", "o:unasked"},
        {"2.9", "o:unasked p:then", "o:unasked p:then"},
        {"2.10", "p:0 p:1 p:2 p:3 p:4 p:5 p:6 p:7 p:8 p:9",
         "p:0 p:1 p:2 p:3 p:4 p:5 p:6 p:7 p:8 p:9"},
    };
    char payload[127];
    (void)state;

    check_rows(rows, ARRAY_LEN(rows));
    memset(payload, 'x', sizeof(payload));
    payload[126] = '\0';
    wire.len = 0;
    add_frame(&wire, 0x89, payload, 126); /* 2.5 */
    check_bytes("2.5", "=1002");
    wire.len = 0;
    add_frame(&wire, 0x89, payload, 125); /* 2.4 */
    char want[160];
    (void)snprintf(want, sizeof(want), "p:%.125s", payload);
    check_bytes("2.4", want);
}

static void test_G01_3_reserved_bits(void **state)
{
    (void)state;
    for (uint8_t bits = 1; bits < 8; bits++) {
        static const uint8_t opcodes[] = {WS_TEXT, WS_BINARY, WS_CLOSE, WS_PING, WS_PONG};
        for (size_t i = 0; i < ARRAY_LEN(opcodes); i++) {
            build(&wire, "t:first");
            add_frame(&wire, (uint8_t)(0x80 | bits << 4 | opcodes[i]), "x", 1);
            check_bytes("3", "t:first =1002");
        }
    }
}

static void test_G01_4_reserved_opcodes(void **state)
{
    (void)state;
    for (uint8_t opcode = 0; opcode < 16; opcode++) {
        if (opcode <= WS_BINARY || (opcode >= WS_CLOSE && opcode <= WS_PONG))
            continue;
        for (size_t n = 0; n < 2; n++) {
            build(&wire, "t:first");
            add_frame(&wire, 0x80 | opcode, "x", n);
            check_bytes("4", "t:first =1002");
        }
    }
}

static void test_G01_5_fragments(void **state)
{
    static const struct row rows[] = {
        {"5.1", "p!:fragment +:ed", "=1002"},
        {"5.2", "o!:fragment +:ed", "=1002"},
        {"5.3", "t!:frag +:ment", "t:fragment"},
        {"5.6", "t!:frag p:ping +:ment", "p:ping t:fragment"},
        {"5.9", "+:alone", "=1002"},
        {"5.10", "+!:alone", "=1002"},
        {"5.12", "+!:alone t:next", "=1002"},
        {"5.15", "t!:frag +:ment +!:again t:x", "t:fragment =1002"},
        {"5.16", "+!:a t!:b +:c", "=1002"},
        {"5.18", "t!:one t:two", "=1002"},
        {"5.19", "t!:1 +!:2 p:a +!:3 +!:4 p:b +:5", "p:a p:b t:12345"},
        {"5 binary", "b!:\xff b:\xfe", "=1002"},
        {"5 empty", "t!: +!: +:", "t:"},
        {"5 close inside", "t!:a c:\x03\xe8", "c:1000,"},
    };
    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static void test_G02_a_million_empty_fragments_hold_no_memory(void **state)
{
    struct ws_parser p;
    struct ws_message m;
    struct bytes *b = malloc(sizeof(*b));
    size_t used;
    (void)state;

    assert_non_null(b);
    b->len = 0;
    for (int i = 0; i < 1000; i++)
        add_frame(b, WS_CONTINUATION, "", 0);
    build(&wire, "t!:x");
    ws_parser_init(&p, LIMIT);
    assert_int_equal(ws_parser_next(&p, wire.data, wire.len, &used, &m), WS_MORE);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(ws_parser_next(&p, b->data, b->len, &used, &m), WS_MORE);
    assert_true(p.cap <= 256);
    build(&wire, "+:y");
    assert_int_equal(ws_parser_next(&p, wire.data, wire.len, &used, &m), WS_MESSAGE);
    assert_int_equal(m.len, 2);
    ws_parser_done(&p);
    free(b);
}

/* Single frames here; the splits of check_bytes cut them inside characters as 6.3 and 6.4 do. */
static void test_G01_6_utf8(void **state)
{
    static const struct row rows[] = {
        {"6.1", "t:", "t:"},
        {"6.2", "t:Hello-\xc2\xb5@\xc3\x9f\xc3\xb6-UTF-8!!",
         "t:Hello-\xc2\xb5@\xc3\x9f\xc3\xb6-UTF-8!!"},
        {"6.2.2 in a character", "t!:\xce +:\xba", "t:\xce\xba"},
        {"6.2.3 each byte", "t!:\xf0 +!:\x9f +!:\x98 +:\x80", "t:\xf0\x9f\x98\x80"},
        {"6.3", "t:\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80-edited", "=1007"},
        {"6.4 fails early", "t!:\xce\xba +!:\xf4\x90\x80\x80 +:x", "=1007"},
        {"6.5", "t:\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
         "t:\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"},
        {"6.6 cut", "t:\xce\xba\xe1\xbd", "=1007"},
        {"6.6 cut in fragments", "t!:\xce +:", "=1007"},
        {"6.7", "t:\x7f", "t:\x7f"},
        {"6.7.2", "t:\xc2\x80", "t:\xc2\x80"},
        {"6.7.3", "t:\xe0\xa0\x80", "t:\xe0\xa0\x80"},
        {"6.7.4", "t:\xf0\x90\x80\x80", "t:\xf0\x90\x80\x80"},
        {"6.8.1", "t:\xf8\x88\x80\x80\x80", "=1007"},
        {"6.8.2", "t:\xfc\x84\x80\x80\x80\x80", "=1007"},
        {"6.9", "t:\xdf\xbf", "t:\xdf\xbf"},
        {"6.9.3", "t:\xef\xbf\xbf", "t:\xef\xbf\xbf"},
        {"6.9.4", "t:\xf4\x8f\xbf\xbf", "t:\xf4\x8f\xbf\xbf"},
        {"6.10", "t:\xf7\xbf\xbf\xbf", "=1007"},
        {"6.11.1", "t:\xed\x9f\xbf", "t:\xed\x9f\xbf"},
        {"6.11.2", "t:\xee\x80\x80", "t:\xee\x80\x80"},
        {"6.11.5", "t:\xf4\x90\x80\x80", "=1007"},
        {"6.12 lone continuation", "t:\x80", "=1007"},
        {"6.12.2", "t:\xbf", "=1007"},
        {"6.14", "t:\xc3", "=1007"},
        {"6.14.4", "t:\xf0\x9f\x98", "=1007"},
        {"6.15", "t:\xc0\xe0\x80\xf0\x80\x80", "=1007"},
        {"6.16", "t:\xfe", "=1007"},
        {"6.16.2", "t:\xff", "=1007"},
        {"6.17 overlong", "t:\xc0\xaf", "=1007"},
        {"6.17.2", "t:\xe0\x80\xaf", "=1007"},
        {"6.17.3", "t:\xf0\x80\x80\xaf", "=1007"},
        {"6.18", "t:\xc1\xbf", "=1007"},
        {"6.18.3", "t:\xf0\x8f\xbf\xbf", "=1007"},
        {"6.19", "t:\xe0\x80\x80", "=1007"},
        {"6.20 surrogates", "t:\xed\xa0\x80", "=1007"},
        {"6.20.7", "t:\xed\xbf\xbf", "=1007"},
        {"6.21 pair", "t:\xed\xa0\x80\xed\xb0\x80", "=1007"},
        {"6.22 non-characters", "t:\xef\xbf\xbe", "t:\xef\xbf\xbe"},
        {"6.23", "t:\xef\xbf\xbd", "t:\xef\xbf\xbd"},
        {"binary is not looked at", "b:\xff\xfe", "b:\xff\xfe"},
    };
    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
    for (int lead = 0xc0; lead < 0xfe; lead++) { /* 6.13: every lead byte, followed by a blank */
        char text[2] = {(char)lead, ' '};
        wire.len = 0;
        add_frame(&wire, 0x81, text, 2);
        check_bytes("6.13", "=1007");
    }
}

static void check_close(uint16_t code, const char *reason, size_t len, const char *want)
{
    char payload[200];

    payload[0] = (char)(code >> 8);
    payload[1] = (char)code;
    memcpy(payload + 2, reason, len);
    wire.len = 0;
    add_frame(&wire, 0x88, payload, 2 + len);
    check_bytes("7", want);
}

static void test_G01_7_close(void **state)
{
    static const uint16_t good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                                    1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
    static const uint16_t wrong[] = {0,    999,  1004, 1005, 1006, 1015,
                                     1016, 1100, 2000, 2999, 5000, 65535};
    static const struct row rows[] = {
        {"7.1.2 twice", "c:\x03\xe8 c:\x03\xe8",
         "c:1000, c:1000,"}, /* the connection stops at the first */
        {"7.3.1", "c:", "c:1005,"},
        {"7.3.2", "c:a", "=1002"},
    };
    char reason[WS_REASON_MAX + 1], want[160];
    (void)state;

    check_rows(rows, ARRAY_LEN(rows));
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        (void)snprintf(want, sizeof(want), "c:%u,bye", good[i]);
        check_close(good[i], "bye", 3, want);
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        check_close(wrong[i], "bye", 3, "=1002");
    memset(reason, '*', sizeof(reason));
    (void)snprintf(want, sizeof(want), "c:1000,%.*s", WS_REASON_MAX, reason);
    check_close(1000, reason, WS_REASON_MAX, want);                    /* 7.3.5 */
    check_close(1000, reason, WS_REASON_MAX + 1, "=1002");             /* 7.3.6 */
    check_close(1000, "\xce\xba\xe1\xbd\xb9\xed\xa0\x80", 8, "=1007"); /* 7.5.1 */
}

static void test_G01_10_fragmented_64k(void **state)
{
    static char payload[65536];
    struct ws_parser p;
    struct ws_message m = {0};
    size_t used;
    (void)state;

    memset(payload, 'x', sizeof(payload));
    wire.len = 0;
    for (size_t at = 0; at < sizeof(payload); at += 1300) {
        size_t n = MIN((size_t)1300, sizeof(payload) - at);
        uint8_t fin = at + n == sizeof(payload) ? 0x80 : 0;
        add_frame(&wire, (uint8_t)(fin | (at == 0 ? WS_TEXT : WS_CONTINUATION)), payload + at, n);
    }
    ws_parser_init(&p, LIMIT);
    assert_int_equal(ws_parser_next(&p, wire.data, wire.len, &used, &m), WS_MESSAGE);
    assert_int_equal(m.len, sizeof(payload));
    assert_memory_equal(m.data, payload, sizeof(payload));
    ws_parser_done(&p);
}

/* ---- what Autobahn does not ask ---------------------------------------------------------------- */

static void test_G02_lengths_and_masks(void **state)
{
    static const struct {
        const char *name;
        char bytes[14];
        size_t len;
        const char *want;
    } rows[] = {
        {"unmasked", "\x81\x01x", 3, "=1002"},
        {"top bit", "\x82\xff\x80\0\0\0\0\0\0\0abcd", 14, "=1002"},
        {"too large",
         "\x82\xff\0\0\0\0\0\x10\0\x01"
         "abcd",
         14, "=1009"},
        {"4 GiB", "\x82\xff\0\0\0\x01\0\0\0\0abcd", 14, "=1009"},
        {"126 for 125",
         "\x82\xfe\0\x7d"
         "abcd",
         8, "=1002"},
        {"127 for 65535",
         "\x82\xff\0\0\0\0\0\0\xff\xff"
         "abcd",
         14, "=1002"},
        {"ping of 126",
         "\x89\xfe\0\x7e"
         "abcd",
         8, "=1002"},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        wire.len = 0;
        add(&wire, rows[i].bytes, rows[i].len);
        check_bytes(rows[i].name, rows[i].want);
    }
}

static void test_G02_limit_counts_all_fragments(void **state)
{
    struct ws_parser p;
    struct ws_message m;
    size_t used;
    (void)state;

    ws_parser_init(&p, 8);
    build(&wire, "t!:12345 +:678");
    assert_int_equal(ws_parser_next(&p, wire.data, wire.len, &used, &m), WS_MESSAGE);
    assert_int_equal(m.len, 8);
    build(&wire, "t!:12345 +:6789");
    assert_int_equal(ws_parser_next(&p, wire.data, wire.len, &used, &m), WS_BAD);
    assert_int_equal(p.fault.code, WS_CLOSE_TOO_BIG);
    ws_parser_done(&p);
}

/* A frame that announces 1 MiB and brings nothing holds nothing. */
static void test_G02_a_length_that_lies_costs_nothing(void **state)
{
    static const char head[] = "\x82\xff\0\0\0\0\0\x10\0\0abcdx";
    struct ws_parser p;
    struct ws_message m;
    size_t used;
    (void)state;

    ws_parser_init(&p, LIMIT);
    assert_int_equal(ws_parser_next(&p, head, sizeof(head) - 1, &used, &m), WS_MORE);
    assert_true(p.cap <= 256);
    ws_parser_done(&p);
}

static void test_head_of_our_frames(void **state)
{
    static const struct {
        uint64_t len;
        size_t head_len;
        uint8_t head[WS_HEAD_MAX];
    } rows[] = {
        {0, 2, {0x82, 0}},
        {125, 2, {0x82, 125}},
        {126, 4, {0x82, 126, 0, 126}},
        {65535, 4, {0x82, 126, 0xff, 0xff}},
        {65536, 10, {0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
    };
    uint8_t head[WS_HEAD_MAX];
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(ws_frame_head(WS_BINARY, rows[i].len, head), rows[i].head_len);
        assert_memory_equal(head, rows[i].head, rows[i].head_len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_G01_1_and_9_sizes),
        cmocka_unit_test(test_G01_2_pings),
        cmocka_unit_test(test_G01_3_reserved_bits),
        cmocka_unit_test(test_G01_4_reserved_opcodes),
        cmocka_unit_test(test_G01_5_fragments),
        cmocka_unit_test(test_G02_a_million_empty_fragments_hold_no_memory),
        cmocka_unit_test(test_G01_6_utf8),
        cmocka_unit_test(test_G01_7_close),
        cmocka_unit_test(test_G01_10_fragmented_64k),
        cmocka_unit_test(test_G02_lengths_and_masks),
        cmocka_unit_test(test_G02_limit_counts_all_fragments),
        cmocka_unit_test(test_G02_a_length_that_lies_costs_nothing),
        cmocka_unit_test(test_head_of_our_frames),
    };
    return cmocka_run_group_tests_name("ws_frame", tests, NULL, NULL);
}
