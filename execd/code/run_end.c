/*
 * The end of a run: its receipt and its one terminal event.
 */
#include <stdio.h>
#include <string.h>

#include "execd/code/output.h"
#include "execd/code/run_priv.h"
#include "execd/proc/receipt.h"
#include "proto/base/clock.h"

/* Leaves every resource; the terminal event is the caller's. */
static void finish(struct code_run *run, bool failed)
{
    run->state = RUN_DONE;
    run->failed = failed;
    patience_stop(&run->timer);
    patience_stop(&run->deadline);
    channel_on_room(run->channel, NULL, NULL);
    run_drop_store(run);
    free(run->code);
    run->code = NULL;
    run_quirks_end(run, failed);
    if (run->kernel)
        kernel_hold(run->kernel, KERNEL_HOLD_RUN, false);
    run->kernel = NULL;
}

/* ---- receipt ------------------------------------------------------------------------------------- */

static uint64_t wall_us(const struct code_run *run)
{
    return run->started_ns > 0 ? (uint64_t)(clock_monotonic_ns() - run->started_ns) / 1000 : 0;
}

static void append_receipt(struct code_run *run, enum run_end end)
{
    static const char *const names[RUN_END_MAX] = {
        [RUN_END_EXIT] = "exit",
        [RUN_END_ERROR] = "error",
        [RUN_END_TIMEOUT] = "timeout",
        [RUN_END_CANCELLED] = "cancelled",
        [RUN_END_OOM] = "oom",
        [RUN_END_KERNEL_DIED] = "kernel_died",
        [RUN_END_NOT_STARTED] = "spawn_failed",
        [RUN_END_SHUTDOWN] = "agent_shutdown",
    };
    struct receipt receipt = {.reason = names[end], .wall_us = wall_us(run), .peak_of = "kernel"};
    struct strbuf json;
    if (run->kernel && run->started_ns > 0) {
        kernel_usage(run->kernel, &receipt.usage);
        receipt.has_usage = true;
        receipt_subtract(&receipt, &run->before);
    }
    strbuf_init(&json, 0);
    receipt_json(&receipt, &json);
    if (strbuf_check(&json) == 0)
        channel_append(run->channel, EVENT_RECEIPT, json.data, json.len);
    strbuf_done(&json);
}

/* ---- last words ---------------------------------------------------------------------------------- */

static void say(struct code_run *run, const char *text)
{
    channel_append(run->channel, EVENT_STDERR, text, strlen(text));
}

static void say_losses(struct code_run *run)
{
    char text[128];
    if (run->lost)
        say(run, "[execd] output may be missing: a message of the kernel was over 32 MiB or never "
                 "came\n");
    if (run->n_broken > 0) {
        (void)snprintf(
            text, sizeof(text),
            "[execd] %llu messages of the kernel were left out: no valid JSON object, or "
            "too deep or large\n",
            (unsigned long long)run->n_broken); /* fits */
        say(run, text);
    }
    if (run->n_dropped > 0) {
        (void)snprintf(text, sizeof(text),
                       "[execd] %llu messages of the kernel were dropped: too much output\n",
                       (unsigned long long)run->n_dropped); /* fits */
        say(run, text);
    }
}

static bool status_is(const json_t *reply, const char *status)
{
    const char *value = json_string_value(json_object_get(reply, "status"));
    return value && strcmp(value, status) == 0;
}

/* A run that was told to end has ended for that reason, whatever error it made of it. */
static enum run_end reason_of(const struct code_run *run, enum run_end end)
{
    bool by_itself = end == RUN_END_ERROR || end == RUN_END_KERNEL_DIED;
    return by_itself && run->told != RUN_NOT_ENDED ? run->told : end;
}

#define TIMEOUT_NAME "ExecutionTimeout"

static void timeout_text(const struct code_run *run, char *buf, size_t size)
{
    (void)snprintf(buf, size, "timeout after %lld ms", (long long)run->timeout_ms); /* fits */
}

/* An end in our own words. */
static void end_by(struct code_run *run, const struct run_failure *failure)
{
    enum run_end end = reason_of(run, failure->end);
    const char *ename = failure->ename, *evalue = failure->evalue;
    const char *traceback[] = {failure->evalue, failure->detail, NULL};
    char text[64];
    if (end == RUN_END_TIMEOUT) {
        timeout_text(run, text, sizeof(text));
        ename = TIMEOUT_NAME;
        evalue = text;
    }
    if (failure->detail && !failure->detail[0])
        traceback[1] = NULL;
    append_receipt(run, end);
    channel_append_error(run->channel, ename, evalue, traceback);
    finish(run, true);
}

/* An end in the kernel's words; a timeout keeps its traceback. */
static void end_with(struct code_run *run, json_t *error)
{
    enum run_end end = reason_of(run, RUN_END_ERROR);
    char text[64];
    run_quirks_mend(run, error);
    if (end == RUN_END_TIMEOUT) {
        timeout_text(run, text, sizeof(text));
        (void)json_object_set_new(error, "ename", json_string(TIMEOUT_NAME)); /* small */
        (void)json_object_set_new(error, "evalue", json_string(text));        /* as above */
    }
    append_receipt(run, end);
    output_error(run->channel, error);
    finish(run, true);
}

/* The reply is not "ok". */
static void end_badly(struct code_run *run)
{
    static const struct run_failure no_status = {RUN_END_ERROR, "KernelProtocolError",
                                                 "the kernel's reply has no known status", NULL},
                                    interrupted = {RUN_END_ERROR, "KeyboardInterrupt",
                                                   "the run was interrupted", NULL},
                                    aborted = {RUN_END_ERROR, "ExecutionAborted",
                                               "the kernel aborted the run", NULL};
    if (!run->error && status_is(run->reply, "error"))
        run->error = output_error_object(run->reply);
    if (run->error)
        end_with(run, run->error);
    else if (!status_is(run->reply, "aborted") && !status_is(run->reply, "abort"))
        end_by(run, &no_status);
    else /* R and bash answer an interrupt with an abort */
        end_by(run, run->told != RUN_NOT_ENDED ? &interrupted : &aborted);
}

void run_conclude(struct code_run *run)
{
    output_payloads(run->channel, run->reply);
    say_losses(run);
    if (!status_is(run->reply, "ok")) {
        end_badly(run);
        return;
    }
    /* Shown by the user's own code: a traceback, but not the end of the run. */
    if (run->error)
        output_error_as_text(run->channel, run->error);
    run_quirks_count(run);
    append_receipt(run, RUN_END_EXIT);
    channel_append_number(run->channel, EVENT_EXECUTION_COMPLETE, (int64_t)(wall_us(run) / 1000));
    finish(run, false);
}

void run_fail(struct code_run *run, const struct run_failure *failure)
{
    if (run->state == RUN_DONE)
        return;
    run_pump(run, true);
    if (run->reply && run->idle) { /* it had ended, only its reader was behind */
        run_conclude(run);
        return;
    }
    run->lost = false; /* a kernel that dies breaks its connection, too */
    say_losses(run);
    if (run->error)
        output_error_as_text(run->channel, run->error);
    end_by(run, failure);
}
