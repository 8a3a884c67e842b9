#include "execd/sql/result.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/json/jfield.h"

#define TEXT_MAX                                                                                   \
    (8u << 20) /* well above SQL_RESULT_MAX: quotes and names of columns take room too */

void sql_result_init(struct sql_result *r)
{
    *r = (struct sql_result){0};
    strbuf_init(&r->text, TEXT_MAX);
    strbuf_init(&r->json, TEXT_MAX);
}

void sql_result_done(struct sql_result *r)
{
    strbuf_done(&r->text);
    strbuf_done(&r->json);
}

static void add_json(struct strbuf *out, const json_t *value)
{
    size_t len = 0;
    cleanup_free char *text = json_compact(value, &len);

    if (text == NULL)
        out->failed = true;
    else
        strbuf_add(out, text, len);
}

/* NULL stays null; all else is shown as a string. */
static void add_as_string(struct strbuf *out, const json_t *value)
{
    if (json_is_null(value) || json_is_string(value)) {
        add_json(out, value);
        return;
    }
    strbuf_addc(out, '"');
    add_json(out, value); /* a number or a word: nothing to escape */
    strbuf_addc(out, '"');
}

static bool are_strings(const json_t *list)
{
    bool good = json_is_array(list);
    for (size_t i = 0; good && i < json_array_size(list); i++)
        good = json_is_string(json_array_get(list, i));
    return good;
}

static bool are_scalars(const json_t *list)
{
    bool good = json_is_array(list);
    for (size_t i = 0; good && i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        good = !json_is_object(value) && !json_is_array(value);
    }
    return good;
}

int sql_result_columns(struct sql_result *r, const json_t *columns)
{
    if (r->open || !are_strings(columns))
        return -EPROTO;
    r->open = true;
    strbuf_adds(&r->text, "{\"columns\":");
    add_json(&r->text, columns);
    strbuf_adds(&r->json, "{\"columns\":");
    add_json(&r->json, columns);
    return 0;
}

int sql_result_row(struct sql_result *r, const json_t *row)
{
    size_t i;
    const json_t *value;

    if (!r->open || !are_scalars(row))
        return -EPROTO;
    strbuf_adds(&r->text, r->n_rows == 0 ? ",\"rows\":[[" : ",[");
    json_array_foreach(row, i, value)
    {
        if (i > 0)
            strbuf_addc(&r->text, ',');
        add_as_string(&r->text, value);
    }
    strbuf_addc(&r->text, ']');
    strbuf_adds(&r->json, r->n_rows == 0 ? ",\"rows\":[" : ",");
    add_json(&r->json, row);
    r->n_rows++;
    return 0;
}

/* Clients read the one or the other name of the text; values are strings, because some take strings only. */
static char *as_event(const struct strbuf *text, const struct strbuf *json, size_t *ret_len)
{
    static const char *const names[] = {"text", "text/plain", "application/json"};
    const struct strbuf *values[] = {text, text, json};
    struct strbuf out;

    strbuf_init(&out, 4 * TEXT_MAX);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        strbuf_addf(&out, "%s\"%s\":", i == 0 ? "{" : ",", names[i]);
        json_escape(&out, values[i]->data, values[i]->len);
        if (strbuf_check(values[i]) < 0)
            out.failed = true;
    }
    strbuf_addc(&out, '}');
    *ret_len = out.len;
    return strbuf_take(&out);
}

static void close_rows(struct strbuf *b, bool has_rows, bool truncated)
{
    if (has_rows)
        strbuf_addc(b, ']');
    strbuf_adds(b, truncated ? ",\"truncated\":true}" : "}");
}

char *sql_result_end(struct sql_result *r, bool truncated, size_t *ret_len)
{
    char *event = NULL;

    if (r->open) {
        close_rows(&r->text, r->n_rows > 0, truncated);
        close_rows(&r->json, r->n_rows > 0, truncated);
        event = as_event(&r->text, &r->json, ret_len);
    }
    strbuf_reset(&r->text);
    strbuf_reset(&r->json);
    r->open = false;
    r->n_rows = 0;
    return event;
}

char *sql_result_affected(json_int_t n, size_t *ret_len)
{
    struct strbuf text;

    strbuf_init(&text, 0);
    strbuf_addf(&text, "{\"columns\":[\"affected_rows\"],\"rows\":[[%lld]]}", (long long)n);
    char *event = as_event(&text, &text, ret_len);
    strbuf_done(&text);
    return event;
}
