/* What is remembered of sandboxes that ms-enclave's clients have stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "server/enclave/stopped.h"

static struct jpair kind[] = {{"enclave.type", "docker"}, {"enclave.config", "{\"image\": \"x\"}"}};

static struct sandbox sandbox_named(unsigned number)
{
    struct sandbox sb = {.spec = {.extensions = {kind, 2}}};

    snprintf(sb.id, sizeof(sb.id), "sandbox-%u", number);
    return sb;
}

static unsigned count(struct stopped_list *list)
{
    unsigned n = 0;

    for (const struct stopped *s = stopped_first(list); s != NULL; s = s->next)
        n++;
    return n;
}

static void test_one_is_listed_once(void **state)
{
    struct stopped_list *list = stopped_new();
    struct sandbox sb = sandbox_named(1), other = sandbox_named(2);

    (void)state;
    stopped_add(list, &sb);
    stopped_add(list, &other);
    stopped_add(list, &sb);
    assert_int_equal(count(list), 2);
    assert_string_equal(stopped_find(list, sb.id)->type, "docker");
    assert_true(stopped_remove(list, sb.id));
    assert_null(stopped_find(list, sb.id));
    assert_false(stopped_remove(list, sb.id));
    stopped_free(list);
}

static void test_the_oldest_make_room(void **state)
{
    struct stopped_list *list = stopped_new();

    (void)state;
    for (unsigned i = 0; i <= STOPPED_MAX; i++) {
        struct sandbox sb = sandbox_named(i);
        stopped_add(list, &sb);
    }
    assert_int_equal(count(list), STOPPED_MAX);
    assert_null(stopped_find(list, "sandbox-0"));
    assert_non_null(stopped_find(list, "sandbox-1"));
    stopped_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_is_listed_once),
        cmocka_unit_test(test_the_oldest_make_room),
    };

    return cmocka_run_group_tests_name("stopped", tests, NULL, NULL);
}
