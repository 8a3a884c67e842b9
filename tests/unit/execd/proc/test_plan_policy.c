/* Policies as children feel them: each part with something that still works and something that does not. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/harden/caps.h"
#include "execd/harden/landlock.h"
#include "execd/harden/profile.h"
#include "execd/proc/plan_policy.h"
#include "execd/proc/reaper.h"
#include "execd/proc/spawn.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"

static struct event_base *base;
static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};

static int setup(void **state)
{
    struct err err;
    (void)state;
    base = event_base_new();
    return reaper_init(base, &err);
}

static int teardown(void **state)
{
    (void)state;
    reaper_done();
    event_base_free(base);
    return 0;
}

/* Runs the script under the policy; what it says on both outputs. */
static void run(const char *json_text, const char *script, char *out, size_t size)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct arena arena;
    struct policy policy;
    struct spawn_plan plan;
    struct pidref child;
    struct err err = {.text = ""};
    json_error_t where;
    int fds[2];
    cleanup_json json_t *json = json_loads(json_text, 0, &where);
    arena_init(&arena);
    assert_int_equal(fd_pipe(fds), 0);
    plan_init(&plan);
    plan.file = "/bin/sh";
    plan.argv = argv;
    plan.envp = env;
    plan.fds[plan.n_fds++] = (struct plan_fd){-1, 0};
    plan.fds[plan.n_fds++] = (struct plan_fd){fds[1], 1};
    plan.fds[plan.n_fds++] = (struct plan_fd){fds[1], 2};
    if (policy_decode(json, &arena, &policy, &err) < 0 ||
        policy_add_to_plan(&policy, &plan, &err) < 0 || spawn_process(&plan, &child, &err) < 0)
        fail_msg("%s", err.text);
    policy_remove_from_plan(&plan);
    assert_int_equal(plan.landlock_fd, -1);
    close(fds[1]);
    ssize_t n = fd_read_full(fds[0], out, size - 1);
    assert_true(n >= 0);
    out[n] = '\0';
    close(fds[0]);
    while (reaper_run())
        ;
    pidref_done(&child);
    arena_done(&arena);
}

#define SYSTEM "\"exec\":[\"/usr\",\"/bin\",\"/lib\"],"

static void test_landlock_paths(void **state)
{
    char out[4096], json[512], script[512], folder[] = "/tmp/landlock-XXXXXX";
    (void)state;
    if (landlock_abi() < 1) {
        printf("no Landlock\n");
        skip();
    }
    assert_non_null(mkdtemp(folder));
    snprintf(json, sizeof(json),
             "{\"landlock\":{" SYSTEM "\"ro\":[\"/etc/passwd\",\"/dev\"],\"rw\":[\"%s\"]}}",
             folder);
    snprintf(script, sizeof(script),
             "cat /etc/passwd >/dev/null 2>&1 || echo >&2; cat /etc/passwd | wc -l >%s/n && echo "
             "written; "
             "cat /etc/group; ls /; echo x >/etc/landlock-test; "
             "cp /bin/true %s/t; %s/t || echo no exec",
             folder, folder, folder);
    run(json, script, out, sizeof(out));
    assert_non_null(strstr(out, "written\n"));
    assert_non_null(strstr(out, "/etc/group: Permission denied"));
    assert_non_null(strstr(out, "Permission denied"));
    assert_non_null(strstr(out, "no exec\n"));
    assert_int_equal(access("/etc/landlock-test", F_OK), -1);
    snprintf(script, sizeof(script), "%s/n", folder);
    assert_int_equal(access(script, F_OK), 0);
    assert_int_equal(unlink(script), 0);
    snprintf(script, sizeof(script), "%s/t", folder);
    assert_int_equal(unlink(script), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void test_landlock_without_path_lists_leaves_files_alone(void **state)
{
    char out[4096];
    (void)state;
    if (landlock_abi() < LANDLOCK_ABI_NET) {
        printf("Landlock without TCP rules\n");
        skip();
    }
    run("{\"landlock\":{\"tcp_connect\":[]}}",
        "head -c4 /etc/passwd >/dev/null && echo read; "
        "python3 -c 'import socket\n"
        "try: socket.create_connection((\"127.0.0.1\", 9))\n"
        "except OSError as e: print(e.errno)\n"
        "s = socket.socket(); s.bind((\"127.0.0.1\", 0)); print(\"bound\")'",
        out, sizeof(out));
    assert_string_equal(out, "read\n13\nbound\n");
    run("{\"landlock\":{\"tcp_bind\":[],\"tcp_connect\":[9]}}",
        "python3 -c 'import socket\n"
        "try: socket.create_connection((\"127.0.0.1\", 9))\n"
        "except OSError as e: print(e.errno)\n"
        "s = socket.socket()\n"
        "try: s.bind((\"127.0.0.1\", 0))\n"
        "except OSError as e: print(e.errno)'",
        out, sizeof(out));
    assert_string_equal(out, "111\n13\n");
}

static void test_landlock_scopes(void **state)
{
    char out[4096], script[256];
    (void)state;
    if (landlock_abi() < LANDLOCK_ABI_SCOPE) {
        printf("Landlock without scopes\n");
        skip();
    }
    snprintf(script, sizeof(script), "kill -0 %d; sleep 100 & kill $! && echo own", getpid());
    run("{\"landlock\":{\"scopes\":[\"signal\"]}}", script, out, sizeof(out));
    assert_non_null(strstr(out, "ot permitted"));
    assert_non_null(strstr(out, "own\n"));
    run("{\"landlock\":{\"scopes\":[\"abstract_unix_socket\"]}}", script, out, sizeof(out));
    assert_string_equal(out, "own\n");
}

static void test_limits_priority_and_privileges(void **state)
{
    char out[4096];
    (void)state;
    run("{\"rlimits\":{\"nofile\":4,\"core\":0,\"stack\":{\"soft\":1048576,\"hard\":2097152}},"
        "\"nice\":7,\"no_new_privs\":true}",
        "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -Ss; ulimit -Hs; nice; "
        "grep NoNewPrivs /proc/self/status",
        out, sizeof(out));
    assert_string_equal(out, "4\n4\n0\n1024\n2048\n7\nNoNewPrivs:\t1\n");
    run("{}", "nice; grep NoNewPrivs /proc/self/status", out, sizeof(out));
    assert_string_equal(out, "0\nNoNewPrivs:\t0\n");
}

static void test_capabilities_are_dropped(void **state)
{
    char out[8192];
    (void)state;
    if (!caps_have(8)) {
        printf("no CAP_SETPCAP\n");
        skip();
    }
    run("{\"drop_caps\":[\"chown\",\"net_raw\",\"setuid\"]}",
        "grep ^Cap /proc/self/status; chown 1:1 /tmp/. 2>&1 | grep -c permitted", out, sizeof(out));
    unsigned long long effective, bounding, inheritable, ambient;
    assert_non_null(strstr(out, "CapInh:"));
    sscanf(strstr(out, "CapInh:"), "CapInh: %llx", &inheritable);
    sscanf(strstr(out, "CapEff:"), "CapEff: %llx", &effective);
    sscanf(strstr(out, "CapBnd:"), "CapBnd: %llx", &bounding);
    sscanf(strstr(out, "CapAmb:"), "CapAmb: %llx", &ambient);
    uint64_t dropped = 1U << 0 | 1U << 13 | 1U << 7;
    assert_int_equal(inheritable | ambient, 0);
    assert_int_equal(effective & dropped, 0);
    assert_int_equal(bounding & dropped, 0);
    assert_int_equal(bounding, caps_bounding() & ~dropped);
    assert_non_null(strstr(out, "\n1\n"));
}

static const char probe[] =
    "python3 -c 'import ctypes, socket\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "def call(name, *a):\n"
    "    r = getattr(libc, name)(*a)\n"
    "    print(name, ctypes.get_errno() if r < 0 else \"fine\")\n"
    "call(\"unshare\", 0x10000000)\n"
    "call(\"ptrace\", 16, 1, 0, 0)\n"
    "for family in (\"AF_UNIX\", \"AF_INET\", \"AF_NETLINK\", \"AF_PACKET\"):\n"
    "    try: socket.socket(getattr(socket, family), socket.SOCK_RAW if family == \"AF_NETLINK\" "
    "else socket.SOCK_DGRAM); print(family, \"fine\")\n"
    "    except OSError as e: print(family, e.errno)\n"
    "import threading; t = threading.Thread(target=print, args=(\"thread\",)); t.start(); "
    "t.join()\n"
    "'; sh -c 'echo forked'; mkfifo /tmp/policy-fifo.$$ && rm /tmp/policy-fifo.$$";

static void test_seccomp_hardened(void **state)
{
    char out[4096];
    (void)state;
    run("{\"seccomp\":\"hardened\"}", probe, out, sizeof(out));
    assert_string_equal(out, "unshare 1\nptrace 1\nAF_UNIX fine\nAF_INET fine\nAF_NETLINK fine\n"
                             "AF_PACKET 1\nthread\nforked\n");
    run("{\"seccomp\":\"hardened\"}", "grep Seccomp: /proc/self/status", out, sizeof(out));
    assert_string_equal(out, "Seccomp:\t2\n");
}

static void test_network_none(void **state)
{
    char out[4096];
    (void)state;
    run("{\"network\":\"none\"}", probe, out, sizeof(out));
    assert_non_null(strstr(out, "AF_UNIX fine\nAF_INET 1\nAF_NETLINK 1\nAF_PACKET 1\n"));
    run("{\"network\":\"none\",\"seccomp\":\"hardened\"}", probe, out, sizeof(out));
    assert_string_equal(out, "unshare 1\nptrace 1\nAF_UNIX fine\nAF_INET 1\nAF_NETLINK 1\n"
                             "AF_PACKET 1\nthread\nforked\n");
}

static void test_what_cannot_be_is_refused_before_the_start(void **state)
{
    static const struct {
        const char *json;
        int code;
        const char *said;
    } rows[] = {
        {"{\"landlock\":{\"ro\":[\"/nowhere/at/all\"]}}", ERR_INVALID_REQUEST_BODY,
         "policy.landlock.ro: '/nowhere/at/all'"},
        {"{\"landlock\":{}}", ERR_INVALID_REQUEST_BODY, "nothing in it"},
        {"{\"rlimits\":{\"nofile\":1000000000}}", ERR_POLICY_UNSUPPORTED, "CAP_SYS_RESOURCE"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena;
        struct policy policy;
        struct spawn_plan plan;
        struct err err = {.text = ""};
        json_error_t where;
        cleanup_json json_t *json = json_loads(rows[i].json, 0, &where);
        if (rows[i].code == ERR_POLICY_UNSUPPORTED && caps_have(24))
            continue;
        if (strstr(rows[i].json, "nowhere") != NULL && landlock_abi() == 0)
            continue;
        arena_init(&arena);
        plan_init(&plan);
        assert_int_equal(policy_decode(json, &arena, &policy, &err), 0);
        assert_true(policy_add_to_plan(&policy, &plan, &err) < 0);
        assert_int_equal(err.code, rows[i].code);
        if (strstr(err.text, rows[i].said) == NULL)
            fail_msg("%s", err.text);
        assert_int_equal(plan.landlock_fd, -1);
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_landlock_paths),
        cmocka_unit_test(test_landlock_without_path_lists_leaves_files_alone),
        cmocka_unit_test(test_landlock_scopes),
        cmocka_unit_test(test_limits_priority_and_privileges),
        cmocka_unit_test(test_capabilities_are_dropped),
        cmocka_unit_test(test_seccomp_hardened),
        cmocka_unit_test(test_network_none),
        cmocka_unit_test(test_what_cannot_be_is_refused_before_the_start),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
