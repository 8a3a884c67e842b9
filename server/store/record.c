#include "server/store/record.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/api/errors.h"

/* Flat, so that jfield's offsets stay plain; names are part of the on-disk format. */
struct record {
    const char *id, *state, *reason, *message, *image, *image_digest, *runtime, *runtime_data,
        *boot_id;
    struct jstrings entrypoint;
    struct jmap env, metadata, extensions, resource_limits;
    int64_t memory_bytes, millicpu, pids, timeout_s, created_us, transition_us, expires_us,
        expires_boot_ms;
    uint32_t epoch;
};

#define STR_FIELD(m, ...) JFIELD(struct record, m, JFIELD_STRING, __VA_ARGS__)
#define INT_FIELD(m) JFIELD(struct record, m, JFIELD_I64, .min = 0, .max = INT64_MAX)
#define MAP_FIELD(m) JFIELD(struct record, m, JFIELD_MAP, .flags = JFIELD_OMIT_EMPTY)

static const struct jfield record_fields[] = {
    STR_FIELD(id, .flags = JFIELD_REQUIRED),
    STR_FIELD(state, .flags = JFIELD_REQUIRED),
    STR_FIELD(reason, .flags = JFIELD_OMIT_EMPTY),
    STR_FIELD(message, .flags = JFIELD_OMIT_EMPTY),
    STR_FIELD(image, .flags = JFIELD_OMIT_EMPTY),
    STR_FIELD(image_digest, .flags = JFIELD_OMIT_EMPTY),
    STR_FIELD(runtime, .flags = JFIELD_OMIT_EMPTY),
    STR_FIELD(runtime_data, .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct record, entrypoint, JFIELD_STRINGS, .flags = JFIELD_OMIT_EMPTY),
    MAP_FIELD(env),
    MAP_FIELD(metadata),
    MAP_FIELD(extensions),
    MAP_FIELD(resource_limits),
    INT_FIELD(memory_bytes),
    INT_FIELD(millicpu),
    INT_FIELD(pids),
    INT_FIELD(timeout_s),
    INT_FIELD(created_us),
    INT_FIELD(transition_us),
    INT_FIELD(expires_us),
    INT_FIELD(expires_boot_ms),
    STR_FIELD(boot_id, .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct record, epoch, JFIELD_U32),
};

json_t *record_encode(const struct sandbox *sb)
{
    struct record r = {
        .id = sb->id,
        .state = sandbox_state_name(sb->state),
        .reason = sb->reason,
        .message = sb->message,
        .image = sb->spec.image,
        .image_digest = sb->image_digest,
        .runtime = sb->runtime,
        .runtime_data = sb->runtime_data,
        .entrypoint = sb->spec.entrypoint,
        .env = sb->spec.env,
        .metadata = sb->spec.metadata,
        .extensions = sb->spec.extensions,
        .resource_limits = sb->spec.resource_limits,
        .memory_bytes = (int64_t)sb->spec.memory_bytes,
        .millicpu = (int64_t)sb->spec.millicpu,
        .pids = (int64_t)sb->spec.pids,
        .timeout_s = sb->spec.timeout_s,
        .created_us = sb->created_us,
        .transition_us = sb->transition_us,
        .expires_us = sb->expires_us,
        .expires_boot_ms = sb->expires_boot_ms,
        .boot_id = sb->boot_id,
        .epoch = sb->epoch,
    };
    return jfield_encode(record_fields, ARRAY_LEN(record_fields), &r);
}

static void spec_from_record(const struct record *r, struct sandbox_spec *spec)
{
    *spec = (struct sandbox_spec){
        .image = r->image,
        .entrypoint = r->entrypoint,
        .env = r->env,
        .metadata = r->metadata,
        .extensions = r->extensions,
        .resource_limits = r->resource_limits,
        .memory_bytes = (uint64_t)r->memory_bytes,
        .millicpu = (uint64_t)r->millicpu,
        .pids = (uint64_t)r->pids,
        .timeout_s = r->timeout_s,
    };
}

int record_decode(const char *text, struct sandbox *ret, struct err *err)
{
    struct record r;
    struct arena arena;

    arena_init(&arena);
    int rc = jfield_decode_text(record_fields, ARRAY_LEN(record_fields), text, strlen(text), false,
                                &r, &arena, ERR_STORE_FAILED, NULL, err);
    enum sandbox_state state = SANDBOX_FAILED;
    if (rc == 0 && strlen(r.id) != ID_UUID_LEN)
        rc = err_set(err, ERR_STORE_FAILED, EINVAL, "record: '%.40s' is no sandbox id", r.id);
    if (rc == 0 && sandbox_state_parse(r.state, &state) < 0)
        rc = err_set(err, ERR_STORE_FAILED, EINVAL, "record %s: unknown state '%.40s'", r.id,
                     r.state);
    if (rc < 0) {
        arena_done(&arena);
        return rc;
    }
    *ret = (struct sandbox){
        .arena = arena,
        .state = state,
        .reason = r.reason,
        .message = r.message,
        .created_us = r.created_us,
        .transition_us = r.transition_us,
        .expires_us = r.expires_us,
        .expires_boot_ms = r.expires_boot_ms,
        .boot_id = r.boot_id,
        .runtime = r.runtime,
        .image_digest = r.image_digest,
        .epoch = r.epoch,
        .runtime_data = r.runtime_data,
    };
    memcpy(ret->id, r.id, sizeof(ret->id));
    spec_from_record(&r, &ret->spec);
    return 0;
}

int record_copy(const struct sandbox *sb, struct sandbox *ret, struct err *err)
{
    cleanup_json json_t *record = record_encode(sb);
    size_t len = 0;
    cleanup_free char *text = record != NULL ? json_compact(record, &len) : NULL;

    if (text == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory to copy sandbox %s", sb->id);
    return record_decode(text, ret, err);
}
