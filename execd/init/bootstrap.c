#include "execd/init/bootstrap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/proc/shell.h"
#include "proto/base/cleanup.h"
#include "proto/base/path.h"
#include "proto/base/str.h"

#define NAME "bootstrap.sh"
#define WORD "bootstrap"
/* The word for a call by our own shell: its part is done. */
#define WORD_PREPARED "bootstrap-prepared"

static bool is_word(int argc, char *const *argv, const char *word)
{
    return argc > 1 && strcmp(argv[1], word) == 0;
}

bool bootstrap_is_wanted(int argc, char *const *argv)
{
    if (argc < 1)
        return false;
    const char *slash = strrchr(argv[0], '/');
    return strcmp(slash != NULL ? slash + 1 : argv[0], NAME) == 0 || is_word(argc, argv, WORD) ||
           is_word(argc, argv, WORD_PREPARED);
}

static bool is_given(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

/* ---- the environment file ---- */

static int make_parent(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return 0;
    if (snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path - 1), path + 1) >= PATH_MAX)
        return -ENAMETOOLONG;
    cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root < 0 ? -errno : path_mkdirs_in_root(root, parent, 0755);
}

/* Who cannot write there (another user, a read-only image) still gets everything else: set_env says so then. */
static void touch(const char *path)
{
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the variable is set by now
    int result = path[0] == '/' ? make_parent(path) : 0;
    cleanup_fd int fd =
        result < 0 ? -1 : open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
    if (fd < 0)
        fprintf(stderr, "execd: bootstrap: EXECD_ENVS: '%s' cannot be made: %s\n", path,
                strerror(result < 0 ? -result : errno));
}

static int set_env_file(struct err *err)
{
    if (!is_given("EXECD_ENVS") && setenv("EXECD_ENVS", BOOTSTRAP_ENVS_DEFAULT, 1) < 0)
        return err_sys(err, 0, errno, "set EXECD_ENVS");
    touch(getenv("EXECD_ENVS"));
    return 0;
}

/* ---- the shell's part ---- */

static bool needs_shell(void)
{
    return is_given("EXECD_BOOTSTRAP_PRE_SCRIPT") ||
           is_given("OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT");
}

/* Where the shell finds execd again, whatever its file is called or has become: an open descriptor of it. */
static int open_self(struct arena *arena, const char **ret_path, struct err *err)
{
    int fd =
        open("/proc/self/exe", O_RDONLY); /* over the exec of the shell, hence without O_CLOEXEC */
    if (fd < 0)
        return err_sys(err, 0, errno, "bootstrap: open /proc/self/exe");
    *ret_path = arena_printf(arena, "/proc/self/fd/%d", fd);
    return *ret_path != NULL ? 0 : err_set(err, 0, ENOMEM, "bootstrap: out of memory");
}

/* sh -c SCRIPT execd bootstrap-prepared WORD... Comes back only with an error. */
static int enter_shell(const struct shell *shell, int n_words, char *const *words,
                       struct arena *arena, struct err *err)
{
    const char *self;
    int result = open_self(arena, &self, err);
    if (result < 0)
        return result;
    char **argv = arena_alloc(arena, ((size_t)n_words + 6) * sizeof(*argv));
    if (argv == NULL)
        return err_set(err, 0, ENOMEM, "bootstrap: out of memory");
    const char *const head[] = {"sh", "-c", bootstrap_script, self, WORD_PREPARED};
    memcpy(argv, head, sizeof(head));
    memcpy(argv + ARRAY_LEN(head), words, (size_t)n_words * sizeof(*words));
    argv[ARRAY_LEN(head) + (size_t)n_words] = NULL;
    execv(shell->file, argv);
    return err_sys(err, 0, errno, "bootstrap: exec '%s'", shell->file);
}

/* ---- the program ---- */

static const char *join(int n_words, char *const *words, struct arena *arena)
{
    size_t size = 1;
    for (int i = 0; i < n_words; i++)
        size += strlen(words[i]) + 1;
    char *text = arena_alloc(arena, size);
    if (text == NULL)
        return NULL;
    char *at = text;
    for (int i = 0; i < n_words; i++) {
        size_t len = strlen(words[i]);
        if (i > 0)
            *at++ = ' ';
        memcpy(at, words[i], len + 1);
        at += len;
    }
    return text;
}

const char **bootstrap_program(const char *cmd, const char *shell, int n_words, char *const *words,
                               struct arena *arena)
{
    bool is_joined = n_words > 0 && strcmp(words[0], "-c") == 0;
    const char **program = arena_alloc(arena, ((size_t)n_words + 4) * sizeof(*program));
    if (program == NULL)
        return NULL;
    size_t n = 0;
    if ((cmd == NULL || cmd[0] == '\0') && !is_joined && n_words > 0) {
        memcpy(program, words, (size_t)n_words * sizeof(*program));
        n = (size_t)n_words;
    } else {
        program[n++] = shell;
    }
    if (cmd != NULL && cmd[0] != '\0') {
        program[n++] = "-c";
        program[n++] = cmd;
    } else if (is_joined) {
        program[n++] = "-c";
        if ((program[n++] = join(n_words - 1, words + 1, arena)) == NULL)
            return NULL;
    }
    program[n] = NULL;
    return program;
}

/* BOOTSTRAP_SHELL may be a name or a path; an image without any shell still runs words. */
static const char *choose_shell(const struct shell *found)
{
    return is_given("BOOTSTRAP_SHELL") ? getenv("BOOTSTRAP_SHELL")
           : found->file != NULL       ? found->file
                                       : "sh";
}

static int set_command_line(const char **program, struct arena *arena, int *ret_argc,
                            char ***ret_argv, struct err *err)
{
    const char *const head[] = {"execd", "--exit-with-entrypoint", "--"};
    size_t n = 0;
    while (program[n] != NULL)
        n++;
    char **argv = arena_alloc(arena, (n + ARRAY_LEN(head) + 1) * sizeof(*argv));
    if (argv == NULL)
        return err_set(err, 0, ENOMEM, "bootstrap: out of memory");
    memcpy(argv, head, sizeof(head));
    memcpy(argv + ARRAY_LEN(head), program, (n + 1) * sizeof(*argv));
    *ret_argc = (int)(n + ARRAY_LEN(head));
    *ret_argv = argv;
    return 0;
}

int bootstrap_prepare(int argc, char *const *argv, struct arena *arena, int *ret_argc,
                      char ***ret_argv, struct err *err)
{
    struct shell shell = {0};
    bool is_prepared = is_word(argc, argv, WORD_PREPARED);
    int skip = is_prepared || is_word(argc, argv, WORD) ? 2 : 1;
    int result = set_env_file(err);
    if (result < 0)
        return result;
    int no_shell = shell_find((const char *const *)environ, "/", arena, &shell, err);
    if (!is_prepared && needs_shell())
        return no_shell < 0 ? no_shell : enter_shell(&shell, argc - skip, argv + skip, arena, err);
    const char **program = bootstrap_program(getenv("BOOTSTRAP_CMD"), choose_shell(&shell),
                                             argc - skip, argv + skip, arena);
    if (program == NULL)
        return err_set(err, 0, ENOMEM, "bootstrap: out of memory");
    return set_command_line(program, arena, ret_argc, ret_argv, err);
}
