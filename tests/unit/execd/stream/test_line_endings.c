#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "execd/stream/line_endings.h"

static void test_agents(void **state)
{
    static const struct {
        const char *agent;
        enum line_endings mode;
    } rows[] = {
        {NULL, LINES_KEEP},
        {"", LINES_KEEP},
        {"curl/8.5.0", LINES_KEEP},
        {"OpenSandbox-Python-SDK/1.1.1", LINES_KEEP},
        {"OpenSandbox-Python-SDK/1.1.10", LINES_KEEP},
        {"OpenSandbox-Python-SDK/1.2", LINES_KEEP},
        {"OpenSandbox-Python-SDK/2.0.0", LINES_KEEP},
        {"OpenSandbox-Python-SDK/1.1.0", LINES_STRIP},
        {"OpenSandbox-Python-SDK/1.1", LINES_STRIP},
        {"OpenSandbox-Python-SDK/1.0.9", LINES_STRIP},
        {"OpenSandbox-Python-SDK/0.1.16", LINES_STRIP},
        {"OpenSandbox-Python-SDK/", LINES_KEEP},
        {"OpenSandbox-Python-SDK/x.y", LINES_KEEP},
        {"OpenSandbox-Go-SDK/1.0.2", LINES_STRIP},
        {"OpenSandbox-JS-SDK/0.1.11", LINES_STRIP},
        {"OpenSandbox-Kotlin-SDK/1.0.12", LINES_STRIP},
        {"OpenSandbox-CSharp-SDK/0.1.0", LINES_STRIP},
        {"proxy/1 OpenSandbox-Go-SDK/1.0.2", LINES_STRIP},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(line_endings_choose(LINES_AUTO, rows[i].agent), rows[i].mode);
        assert_int_equal(line_endings_choose(LINES_KEEP, rows[i].agent), LINES_KEEP);
        assert_int_equal(line_endings_choose(LINES_STRIP, rows[i].agent), LINES_STRIP);
    }
}

static void test_settings(void **state)
{
    enum line_endings mode = LINES_VERBATIM;

    (void)state;
    assert_int_equal(line_endings_parse("keep", &mode), 0);
    assert_int_equal(mode, LINES_KEEP);
    assert_int_equal(line_endings_parse("Strip", &mode), 0);
    assert_int_equal(mode, LINES_STRIP);
    assert_int_equal(line_endings_parse("auto", &mode), 0);
    assert_int_equal(mode, LINES_AUTO);
    assert_true(line_endings_parse("verbatim", &mode) < 0);
    assert_true(line_endings_parse("", &mode) < 0);
    assert_int_equal(mode, LINES_AUTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agents),
        cmocka_unit_test(test_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
