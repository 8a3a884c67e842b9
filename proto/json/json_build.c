#include "proto/json/json_build.h"

#include <string.h>

#include "proto/base/str.h"

/* jansson has released the value by now. */
static void give_up(json_t **tree)
{
    json_decref(*tree); /* NULL is fine */
    *tree = NULL;
}

void json_put(json_t **object, const char *key, json_t *value)
{
    if (json_object_set_new(*object, key, value) < 0)
        give_up(object);
}

void json_push(json_t **array, json_t *value)
{
    if (json_array_append_new(*array, value) < 0)
        give_up(array);
}

json_t *json_text(const char *text)
{
    size_t len = strlen(text);

    if (utf8_is_valid(text, len))
        return json_stringn_nocheck(text, len);
    cleanup_strbuf struct strbuf repaired;
    strbuf_init(&repaired, 3 * len); /* three bytes for one at most */
    strbuf_add_repaired(&repaired, text, len);
    return strbuf_check(&repaired) == 0 ? json_stringn_nocheck(repaired.data, repaired.len) : NULL;
}
