#include "execd/init/jupyter.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/options.h"
#include "proto/base/str.h"
#include "proto/base/version.h"

#define WORDS_MAX 64
#define IP_DEFAULT "127.0.0.1"
#define PORT_DEFAULT "8888"

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool is_gateway(const char *word)
{
    return strcmp(word, "kernelgateway") == 0 || strcmp(word, "enterprisegateway") == 0;
}

bool jupyter_is_wanted(int argc, char *const *argv)
{
    static const char prefix[] = "jupyter";
    const char *name = argc > 0 ? base_name(argv[0]) : "";
    if (!str_starts(name, prefix))
        return false;
    name += strlen(prefix);
    return name[0] == '\0' || (name[0] == '-' && is_gateway(name + 1));
}

/* ---- what is asked for ---- */

/* What an option does here. */
enum meaning {
    IP,
    PORT,
    TOKEN,
    ORIGIN,
    KERNELS_MAX,
    DEFAULT_KERNEL,
    POOL,
    BASE_URL,
    API,
    REFUSED, /* the server would be less safe, or another one */
    IGNORED, /* the same in effect */
    WARNED,  /* known there, of no effect here */
    MEANING_MAX,
};

/* By the last word of "--KernelGatewayApp.auth_token", and as KG_AUTH_TOKEN. */
static const struct {
    const char *name;
    enum meaning meaning;
    const char *help; /* NULL: not worth a line of --help */
} options[] = {
    {"ip", IP, "ADDRESS to listen on (" IP_DEFAULT "); * for all"},
    {"port", PORT, "PORT to listen on (" PORT_DEFAULT "); 0 takes a free one"},
    {"auth_token", TOKEN, "what clients must send; without one whoever connects runs code"},
    {"allow_origin", ORIGIN, "origin of web pages that may connect; * for all"},
    {"max_kernels", KERNELS_MAX, "kernels at once (64)"},
    {"default_kernel_name", DEFAULT_KERNEL, "kernelspec for clients that name none (python3)"},
    {"prespawn_count", POOL, "IPython kernels that wait ready (1)"},
    {"base_url", BASE_URL, "only /"},
    {"api", API, "only kernel_gateway.jupyter_websocket"},
    {"authorized_users", REFUSED, NULL},
    {"authorizer_class", REFUSED, NULL},
    {"certfile", REFUSED, NULL},
    {"keyfile", REFUSED, NULL},
    {"client_ca", REFUSED, NULL},
    {"seed_uri", REFUSED, NULL},
    {"force_kernel_name", REFUSED, NULL},
    {"allow_credentials", IGNORED, NULL},
    {"allow_headers", IGNORED, NULL},
    {"allow_methods", IGNORED, NULL},
    {"expose_headers", IGNORED, NULL},
    {"max_age", IGNORED, NULL},
    {"port_retries", IGNORED, NULL},
    {"trust_xheaders", IGNORED, NULL},
    {"env_process_whitelist", IGNORED, NULL},
    {"env_whitelist", IGNORED, NULL},
    {"client_envs", IGNORED, NULL},
    {"inherited_envs", IGNORED, NULL},
    {"list_kernels", IGNORED, NULL},
    {"answer_yes", IGNORED, NULL},
    {"ws_ping_interval", IGNORED, NULL},
    {"ws_ping_interval_secs", IGNORED, NULL},
    {"ssl_version", WARNED, NULL},
    {"log_level", WARNED, NULL},
    {"config", WARNED, NULL},
    {"kernel_headers", WARNED, NULL},
    {"max_kernels_per_user", WARNED, NULL},
    {"unauthorized_users", WARNED, NULL},
    {"port_range", WARNED, NULL},
    {"kernel_launch_timeout", WARNED, NULL},
    {"availability_mode", WARNED, NULL},
    {"impersonation_enabled", WARNED, NULL},
    {"dynamic_config_interval", WARNED, NULL},
};

struct wishes {
    const char *value[MEANING_MAX]; /* borrowed from argv or the environment; NULL = not given */
    bool debug;
};

static void take(struct wishes *w, size_t row, const char *value)
{
    if (value != NULL && (value[0] != '\0' || options[row].meaning == TOKEN))
        w->value[options[row].meaning] = value;
}

static int refuse(const char *name, struct err *err)
{
    return err_set(
        err, 0, EINVAL,
        "%.60s: not supported here; this server has no TLS, no notebook-http and no users", name);
}

static int take_environment(struct wishes *w, struct err *err)
{
    static const char *const prefixes[] = {"EG_", "KG_"}; /* the later wins */
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        for (size_t k = 0; k < ARRAY_LEN(options); k++) {
            char name[64];
            size_t n = (size_t)snprintf(name, sizeof(name), "%s%s", prefixes[i], options[k].name);
            for (size_t c = 0; c < n && c < sizeof(name); c++)
                name[c] = (char)toupper((unsigned char)name[c]);
            const char *value = getenv(name);
            if (value == NULL || value[0] == '\0')
                continue;
            if (options[k].meaning == REFUSED)
                return refuse(name, err);
            take(w, k, value);
        }
    return 0;
}

/* ---- the command line ---- */

static void warn(const char *word)
{
    fprintf(stderr, "execd: %.*s has no effect here\n", (int)strcspn(word, "="), word);
}

/* Classes of other parts of Jupyter, whose options are many and have no effect here: the last part of their name. */
static bool is_other_class(const char *name, size_t len)
{
    static const char *const others[] = {"KernelManager", "KernelSpecManager",   "SessionManager",
                                         "Provisioner",   "ProvisionerFactory",  "KernelSpecCache",
                                         "KernelFinder",  "ConnectionFileMixin", "Session",
                                         "Application",   "JupyterApp",          "ServerApp"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        size_t n = strlen(others[i]);
        if (n <= len && memcmp(name + len - n, others[i], n) == 0)
            return true;
    }
    return false;
}

struct option_word {
    const char *word;  /* with its dashes */
    const char *name;  /* behind the last dot */
    size_t len;        /* of the name */
    const char *class; /* before it */
    size_t class_len;  /* 0: no class */
    const char *value; /* NULL: none */
    int words;         /* that option and value take */
};

/* The value may be the next word. */
static struct option_word split(int left, char *const *argv)
{
    const char *first = argv[0] + strspn(argv[0], "-"), *name = first;
    size_t len = strcspn(first, "=");
    struct option_word o = {.word = argv[0], .class = first, .words = 1};
    if (first[len] == '=')
        o.value = first + len + 1;
    else if (left > 1 && argv[1][0] != '-') {
        o.value = argv[1];
        o.words = 2;
    }
    for (const char *dot = name; (dot = memchr(dot, '.', (size_t)(first + len - dot))) != NULL;)
        name = ++dot;
    o.name = name;
    o.len = (size_t)(first + len - name);
    o.class_len = name > first ? (size_t)(name - first) - 1 : 0;
    return o;
}

/* Dashes of "--log-level" stand for the underscores of its row. */
static bool is_named(const char *row, const struct option_word *o)
{
    if (strlen(row) != o->len)
        return false;
    for (size_t i = 0; i < o->len; i++)
        if (row[i] != (o->name[i] == '-' ? '_' : o->name[i]))
            return false;
    return true;
}

/* A setting that resembles none of those that count is only warned of, as Jupyter does: its releases have many. */
static int unknown(const struct option_word *o, struct err *err)
{
    const char *names[ARRAY_LEN(options)];
    char name[64];
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        names[i] = options[i].name;
    snprintf(name, sizeof(name), "%.*s", (int)o->len, o->name);
    const char *near = options_nearest(name, names, ARRAY_LEN(names));
    if (near == NULL && o->class_len > 0) {
        warn(o->word);
        return 0;
    }
    return err_set(err, 0, EINVAL, "jupyter: unknown option '%.60s' (%s%s)", o->word,
                   near != NULL ? "did you mean --" : "see --help", near != NULL ? near : "");
}

/* Returns how many words it took, or -EINVAL. A server that somebody mistyped the token of must not start. */
static int take_word(struct wishes *w, int left, char *const *argv, struct err *err)
{
    struct option_word o = split(left, argv);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (!is_named(options[i].name, &o))
            continue;
        if (options[i].meaning == REFUSED)
            return refuse(o.word, err);
        if (o.value == NULL && options[i].meaning < REFUSED)
            return err_set(err, 0, EINVAL, "jupyter: '%.60s' needs a value", o.word);
        if (options[i].meaning == WARNED)
            warn(o.word);
        take(w, i, o.value);
        return o.words;
    }
    if (is_other_class(o.class, o.class_len))
        warn(o.word);
    else if (strcmp(o.word, "--debug") == 0)
        w->debug = true;
    else if (strcmp(o.word, "-y") != 0 && unknown(&o, err) < 0)
        return -EINVAL;
    return o.class_len > 0 ? o.words : 1;
}

static int take_words(struct wishes *w, int argc, char *const *argv, struct err *err)
{
    for (int i = 0; i < argc;) {
        if (argv[i][0] != '-')
            return err_set(err, 0, EINVAL, "jupyter: '%.60s' is no option", argv[i]);
        int taken = take_word(w, argc - i, argv + i, err);
        if (taken < 0)
            return taken;
        i += taken;
    }
    return 0;
}

/* ---- the command line of execd ---- */

struct words {
    struct arena *arena;
    char **list; /* arena; NULL-terminated */
    int n;
    bool failed;
};

static void add(struct words *words, const char *text)
{
    if (text == NULL || words->n == WORDS_MAX)
        words->failed = true;
    else
        words->list[words->n++] = (char *)(uintptr_t)text;
}

static void add_option(struct words *words, const char *name, const char *value)
{
    add(words, name);
    add(words, value);
}

static const char *where(const struct wishes *w, struct arena *arena)
{
    const char *ip = w->value[IP] != NULL ? w->value[IP] : IP_DEFAULT;
    const char *port = w->value[PORT] != NULL ? w->value[PORT] : PORT_DEFAULT;
    if (strcmp(ip, "localhost") == 0)
        ip = "127.0.0.1";
    if (strcmp(ip, "*") == 0 || strcmp(ip, "::") == 0)
        ip = "[::]";
    return arena_printf(arena, strchr(ip, ':') != NULL && ip[0] != '[' ? "[%s]:%s" : "%s:%s", ip,
                        port);
}

/* One origin, or all: a list of them has no meaning there either. */
static void add_origin(struct words *words, const char *origin)
{
    if (origin == NULL)
        return;
    if (strcmp(origin, "*") == 0 || strstr(origin, "://") != NULL)
        add_option(words, "--allow-origin", origin);
    else
        warn("allow_origin without a scheme");
}

static int check(const struct wishes *w, struct err *err)
{
    const char *api = w->value[API], *base = w->value[BASE_URL];
    if (api != NULL && strstr(api, "http") != NULL)
        return refuse("notebook-http", err);
    if (base != NULL && strcmp(base, "/") != 0)
        return err_set(err, 0, EINVAL, "base_url: only / is supported, not '%.60s'", base);
    return 0;
}

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

static void write_words(struct words *words, const char *program, const struct wishes *w)
{
    const char *token = w->value[TOKEN];
    add(words, program);
    add_option(words, "--gateway-listen", where(w, words->arena));
    if (token != NULL && token[0] != '\0')
        add_option(words, "--gateway-token", token);
    else if (!is_set("JUPYTER_TOKEN") && !is_set("EXECD_GATEWAY_TOKEN"))
        add(words, "--gateway-open");
    add_origin(words, w->value[ORIGIN]);
    if (w->value[KERNELS_MAX] != NULL)
        add_option(words, "--contexts-max", w->value[KERNELS_MAX]);
    if (w->value[DEFAULT_KERNEL] != NULL)
        add_option(words, "--default-kernel", w->value[DEFAULT_KERNEL]);
    if (w->value[POOL] != NULL)
        add_option(words, "--kernel-pool", w->value[POOL]);
    if (w->debug)
        add_option(words, "--log-level", "debug");
}

static void print_help(void)
{
    puts("jupyter kernelgateway, as execd serves it: kernels for Jupyter clients, over HTTP and "
         "WebSocket.\n"
         "\n"
         "Usage:\n"
         "  jupyter kernelgateway [OPTIONS]\n"
         "  jupyter enterprisegateway [OPTIONS]\n"
         "\n"
         "Options, --NAME=VALUE or --KernelGatewayApp.NAME=VALUE, or by the variable KG_NAME or "
         "EG_NAME:");
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (options[i].help != NULL)
            printf("  --%-22s%s\n", options[i].name, options[i].help);
    puts("  --debug                 log more\n"
         "  --version, --help\n"
         "\n"
         "Everything else that execd can: execd --help, under its own name.");
}

/* As Jupyter's programs, it answers these wherever they stand. */
static bool has_word(int argc, char *const *argv, const char *const *words)
{
    for (int i = 1; i < argc; i++)
        for (const char *const *word = words; *word != NULL; word++)
            if (strcmp(argv[i], *word) == 0)
                return true;
    return false;
}

static bool answer_question(int argc, char *const *argv)
{
    static const char *const help[] = {"--help", "-h", "--help-all", NULL};
    static const char *const version[] = {"--version", NULL};
    if (has_word(argc, argv, help))
        print_help();
    else if (has_word(argc, argv, version))
        printf("execd %s\n", version_text());
    else
        return false;
    return true;
}

int jupyter_prepare(int argc, char *const *argv, struct arena *arena, int *ret_argc,
                    char ***ret_argv, struct err *err)
{
    struct wishes wishes = {.debug = false};
    int first = strcmp(base_name(argv[0]), "jupyter") == 0 ? 2 : 1;
    if (answer_question(argc, argv))
        return JUPYTER_EXIT;
    if (first == 2 && (argc < 2 || !is_gateway(argv[1])))
        return err_set(err, 0, EINVAL,
                       "jupyter: of Jupyter's programs execd is only kernelgateway and "
                       "enterprisegateway, not '%.60s'",
                       argc < 2 ? "" : argv[1]);
    int result = take_environment(&wishes, err);
    if (result == 0)
        result = take_words(&wishes, argc - first, argv + first, err);
    if (result == 0)
        result = check(&wishes, err);
    if (result < 0)
        return result;
    struct words words = {.arena = arena,
                          .list = arena_alloc(arena, (WORDS_MAX + 1) * sizeof(char *))};
    if (words.list != NULL)
        write_words(&words, argv[0], &wishes);
    if (words.list == NULL || words.failed)
        return err_set(err, 0, ENOMEM, "out of memory");
    words.list[words.n] = NULL;
    *ret_argc = words.n;
    *ret_argv = words.list;
    return JUPYTER_RUN;
}
