/* What is handed over arrives whole: every member, also those that somebody adds later and forgets in the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/isolate/plan.h"

static void test_a_plan_arrives_whole(void **state)
{
    struct isolate_mount mount = {
        .kind = "overlay", .path = "/a", .source = "/b", .upper = "/c \xc3\xa9"};
    const char *groups[] = {"4", "27"}, *keys[] = {"PATH"};
    const struct isolate_plan plan = {.probe = true,
                                      .strict = true,
                                      .share_net = true,
                                      .userns = true,
                                      .has_uid = true,
                                      .uid = 4294967294,
                                      .gid = 7,
                                      .groups = {groups, 2},
                                      .mounts = {&mount, 1},
                                      .env_allow = true,
                                      .env_keys = {keys, 1}};
    struct isolate_plan got;
    struct arena arena;
    size_t len;

    (void)state;
    arena_init(&arena);
    char *text = isolate_plan_encode(&plan, &len);
    assert_non_null(text);
    memset(&got, 0xa5, sizeof(got)); /* what is not taken over is seen */
    assert_int_equal(isolate_plan_decode(text, len, &arena, &got, NULL), 0);
    assert_true(got.probe && got.strict && got.share_net && got.userns && got.has_uid);
    assert_true(got.env_allow);
    assert_int_equal(got.uid, plan.uid);
    assert_int_equal(got.gid, 7);
    assert_int_equal(got.groups.n, 2);
    assert_string_equal(got.groups.items[1], "27");
    assert_int_equal(got.env_keys.n, 1);
    assert_string_equal(got.env_keys.items[0], "PATH");
    assert_int_equal(got.mounts.n, 1);
    const struct isolate_mount *m = got.mounts.items;
    assert_string_equal(m->kind, "overlay");
    assert_string_equal(m->path, "/a");
    assert_string_equal(m->source, "/b");
    assert_string_equal(m->upper, mount.upper);
    free(text);
    arena_done(&arena);
}

static void check_reply(const struct isolate_reply *reply)
{
    struct isolate_reply got;
    struct arena arena;
    size_t len;

    arena_init(&arena);
    char *text = isolate_reply_encode(reply, &len);
    assert_non_null(text);
    memset(&got, 0x01, sizeof(got));
    assert_int_equal(isolate_reply_decode(text, len, &arena, &got, NULL), 0);
    assert_int_equal(got.ok, reply->ok);
    assert_int_equal(got.own_proc, reply->own_proc);
    assert_int_equal(got.seccomp, reply->seccomp);
    assert_int_equal(got.userns, reply->userns);
    assert_int_equal(got.landlock, reply->landlock);
    if (reply->message != NULL)
        assert_string_equal(got.message, reply->message);
    else
        assert_null(got.message);
    free(text);
    arena_done(&arena);
}

static void test_a_reply_arrives_whole(void **state)
{
    (void)state;
    check_reply(&(struct isolate_reply){0});
    check_reply(&(struct isolate_reply){.ok = true,
                                        .message = "why",
                                        .own_proc = true,
                                        .seccomp = true,
                                        .userns = true,
                                        .landlock = 6});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plan_arrives_whole),
        cmocka_unit_test(test_a_reply_arrives_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
