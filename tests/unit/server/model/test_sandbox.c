#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "server/model/labels.h"
#include "server/model/sandbox.h"

/* hardening J13: every (state, operation) pair has one defined answer. */
static void test_J13_every_pair_is_defined(void **state)
{
    (void)state;
    for (unsigned s = 0; s < SANDBOX_STATE_MAX; s++) {
        for (unsigned op = 0; op < SANDBOX_OP_MAX; op++) {
            enum sandbox_state to = SANDBOX_STATE_MAX;
            int rc = sandbox_transition((enum sandbox_state)s, (enum sandbox_op)op, &to);
            assert_true(rc == -EINVAL || (rc == 0 && to < SANDBOX_STATE_MAX));
            if (rc < 0)
                assert_int_equal(to, SANDBOX_STATE_MAX); /* untouched on failure */
        }
    }
}

static void test_delete_is_possible_everywhere_and_final(void **state)
{
    enum sandbox_state to;

    (void)state;
    for (unsigned s = 0; s < SANDBOX_STATE_MAX; s++) {
        assert_int_equal(sandbox_transition((enum sandbox_state)s, SANDBOX_OP_DELETE, &to), 0);
        assert_int_equal(to, SANDBOX_STOPPING);
    }
    assert_int_equal(sandbox_transition(SANDBOX_STOPPING, SANDBOX_OP_STARTED, &to), -EINVAL);
    assert_int_equal(sandbox_transition(SANDBOX_STOPPING, SANDBOX_OP_RENEW, &to), -EINVAL);
    assert_int_equal(sandbox_transition(SANDBOX_TERMINATED, SANDBOX_OP_RESUME, &to), -EINVAL);
}

static void test_state_names_round_trip(void **state)
{
    enum sandbox_state back;

    (void)state;
    for (unsigned s = 0; s < SANDBOX_STATE_MAX; s++) {
        assert_int_equal(sandbox_state_parse(sandbox_state_name((enum sandbox_state)s), &back), 0);
        assert_int_equal(back, s);
    }
    assert_int_equal(sandbox_state_parse("rUNNING", &back), 0);
    assert_int_equal(sandbox_state_parse("Weird", &back), -EINVAL);
}

static void test_J08_labels(void **state)
{
    static const char *const good[][2] = {
        {"team", "a"}, {"a.b/c", ""}, {"example.com/name-1_x.y", "v1.2_3-x"}, {"A", "Z9"}};
    static const char *const bad[][2] = {
        {"", "x"},
        {"-a", "x"},
        {"a-", "x"},
        {"a b", "x"},
        {"/a", "x"},
        {"A.b/c", "x"},
        {"a..b/c", "x"},
        {"a/b/c", "x"},
        {"opensandbox.io/id", "x"},
        {"a", "-x"},
        {"a", "x y"},
        {"a", "\xc3\xa9"},
        {"caf\xc3\xa9", "x"},
        {"a", "0123456789012345678901234567890123456789012345678901234567890123"}};
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(label_check(good[i][0], good[i][1], &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(label_check(bad[i][0], bad[i][1], &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_J13_every_pair_is_defined),
        cmocka_unit_test(test_delete_is_possible_everywhere_and_final),
        cmocka_unit_test(test_state_names_round_trip),
        cmocka_unit_test(test_J08_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
