/* Globs: the dialect row by row, what is refused, and that no pattern makes a text expensive. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/glob.h"

static bool matches(const char *pattern, const char *text)
{
    cleanup_glob struct glob *g = NULL;
    struct err err = {0};

    if (glob_new(pattern, &g, &err) < 0)
        fail_msg("%s: %s", pattern, err.text);
    return glob_match(g, text);
}

static void test_dialect(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *yes, *no; /* texts, separated by blanks */
    } rows[] = {
        {"", "", "a"},
        {"abc", "abc", "ab abcd Abc"},
        {"*", "a .hidden a.b \xff", "a/b /"},
        {"*.py", "a.py .py a.b.py", "a.pyc py a/b.py"},
        {"a*b*c", "abc axbxc abbcc", "ab acb a/bc"},
        {"?", "a \xc3\xa9 \xff", "ab / \xc3\xa9x"},
        {"*??", "ab xab \xc3\xa9\xc3\xa9", "a \xc3\xa9"},
        {"**", "a a/b a/b/c", ""},
        {"**/x", "x a/x a/b/x", "ax a/bx x/a"},
        {"a/**/b", "a/b a/x/b a/x/y/b", "ab a/xb a/b/x xa/b"},
        {"a/**", "a a/b a/b/c", "ab b/a"},
        {"**/**/**", "a a/b a/b/c/d", ""},
        {"a**b", "ab axb", "a/b"},
        {"dir/*.py", "dir/a.py", "dir/x/a.py xdir/a.py a.py"},
        {"[abc]", "a b c", "d ab /"},
        {"[a-c]x", "ax bx cx", "dx -x"},
        {"[^a-c]", "d -", "a b /"},
        {"[!a]", "b !", "a"},
        {"[a\\]]", "a ]", "\\ b"},
        {"[a\\-z]", "a - z", "b"},
        {"[a-]", "a -", "b"},
        {"[\xc3\xa0-\xc3\xaf]", "\xc3\xa9", "e \xc3\xbf"},
        {"[*?{]", "* ? {", "a"},
        {"\\*", "*", "a"},
        {"\\[a\\]", "[a]", "a"},
        {"{a,b}", "a b", "c a,b"},
        {"{a,b{c,d}}x", "ax bcx bdx", "bx abx"},
        {"{,a}b", "b ab", "a"},
        {"x{a*,?b}", "xa xazz xcb", "x xc"},
        {"*.{c,h}", "a.c a.h", "a.o"},
        {"{src/,}*.c", "a.c src/a.c", "x/a.c"},
        {"{src/,lib/}!(x)", "src/a lib/xx", "src/x lib/x a"},
        {"!(x)", "y xx", "x a/b"},
        {"!(*.pyc|*.o)", "a.py o", "a.pyc a.o"},
        {"!(test_*).py", "a.py", "a.pyc"},
        {"a/!(b)/c", "a/x/c a/bb/c", "a/b/c a/x/y/c"},
        {"**/!(b)", "a a/c b/a", "a/b b"},
        {"{!(a),z}", "b z", "a"},
        {"a)b}c|d,e", "a)b}c|d,e", "a"},
        {"\\!x", "!x", "x"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int wanted = 0; wanted < 2; wanted++) {
            char texts[200], *rest = texts, *text;
            strcpy(texts, wanted ? rows[i].yes : rows[i].no);
            while ((text = strsep(&rest, " ")) != NULL) {
                if (text[0] == '\0' && strcmp(rows[i].no, "") == 0 && !wanted)
                    continue; /* no text of this kind in the row */
                if (matches(rows[i].pattern, text) != wanted)
                    fail_msg("'%s' on '%s': expected %d", rows[i].pattern, text, wanted);
            }
        }
    }
}

static void test_bad_patterns(void **state)
{
    (void)state;
    static const char *const rows[] = {"[",    "[a",     "[a-",  "a[",      "[]a]",  "[^]a]",
                                       "[a\\", "a\\",    "!",    "a!b",     "a!(b)", "!(b",
                                       "{a",   "{a,{b}", "!(a}", "!(!(a))", "*!(a)"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct glob *g = NULL;
        struct err err = {0};
        int rc = glob_new(rows[i], &g, &err);
        if (rc != -EINVAL || g != NULL || strstr(err.text, "bad pattern") == NULL)
            fail_msg("'%s': %d '%s'", rows[i], rc, err.text);
    }
}

static char *repeat(const char *unit, size_t n, const char *tail)
{
    char *text = calloc(1, n * strlen(unit) + strlen(tail) + 1);

    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * strlen(unit), unit, strlen(unit));
    return strcat(text, tail);
}

static void test_limits(void **state)
{
    (void)state;
    struct err err = {0};
    struct glob *g = NULL;
    char *deep = repeat("{", GLOB_DEPTH_MAX + 1, ""), *longest = repeat("a", GLOB_PATTERN_MAX, ""),
         *longer = repeat("a", GLOB_PATTERN_MAX + 1, ""), *huge = repeat("a", 65536, "");

    assert_int_equal(glob_new(deep, &g, &err), -EINVAL);
    assert_int_equal(glob_new(longer, &g, &err), -E2BIG);
    assert_int_equal(glob_new(huge, &g, &err), -E2BIG);
    assert_true(matches(longest, longest));
    assert_false(matches(longest, longer));
    assert_false(matches("*", longer));
    assert_true(matches("**", longest));
    free(deep);
    free(longest);
    free(longer);
    free(huge);
}

/* A matcher that tries one way after the other does not come back from any of these. */
static void test_F16_no_pattern_is_expensive(void **state)
{
    (void)state;
    char *text = repeat("a", 4000, ""), *name = repeat("a", 255, "");
    char *stars = repeat("*a", 2000, "b"), *dirs = repeat("**/", 1300, "*a*a*a*b");
    char *braces = repeat("{a,a}", 500, "b"), *maybe = repeat("{a*,}", 500, "b"),
         *sets = repeat("[^b]", 255, "b");

    assert_false(matches(stars, text));
    assert_false(matches(dirs, text));
    assert_false(matches(braces, text));
    assert_false(matches(maybe, name));
    assert_false(matches(sets, name));
    assert_true(matches("**/**/**/*a*a*a*a", text));
    free(text);
    free(name);
    free(stars);
    free(dirs);
    free(braces);
    free(maybe);
    free(sets);
}

static void test_has_slash(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        bool wanted;
    } rows[] = {{"*.py", false}, {"**", false}, {"a/b", true}, {"**/x", true}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cleanup_glob struct glob *g = NULL;
        assert_int_equal(glob_new(rows[i].pattern, &g, NULL), 0);
        assert_int_equal(glob_has_slash(g), rows[i].wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialect),   cmocka_unit_test(test_bad_patterns),
        cmocka_unit_test(test_limits),    cmocka_unit_test(test_F16_no_pattern_is_expensive),
        cmocka_unit_test(test_has_slash),
    };
    return cmocka_run_group_tests_name("glob", tests, NULL, NULL);
}
