/* The table of errors: every row is whole, and every errno finds one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/api/errors.h"

static bool is_wire_code(const char *text)
{
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_:");
    return n > 0 && text[n] == '\0';
}

/* "AUTH_001": letters, an underscore, three digits. */
static bool is_family(const char *text)
{
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return n >= 2 && text[n] == '_' && strspn(text + n + 1, "0123456789") == 3 &&
           text[n + 4] == '\0';
}

static void test_every_row_is_whole(void **state)
{
    (void)state;
    for (int code = ERR_NONE + 1; code < ERR_CODE_MAX; code++) {
        const struct err_row *row = err_row(code);
        assert_non_null(row->name);
        if (!is_wire_code(row->wire) || !is_family(row->family) || row->status < 400 ||
            row->status > 599)
            fail_msg("row %s: '%s', '%s', %d", row->name, row->wire, row->family, row->status);
        size_t len = strlen(row->text);
        if (len == 0 || len >= ERR_TEXT_MAX || row->text[len - 1] == '.')
            fail_msg("row %s: text '%s'", row->name, row->text);
    }
}

static void test_names_and_families_are_unique(void **state)
{
    (void)state;
    for (int a = ERR_NONE + 1; a < ERR_CODE_MAX; a++)
        for (int b = a + 1; b < ERR_CODE_MAX; b++) {
            assert_string_not_equal(err_row(a)->name, err_row(b)->name);
            assert_string_not_equal(err_row(a)->family, err_row(b)->family);
        }
}

static void test_out_of_range_is_internal(void **state)
{
    (void)state;
    static const int odd[] = {ERR_NONE, -1, ERR_CODE_MAX, INT32_MAX, INT32_MIN};

    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        assert_ptr_equal(err_row(odd[i]), err_row(ERR_INTERNAL));
}

static void test_classify(void **state)
{
    (void)state;
    static const struct {
        int code, errnum;
        enum err_code expected;
    } rows[] = {
        {ERR_SESSION_NOT_FOUND, ENOENT, ERR_SESSION_NOT_FOUND}, /* the code wins */
        {0, ENOENT, ERR_FILE_NOT_FOUND},
        {0, ENOSPC, ERR_NO_SPACE},
        {0, EDQUOT, ERR_NO_SPACE},
        {0, ENOMEM, ERR_OUT_OF_MEMORY},
        {0, EACCES, ERR_FILE_ACCESS},
        {0, EPERM, ERR_FILE_ACCESS},
        {0, EINVAL, ERR_INTERNAL},
        {0, 0, ERR_INTERNAL},
        {9999, ENOENT, ERR_INTERNAL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {.code = rows[i].code, .errnum = rows[i].errnum};
        assert_string_equal(err_classify(&err)->name, err_row(rows[i].expected)->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_whole),
        cmocka_unit_test(test_names_and_families_are_unique),
        cmocka_unit_test(test_out_of_range_is_internal),
        cmocka_unit_test(test_classify),
    };
    return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
