/*
 * What a run does for kernels that deviate: it asks for a quirk (quirks.h), never for a kernel.
 */
#include <string.h>

#include "execd/code/run_priv.h"
#include "proto/base/str.h"

#define SAID_MAX (64u << 10) /* bytes of stderr kept for the error that may stand in them */
#define SILENCE_MS 250       /* of a kernel with QUIRK_ABORT_WINDOW: its 200 ms, and its clock */
#define LATE_MS 100          /* measured: up to 1 ms on a busy machine */
#define DRAIN_MAX 64         /* pieces: a pipe's worth, however little is written at a time */

void run_quirks_begin(struct code_run *run)
{
    run->quirks = kernel_quirks(run->kernel);
    strbuf_init(&run->said, SAID_MAX);
}

void run_quirks_hear(struct code_run *run, const json_t *stream)
{
    const char *name = json_string_value(json_object_get(stream, "name"));
    const json_t *text = json_object_get(stream, "text");
    size_t len = MIN(json_string_length(text), (size_t)SAID_MAX);
    if (!(run->quirks & QUIRK_ERROR_AS_STDERR) || !name || strcmp(name, "stderr") != 0 || len == 0)
        return;
    if (run->said.len + len > SAID_MAX)
        strbuf_reset(&run->said); /* the error comes last */
    strbuf_add(&run->said, json_string_value(text) + json_string_length(text) - len, len);
}

void run_quirks_mend(struct code_run *run, json_t *error)
{
    kernel_quirks_mend_error(run->quirks, error,
                             (struct slice){run->said.data ? run->said.data : "", run->said.len});
}

void run_quirks_count(struct code_run *run)
{
    const json_t *count = json_object_get(run->reply, "execution_count");
    if ((run->quirks & QUIRK_RESULT_AS_DISPLAY_DATA) && json_is_integer(count))
        channel_append_number(run->channel, EVENT_EXECUTION_COUNT, json_integer_value(count));
}

void run_quirks_drain(struct code_run *run)
{
    struct kernel_msg *m;
    if (run->drained)
        return; /* what its children write from now on is late */
    run->drained = true;
    for (int i = 0; run->kernel && i < DRAIN_MAX && (m = kernel_next_output(run->kernel)); i++)
        run_take(run, m);
}

int run_quirks_wait_ms(struct code_run *run)
{
    const char *status = json_string_value(json_object_get(run->reply, "status"));
    if (!(run->quirks & QUIRK_LATE_RESULT) || run->has_result || run->waited || !status ||
        strcmp(status, "ok") != 0)
        return 0;
    run->waited = true;
    return LATE_MS;
}

void run_quirks_end(struct code_run *run, bool failed)
{
    if (failed && run->kernel && (run->quirks & QUIRK_ABORT_WINDOW))
        kernel_rest(run->kernel, SILENCE_MS);
    strbuf_done(&run->said);
}
