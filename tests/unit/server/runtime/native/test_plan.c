#include "server/runtime/native/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "server/runtime/native/caps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define TOKEN "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

struct world {
    struct arena arena;
    struct plan plan;
    struct image image;
    struct sandbox_spec spec;
    struct plan_input input;
    struct seccomp_filter seccomp;
};

static int set_up(void **state)
{
    struct world *w = xnew(struct world);

    arena_init(&w->arena);
    plan_init(&w->plan);
    for (int i = 0; i < TREE_MAX; i++)
        w->plan.tree[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    w->plan.log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    w->plan.seccomp = &w->seccomp;
    w->image.config.working_dir = "";
    w->input = (struct plan_input){.id = "0b2c4a1e-0000-4000-8000-000000000001",
                                   .token_sha256 = TOKEN,
                                   .image = &w->image,
                                   .spec = &w->spec,
                                   .tmp_bytes = 1 << 20,
                                   .cgroup_fds = "memory:5",
                                   .listen_fd = 9};
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    plan_done(&w->plan);
    arena_done(&w->arena);
    free(w);
    return 0;
}

static void build(struct world *w)
{
    struct err err = {0};

    assert_int_equal(plan_build(&w->plan, &w->input, &w->arena, &err), 0);
}

static const char *env_of(const struct plan *plan, const char *name)
{
    const char *found = NULL;

    for (size_t i = 0; plan->envp[i] != NULL; i++) {
        if (strncmp(plan->envp[i], name, strlen(name)) == 0 && plan->envp[i][strlen(name)] == '=') {
            assert_null(found); /* once */
            found = plan->envp[i] + strlen(name) + 1;
        }
    }
    return found;
}

static void test_a_plain_plan_is_valid(void **state)
{
    struct world *w = *state;
    struct err err = {0};

    build(w);
    assert_int_equal(plan_validate(&w->plan, &err), 0);
    assert_string_equal(w->plan.hostname, w->input.id);
    assert_string_equal(w->plan.cwd, "/");
    assert_string_equal(w->plan.argv[0], PLAN_EXECD);
    assert_string_equal(w->plan.argv[2], "fd:9");
}

static void test_the_request_wins_over_the_image(void **state)
{
    struct world *w = *state;
    const char *image_env[] = {"PATH=/image", "A=1", "B=2", NULL};
    struct jpair pairs[] = {{"A", "request"}, {"C", "x=y"}};

    w->image.config.env = (struct jstrings){image_env, 3};
    w->spec.env = (struct jmap){pairs, 2};
    build(w);
    assert_string_equal(env_of(&w->plan, "PATH"), "/image");
    assert_string_equal(env_of(&w->plan, "A"), "request");
    assert_string_equal(env_of(&w->plan, "B"), "2");
    assert_string_equal(env_of(&w->plan, "C"), "x=y");
    assert_string_equal(env_of(&w->plan, "OPENSANDBOX_ID"), w->input.id);
}

static void test_nobody_else_configures_execd(void **state)
{
    struct world *w = *state;
    const char *image_env[] = {"EXECD_INSECURE=1",
                               "EXECD_LISTEN=0.0.0.0:1",
                               "OPENSANDBOX_ID=forged",
                               "=odd",
                               "none",
                               NULL};
    struct jpair pairs[] = {{"EXECD_TOKEN_SHA256", "00"}, {"EXECD_CGROUP_FDS", "memory:0"}};

    w->image.config.env = (struct jstrings){image_env, 5};
    w->spec.env = (struct jmap){pairs, 2};
    build(w);
    assert_null(env_of(&w->plan, "EXECD_INSECURE"));
    assert_null(env_of(&w->plan, "EXECD_LISTEN"));
    assert_string_equal(env_of(&w->plan, "EXECD_TOKEN_SHA256"), TOKEN);
    assert_string_equal(env_of(&w->plan, "EXECD_CGROUP_FDS"), "memory:5");
    assert_string_equal(env_of(&w->plan, "OPENSANDBOX_ID"), w->input.id);
}

static void test_names_that_are_no_names(void **state)
{
    struct world *w = *state;
    struct jpair pair = {"A=B", "x"};
    struct err err = {0};

    w->spec.env = (struct jmap){&pair, 1};
    assert_int_equal(plan_build(&w->plan, &w->input, &w->arena, &err), -EINVAL);
    assert_non_null(strstr(err.text, "A=B"));
}

static void test_entrypoints(void **state)
{
    struct world *w = *state;
    const char *cmd[] = {"sleep", "1", NULL}, *own[] = {"-x", NULL};

    build(w);
    assert_null(w->plan.argv[5]);
    w->image.config.cmd = (struct jstrings){cmd, 2};
    build(w);
    assert_string_equal(w->plan.argv[5], "--");
    assert_string_equal(w->plan.argv[7], "1");
    w->spec.entrypoint = (struct jstrings){own, 1};
    build(w);
    assert_string_equal(w->plan.argv[5], "--exit-with-entrypoint");
    assert_string_equal(w->plan.argv[7], "-x");
    assert_null(w->plan.argv[8]);
}

static void test_sizes_are_filled_in(void **state)
{
    struct world *w = *state;
    unsigned sized = 0;

    build(w);
    for (size_t i = 0; i < w->plan.n_mounts; i++) {
        const char *options = w->plan.mounts[i].options;
        if (options != NULL && strstr(options, "size=1048576") != NULL)
            sized++;
        assert_true(options == NULL || strchr(options, '@') == NULL);
    }
    assert_int_equal(sized, 2);
}

/* Every row of the table, each made wrong in one way. */
static void test_validation_names_the_row(void **state)
{
    static const struct {
        const char *target, *word;
    } bad[] = {{"../etc", "clean"}, {"/etc", "clean"}, {"a//b", "clean"},
               {"a/./b", "clean"},  {"a/..", "clean"}, {"", "clean"}};
    struct world *w = *state;
    struct err err = {0};

    build(w);
    struct mount_row *rows = (struct mount_row *)(uintptr_t)w->plan.mounts;
    for (size_t i = 0; i < w->plan.n_mounts; i++) {
        struct mount_row saved = rows[i];
        for (size_t b = 0; b < ARRAY_LEN(bad); b++) {
            rows[i].target = bad[b].target;
            assert_int_equal(plan_validate(&w->plan, &err), -EINVAL);
            assert_non_null(strstr(err.text, bad[b].word));
        }
        rows[i] = saved;
    }
    rows[0].base = BASE_DEV; /* before /dev is there */
    assert_int_equal(plan_validate(&w->plan, &err), -EINVAL);
    assert_non_null(strstr(err.text, "not mounted yet"));
    rows[0].base = BASE_ROOT;
    rows[0].attr = 0;
    assert_int_equal(plan_validate(&w->plan, &err), -EINVAL);
}

static void test_missing_trees_are_refused(void **state)
{
    struct world *w = *state;
    struct err err = {0};

    build(w);
    close(w->plan.tree[TREE_NULL]);
    w->plan.tree[TREE_NULL] = -1;
    assert_int_equal(plan_validate(&w->plan, &err), -EINVAL);
    assert_non_null(strstr(err.text, "null"));
}

static void test_working_directories(void **state)
{
    static const char *const bad[] = {"relative", "/a/../../b", "/a//b", "/./a"};
    struct world *w = *state;
    struct err err = {0};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        w->image.config.working_dir = bad[i];
        build(w);
        assert_int_equal(plan_validate(&w->plan, &err), -EINVAL);
    }
    w->image.config.working_dir = "/work/space";
    build(w);
    assert_int_equal(plan_validate(&w->plan, &err), 0);
}

static void test_eleven_capabilities(void **state)
{
    (void)state;
    assert_int_equal(caps_n_kept, 11);
    assert_int_equal(caps_mask(), 0x800405fb);
}

static void test_every_mount_is_nosuid(void **state)
{
    (void)state;
    for (size_t i = 0; i < mounts_n; i++)
        assert_true(mounts_table[i].kind != MOUNT_FS ||
                    (mounts_table[i].attr & MOUNT_ATTR_NOSUID) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_plain_plan_is_valid, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_request_wins_over_the_image, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_else_configures_execd, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_that_are_no_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_entrypoints, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sizes_are_filled_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_validation_names_the_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing_trees_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_working_directories, set_up, tear_down),
        cmocka_unit_test(test_eleven_capabilities),
        cmocka_unit_test(test_every_mount_is_nosuid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
