/* Documents: what a call leaves behind when it fails, and what it says. The rest is told from outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/gateway/contents.h"
#include "proto/api/errors.h"

static char root[] = "/tmp/test-contents-XXXXXX";

static int make_root(void **state)
{
    (void)state;
    strcpy(root + strlen(root) - 6, "XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int drop(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static int drop_root(void **state)
{
    (void)state;
    return nftw(root, drop, 8, FTW_DEPTH | FTW_PHYS);
}

static void in_root(const char *name, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/%s", root, name);
}

static void put(const char *name, const char *text)
{
    char path[PATH_MAX];
    in_root(name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* Names in the root, the dots too. */
static int n_entries(void)
{
    int n = 0;
    DIR *dir = opendir(root);
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 2;
}

static int run(struct contents_call *call, enum contents_verb verb, const char *path,
               const char *body)
{
    contents_init(call);
    call->verb = verb;
    call->root = root;
    (void)snprintf(call->path, sizeof(call->path), "%s", path);
    call->body = (struct slice){body, strlen(body)};
    contents_run(call);
    int code = call->err.code;
    contents_done(call);
    return code;
}

/* A disk that takes a few bytes more and no other. */
static int run_short_of_space(struct contents_call *call, enum contents_verb verb, const char *path,
                              const char *body)
{
    struct rlimit before, small = {4, RLIM_INFINITY};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int code = run(call, verb, path, body);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    return code;
}

static void what_cannot_be_written_whole_leaves_nothing(void **state)
{
    static const struct {
        enum contents_verb verb;
        const char *path, *body;
    } rows[] = {
        {CONTENTS_NEW, "", "{\"type\": \"notebook\"}"},
        {CONTENTS_NEW, "", "{\"copy_from\": \"here.txt\"}"},
        {CONTENTS_SAVE, "new.txt", "{\"type\": \"file\", \"content\": \"too much\"}"},
        {CONTENTS_SAVE, "here.txt", "{\"type\": \"file\", \"content\": \"too much\"}"},
    };
    struct contents_call call;
    (void)state;
    put("here.txt", "too large too");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(run_short_of_space(&call, rows[i].verb, rows[i].path, rows[i].body),
                         ERR_FILE_TOO_LARGE);
        assert_int_equal(n_entries(), 1);
    }
}

static void outcomes(void **state)
{
    struct contents_call call;
    (void)state;
    assert_int_equal(run(&call, CONTENTS_NEW, "", "{\"type\": \"notebook\"}"), ERR_NONE);
    assert_int_equal(call.outcome, CONTENTS_MADE);
    assert_string_equal(call.location, "Untitled.ipynb");
    assert_int_equal(run(&call, CONTENTS_NEW, "", "{\"type\": \"notebook\"}"), ERR_NONE);
    assert_string_equal(call.location, "Untitled1.ipynb");
    assert_int_equal(run(&call, CONTENTS_NEW, "", "{\"copy_from\": \"Untitled.ipynb\"}"), ERR_NONE);
    assert_string_equal(call.location, "Untitled-Copy1.ipynb");
    assert_int_equal(run(&call, CONTENTS_GET, "Untitled.ipynb", ""), ERR_NONE);
    assert_int_equal(call.outcome, CONTENTS_SHOWN);
    assert_int_equal(run(&call, CONTENTS_DELETE, "Untitled.ipynb", ""), ERR_NONE);
    assert_int_equal(call.outcome, CONTENTS_DONE);
    assert_int_equal(n_entries(), 2);
}

static void make_specials(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[PATH_MAX];
    in_root("fifo", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", root);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    in_root("folder", path);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void what_is_no_file_is_told_as_such(void **state)
{
    static const char *const names[] = {"fifo", "socket", "folder"};
    static const char *const bodies[] = {"{\"type\": \"file\", \"content\": \"x\"}",
                                         "{\"type\": \"file\", \"content\": \"x\", \"chunk\": 2}"};
    struct contents_call call;
    (void)state;
    make_specials();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        for (size_t k = 0; k < ARRAY_LEN(bodies); k++)
            assert_int_equal(run(&call, CONTENTS_SAVE, names[i], bodies[k]), ERR_FILE_KIND);
        assert_int_equal(run(&call, CONTENTS_CHECKPOINT, names[i], ""), ERR_FILE_KIND);
    }
    assert_int_equal(run(&call, CONTENTS_GET, "fifo", ""), ERR_FILE_KIND);
    assert_int_equal(run(&call, CONTENTS_RENAME, "folder", "{\"path\": \"folder/below\"}"),
                     ERR_INVALID_PATH);
}

static void names_that_are_too_long_are_the_clients_fault(void **state)
{
    struct contents_call call;
    char name[NAME_MAX + 40], body[NAME_MAX + 80];
    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    put("here.txt", "x");
    assert_int_equal(run(&call, CONTENTS_GET, name, ""), ERR_INVALID_PATH);
    assert_int_equal(run(&call, CONTENTS_SAVE, name, "{\"type\": \"directory\"}"),
                     ERR_INVALID_PATH);
    assert_int_equal(run(&call, CONTENTS_SAVE, name, "{\"type\": \"file\", \"content\": \"\"}"),
                     ERR_INVALID_PATH);
    assert_int_equal(run(&call, CONTENTS_DELETE, name, ""), ERR_INVALID_PATH);
    (void)snprintf(body, sizeof(body), "{\"path\": \"%s\"}", name);
    assert_int_equal(run(&call, CONTENTS_RENAME, "here.txt", body), ERR_INVALID_PATH);
    name[NAME_MAX] = '\0';
    put(name, "x");
    assert_int_equal(run(&call, CONTENTS_CHECKPOINT, name, ""), ERR_INVALID_PATH);
    assert_int_equal(n_entries(), 3); /* the folder of checkpoints is there */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_cannot_be_written_whole_leaves_nothing, make_root,
                                        drop_root),
        cmocka_unit_test_setup_teardown(outcomes, make_root, drop_root),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_told_as_such, make_root, drop_root),
        cmocka_unit_test_setup_teardown(names_that_are_too_long_are_the_clients_fault, make_root,
                                        drop_root),
    };
    (void)signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
