#include "execd/isolate/plan.h"

#include "proto/api/errors.h"

#define MOUNT(member)                                                                              \
    JFIELD(struct isolate_mount, member, JFIELD_STRING, .max = 4095, .flags = JFIELD_OMIT_EMPTY)
#define PLAN(member, kind, ...) JFIELD(struct isolate_plan, member, kind, __VA_ARGS__)
#define REPLY(member, kind, ...) JFIELD(struct isolate_reply, member, kind, __VA_ARGS__)

static const struct jfield mount_fields[] = {
    MOUNT(kind),
    MOUNT(path),
    MOUNT(source),
    MOUNT(upper),
};

static const struct jfield plan_fields[] = {
    PLAN(probe, JFIELD_BOOL),
    PLAN(strict, JFIELD_BOOL),
    PLAN(share_net, JFIELD_BOOL),
    PLAN(userns, JFIELD_BOOL),
    PLAN(has_uid, JFIELD_BOOL),
    PLAN(uid, JFIELD_U32),
    PLAN(gid, JFIELD_U32),
    PLAN(groups, JFIELD_STRINGS),
    PLAN(mounts, JFIELD_OBJECTS, .max = 4 * ISOLATE_MOUNTS_MAX, .sub = mount_fields,
         .n_sub = ARRAY_LEN(mount_fields), .sub_size = sizeof(struct isolate_mount)),
    PLAN(env_allow, JFIELD_BOOL),
    PLAN(env_keys, JFIELD_STRINGS),
};

static const struct jfield reply_fields[] = {
    REPLY(ok, JFIELD_BOOL),       REPLY(message, JFIELD_STRING, .flags = JFIELD_OMIT_EMPTY),
    REPLY(own_proc, JFIELD_BOOL), REPLY(seccomp, JFIELD_BOOL),
    REPLY(userns, JFIELD_BOOL),   REPLY(landlock, JFIELD_I64),
};

static char *encode(const struct jfield *fields, size_t n, const void *source, size_t *ret_len)
{
    cleanup_json json_t *json = jfield_encode(fields, n, source);

    return json != NULL ? json_compact(json, ret_len) : NULL;
}

static int decode(const struct jfield *fields, size_t n, const char *text, size_t len,
                  struct arena *arena, void *target, struct err *err)
{
    return jfield_decode_text(fields, n, text, len, false, target, arena, ERR_INVALID_REQUEST_BODY,
                              NULL, err);
}

char *isolate_plan_encode(const struct isolate_plan *plan, size_t *ret_len)
{
    return encode(plan_fields, ARRAY_LEN(plan_fields), plan, ret_len);
}

int isolate_plan_decode(const char *text, size_t len, struct arena *arena,
                        struct isolate_plan *ret_plan, struct err *err)
{
    return decode(plan_fields, ARRAY_LEN(plan_fields), text, len, arena, ret_plan, err);
}

char *isolate_reply_encode(const struct isolate_reply *reply, size_t *ret_len)
{
    return encode(reply_fields, ARRAY_LEN(reply_fields), reply, ret_len);
}

int isolate_reply_decode(const char *text, size_t len, struct arena *arena,
                         struct isolate_reply *ret_reply, struct err *err)
{
    return decode(reply_fields, ARRAY_LEN(reply_fields), text, len, arena, ret_reply, err);
}
