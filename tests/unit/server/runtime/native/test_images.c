#include "server/runtime/native/images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/runtime/native/folder.h"
#include "server/runtime/native/images_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct place {
    char path[64], store[80], from[80];
    struct arena arena;
};

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void pack(const struct place *p, const char *content)
{
    char command[512];

    write_file(p->from, "file", content);
    snprintf(command, sizeof(command), "%s/rootfs.tar", p->from);
    pid_t pid = fork();
    if (pid == 0) {
        execlp("tar", "tar", "-C", p->from, "-cf", command, "./file", (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int set_up(void **state)
{
    struct place *p = xnew(struct place);

    arena_init(&p->arena);
    snprintf(p->path, sizeof(p->path), "/tmp/test_images.XXXXXX");
    assert_non_null(mkdtemp(p->path));
    snprintf(p->store, sizeof(p->store), "%s/store", p->path);
    snprintf(p->from, sizeof(p->from), "%s/from", p->path);
    assert_int_equal(mkdir(p->store, 0700), 0);
    assert_int_equal(mkdir(p->from, 0700), 0);
    write_file(p->from, "config.json",
               "{\"Env\":[\"A=1\"],\"Entrypoint\":null,\"Cmd\":[\"x\"],\"WorkingDir\":\"/w\"}");
    pack(p, "one");
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    arena_done(&p->arena);
    int rc = folder_delete(AT_FDCWD, p->path);
    free(p);
    return rc;
}

static void import(struct place *p, const char *name, struct image *ret_image)
{
    struct err err = {0};

    if (images_import(p->store, name, p->from, &p->arena, ret_image, &err) < 0)
        fail_msg("%s", err.text);
}

static void test_import_and_find(void **state)
{
    static const char *const found[] = {"team/tool:1", "TEAM"};
    struct place *p = *state;
    struct image image, again;
    struct err err = {0};

    import(p, "team/tool:1", &image);
    assert_true(images_is_digest(image.digest));
    assert_int_equal(image.config.env.n, 1);
    assert_int_equal(image.config.entrypoint.n, 0);
    assert_string_equal(image.config.cmd.items[0], "x");
    assert_string_equal(image.config.working_dir, "/w");
    assert_int_equal(access(image.rootfs, R_OK), 0);
    assert_int_equal(images_find(p->store, found[0], &p->arena, &again, &err), 0);
    assert_string_equal(again.digest, image.digest);
    assert_int_equal(images_find(p->store, image.digest, &p->arena, &again, &err), 0);
    assert_int_equal(images_find(p->store, found[1], &p->arena, &again, &err), -ENOENT);
    assert_non_null(strstr(err.text, "team/tool:1"));
}

static void test_latest_is_meant(void **state)
{
    struct place *p = *state;
    struct image image;
    struct err err = {0};

    import(p, "tool", &image);
    assert_int_equal(images_find(p->store, "tool:latest", &p->arena, &image, &err), 0);
    import(p, "other:latest", &image);
    assert_int_equal(images_find(p->store, "other", &p->arena, &image, &err), 0);
    assert_int_equal(images_find(p->store, "other:2", &p->arena, &image, &err), -ENOENT);
}

static void test_the_same_tree_takes_the_new_configuration(void **state)
{
    struct place *p = *state;
    struct image first, second;

    import(p, "a", &first);
    write_file(p->from, "config.json", "{\"WorkingDir\":\"/other\"}");
    import(p, "b", &second);
    assert_string_equal(first.digest, second.digest);
    assert_string_equal(second.config.working_dir, "/other");
}

static void test_the_tree_goes_with_its_last_name(void **state)
{
    struct place *p = *state;
    struct image image;
    struct err err = {0};

    import(p, "a", &image);
    import(p, "b", &image);
    assert_int_equal(images_remove(p->store, image.digest, &err), -EBUSY);
    assert_int_equal(images_remove(p->store, "a", &err), 0);
    assert_int_equal(access(image.rootfs, F_OK), 0);
    assert_int_equal(images_remove(p->store, "b", &err), 0);
    assert_int_equal(access(image.rootfs, F_OK), -1);
    assert_int_equal(images_remove(p->store, "b", &err), -ENOENT);
    assert_non_null(strstr(err.text, "empty"));
}

static void test_names(void **state)
{
    static const char *const bad[] = {"", ".hidden", "..", "a b", "a%2Fb", "a\nb", "é", "a\\b"};
    char file[NAME_MAX + 1], name[NAME_MAX + 1];
    struct place *p = *state;
    struct image image;
    struct err err = {0};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(images_ref_file(bad[i], file), -EINVAL);
        assert_true(images_find(p->store, bad[i], &p->arena, &image, &err) < 0);
    }
    assert_int_equal(images_ref_file("reg.example:5000/a/b:1", file), 0);
    assert_string_equal(file, "reg.example:5000%2Fa%2Fb:1");
    assert_int_equal(images_ref_name(file, name), 0);
    assert_string_equal(name, "reg.example:5000/a/b:1");
}

static void test_a_broken_import_leaves_nothing(void **state)
{
    struct place *p = *state;
    struct image image;
    struct err err = {0};

    write_file(p->from, "rootfs.tar", "this is no archive");
    assert_true(images_import(p->store, "broken", p->from, &p->arena, &image, &err) < 0);
    assert_int_equal(rmdir(p->store), 0); /* empty */
    assert_int_equal(mkdir(p->store, 0700), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_import_and_find, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_latest_is_meant, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_same_tree_takes_the_new_configuration, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_tree_goes_with_its_last_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broken_import_leaves_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
