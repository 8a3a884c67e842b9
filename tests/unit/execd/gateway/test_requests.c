#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/gateway/requests.h"

/* What the client saw: "busy", "idle", types. */
struct seen {
    char text[1000];
};

static void on_message(void *arg, struct message *m)
{
    struct seen *seen = arg;
    const char *name = message_has_state(m, "idle")   ? "idle"
                       : message_has_state(m, "busy") ? "busy"
                                                      : m->type;
    const char *lie = memmem(m->parts.content.ptr, m->parts.content.len, "NoReply", 7) ? "*" : "";
    size_t n = strlen(seen->text);
    snprintf(seen->text + n, sizeof(seen->text) - n, "%s%s ", name, lie);
    message_free(m);
}

static void add(struct requests *r, const char *id, const char *type, int64_t now)
{
    struct frame f;
    char data[200];
    snprintf(data, sizeof(data), "{\"header\":{\"msg_id\":\"%s\",\"msg_type\":\"%s\"}}", id, type);
    assert_int_equal(
        frame_decode(FRAMING_LEGACY, false, (struct slice){data, strlen(data)}, &f, NULL), 0);
    assert_int_equal(requests_add(r, &f, now), 0);
    frame_done(&f);
}

static void take(struct requests *r, const char *parent, const char *what, int64_t now)
{
    static const struct slice none = {0};
    struct message *m;
    if (strcmp(what, "busy") == 0 || strcmp(what, "idle") == 0)
        m = message_status(none, what);
    else
        m = message_make(strstr(what, "reply") ? CHANNEL_SHELL : CHANNEL_IOPUB, what, none,
                         json_pack("{s:s}", "status", "ok"));
    snprintf(m->parent_id, sizeof(m->parent_id), "%s", parent);
    requests_take(r, m, now);
}

struct step {
    const char *what; /* a message, "tick", or NULL */
    int64_t at_ms;
};
struct row {
    const char *name, *type;
    struct step steps[8];
    const char *expected;
};
static const struct row rows[] = {
    {"in order",
     "execute_request",
     {{"busy", 1}, {"stream", 1}, {"execute_reply", 2}, {"idle", 3}},
     "busy stream execute_reply idle "},
    {"idle before the reply",
     "execute_request",
     {{"busy", 1}, {"idle", 2}, {"execute_reply", 3}},
     "busy execute_reply idle "},
    {"the reply before its outputs",
     "execute_request",
     {{"execute_reply", 1}, {"busy", 1}, {"stream", 2}, {"idle", 3}},
     "busy stream execute_reply idle "},
    {"idle late",
     "execute_request",
     {{"busy", 1},
      {"execute_reply", 2},
      {"tick", 50},
      {"tick", 102},
      {"stream", 200},
      {"idle", 300}},
     "busy execute_reply stream idle "},
    {"no idle H07",
     "execute_request",
     {{"busy", 1}, {"execute_reply", 2}, {"tick", 102}, {"tick", 2101}, {"tick", 2102}},
     "busy execute_reply idle "},
    {"no reply H07",
     "execute_request",
     {{"busy", 1}, {"idle", 2}, {"tick", 1001}, {"tick", 1002}},
     "busy error* execute_reply* idle "},
    {"no reply to something else H07",
     "complete_request",
     {{"busy", 1}, {"idle", 2}, {"tick", 1002}},
     "busy complete_reply* idle "},
    {"two replies H07",
     "execute_request",
     {{"busy", 1}, {"execute_reply", 2}, {"execute_reply", 2}, {"idle", 3}, {"execute_reply", 4}},
     "busy execute_reply idle "},
    {"a reply after it was given up H07",
     "execute_request",
     {{"busy", 1}, {"idle", 2}, {"tick", 1002}, {"execute_reply", 1003}},
     "busy error* execute_reply* idle "},
    {"control without status",
     "debug_request",
     {{"debug_reply", 1}, {"tick", 101}, {"tick", 3000}},
     "debug_reply "},
    {"a reply that nobody asked for H05", "comm_msg", {{"execute_reply", 1}}, ""},
    {"a long run is nobody's fault",
     "execute_request",
     {{"busy", 1},
      {"tick", 100000},
      {"stream", 200000},
      {"execute_reply", 200000},
      {"idle", 200000}},
     "busy stream execute_reply idle "},
};

static void every_request_ends_once_and_in_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct seen seen = {0};
        struct requests r;
        bool wake;
        requests_init(&r, on_message, &seen);
        add(&r, "m", rows[i].type, 0);
        for (const struct step *s = rows[i].steps; s->what != NULL; s++) {
            if (strcmp(s->what, "tick") == 0)
                requests_tick(&r, s->at_ms, false, &wake);
            else
                take(&r, "m", s->what, s->at_ms);
        }
        if (strcmp(seen.text, rows[i].expected) != 0 || r.n != 0)
            fail_msg("%s: '%s', %zu left", rows[i].name, seen.text, r.n);
        requests_done(&r);
    }
}

static void others_messages_pass(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requests r;
    requests_init(&r, on_message, &seen);
    add(&r, "mine", "execute_request", 0);
    take(&r, "other", "busy", 1);
    take(&r, "other", "idle", 1);
    take(&r, "", "stream", 1);
    assert_string_equal(seen.text, "busy idle stream ");
    assert_int_equal(r.n, 1);
    requests_done(&r);
}

/* The reply is on its way while the next request begins already. */
static void the_order_of_requests_is_kept(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requests r;
    bool wake;
    requests_init(&r, on_message, &seen);
    add(&r, "a", "execute_request", 0);
    add(&r, "b", "execute_request", 0);
    take(&r, "a", "busy", 1);
    take(&r, "a", "idle", 1);
    take(&r, "b", "busy", 1);
    take(&r, "b", "stream", 1);
    take(&r, "b", "idle", 1);
    take(&r, "other", "stream", 1);
    assert_string_equal(seen.text, "busy ");
    take(&r, "a", "execute_reply", 2);
    assert_string_equal(seen.text, "busy execute_reply idle busy stream ");
    requests_tick(&r, 2000, false, &wake);
    assert_string_equal(seen.text,
                        "busy execute_reply idle busy stream error* execute_reply* idle stream ");
    assert_int_equal(r.n + r.n_waiting + r.behind_bytes, 0);
    requests_done(&r);
}

static void what_is_held_back_is_bounded_H03(void **state)
{
    (void)state;
    static char text[600000];
    struct seen seen = {0};
    struct requests r;
    requests_init(&r, on_message, &seen);
    memset(text, 'x', sizeof(text) - 1);
    add(&r, "a", "execute_request", 0);
    take(&r, "a", "idle", 1);
    for (int i = 0; i < 20; i++) {
        requests_take(&r, message_stderr((struct slice){0}, text), 1);
        assert_true(r.behind_bytes <= REQUESTS_BEHIND_MAX);
    }
    assert_non_null(strstr(seen.text, "stream stream stream stream stream stream stream "));
    take(&r, "a", "execute_reply", 2);
    assert_non_null(strstr(seen.text, "execute_reply idle "));
    assert_int_equal(r.behind_bytes, 0);
    requests_done(&r);
}

static void two_requests_of_one_id_are_both_answered(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requests r;
    requests_init(&r, on_message, &seen);
    add(&r, "m", "execute_request", 0);
    add(&r, "m", "execute_request", 0);
    for (int i = 0; i < 2; i++) {
        take(&r, "m", "busy", 1);
        take(&r, "m", "execute_reply", 1);
        take(&r, "m", "idle", 1);
    }
    assert_string_equal(seen.text, "busy execute_reply idle busy execute_reply idle ");
    requests_done(&r);
}

static void death_ends_all_of_them_H01(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requests r;
    requests_init(&r, on_message, &seen);
    add(&r, "a", "execute_request", 0);
    add(&r, "b", "execute_request", 0);
    add(&r, "c", "kernel_info_request", 0);
    take(&r, "a", "busy", 1);
    take(&r, "a", "execute_reply", 1); /* held back, and true */
    requests_fail_all(&r, &(struct message_fault){"KernelDied", "why", NULL});
    assert_string_equal(seen.text,
                        "busy execute_reply idle error execute_reply idle kernel_info_reply ");
    assert_int_equal(r.n, 0);
    requests_done(&r);
}

/* Only while the kernel has nothing else to do. */
static void a_request_that_is_not_begun_wakes_the_kernel_and_has_an_end(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requests r;
    bool wake;
    requests_init(&r, on_message, &seen);
    add(&r, "m", "execute_request", 0);
    for (int64_t now = 0; now < 100000; now += 1000) {
        assert_int_equal(requests_tick(&r, now, false, &wake), now + 250);
        assert_false(wake);
    }
    const int64_t idle = 99000;
    assert_int_equal(requests_tick(&r, idle + 249, true, &wake), idle + 250);
    assert_false(wake);
    static const int64_t wakes[] = {250, 1000, 4000};
    for (size_t i = 0; i < ARRAY_LEN(wakes); i++) {
        requests_tick(&r, idle + wakes[i], true, &wake);
        assert_true(wake);
        requests_tick(&r, idle + wakes[i], true, &wake);
        assert_false(wake);
    }
    requests_tick(&r, idle + 5999, true, &wake);
    assert_int_equal(r.n, 1);
    requests_tick(&r, idle + 6000, true, &wake);
    assert_string_equal(seen.text, "error* execute_reply* idle ");
    assert_int_equal(requests_tick(&r, idle + 7000, true, &wake), INT64_MAX);
    requests_done(&r);
}

static void there_is_room_for_so_many(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requests r;
    requests_init(&r, on_message, &seen);
    for (int i = 0; i < REQUESTS_MAX; i++) {
        assert_true(requests_has_room(&r));
        add(&r, "m", "execute_request", 0);
    }
    assert_false(requests_has_room(&r));
    requests_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_ends_once_and_in_order),
        cmocka_unit_test(others_messages_pass),
        cmocka_unit_test(the_order_of_requests_is_kept),
        cmocka_unit_test(what_is_held_back_is_bounded_H03),
        cmocka_unit_test(two_requests_of_one_id_are_both_answered),
        cmocka_unit_test(death_ends_all_of_them_H01),
        cmocka_unit_test(a_request_that_is_not_begun_wakes_the_kernel_and_has_an_end),
        cmocka_unit_test(there_is_room_for_so_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
