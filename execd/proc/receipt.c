#include "execd/proc/receipt.h"

#include <inttypes.h>

/* struct rusage counts blocks of this size (getrusage(2)). */
#define RUSAGE_BLOCK 512

static uint64_t micros(const struct timeval *tv)
{
    return (uint64_t)tv->tv_sec * 1000000 + (uint64_t)tv->tv_usec;
}

struct leaf_usage receipt_of_rusage(const struct rusage *usage)
{
    return (struct leaf_usage){
        .cpu_user_us = micros(&usage->ru_utime),
        .cpu_system_us = micros(&usage->ru_stime),
        .memory_peak = (uint64_t)usage->ru_maxrss * 1024,
        .io_read = (uint64_t)usage->ru_inblock * RUSAGE_BLOCK,
        .io_written = (uint64_t)usage->ru_oublock * RUSAGE_BLOCK,
    };
}

void receipt_measure(struct receipt *r, struct leaf *leaf, const struct exit_status *status)
{
    r->has_usage = true;
    if (leaf != NULL)
        leaf_read_usage(leaf, &r->usage);
    if (!r->usage.from_cgroup)
        r->usage = receipt_of_rusage(&status->rusage);
}

static void take_off(uint64_t *value, uint64_t before)
{
    *value -= MIN(*value, before);
}

void receipt_subtract(struct receipt *r, const struct leaf_usage *before)
{
    take_off(&r->usage.cpu_user_us, before->cpu_user_us);
    take_off(&r->usage.cpu_system_us, before->cpu_system_us);
    take_off(&r->usage.io_read, before->io_read);
    take_off(&r->usage.io_written, before->io_written);
    take_off(&r->usage.throttled_us, before->throttled_us);
    take_off(&r->usage.oom_kills, before->oom_kills);
}

static void add_number(struct strbuf *out, const char *key, uint64_t value)
{
    strbuf_addf(out, ",\"%s\":%" PRIu64, key, value);
}

static void add_usage(struct strbuf *out, const struct receipt *r)
{
    const struct leaf_usage *u = &r->usage;
    add_number(out, "cpu_user_us", u->cpu_user_us);
    add_number(out, "cpu_system_us", u->cpu_system_us);
    if (u->memory_peak > 0)
        add_number(out, "memory_peak_bytes", u->memory_peak);
    if (u->memory_peak > 0 && r->peak_of)
        strbuf_addf(out, ",\"memory_peak_of\":\"%s\"", r->peak_of);
    if (!u->from_proc) {
        add_number(out, "io_read_bytes", u->io_read);
        add_number(out, "io_write_bytes", u->io_written);
    }
    if (!u->from_cgroup)
        return;
    if (u->memory_limit > 0)
        add_number(out, "memory_limit_bytes", u->memory_limit);
    if (u->pids_peak > 0)
        add_number(out, "pids_peak", u->pids_peak);
    add_number(out, "throttled_us", u->throttled_us);
    add_number(out, "oom_kills", u->oom_kills);
}

void receipt_json(const struct receipt *r, struct strbuf *out)
{
    strbuf_addf(out, "{\"reason\":\"%s\"", r->reason);
    if (r->has_exit_code)
        strbuf_addf(out, ",\"exit_code\":%d", r->exit_code);
    if (r->signal > 0)
        strbuf_addf(out, ",\"signal\":%d", r->signal);
    add_number(out, "wall_us", r->wall_us);
    if (r->has_usage) {
        const char *other = r->usage.from_proc ? "procfs" : "rusage";
        strbuf_addf(out, ",\"source\":\"%s\"", r->usage.from_cgroup ? "cgroup" : other);
        add_usage(out, r);
    }
    strbuf_addc(out, '}');
}
