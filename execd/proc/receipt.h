/*
 * A receipt: what one run cost and why it ended, and how far the figures can be trusted.
 *
 * Figures come from the run's own cgroup leaf where there is one ("source": "cgroup": all processes of the run),
 * else from wait4 ("rusage": the leader and the children that it waited for) or, of what still lives, from "procfs"
 * (the same processes). A figure that the kernel does not
 * give is left out, never invented. Times are microseconds, sizes bytes. Pure but for leaf_read_usage.
 * Thread rule: loop thread only. Source: cgroup-v2.rst, cgroup-v1/, getrusage(2).
 */
#pragma once

#include "execd/proc/leaf.h"
#include "execd/proc/reaper.h"
#include "proto/base/str.h"

struct receipt {
    const char *reason; /* "exit", "signal", "timeout", "oom", ...; a constant */
    bool has_exit_code;
    int exit_code; /* as the stream tells it */
    int signal;    /* 0 = none */
    uint64_t wall_us;
    bool has_usage;          /* false: nothing ran */
    struct leaf_usage usage; /* from_cgroup and from_proc say from where */
    const char *peak_of;     /* whose the peak of memory is, a constant; NULL = the run's */
};

/* Fills the usage: of the leaf, or of rusage where there is no group. leaf may be NULL. */
void receipt_measure(struct receipt *receipt, struct leaf *leaf, const struct exit_status *status);
/* Of one process and the children that it waited for. */
struct leaf_usage receipt_of_rusage(const struct rusage *usage);
/* What was used since `before` (a session runs many things in one leaf); peaks are left as they are. */
void receipt_subtract(struct receipt *receipt, const struct leaf_usage *before);
/* One JSON object. */
void receipt_json(const struct receipt *receipt, struct strbuf *out);
