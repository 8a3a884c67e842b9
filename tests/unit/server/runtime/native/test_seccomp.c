/* The compiled filter is run by a small interpreter: every row of the tables, and the rows that matter most by name. */
#include "server/runtime/native/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "server/runtime/native/seccomp_rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct seccomp_filter filter;

/* Classic BPF as far as seccomp programs use it. */
static uint32_t run(const struct sock_fprog *program, const struct seccomp_data *data)
{
    uint32_t a = 0;
    for (unsigned pc = 0; pc < program->len; pc++) {
        const struct sock_filter *in = &program->filter[pc];
        bool jump;
        switch (in->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            memcpy(&a, (const char *)data + in->k, sizeof(a));
            continue;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= in->k;
            continue;
        case BPF_JMP | BPF_JA:
            pc += in->k;
            continue;
        case BPF_JMP | BPF_JEQ | BPF_K:
            jump = a == in->k;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            jump = a > in->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            jump = a >= in->k;
            break;
        case BPF_RET | BPF_K:
            return in->k;
        default:
            fail_msg("instruction %#x is not one of seccomp's", in->code);
            return 0;
        }
        pc += jump ? in->jt : in->jf;
    }
    fail_msg("the program runs off its end");
    return 0;
}

enum { ALLOWED = 0, KILLED = -1 };

/* What the kernel makes of both programs: the stricter answer, as an errno. */
static int answer_data(const struct seccomp_data *data)
{
    int worst = ALLOWED;
    for (int i = 0; i < SECCOMP_PROGRAMS; i++) {
        uint32_t action = run(&filter.program[i], data);
        if ((action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_KILL_PROCESS)
            return KILLED;
        if ((action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO && worst == ALLOWED)
            worst = (int)(action & SECCOMP_RET_DATA);
        else if ((action & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ERRNO)
            assert_int_equal(action, SECCOMP_RET_ALLOW);
    }
    return worst;
}

static int answer(long number, uint64_t a0, uint64_t a1, uint64_t a2)
{
    struct seccomp_data data = {.nr = (int)number, .arch = AUDIT_ARCH_X86_64, .args = {a0, a1, a2}};
    return answer_data(&data);
}

static int compile(void **state)
{
    struct err err = {0};
    (void)state;
    return seccomp_compile(false, &filter, &err);
}

static int release(void **state)
{
    (void)state;
    seccomp_filter_done(&filter);
    return 0;
}

static void test_every_allowed_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < seccomp_n_allowed; i++) {
        int number = seccomp_syscall_resolve_name(seccomp_allowed[i]);
        if (number < 0) /* newer than libseccomp */
            continue;
        /* socketpair and socket have a refused family at 0: their allowed one is 1. */
        if (answer(number, 1, 2, 0) != ALLOWED && answer(number, 0, 2, 0) != ALLOWED)
            fail_msg("%s is not allowed", seccomp_allowed[i]);
    }
}

static void test_every_denied_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < seccomp_n_denied; i++) {
        int number = seccomp_syscall_resolve_name(seccomp_denied[i]);
        if (number >= 0 && answer(number, 0, 0, 0) != EPERM)
            fail_msg("%s is not refused", seccomp_denied[i]);
    }
}

static void test_no_row_is_in_both_tables(void **state)
{
    (void)state;
    for (size_t i = 0; i < seccomp_n_denied; i++)
        for (size_t j = 0; j < seccomp_n_allowed; j++)
            assert_string_not_equal(seccomp_denied[i], seccomp_allowed[j]);
}

/* With isolated sessions: these and namespaces by clone, and nothing else. */
static void test_what_isolation_grants(void **state)
{
    struct seccomp_filter plain = filter, granting = {0};
    struct err err = {0};
    (void)state;
    assert_int_equal(seccomp_compile(true, &granting, &err), 0);
    for (size_t i = 0; i < seccomp_n_denied; i++) {
        int number = seccomp_syscall_resolve_name(seccomp_denied[i]);
        bool granted = false;
        for (size_t j = 0; j < seccomp_n_granted; j++)
            granted |= strcmp(seccomp_granted[j], seccomp_denied[i]) == 0;
        filter = granting;
        if (number >= 0 && answer(number, 0, 0, 0) != (granted ? (int)ALLOWED : EPERM))
            fail_msg("%s is not as it should be", seccomp_denied[i]);
    }
    assert_int_equal(answer(SYS_clone, CLONE_NEWPID, 0, 0), ALLOWED);
    assert_int_equal(answer(SYS_clone3, 0, 0, 0), ENOSYS);
    assert_int_equal(answer(SYS_ptrace, 0, 0, 0), EPERM);
    filter = plain;
    assert_int_equal(answer(SYS_clone, CLONE_NEWPID, 0, 0), EPERM);
    seccomp_filter_done(&granting);
}

static void test_unknown_calls_do_not_exist(void **state)
{
    (void)state;
    assert_int_equal(answer(SYS_clone3, 0, 0, 0), ENOSYS);
    for (long number = 480; number < 600; number++)
        assert_int_equal(answer(number, 0, 0, 0), ENOSYS);
}

static void test_L15_foreign_entries_kill(void **state)
{
    struct seccomp_data i386 = {.nr = 20, .arch = AUDIT_ARCH_I386};
    (void)state;
    assert_int_equal(answer_data(&i386), KILLED);
    assert_int_equal(answer(0x40000000 | SYS_getpid, 0, 0, 0), KILLED);
}

static void test_L12_clone_flags(void **state)
{
    static const uint64_t refused[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                       CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        assert_int_equal(answer(SYS_clone, refused[i] | SIGCHLD, 0, 0), EPERM);
    assert_int_equal(answer(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0), ALLOWED);
    assert_int_equal(answer(SYS_clone, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_THREAD, 0, 0),
                     ALLOWED);
}

static void test_L16_socket_families(void **state)
{
    (void)state;
    for (uint64_t family = 0; family < 64; family++) {
        bool allowed =
            family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
        assert_int_equal(answer(SYS_socket, family, SOCK_DGRAM, 0), allowed ? ALLOWED : EPERM);
        assert_int_equal(answer(SYS_socket, family | UINT64_C(1) << 32, SOCK_DGRAM, 0), EPERM);
        assert_int_equal(answer(SYS_socketpair, family, SOCK_DGRAM, 0),
                         family == AF_UNIX ? ALLOWED : EPERM);
    }
    assert_int_equal(answer(SYS_socket, AF_NETLINK, SOCK_RAW, 9), EPERM);
}

static void test_A10_limits_of_others(void **state)
{
    (void)state;
    assert_int_equal(answer(SYS_prlimit64, 1, RLIMIT_CPU, 0x1000), EPERM);
    assert_int_equal(answer(SYS_prlimit64, 0, RLIMIT_CPU, 0x1000), ALLOWED);
    assert_int_equal(answer(SYS_prlimit64, 7, RLIMIT_CPU, 0), ALLOWED);
}

static void test_A11_priority_of_init(void **state)
{
    (void)state;
    for (int high = 0; high <= 1; high++) {
        uint64_t one = 1 | (uint64_t)high << 35;
        assert_int_equal(answer(SYS_sched_setaffinity, one, 0, 0), EPERM);
        assert_int_equal(answer(SYS_sched_setscheduler, one, 0, 0), EPERM);
        assert_int_equal(answer(SYS_setpriority, PRIO_PROCESS, one, 0), EPERM);
        assert_int_equal(answer(SYS_ioprio_set, 1, one, 0), EPERM);
    }
    assert_int_equal(answer(SYS_sched_setaffinity, 0, 0, 0), ALLOWED);
    assert_int_equal(answer(SYS_setpriority, PRIO_PROCESS, 0, 0), ALLOWED);
    assert_int_equal(answer(SYS_setpriority, PRIO_USER, 0, 0), EPERM);
}

static void test_terminal_injection(void **state)
{
    (void)state;
    assert_int_equal(answer(SYS_ioctl, 0, TIOCSTI, 0), EPERM);
    assert_int_equal(answer(SYS_ioctl, 0, TIOCSTI | UINT64_C(1) << 32, 0), EPERM);
    assert_int_equal(answer(SYS_ioctl, 0, TIOCLINUX, 0), EPERM);
    assert_int_equal(answer(SYS_ioctl, 0, TIOCGWINSZ, 0), ALLOWED);
}

static void test_personality(void **state)
{
    (void)state;
    assert_int_equal(answer(SYS_personality, 0xffffffff, 0, 0), ALLOWED);
    assert_int_equal(answer(SYS_personality, 0x0400000, 0, 0), ENOSYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allowed_row),
        cmocka_unit_test(test_every_denied_row),
        cmocka_unit_test(test_no_row_is_in_both_tables),
        cmocka_unit_test(test_what_isolation_grants),
        cmocka_unit_test(test_unknown_calls_do_not_exist),
        cmocka_unit_test(test_L15_foreign_entries_kill),
        cmocka_unit_test(test_L12_clone_flags),
        cmocka_unit_test(test_L16_socket_families),
        cmocka_unit_test(test_A10_limits_of_others),
        cmocka_unit_test(test_A11_priority_of_init),
        cmocka_unit_test(test_terminal_injection),
        cmocka_unit_test(test_personality),
    };
    return cmocka_run_group_tests(tests, compile, release);
}
