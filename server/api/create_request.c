#include "server/api/create_request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/utsname.h>

#include "proto/api/errors.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "server/model/labels.h"

#define TIMEOUT_MIN_S 60
#define TIMEOUT_MAX_S (100LL * 366 * 86400) /* keeps wall-clock microseconds far from overflow */
#define IMAGE_REF_MAX 512
#define EGRESS_PREFIX "OPENSANDBOX_EGRESS_"

struct image_body {
    const char *uri;
    json_t *auth;
};

struct platform_body {
    const char *os, *arch;
};

struct create_body {
    struct image_body image;
    bool has_image;
    const char *snapshot_id, *template_id;
    struct platform_body platform;
    bool has_platform;
    bool has_timeout, has_limits;
    int64_t timeout;
    struct jmap resource_limits, resource_requests, env, metadata, extensions;
    struct jstrings entrypoint;
    json_t *network_policy, *credential_proxy, *volumes, *lifecycle;
    bool secure_access;
};

static const struct jfield image_fields[] = {
    JFIELD(struct image_body, uri, JFIELD_STRING, .flags = JFIELD_REQUIRED, .min = 1,
           .max = IMAGE_REF_MAX),
    JFIELD(struct image_body, auth, JFIELD_RAW),
};

static const struct jfield platform_fields[] = {
    JFIELD(struct platform_body, os, JFIELD_STRING, .flags = JFIELD_REQUIRED, .max = 64),
    JFIELD(struct platform_body, arch, JFIELD_STRING, .flags = JFIELD_REQUIRED, .max = 64),
};

#define BODY(wire, member, kind_, ...)                                                             \
    {                                                                                              \
        .name = (wire), .kind = (kind_), .offset = offsetof(struct create_body, member),           \
        __VA_ARGS__                                                                                \
    }

static const struct jfield create_fields[] = {
    BODY("image", image, JFIELD_OBJECT, .has_offset = offsetof(struct create_body, has_image),
         .sub = image_fields, .n_sub = ARRAY_LEN(image_fields)),
    BODY("snapshotId", snapshot_id, JFIELD_STRING, .alias = "snapshot_id", .max = 128),
    BODY("templateId", template_id, JFIELD_STRING, .alias = "template_id", .max = 128),
    BODY("platform", platform, JFIELD_OBJECT,
         .has_offset = offsetof(struct create_body, has_platform), .sub = platform_fields,
         .n_sub = ARRAY_LEN(platform_fields)),
    BODY("timeout", timeout, JFIELD_I64, .has_offset = offsetof(struct create_body, has_timeout),
         .min = TIMEOUT_MIN_S, .max = TIMEOUT_MAX_S),
    BODY("resourceLimits", resource_limits, JFIELD_MAP, .alias = "resource_limits",
         .has_offset = offsetof(struct create_body, has_limits), .max = 16),
    BODY("resourceRequests", resource_requests, JFIELD_MAP, .alias = "resource_requests",
         .max = 16),
    BODY("env", env, JFIELD_MAP, .max = 1024),
    BODY("metadata", metadata, JFIELD_MAP, .max = LABELS_MAX),
    BODY("entrypoint", entrypoint, JFIELD_STRINGS, .max = 1024),
    BODY("networkPolicy", network_policy, JFIELD_RAW, .alias = "network_policy"),
    BODY("credentialProxy", credential_proxy, JFIELD_RAW, .alias = "credential_proxy"),
    BODY("secureAccess", secure_access, JFIELD_BOOL, .alias = "secure_access"),
    BODY("volumes", volumes, JFIELD_RAW),
    BODY("lifecycle", lifecycle, JFIELD_RAW),
    BODY("extensions", extensions, JFIELD_MAP, .max = 64),
};

#define REFUSE(code, ...) err_set(err, (code), EINVAL, __VA_ARGS__)

static bool is_blank(const char *s)
{
    return s == NULL || s[strspn(s, " \t\r\n")] == '\0';
}

static bool asks_something(const json_t *j)
{
    if (json_is_array(j))
        return json_array_size(j) > 0;
    return j != NULL && !json_is_null(j);
}

/* What only other runtimes have. */
static int check_unsupported(const struct create_body *b, struct err *err)
{
    if (!is_blank(b->template_id))
        return REFUSE(ERR_INVALID_ENTRYPOINT, "templateId: templates need the kubernetes runtime");
    for (size_t i = 0; i < b->extensions.n; i++) {
        if (strcmp(b->extensions.items[i].key, "poolRef") == 0 &&
            !is_blank(b->extensions.items[i].value))
            return REFUSE(ERR_UNSUPPORTED_POOL_REF,
                          "extensions.poolRef: pools need the kubernetes runtime");
    }
    if (!is_blank(b->snapshot_id))
        return REFUSE(ERR_SNAPSHOT_NOT_IMPLEMENTED,
                      "snapshotId: the native runtime has no snapshots");
    if (asks_something(b->network_policy))
        return REFUSE(ERR_INVALID_PARAMETER,
                      "networkPolicy: native sandboxes have no network beyond their own loopback, "
                      "so no policy can be applied");
    if (b->credential_proxy != NULL &&
        json_is_true(json_object_get(b->credential_proxy, "enabled")))
        return REFUSE(ERR_INVALID_PARAMETER,
                      "credentialProxy: not available in the native runtime");
    if (b->secure_access)
        return REFUSE(ERR_INVALID_PARAMETER,
                      "secureAccess: needs an ingress gateway (kubernetes runtime)");
    if (asks_something(b->volumes))
        return REFUSE(ERR_VOLUME_UNSUPPORTED, "volumes: the native runtime mounts no volumes");
    if (asks_something(b->lifecycle))
        return REFUSE(ERR_INVALID_PARAMETER, "lifecycle: hooks need the kubernetes runtime");
    return 0;
}

static int check_platform(const struct platform_body *p, struct err *err)
{
    struct utsname uts;

    if (strcasecmp(p->os, "linux") != 0)
        return REFUSE(ERR_INVALID_PARAMETER, "platform.os: '%.32s' is not available, only linux",
                      p->os);
    bool amd = strcasecmp(p->arch, "amd64") == 0, arm = strcasecmp(p->arch, "arm64") == 0;
    if ((!amd && !arm) || uname(&uts) < 0 || strcmp(uts.machine, amd ? "x86_64" : "aarch64") != 0)
        return REFUSE(ERR_INVALID_PARAMETER, "platform.arch: '%.32s' cannot run on this host",
                      p->arch);
    return 0;
}

static int decode_limit(const struct jpair *limit, struct sandbox_spec *spec, struct err *err)
{
    int rc = -ENOENT;

    if (strcmp(limit->key, "memory") == 0)
        rc = str_to_bytes(limit->value, &spec->memory_bytes);
    else if (strcmp(limit->key, "cpu") == 0)
        rc = str_to_millicpu(limit->value, &spec->millicpu);
    else if (strcmp(limit->key, "pids") == 0)
        rc = str_to_u64(limit->value, &spec->pids);
    else
        return REFUSE(ERR_LIMIT_UNAVAILABLE,
                      "resourceLimits.%.64s: this runtime limits only cpu, memory and pids",
                      limit->key);
    bool zero = (strcmp(limit->key, "memory") == 0 && spec->memory_bytes == 0) ||
                (strcmp(limit->key, "pids") == 0 && spec->pids == 0);
    if (rc < 0 || zero)
        return REFUSE(
            ERR_INVALID_PARAMETER,
            "Invalid resourceLimits.%s: '%.64s'; must resolve to a positive resource limit.",
            limit->key, limit->value);
    return 0;
}

static int env_key_check(const char *key, struct err *err)
{
    static const char *const egress[] = {"LOG_LEVEL",
                                         "DNS_UPSTREAM_TIMEOUT",
                                         "DENY_WEBHOOK",
                                         "METRICS_EXTRA_ATTRS",
                                         "MITMPROXY_SSL_INSECURE",
                                         "MITMPROXY_TRANSPARENT",
                                         "MITMPROXY_EXTRA_PORTS",
                                         "CREDENTIAL_VAULT_REQUIRE_TLS",
                                         "CREDENTIAL_VAULT_REQUIRE_SCOPED_MATCH",
                                         "CREDENTIAL_VAULT_TRUSTED_PROXY_CIDRS",
                                         "POLICY_FILE"};

    if (key[0] == '\0' || strchr(key, '=') != NULL)
        return REFUSE(ERR_VALIDATION, "env: '%.64s' is no variable name", key);
    if (strcmp(key, "OPENSANDBOX_LIFECYCLE") == 0)
        return REFUSE(ERR_VALIDATION, "env.OPENSANDBOX_LIFECYCLE is reserved");
    if (!str_starts(key, EGRESS_PREFIX))
        return 1;
    for (size_t i = 0; i < ARRAY_LEN(egress); i++) {
        if (strcmp(key + sizeof(EGRESS_PREFIX) - 1, egress[i]) == 0)
            return 0; /* for a sidecar that this sandbox does not have */
    }
    return REFUSE(ERR_INVALID_PARAMETER, "env.%.64s: unknown egress setting", key);
}

/* Drops what belongs to an egress sidecar; in place. */
static int filter_env(struct jmap *env, struct err *err)
{
    size_t kept = 0;

    for (size_t i = 0; i < env->n; i++) {
        int keep = env_key_check(env->items[i].key, err);
        if (keep < 0)
            return keep;
        if (keep > 0)
            env->items[kept++] = env->items[i];
        else
            log_event(LOG_LEVEL_WARN, "api", "egress setting ignored: no network policy", "key",
                      env->items[i].key, NULL);
    }
    env->n = kept;
    return 0;
}

static int check_entrypoint(const struct jstrings *e, struct err *err)
{
    if (e->n == 0)
        return REFUSE(ERR_VALIDATION, "entrypoint: required with image, at least one element");
    if (is_blank(e->items[0]))
        return REFUSE(ERR_VALIDATION, "entrypoint.0: the program's name is blank");
    return 0;
}

static int check_renew_extension(const struct jmap *extensions, struct err *err)
{
    uint64_t seconds;

    for (size_t i = 0; i < extensions->n; i++) {
        const struct jpair *x = &extensions->items[i];
        if (strcmp(x->key, "access.renew.extend.seconds") == 0 &&
            (str_to_u64(x->value, &seconds) < 0 || seconds < 300 || seconds > 86400))
            return REFUSE(
                ERR_INVALID_PARAMETER,
                "extensions.access.renew.extend.seconds: expected 300..86400, got '%.32s'",
                x->value);
    }
    return 0;
}

static int check_values(struct create_body *b, struct sandbox_spec *spec, struct err *err)
{
    int rc = check_renew_extension(&b->extensions, err);

    if (rc == 0)
        rc = check_unsupported(b, err);
    if (rc == 0)
        rc = check_entrypoint(&b->entrypoint, err);
    for (size_t i = 0; rc == 0 && i < b->metadata.n; i++)
        rc = label_check(b->metadata.items[i].key, b->metadata.items[i].value, err);
    if (rc == 0 && b->has_platform)
        rc = check_platform(&b->platform, err);
    for (size_t i = 0; rc == 0 && i < b->resource_limits.n; i++)
        rc = decode_limit(&b->resource_limits.items[i], spec, err);
    if (rc == 0)
        rc = filter_env(&b->env, err);
    return rc;
}

int create_request_decode(struct slice body, struct arena *arena, struct sandbox_spec *ret_spec,
                          struct err *err)
{
    struct create_body b;
    cleanup_json json_t *doc = NULL;

    int rc = jfield_decode_text(create_fields, ARRAY_LEN(create_fields), body.ptr, body.len, false,
                                &b, arena, ERR_VALIDATION, &doc, err);
    if (rc < 0)
        return rc;
    if (!b.has_image && is_blank(b.snapshot_id) && is_blank(b.template_id))
        return REFUSE(ERR_VALIDATION, "image: exactly one of image and snapshotId is required");
    if (b.has_image && !is_blank(b.snapshot_id))
        return REFUSE(ERR_VALIDATION, "image and snapshotId exclude each other");
    if (b.has_image && is_blank(b.image.uri))
        return REFUSE(ERR_VALIDATION, "image.uri: blank");
    if (!b.has_limits && is_blank(b.template_id))
        return REFUSE(
            ERR_VALIDATION,
            "resourceLimits: required (for example {\"cpu\":\"1\",\"memory\":\"512Mi\"})");
    *ret_spec = (struct sandbox_spec){.image = b.image.uri};
    rc = check_values(&b, ret_spec, err);
    ret_spec->entrypoint = b.entrypoint;
    ret_spec->env = b.env;
    ret_spec->metadata = b.metadata;
    ret_spec->extensions = b.extensions;
    ret_spec->resource_limits = b.resource_limits;
    ret_spec->timeout_s = b.has_timeout ? b.timeout : 0;
    return rc;
}
