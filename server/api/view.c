#include "server/api/view.h"

#include "proto/base/clock.h"
#include "proto/base/str.h"

static json_t *time_json(int64_t wall_us)
{
    char text[CLOCK_RFC3339_MAX];

    clock_format_us(wall_us, text);
    return json_string(text);
}

static json_t *map_json(const struct jmap *map, const char *only_prefix)
{
    json_t *o = json_object();

    for (size_t i = 0; i < map->n; i++) {
        if (only_prefix == NULL || str_starts(map->items[i].key, only_prefix))
            json_object_set_new(o, map->items[i].key, json_string(map->items[i].value));
    }
    return o;
}

static void set_unless_empty(json_t *o, const char *key, json_t *value)
{
    if (json_object_size(value) > 0)
        json_object_set_new(o, key, value);
    else
        json_decref(value);
}

static json_t *status_json(const struct sandbox *sb)
{
    json_t *status = json_object();

    json_object_set_new(status, "state", json_string(sandbox_state_name(sb->state)));
    if (sb->reason != NULL)
        json_object_set_new(status, "reason", json_string(sb->reason));
    if (sb->message != NULL)
        json_object_set_new(status, "message", json_string(sb->message));
    json_object_set_new(status, "lastTransitionAt", time_json(sb->transition_us));
    return status;
}

json_t *view_sandbox(const struct sandbox *sb, bool with_image)
{
    json_t *o = json_object();
    json_t *entrypoint = json_array();

    json_object_set_new(o, "id", json_string(sb->id));
    if (with_image)
        json_object_set_new(o, "image", json_pack("{s:s}", "uri", sb->spec.image));
    json_object_set_new(o, "status", status_json(sb));
    set_unless_empty(o, "metadata", map_json(&sb->spec.metadata, NULL));
    set_unless_empty(o, "extensions", map_json(&sb->spec.extensions, "opensandbox.extensions."));
    for (size_t i = 0; i < sb->spec.entrypoint.n; i++)
        json_array_append_new(entrypoint, json_string(sb->spec.entrypoint.items[i]));
    json_object_set_new(o, "entrypoint", entrypoint);
    if (sb->expires_us != 0)
        json_object_set_new(o, "expiresAt", time_json(sb->expires_us));
    json_object_set_new(o, "createdAt", time_json(sb->created_us));
    return o;
}
