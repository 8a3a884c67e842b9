/* Numbers of control groups and processes as the kernel writes them, and as it never should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "execd/metrics/cgroup_files.h"
#include "execd/metrics/procfs.h"

static void test_cpu_max(void **state)
{
    double cpus = -1;

    (void)state;
    assert_int_equal(cgroup_parse_cpu_max("150000 100000\n", &cpus), 0);
    assert_true(cpus == 1.5);
    assert_int_equal(cgroup_parse_cpu_max("max 100000\n", &cpus), 0);
    assert_true(cpus == 0);
    assert_true(cgroup_parse_cpu_max("100000 0", &cpus) < 0);
    assert_true(cgroup_parse_cpu_max("", &cpus) < 0);
    assert_true(cgroup_parse_cpu_max("x y", &cpus) < 0);
}

static void test_pressure(void **state)
{
    struct pressure p = {0};

    (void)state;
    assert_int_equal(cgroup_parse_pressure("some avg10=1.25 avg60=0.10 avg300=0.00 total=5\n"
                                           "full avg10=9.00 avg60=0.00 avg300=0.00 total=7\n",
                                           &p),
                     0);
    assert_true(p.has_some && p.some_avg10 == 1.25 && p.some_total_us == 5);
    assert_true(p.has_full && p.full_avg10 == 9 && p.full_total_us == 7);
    assert_int_equal(cgroup_parse_pressure("some avg10=2.00 avg60=0 avg300=0 total=1\n", &p), 0);
    assert_true(p.has_some && !p.has_full);
    assert_true(cgroup_parse_pressure("full avg10=1.0 total=1", &p) < 0);
    assert_true(cgroup_parse_pressure("some avg10=nan total=1", &p) < 0);
    assert_true(cgroup_parse_pressure("some avg10= total=1", &p) < 0);
    assert_true(cgroup_parse_pressure("some avg60=1.0\nfull avg10=1 total=1", &p) < 0);
}

static void test_io(void **state)
{
    struct sample s = {0};
    uint64_t read = 1, written = 1;

    (void)state;
    cgroup_parse_io_stat("8:0 rbytes=100 wbytes=200 rios=3 wios=4 dbytes=9 dios=9\n"
                         "8:16 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n",
                         &s);
    assert_int_equal(s.io_read_bytes, 101);
    assert_int_equal(s.io_write_bytes, 202);
    assert_int_equal(s.io_reads, 4);
    assert_int_equal(s.io_writes, 5);
    cgroup_parse_blkio("8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Total 12288\nTotal 12288\n",
                       &read, &written);
    assert_int_equal(read, 4096);
    assert_int_equal(written, 8192);
    cgroup_parse_blkio("", &read, &written);
    assert_int_equal(read + written, 0);
}

static void test_process_names_do_not_confuse(void **state)
{
    uint64_t utime = 0, stime = 0, threads = 0, rss = 0;

    (void)state;
    assert_int_equal(
        procfs_parse_stat(
            "12 (a) R 1 2 (x) S 1 12 12 0 -1 4194304 100 0 0 0 7 8 0 0 20 0 3 0 99 1000 55 1",
            &utime, &stime, &threads, &rss),
        0);
    assert_int_equal(utime, 7);
    assert_int_equal(stime, 8);
    assert_int_equal(threads, 3);
    assert_int_equal(rss, 55);
    assert_true(procfs_parse_stat("12 (a", &utime, &stime, &threads, &rss) < 0);
    assert_true(procfs_parse_stat("12 (a) S 1 2", &utime, &stime, &threads, &rss) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu_max),
        cmocka_unit_test(test_pressure),
        cmocka_unit_test(test_io),
        cmocka_unit_test(test_process_names_do_not_confuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
