#include "execd/init/jupyter.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"

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
    IGNORED, /* the same in effect, or of no effect here */
    MEANING_MAX,
};

/* By the last word of "--KernelGatewayApp.auth_token", and as KG_AUTH_TOKEN. */
static const struct {
    const char *name;
    enum meaning meaning;
} options[] = {
    {"ip", IP},
    {"port", PORT},
    {"auth_token", TOKEN},
    {"allow_origin", ORIGIN},
    {"max_kernels", KERNELS_MAX},
    {"default_kernel_name", DEFAULT_KERNEL},
    {"base_url", BASE_URL},
    {"api", API},
    {"certfile", REFUSED},
    {"keyfile", REFUSED},
    {"client_ca", REFUSED},
    {"seed_uri", REFUSED},
    {"force_kernel_name", REFUSED},
    {"allow_credentials", IGNORED},
    {"allow_headers", IGNORED},
    {"allow_methods", IGNORED},
    {"expose_headers", IGNORED},
    {"max_age", IGNORED},
    {"port_retries", IGNORED},
    {"trust_xheaders", IGNORED},
    {"prespawn_count", POOL},
    {"env_process_whitelist", IGNORED},
    {"env_whitelist", IGNORED},
    {"client_envs", IGNORED},
    {"inherited_envs", IGNORED},
    {"list_kernels", IGNORED},
    {"answer_yes", IGNORED},
    {"ws_ping_interval", IGNORED},
    {"ws_ping_interval_secs", IGNORED},
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
    return err_set(err, 0, EINVAL,
                   "%.60s: not supported here; this server has no TLS and no notebook-http", name);
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

/* One option and its value, which may be the next word. Returns how many words it took, or -EINVAL. */
static int take_word(struct wishes *w, int left, char *const *argv, struct err *err)
{
    const char *word = argv[0], *name = word + strspn(word, "-"), *value;
    size_t len = strcspn(name, "=");
    if (name[len] == '=')
        value = name + len + 1;
    else
        value = left > 1 && argv[1][0] != '-' ? argv[1] : NULL;
    int words = name[len] == '=' || value == NULL ? 1 : 2;
    for (const char *dot = name; (dot = memchr(dot, '.', (size_t)(name + len - dot))) != NULL;) {
        dot++;
        len -= (size_t)(dot - name);
        name = dot;
    }
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (strlen(options[i].name) != len || strncmp(options[i].name, name, len) != 0)
            continue;
        if (options[i].meaning == REFUSED)
            return refuse(word, err);
        take(w, i, value);
        return words;
    }
    if (strcmp(word, "--debug") == 0)
        w->debug = true;
    else if (strcmp(word, "-y") != 0)
        warn(word);
    return strchr(word, '.') != NULL
               ? words
               : 1; /* of an unknown flag it is not known whether it takes one */
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

int jupyter_prepare(int argc, char *const *argv, struct arena *arena, int *ret_argc,
                    char ***ret_argv, struct err *err)
{
    struct wishes wishes = {.debug = false};
    int first = strcmp(base_name(argv[0]), "jupyter") == 0 ? 2 : 1;
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
    return 0;
}
