/* The sampler over control groups of every kind: version 2, version 1, both, and none. Folders of plain files stand for
 * the kernel's; texts are as kernels write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/metrics/sampler.h"
#include "proto/base/clock.h"

struct file {
    const char *name, *text;
};
struct folder {
    char path[32];
    int fd;
    const struct file *files;
    size_t n;
};

static void make(struct folder *f, const struct file *files, size_t n)
{
    snprintf(f->path, sizeof(f->path), "/tmp/sampler-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->files = files;
    f->n = n;
    for (size_t i = 0; i < n; i++) {
        int fd = openat(f->fd, files[i].name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, files[i].text, strlen(files[i].text)), strlen(files[i].text));
        close(fd);
    }
}

static void drop(struct folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        assert_int_equal(unlinkat(f->fd, f->files[i].name, 0), 0);
    close(f->fd);
    rmdir(f->path);
}

static struct sample sample_of(struct cgroup_dirs *d)
{
    struct sampler *sampler;
    struct sample s;

    assert_int_equal(sampler_new(d, 0, &sampler), 0);
    s = *sampler_get(sampler);
    sampler_free(sampler);
    return s;
}

static const struct file v2_files[] = {
    {"cpu.stat", "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 10\n"
                 "nr_throttled 4\nthrottled_usec 500000\nnr_bursts 0\n"},
    {"cpu.max", "50000 100000\n"},
    {"memory.current", "104857600\n"},
    {"memory.max", "209715200\n"},
    {"memory.peak", "150000000\n"},
    {"memory.stat", "anon 60000000\nfile 40000000\nfile_mapped 1\ninactive_file 4857600\n"},
    {"memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\noom_group_kill 0\n"},
    {"pids.current", "7\n"},
    {"pids.max", "max\n"},
    {"io.stat", "8:0 rbytes=100 wbytes=200 rios=3 wios=4 dbytes=0 dios=0\n"},
    {"cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=1000000\n"},
    {"memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=20\n"
                        "full avg10=2.50 avg60=0.00 avg300=0.00 total=10\n"},
};

static void test_version_2(void **state)
{
    struct cgroup_dirs d;
    struct folder f;

    (void)state;
    make(&f, v2_files, ARRAY_LEN(v2_files));
    cgroup_dirs_init(&d);
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        d.fd[c] = f.fd;
        d.v2[c] = true;
    }
    struct sample s = sample_of(&d);
    assert_true(s.from_cgroup);
    assert_int_equal(s.has, SAMPLE_CPU | SAMPLE_MEMORY | SAMPLE_PIDS | SAMPLE_IO | SAMPLE_OOM);
    assert_int_equal(s.cpu_total_us, 3000000);
    assert_int_equal(s.cpu_user_us, 2000000);
    assert_int_equal(s.cpu_system_us, 1000000);
    assert_int_equal(s.cpu_periods, 10);
    assert_int_equal(s.cpu_throttled, 4);
    assert_int_equal(s.cpu_throttled_us, 500000);
    assert_true(s.cpu_limit == 0.5 && s.cpu_count == 1);
    assert_int_equal(s.mem_usage, 104857600);
    assert_int_equal(s.mem_used, 100000000); /* C31: without inactive file cache, not the host's */
    assert_int_equal(s.mem_total, 209715200);
    assert_int_equal(s.mem_peak, 150000000);
    assert_int_equal(s.mem_rss, 60000000);
    assert_int_equal(s.mem_cache, 40000000);
    assert_int_equal(s.oom_events, 2);
    assert_int_equal(s.oom_kills, 3);
    assert_int_equal(s.pids, 7);
    assert_int_equal(s.pids_max, 0);
    assert_int_equal(s.io_read_bytes + s.io_writes, 104);
    assert_true(s.pressure[SAMPLE_RESOURCE_CPU].has_some);
    assert_false(s.pressure[SAMPLE_RESOURCE_CPU].has_full);
    assert_true(s.pressure[SAMPLE_RESOURCE_MEMORY].full_avg10 == 2.5);
    assert_false(s.pressure[SAMPLE_RESOURCE_IO].has_some);
    drop(&f);
}

static const struct file v1_cpu[] = {
    {"cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 7000000\n"},
    {"cpu.cfs_period_us", "100000\n"},
    {"cpu.cfs_quota_us", "150000\n"},
    {"cpuacct.usage", "4000000000\n"},
    {"cpuacct.usage_user", "3000000000\n"},
    {"cpuacct.usage_sys", "1000000000\n"},
};
static const struct file v1_memory[] = {
    {"memory.usage_in_bytes", "52428800\n"},
    {"memory.limit_in_bytes", "9223372036854771712\n"},
    {"memory.max_usage_in_bytes", "60000000\n"},
    {"memory.failcnt", "6\n"},
    {"memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"},
    {"memory.stat", "cache 1\nrss 2\ninactive_file 3\ntotal_cache 30000000\ntotal_rss 20000000\n"
                    "total_inactive_file 2428800\n"},
};
static const struct file v1_blkio[] = {
    {"blkio.throttle.io_service_bytes", "8:0 Read 4096\n8:0 Write 8192\nTotal 12288\n"},
    {"blkio.throttle.io_serviced", "8:0 Read 1\n8:0 Write 2\nTotal 3\n"},
};

static void check_v1(const struct sample *s)
{
    assert_true(s->from_cgroup);
    assert_int_equal(s->cpu_total_us, 4000000);
    assert_int_equal(s->cpu_user_us, 3000000);
    assert_int_equal(s->cpu_periods, 5);
    assert_int_equal(s->cpu_throttled_us, 7000);
    assert_true(s->cpu_limit == 1.5);
    assert_int_equal(s->mem_used, 50000000);
    assert_int_equal(s->mem_limit, 0);
    assert_true(s->mem_total >= s->mem_used); /* no limit: the machine's */
    assert_int_equal(s->mem_cache, 30000000);
    assert_int_equal(s->oom_kills, 1);
    assert_int_equal(s->oom_events, 6);
}

static void test_version_1(void **state)
{
    struct folder cpu, memory, blkio;
    struct cgroup_dirs d;

    (void)state;
    make(&cpu, v1_cpu, ARRAY_LEN(v1_cpu));
    make(&memory, v1_memory, ARRAY_LEN(v1_memory));
    make(&blkio, v1_blkio, ARRAY_LEN(v1_blkio));
    cgroup_dirs_init(&d);
    d.fd[CGROUP_CPU] = d.fd[CGROUP_CPUACCT] = cpu.fd;
    d.fd[CGROUP_MEMORY] = memory.fd;
    d.fd[CGROUP_IO] = blkio.fd;
    struct sample s = sample_of(&d);
    check_v1(&s);
    assert_int_equal(s.has, SAMPLE_CPU | SAMPLE_MEMORY | SAMPLE_IO | SAMPLE_OOM);
    assert_int_equal(s.io_read_bytes, 4096);
    assert_int_equal(s.io_writes, 2);
    assert_false(s.pressure[SAMPLE_RESOURCE_CPU].has_some);
    drop(&cpu);
    drop(&memory);
    drop(&blkio);
}

static void test_both_versions(void **state)
{
    static const struct file unified[] = {
        {"cgroup.procs", ""},
        {"io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0 "
                        "avg300=0 total=0\n"},
        {"pids.current", "3\n"},
        {"pids.max", "100\n"},
    };
    struct folder cpu, memory, v2;
    struct cgroup_dirs d;

    (void)state;
    make(&cpu, v1_cpu, ARRAY_LEN(v1_cpu));
    make(&memory, v1_memory, ARRAY_LEN(v1_memory));
    make(&v2, unified, ARRAY_LEN(unified));
    cgroup_dirs_init(&d);
    d.fd[CGROUP_CPU] = d.fd[CGROUP_CPUACCT] = cpu.fd;
    d.fd[CGROUP_MEMORY] = memory.fd;
    d.fd[CGROUP_PIDS] = d.fd[CGROUP_UNIFIED] = v2.fd;
    d.v2[CGROUP_PIDS] = d.v2[CGROUP_UNIFIED] = true;
    struct sample s = sample_of(&d);
    check_v1(&s);
    assert_int_equal(s.pids, 3);
    assert_int_equal(s.pids_max, 100);
    assert_true(s.pressure[SAMPLE_RESOURCE_IO].has_full);
    assert_int_equal(s.has & SAMPLE_IO, 0);
    drop(&cpu);
    drop(&memory);
    drop(&v2);
}

static void test_no_group_at_all(void **state)
{
    struct cgroup_dirs d;

    (void)state;
    cgroup_dirs_init(&d);
    struct sample s = sample_of(&d);
    assert_false(s.from_cgroup);
    assert_int_equal(s.has, 0);
    assert_true(s.pids >= 1 && s.mem_used > 0 && s.mem_used <= s.mem_total && s.cpu_count >= 1);
}

static void test_broken_files_are_missing_files(void **state)
{
    static const struct file broken[] = {
        {"cpu.stat", "usage_usec x\nuser_usec\n\n 5\nsystem_usec 99999999999999999999999999\n"},
        {"cpu.max", "nonsense"},
        {"memory.current", "-5\n"},
        {"io.stat", "8:0 rbytes=\n"},
        {"pids.current", ""},
    };
    struct cgroup_dirs d;
    struct folder f;

    (void)state;
    make(&f, broken, ARRAY_LEN(broken));
    cgroup_dirs_init(&d);
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        d.fd[c] = f.fd;
        d.v2[c] = true;
    }
    struct sample s = sample_of(&d);
    assert_false(s.from_cgroup);
    assert_int_equal(s.has, SAMPLE_IO);
    drop(&f);
}

static void test_percent_is_the_share_between_two_samples(void **state)
{
    static const struct file *files = v2_files;
    struct sampler *sampler;
    struct cgroup_dirs d;
    struct folder f;

    (void)state;
    make(&f, files, ARRAY_LEN(v2_files));
    cgroup_dirs_init(&d);
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        d.fd[c] = f.fd;
        d.v2[c] = true;
    }
    assert_int_equal(sampler_new(&d, 100, &sampler), 0);
    clock_test_shift_ms += 1000;
    int fd = openat(f.fd, "cpu.stat", O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, "usage_usec 3250000\n", 19), 19);
    close(fd);
    double pct = sampler_get(sampler)->cpu_used_pct; /* 0.25 s of the 0.5 s it may have */
    assert_true(pct > 49 && pct <= 50);
    assert_true(sampler_get(sampler)->cpu_used_pct == pct); /* young enough: the same sample */
    clock_test_shift_ms += 1000;
    assert_true(sampler_get(sampler)->cpu_used_pct == 0);
    sampler_free(sampler);
    clock_test_shift_ms = 0;
    drop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_both_versions),
        cmocka_unit_test(test_no_group_at_all),
        cmocka_unit_test(test_broken_files_are_missing_files),
        cmocka_unit_test(test_percent_is_the_share_between_two_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
