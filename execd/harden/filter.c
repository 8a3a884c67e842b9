#include "execd/harden/filter.h"

#include <errno.h>
#include <seccomp.h>
#include <sys/resource.h>

#define CONDITIONS_MAX 2

/* linux/ioprio.h, which older kernel headers do not export */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_WHO_PGRP 2
#define IOPRIO_WHO_USER 3

/* The kernel looks at the low half of int arguments only: so must we, or set high bits would slip through. */
#define IS(arg, value)                                                                             \
    {                                                                                              \
        arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, value                                                 \
    }
#define ISNT(arg, value)                                                                           \
    {                                                                                              \
        arg, SCMP_CMP_NE, value, 0                                                                 \
    }

/* Each row is refused with EPERM when all its conditions hold. Source: hardening M7, 4.4. */
struct rule {
    int call;
    unsigned n;
    struct scmp_arg_cmp when[CONDITIONS_MAX];
};
static const struct rule rules[] = {
    {SCMP_SYS(prlimit64), 2, {ISNT(0, 0), ISNT(2, 0)}}, /* new limits, for somebody else */
    {SCMP_SYS(sched_setscheduler), 1, {IS(0, 1)}},
    {SCMP_SYS(sched_setparam), 1, {IS(0, 1)}},
    {SCMP_SYS(sched_setattr), 1, {IS(0, 1)}},
    {SCMP_SYS(sched_setaffinity), 1, {IS(0, 1)}},
    {SCMP_SYS(setpriority), 1, {IS(0, PRIO_USER)}},
    {SCMP_SYS(setpriority), 2, {IS(0, PRIO_PROCESS), IS(1, 1)}},
    {SCMP_SYS(setpriority), 2, {IS(0, PRIO_PGRP), IS(1, 1)}},
    {SCMP_SYS(ioprio_set), 1, {IS(0, IOPRIO_WHO_USER)}},
    {SCMP_SYS(ioprio_set), 2, {IS(0, IOPRIO_WHO_PROCESS), IS(1, 1)}},
    {SCMP_SYS(ioprio_set), 2, {IS(0, IOPRIO_WHO_PGRP), IS(1, 1)}},
};

/* 32-bit programs reach the same calls by other numbers. -EEXIST: the native one. */
static int add_architectures(scmp_filter_ctx ctx)
{
    static const uint32_t others[] = {
#if defined(__x86_64__)
        SCMP_ARCH_X86,
        SCMP_ARCH_X32,
#elif defined(__aarch64__)
        SCMP_ARCH_ARM,
#endif
        SCMP_ARCH_NATIVE,
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        int result = seccomp_arch_add(ctx, others[i]);
        if (result < 0 && result != -EEXIST)
            return result;
    }
    return 0;
}

static int fill(scmp_filter_ctx ctx, bool no_new_privs)
{
    int result = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, no_new_privs);
    if (result == 0)
        result = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
    if (result == 0)
        result = add_architectures(ctx);
    for (size_t i = 0; result == 0 && i < ARRAY_LEN(rules); i++)
        result = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EPERM), rules[i].call, rules[i].n,
                                        rules[i].when);
    return result;
}

int filter_install(enum filter_mode mode, struct err *err)
{
    if (mode == FILTER_OFF)
        return 0;
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (ctx == NULL)
        return err_set(err, 0, ENOMEM, "system call filter: out of memory");
    int result = fill(ctx, mode == FILTER_ON);
    if (result == 0)
        result = seccomp_load(ctx);
    seccomp_release(ctx);
    if (result == 0)
        return 1;
    return mode == FILTER_AUTO ? 0 : err_sys(err, 0, -result, "install the system call filter");
}
