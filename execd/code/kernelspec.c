#include "execd/code/kernelspec.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/str.h"
#include "proto/json/json_scan.h"

#define CULL_IDLE_MAX 31536000 /* seconds: a year */
#define NAME_MAX_LEN 64
#define STRING_MAX                                                                                 \
    (128u << 10) /* bytes of one string that the system takes at an exec (execve(2)) */

static const struct jfield hint_fields[] = {
    JFIELD(struct kernelspec_hints, transports, JFIELD_STRINGS, .max = 8, .doc = "ipc, tcp"),
    JFIELD(struct kernelspec_hints, quirks, JFIELD_STRINGS, .max = 32, .doc = "known deviations"),
    JFIELD(struct kernelspec_hints, ipc_separator, JFIELD_STRING, .min = 1, .max = 1,
           .doc = "stands between the prefix and the number of a socket"),
};

static const struct jfield metadata_fields[] = {
    JFIELD(struct kernelspec_metadata, execd, JFIELD_OBJECT, .sub = hint_fields,
           .n_sub = ARRAY_LEN(hint_fields), .doc = "what execd should know"),
    JFIELD(struct kernelspec_metadata, cull_idle_timeout, JFIELD_I64, .min = 0,
           .max = CULL_IDLE_MAX,
           .has_offset = offsetof(struct kernelspec_metadata, has_cull_idle_timeout),
           .doc = "seconds without work until the kernel goes; 0 = never"),
};

static const struct jfield spec_fields[] = {
    JFIELD(struct kernelspec, argv, JFIELD_STRINGS, .flags = JFIELD_REQUIRED, .min = 1, .max = 256,
           .doc = "program and arguments"),
    JFIELD(struct kernelspec, display_name, JFIELD_STRING, .max = 256, .doc = "name for people"),
    JFIELD(struct kernelspec, language, JFIELD_STRING, .flags = JFIELD_REQUIRED, .min = 1,
           .max = NAME_MAX_LEN, .doc = "language that the kernel runs"),
    JFIELD(struct kernelspec, interrupt_mode, JFIELD_STRING, .max = 16, .doc = "signal or message"),
    JFIELD(struct kernelspec, env, JFIELD_MAP, .max = 256,
           .doc = "variables added to the environment"),
    JFIELD(struct kernelspec, metadata, JFIELD_OBJECT, .sub = metadata_fields,
           .n_sub = ARRAY_LEN(metadata_fields), .doc = "anything"),
};

static unsigned named_transports(const struct jstrings *names)
{
    unsigned found = 0;
    for (size_t i = 0; i < names->n; i++) {
        found |= strcmp(names->items[i], "ipc") == 0 ? TRANSPORT_IPC : 0;
        found |= strcmp(names->items[i], "tcp") == 0 ? TRANSPORT_TCP : 0;
    }
    return found;
}

/* What is known of the program, and what the file says of it. */
static struct kernel_traits find_traits(const struct kernelspec *spec)
{
    const struct kernelspec_hints *hints = &spec->metadata.execd;
    struct kernel_traits traits = kernel_traits_find(&spec->argv);
    if (hints->transports.n > 0)
        traits.transports = named_transports(&hints->transports);
    if (hints->ipc_separator)
        traits.ipc_separator = hints->ipc_separator[0];
    for (size_t i = 0; i < hints->quirks.n; i++)
        traits.quirks |= kernel_quirk_by_name(hints->quirks.items[i]);
    return traits;
}

int kernelspec_parse(const char *text, size_t len, struct arena *arena, struct kernelspec *ret_spec,
                     struct err *err)
{
    struct kernelspec spec = {0};
    int r = jfield_decode_text(spec_fields, ARRAY_LEN(spec_fields), text, len, false, &spec, arena,
                               ERR_KERNEL_UNAVAILABLE, NULL, err);
    if (r < 0)
        return r;
    if (!spec.argv.items[0][0])
        return err_set(err, ERR_KERNEL_UNAVAILABLE, EINVAL, "argv: the program is empty");
    if (!spec.interrupt_mode)
        spec.interrupt_mode = "signal";
    spec.interrupt_by_message = strcmp(spec.interrupt_mode, "message") == 0;
    if (!spec.interrupt_by_message && strcmp(spec.interrupt_mode, "signal") != 0)
        return err_set(err, ERR_KERNEL_UNAVAILABLE, EINVAL, "interrupt_mode: signal or message");
    if (!spec.display_name)
        spec.display_name = spec.language;
    if (spec.metadata.execd.ipc_separator && spec.metadata.execd.ipc_separator[0] == '/')
        return err_set(err, ERR_KERNEL_UNAVAILABLE, EINVAL, "ipc_separator: not a slash");
    struct slice all = json_find_member((struct slice){text, len}, "metadata");
    if (all.len > 0 && all.ptr[0] == '{')
        spec.metadata_json = arena_strndup(arena, all.ptr, all.len);
    if (all.len > 0 && all.ptr[0] == '{' && !spec.metadata_json)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for metadata");
    spec.traits = find_traits(&spec);
    if (spec.traits.quirks & QUIRK_SIGINT_KILLS) {
        spec.interrupt_by_message = true;
        spec.interrupt_mode = "message";
    }
    spec.name = ret_spec->name;
    spec.resource_dir = ret_spec->resource_dir;
    *ret_spec = spec;
    return 0;
}

/* Lower-cased folder name, or false for one that no kernel may have (jupyter.md 1.15). */
static bool normalise_name(const char *name, char out[NAME_MAX_LEN + 1])
{
    size_t len = strlen(name);
    if (len == 0 || len > NAME_MAX_LEN || name[0] == '.')
        return false;
    for (size_t i = 0; i <= len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c && !isalnum(c) && !strchr("._-", c))
            return false;
        out[i] = (char)tolower(c);
    }
    return true;
}

static bool is_known(const struct kernelspecs *specs, const char *name)
{
    for (size_t i = 0; i < specs->n; i++)
        if (strcmp(specs->items[i].name, name) == 0)
            return true;
    return false;
}

/* kernel.json of one folder; opened without waiting, so that a planted FIFO cannot hold the loop. */
static int read_spec(int dir_fd, const char *folder, char **ret_text, size_t *ret_len,
                     int64_t *ret_version, struct err *err)
{
    char path[NAME_MAX + sizeof("/kernel.json")];
    struct stat st;
    if (snprintf(path, sizeof(path), "%s/kernel.json", folder) >= (int)sizeof(path))
        return -ENOENT;
    cleanup_fd int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, ERR_KERNEL_UNAVAILABLE, errno, "open");
    *ret_version = (st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec) ^
                   (int64_t)(st.st_ino << 20) ^ st.st_size;
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)KERNELSPEC_FILE_MAX)
        return err_set(err, ERR_KERNEL_UNAVAILABLE, EFBIG, "not a file of at most %u bytes",
                       KERNELSPEC_FILE_MAX);
    cleanup_free char *text = xmalloc(KERNELSPEC_FILE_MAX);
    ssize_t n = fd_read_full(fd, text, KERNELSPEC_FILE_MAX);
    if (n < 0)
        return err_sys(err, ERR_KERNEL_UNAVAILABLE, (int)-n, "read");
    *ret_len = (size_t)n;
    *ret_text = take_ptr(&text);
    return 0;
}

/* Without memory it is not told. */
static void add_broken(struct kernelspecs *specs, const char *name, const char *dir,
                       const char *folder, int64_t version, const char *why)
{
    if (specs->n_broken == KERNELSPEC_BROKEN_MAX)
        return;
    struct kernelspec_broken broken = {
        .name = arena_strndup(&specs->arena, name, strlen(name)),
        .file = arena_printf(&specs->arena, "%s/%s/kernel.json", dir, folder),
        .why = arena_strndup(&specs->arena, why, strlen(why)),
        .version = version,
    };
    if (broken.name && broken.file && broken.why)
        specs->broken[specs->n_broken++] = broken;
}

static void add_folder(struct kernelspecs *specs, int dir_fd, const char *dir, const char *folder)
{
    char name[NAME_MAX_LEN + 1];
    cleanup_free char *text = NULL;
    size_t len = 0;
    int64_t version = 0;
    struct err err = {0};
    if (specs->n == KERNELSPEC_MAX || !normalise_name(folder, name) || is_known(specs, name))
        return;
    int r = read_spec(dir_fd, folder, &text, &len, &version, &err);
    if (r < 0) {
        if (r != -ENOENT && r != -ENOTDIR)
            add_broken(specs, name, dir, folder, version, err.text);
        return;
    }
    struct kernelspec *spec = &specs->items[specs->n];
    *spec = (struct kernelspec){
        .name = arena_strndup(&specs->arena, name, strlen(name)),
        .resource_dir = arena_printf(&specs->arena, "%s/%s", dir, folder),
    };
    r = spec->name && spec->resource_dir ? kernelspec_parse(text, len, &specs->arena, spec, &err)
                                         : -ENOMEM;
    if (r < 0 && r != -ENOMEM)
        add_broken(specs, name, dir, folder, version, err.text);
    specs->n += r >= 0;
    specs->is_cut |= r == -ENOMEM;
}

static void scan_dir(struct kernelspecs *specs, const char *dir)
{
    int fd = dir[0] == '/' ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK) : -1;
    DIR *handle = fd >= 0 ? fdopendir(fd) : NULL;
    specs->is_cut |= fd >= 0 && !handle; /* memory is all that can fail */
    if (!handle) {
        if (fd >= 0)
            close(fd);
        return;
    }
    const struct dirent *entry;
    for (int i = 0; i < KERNELSPEC_SCAN_MAX && (entry = readdir(handle)); i++)
        add_folder(specs, fd, dir, entry->d_name);
    closedir(handle);
}

static void scan_below(struct kernelspecs *specs, const char *base, size_t base_len,
                       const char *rest)
{
    char dir[PATH_MAX];
    if (base_len > 0 &&
        snprintf(dir, sizeof(dir), "%.*s%s", (int)base_len, base, rest) < (int)sizeof(dir))
        scan_dir(specs, dir);
}

/* Calls on_entry for each element of a colon-separated list. */
static void each_entry(const char *list, void (*on_entry)(void *arg, const char *p, size_t n),
                       void *arg)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, ":");
        if (n > 0 && n < PATH_MAX / 2)
            on_entry(arg, p, n);
        p += n + (p[n] == ':');
    }
}

static void scan_jupyter_path(void *arg, const char *p, size_t n)
{
    scan_below(arg, p, n, "/kernels");
}

/* First folder on PATH that holds python3: its parent is the prefix, where ipykernel installs its spec. */
struct python_search {
    char prefix[PATH_MAX];
    bool found;
};

static void try_python(void *arg, const char *p, size_t n)
{
    struct python_search *search = arg;
    char program[PATH_MAX];
    if (search->found || p[0] != '/' || n < 5 || memcmp(p + n - 4, "/bin", 4) != 0 ||
        snprintf(program, sizeof(program), "%.*s/python3", (int)n, p) >= (int)sizeof(program) ||
        access(program, X_OK) < 0)
        return;
    memcpy(search->prefix, p, n - 4);
    search->prefix[n - 4] = '\0';
    search->found = true;
}

static bool has_launcher(const char *lib)
{
    static const char *const packages[] = {"site-packages", "dist-packages"};
    char path[PATH_MAX];
    bool found = false;
    DIR *handle = opendir(lib);
    const struct dirent *entry;
    for (int i = 0; handle && !found && i < KERNELSPEC_SCAN_MAX && (entry = readdir(handle)); i++) {
        if (!str_starts(entry->d_name, "python3"))
            continue;
        for (size_t k = 0; k < ARRAY_LEN(packages) && !found; k++)
            found = snprintf(path, sizeof(path), "%s/%s/%s/ipykernel_launcher.py", lib,
                             entry->d_name, packages[k]) < (int)sizeof(path) &&
                    access(path, R_OK) == 0;
    }
    if (handle)
        closedir(handle);
    return found;
}

/* ipykernel without a spec, as after `pip install --target`. */
static void add_builtin_python(struct kernelspecs *specs, const struct python_search *python)
{
    static const char *argv[] = {"python3", "-Xfrozen_modules=off", "-m", "ipykernel_launcher",
                                 "-f",      "{connection_file}",    NULL};
    static const char *const libs[] = {"/lib", "/local/lib"};
    char lib[PATH_MAX];
    bool found = false;
    for (size_t i = 0; python->found && !found && i < ARRAY_LEN(libs); i++)
        found = snprintf(lib, sizeof(lib), "%s%s", python->prefix, libs[i]) < (int)sizeof(lib) &&
                has_launcher(lib);
    if (!found || specs->n == KERNELSPEC_MAX || kernelspecs_find(specs, "python"))
        return;
    specs->items[specs->n++] = (struct kernelspec){
        .name = "python3",
        .display_name = "Python 3 (ipykernel)",
        .language = "python",
        .resource_dir = "/",
        .argv = {argv, ARRAY_LEN(argv) - 1},
        .interrupt_mode = "signal",
        .traits = {.transports = TRANSPORT_IPC | TRANSPORT_TCP, .ipc_separator = '-'},
    };
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct kernelspec *)a)->name, ((const struct kernelspec *)b)->name);
}

struct kernelspecs *kernelspecs_scan(const struct kernelspec_env *env)
{
    struct kernelspecs *specs = xcalloc(1, sizeof(*specs));
    struct python_search python = {0};
    arena_init(&specs->arena);
    each_entry(env->path, try_python, &python);
    each_entry(env->jupyter_path, scan_jupyter_path, specs);
    scan_dir(specs, "/etc/opensandbox/kernelspecs");
    if (env->jupyter_data_dir)
        scan_below(specs, env->jupyter_data_dir, strlen(env->jupyter_data_dir), "/kernels");
    else if (env->home)
        scan_below(specs, env->home, strlen(env->home), "/.local/share/jupyter/kernels");
    if (python.found)
        scan_below(specs, python.prefix, strlen(python.prefix), "/share/jupyter/kernels");
    scan_dir(specs, "/usr/local/share/jupyter/kernels");
    scan_dir(specs, "/usr/share/jupyter/kernels");
    if (env->home)
        scan_below(specs, env->home, strlen(env->home), "/.ipython/kernels");
    add_builtin_python(specs, &python);
    qsort(specs->items, specs->n, sizeof(specs->items[0]), by_name);
    return specs;
}

void kernelspecs_free(struct kernelspecs *specs)
{
    if (!specs)
        return;
    arena_done(&specs->arena);
    free(specs);
}

const struct kernelspec *kernelspecs_find(const struct kernelspecs *specs, const char *language)
{
    const struct kernelspec *first = NULL, *third = NULL, *named = NULL;
    for (size_t i = 0; i < specs->n; i++) {
        const struct kernelspec *spec = &specs->items[i];
        size_t len = strlen(language);
        bool same_name = str_eq_nocase(spec->name, language);
        if (same_name)
            named = spec;
        if (!str_eq_nocase(spec->language, language))
            continue;
        if (same_name)
            return spec;
        if (strncasecmp(spec->name, language, len) == 0 && strcmp(spec->name + len, "3") == 0)
            third = spec;
        if (!first)
            first = spec; /* items are sorted by name */
    }
    if (third)
        return third;
    return first ? first : named;
}

const struct kernelspec *kernelspecs_named(const struct kernelspecs *specs, const char *name)
{
    for (size_t i = 0; i < specs->n; i++)
        if (str_eq_nocase(specs->items[i].name, name))
            return &specs->items[i];
    return str_eq_nocase(name, "python") ? kernelspecs_named(specs, "python3") : NULL;
}

const struct kernelspec_broken *kernelspecs_broken(const struct kernelspecs *specs,
                                                   const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < specs->n_broken; i++) {
        const struct kernelspec_broken *b = &specs->broken[i];
        if (strncasecmp(b->name, name, len) == 0 &&
            (b->name[len] == '\0' || strcmp(b->name + len, "3") == 0))
            return b;
    }
    return NULL;
}

void kernelspecs_known(const struct kernelspecs *specs, char *buf, size_t size)
{
    static const char more[] = ", ...";
    char entry[128];
    size_t len = 0;
    (void)snprintf(buf, size, "none"); /* a short constant */
    for (size_t i = 0; i < specs->n; i++) {
        const struct kernelspec *spec = &specs->items[i];
        bool same = str_eq_nocase(spec->language, spec->name);
        (void)snprintf(entry, sizeof(entry), same ? "%s%.40s" : "%s%.40s (%.60s)", len ? ", " : "",
                       spec->language, spec->name); /* fits */
        size_t behind = i + 1 < specs->n ? sizeof(more) : 1;
        if (len + strlen(entry) + behind > size) {
            (void)snprintf(buf + len, size - len, "%s", len ? more : more + 2); /* was left */
            return;
        }
        len += (size_t)snprintf(buf + len, size - len, "%s", entry);
    }
}

/* Copies text with every PREFIX NAME "}" replaced by value(NAME); unknown names (NULL) stay as they are. */
static const char *substitute(const char *text, const char *prefix,
                              const char *(*value)(void *arg, const char *name), void *arg,
                              struct arena *arena)
{
    struct strbuf out;
    strbuf_init(&out, STRING_MAX);
    for (const char *p = text; *p;) {
        size_t skip = strlen(prefix),
               len = strncmp(p, prefix, skip) == 0 ? strcspn(p + skip, "}{$") : 0;
        char name[128];
        const char *found = NULL;
        if (len > 0 && len < sizeof(name) && p[skip + len] == '}') {
            memcpy(name, p + skip, len);
            name[len] = '\0';
            found = value(arg, name);
        }
        if (found) {
            strbuf_adds(&out, found);
            p += skip + len + 1;
        } else {
            strbuf_addc(&out, *p++);
        }
    }
    const char *copy =
        strbuf_check(&out) == 0 ? arena_strndup(arena, out.data ? out.data : "", out.len) : NULL;
    strbuf_done(&out);
    return copy;
}

struct argv_values {
    const char *connection_file, *resource_dir;
};

static const char *argv_value(void *arg, const char *name)
{
    const struct argv_values *values = arg;
    if (strcmp(name, "connection_file") == 0)
        return values->connection_file;
    return strcmp(name, "resource_dir") == 0 ? values->resource_dir : NULL;
}

const char *const *kernelspec_argv(const struct kernelspec *spec, const char *connection_file,
                                   struct arena *arena)
{
    struct argv_values values = {connection_file, spec->resource_dir};
    const char **argv = arena_alloc(arena, (spec->argv.n + 1) * sizeof(*argv));
    for (size_t i = 0; argv && i < spec->argv.n; i++) {
        argv[i] = substitute(spec->argv.items[i], "{", argv_value, &values, arena);
        if (!argv[i])
            return NULL;
    }
    return argv;
}

static const char *env_value(void *arg, const char *name)
{
    const char *const *envp = arg;
    size_t len = strlen(name);
    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
            return *envp + len + 1;
    return "";
}

const char *kernelspec_env_value(const char *value, const char *const *envp, struct arena *arena)
{
    return substitute(value, "${", env_value, (void *)envp, arena);
}
