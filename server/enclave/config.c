#include "server/enclave/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "proto/api/errors.h"
#include "proto/base/str.h"

#define TYPE_KEY "enclave.type"
#define CONFIG_KEY "enclave.config"
#define CONFIG_MAX (64 * 1024)
#define WORKING_DIR "/sandbox"
#define REFUSE(code, ...) err_set(err, code, EINVAL, __VA_ARGS__)

static const char *const types[] = {"docker", "docker_notebook"};
/* What DockerSandboxConfig and DockerNotebookConfig name when their user names nothing. */
static const char *const default_images[] = {"python:3.11-slim", "jupyter-kernel-gateway"};

struct body {
    const char *image, *memory_limit, *working_dir, *platform;
    json_t *entrypoint, *command, *volumes, *ports, *extra_hosts, *tools;
    struct jmap env;
    double cpu_limit;
    bool has_cpu, privileged;
};

#define FIELD(wire, member, kind_, ...)                                                            \
    {                                                                                              \
        .name = (wire), .kind = (kind_), .offset = offsetof(struct body, member), __VA_ARGS__      \
    }

static const struct jfield fields[] = {
    FIELD("image", image, JFIELD_STRING, .min = 1, .max = 512),
    FIELD("memory_limit", memory_limit, JFIELD_STRING, .max = 32),
    FIELD("working_dir", working_dir, JFIELD_STRING, .max = 1024),
    FIELD("platform", platform, JFIELD_STRING, .max = 64),
    FIELD("cpu_limit", cpu_limit, JFIELD_DOUBLE, .has_offset = offsetof(struct body, has_cpu)),
    FIELD("privileged", privileged, JFIELD_BOOL),
    FIELD("env_vars", env, JFIELD_MAP, .max = 1000),
    FIELD("entrypoint", entrypoint, JFIELD_RAW),
    FIELD("command", command, JFIELD_RAW),
    FIELD("volumes", volumes, JFIELD_RAW),
    FIELD("ports", ports, JFIELD_RAW),
    FIELD("extra_hosts", extra_hosts, JFIELD_RAW),
    FIELD("tools_config", tools, JFIELD_RAW),
};

static bool asks_something(const json_t *value)
{
    return json_object_size(value) > 0 || json_array_size(value) > 0;
}

static int check_platform(const char *platform, struct err *err)
{
    struct utsname uts;

    if (platform == NULL)
        return 0;
    bool x86 = uname(&uts) == 0 && strcmp(uts.machine, "x86_64") == 0;
    if (strcmp(platform, x86 ? "linux/amd64" : "linux/arm64") != 0)
        return REFUSE(ERR_INVALID_PARAMETER, "platform: '%.64s' cannot run on this host", platform);
    return 0;
}

static int check_unsupported(const struct body *b, bool notebook, struct err *err)
{
    if (b->privileged)
        return REFUSE(ERR_INVALID_PARAMETER, "privileged: no sandbox here is");
    if (asks_something(b->volumes))
        return REFUSE(ERR_VOLUME_UNSUPPORTED, "volumes: the native runtime mounts no volumes");
    if (asks_something(b->extra_hosts))
        return REFUSE(ERR_INVALID_PARAMETER, "extra_hosts: not available in the native runtime");
    /* A notebook's client names the kernel gateway's port, which nobody needs here. */
    if (asks_something(b->ports) && !notebook)
        return REFUSE(ERR_INVALID_PARAMETER,
                      "ports: not published on the host; they are reached through "
                      "/sandboxes/ID/proxy/PORT");
    return check_platform(b->platform, err);
}

/* "4g" is binary, as Docker has it. */
static int decode_memory(const char *text, struct sandbox_spec *spec, struct err *err)
{
    char binary[40];
    size_t len = text != NULL ? strlen(text) : 0;

    if (len == 0)
        return 0;
    bool unit = strchr("kmgKMG", text[len - 1]) != NULL;
    snprintf(binary, sizeof(binary), "%s%s", text, unit ? "i" : "");
    if (str_to_bytes(binary, &spec->memory_bytes) < 0 || spec->memory_bytes == 0)
        return REFUSE(ERR_INVALID_PARAMETER, "memory_limit: '%.32s' is no size like 512m or 4g",
                      text);
    return 0;
}

static int decode_cpu(const struct body *b, struct sandbox_spec *spec, struct err *err)
{
    if (!b->has_cpu)
        return 0;
    if (!(b->cpu_limit >= 0.001 && b->cpu_limit <= 4096))
        return REFUSE(ERR_INVALID_PARAMETER, "cpu_limit: expected 0.001 to 4096");
    spec->millicpu = (uint64_t)(b->cpu_limit * 1000 + 0.5);
    return 0;
}

static int add_word(const json_t *word, struct jstrings *words, struct arena *arena,
                    struct err *err)
{
    const char *copy = arena_strndup(arena, json_string_value(word), json_string_length(word));

    if (copy == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the entrypoint");
    words->items[words->n++] = copy;
    return 0;
}

/* A text goes through the shell; an array is the program and its arguments. */
static int add_words(const char *key, const json_t *value, struct jstrings *words,
                     struct arena *arena, struct err *err)
{
    size_t i;
    const json_t *word;

    if (value == NULL || json_is_null(value))
        return 0;
    if (json_is_string(value)) {
        words->items[words->n++] = "/bin/sh";
        words->items[words->n++] = "-c";
        return add_word(value, words, arena, err);
    }
    if (!json_is_array(value) || json_array_size(value) > 100)
        return REFUSE(ERR_VALIDATION, "%s: expected a text or at most 100 texts", key);
    json_array_foreach(value, i, word)
    {
        if (!json_is_string(word))
            return REFUSE(ERR_VALIDATION, "%s.%zu: expected a text", key, i);
        int rc = add_word(word, words, arena, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int decode_entrypoint(const struct body *b, struct arena *arena, struct sandbox_spec *spec,
                             struct err *err)
{
    static const char *const idle[] = {"tail", "-f", "/dev/null"};
    struct jstrings *words = &spec->entrypoint;

    words->items = arena_alloc(arena, 210 * sizeof(*words->items));
    if (words->items == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the entrypoint");
    int rc = add_words("entrypoint", b->entrypoint, words, arena, err);
    if (rc == 0)
        rc = add_words("command", b->command, words, arena, err);
    if (rc == 0 && words->n == 0) {
        memcpy(words->items, idle, sizeof(idle));
        words->n = ARRAY_LEN(idle);
    }
    return rc;
}

static const char *choose_image(const char *asked, const struct enclave_defaults *defaults)
{
    for (size_t i = 0; asked != NULL && i < ARRAY_LEN(default_images); i++) {
        if (strcmp(asked, default_images[i]) == 0)
            asked = NULL;
    }
    return asked != NULL ? asked : defaults->image;
}

static int check_env(const struct jmap *env, struct err *err)
{
    for (size_t i = 0; i < env->n; i++) {
        const char *key = env->items[i].key;
        if (key[0] == '\0' || strchr(key, '=') != NULL || str_starts(key, "OPENSANDBOX_"))
            return REFUSE(ERR_VALIDATION, "env_vars: '%.64s' is no name for a variable here", key);
    }
    return 0;
}

/* The request as it came, for SandboxInfo.config. */
static int keep_request(const char *type, const json_t *document, struct arena *arena,
                        struct sandbox_spec *spec, struct err *err)
{
    size_t len;
    char *text = json_compact(document, &len);
    struct jpair *items = arena_alloc(arena, 2 * sizeof(*items));
    const char *kept = text != NULL ? arena_strndup(arena, text, len) : NULL;
    const char *kind = arena_strndup(arena, type, strlen(type));

    free(text);
    if (items == NULL || kept == NULL || kind == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the configuration");
    if (len > CONFIG_MAX)
        return REFUSE(ERR_VALIDATION, "the configuration is longer than %d bytes", CONFIG_MAX);
    items[0] = (struct jpair){TYPE_KEY, kind};
    items[1] = (struct jpair){CONFIG_KEY, kept};
    spec->extensions = (struct jmap){items, 2};
    return 0;
}

static int check_type(const char *type, struct err *err)
{
    for (size_t i = 0; type != NULL && i < ARRAY_LEN(types); i++) {
        if (strcmp(type, types[i]) == 0)
            return 0;
    }
    return REFUSE(ERR_VALIDATION, "sandbox_type: '%.32s' is not docker or docker_notebook",
                  type != NULL ? type : "");
}

static int fill(const struct body *b, bool notebook, const struct enclave_defaults *defaults,
                struct arena *arena, struct sandbox_spec *spec, struct err *err)
{
    *spec = (struct sandbox_spec){
        .image = choose_image(b->image, defaults), .env = b->env, .timeout_s = ENCLAVE_LIFETIME_S};
    if (defaults->lifetime_max_s > 0)
        spec->timeout_s = MIN(spec->timeout_s, defaults->lifetime_max_s);
    if (b->working_dir != NULL && b->working_dir[0] != '/')
        return REFUSE(ERR_VALIDATION, "working_dir: expected an absolute path");
    int rc = check_unsupported(b, notebook, err);
    if (rc == 0)
        rc = check_env(&b->env, err);
    if (rc == 0)
        rc = decode_memory(b->memory_limit, spec, err);
    if (rc == 0)
        rc = decode_cpu(b, spec, err);
    return rc < 0 ? rc : decode_entrypoint(b, arena, spec, err);
}

int enclave_config_decode(const char *type, struct slice body,
                          const struct enclave_defaults *defaults, struct arena *arena,
                          struct sandbox_spec *ret_spec, struct err *err)
{
    cleanup_json json_t *document = NULL;
    struct body b;

    if (body.len == 4 && memcmp(body.ptr, "null", 4) == 0)
        body.len = 0;
    int rc = check_type(type, err);
    if (rc == 0)
        rc = body.len > 0 ? json_parse(body.ptr, body.len, &document, ERR_VALIDATION, err) : 0;
    if (rc == 0 && document == NULL)
        document = json_object();
    if (rc == 0)
        rc = jfield_decode(fields, ARRAY_LEN(fields), document, &b, arena, ERR_VALIDATION, err);
    if (rc == 0)
        rc = fill(&b, strcmp(type, "docker_notebook") == 0, defaults, arena, ret_spec, err);
    return rc < 0 ? rc : keep_request(type, document, arena, ret_spec, err);
}

/* ---- what is known of a sandbox ---- */

static const char *extension(const struct sandbox *sb, const char *key)
{
    for (size_t i = 0; i < sb->spec.extensions.n; i++) {
        if (strcmp(sb->spec.extensions.items[i].key, key) == 0)
            return sb->spec.extensions.items[i].value;
    }
    return NULL;
}

const char *enclave_type(const struct sandbox *sb)
{
    const char *type = extension(sb, TYPE_KEY);
    struct err err;

    return type != NULL && check_type(type, &err) == 0 ? type : NULL;
}

json_t *enclave_config_json(const struct sandbox *sb)
{
    const char *text = extension(sb, CONFIG_KEY);
    json_t *config = NULL;
    struct err err;

    if (text != NULL && json_parse(text, strlen(text), &config, ERR_VALIDATION, &err) == 0)
        return config;
    return json_object();
}

bool enclave_has_tool(const json_t *config, const char *tool)
{
    const json_t *tools = json_object_get(config, "tools_config");
    const json_t *name;
    size_t i;

    if (json_is_object(tools)) {
        const json_t *options = json_object_get(tools, tool);
        return options != NULL && !json_is_false(json_object_get(options, "enabled"));
    }
    json_array_foreach(tools, i, name)
    {
        if (json_is_string(name) && strcmp(json_string_value(name), tool) == 0)
            return true;
    }
    return false;
}

const char *enclave_working_dir(const struct sandbox *sb, struct arena *arena)
{
    cleanup_json json_t *config = enclave_config_json(sb);
    const char *dir = json_string_value(json_object_get(config, "working_dir"));

    return dir != NULL ? arena_strndup(arena, dir, strlen(dir)) : WORKING_DIR;
}
