/* The policy field: every key decodes, every odd value is refused with its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/harden/caps.h"
#include "execd/harden/landlock.h"
#include "execd/harden/policy.h"
#include "proto/api/errors.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static int decode(const char *text, struct policy *ret, struct err *err)
{
    json_error_t where;
    cleanup_json json_t *json = json_loads(text, JSON_DECODE_ANY, &where);
    assert_non_null(json);
    return policy_decode(json, &arena, ret, err);
}

static void test_every_key_decodes(void **state)
{
    struct policy p;
    struct err err = {.text = ""};
    (void)state;
    int rc = decode("{\"landlock\":{\"ro\":[\"/etc\"],\"rw\":[],\"exec\":[\"/usr\",\"/bin\"],"
                    "\"tcp_bind\":[0,80],\"tcp_connect\":[65535],\"scopes\":[\"signal\"]},"
                    "\"no_new_privs\":true,\"rlimits\":{\"nofile\":64,\"core\":-1,"
                    "\"stack\":{\"soft\":1,\"hard\":2}},\"seccomp\":\"hardened\","
                    "\"network\":\"none\",\"nice\":19,\"drop_caps\":[\"NET_RAW\",\"cap_chown\"]}",
                    &p, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
    assert_true(p.given && p.has_landlock && p.landlock.has_ro && p.landlock.has_rw);
    assert_string_equal(p.landlock.ro.items[0], "/etc");
    assert_int_equal(p.landlock.rw.n, 0);
    assert_string_equal(p.landlock.exec.items[1], "/bin");
    assert_true(p.landlock.tcp_bind.given);
    assert_int_equal(p.landlock.tcp_bind.port[1], 80);
    assert_int_equal(p.landlock.tcp_connect.port[0], 65535);
    assert_int_equal(p.landlock.scopes, LANDLOCK_SCOPE_SIGNALS);
    assert_true(p.no_new_privs && p.hardened && p.no_network);
    assert_int_equal(p.nice, 19);
    assert_int_equal(p.drop_caps, 1U << 13 | 1U);
    assert_int_equal(p.n_rlimits, 3);
    assert_int_equal(p.rlimits[0].resource, RLIMIT_NOFILE);
    assert_int_equal(p.rlimits[0].limit.rlim_max, 64);
    assert_true(p.rlimits[1].limit.rlim_cur == RLIM_INFINITY);
    assert_int_equal(p.rlimits[2].limit.rlim_cur, 1);
}

static void test_absent_is_empty(void **state)
{
    struct policy p = {.given = true};
    struct err err;
    (void)state;
    assert_int_equal(decode("null", &p, &err), 0);
    assert_false(p.given);
    assert_int_equal(policy_decode(NULL, &arena, &p, &err), 0);
    assert_int_equal(decode("{}", &p, &err), 0);
    assert_true(p.given && !p.has_landlock && !p.no_new_privs && !p.hardened && !p.no_network);
    assert_int_equal(decode("{\"seccomp\":\"default\",\"network\":\"default\"}", &p, &err), 0);
    assert_true(!p.hardened && !p.no_network && !p.no_new_privs);
    assert_int_equal(decode("{\"landlock\":{\"tcp_bind\":[]}}", &p, &err), 0);
    assert_true(p.landlock.tcp_bind.given && !p.landlock.tcp_connect.given && !p.landlock.has_ro);
    assert_true(p.no_new_privs); /* implied */
}

static void test_odd_values_are_refused_by_name(void **state)
{
    static const struct {
        const char *text, *said;
    } rows[] = {
        {"[]", "policy: expected an object"},
        {"{\"landlok\":{}}", "landlok"},
        {"{\"landlock\":{\"read\":[]}}", "read"},
        {"{\"landlock\":{\"ro\":[\"etc\"]}}", "landlock.ro: 'etc'"},
        {"{\"landlock\":{\"rw\":[\"\"]}}", "landlock.rw"},
        {"{\"landlock\":{\"exec\":\"/bin\"}}", "exec"},
        {"{\"landlock\":{\"tcp_bind\":[-1]}}", "tcp_bind"},
        {"{\"landlock\":{\"tcp_bind\":[1.5]}}", "tcp_bind"},
        {"{\"landlock\":{\"tcp_connect\":[65536]}}", "tcp_connect"},
        {"{\"landlock\":{\"tcp_connect\":{}}}", "tcp_connect"},
        {"{\"landlock\":{\"scopes\":[\"everything\"]}}", "scopes"},
        {"{\"landlock\":{\"ro\":[]},\"no_new_privs\":false}", "no_new_privs"},
        {"{\"no_new_privs\":1}", "no_new_privs"},
        {"{\"rlimits\":[]}", "rlimits"},
        {"{\"rlimits\":{\"locks\":1}}", "locks"},
        {"{\"rlimits\":{\"cpu\":-2}}", "rlimits.cpu"},
        {"{\"rlimits\":{\"cpu\":\"1\"}}", "rlimits.cpu"},
        {"{\"rlimits\":{\"cpu\":{\"soft\":2,\"hard\":1}}}", "rlimits.cpu"},
        {"{\"rlimits\":{\"cpu\":{\"soft\":2,\"hard\":3,\"x\":1}}}", "rlimits.cpu"},
        {"{\"rlimits\":{\"cpu\":{\"soft\":-1,\"hard\":3}}}", "rlimits.cpu"},
        {"{\"seccomp\":\"strict\"}", "seccomp"},
        {"{\"network\":\"host\"}", "network"},
        {"{\"nice\":20}", "nice"},
        {"{\"nice\":-1}", "nice"},
        {"{\"drop_caps\":[\"all\"]}", "drop_caps"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct policy p;
        struct err err = {.text = ""};
        assert_true(decode(rows[i].text, &p, &err) < 0);
        assert_int_equal(err.code, ERR_INVALID_REQUEST_BODY);
        if (strstr(err.text, rows[i].said) == NULL || strncmp(err.text, "policy", 6) != 0)
            fail_msg("%s: '%s'", rows[i].text, err.text);
        assert_false(p.given);
    }
}

static void test_lists_are_bounded(void **state)
{
    char text[4096] = "{\"landlock\":{\"ro\":[";
    struct policy p;
    struct err err = {.text = ""};
    (void)state;
    for (int i = 0; i <= POLICY_PATHS_MAX; i++)
        strcat(text, i > 0 ? ",\"/\"" : "\"/\"");
    strcat(text, "]}}");
    assert_true(decode(text, &p, &err) < 0);
    strcpy(text, "{\"landlock\":{\"tcp_bind\":[");
    for (int i = 0; i <= POLICY_PORTS_MAX; i++)
        strcat(text, i > 0 ? ",1" : "1");
    strcat(text, "]}}");
    assert_true(decode(text, &p, &err) < 0);
}

static void test_capability_names_are_their_numbers(void **state)
{
    (void)state;
    for (int number = 0; number < CAPS_NUMBERS; number++)
        if (caps_name(number) != NULL)
            assert_int_equal(caps_by_name(caps_name(number)), number);
    assert_string_equal(caps_name(21), "sys_admin");
    assert_string_equal(caps_name(40), "checkpoint_restore");
    assert_null(caps_name(-1));
    assert_null(caps_name(63));
    assert_true(caps_by_name("cap_") < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_key_decodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_absent_is_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_values_are_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists_are_bounded, setup, teardown),
        cmocka_unit_test(test_capability_names_are_their_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
