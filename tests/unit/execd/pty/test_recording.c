/* Recordings: whole lines, whole characters, bounded, and the end is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "execd/pty/recording.h"
#include "proto/base/str.h"

#define MIB (1 << 20)
#define FFFD "\xef\xbf\xbd" /* one for each byte */

/* All of it as one text; the caller frees. */
static char *text_of(const struct recording *r)
{
    char *text = malloc(recording_len(r) + 1);
    size_t at = 0;

    assert_non_null(text);
    for (struct slice s; (s = recording_read(r, at)).len > 0; at += s.len)
        memcpy(text + at, s.ptr, s.len);
    assert_int_equal(at, recording_len(r));
    text[at] = '\0';
    return text;
}

/* The output of all "o" events joined; checks that every line is one JSON array. The caller frees. */
static char *output_of(const struct recording *r, unsigned *ret_events)
{
    char *text = text_of(r), *save = NULL;
    struct strbuf out;

    strbuf_init(&out, 64 * MIB);
    strbuf_adds(&out, "");
    *ret_events = 0;
    char *line = strtok_r(text, "\n", &save);
    assert_true(str_starts(line, "{\"version\": 2,"));
    while ((line = strtok_r(NULL, "\n", &save)) != NULL) {
        json_t *event = json_loads(line, 0, NULL);
        assert_int_equal(json_array_size(event), 3);
        if (strcmp(json_string_value(json_array_get(event, 1)), "o") == 0)
            strbuf_adds(&out, json_string_value(json_array_get(event, 2)));
        (*ret_events)++;
        json_decref(event);
    }
    free(text);
    char *joined = strbuf_take(&out);
    return joined != NULL ? joined : strdup("");
}

static void test_characters_stay_whole(void **state)
{
    static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
    struct recording_budget budget = {0, MIB};
    unsigned events;
    (void)state;

    for (size_t piece = 1; piece < sizeof(text); piece++) {
        struct recording *r = recording_new(&budget, MIB, 80, 24);
        for (size_t at = 0; at < sizeof(text) - 1; at += piece)
            recording_output(r, text + at, MIN(piece, sizeof(text) - 1 - at));
        char *out = output_of(r, &events);
        assert_string_equal(out, text);
        free(out);
        recording_unref(r);
    }
    assert_int_equal(budget.used, 0);
}

static void test_bytes_that_are_no_text(void **state)
{
    static const struct {
        const char *first, *second, *want;
    } rows[] = {
        {"\xff", "z", FFFD "z"},
        {"\xe2", "z", FFFD "z"},
        {"\xe2\x82", "\xc3\xa9", FFFD FFFD "\xc3\xa9"},
        {"a\xf0\x9f", "\x98\xff", "a" FFFD FFFD FFFD FFFD},
        {"\x80", "\xbf", FFFD FFFD},
    };
    struct recording_budget budget = {0, MIB};
    unsigned events;
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct recording *r = recording_new(&budget, MIB, 80, 24);
        recording_output(r, rows[i].first, strlen(rows[i].first));
        recording_output(r, rows[i].second, strlen(rows[i].second));
        char *out = output_of(r, &events);
        assert_string_equal(out, rows[i].want);
        free(out);
        recording_unref(r);
    }
}

static void test_it_is_bounded_and_says_so(void **state)
{
    struct recording_budget budget = {0, 4 * MIB};
    char block[1000];
    (void)state;

    memset(block, 'x', sizeof(block));
    struct recording *r = recording_new(&budget, MIB, 80, 24);
    for (int i = 0; i < 5000; i++)
        recording_output(r, block, sizeof(block));
    assert_true(recording_is_truncated(r));
    assert_true(recording_len(r) <= MIB && recording_len(r) > MIB - 3000);
    size_t len = recording_len(r);
    recording_resize(r, 1, 1);
    recording_output(r, "\xe2", 1);
    assert_int_equal(recording_len(r), len);
    char *text = text_of(r);
    assert_true(str_ends(text, "\"m\", \"recording truncated\"]\n"));
    free(text);
    recording_unref(r);
    assert_int_equal(budget.used, 0);
}

static void test_all_share_a_budget(void **state)
{
    struct recording_budget budget = {0, 2 * 65536};
    char block[30000];
    (void)state;

    memset(block, 'x', sizeof(block));
    struct recording *a = recording_new(&budget, MIB, 80, 24);
    struct recording *b = recording_new(&budget, MIB, 80, 24);
    assert_null(recording_new(&budget, MIB, 80, 24));
    for (int i = 0; i < 5; i++)
        recording_output(a, block, sizeof(block));
    assert_true(recording_is_truncated(a));
    assert_false(recording_is_truncated(b));
    recording_ref(a);
    recording_unref(a);
    assert_int_equal(budget.used, budget.max);
    recording_unref(a);
    recording_unref(b);
    assert_int_equal(budget.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters_stay_whole),
        cmocka_unit_test(test_bytes_that_are_no_text),
        cmocka_unit_test(test_it_is_bounded_and_says_so),
        cmocka_unit_test(test_all_share_a_budget),
    };
    return cmocka_run_group_tests_name("recording", tests, NULL, NULL);
}
