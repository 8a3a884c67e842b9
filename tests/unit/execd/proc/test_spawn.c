/* Spawning and reaping: what a child gets, what a failure says, every status to whom it belongs. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/proc/leaf.h"
#include "execd/proc/leaf_priv.h"
#include "execd/proc/reaper.h"
#include "execd/proc/spawn.h"
#include "execd/proc/tree.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"

static struct event_base *base;
static const char *const env[] = {"PATH=/usr/bin:/bin", "A=b c", NULL};

struct end {
    bool told;
    struct exit_status status;
};

static void on_exit_told(void *arg, const struct exit_status *status)
{
    struct end *end = arg;
    assert_false(end->told);
    end->told = true;
    end->status = *status;
}

static void wait_told(const struct end *end)
{
    for (int i = 0; i < 1000 && !end->told; i++) {
        struct timeval tv = {.tv_usec = 10000};
        event_base_loopexit(base, &tv);
        event_base_dispatch(base);
    }
    assert_true(end->told);
}

static int setup(void **state)
{
    struct err err;
    (void)state;
    base = event_base_new();
    leaf_setup(NULL);
    return reaper_init(base, &err);
}

static int teardown(void **state)
{
    (void)state;
    reaper_done();
    leaf_teardown();
    event_base_free(base);
    return 0;
}

/* A plan for sh -c script, output to out_fd. */
static void shell_plan(struct spawn_plan *plan, const char *const *argv, int out_fd)
{
    plan_init(plan);
    plan->file = "/bin/sh";
    plan->argv = argv;
    plan->envp = env;
    plan->fds[plan->n_fds++] = (struct plan_fd){-1, 0};
    plan->fds[plan->n_fds++] = (struct plan_fd){out_fd, 1};
    plan->fds[plan->n_fds++] = (struct plan_fd){out_fd, 2};
}

static pid_t run_shell(const char *script, void (*change)(struct spawn_plan *), char *out,
                       size_t size)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct spawn_plan plan;
    struct pidref child;
    struct err err = {.text = ""};
    int fds[2];
    assert_int_equal(fd_pipe(fds), 0);
    shell_plan(&plan, argv, fds[1]);
    if (change != NULL)
        change(&plan);
    if (spawn_process(&plan, &child, &err) < 0)
        fail_msg("%s", err.text);
    close(fds[1]);
    ssize_t n = fd_read_full(fds[0], out, size - 1);
    assert_true(n >= 0);
    out[n] = '\0';
    close(fds[0]);
    struct end end = {0};
    reaper_watch(child.pid, on_exit_told, &end);
    wait_told(&end);
    assert_int_equal(end.status.code, 0);
    pid_t pid = child.pid;
    pidref_done(&child);
    return pid;
}

static void test_child_gets_exactly_the_plan(void **state)
{
    char out[4096], expected[64];
    (void)state;
    pid_t pid =
        run_shell("echo \"$A\"; pwd; umask; cut -d' ' -f5,6 /proc/$$/stat; cat; env | wc -l", NULL,
                  out, sizeof(out));
    snprintf(expected, sizeof(expected), "b c\n/\n0022\n%d %d\n", pid, pid);
    assert_int_equal(strncmp(out, expected, strlen(expected)), 0);
    assert_true(atoi(out + strlen(expected)) <=
                4); /* ours and what sh itself adds: PWD, OLDPWD, _ */
}

static void test_A22_no_descriptor_leaks(void **state)
{
    char out[4096];
    int leaked = open("/dev/null", O_RDONLY); /* not CLOEXEC on purpose */
    (void)state;
    run_shell("exec ls /proc/self/fd", NULL, out, sizeof(out));
    assert_string_equal(out, "0\n1\n2\n3\n");
    close(leaked);
}

static void swap_targets(struct spawn_plan *plan)
{
    /* Sources that are each other's targets, and one far up. */
    static int pair[2];
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    plan->fds[plan->n_fds++] = (struct plan_fd){pair[0], pair[1]};
    plan->fds[plan->n_fds++] = (struct plan_fd){pair[1], pair[0]};
    plan->fds[plan->n_fds++] = (struct plan_fd){-1, 200};
}

static void test_descriptors_may_trade_places(void **state)
{
    char out[4096];
    (void)state;
    run_shell("readlink /proc/self/fd/200", swap_targets, out, sizeof(out));
    assert_string_equal(out, "/dev/null\n");
}

static void test_A23_signals_are_reset(void **state)
{
    char out[8192];
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    run_shell("exec cat /proc/self/status", NULL, out, sizeof(out));
    assert_non_null(strstr(out, "SigBlk:\t0000000000000000"));
    assert_non_null(strstr(out, "SigIgn:\t0000000000000000"));
}

static void limits(struct spawn_plan *plan)
{
    plan->nice = 5;
    plan->oom_score_adj = 100;
    plan->no_new_privs = true;
    plan->umask = 077;
    plan->cwd = "/tmp";
}

static void test_attributes_are_set(void **state)
{
    char out[4096];
    struct rlimit nofile = {.rlim_cur = 123, .rlim_max = 456};
    (void)state;
    spawn_set_nofile(&nofile);
    run_shell("nice; cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status; umask; pwd; "
              "ulimit -n",
              limits, out, sizeof(out));
    assert_string_equal(out, "5\n100\nNoNewPrivs:\t1\n0077\n/tmp\n123\n");
}

static void other_user(struct spawn_plan *plan)
{
    plan->switch_user = true;
    plan->uid = 4242;
    plan->gid = 4343;
    plan->groups[0] = 4343;
    plan->groups[1] = 50;
    plan->n_groups = 2;
}

static void test_B12_user_is_switched_completely(void **state)
{
    char out[8192];
    (void)state;
    if (geteuid() != 0)
        skip();
    run_shell("exec cat /proc/self/status", other_user, out, sizeof(out));
    assert_non_null(strstr(out, "Uid:\t4242\t4242\t4242\t4242"));
    assert_non_null(strstr(out, "Gid:\t4343\t4343\t4343\t4343"));
    assert_non_null(strstr(out, "Groups:\t50 4343"));
    assert_non_null(strstr(out, "CapEff:\t0000000000000000"));
}

static void test_failures_name_their_step(void **state)
{
    static const char *const argv[] = {"name", NULL};
    static const char *const nowhere[] = {"/nowhere/name", "/neither/name", NULL};
    static const char *const denied[] = {"/nowhere/name", "/etc/passwd", "/neither/name", NULL};
    const struct {
        const char *file, *cwd;
        const char *const *candidates;
        int errnum;
        const char *text;
    } rows[] = {
        {"/nowhere", NULL, NULL, ENOENT, "exec '/nowhere': No such file"},
        {"/etc/passwd", NULL, NULL, EACCES, "exec '/etc/passwd': Permission denied"},
        {"/tmp", NULL, NULL, EACCES, "exec '/tmp'"},
        {NULL, NULL, nowhere, ENOENT, "exec 'name': No such file"},
        {NULL, NULL, denied, EACCES, "exec '/etc/passwd': Permission denied"},
        {"/bin/true", "/nowhere", NULL, ENOENT, "change directory to '/nowhere'"},
        {"/bin/true", "/etc/passwd", NULL, ENOTDIR, "change directory to '/etc/passwd'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct spawn_plan plan;
        struct pidref child = PIDREF_UNSET;
        struct err err = {.text = ""};
        plan_init(&plan);
        plan.file = rows[i].file;
        plan.candidates = rows[i].candidates;
        plan.argv = argv;
        plan.envp = env;
        plan.cwd = rows[i].cwd;
        assert_int_equal(spawn_process(&plan, &child, &err), -rows[i].errnum);
        if (strstr(err.text, rows[i].text) == NULL)
            fail_msg("row %zu: %s", i, err.text);
        assert_false(pidref_is_set(&child));
    }
}

static pid_t spawn_only(const char *script, struct pidref *ret_child)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct spawn_plan plan;
    struct err err;
    shell_plan(&plan, argv, -1);
    assert_int_equal(spawn_process(&plan, ret_child, &err), 0);
    return ret_child->pid;
}

static void test_B07_codes_and_signals(void **state)
{
    (void)state;
    for (int i = 0; i < 256; i += 15) {
        char script[32];
        struct pidref child;
        struct end end = {0};
        snprintf(script, sizeof(script), "exit %d", i);
        reaper_watch(spawn_only(script, &child), on_exit_told, &end);
        wait_told(&end);
        assert_false(end.status.signalled);
        assert_int_equal(end.status.code, i);
        assert_int_equal(pidref_signal(&child, SIGKILL), -ESRCH);
        pidref_done(&child);
    }
    for (int signum = 1; signum < 32; signum++) {
        char script[32];
        struct pidref child;
        struct end end = {0};
        if (signum == SIGCHLD || signum == SIGCONT || signum == SIGURG || signum == SIGWINCH ||
            signum == SIGSTOP || signum == SIGTSTP || signum == SIGTTIN || signum == SIGTTOU)
            continue; /* do not end a process */
        snprintf(script, sizeof(script), "kill -%d $$", signum);
        reaper_watch(spawn_only(script, &child), on_exit_told, &end);
        wait_told(&end);
        assert_true(end.status.signalled);
        assert_int_equal(end.status.code, signum);
        pidref_done(&child);
    }
}

static void test_a_late_watcher_gets_the_status(void **state)
{
    struct pidref child;
    struct end end = {0};
    (void)state;
    pid_t pid = spawn_only("exit 9", &child);
    while (reaper_run())
        ;
    reaper_watch(pid, on_exit_told, &end);
    assert_false(end.told); /* never from inside reaper_watch */
    wait_told(&end);
    assert_int_equal(end.status.code, 9);
    pidref_done(&child);
}

static void test_a_forgotten_watcher_is_not_told(void **state)
{
    struct pidref child;
    struct end end = {0};
    (void)state;
    uint64_t before = reaper_count();
    reaper_watch(spawn_only("exit 0", &child), on_exit_told, &end);
    reaper_forget(child.pid);
    while (reaper_run())
        ;
    assert_false(end.told);
    assert_int_equal(reaper_count(), before + 1);
    pidref_done(&child);
}

static void test_kept_statuses_are_bounded_and_orphans_do_not_push_them_out(void **state)
{
    struct pidref child, other;
    struct end end = {0};
    (void)state;
    pid_t pid = spawn_only("exit 11", &child);
    while (reaper_run())
        ;
    /* 1,500 orphans come by: they are ours as subreaper, and nobody's business. */
    spawn_only("i=0; while [ $i -lt 1500 ]; do (true &); i=$((i+1)); done", &other);
    while (reaper_run())
        ;
    reaper_watch(pid, on_exit_told, &end);
    wait_told(&end);
    assert_int_equal(end.status.code, 11);
    pidref_done(&child);
    pidref_done(&other);
}

static void test_rusage_is_of_the_child(void **state)
{
    struct pidref child;
    struct end end = {0};
    (void)state;
    reaper_watch(spawn_only("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done", &child),
                 on_exit_told, &end);
    wait_told(&end);
    assert_true(end.status.rusage.ru_utime.tv_sec * 1000000 + end.status.rusage.ru_utime.tv_usec >
                0);
    assert_true(end.status.rusage.ru_maxrss > 0);
    pidref_done(&child);
}

static void test_status_texts(void **state)
{
    static const struct {
        struct exit_status status;
        const char *text;
    } rows[] = {
        {{.code = 3}, "exit status 3"},
        {{.signalled = true, .code = SIGKILL}, "signal: killed"},
        {{.signalled = true, .code = SIGTERM}, "signal: terminated"},
        {{.signalled = true, .code = SIGSEGV, .core = true},
         "signal: segmentation fault (core dumped)"},
        {{.signalled = true, .code = 40}, "signal: signal 40"},
    };
    char buf[EXIT_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        exit_status_text(&rows[i].status, buf, sizeof(buf));
        assert_string_equal(buf, rows[i].text);
    }
    for (int signum = 1; signum <= 31; signum++) {
        struct exit_status status = {.signalled = true, .code = signum};
        exit_status_text(&status, buf, sizeof(buf));
        assert_null(strstr(buf, "(null)"));
    }
}

/* ---- leaves without a cgroup ---- */

static void test_B01_daemons_are_found_by_their_tag(void **state)
{
    const char *const argv[] = {
        "sh", "-c",
        "(setsid sh -c 'setsid sleep 1000 & exec sleep 1000' &); nohup sleep 1000 & exit 0", NULL};
    struct spawn_plan plan;
    struct pidref child;
    struct leaf *leaf, *other;
    struct err err;
    struct end end = {0};
    (void)state;
    assert_int_equal(leaf_new("one", &leaf, &err), 0);
    assert_int_equal(leaf_new("two", &other, &err), 0);
    shell_plan(&plan, argv, -1);
    leaf_add_to_plan(leaf, &plan);
    assert_int_equal(spawn_process(&plan, &child, &err), 0);
    leaf_set_leader(leaf, child.pid);
    reaper_watch(child.pid, on_exit_told, &end);
    wait_told(&end);
    for (int i = 0; i < 500 && leaf_signal(leaf, 0) < 3; i++)
        usleep(10000);
    assert_int_equal(leaf_signal(leaf, 0), 3);
    assert_true(leaf_is_empty(other));
    assert_false(leaf_is_empty(leaf));
    for (int i = 0; i < 500 && !leaf_kill(leaf); i++)
        usleep(1000);
    assert_true(leaf_is_empty(leaf));
    while (reaper_run())
        ;
    pidref_done(&child);
    leaf_free(leaf);
    leaf_free(other);
}

static void test_tags_of_different_processes_never_meet(void **state)
{
    int fds[2];
    uint64_t ours[64], theirs[64];
    (void)state;
    assert_int_equal(fd_pipe(fds), 0);
    for (size_t i = 0; i < 64; i++) {
        ours[i] = tree_new_tag();
        assert_true(ours[i] >= UINT64_C(1) << 39);
    }
    /* Another execd begins from the same state: fork is the nearest thing. */
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < 64; i++)
            theirs[i] = tree_new_tag();
        _exit(write(fds[1], theirs, sizeof(theirs)) == (ssize_t)sizeof(theirs) ? 0 : 1);
    }
    assert_int_equal(fd_read_full(fds[0], theirs, sizeof(theirs)), sizeof(theirs));
    for (size_t i = 0; i < 64; i++)
        for (size_t j = 0; j < 64; j++) {
            assert_true(ours[i] != theirs[j]);
            assert_true(i == j || ours[i] != ours[j]);
        }
    close(fds[0]);
    close(fds[1]);
    while (reaper_run())
        ;
}

static void test_tags_of_what_a_command_forks_for_us_are_below_its_own(void **state)
{
    uint64_t tag = tree_new_tag();
    (void)state;
    for (int i = 0; i < 10000; i++) {
        uint64_t below = tree_new_tag_below(tag);
        assert_true(below < tag && below != TREE_NO_TAG);
        tag = below;
    }
    assert_int_equal(tree_new_tag_below(1), TREE_NO_TAG);
    assert_int_equal(tree_new_tag_below(TREE_NO_TAG), TREE_NO_TAG);
}

static void test_B02_a_forking_crowd_dies(void **state)
{
    const char *const argv[] = {"sh", "-c", "f() { (f) & (sleep 1000) & sleep 0.05; }; f", NULL};
    struct spawn_plan plan;
    struct pidref child;
    struct leaf *leaf;
    struct err err;
    (void)state;
    assert_int_equal(leaf_new("crowd", &leaf, &err), 0);
    shell_plan(&plan, argv, -1);
    leaf_add_to_plan(leaf, &plan);
    assert_int_equal(spawn_process(&plan, &child, &err), 0);
    leaf_set_leader(leaf, child.pid);
    usleep(100000);
    int tries = 0;
    while (!leaf_kill(leaf) && tries++ < 2000)
        usleep(1000);
    assert_true(leaf_is_empty(leaf));
    usleep(20000);
    assert_true(leaf_is_empty(leaf));
    while (reaper_run())
        ;
    pidref_done(&child);
    leaf_free(leaf);
}

static void test_reserve_of_limits(void **state)
{
    (void)state;
    assert_int_equal(leaf_reserve(1ULL << 30, 8 << 20), (1ULL << 30) - (8 << 20));
    assert_int_equal(leaf_reserve(16 << 20, 8 << 20), 14 << 20);
    assert_int_equal(leaf_reserve(100, 8), 92);
    assert_int_equal(leaf_reserve(0, 8), 0);
    assert_int_equal(leaf_reserve(UINT64_MAX, 8), 0);
    assert_int_equal(leaf_reserve(9223372036854771712ULL, 8), 0);
}

static void test_pid_lists(void **state)
{
    (void)state;
    assert_true(leaf_list_has("12\n345\n6\n", 12));
    assert_true(leaf_list_has("12\n345\n6\n", 345));
    assert_true(leaf_list_has("12\n345\n6\n", 6));
    assert_false(leaf_list_has("12\n345\n6\n", 45));
    assert_false(leaf_list_has("12\n345\n6\n", 34));
    assert_false(leaf_list_has("", 1));
}

static void test_names_are_resolved_by_absolute_entries(void **state)
{
    const char *const mixed[] = {"PATH=relative:/a:./b::/c/", NULL}, *const none[] = {
                                                                         "PATH=relative", NULL};
    const char *const *c;
    struct arena arena;
    struct err err;
    (void)state;
    arena_init(&arena);
    assert_int_equal(spawn_resolve("ls", mixed, "/w", &arena, &c, &err), 0);
    assert_string_equal(c[0], "/a/ls");
    assert_string_equal(c[1], "/c//ls");
    assert_null(c[2]);
    assert_int_equal(spawn_resolve("./ls", mixed, "/w", &arena, &c, &err), 0);
    assert_string_equal(c[0], "/w/./ls");
    assert_null(c[1]);
    assert_int_equal(spawn_resolve("/x/ls", mixed, "/w", &arena, &c, &err), 0);
    assert_string_equal(c[0], "/x/ls");
    assert_int_equal(spawn_resolve("ls", none, "/w", &arena, &c, &err), -ENOENT);
    assert_int_equal(spawn_resolve("", mixed, "/w", &arena, &c, &err), -ENOENT);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child_gets_exactly_the_plan),
        cmocka_unit_test(test_A22_no_descriptor_leaks),
        cmocka_unit_test(test_descriptors_may_trade_places),
        cmocka_unit_test(test_A23_signals_are_reset),
        cmocka_unit_test(test_B12_user_is_switched_completely),
        cmocka_unit_test(test_failures_name_their_step),
        cmocka_unit_test(test_B07_codes_and_signals),
        cmocka_unit_test(test_a_late_watcher_gets_the_status),
        cmocka_unit_test(test_a_forgotten_watcher_is_not_told),
        cmocka_unit_test(test_kept_statuses_are_bounded_and_orphans_do_not_push_them_out),
        cmocka_unit_test(test_rusage_is_of_the_child),
        cmocka_unit_test(test_status_texts),
        cmocka_unit_test(test_B01_daemons_are_found_by_their_tag),
        cmocka_unit_test(test_tags_of_different_processes_never_meet),
        cmocka_unit_test(test_tags_of_what_a_command_forks_for_us_are_below_its_own),
        cmocka_unit_test(test_B02_a_forking_crowd_dies),
        cmocka_unit_test(test_reserve_of_limits),
        cmocka_unit_test(test_pid_lists),
        cmocka_unit_test(test_names_are_resolved_by_absolute_entries),
        cmocka_unit_test(test_attributes_are_set),
    };
    return cmocka_run_group_tests_name("spawn", tests, setup, teardown);
}
