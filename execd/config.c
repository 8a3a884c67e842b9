#include "execd/config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "execd/code/connection.h"
#include "execd/config_priv.h"
#include "execd/sql/dsn.h"
#include "proto/base/mem.h"
#include "proto/base/options.h"
#include "proto/base/path.h"
#include "proto/base/str.h"
#include "proto/base/version.h"

#define PORT_DEFAULT "44772"
#define GRACE_DEFAULT "1s"
#define TIME_MAX_MS (10 * 60 * 1000)
/* A constant as text. */
#define NUMBER(constant) NUMBER_TEXT(constant)
#define NUMBER_TEXT(digits) #digits

struct flags {
    struct config *config;
    const char *port, *inner, *token, *token_sha256, *log_level, *log_file, *line_endings, *grace,
        *seccomp, *lifecycle;
    const char *sql;
    struct kernel_flags kernels;
    const char *isolation_root, *isolation_writable;
    const char *jupyter_host, *jupyter_poll;
    struct gateway_flags gateway;
    struct shared_flags shared;
    bool isolation_grant, insecure, init, exit_with_entrypoint, help, version, json;
};

/* execd leaves its start directory before it opens anything: paths are made absolute while it is there. */
int config_keep_path(struct config *c, const char *prefix, const char *path, const char **ret_kept,
                     struct err *err)
{
    char here[PATH_MAX] = "/", joined[PATH_MAX];
    if (path[0] != '/' && getcwd(here, sizeof(here)) == NULL)
        return err_sys(err, 0, errno, "'%.150s': the working directory cannot be told", path);
    int result = path_join(here, path, joined);
    if (result < 0)
        return err_sys(err, 0, -result, "'%.150s'", path);
    *ret_kept = arena_printf(&c->arena, "%s%s", prefix, joined);
    return *ret_kept != NULL ? 0 : err_set(err, 0, ENOMEM, "out of memory");
}

static int add_listen(void *target, const char *value, struct err *err)
{
    return config_add_listen(((struct flags *)target)->config, value, err);
}

static int add_gateway_listen(void *target, const char *value, struct err *err)
{
    return config_add_gateway_listen(((struct flags *)target)->config, value, err);
}

static int add_origin(void *target, const char *value, struct err *err)
{
    struct config *c = ((struct flags *)target)->config;
    size_t n = 0;
    while (c->allowed_origins[n] != NULL)
        n++;
    if (n == CONFIG_ORIGINS_MAX)
        return err_set(err, 0, EINVAL, "--allow-origin: more than %d origins", CONFIG_ORIGINS_MAX);
    if (strcmp(value, "*") != 0 && strstr(value, "://") == NULL)
        return err_set(err, 0, EINVAL, "--allow-origin: '%.60s' is no origin like https://host",
                       value);
    c->allowed_origins[n] = arena_strndup(&c->arena, value, strlen(value));
    return c->allowed_origins[n] != NULL ? 0 : err_set(err, 0, ENOMEM, "out of memory");
}

/* clang-format off: one option per row */
#define AT(field) offsetof(struct flags, field)
static const struct option_row option_rows[] = {
    {"listen", 'l', OPTION_CALL, "EXECD_LISTEN", "WHERE",
     "Serve on ADDR:PORT, [IPV6]:PORT, unix:PATH, or fd:N, an inherited listening socket; may be "
     "given several times. Port 0 takes a free one. "
     "Default: every address, --port.",
     "Listening", 0, add_listen},
    {"port", 'p', OPTION_STRING, "EXECD_PORT", "PORT",
     "Port on every address, when no --listen is given (" PORT_DEFAULT ").", NULL, AT(port), NULL},
    {"inner-listen", 0, OPTION_STRING, "EXECD_INNER_LISTEN", "WHERE",
     "Second listener for programs inside the sandbox (" INNER_HOST ":" INNER_PORT
     ", or the port that JUPYTER_PORT names); off = none. A taken port is only a warning.",
     NULL, AT(inner), NULL},
    {"access-token-sha256", 0, OPTION_STRING, "EXECD_TOKEN_SHA256", "HEX",
     "SHA-256 of the token that requests must carry in X-EXECD-ACCESS-TOKEN. execd never needs the "
     "token itself.",
     "Access", AT(token_sha256), NULL},
    {"access-token", 0, OPTION_STRING, "EXECD_ACCESS_TOKEN", "TOKEN",
     "The token in clear: hashed at once and wiped from memory. Prefer --access-token-sha256.",
     NULL, AT(token), NULL},
    {"insecure", 0, OPTION_FLAG, "EXECD_INSECURE", NULL,
     "Serve without a token on addresses that others can reach: whoever connects runs commands.",
     NULL, AT(insecure), NULL},
    {"allow-origin", 0, OPTION_CALL, "EXECD_ALLOW_ORIGIN", "ORIGIN",
     "Web pages of this origin (https://host, or * for all) may open WebSockets and use the "
     "Jupyter "
     "gateway, besides pages of execd's own address; where no token is asked for its host is a "
     "name "
     "to be reached by, besides localhost and addresses; may be given several times.",
     NULL, 0, add_origin},
    {"init", 0, OPTION_FLAG, "EXECD_INIT", NULL,
     "Be the container's init: run the program given after --, and end with its exit code.",
     "Entrypoint", AT(init), NULL},
    {"exit-with-entrypoint", 0, OPTION_FLAG, "EXECD_EXIT_WITH_ENTRYPOINT", NULL,
     "End when the program ends, with its exit code (128+n for signal n). Otherwise go on serving.",
     NULL, AT(exit_with_entrypoint), NULL},
    {"lifecycle", 0, OPTION_STRING, "OPENSANDBOX_LIFECYCLE", "JSON",
     "Hooks: preStart runs to its end before PROGRAM starts, periodic ones by their schedule.",
     NULL, AT(lifecycle), NULL},
    {"grace", 'g', OPTION_STRING, "EXECD_GRACE", "TIME",
     "How long processes may take after SIGTERM before SIGKILL, at shutdown (" GRACE_DEFAULT
     "). 500ms, 3s, 1m.",
     "Running", AT(grace), NULL},
    {"graceful-shutdown-timeout", 0, OPTION_STRING, "EXECD_API_GRACE_SHUTDOWN", "TIME",
     "Other name of --grace.", NULL, AT(grace), NULL},
    {"line-endings", 0, OPTION_STRING, "EXECD_LINE_ENDINGS", "MODE",
     "Line terminators in command output: keep, strip, or auto (by the client's version).", NULL,
     AT(line_endings), NULL},
    {"seccomp", 0, OPTION_STRING, "EXECD_SECCOMP", "MODE",
     "Keep programs in the sandbox from changing execd's limits and priority: auto (as PID 1, "
     "where it costs "
     "nothing else), on (also gives up set-uid programs), off.",
     NULL, AT(seccomp), NULL},
    {"contexts-max", 0, OPTION_STRING, "EXECD_CONTEXTS_MAX", "N",
     "Code contexts (kernels, and shells as contexts) at once (64).", "Kernels",
     AT(kernels.contexts_max), NULL},
    {"kernel-dir", 0, OPTION_STRING, "EXECD_KERNEL_DIR", "DIR",
     "Folder for the kernels' sockets, at most " NUMBER(
         KERNEL_DIR_MAX) " bytes long; made with "
                         "mode 0700. Default: "
                         "/run/execd-kernels, or one in /tmp where /run cannot be written.",
     NULL, AT(kernels.dir), NULL},
    {"kernel-start-timeout", 0, OPTION_STRING, "EXECD_KERNEL_START_TIMEOUT", "TIME",
     "How long a kernel may take until it answers (30s).", NULL, AT(kernels.start), NULL},
    {"kernel-interrupt-grace", 0, OPTION_STRING, "EXECD_KERNEL_INTERRUPT_GRACE", "TIME",
     "How long a run may go on after an interrupt before its kernel is killed (5s).", NULL,
     AT(kernels.interrupt), NULL},
    {"cull-idle", 0, OPTION_STRING, "EXECD_CULL_IDLE", "TIME",
     "Delete a code context that has had no run and no client for so long (0: never). A "
     "kernelspec's metadata.cull_idle_timeout, in seconds, goes before.",
     NULL, AT(kernels.cull_idle), NULL},
    {"cull-interval", 0, OPTION_STRING, "EXECD_CULL_INTERVAL", "TIME",
     "How often idle contexts are looked for (1m), at the least: a shorter idle time makes it more "
     "often.",
     NULL, AT(kernels.cull_interval), NULL},
    {"zygote", 0, OPTION_STRING, "EXECD_ZYGOTE", "on|off",
     "Fork IPython kernels from a warm interpreter once the first has been asked for (on).", NULL,
     AT(kernels.zygote), NULL},
    {"kernel-pool", 0, OPTION_STRING, "EXECD_KERNEL_POOL", "N",
     "IPython kernels that wait ready for the next context once the first has been asked for (1; "
     "0: "
     "none).",
     NULL, AT(kernels.pool), NULL},
    {"checkpoints-max", 0, OPTION_STRING, "EXECD_CHECKPOINTS_MAX", "N",
     "Checkpoints of a code context at once (16; 0: none can be made).", NULL,
     AT(kernels.checkpoints), NULL},
    {"checkpoint-memory", 0, OPTION_STRING, "EXECD_CHECKPOINT_MEMORY", "SIZE",
     "Memory of all checkpoints together (a quarter of what the sandbox has); then the ones not "
     "used "
     "for longest go.",
     NULL, AT(kernels.checkpoint_memory), NULL},
    {"preload", 0, OPTION_STRING, "EXECD_KERNEL_PRELOAD", "MODULES",
     "More modules for warm interpreters, such as numpy,pandas,matplotlib.pyplot.", NULL,
     AT(kernels.preload), NULL},
    {"sql", 0, OPTION_STRING, "EXECD_SQL_DSN", "DSN",
     "Database of language \"sql\": sqlite:PATH (needs python3 in the image), or of MySQL or "
     "MariaDB mysql://USER:PASSWORD@ADDRESS:PORT/DATABASE, "
     "mysql://USER:PASSWORD@/DATABASE?socket=PATH (sqlite:~/.opensandbox/sandbox.db).",
     "SQL", AT(sql), NULL},
    {"default-kernel", 0, OPTION_STRING, "EXECD_DEFAULT_KERNEL", "NAME",
     "Kernelspec for Jupyter clients that name none (python3).", "Jupyter gateway",
     AT(gateway.default_kernel), NULL},
    {"gateway-listen", 0, OPTION_CALL, "EXECD_GATEWAY_LISTEN", "WHERE",
     "Serve Jupyter clients on ADDR:PORT (8888 is usual) too; may be given several times. Without "
     "--listen and a token of execd's own, nothing else is served. The same routes are on every "
     "other listener.",
     NULL, 0, add_gateway_listen},
    {"gateway-token", 0, OPTION_STRING, "EXECD_GATEWAY_TOKEN", "TOKEN",
     "Opens the Jupyter routes of those listeners, as execd's own token does everywhere. Default: "
     "KG_AUTH_TOKEN, EG_AUTH_TOKEN or JUPYTER_TOKEN of the environment.",
     NULL, AT(gateway.token), NULL},
    {"gateway-open", 0, OPTION_FLAG, "EXECD_GATEWAY_OPEN", NULL,
     "The Jupyter routes of those listeners ask for no token: whoever connects runs code.", NULL,
     AT(gateway.open), NULL},
    {"gateway-root", 0, OPTION_STRING, "EXECD_GATEWAY_ROOT", "DIR",
     "What /api/contents shows (the directory that execd was started in).", NULL, AT(gateway.root),
     NULL},
    {"file-server", 0, OPTION_STRING, "EXECD_FILE_SERVER", "WHERE",
     "Serve one folder of files on ADDR:PORT (8080 is usual): listing and reading ask for nothing, "
     "writing for a token.",
     "File server", AT(shared.listen), NULL},
    {"file-server-root", 0, OPTION_STRING, "EXECD_FILE_SERVER_ROOT", "DIR",
     "That folder (/data/shared).", NULL, AT(shared.root), NULL},
    {"file-server-token", 0, OPTION_STRING, "WRITE_TOKEN", "TOKEN",
     "What writers send in the header `token`; without one nothing is written.", NULL,
     AT(shared.token), NULL},
    {"file-server-open", 0, OPTION_FLAG, "EXECD_FILE_SERVER_OPEN", NULL,
     "Serve it without a token on any address: whoever connects reads that folder.", NULL,
     AT(shared.open), NULL},
    {"isolation-root", 0, OPTION_STRING, "EXECD_ISOLATION_ROOT", "DIR",
     "Where isolated sessions keep what they write (/var/lib/execd/isolation).",
     "Isolated sessions", AT(isolation_root), NULL},
    {"isolation-writable", 0, OPTION_STRING, "EXECD_ISOLATION_WRITABLE", "DIR:DIR...",
     "What a session may be given beside its overlays (/workspace:/mnt:/media:/data); empty = "
     "nothing.",
     NULL, AT(isolation_writable), NULL},
    {"isolation-grant", 0, OPTION_FLAG, "EXECD_ISOLATION_GRANT", NULL,
     "CAP_SYS_ADMIN and CAP_NET_ADMIN were given for isolated sessions: take both, and the system "
     "calls of mounts and namespaces, from everything else that execd starts.",
     NULL, AT(isolation_grant), NULL},
    {"log-level", 0, OPTION_STRING, "EXECD_LOG_LEVEL", "LEVEL",
     "debug, info, warn or error; 0 to 7 as in OpenSandbox.", "Logging", AT(log_level), NULL},
    {"log-file", 0, OPTION_STRING, "EXECD_LOG_FILE", "FILE",
     "Append log lines (JSON) to FILE instead of standard error.", NULL, AT(log_file), NULL},
    {"jupyter-host", 0, OPTION_STRING, "JUPYTER_HOST", "URL",
     "Accepted, not used: kernels are driven directly.", "Compatibility", AT(jupyter_host), NULL},
    {"jupyter-token", 0, OPTION_STRING, "JUPYTER_TOKEN", "TOKEN", "As --gateway-token.", NULL,
     AT(gateway.jupyter_token), NULL},
    {"jupyter-idle-poll-interval", 0, OPTION_STRING, "EXECD_JUPYTER_IDLE_POLL_INTERVAL", "TIME",
     "Accepted, not used: nothing is polled.", NULL, AT(jupyter_poll), NULL},
    {"version", 'V', OPTION_FLAG, NULL, NULL, "Print the version and exit.", "Help", AT(version),
     NULL},
    {"json", 0, OPTION_FLAG, NULL, NULL, "With --version: as JSON.", NULL, AT(json), NULL},
    {"help", 'h', OPTION_FLAG, NULL, NULL, "Print this text and exit.", NULL, AT(help), NULL},
};
/* clang-format on */

static const char help_head[] =
    "execd: runs commands, Python and other kernels, and file transfers in a sandbox, over HTTP.\n"
    "\n"
    "Usage:\n"
    "  execd [OPTIONS] [PROGRAM ARGUMENT...]     serve; with PROGRAM: start and supervise it as "
    "well\n"
    "  execd [OPTIONS] -- PROGRAM ARGUMENT...    the same, for a PROGRAM that begins with a dash\n"
    "  execd --init -- PROGRAM ARGUMENT...       be the container's init: end with PROGRAM's exit "
    "code\n"
    "  execd bootstrap [PROGRAM ARGUMENT...]     start as bootstrap.sh does, also under that name: "
    "sources\n"
    "                                            EXECD_BOOTSTRAP_PRE_SCRIPT, runs BOOTSTRAP_CMD, "
    "PROGRAM or a shell\n"
    "\n"
    "As PID 1 it reaps every orphan and forwards HUP, QUIT, USR1, USR2 and WINCH to PROGRAM. TERM "
    "and INT\n"
    "shut down in order (exit code 0, or PROGRAM's where that is asked for), a second one does it "
    "now.\n"
    "Signals from inside the sandbox are ignored.\n"
    "\n"
    "TIME is a number with ms, s, m or h, or several of them (500ms, 3s, 1m30s); a bare number is "
    "seconds.\n"
    "Options (also by the environment variable in brackets):\n";

static const char help_tail[] =
    "\n"
    "Try it:\n"
    "  execd --listen 127.0.0.1:44772 --access-token s3cret &\n"
    "  curl localhost:44772/ping\n"
    "  curl -N localhost:44772/command -H 'X-EXECD-ACCESS-TOKEN: s3cret' \\\n"
    "       -d '{\"command\": \"for i in 1 2 3; do echo line $i; sleep 1; done\"}'\n";

static void print_help(void)
{
    fputs(help_head, stdout);
    fflush(stdout);
    options_print_help(option_rows, ARRAY_LEN(option_rows), STDOUT_FILENO);
    fputs(help_tail, stdout);
}

static void print_version(bool json)
{
    printf(json ? "{\"name\":\"execd\",\"version\":\"%s\"}\n" : "execd %s\n", version_text());
}

/* ---- values ---- */

static int set_port(const char *text, struct config *c, struct err *err)
{
    uint32_t port;
    if (str_to_u32(text, &port) < 0 || port > UINT16_MAX)
        return err_set(err, 0, EINVAL, "--port: '%.40s' is not a number from 0 to 65535", text);
    c->port = (uint16_t)port;
    return 0;
}

/* Upstream's digits: 3 and below error, 4 warn, 5 and 6 info, 7 and above debug. */
static int set_log_level(const char *text, struct config *c, struct err *err)
{
    uint32_t digit;
    if (str_to_u32(text, &digit) == 0)
        c->log_level = digit <= 3   ? LOG_LEVEL_ERROR
                       : digit == 4 ? LOG_LEVEL_WARN
                       : digit <= 6 ? LOG_LEVEL_INFO
                                    : LOG_LEVEL_DEBUG;
    else if (log_level_parse(text, &c->log_level) < 0)
        return err_set(err, 0, EINVAL, "--log-level: '%.40s' is none of debug, info, warn, error",
                       text);
    return 0;
}

int config_set_time(const char *option, const char *text, int *ret_ms, struct err *err)
{
    int64_t ms;
    if (text == NULL || text[0] == '\0')
        return 0;
    if (str_to_duration_ms(text, &ms) < 0 || ms < 0 || ms > TIME_MAX_MS)
        return err_set(err, 0, EINVAL,
                       "--%s: '%.40s' is not a time up to 10m (like 500ms, 3s, 1m30s)", option,
                       text);
    *ret_ms = (int)ms;
    return 0;
}

/* A path is made absolute; the home directory is found where the statements run. The other kind may hold a password,
 * of which nothing stays where others could read it. */
static int set_sql(const char *given, struct config *c, struct err *err)
{
    struct dsn dsn;
    if (given == NULL || given[0] == '\0')
        return 0;
    int result = dsn_parse(given, &c->arena, &dsn, err);
    if (result < 0)
        return err_wrap(err, "--sql");
    if (dsn.kind == DSN_SQLITE && dsn.path[0] != '~' && strcmp(dsn.path, ":memory:") != 0)
        return config_keep_path(c, "sqlite:", dsn.path, &c->sql_dsn, err);
    c->sql_dsn = arena_printf(&c->arena, "%s", given);
    if (dsn.kind == DSN_MYSQL)
        config_wipe(given);
    return c->sql_dsn != NULL ? 0 : err_set(err, 0, ENOMEM, "out of memory");
}

static int set_isolation(const struct flags *f, struct config *c, struct err *err)
{
    const char *rest = f->isolation_writable;
    size_t n = 0;
    if (f->isolation_root != NULL && f->isolation_root[0] != '\0') {
        int result = config_keep_path(c, "", f->isolation_root, &c->isolation_root, err);
        if (result < 0)
            return result;
    }
    if (rest == NULL)
        return 0;
    const char **dirs = arena_alloc(&c->arena, (CONFIG_WRITABLE_MAX + 1) * sizeof(*dirs));
    for (; dirs != NULL && *rest != '\0'; rest += *rest == ':') {
        size_t len = strcspn(rest, ":");
        if (rest[0] != '/' || n == CONFIG_WRITABLE_MAX)
            return err_set(err, 0, EINVAL,
                           "--isolation-writable: at most %d absolute paths, separated by colons",
                           CONFIG_WRITABLE_MAX);
        dirs[n++] = arena_strndup(&c->arena, rest, len);
        rest += len;
    }
    c->isolation_writable = dirs;
    return dirs != NULL ? 0 : err_set(err, 0, ENOMEM, "out of memory");
}

static int set_seccomp(const char *text, struct config *c, struct err *err)
{
    static const char *const modes[] = {
        [FILTER_AUTO] = "auto", [FILTER_ON] = "on", [FILTER_OFF] = "off"};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        if (strcmp(text, modes[i]) == 0) {
            c->seccomp = (enum filter_mode)i;
            return 0;
        }
    return err_set(err, 0, EINVAL, "--seccomp: '%.40s' is none of auto, on, off", text);
}

static int set_line_endings(const char *text, struct config *c, struct err *err)
{
    if (line_endings_parse(text, &c->line_endings) == 0)
        return 0;
    return err_set(err, 0, EINVAL, "--line-endings: '%.40s' is none of auto, keep, strip", text);
}

/* Overwrites the bytes in the argument vector or environment block itself: the kernel shows both to others. */
void config_wipe(const char *secret)
{
    explicit_bzero((char *)(uintptr_t)secret, strlen(secret));
}

static int set_token(const struct flags *f, struct config *c, struct err *err)
{
    bool has_hash = f->token_sha256 != NULL && f->token_sha256[0] != '\0';
    bool has_clear = f->token != NULL && f->token[0] != '\0';
    if (has_hash && (strlen(f->token_sha256) != SHA256_HEX_LEN ||
                     codec_unhex(f->token_sha256, c->token_sha256, SHA256_LEN) < 0))
        return err_set(
            err, 0, EINVAL,
            "--access-token-sha256: not %d hex digits (try: printf %%s TOKEN | sha256sum)",
            SHA256_HEX_LEN);
    if (has_clear && !has_hash)
        codec_sha256(f->token, strlen(f->token), c->token_sha256);
    if (has_clear)
        config_wipe(f->token);
    c->has_token = has_hash || has_clear;
    return 0;
}

static void take_compatibility(const struct flags *f, struct config *c)
{
    if (f->jupyter_host != NULL && f->jupyter_host[0] != '\0')
        c->notice[c->n_notices++] = "--jupyter-host has no effect: kernels are driven directly";
    if (f->jupyter_poll != NULL && f->jupyter_poll[0] != '\0')
        c->notice[c->n_notices++] = "--jupyter-idle-poll-interval has no effect: nothing is polled";
}

static int apply(const struct flags *f, struct config *c, struct err *err)
{
    int result;
    c->insecure = f->insecure;
    if ((result = set_token(f, c, err)) < 0 || (result = set_port(f->port, c, err)) < 0 ||
        (result = set_log_level(f->log_level, c, err)) < 0 ||
        (result = config_set_time("grace", f->grace, &c->grace_ms, err)) < 0 ||
        (result = config_set_kernels(&f->kernels, c, err)) < 0 ||
        (result = set_seccomp(f->seccomp, c, err)) < 0 || (result = set_isolation(f, c, err)) < 0 ||
        (result = set_sql(f->sql, c, err)) < 0 ||
        (result = config_set_gateway(&f->gateway, c, err)) < 0 ||
        (result = config_set_shared(&f->shared, c, err)) < 0 ||
        (result = set_line_endings(f->line_endings, c, err)) < 0)
        return result;
    take_compatibility(f, c);
    c->isolation_grant = f->isolation_grant;
    if (f->log_file != NULL && f->log_file[0] != '\0' &&
        (result = config_keep_path(c, "", f->log_file, &c->log_file, err)) < 0)
        return result;
    if (strcmp(f->inner, "off") != 0 && (result = config_set_inner(c, f->inner, err)) < 0)
        return result;
    c->init = f->init;
    if (f->lifecycle != NULL &&
        (c->lifecycle = arena_strndup(&c->arena, f->lifecycle, strlen(f->lifecycle))) == NULL)
        return err_set(err, 0, ENOMEM, "out of memory");
    c->exit_with_entrypoint = f->init || f->exit_with_entrypoint;
    if (f->init && c->entrypoint == NULL)
        return err_set(err, 0, EINVAL,
                       "--init: no program given (execd --init -- PROGRAM ARGUMENT...)");
    return config_check_exposure(c, err);
}

static int load(int argc, char **argv, struct flags *f, struct err *err)
{
    int next;
    int result = options_parse(option_rows, ARRAY_LEN(option_rows), argc, argv, f, &next, err);
    if (result < 0)
        return result;
    if (f->help)
        print_help();
    else if (f->version)
        print_version(f->json);
    if (f->help || f->version)
        return CONFIG_EXIT;
    if (next < argc)
        f->config->entrypoint = (const char *const *)(argv + next);
    result = apply(f, f->config, err);
    if (result < 0)
        options_name_source(option_rows, ARRAY_LEN(option_rows), f, err);
    return result < 0 ? result : CONFIG_RUN;
}

int config_load(int argc, char **argv, struct config *ret_config, struct err *err)
{
    struct config config = {.listen_fd = -1};
    struct flags flags = {
        .config = &config,
        .port = PORT_DEFAULT,
        .inner = "",
        .log_level = "info",
        .line_endings = "auto",
        .grace = GRACE_DEFAULT,
        .seccomp = "auto",
    };
    arena_init(&config.arena);
    int result = load(argc, argv, &flags, err);
    if (result == CONFIG_RUN)
        *ret_config = config;
    else
        config_done(&config);
    return result;
}

void config_done(struct config *config)
{
    arena_done(&config->arena);
    *config = (struct config){.listen_fd = -1};
}
