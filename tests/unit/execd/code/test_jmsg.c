#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "execd/code/jmsg.h"

#define HEADER "{\"msg_id\":\"m1\",\"msg_type\":\"execute_request\"}"

/* The reference implementation's answer for this key and these four frames. */
static const struct jmsg_session known = {.key = "a0436f6c-1916-498b-8eb9-e81ab9368e84",
                                          .id = "s1"};
#define KNOWN_SIGNATURE "01f953d76c889fc7ab8938abf51bf4e656035ed61416043e7c3820dc7f810be7"

static const struct jmsg_session unsigned_session = {.id = "s1"};

static struct slice text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static int parse(const char *const *frames, size_t n, const struct jmsg_session *session,
                 struct jmsg *ret)
{
    struct slice slices[80];
    for (size_t i = 0; i < n; i++)
        slices[i] = text(frames[i]);
    return jmsg_parse(slices, n, session, ret, NULL);
}

static void reference_signature_is_accepted(void **state)
{
    (void)state;
    const char *frames[] = {"<IDS|MSG>", KNOWN_SIGNATURE, HEADER, "{}", "{}", "{\"code\":\"1+1\"}"};
    struct jmsg msg;
    assert_int_equal(parse(frames, 6, &known, &msg), 0);
    assert_string_equal(msg.id, "m1");
    assert_string_equal(msg.type, "execute_request");
    assert_string_equal(msg.parent_id, "");
    assert_int_equal(jmsg_load(&msg), 0);
    assert_string_equal(json_string_value(json_object_get(msg.content, "code")), "1+1");
    jmsg_done(&msg);
}

static void every_wrong_signature_is_refused_H05(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "0",
        "01f953d76c889fc7ab8938abf51bf4e656035ed61416043e7c3820dc7f810be8",
        "01F953D76C889FC7AB8938ABF51BF4E656035ED61416043E7C3820DC7F810BE7",
        KNOWN_SIGNATURE "0",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        const char *frames[] = {"<IDS|MSG>", wrong[i], HEADER, "{}", "{}", "{\"code\":\"1+1\"}"};
        struct jmsg msg;
        assert_int_equal(parse(frames, 6, &known, &msg), -EBADMSG);
    }
    const char *changed[] = {"<IDS|MSG>", KNOWN_SIGNATURE,     HEADER, "{}",
                             "{}",        "{\"code\":\"1+2\"}"};
    struct jmsg msg;
    assert_int_equal(parse(changed, 6, &known, &msg), -EBADMSG);
}

static void built_messages_parse_and_number_themselves(void **state)
{
    (void)state;
    struct jmsg_session session;
    struct jmsg_out one, two;
    struct jmsg msg;
    jmsg_session_init(&session);
    assert_int_equal(strlen(session.key), JMSG_KEY_HEX);
    json_t *content = json_pack("{s:s}", "value", "\xC3\xA4");
    assert_int_equal(
        jmsg_build(&session, "input_reply", text("{\"msg_id\":\"cause\"}"), content, &one), 0);
    assert_int_equal(jmsg_build(&session, "input_reply", (struct slice){0}, content, &two), 0);
    json_decref(content);
    assert_string_not_equal(one.id, two.id);
    assert_int_equal(jmsg_parse(one.frames, JMSG_OUT_FRAMES, &session, &msg, NULL), 0);
    assert_string_equal(msg.id, one.id);
    assert_string_equal(msg.parent_id, "cause");
    assert_int_equal(jmsg_load(&msg), 0);
    assert_string_equal(json_string_value(json_object_get(msg.content, "value")), "\xC3\xA4");
    jmsg_done(&msg);
    one.signature[0] ^= 1;
    assert_int_equal(jmsg_parse(one.frames, JMSG_OUT_FRAMES, &session, &msg, NULL), -EBADMSG);
    jmsg_out_done(&one);
    jmsg_out_done(&two);
}

struct frame_row {
    const char *what;
    const char *frames[12];
    int expected;
    const char *parent;
};
static const struct frame_row frame_rows[] = {
    {"no identities", {"<IDS|MSG>", "", HEADER, "{}", "{}", "{}"}, 0, ""},
    {"one identity", {"kernel.1.status", "<IDS|MSG>", "", HEADER, "{}", "{}", "{}"}, 0, ""},
    {"buffers behind", {"a", "b", "<IDS|MSG>", "", HEADER, "{}", "{}", "{}", "x", "y"}, 0, ""},
    {"null parent", {"<IDS|MSG>", "", HEADER, "null", "{}", "null"}, 0, ""},
    {"empty parent and content", {"<IDS|MSG>", "", HEADER, "", "", ""}, 0, ""},
    {"a parent", {"<IDS|MSG>", "", HEADER, "{\"msg_id\":\"p\"}", "{}", "{}"}, 0, "p"},
    {"a parent with a numeric id", {"<IDS|MSG>", "", HEADER, "{\"msg_id\":7}", "{}", "{}"}, 0, ""},
    {"unknown header keys",
     {"<IDS|MSG>", "", "{\"msg_id\":\"m\",\"msg_type\":\"t\",\"x\":[1]}", "{}", "{}", "{}"},
     0,
     ""},
    {"nothing", {NULL}, -EBADMSG, NULL},
    {"no delimiter", {"a", "b", "c", "d", "e", "f"}, -EBADMSG, NULL},
    {"delimiter alone", {"<IDS|MSG>"}, -EBADMSG, NULL},
    {"too short", {"<IDS|MSG>", "", HEADER, "{}", "{}"}, -EBADMSG, NULL},
    {"header no JSON", {"<IDS|MSG>", "", "{", "{}", "{}", "{}"}, -EBADMSG, NULL},
    {"header an array", {"<IDS|MSG>", "", "[]", "{}", "{}", "{}"}, -EBADMSG, NULL},
    {"header null", {"<IDS|MSG>", "", "null", "{}", "{}", "{}"}, -EBADMSG, NULL},
    {"header empty", {"<IDS|MSG>", "", "", "{}", "{}", "{}"}, -EBADMSG, NULL},
    {"no type", {"<IDS|MSG>", "", "{\"msg_id\":\"m\"}", "{}", "{}", "{}"}, -EBADMSG, NULL},
    {"type a number",
     {"<IDS|MSG>", "", "{\"msg_id\":\"m\",\"msg_type\":1}", "{}", "{}", "{}"},
     -EBADMSG,
     NULL},
    {"NUL in the id",
     {"<IDS|MSG>", "", "{\"msg_id\":\"m\\u0000\",\"msg_type\":\"t\"}", "{}", "{}", "{}"},
     -EBADMSG,
     NULL},
    {"parent an array", {"<IDS|MSG>", "", HEADER, "[]", "{}", "{}"}, -EBADMSG, NULL},
};

static void frame_table_H05(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(frame_rows); i++) {
        const struct frame_row *row = &frame_rows[i];
        struct jmsg msg;
        size_t n = 0;
        while (n < ARRAY_LEN(row->frames) && row->frames[n])
            n++;
        int r = parse(row->frames, n, &unsigned_session, &msg);
        if (r != row->expected)
            fail_msg("%s: %d", row->what, r);
        if (r == 0)
            assert_string_equal(msg.parent_id, row->parent);
    }
}

static void bounds_hold_H05(void **state)
{
    (void)state;
    static char id[JMSG_ID_MAX + 64], header[JMSG_HEADER_MAX + 1024];
    const char *frames[80];
    struct jmsg msg;
    for (size_t i = 0; i < ARRAY_LEN(frames); i++)
        frames[i] = "x";
    frames[JMSG_IDENTS_MAX + 1] = "<IDS|MSG>";
    assert_int_equal(parse(frames, 80, &unsigned_session, &msg), -EBADMSG);
    memset(id, 'i', JMSG_ID_MAX);
    snprintf(header, sizeof(header), "{\"msg_id\":\"%s\",\"msg_type\":\"t\"}", id);
    const char *long_id[] = {"<IDS|MSG>", "", header, "{}", "{}", "{}"};
    assert_int_equal(parse(long_id, 6, &unsigned_session, &msg), -EBADMSG);
    id[JMSG_ID_MAX - 1] = '\0';
    snprintf(header, sizeof(header), "{\"msg_id\":\"%s\",\"msg_type\":\"t\"}", id);
    assert_int_equal(parse(long_id, 6, &unsigned_session, &msg), 0);
    memset(header + strlen(header) - 1, ' ', JMSG_HEADER_MAX); /* padding before the last brace */
    strcpy(header + strlen(header), "}");
    assert_int_equal(parse(long_id, 6, &unsigned_session, &msg), -EBADMSG);
}

static void content_is_repaired_and_bounded_in_shape(void **state)
{
    (void)state;
    struct {
        const char *text;
        int expected;
        const char *value;
    } rows[] = {
        {"{\"v\":\"a\x80z\"}", 0, "a\xEF\xBF\xBDz"},
        {"{\"v\":\"\\u0000\"}", 0, ""},
        {"[]", -EBADMSG, NULL},
        {"\"v\"", -EBADMSG, NULL},
        {"{\"v\":", -EBADMSG, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct jmsg msg = {.parts.content = text(rows[i].text)};
        assert_int_equal(jmsg_load(&msg), rows[i].expected);
        if (rows[i].value)
            assert_string_equal(json_string_value(json_object_get(msg.content, "v")),
                                rows[i].value);
        jmsg_done(&msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_signature_is_accepted),
        cmocka_unit_test(every_wrong_signature_is_refused_H05),
        cmocka_unit_test(built_messages_parse_and_number_themselves),
        cmocka_unit_test(frame_table_H05),
        cmocka_unit_test(bounds_hold_H05),
        cmocka_unit_test(content_is_repaired_and_bounded_in_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
