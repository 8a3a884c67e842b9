/* Paths: cleaning, expansion, and that nothing leads out of a root. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/cleanup.h"
#include "proto/base/path.h"
#include "proto/base/path_priv.h"

static void test_clean(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"a//b/../c", "a/c"},
        {"", "."},
        {".", "."},
        {"./a", "a"},
        {"a/", "a"},
        {"/", "/"},
        {"//", "/"},
        {"/..", "/"},
        {"/../../a", "/a"},
        {"/a/..", "/"},
        {"a/..", "."},
        {"..", ".."},
        {"../..", "../.."},
        {"../a/..", ".."},
        {"a/../..", ".."},
        {"/a/./b/", "/a/b"},
        {"...", "..."},
        {"/a/..b", "/a/..b"},
        {"a/b/../../../c", "../c"},
    };
    char out[PATH_MAX];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(path_clean(rows[i][0], out), 0);
        assert_string_equal(out, rows[i][1]);
    }
}

static void test_clean_limits(void **state)
{
    (void)state;
    char in[PATH_MAX + 10], out[PATH_MAX];

    memset(in, 'a', sizeof(in));
    in[0] = '/';
    in[PATH_MAX - 1] = '\0';
    assert_int_equal(path_clean(in, out), 0);
    assert_int_equal(strlen(out), PATH_MAX - 1);
    in[PATH_MAX - 1] = 'a';
    in[PATH_MAX] = '\0';
    assert_int_equal(path_clean(in, out), -ENAMETOOLONG);
    for (size_t i = 0; i + 2 < sizeof(in); i += 3)
        memcpy(in + i, "../", 3);
    in[PATH_MAX + 8] = '\0';
    assert_int_equal(path_clean(in, out), -ENAMETOOLONG);
}

static void test_join_and_basename(void **state)
{
    (void)state;
    char out[PATH_MAX];

    assert_int_equal(path_join("/srv/x", "../y", out), 0);
    assert_string_equal(out, "/srv/y");
    assert_int_equal(path_join("/srv", "/etc", out), 0);
    assert_string_equal(out, "/etc");
    assert_int_equal(path_join("/srv", "", out), 0);
    assert_string_equal(out, "/srv");
    assert_string_equal(path_basename("/a/b"), "b");
    assert_string_equal(path_basename("b"), "b");
    assert_string_equal(path_basename("/"), "");
}

static const char *lookup(const char *name, void *arg)
{
    static const char *const vars[][2] = {
        {"HOME", "/home/u"}, {"A", "aa"}, {"EMPTY", ""}, {"_x1", "under"}, {"D", "$A"}};

    if (arg != NULL && strcmp(name, "HOME") == 0)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(vars); i++)
        if (strcmp(vars[i][0], name) == 0)
            return vars[i][1];
    return NULL;
}

static void test_expand(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"/plain", "/plain"},
        {"~", "/home/u"},
        {"~/x", "/home/u/x"},
        {"~user/x", "~user/x"},
        {"a~", "a~"},
        {"$A/b", "aa/b"},
        {"${A}b", "aab"},
        {"x$EMPTY", "x"},
        {"$_x1", "under"},
        {"$", "$"},
        {"$$", "$$"},
        {"$1", "$1"},
        {"$*", "$*"},
        {"${", "${"},
        {"${}", "${}"},
        {"${A", "${A"},
        {"${A b}", "${A b}"},
        {"$A$A", "aaaa"},
        {"$D", "$A"}, /* values are not expanded again */
        {"", ""},
    };
    char out[PATH_MAX];
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(path_expand(rows[i][0], lookup, NULL, out, &err), 0);
        assert_string_equal(out, rows[i][1]);
    }
}

static void test_expand_names_every_undefined_variable_once(void **state)
{
    (void)state;
    char out[PATH_MAX] = "untouched", home[2] = "x";
    struct err err = {0};

    assert_int_equal(path_expand("$X/${Y}/$A/$X/$XY", lookup, NULL, out, &err), -EINVAL);
    assert_string_equal(err.text, "path references undefined environment variables: X,Y,XY");
    assert_string_equal(out, "untouched");
    assert_int_equal(path_expand("~/x", lookup, home, out, &err), -EINVAL);
    assert_non_null(strstr(err.text, "HOME"));
}

static void test_expand_refuses_what_grows_too_long(void **state)
{
    (void)state;
    char in[PATH_MAX], out[PATH_MAX];
    struct err err;

    memset(in, 'x', sizeof(in));
    memcpy(in + sizeof(in) - 9, "${EMPTY}", 9);
    assert_int_equal(path_expand(in, lookup, NULL, out, &err), 0);
    memcpy(in, "~/", 2); /* six bytes more, eight less */
    assert_int_equal(path_expand(in, lookup, NULL, out, &err), 0);
    memcpy(in + sizeof(in) - 9, "xxxxxxxx", 9);
    assert_int_equal(path_expand(in, lookup, NULL, out, &err), -ENAMETOOLONG);
}

/* A root with ways out of it: links up, absolute links, magic links, and a secret beside it. */
struct fixture {
    char folder[64];
    int top, root;
};

static int set_up(void **state)
{
    static struct fixture f;

    memcpy(f.folder, "/tmp/test_path.XXXXXX", sizeof("/tmp/test_path.XXXXXX"));
    if (mkdtemp(f.folder) == NULL)
        return -1;
    f.top = open(f.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f.top < 0 || mkdirat(f.top, "root", 0755) < 0 || mkdirat(f.top, "root/sub", 0755) < 0)
        return -1;
    int secret = openat(f.top, "secret", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int inside = openat(f.top, "root/sub/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(secret);
    close(inside);
    f.root = openat(f.top, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (symlinkat("..", f.root, "up") < 0 || symlinkat("/secret", f.root, "absolute") < 0 ||
        symlinkat("/sub/file", f.root, "within") < 0 ||
        symlinkat("/proc/self/cwd", f.root, "magic") < 0 ||
        symlinkat("nowhere", f.root, "dangling") < 0)
        return -1;
    *state = &f;
    return 0;
}

static void remove_below(int dir)
{
    static const char *const names[] = {"up",       "absolute", "within",   "magic",
                                        "dangling", "made",     "sub/file", "sub/new",
                                        "a/b/c",    "a/b",      "a",        "sub"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (unlinkat(dir, names[i], 0) < 0)
            (void)unlinkat(dir, names[i], AT_REMOVEDIR);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    remove_below(f->root);
    (void)unlinkat(f->top, "secret", 0);
    (void)unlinkat(f->top, "root", AT_REMOVEDIR);
    close(f->root);
    close(f->top);
    return rmdir(f->folder);
}

typedef int (*open_fn)(int root_fd, const char *path, int flags, mode_t mode);

static int result_of(open_fn open_it, int root, const char *path, int flags)
{
    int fd = open_it(root, path, flags, 0600);

    if (fd < 0)
        return fd;
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    return 0;
}

static void check_common(open_fn open_it, const struct fixture *f)
{
    assert_int_equal(result_of(open_it, f->root, "sub/file", O_RDONLY), 0);
    assert_int_equal(result_of(open_it, f->root, "/sub/file", O_RDONLY), 0);
    assert_int_equal(result_of(open_it, f->root, "sub/../sub/./file", O_RDONLY), 0);
    assert_int_equal(result_of(open_it, f->root, "/", O_RDONLY | O_DIRECTORY), 0);
    assert_int_equal(result_of(open_it, f->root, "../../..", O_RDONLY | O_DIRECTORY), 0);
    assert_int_equal(result_of(open_it, f->root, "../secret", O_RDONLY), -ENOENT);
    assert_int_equal(result_of(open_it, f->root, "up/secret", O_RDONLY) == 0, 0);
    assert_int_equal(result_of(open_it, f->root, "absolute", O_RDONLY) == 0, 0);
    assert_int_equal(result_of(open_it, f->root, "magic/x", O_RDONLY) == 0, 0);
    assert_int_equal(result_of(open_it, f->root, "", O_RDONLY), -ENOENT);
    assert_int_equal(result_of(open_it, f->root, "sub/file/x", O_RDONLY), -ENOTDIR);
    assert_int_equal(result_of(open_it, f->root, "sub/file/", O_RDONLY), -ENOTDIR);
    assert_int_equal(result_of(open_it, f->root, "sub/new", O_WRONLY | O_CREAT | O_EXCL), 0);
    assert_int_equal(result_of(open_it, f->root, "sub/new", O_WRONLY | O_CREAT | O_EXCL), -EEXIST);
    assert_int_equal(unlinkat(f->root, "sub/new", 0), 0);
}

static void test_open_in_root_by_the_kernel(void **state)
{
    struct fixture *f = *state;
    struct stat root, opened;

    check_common(path_open_in_root, f);
    assert_int_equal(result_of(path_open_in_root, f->root, "within", O_RDONLY),
                     0); /* resolved inside */
    cleanup_fd int fd = path_open_in_root(f->root, "up/..", O_PATH | O_DIRECTORY, 0);
    assert_true(fd >= 0 && fstat(fd, &opened) == 0 && fstat(f->root, &root) == 0);
    assert_int_equal(opened.st_ino, root.st_ino);
}

static void test_open_in_root_by_steps(void **state)
{
    struct fixture *f = *state;

    check_common(path_open_by_steps, f);
    assert_int_equal(result_of(path_open_by_steps, f->root, "within", O_RDONLY), -ELOOP);
    assert_int_equal(result_of(path_open_by_steps, f->root, "up/sub", O_RDONLY), -ENOTDIR);
    assert_int_equal(result_of(path_open_by_steps, f->root, "sub/", O_RDONLY), 0);
    assert_int_equal(result_of(path_open_by_steps, f->root, "made/", O_WRONLY | O_CREAT), -EISDIR);
}

static void test_open_beneath(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(result_of(path_open_beneath, f->root, "sub/file", O_RDONLY), 0);
    assert_int_equal(result_of(path_open_beneath, f->root, ".", O_RDONLY | O_DIRECTORY), 0);
    assert_int_equal(result_of(path_open_beneath, f->root, "within", O_RDONLY), -ELOOP);
    assert_int_equal(result_of(path_open_beneath, f->root, "up/sub", O_RDONLY), -ELOOP);
    assert_int_equal(result_of(path_open_beneath, f->root, "../secret", O_RDONLY), -EXDEV);
    assert_int_equal(result_of(path_open_beneath, f->root, "/sub/file", O_RDONLY), -EXDEV);
}

static void test_mkdirs_in_root(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(path_mkdirs_in_root(f->root, "a/b/c", 0750), 0);
    assert_int_equal(fstatat(f->root, "a/b/c", &st, 0), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(path_mkdirs_in_root(f->root, "/a/b/c", 0750), 0);
    assert_int_equal(path_mkdirs_in_root(f->root, "/", 0750), 0);
    assert_int_equal(path_mkdirs_in_root(f->root, "sub/file", 0750), -ENOTDIR);
    assert_int_equal(path_mkdirs_in_root(f->root, "sub/file/x", 0750), -ENOTDIR);
    assert_int_equal(path_mkdirs_in_root(f->root, "dangling", 0750), -ENOENT);
    assert_int_equal(path_mkdirs_in_root(f->root, "../../made", 0750), 0);
    assert_int_equal(fstatat(f->root, "made", &st, 0), 0);
    assert_int_equal(fstatat(f->top, "made", &st, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_clean_limits),
        cmocka_unit_test(test_join_and_basename),
        cmocka_unit_test(test_expand),
        cmocka_unit_test(test_expand_names_every_undefined_variable_once),
        cmocka_unit_test(test_expand_refuses_what_grows_too_long),
        cmocka_unit_test_setup_teardown(test_open_in_root_by_the_kernel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_open_in_root_by_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_open_beneath, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mkdirs_in_root, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("path", tests, NULL, NULL);
}
