#include "server/runtime/native/seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/fd.h"
#include "server/runtime/native/seccomp_rules.h"

#define PROGRAM_MAX (4096 * sizeof(struct sock_filter)) /* the kernel's limit: BPF_MAXINSNS */

/* libseccomp does not know calls that are newer than itself: unnamed they answer ENOSYS anyway. */
static bool is_granted(const char *name)
{
    for (size_t i = 0; i < seccomp_n_granted; i++)
        if (strcmp(seccomp_granted[i], name) == 0)
            return true;
    return false;
}

/* skip_granted: without those of seccomp_granted. */
static int add_plain(scmp_filter_ctx ctx, const char *const *names, size_t n, bool skip_granted,
                     uint32_t action, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (skip_granted && is_granted(names[i]))
            continue;
        int number = seccomp_syscall_resolve_name(names[i]);
        if (number == __NR_SCMP_ERROR)
            continue;
        int rc = seccomp_rule_add(ctx, action, number, 0);
        if (rc < 0 && rc != -EEXIST && rc != -EDOM)
            return err_sys(err, 0, -rc, "seccomp rule for '%s'", names[i]);
    }
    return 0;
}

/* Adds the rows that belong to one of the two programs. */
static int add_rules(scmp_filter_ctx ctx, bool isolation, bool deny, struct err *err)
{
    for (size_t i = 0; i < seccomp_n_rules; i++) {
        const struct seccomp_rule *rule = &seccomp_rules[i];
        struct scmp_arg_cmp cmp[ARRAY_LEN(rule->cmp)];
        unsigned n = 0;
        if (rule->deny != deny || (rule->unless_granted && isolation))
            continue;
        for (; n < ARRAY_LEN(rule->cmp) && rule->cmp[n].op != 0; n++)
            cmp[n] = (struct scmp_arg_cmp){.arg = rule->cmp[n].arg,
                                           .op = (enum scmp_compare)rule->cmp[n].op,
                                           .datum_a = rule->cmp[n].a,
                                           .datum_b = rule->cmp[n].b};
        int number = seccomp_syscall_resolve_name(rule->name);
        int rc = number == __NR_SCMP_ERROR
                     ? -EINVAL
                     : seccomp_rule_add_array(ctx, deny ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_ALLOW,
                                              number, n, cmp);
        if (rc < 0)
            return err_sys(err, 0, -rc, "seccomp rule %zu for '%s'", i, rule->name);
    }
    return 0;
}

/* The exported program through a memory file: libseccomp writes to descriptors only. */
static int export_bpf(scmp_filter_ctx ctx, struct sock_fprog *program, struct err *err)
{
    cleanup_fd int fd = memfd_create("seccomp", MFD_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return err_sys(err, 0, errno, "memfd_create");
    int rc = seccomp_export_bpf(ctx, fd);
    if (rc < 0 || fstat(fd, &st) < 0)
        return err_sys(err, 0, rc < 0 ? -rc : errno, "export the seccomp program");
    size_t size = (size_t)st.st_size;
    if (size == 0 || size > PROGRAM_MAX || size % sizeof(struct sock_filter) != 0)
        return err_set(err, 0, EINVAL, "the seccomp program has an odd size of %zu bytes", size);
    cleanup_free struct sock_filter *filter = malloc(size);
    if (filter == NULL || lseek(fd, 0, SEEK_SET) < 0 ||
        fd_read_full(fd, filter, size) != (ssize_t)size)
        return err_sys(err, 0, EIO, "read the seccomp program");
    program->len = (unsigned short)(size / sizeof(struct sock_filter));
    program->filter = take_ptr(&filter);
    return 0;
}

static int compile(bool isolation, bool deny, struct sock_fprog *ret_program, struct err *err)
{
    scmp_filter_ctx ctx = seccomp_init(deny ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS));

    if (ctx == NULL)
        return err_set(err, 0, ENOMEM, "libseccomp cannot start a filter");
    /* A binary tree over the numbers: about ten comparisons per call instead of three hundred. */
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, deny ? 1 : 2);
    if (rc == 0)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc < 0)
        (void)err_sys(err, 0, -rc, "set up the seccomp filter");
    if (rc == 0 && !deny)
        rc = add_plain(ctx, seccomp_allowed, seccomp_n_allowed, false, SCMP_ACT_ALLOW, err);
    if (rc == 0 && !deny && isolation)
        rc = add_plain(ctx, seccomp_granted, seccomp_n_granted, false, SCMP_ACT_ALLOW, err);
    if (rc == 0 && !deny)
        rc =
            add_plain(ctx, seccomp_denied, seccomp_n_denied, isolation, SCMP_ACT_ERRNO(EPERM), err);
    if (rc == 0)
        rc = add_rules(ctx, isolation, deny, err);
    if (rc == 0)
        rc = export_bpf(ctx, ret_program, err);
    seccomp_release(ctx);
    return rc;
}

int seccomp_compile(bool isolation, struct seccomp_filter *ret_filter, struct err *err)
{
    struct seccomp_filter filter = {0};

    for (int i = 0; i < SECCOMP_PROGRAMS; i++) {
        int rc = compile(isolation, i == 1, &filter.program[i], err);
        if (rc < 0) {
            seccomp_filter_done(&filter);
            return rc;
        }
    }
    *ret_filter = filter;
    return 0;
}

void seccomp_filter_done(struct seccomp_filter *filter)
{
    for (int i = 0; i < SECCOMP_PROGRAMS; i++) {
        free(filter->program[i].filter);
        filter->program[i] = (struct sock_fprog){0};
    }
}

int seccomp_load_filter(const struct seccomp_filter *filter)
{
    /* The one with the list last: it has no seccomp-relevant gap, the first allows everything it does not name. */
    for (int i = SECCOMP_PROGRAMS - 1; i >= 0; i--) {
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter->program[i]) < 0)
            return -errno;
    }
    return 0;
}
