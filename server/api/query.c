#include "server/api/query.h"

#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/http/uri.h"
#include "server/model/labels.h"

#define STATES_MAX 32
#define PAGE_SIZE_DEFAULT 20
#define PAGE_SIZE_MAX 200
#define PAGE_MAX 1000000

static int decode_number(struct http_req *req, const char *key, unsigned max, unsigned *value,
                         struct err *err)
{
    const char *text = http_req_query(req, key, 0);
    uint64_t parsed;

    if (text == NULL)
        return 0;
    if (str_to_u64(text, &parsed) < 0 || parsed < 1 || parsed > max)
        return err_set(err, ERR_VALIDATION, EINVAL, "%s: expected 1..%u, got '%.32s'", key, max,
                       text);
    *value = (unsigned)parsed;
    return 0;
}

static void decode_states(struct http_req *req, struct lifecycle_filter *f)
{
    const char *text;

    for (size_t i = 0; i < STATES_MAX && (text = http_req_query(req, "state", i)) != NULL; i++) {
        enum sandbox_state s;
        f->by_state = true; /* an unknown state matches nothing */
        if (sandbox_state_parse(text, &s) == 0)
            f->states[s] = true;
    }
}

/* "k=v&k2=v2" after the HTTP decode, each side possibly encoded once more (contracts/server.md 1.8). */
static int decode_metadata(struct http_req *req, struct jmap *ret, struct err *err)
{
    const char *text = http_req_query(req, "metadata", 0);
    struct arena *arena = http_req_arena(req);

    if (text == NULL || text[0] == '\0')
        return 0;
    ret->items = arena_alloc(arena, sizeof(struct jpair) * LABELS_MAX);
    if (ret->items == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the filter");
    for (const char *p = text; p != NULL && *p != '\0';) {
        const char *end = strchrnul(p, '&');
        const char *eq = memchr(p, '=', (size_t)(end - p));
        if (eq == NULL || ret->n == LABELS_MAX)
            return err_set(err, ERR_INVALID_METADATA_FORMAT, EINVAL,
                           "metadata: expected key=value pairs joined by '&' (at most %d)",
                           LABELS_MAX);
        const char *key, *value;
        int rc = uri_decode_query(arena, p, (size_t)(eq - p), &key);
        if (rc == 0)
            rc = uri_decode_query(arena, eq + 1, (size_t)(end - eq - 1), &value);
        if (rc == -ENOMEM)
            return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the filter");
        if (rc < 0)
            return err_set(err, ERR_INVALID_METADATA_FORMAT, EINVAL,
                           "metadata: a pair is badly encoded");
        ret->items[ret->n++] = (struct jpair){key, value};
        p = *end == '&' ? end + 1 : NULL;
    }
    return 0;
}

int query_decode_filter(struct http_req *req, struct lifecycle_filter *f, struct err *err)
{
    *f = (struct lifecycle_filter){.page = 1, .page_size = PAGE_SIZE_DEFAULT};
    decode_states(req, f);
    int rc = decode_number(req, "page", PAGE_MAX, &f->page, err);
    if (rc == 0)
        rc = decode_number(req, "pageSize", PAGE_SIZE_MAX, &f->page_size, err);
    if (rc == 0)
        rc = decode_metadata(req, &f->metadata, err);
    return rc;
}

int query_decode_patch(struct http_req *req, struct jpair **ret_changes, size_t *ret_n,
                       struct err *err)
{
    struct slice body = http_req_body(req);
    struct arena *arena = http_req_arena(req);
    cleanup_json json_t *doc = NULL;
    const char *key;
    json_t *value;
    size_t n = 0;

    int rc = json_parse(body.ptr, body.len, &doc, ERR_VALIDATION, err);
    if (rc < 0)
        return rc;
    if (!json_is_object(doc))
        return err_set(err, ERR_VALIDATION, EINVAL,
                       "expected an object of strings (null deletes a key)");
    struct jpair *changes = arena_alloc(arena, sizeof(*changes) * (json_object_size(doc) + 1));
    if (changes == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the patch");
    json_object_foreach(doc, key, value)
    {
        if (!json_is_string(value) && !json_is_null(value))
            return err_set(err, ERR_VALIDATION, EINVAL, "%.80s: expected a string or null", key);
        const char *text = json_string_value(value);
        rc = label_check(key, text, err);
        if (rc < 0)
            return rc;
        changes[n].key = arena_strndup(arena, key, strlen(key));
        changes[n].value = text != NULL ? arena_strndup(arena, text, strlen(text)) : NULL;
        if (changes[n].key == NULL || (text != NULL && changes[n].value == NULL))
            return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the patch");
        n++;
    }
    *ret_changes = changes;
    *ret_n = n;
    return 0;
}
