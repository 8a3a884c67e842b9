#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "execd/code/hold_budget.h"

#define START 1000

static void a_full_budget_is_spent_by_what_is_charged(void **state)
{
    struct hold_budget b;
    (void)state;
    hold_budget_init(&b, START);
    assert_false(hold_budget_is_spent(&b, START));
    hold_budget_charge(&b, HOLD_BUDGET_MS - 1, START);
    assert_false(hold_budget_is_spent(&b, START));
    hold_budget_charge(&b, 1, START);
    assert_true(hold_budget_is_spent(&b, START));
}

static void it_fills_slowly_and_however_often_it_is_asked(void **state)
{
    struct hold_budget b;
    (void)state;
    hold_budget_init(&b, START);
    hold_budget_charge(&b, HOLD_BUDGET_MS + 9, START);
    for (int64_t t = 0; t < 10 * HOLD_BUDGET_RATE; t++)
        assert_true(hold_budget_is_spent(&b, START + t));
    assert_false(hold_budget_is_spent(&b, START + 10 * HOLD_BUDGET_RATE));
    hold_budget_charge(&b, 1, START + 10 * HOLD_BUDGET_RATE);
    assert_true(hold_budget_is_spent(&b, START + 10 * HOLD_BUDGET_RATE));
}

static void it_is_never_fuller_than_full(void **state)
{
    struct hold_budget b;
    int64_t late = START + INT64_C(100) * HOLD_BUDGET_MS * HOLD_BUDGET_RATE;
    (void)state;
    hold_budget_init(&b, START);
    hold_budget_charge(&b, HOLD_BUDGET_MS, late);
    assert_true(hold_budget_is_spent(&b, late));
}

/* Many clients at once are charged each; that must not shut the door for hours. */
static void the_debt_is_bounded(void **state)
{
    struct hold_budget b;
    (void)state;
    hold_budget_init(&b, START);
    for (int i = 0; i < 1000; i++)
        hold_budget_charge(&b, HOLD_BUDGET_MS, START);
    assert_true(hold_budget_is_spent(&b, START + HOLD_BUDGET_MS * HOLD_BUDGET_RATE));
    assert_false(hold_budget_is_spent(&b, START + (HOLD_BUDGET_MS + 1) * HOLD_BUDGET_RATE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_budget_is_spent_by_what_is_charged),
        cmocka_unit_test(it_fills_slowly_and_however_often_it_is_asked),
        cmocka_unit_test(it_is_never_fuller_than_full),
        cmocka_unit_test(the_debt_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
