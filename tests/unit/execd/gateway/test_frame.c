#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/gateway/frame.h"
#include "proto/base/mem.h"

#define HEADER                                                                                     \
    "{\"msg_id\":\"m1\",\"msg_type\":\"execute_request\",\"date\":1.5,\"version\":\"5.0\"}"

static struct slice text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static void assert_slice(struct slice s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.ptr, expected, s.len);
}

/* ---- legacy ---------------------------------------------------------------------------------------- */

static void legacy_text_with_everything(void **state)
{
    (void)state;
    struct frame f;
    struct slice data =
        text("{\"header\":" HEADER ",\"parent_header\":{\"a\":1},\"metadata\":{\"b\":2},"
             "\"content\":{\"n\":12345678901234567890, \"code\":\"1+1\"},"
             "\"buffers\":[],\"channel\":\"control\",\"tracker\":null}");
    assert_int_equal(frame_decode(FRAMING_LEGACY, false, data, &f, NULL), 0);
    assert_int_equal(f.channel, CHANNEL_CONTROL);
    assert_string_equal(f.id, "m1");
    assert_string_equal(f.type, "execute_request");
    assert_slice(f.parts.header, HEADER);
    assert_slice(f.parts.parent, "{\"a\":1}");
    assert_slice(f.parts.metadata, "{\"b\":2}");
    assert_slice(f.parts.content, "{\"n\":12345678901234567890, \"code\":\"1+1\"}");
    assert_int_equal(f.parts.n_buffers, 0);
    frame_done(&f);
}

static void what_is_missing_has_a_default(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        enum kernel_channel channel;
    } rows[] = {
        {"execute_request", CHANNEL_SHELL},           {"input_reply", CHANNEL_STDIN},
        {"shutdown_request", CHANNEL_CONTROL},        {"interrupt_request", CHANNEL_CONTROL},
        {"debug_request", CHANNEL_CONTROL},           {"usage_request", CHANNEL_CONTROL},
        {"create_subshell_request", CHANNEL_CONTROL}, {"comm_msg", CHANNEL_SHELL}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static const char *const tails[] = {"}",
                                            ",\"channel\":null,\"buffers\":{},\"metadata\":null}"};
        for (size_t t = 0; t < ARRAY_LEN(tails); t++) {
            char message[256];
            struct frame f;
            snprintf(message, sizeof(message),
                     "{\"header\":{\"msg_id\":\"m\",\"msg_type\":\"%s\"}%s", rows[i].type,
                     tails[t]);
            assert_int_equal(frame_decode(FRAMING_LEGACY, false, text(message), &f, NULL), 0);
            assert_int_equal(f.channel, rows[i].channel);
            assert_slice(f.parts.parent, "{}");
            assert_slice(f.parts.metadata, "{}");
            assert_slice(f.parts.content, "{}");
            frame_done(&f);
        }
    }
}

static void a_header_gets_a_date_and_a_version(void **state)
{
    (void)state;
    struct frame f;
    assert_int_equal(frame_decode(FRAMING_LEGACY, false,
                                  text("{\"header\":{ \"msg_id\":\"m\",\"msg_type\":\"t\"}}"), &f,
                                  NULL),
                     0);
    json_t *header = json_loadb(f.parts.header.ptr, f.parts.header.len, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(header, "msg_id")), "m");
    assert_int_equal(json_string_length(json_object_get(header, "date")), 27);
    assert_string_equal(json_string_value(json_object_get(header, "version")),
                        JMSG_PROTOCOL_VERSION);
    json_decref(header);
    frame_done(&f);
}

static void broken_legacy_frames_have_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        int expected;
    } rows[] = {
        {"", -EBADMSG},
        {"{", -EBADMSG},
        {"x", -EBADMSG},
        {"{}{}", -EBADMSG},
        {"{\"header\":{\"msg_id\":\"m\",\"msg_type\":\"t\",\"x\":NaN}}", -EBADMSG},
        {"[]", -EPROTO},
        {"null", -EPROTO},
        {"{}", -EPROTO},
        {"{\"header\":[]}", -EPROTO},
        {"{\"header\":\"h\"}", -EPROTO},
        {"{\"header\":{\"msg_type\":\"t\"}}", -EPROTO},
        {"{\"header\":{\"msg_id\":\"\",\"msg_type\":\"t\"}}", -EPROTO},
        {"{\"header\":{\"msg_id\":1,\"msg_type\":\"t\"}}", -EPROTO},
        {"{\"header\":{\"msg_id\":\"m\\u0000\",\"msg_type\":\"t\"}}", -EPROTO},
        {"{\"header\":{\"msg_id\":\"m\"}}", -EPROTO},
        {"{\"header\":" HEADER ",\"content\":[]}", -EPROTO},
        {"{\"header\":" HEADER ",\"metadata\":7}", -EPROTO},
        {"{\"header\":" HEADER ",\"parent_header\":\"p\"}", -EPROTO},
        {"{\"header\":" HEADER ",\"channel\":\"iopub\"}", -EPROTO},
        {"{\"header\":" HEADER ",\"channel\":\"\"}", -EPROTO},
        {"{\"header\":" HEADER ",\"channel\":7}", -EPROTO},
        {"{\"header\":" HEADER ",\"channel\":\"s\\u0068ell\"}", -EPROTO},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct frame f;
        struct err err = {0};
        int r = frame_decode(FRAMING_LEGACY, false, text(rows[i].data), &f, &err);
        if (r != rows[i].expected || err.text[0] == '\0' || strlen(err.text) > 123)
            fail_msg("%s: %d '%s'", rows[i].data, r, err.text);
        frame_done(&f);
    }
}

static void headers_are_bounded_H05(void **state)
{
    (void)state;
    size_t n = FRAME_HEADER_MAX + 100;
    char *data = xmalloc(n + 200);
    struct frame f;
    int used = sprintf(data, "{\"header\":{\"msg_id\":\"m\",\"msg_type\":\"t\",\"x\":\"");
    memset(data + used, 'x', n);
    strcpy(data + used + n, "\"}}");
    assert_int_equal(frame_decode(FRAMING_LEGACY, false, text(data), &f, NULL), -EPROTO);
    frame_done(&f);
    used = sprintf(data, "{\"header\":{\"msg_type\":\"t\",\"msg_id\":\"");
    memset(data + used, 'x', JMSG_ID_MAX);
    strcpy(data + used + JMSG_ID_MAX, "\"}}");
    assert_int_equal(frame_decode(FRAMING_LEGACY, false, text(data), &f, NULL), -EPROTO);
    frame_done(&f);
    free(data);
}

/* The frame that a reference server was seen to send, in small. */
static void legacy_binary_with_buffers(void **state)
{
    (void)state;
#define BODY "{\"header\":" HEADER ",\"channel\":\"shell\"}"
    const size_t body = sizeof(BODY) - 1;
    char data[256] = {
        0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, (char)(16 + body), 0, 0, 0, (char)(18 + body)};
    struct frame f;
    memcpy(data + 16, BODY "ab", body + 2);
    memcpy(data + 18 + body, "c", 1);
    struct slice whole = {data, 19 + body};
    assert_int_equal(frame_decode(FRAMING_LEGACY, true, whole, &f, NULL), 0);
    assert_int_equal(f.parts.n_buffers, 2);
    assert_slice(f.parts.buffers[0], "ab");
    assert_slice(f.parts.buffers[1], "c");
    frame_done(&f);
    for (size_t n = 0; n < 18 + body; n++) { /* cut anywhere: refused, never read beyond */
        char *copy = xmalloc(n + 1);
        memcpy(copy, data, n);
        struct slice part = {copy, n};
        assert_int_equal(frame_decode(FRAMING_LEGACY, true, part, &f, NULL), -EBADMSG);
        frame_done(&f);
        free(copy);
    }
    data[11] = (char)(17 + body + 2); /* offsets out of order */
    assert_int_equal(frame_decode(FRAMING_LEGACY, true, whole, &f, NULL), -EBADMSG);
    frame_done(&f);
    memcpy(data, "\xff\xff\xff\xff", 4);
    assert_int_equal(frame_decode(FRAMING_LEGACY, true, whole, &f, NULL), -EBADMSG);
    frame_done(&f);
}

/* ---- v1 --------------------------------------------------------------------------------------------- */

/* A frame by the book: parts[0] is the channel. */
static size_t build_v1(const char *const *parts, size_t n, char *out)
{
    uint64_t at = 8 * (n + 2), count = n + 1;
    memcpy(out, &count, 8); /* the tests run on little-endian machines */
    for (size_t i = 0; i < n; i++) {
        memcpy(out + 8 * (i + 1), &at, 8);
        memcpy(out + at, parts[i], strlen(parts[i]));
        at += strlen(parts[i]);
    }
    memcpy(out + 8 * (n + 1), &at, 8);
    return at;
}

static void v1_parts_are_taken_as_they_are(void **state)
{
    (void)state;
    char data[512];
    const char *parts[] = {"stdin", HEADER, "{\"p\":1}", "{}", "{ \"value\" : \"x\" }",
                           "bytes", ""};
    struct frame f;
    struct slice whole = {data, build_v1(parts, 7, data)};
    assert_int_equal(frame_decode(FRAMING_V1, true, whole, &f, NULL), 0);
    assert_int_equal(f.channel, CHANNEL_STDIN);
    assert_slice(f.parts.header, HEADER);
    assert_slice(f.parts.content, "{ \"value\" : \"x\" }");
    assert_int_equal(f.parts.n_buffers, 2);
    assert_slice(f.parts.buffers[0], "bytes");
    assert_int_equal(f.parts.buffers[1].len, 0);
    frame_done(&f);
    const char *bare[] = {"", HEADER, "", "", ""};
    whole.len = build_v1(bare, 5, data);
    assert_int_equal(frame_decode(FRAMING_V1, true, whole, &f, NULL), 0);
    assert_int_equal(f.channel, CHANNEL_SHELL);
    assert_slice(f.parts.content, "{}");
    frame_done(&f);
}

static void broken_v1_frames_are_refused(void **state)
{
    (void)state;
    char data[512];
    const char *parts[] = {"shell", HEADER, "{}", "{}", "{}", "b"};
    struct frame f;
    size_t len = build_v1(parts, 6, data);
    for (size_t n = 0; n < len; n++) {
        char *copy = xmalloc(n + 1);
        memcpy(copy, data, n);
        assert_int_equal(frame_decode(FRAMING_V1, true, (struct slice){copy, n}, &f, NULL),
                         -EBADMSG);
        frame_done(&f);
        free(copy);
    }
    assert_int_equal(frame_decode(FRAMING_V1, true, (struct slice){data, len + 1}, &f, NULL),
                     -EBADMSG);
    frame_done(&f);
    assert_int_equal(frame_decode(FRAMING_V1, false, (struct slice){data, len}, &f, NULL),
                     -EBADMSG);
    frame_done(&f);
    static const uint64_t odd[] = {0, 1, 5, 1000, UINT64_MAX, UINT64_MAX / 8, UINT64_MAX / 8 + 1};
    for (size_t word = 0; word < 8; word++) {
        for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
            char copy[512];
            memcpy(copy, data, len);
            memcpy(copy + 8 * word, &odd[i], 8);
            assert_int_equal(frame_decode(FRAMING_V1, true, (struct slice){copy, len}, &f, NULL),
                             -EBADMSG);
            frame_done(&f);
        }
    }
    const char *not_json[] = {"shell", HEADER, "{}", "{}", "{\"a\":}"};
    len = build_v1(not_json, 5, data);
    assert_int_equal(frame_decode(FRAMING_V1, true, (struct slice){data, len}, &f, NULL), -EBADMSG);
    frame_done(&f);
    const char *not_utf8[] = {"shell", HEADER, "{}", "{}", "{\"a\":\"\xff\"}"};
    len = build_v1(not_utf8, 5, data);
    assert_int_equal(frame_decode(FRAMING_V1, true, (struct slice){data, len}, &f, NULL), -EBADMSG);
    frame_done(&f);
}

/* ---- out ------------------------------------------------------------------------------------------- */

static char *join(const struct frame_out *out)
{
    char *all = xmalloc(out->size + 1);
    size_t at = 0;
    for (size_t i = 0; i < out->n_pieces; i++) {
        memcpy(all + at, out->pieces[i].ptr ? out->pieces[i].ptr : "", out->pieces[i].len);
        at += out->pieces[i].len;
    }
    assert_int_equal(at, out->size);
    all[at] = '\0';
    return all;
}

static const struct slice two_buffers[] = {SLICE_LIT("a\0b"), SLICE_LIT("c")};

static struct frame_source sample(size_t n_buffers)
{
    return (struct frame_source){
        .channel = CHANNEL_SHELL,
        .id = "m1",
        .type = "execute_request",
        .parts = {SLICE_LIT(HEADER), SLICE_LIT("{\"p\":1}"), SLICE_LIT("{}"),
                  SLICE_LIT("{\"c\":2}"), two_buffers, n_buffers},
    };
}

static void legacy_text_has_exactly_these_keys(void **state)
{
    (void)state;
    struct frame_source source = sample(0);
    struct frame_out out;
    source.channel = CHANNEL_IOPUB;
    assert_int_equal(frame_encode(FRAMING_LEGACY, &source, &out), 0);
    assert_false(out.is_binary);
    char *all = join(&out);
    assert_string_equal(all,
                        "{\"header\":" HEADER ",\"parent_header\":{\"p\":1},\"metadata\":{},"
                        "\"content\":{\"c\":2},\"msg_id\":\"m1\",\"msg_type\":\"execute_request\","
                        "\"channel\":\"iopub\",\"buffers\":[]}");
    free(all);
    frame_out_done(&out);
    source.seq = 7;
    assert_int_equal(frame_encode(FRAMING_LEGACY, &source, &out), 0);
    all = join(&out);
    assert_non_null(strstr(all, ",\"seq\":7,"));
    free(all);
    frame_out_done(&out);
}

static void what_is_encoded_decodes_to_the_same(void **state)
{
    (void)state;
    static const enum framing framings[] = {FRAMING_LEGACY, FRAMING_V1};
    for (size_t i = 0; i < 2; i++) {
        for (size_t n = 0; n <= 2; n++) {
            struct frame_source source = sample(n);
            struct frame_out out;
            struct frame f;
            assert_int_equal(frame_encode(framings[i], &source, &out), 0);
            assert_int_equal(out.is_binary, framings[i] == FRAMING_V1 || n > 0);
            char *all = join(&out);
            assert_int_equal(
                frame_decode(framings[i], out.is_binary, (struct slice){all, out.size}, &f, NULL),
                0);
            assert_int_equal(f.channel, CHANNEL_SHELL);
            assert_slice(f.parts.header, HEADER);
            assert_slice(f.parts.parent, "{\"p\":1}");
            assert_slice(f.parts.content, "{\"c\":2}");
            assert_int_equal(f.parts.n_buffers, n);
            for (size_t b = 0; b < n; b++) {
                assert_int_equal(f.buffers[b].len, two_buffers[b].len);
                assert_memory_equal(f.buffers[b].ptr, two_buffers[b].ptr, two_buffers[b].len);
            }
            frame_done(&f);
            free(all);
            frame_out_done(&out);
        }
    }
}

static void parts_of_kernels_are_cleaned_H05(void **state)
{
    (void)state;
    static const struct {
        const char *part, *clean; /* NULL: refused */
    } rows[] = {
        {"", "{}"},
        {"null", "{}"},
        {" { } ", "{ }"},
        {"{\"a\":1}", "{\"a\":1}"},
        {"{\"a\":\"\xff\"}", "{\"a\":\"\xEF\xBF\xBD\"}"},
        {"{}, \"channel\":\"shell\"", NULL},
        {"[]", NULL},
        {"{\"a\":NaN}", NULL},
        {"x", NULL},
        {"\xff", NULL},
        {"{\"a\":\"\n\"}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct strbuf fixed = {0};
        struct slice part = text(rows[i].part);
        int r = frame_clean(&part, &fixed);
        if (r != (rows[i].clean ? 0 : -EBADMSG))
            fail_msg("%s: %d", rows[i].part, r);
        if (rows[i].clean)
            assert_slice(part, rows[i].clean);
        strbuf_done(&fixed);
    }
}

static void a_message_may_be_made_new(void **state)
{
    (void)state;
    struct frame f;
    assert_int_equal(frame_decode(FRAMING_LEGACY, false, text("{\"header\":" HEADER "}"), &f, NULL),
                     0);
    assert_slice(f.parts.header, HEADER);
    assert_int_equal(frame_renew(&f), 0);
    assert_true(f.parts.header.len > sizeof(HEADER));
    json_t *header = json_loadb(f.parts.header.ptr, f.parts.header.len, 0, NULL);
    assert_true(json_real_value(json_object_get(header, "date")) == 1.5); /* still the client's */
    json_decref(header);
    frame_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legacy_text_with_everything),
        cmocka_unit_test(what_is_missing_has_a_default),
        cmocka_unit_test(a_header_gets_a_date_and_a_version),
        cmocka_unit_test(a_message_may_be_made_new),
        cmocka_unit_test(broken_legacy_frames_have_a_reason),
        cmocka_unit_test(headers_are_bounded_H05),
        cmocka_unit_test(legacy_binary_with_buffers),
        cmocka_unit_test(v1_parts_are_taken_as_they_are),
        cmocka_unit_test(broken_v1_frames_are_refused),
        cmocka_unit_test(legacy_text_has_exactly_these_keys),
        cmocka_unit_test(what_is_encoded_decodes_to_the_same),
        cmocka_unit_test(parts_of_kernels_are_cleaned_H05),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
