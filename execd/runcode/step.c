#include "execd/runcode/step.h"

#include <stdio.h>
#include <string.h>

static void keep(struct step_run *s, unsigned stream, const struct channel_entry *e)
{
    struct strbuf *out = &s->step->output[stream];
    uint64_t *dropped = &s->step->dropped[stream];

    *dropped += e->at - s->seen[stream]; /* evicted before we came to it */
    size_t take = *dropped > 0 ? 0 : MIN(e->len, RUNCODE_OUTPUT_MAX - out->len);
    *dropped += e->len - take;
    s->seen[stream] = e->at + e->len;
    strbuf_add(out, e->data, take);
}

static void set_end(struct step_run *s)
{
    struct runcode_step *step = s->step;
    struct command *c = command_find(s->commands, s->id);
    struct command_status status;

    step->end = RUNCODE_ERROR;
    if (c == NULL) {
        snprintf(step->error, sizeof(step->error), "the record of the command is gone");
        return;
    }
    command_get_status(c, &status);
    if (status.receipt != NULL)
        step->seconds = (double)status.receipt->wall_us / 1e6;
    if (status.end == COMMAND_END_TIMEOUT) {
        step->end = RUNCODE_TIMEOUT;
    } else if (status.end == COMMAND_END_SPAWN_FAILED || status.end == COMMAND_END_SHUTDOWN) {
        snprintf(step->error, sizeof(step->error), "%s",
                 status.end == COMMAND_END_SHUTDOWN ? "the agent is shutting down" : status.error);
    } else {
        step->end = RUNCODE_FINISHED;
        if (status.end == COMMAND_END_OOM)
            snprintf(step->error, sizeof(step->error), "killed by the kernel: out of memory");
        step->code = status.exit_code;
        if (status.receipt != NULL && status.receipt->signal != 0)
            step->code = -status.receipt->signal;
    }
}

static void on_ready(void *arg)
{
    struct step_run *s = arg;
    struct channel_entry e;

    while (channel_peek(&s->reader, &e)) {
        if (e.type == EVENT_STDOUT || e.type == EVENT_STDERR)
            keep(s, e.type == EVENT_STDERR, &e);
        channel_advance(&s->reader);
    }
    if (!channel_at_end(&s->reader) && !s->reader.cut)
        return;
    set_end(s);
    s->on_end(s->arg);
}

int step_start(struct step_run *s, const struct command_request *request, struct err *err)
{
    struct command *command;
    struct channel *channel;

    int rc = command_start(s->commands, request, &command, &channel, err);
    if (rc < 0)
        return rc;
    snprintf(s->id, sizeof(s->id), "%s", command_id(command));
    memset(s->seen, 0, sizeof(s->seen));
    for (unsigned i = 0; i < 2; i++)
        strbuf_init(&s->step->output[i], RUNCODE_OUTPUT_MAX + 1);
    channel_attach(&s->reader, channel, CHANNEL_FROM_START, on_ready, s);
    channel_unref(channel);
    return 0;
}

void step_interrupt(struct step_run *s)
{
    struct command *c = s->id[0] != '\0' ? command_find(s->commands, s->id) : NULL;
    struct err err;

    if (c != NULL && command_interrupt(c, NULL, NULL, &err) < 0)
        return; /* it has ended already: what we want */
}

void step_done(struct step_run *s)
{
    channel_detach(&s->reader);
}
