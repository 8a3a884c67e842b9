#include "execd/proc/environment.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/proc/env_table.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/path.h"
#include "proto/base/str.h"

#define ENV_FILE_MAX (1U << 20)
#define ENV_FILE_VAR "EXECD_ENVS"

static const char *const no_variables[] = {NULL};

static struct {
    const char *const *vars; /* owned for the life of the process */
    char start_dir[PATH_MAX];
} environment = {.vars = no_variables, .start_dir = "/"};

/* ---- capture ---- */

static bool name_contains_any(const char *name, size_t len, const char *const *words)
{
    for (; *words != NULL; words++)
        for (size_t at = 0, n = strlen(*words); at + n <= len; at++)
            if (strncasecmp(name + at, *words, n) == 0)
                return true;
    return false;
}

/* What children must not inherit. The entry is "NAME=value". */
static bool is_withheld(const char *entry, size_t name_len)
{
    static const char *const secret_words[] = {"TOKEN", "SECRET", "PASSWORD", "API_KEY", NULL};
    if (name_len == strlen(ENV_FILE_VAR) && str_starts(entry, ENV_FILE_VAR "="))
        return false;
    if (str_starts(entry, "JUPYTER_PORT=")) /* programs inside look for us there */
        return false;
    if (str_starts(entry, "EXECD_") || str_starts(entry, "JUPYTER_") ||
        str_starts(entry, "KG_AUTH_TOKEN=") || str_starts(entry, "EG_AUTH_TOKEN=") ||
        str_starts(entry, "WRITE_TOKEN=")) /* of the file server; who needs it is given it */
        return true;
    return str_starts(entry, "OPENSANDBOX_") && name_contains_any(entry, name_len, secret_words);
}

/* Withheld from children like the rest, but no secret: execd itself looks for kernelspecs there. */
static bool is_search_path(const char *entry)
{
    return str_starts(entry, "JUPYTER_PATH=") || str_starts(entry, "JUPYTER_DATA_DIR=");
}

static void capture_variables(void)
{
    size_t n = 0, kept = 0;
    while (environ[n] != NULL)
        n++;
    const char **vars = xcalloc(n + 1, sizeof(*vars));
    for (size_t i = 0; i < n; i++) {
        size_t name_len = strcspn(environ[i], "=");
        if (environ[i][name_len] == '\0' || name_len == 0)
            continue;
        if (is_withheld(environ[i], name_len) && is_search_path(environ[i]))
            continue;
        if (is_withheld(environ[i], name_len))
            explicit_bzero(environ[i] + name_len + 1, strlen(environ[i] + name_len + 1));
        else
            vars[kept++] = xstrdup(environ[i]);
    }
    environment.vars = vars;
}

void environment_capture(void)
{
    capture_variables();
    /* A directory that was removed, or that lies outside the root, is no place to start commands in. */
    if (getcwd(environment.start_dir, sizeof(environment.start_dir)) == NULL ||
        environment.start_dir[0] != '/')
        snprintf(environment.start_dir, sizeof(environment.start_dir), "/");
}

const char *environment_start_dir(void)
{
    return environment.start_dir;
}

const char *const *environment_daemon(void)
{
    return environment.vars;
}

const char *environment_get(const char *const *envp, const char *name)
{
    size_t len = strlen(name);
    for (; *envp != NULL; envp++)
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
            return *envp + len + 1;
    return NULL;
}

static const char *lookup_in(const char *name, void *arg)
{
    return environment_get(arg, name);
}

/* lookup_in only reads, so taking the const away for the way through path_expand is safe. */
static void *lookup_arg(const char *const *envp)
{
    return (void *)(uintptr_t)(envp != NULL ? envp : no_variables);
}

/* ---- the env file ---- */

/* A FIFO or a device would block or never end: only regular files are read. */
static int read_env_file(const char *path, struct arena *arena, struct jmap *ret_map,
                         size_t *ret_bad)
{
    struct stat st;
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size > ENV_FILE_MAX)
        return -EFBIG;
    size_t size = (size_t)st.st_size;
    cleanup_free char *text = malloc(size + 1);
    if (text == NULL)
        return -ENOMEM;
    ssize_t got = fd_read_full(fd, text, size);
    if (got < 0)
        return (int)got;
    return environment_parse_file(arena, text, (size_t)got, ret_map, ret_bad);
}

static void load_env_file(struct arena *arena, struct jmap *ret_map)
{
    char path[PATH_MAX];
    size_t bad_lines = 0;
    *ret_map = (struct jmap){0};
    const char *name = environment_get(environment.vars, ENV_FILE_VAR);
    if (name == NULL || name[0] == '\0')
        return;
    struct err err;
    int result = path_expand(name, lookup_in, lookup_arg(environment.vars), path, &err);
    if (result == 0 && path[0] == '/')
        result = read_env_file(path, arena, ret_map, &bad_lines);
    else if (result == 0)
        result = -EINVAL;
    /* Not being there is usual: it appears with the first set_env. */
    if (result < 0 && result != -ENOENT)
        log_event(LOG_LEVEL_DEBUG, "environment", "env file not used", "path", name, "error",
                  err_name(-result), NULL);
    if (bad_lines > 0)
        log_printf(LOG_LEVEL_DEBUG, "environment", "env file: %zu lines are no entries", bad_lines);
}

/* ---- build ---- */

static int set_from_vars(struct env_table *table)
{
    for (const char *const *var = environment.vars; *var != NULL; var++) {
        size_t len = strcspn(*var, "=");
        int result = env_table_set(table, *var, len, *var + len + 1);
        if (result < 0)
            return result;
    }
    return 0;
}

static int set_from_map(struct env_table *table, const struct jmap *map)
{
    for (size_t i = 0; map != NULL && i < map->n; i++) {
        int result =
            env_table_set(table, map->items[i].key, strlen(map->items[i].key), map->items[i].value);
        if (result < 0)
            return result;
    }
    return 0;
}

/* execve takes any bytes; a name with '=' would come out as another name. */
static int check_overlay(const struct jmap *overlay, struct err *err)
{
    for (size_t i = 0; overlay != NULL && i < overlay->n; i++) {
        const char *key = overlay->items[i].key;
        if (key[0] == '\0' || strchr(key, '=') != NULL)
            return err_set(
                err, ERR_INVALID_REQUEST_BODY, EINVAL,
                "envs: '%.100s' is not a variable name (it must not be empty nor contain '=')",
                key);
    }
    return 0;
}

static int write_envp(const struct env_table *table, struct arena *arena,
                      const char *const **ret_envp)
{
    const char **envp = arena_alloc(arena, (table->n + 1) * sizeof(*envp));
    if (envp == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < table->n; i++) {
        const struct env_entry *e = &table->entries[i];
        envp[i] = arena_printf(arena, "%.*s=%s", (int)e->name_len, e->name, e->value);
        if (envp[i] == NULL)
            return -ENOMEM;
    }
    *ret_envp = envp;
    return 0;
}

int environment_build(struct arena *arena, const struct jmap *overlay, const char *const **ret_envp,
                      struct err *err)
{
    struct env_table table;
    struct jmap file;
    int result = check_overlay(overlay, err);
    if (result < 0)
        return result;
    env_table_init(&table, arena);
    load_env_file(arena, &file);
    if ((result = set_from_vars(&table)) == 0 && (result = set_from_map(&table, &file)) == 0 &&
        (result = set_from_map(&table, overlay)) == 0)
        result = write_envp(&table, arena, ret_envp);
    if (result == -E2BIG)
        return err_set(err, ERR_INVALID_REQUEST_BODY, E2BIG, "envs: more than %d variables",
                       ENV_ENTRIES_MAX);
    return result < 0 ? err_set(err, ERR_OUT_OF_MEMORY, -result, "envs: out of memory") : 0;
}

/* ---- working directory ---- */

/* Expands ~ by execd's own HOME and names by the command's environment. out has PATH_MAX bytes. */
static int expand_cwd(const char *cwd, const char *const *envp, char *out, struct err *err)
{
    char rest[PATH_MAX];
    const char *home = environment_get(environment.vars, "HOME");
    bool tilde = cwd[0] == '~' && (cwd[1] == '/' || cwd[1] == '\0');
    if (!tilde)
        return path_expand(cwd, lookup_in, lookup_arg(envp), out, err);
    if (home == NULL || home[0] == '\0')
        return err_set(err, 0, EINVAL, "HOME is not set");
    rest[0] = '\0';
    int result = cwd[1] == '\0' ? 0 : path_expand(cwd + 1, lookup_in, lookup_arg(envp), rest, err);
    if (result < 0)
        return result;
    if (snprintf(out, PATH_MAX, "%s%s", home, rest) >= PATH_MAX)
        return err_set(err, 0, ENAMETOOLONG, "path too long");
    return 0;
}

static int check_cwd(const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode)
                   ? 0
                   : err_set(err, ERR_INVALID_REQUEST_BODY, ENOTDIR,
                             "working directory path is not a directory: %.150s", path);
    if (errno == ENOENT || errno == ENOTDIR)
        return err_set(err, ERR_INVALID_REQUEST_BODY, errno,
                       "working directory does not exist: %.150s", path);
    return err_sys(err, ERR_INVALID_REQUEST_BODY, errno,
                   "cannot access working directory \"%.150s\"", path);
}

/* cleaned has PATH_MAX bytes. */
static int absolute_cwd(const char *cwd, const char *const *envp, char *cleaned, struct err *err)
{
    char expanded[PATH_MAX];
    struct err cause = {.text = ""};
    if (cwd == NULL || cwd[0] == '\0')
        cwd = ".";
    int result = expand_cwd(cwd, envp, expanded, &cause);
    if (result == 0)
        result = path_join(environment.start_dir, expanded, cleaned);
    if (result < 0)
        return err_set(err, result == -ENOMEM ? ERR_OUT_OF_MEMORY : ERR_INVALID_REQUEST_BODY,
                       -result, "cannot resolve working directory \"%.80s\": %.120s", cwd,
                       cause.text[0] != '\0' ? cause.text : strerror(-result));
    return 0;
}

static int keep_cwd(struct arena *arena, const char *cleaned, const char **ret_cwd, struct err *err)
{
    int result = check_cwd(cleaned, err);
    if (result < 0)
        return result;
    *ret_cwd = arena_strndup(arena, cleaned, strlen(cleaned));
    return *ret_cwd != NULL ? 0 : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "cwd: out of memory");
}

int environment_resolve_cwd(struct arena *arena, const char *cwd, const char *const *envp,
                            const char **ret_cwd, struct err *err)
{
    char cleaned[PATH_MAX];
    int result = absolute_cwd(cwd, envp, cleaned, err);
    return result < 0 ? result : keep_cwd(arena, cleaned, ret_cwd, err);
}

int environment_make_cwd(struct arena *arena, const char *cwd, const char *const *envp,
                         const char **ret_cwd, struct err *err)
{
    char cleaned[PATH_MAX];
    int result = absolute_cwd(cwd, envp, cleaned, err);
    if (result < 0)
        return result;
    cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || (result = path_mkdirs_in_root(root, cleaned + 1, 0755)) < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, root < 0 ? errno : -result,
                       "cannot create working directory \"%.150s\"", cleaned);
    return keep_cwd(arena, cleaned, ret_cwd, err);
}
