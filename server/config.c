#include "server/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/fd.h"
#include "proto/base/log.h"
#include "proto/base/options.h"
#include "proto/base/path.h"
#include "proto/base/str.h"
#include "proto/http/address.h"
#include "proto/json/jfield.h"
#include "server/toml.h"

#define CONFIG_FILE_MAX (1024 * 1024)

enum key_kind { KEY_STRING, KEY_INT, KEY_BOOL };

struct key {
    const char *section, *name;
    enum key_kind kind;
    size_t offset;
    const char *text_default; /* NULL string = unset */
    int64_t number_default, min, max;
    const char *doc;
};

#define STRING(sec, nm, member, dflt, text)                                                        \
    {                                                                                              \
        sec, nm, KEY_STRING, offsetof(struct config, member), dflt, 0, 0, 0, text                  \
    }
#define INT(sec, nm, member, dflt, lo, hi, text)                                                   \
    {                                                                                              \
        sec, nm, KEY_INT, offsetof(struct config, member), NULL, dflt, lo, hi, text                \
    }
#define BOOL(sec, nm, member, dflt, text)                                                          \
    {                                                                                              \
        sec, nm, KEY_BOOL, offsetof(struct config, member), NULL, dflt, 0, 1, text                 \
    }

static const struct key keys[] = {
    STRING("server", "host", host, "127.0.0.1",
           "Address to listen on. Anything but loopback needs an api_key."),
    INT("server", "port", port, 8080, 0, 65535,
        "Port to listen on; 0 takes a free one (it is logged)."),
    STRING("server", "unix_socket", listen, NULL,
           "An additional Unix socket to listen on (mode 0600)."),
    STRING("server", "api_key", api_key, NULL,
           "Clients send it as OPEN-SANDBOX-API-KEY. The environment variable "
           "OPENSANDBOX_SERVER_API_KEY wins."),
    STRING("server", "eip", eip, NULL,
           "Host (and port) that endpoints name, instead of the request's Host header. Without "
           "api_key "
           "the only name, beside localhost and addresses, that requests may ask for."),
    INT("server", "max_sandbox_timeout_seconds", timeout_max_s, 0, 0, 3162240000,
        "Longest lifetime a create request may ask for; 0 = no bound."),
    INT("server", "max_sandboxes", sandboxes_max, 2000, 1, 100000,
        "Sandboxes at once; one more is answered 429."),
    INT("server", "timeout_keep_alive", keep_alive_s, 75, 1, 3600,
        "Seconds an idle connection stays open."),
    INT("server", "limit_concurrency", connections_max, 1024, 0, 100000,
        "Open connections; 0 = 4096."),
    INT("server", "timeout_graceful_shutdown", grace_s, 5, 0, 3600,
        "Seconds that requests under way get at shutdown. Sandboxes go on running."),
    BOOL("server", "insecure", insecure, false, "Allow a non-loopback address without api_key."),
    STRING("enclave", "listen", enclave_listen, NULL,
           "ADDRESS:PORT of an additional listener for clients of ms-enclave (theirs is port 8000 "
           "by default). Its routes are on the first listener too."),
    STRING("enclave", "image", enclave_image, "python-code-interpreter",
           "Image of their sandboxes, where they name none or just their own default."),
    STRING("log", "level", log_level, "info", "debug, info, warn or error."),
    STRING("log", "file_path", log_file, NULL, "Log file (JSON lines); standard error when unset."),
    STRING("runtime", "type", runtime, "native",
           "native: namespaces, cgroups and overlayfs, no daemon."),
    STRING(
        "runtime", "execd_path", execd_path, NULL,
        "The static execd binary that every sandbox runs as PID 1; default: beside this program, "
        "or ../libexec/execd/execd from there."),
    STRING("runtime", "state_dir", state_dir, "/var/lib/execd-server",
           "Images, sandboxes and the database live here."),
    STRING("store", "path", store_path, NULL, "SQLite file; default: STATE_DIR/server.db."),
    INT("native", "uid_base", uid_base, 100000, 65536, 4000000000,
        "First host uid of the sandboxes' user namespace."),
    INT("native", "pids_limit", pids_limit, 4096, 16, 4194304,
        "Processes of a sandbox that asks for no limit."),
    INT("native", "start_timeout_seconds", start_timeout_s, 10, 1, 600,
        "Time for execd to come up in a sandbox."),
    INT("native", "tmp_mib", tmp_mib, 64, 1, 65536,
        "Size of the memory file systems /dev/shm and /run, each."),
    STRING("native", "cgroup_parent", cgroup_parent, "execd",
           "Name of the control group that holds the sandboxes."),
};

static void set_string(struct config *c, const struct key *k, const char *value)
{
    const char **slot = (const char **)((char *)c + k->offset);

    *slot =
        value != NULL && value[0] != '\0' ? arena_strndup(&c->arena, value, strlen(value)) : NULL;
}

static void set_number(struct config *c, const struct key *k, int64_t value)
{
    char *slot = (char *)c + k->offset;

    if (k->kind == KEY_BOOL)
        *(bool *)slot = value != 0;
    else
        *(int64_t *)slot = value;
}

static int apply(struct config *c, const struct key *k, const json_t *value, struct err *err)
{
    if (k->kind == KEY_STRING && json_is_string(value)) {
        set_string(c, k, json_string_value(value));
        return 0;
    }
    if (k->kind == KEY_BOOL && json_is_boolean(value)) {
        set_number(c, k, json_is_true(value));
        return 0;
    }
    if (k->kind != KEY_INT || !json_is_integer(value))
        return err_set(err, 0, EINVAL, "%s.%s: expected %s", k->section, k->name,
                       k->kind == KEY_STRING ? "a string"
                       : k->kind == KEY_BOOL ? "true or false"
                                             : "an integer");
    int64_t n = json_integer_value(value);
    if (n < k->min || n > k->max)
        return err_set(err, 0, EINVAL, "%s.%s: %lld is outside %lld..%lld", k->section, k->name,
                       (long long)n, (long long)k->min, (long long)k->max);
    set_number(c, k, n);
    return 0;
}

/* "did you mean": among the section's keys, or among the sections. */
static void warn_unknown(const char *file, const char *section, const char *name)
{
    const char *names[ARRAY_LEN(keys)];
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (name == NULL)
            names[n++] = keys[i].section;
        else if (strcmp(keys[i].section, section) == 0)
            names[n++] = keys[i].name;
    }
    const char *near = options_nearest(name != NULL ? name : section, names, n);
    log_printf(LOG_LEVEL_WARN, "config", "%s: unknown %s%s%s%s%s%s%s", file,
               name != NULL ? "key " : "section ", section, name != NULL ? "." : "",
               name != NULL ? name : "", near != NULL ? " (did you mean '" : "",
               near != NULL ? near : "", near != NULL ? "'?)" : "");
}

static const struct key *find_key(const char *section, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strcmp(keys[i].section, section) == 0 &&
            (name == NULL || strcmp(keys[i].name, name) == 0))
            return &keys[i];
    }
    return NULL;
}

static int apply_section(struct config *c, const char *section, json_t *table, struct err *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(table, name, value)
    {
        const struct key *k = find_key(section, name);
        if (k == NULL) {
            warn_unknown(c->file, section, name);
            continue;
        }
        int rc = apply(c, k, value, err);
        if (rc < 0)
            return err_wrap(err, "%s", c->file);
    }
    return 0;
}

static int read_file(struct config *c, const char *path, struct err *err)
{
    cleanup_free char *text = NULL;
    cleanup_json json_t *doc = NULL;
    const char *section;
    json_t *table;
    size_t len;

    int rc = fd_slurp_alloc(AT_FDCWD, path, CONFIG_FILE_MAX, &text, &len);
    if (rc < 0)
        return err_sys(err, 0, -rc, "configuration file '%s'", path);
    c->file = arena_strndup(&c->arena, path, strlen(path));
    rc = toml_to_json(text, len, path, &doc, err);
    if (rc < 0)
        return rc;
    json_object_foreach(doc, section, table)
    {
        if (!json_is_object(table) || find_key(section, NULL) == NULL) {
            warn_unknown(path, section, NULL);
            continue;
        }
        rc = apply_section(c, section, table, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int config_load(const char *path, struct config *c, struct err *err)
{
    const char *home = getenv("HOME");

    *c = (struct config){0};
    arena_init(&c->arena);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (keys[i].kind == KEY_STRING)
            set_string(c, &keys[i], keys[i].text_default);
        else
            set_number(c, &keys[i], keys[i].number_default);
    }
    if (path == NULL)
        path = getenv("SANDBOX_CONFIG_PATH");
    if (path == NULL && home != NULL) {
        path = arena_printf(&c->arena, "%s/.sandbox.toml", home);
        if (path == NULL || access(path, F_OK) < 0)
            return 0;
    }
    return path != NULL ? read_file(c, path, err) : 0;
}

/* Where `make` leaves it beside this program, or where `make install` puts it. */
static int find_execd(struct config *c, struct err *err)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n < 0)
        return err_sys(err, 0, errno, "find this program's own folder");
    self[n] = '\0';
    int folder = (int)(strrchr(self, '/') - self);
    c->execd_path = arena_printf(&c->arena, "%.*s/execd", folder, self);
    if (c->execd_path != NULL && access(c->execd_path, X_OK) < 0) {
        const char *installed =
            arena_printf(&c->arena, "%.*s/../libexec/execd/execd", folder, self);
        if (installed != NULL && access(installed, X_OK) == 0)
            c->execd_path = installed;
    }
    return 0;
}

static const char *lookup_env(const char *name, void *arg)
{
    (void)arg;
    return getenv(name);
}

/* ~ and $NAME in a path from the file; relative paths count from the working directory. */
static int expand(struct config *c, const char **path, struct err *err)
{
    char expanded[4096], absolute[4096], here[4096];

    if (*path == NULL)
        return 0;
    int rc = path_expand(*path, lookup_env, NULL, expanded, err);
    if (rc == 0 && getcwd(here, sizeof(here)) == NULL)
        rc = err_sys(err, 0, errno, "getcwd");
    if (rc == 0 && path_join(here, expanded, absolute) < 0)
        rc = err_set(err, 0, ENAMETOOLONG, "path '%.100s' is too long", *path);
    if (rc == 0)
        *path = arena_strndup(&c->arena, absolute, strlen(absolute));
    return rc;
}

/* The address is checked before anybody is asked for a key. `shown` is what the configuration says. */
static int check_listener(const struct config *c, const char *key, const char *where,
                          const char *shown, struct err *err)
{
    struct http_address address;

    if (where == NULL)
        return err_set(err, 0, ENOMEM, "out of memory");
    if (http_address_parse(where, &address, err) < 0)
        return err_wrap(err, "%s", key);
    if (c->api_key != NULL || c->insecure || http_address_is_local(&address))
        return 0;
    return err_set(
        err, 0, EACCES,
        "refusing to listen on %.60s without an API key: set server.api_key or "
        "OPENSANDBOX_SERVER_API_KEY, or accept the risk with OPENSANDBOX_INSECURE_SERVER=YES",
        shown);
}

static int check_listeners(struct config *c, struct err *err)
{
    const char *where =
        arena_printf(&c->arena, strchr(c->host, ':') != NULL ? "[%s]:%lld" : "%s:%lld", c->host,
                     (long long)c->port);
    int rc = check_listener(c, "server.host", where, c->host, err);

    if (rc == 0 && c->enclave_listen != NULL)
        rc = check_listener(c, "enclave.listen", c->enclave_listen, c->enclave_listen, err);
    return rc;
}

static void take_environment(struct config *c)
{
    char *key = getenv("OPENSANDBOX_SERVER_API_KEY");
    const char *insecure = getenv("OPENSANDBOX_INSECURE_SERVER");

    if (key != NULL) {
        c->api_key = arena_strndup(&c->arena, key, strlen(key));
        explicit_bzero(key, strlen(key));
        unsetenv("OPENSANDBOX_SERVER_API_KEY");
    }
    if (insecure != NULL && strcmp(insecure, "YES") == 0)
        c->insecure = true;
    if (c->api_key != NULL && c->api_key[strspn(c->api_key, " \t")] == '\0')
        c->api_key = NULL;
}

int config_finish(struct config *c, struct err *err)
{
    int rc;

    take_environment(c);
    if (strcmp(c->host, "localhost") == 0)
        c->host = "127.0.0.1";
    if (strcmp(c->runtime, "native") != 0)
        return err_set(err, 0, EINVAL,
                       "runtime.type: '%s' is not available in this build, only native",
                       c->runtime);
    rc = check_listeners(c, err);
    if (rc < 0)
        return rc;
    if (c->execd_path == NULL)
        rc = find_execd(c, err);
    const char **const paths[] = {&c->execd_path, &c->state_dir, &c->store_path, &c->log_file,
                                  &c->listen};
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(paths); i++)
        rc = expand(c, paths[i], err);
    if (rc == 0 && c->store_path == NULL)
        c->store_path = arena_printf(&c->arena, "%s/server.db", c->state_dir);
    if (rc == 0 && access(c->execd_path, X_OK) < 0)
        rc = err_sys(err, 0, errno, "the execd binary '%s' (runtime.execd_path)", c->execd_path);
    return rc;
}

void config_done(struct config *c)
{
    arena_done(&c->arena);
}

static void write_value(struct strbuf *out, const struct key *k)
{
    if (k->kind == KEY_STRING && k->text_default == NULL)
        strbuf_addf(out, "# %s = \"\"\n", k->name);
    else if (k->kind == KEY_STRING)
        strbuf_addf(out, "%s = \"%s\"\n", k->name, k->text_default);
    else if (k->kind == KEY_BOOL)
        strbuf_addf(out, "%s = %s\n", k->name, k->number_default != 0 ? "true" : "false");
    else
        strbuf_addf(out, "%s = %lld\n", k->name, (long long)k->number_default);
}

void config_write_example(struct strbuf *out)
{
    const char *section = "";

    strbuf_adds(out, "# Configuration of execd-server. Every key is shown with its default.\n");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strcmp(keys[i].section, section) != 0)
            strbuf_addf(out, "\n[%s]\n", keys[i].section);
        section = keys[i].section;
        strbuf_addf(out, "# %s\n", keys[i].doc);
        write_value(out, &keys[i]);
    }
}
