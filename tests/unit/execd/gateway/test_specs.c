/* Kernelspecs and kernels as Jupyter's clients see them: which one is meant, and the texts they parse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/gateway/kernels.h"
#include "execd/gateway/specs.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

static struct kernelspecs *make(const char *const *names)
{
    static const char *words[] = {"program", "{connection_file}", NULL};
    struct kernelspecs *specs = xcalloc(1, sizeof(*specs));
    arena_init(&specs->arena);
    for (; *names != NULL; names++)
        specs->items[specs->n++] = (struct kernelspec){
            .name = *names,
            .display_name = *names,
            .language = strncmp(*names, "py", 2) == 0 ? "python" : *names,
            .resource_dir = "/",
            .argv = {words, 2},
            .interrupt_mode = "signal",
        };
    return specs;
}

static const char *name_of(const struct kernelspec *spec)
{
    return spec != NULL ? spec->name : "none";
}

static void test_which_one_is_meant(void **state)
{
    static const struct {
        const char *names[4], *wanted, *asked, *found;
    } rows[] = {
        {{"ir", "python3"}, NULL, NULL, "python3"},
        {{"ir", "python3"}, NULL, "", "python3"},
        {{"ir", "python3"}, "ir", NULL, "ir"},
        {{"ir", "python3"}, "IR", NULL, "ir"},
        {{"ir", "python3"}, "gone", NULL, "python3"},
        {{"ir", "pypy"}, NULL, NULL, "pypy"},
        {{"deno", "ir"}, NULL, NULL, "deno"},
        {{NULL}, NULL, NULL, "none"},
        {{"ir", "python3"}, NULL, "python", "python3"},
        {{"python", "python3"}, NULL, "python", "python"},
        {{"ir", "python3"}, NULL, "PYTHON3", "python3"},
        {{"ir", "python3"}, "ir", "nosuch", "none"},
        {{"deno", "ir"}, NULL, "python", "none"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kernelspecs *specs = make(rows[i].names);
        assert_string_equal(name_of(specs_find(specs, rows[i].asked, rows[i].wanted)),
                            rows[i].found);
        kernelspecs_free(specs);
    }
}

static void test_the_list_names_a_default(void **state)
{
    static const char *const none[] = {NULL}, *const two[] = {"deno", "ir", NULL};
    (void)state;
    struct kernelspecs *specs = make(none);
    json_t *list = specs_list(specs, "x");
    assert_string_equal(json_string_value(json_object_get(list, "default")), "python3");
    assert_int_equal(json_object_size(json_object_get(list, "kernelspecs")), 0);
    json_decref(list);
    kernelspecs_free(specs);
    specs = make(two);
    list = specs_list(specs, NULL);
    assert_string_equal(json_string_value(json_object_get(list, "default")), "deno");
    assert_int_equal(json_object_size(json_object_get(list, "kernelspecs")), 2);
    json_decref(list);
    kernelspecs_free(specs);
}

static void test_metadata_is_passed_on(void **state)
{
    static const char *const names[] = {"ir", NULL};
    static const char *const texts[] = {"{\"debugger\":true}", NULL};
    (void)state;
    struct kernelspecs *specs = make(names);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        specs->items[0].metadata_json = texts[i];
        json_t *model = specs_model(&specs->items[0]);
        json_t *metadata = json_object_get(json_object_get(model, "spec"), "metadata");
        assert_true(json_is_object(metadata));
        assert_int_equal(json_object_size(metadata), i == 0 ? 1 : 0);
        assert_int_equal(json_object_size(json_object_get(model, "resources")), 0);
        json_decref(model);
    }
    kernelspecs_free(specs);
}

static int allocations_left; /* of jansson's, to the one that fails */

static void *allocate(size_t n)
{
    return --allocations_left != 0 ? malloc(n) : NULL;
}

static json_t *list_without(const struct kernelspecs *specs, int failing)
{
    allocations_left = failing;
    json_set_alloc_funcs(allocate, free);
    json_t *list = specs_list(specs, NULL);
    json_set_alloc_funcs(malloc, free);
    return list;
}

/* Whichever allocation fails: all of it or nothing. */
static void test_a_list_is_never_half(void **state)
{
    static const char *const names[] = {"deno", "python3", NULL};
    static struct jpair variables[] = {{"A", "1"}, {"B", "2"}};
    (void)state;
    struct kernelspecs *specs = make(names);
    specs->items[0].env = (struct jmap){variables, 2};
    specs->items[1].metadata_json = "{\"debugger\": true, \"more\": [1, \"\\n\"]}";
    json_t *whole = specs_list(specs, NULL);
    assert_non_null(whole);
    int i = 0;
    for (allocations_left = 0; allocations_left <= 0; i++) {
        json_t *list = list_without(specs, i + 1);
        assert_true(list == NULL || json_equal(list, whole));
        json_decref(list);
    }
    assert_in_range(i, 20, 1000);
    specs->is_cut = true;
    assert_null(specs_list(specs, NULL));
    json_decref(whole);
    kernelspecs_free(specs);
}

static void test_files_have_plain_names(void **state)
{
    static const char *const names[] = {"ir", NULL};
    static const char *const bad[] = {"", ".", "..", ".x", "a/b", "/etc/passwd", "a b", "\xff"};
    (void)state;
    struct kernelspecs *specs = make(names);
    specs->items[0].resource_dir = "/etc";
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *data = NULL;
        size_t len;
        assert_true(specs_read_file(&specs->items[0], bad[i], &data, &len, NULL) < 0);
        assert_null(data);
    }
    kernelspecs_free(specs);
}

/* Clients parse it with a format that demands the fraction and the Z. */
static void test_times_have_a_fraction(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {1, "1970-01-01T00:00:00.000001Z"},
        {INT64_C(1795221464304426), "2026-11-21T00:37:44.304426Z"},
        {INT64_C(1795221464000000), "2026-11-21T00:37:44.000000Z"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[CLOCK_RFC3339_MAX];
        kernels_format_time(rows[i].us, text);
        assert_string_equal(text, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_one_is_meant),
        cmocka_unit_test(test_the_list_names_a_default),
        cmocka_unit_test(test_metadata_is_passed_on),
        cmocka_unit_test(test_a_list_is_never_half),
        cmocka_unit_test(test_files_have_plain_names),
        cmocka_unit_test(test_times_have_a_fraction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
