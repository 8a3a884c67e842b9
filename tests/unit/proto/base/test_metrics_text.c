/* Metric families as text, in both formats, to the byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "proto/base/metrics_text.h"

static void check(struct strbuf *out, const char *expected)
{
    assert_int_equal(strbuf_check(out), 0);
    assert_string_equal(out->data, expected);
    strbuf_reset(out);
}

static void test_names_by_format(void **state)
{
    cleanup_strbuf struct strbuf out;

    (void)state;
    strbuf_init(&out, 0);
    metric_one(&out, METRIC_PROMETHEUS, "a_seconds", METRIC_COUNTER, "seconds", "Help.", 1.5);
    check(&out,
          "# HELP a_seconds_total Help.\n# TYPE a_seconds_total counter\na_seconds_total 1.5\n");
    metric_one(&out, METRIC_OPENMETRICS, "a_seconds", METRIC_COUNTER, "seconds", "Help.", 1.5);
    check(&out, "# HELP a_seconds Help.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n"
                "a_seconds_total 1.5\n");
    metric_one(&out, METRIC_PROMETHEUS, "b", METRIC_GAUGE, NULL, "x\\y\nz", INFINITY);
    check(&out, "# HELP b x\\\\y\\nz\n# TYPE b gauge\nb +Inf\n");
    metric_end(&out, METRIC_PROMETHEUS);
    metric_end(&out, METRIC_OPENMETRICS);
    check(&out, "# EOF\n");
}

static void test_labels_are_escaped(void **state)
{
    cleanup_strbuf struct strbuf out;

    (void)state;
    strbuf_init(&out, 0);
    metric_sample(&out, METRIC_PROMETHEUS, "c", METRIC_GAUGE, 2, "k", "a\"b\\c\nd", "l", "", NULL);
    check(&out, "c{k=\"a\\\"b\\\\c\\nd\",l=\"\"} 2\n");
}

static void test_histograms_add_up(void **state)
{
    static const double bounds[] = {0.5, 1};
    static const uint64_t counts[] = {3, 0, 2};
    cleanup_strbuf struct strbuf out;

    (void)state;
    strbuf_init(&out, 0);
    metric_histogram(&out, "d", bounds, counts, 2, 7.25, "class", "x");
    check(&out,
          "d_bucket{class=\"x\",le=\"0.5\"} 3\nd_bucket{class=\"x\",le=\"1\"} 3\n"
          "d_bucket{class=\"x\",le=\"+Inf\"} 5\nd_sum{class=\"x\"} 7.25\nd_count{class=\"x\"} 5\n");
}

static void test_what_an_accept_field_asks_for(void **state)
{
    (void)state;
    assert_int_equal(metric_negotiate(NULL), -1);
    assert_int_equal(metric_negotiate("*/*"), -1);
    assert_int_equal(metric_negotiate("text/plain;version=0.0.4"), METRIC_PROMETHEUS);
    assert_int_equal(metric_negotiate("application/openmetrics-text;version=1.0.0,text/plain"),
                     METRIC_OPENMETRICS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_by_format),
        cmocka_unit_test(test_labels_are_escaped),
        cmocka_unit_test(test_histograms_add_up),
        cmocka_unit_test(test_what_an_accept_field_asks_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
