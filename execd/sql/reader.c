#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "execd/sql/run_priv.h"
#include "proto/base/mem.h"
#include "proto/json/jfield.h"

static void show(struct sql_run *run, char *event, size_t len)
{
    if (event == NULL) {
        static const char lost[] = "[execd] a result is too large to be shown\n";
        channel_append(run->channel, EVENT_STDERR, lost, sizeof(lost) - 1);
        return;
    }
    if (!run->counted)
        channel_append_number(run->channel, EVENT_EXECUTION_COUNT, 1);
    run->counted = true;
    channel_append(run->channel, EVENT_RESULT, event, len);
    free(event);
}

void sql_reader_end(struct sql_run *run)
{
    size_t len = 0;

    if (run->result.n_rows == 0)
        return;
    char *event = sql_result_end(&run->result, true, &len);
    show(run, event, len);
}

static int take_end(struct sql_run *run, const json_t *end)
{
    bool truncated = json_is_true(json_object_get(end, "truncated"));
    size_t n_rows = run->result.n_rows, len = 0;

    if (!run->result.open)
        return -EPROTO;
    char *event = sql_result_end(&run->result, truncated, &len);
    show(run, event, len);
    if (truncated) {
        cleanup_free char *text =
            xasprintf("[execd] only the first %zu rows are shown: more than %d, or over %u bytes\n",
                      n_rows, SQL_ROWS_MAX, SQL_RESULT_MAX);
        channel_append(run->channel, EVENT_STDERR, text, strlen(text));
    }
    return 0;
}

static int take_affected(struct sql_run *run, const json_t *n)
{
    size_t len = 0;

    if (!json_is_integer(n) || run->result.open)
        return -EPROTO;
    char *event = sql_result_affected(json_integer_value(n), &len);
    show(run, event, len);
    return 0;
}

static int take_error(struct sql_run *run, const json_t *error)
{
    const char *ename = json_string_value(json_object_get(error, "ename"));
    const char *evalue = json_string_value(json_object_get(error, "evalue"));

    if (ename == NULL || evalue == NULL || run->ename != NULL)
        return -EPROTO;
    run->ename = xstrdup(ename);
    run->evalue = xstrdup(evalue);
    return 0;
}

static int take_note(struct sql_run *run, const json_t *note)
{
    if (!json_is_string(note))
        return -EPROTO;
    cleanup_free char *text = xasprintf("[execd] %s\n", json_string_value(note));
    channel_append(run->channel, EVENT_STDERR, text, strlen(text));
    return 0;
}

static int take(struct sql_run *run, const json_t *message)
{
    const json_t *value;

    if ((value = json_object_get(message, "row")) != NULL)
        return sql_result_row(&run->result, value);
    if ((value = json_object_get(message, "columns")) != NULL)
        return sql_result_columns(&run->result, value);
    if ((value = json_object_get(message, "end")) != NULL)
        return take_end(run, value);
    if ((value = json_object_get(message, "affected")) != NULL)
        return take_affected(run, value);
    if ((value = json_object_get(message, "note")) != NULL)
        return take_note(run, value);
    if ((value = json_object_get(message, "error")) != NULL)
        return take_error(run, value);
    run->done = json_is_true(json_object_get(message, "done"));
    return run->done ? 0 : -EPROTO;
}

int sql_reader_take(struct sql_run *run, const char *line, size_t len)
{
    cleanup_json json_t *message = NULL;

    if (run->done || run->ename != NULL)
        return -EPROTO; /* it had said its last word */
    run->heard = true;
    int rc = json_parse(line, len, &message, 0, NULL);
    return rc < 0 ? -EPROTO : take(run, message);
}
