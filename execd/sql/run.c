#include "execd/sql/run.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "execd/proc/receipt.h"
#include "execd/sql/run_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"

#define DSN_DEFAULT "sqlite:~/.opensandbox/sandbox.db"
#define GRACE_MS 2000
#define READ_SIZE (64u << 10)
#define LINE_MAX_BYTES (SQL_RESULT_MAX + (1u << 20)) /* one row, and its quotes */

static void arm(struct event *timer, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    if (event_add(timer, &tv) < 0)
        event_active(timer, EV_TIMEOUT, 0); /* no memory for a timer: better too early than never */
}

static void run_free(struct sql_run *run)
{
    channel_on_room(run->channel, NULL, NULL);
    if (run->readable != NULL)
        event_free(run->readable);
    if (run->timer != NULL)
        event_free(run->timer);
    if (run->fd >= 0)
        close(take_fd(&run->fd));
    if (pidref_is_set(&run->process) && !run->exited) {
        reaper_forget(run->process.pid);
        (void)!pidref_signal(&run->process, SIGKILL); /* it may be gone */
    }
    pidref_done(&run->process);
    if (run->leaf != NULL)
        (void)leaf_kill(run->leaf); /* one process, which has no children */
    leaf_free(run->leaf);
    channel_unref(run->channel);
    strbuf_done(&run->line);
    sql_result_done(&run->result);
    free(run->ename);
    free(run->evalue);
    free(run);
}

/* ---- the end ---- */

static void set_error(struct sql_run *run, const char *ename, const char *evalue)
{
    if (run->ename != NULL)
        return;
    run->ename = xstrdup(ename);
    run->evalue = xstrdup(evalue);
}

/* What the program has not said by itself. */
static void explain(struct sql_run *run)
{
    char text[EXIT_TEXT_MAX], evalue[128];

    if (run->done)
        return;
    exit_status_text(&run->status, text, sizeof(text));
    (void)snprintf(evalue, sizeof(evalue), "the program that runs SQL has ended: %s",
                   text); /* fits */
    if (run->end == SQL_END_INTERRUPTED)
        set_error(run, "DBQueryError", "interrupted");
    else
        set_error(run, run->heard ? "DBQueryError" : "DBInitError", evalue);
}

static void append_receipt(struct sql_run *run)
{
    static const char *const reasons[] = {
        [SQL_END_EXIT] = "exit",
        [SQL_END_TIMEOUT] = "timeout",
        [SQL_END_INTERRUPTED] = "cancelled",
        [SQL_END_SHUTDOWN] = "agent_shutdown",
    };
    struct receipt r = {.reason = reasons[run->end],
                        .wall_us = (uint64_t)(clock_monotonic_ns() - run->started_ns) / 1000};
    struct strbuf json;

    if (run->exited)
        receipt_measure(&r, run->leaf, &run->status);
    else
        r.reason = "spawn_failed";
    if (run->end == SQL_END_EXIT && run->status.signalled)
        r.reason = r.usage.oom_kills > 0 ? "oom" : "signal";
    strbuf_init(&json, 0);
    receipt_json(&r, &json);
    if (strbuf_check(&json) == 0)
        channel_append(run->channel, EVENT_RECEIPT, json.data, json.len);
    strbuf_done(&json);
}

/* Appends receipt and terminal event, and frees. */
static void conclude(struct sql_run *run)
{
    struct sql_manager *m = run->manager;

    sql_reader_end(run);
    append_receipt(run);
    if (run->ename != NULL) {
        const char *traceback[] = {run->evalue, NULL};
        channel_append_error(run->channel, run->ename, run->evalue, traceback);
    } else {
        channel_append_number(run->channel, EVENT_EXECUTION_COMPLETE,
                              (clock_monotonic_ns() - run->started_ns) / 1000000);
    }
    DL_DELETE(m->runs, run);
    m->n--;
    run_free(run);
}

static void conclude_if_over(struct sql_run *run)
{
    if (!run->exited || run->fd >= 0)
        return;
    explain(run);
    conclude(run);
}

static void kill_process(struct sql_run *run)
{
    if (!run->exited)
        (void)!pidref_signal(&run->process, SIGKILL); /* on_exit_status follows */
}

/* It may only not have been reaped or read to its end yet: nothing else is told of it any more. */
static bool has_ended(const struct sql_run *run)
{
    return run->done || run->ename != NULL || run->exited;
}

/* The rest is waited for, for a while. */
static void end_soon(struct sql_run *run)
{
    run->stopping = true;
    arm(run->timer, run->manager->config.grace_ms);
}

/* evalue NULL: what the program makes of it is told. */
static void stop(struct sql_run *run, enum sql_end reason, const char *evalue)
{
    if (run->stopping)
        return;
    if (!has_ended(run)) {
        run->end = reason;
        if (evalue != NULL)
            set_error(run, "DBQueryError", evalue);
        (void)!pidref_signal(&run->process, SIGINT); /* if it cannot be told, it is killed */
    }
    end_soon(run);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct sql_run *run = arg;
    char text[64];

    (void)fd;
    (void)what;
    if (run->stopping) {
        kill_process(run);
        return;
    }
    (void)snprintf(text, sizeof(text), "timeout after %lld ms",
                   (long long)run->timeout_ms); /* fits */
    stop(run, SQL_END_TIMEOUT, text);
}

static void on_exit_status(void *arg, const struct exit_status *status)
{
    struct sql_run *run = arg;

    run->exited = true;
    run->status = *status;
    conclude_if_over(run);
}

/* ---- what it says ---- */

static void end_of_words(struct sql_run *run)
{
    (void)event_del(run->readable); /* cannot fail for an event of ours */
    close(take_fd(&run->fd));
    run->fd = -1;
    end_soon(run);
}

/* Whole lines go; returns false when the program does not keep to what was agreed. */
static bool take_lines(struct sql_run *run)
{
    size_t at = 0;
    const char *end;

    while ((end = memchr(run->line.data + at, '\n', run->line.len - at)) != NULL) {
        size_t len = (size_t)(end - (run->line.data + at));
        bool told = run->end == SQL_END_TIMEOUT || run->end == SQL_END_SHUTDOWN;
        /* What comes behind an end of ours is of no interest. */
        if (!told && sql_reader_take(run, run->line.data + at, len) < 0)
            return false;
        at += len + 1;
    }
    memmove(run->line.data, run->line.data + at, run->line.len - at + 1);
    run->line.len -= at;
    return true;
}

static void on_room(void *arg)
{
    struct sql_run *run = arg;

    if (run->fd >= 0)
        (void)event_add(run->readable, NULL); /* fails only when memory is exhausted */
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct sql_run *run = arg;
    char buf[READ_SIZE];

    (void)what;
    ssize_t n = read(fd, buf, sizeof(buf));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        strbuf_add(&run->line, buf, (size_t)n);
    if (n > 0 && (strbuf_check(&run->line) < 0 || !take_lines(run))) {
        set_error(run, "DBQueryError", "the program that runs SQL broke its protocol");
        kill_process(run);
        n = 0;
    }
    if (n <= 0) {
        channel_on_room(run->channel, NULL, NULL);
        end_of_words(run);
        conclude_if_over(run);
    } else if (!channel_has_room(run->channel)) {
        (void)event_del(run->readable); /* cannot fail for an event of ours */
        channel_on_room(run->channel, on_room, run);
    }
}

/* ---- the start ---- */

static int begin(struct sql_run *run, const char *code, struct err *err)
{
    struct event_base *base = run->manager->base;
    int rc = sql_process_start(run, code, &run->fd, err);

    if (rc < 0)
        return rc;
    run->readable = event_new(base, run->fd, EV_READ | EV_PERSIST, on_readable, run);
    run->timer = evtimer_new(base, on_timer, run);
    if (run->readable == NULL || run->timer == NULL || event_add(run->readable, NULL) < 0)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the run");
    reaper_watch(run->process.pid, on_exit_status, run);
    if (run->timeout_ms > 0)
        arm(run->timer, run->timeout_ms);
    return 0;
}

static struct sql_run *run_new(struct sql_manager *m, int64_t timeout_ms)
{
    struct archive *archive = m->config.archive;
    struct sql_run *run = xnew(struct sql_run);
    struct channel_limits limits = {.retain = archive != NULL ? archive_retain(archive) : 0};

    ids_uuid(run->id);
    run->manager = m;
    run->process = PIDREF_UNSET;
    run->fd = -1;
    run->timeout_ms = timeout_ms;
    run->started_ns = clock_monotonic_ns();
    strbuf_init(&run->line, LINE_MAX_BYTES);
    sql_result_init(&run->result);
    run->channel = channel_new(m->base, &limits);
    channel_append_text(run->channel, EVENT_INIT, run->id);
    if (archive != NULL)
        archive_add(archive, run->id, run->channel, true);
    DL_APPEND(m->runs, run);
    m->n++;
    return run;
}

int sql_start(struct sql_manager *m, const char *code, int64_t timeout_ms,
              char ret_id[ID_UUID_LEN + 1], struct channel **ret_channel, struct err *err)
{
    struct err failed = {0};

    if (m->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "the agent is shutting down");
    if (m->n >= SQL_RUNS_MAX)
        return err_set(err, ERR_OVERLOADED, EAGAIN, "%u runs of SQL are on, which is the limit",
                       m->n);
    struct sql_run *run = run_new(m, timeout_ms);
    memcpy(ret_id, run->id, sizeof(run->id));
    *ret_channel = channel_ref(run->channel);
    if (begin(run, code, &failed) < 0) {
        set_error(run, "DBInitError", failed.text);
        conclude(run);
    }
    return 0;
}

struct sql_run *sql_find(struct sql_manager *m, const char *id)
{
    struct sql_run *run;

    DL_FOREACH(m->runs, run)
    {
        if (strcmp(run->id, id) == 0)
            return run;
    }
    return NULL;
}

void sql_interrupt(struct sql_run *run)
{
    stop(run, SQL_END_INTERRUPTED, NULL);
}

/* ---- the manager ---- */

int sql_manager_new(struct event_base *base, const struct sql_config *config,
                    struct sql_manager **ret, struct err *err)
{
    const char *source = config->dsn != NULL ? config->dsn : DSN_DEFAULT;
    struct sql_manager *m = xnew(struct sql_manager);
    m->base = base;
    m->config = *config;
    m->config.grace_ms = config->grace_ms > 0 ? config->grace_ms : GRACE_MS;
    m->source = xstrdup(source);
    arena_init(&m->arena);
    int rc = dsn_parse(source, &m->arena, &m->dsn, err);
    if (rc < 0)
        sql_manager_free(m);
    else
        *ret = m;
    return rc;
}

void sql_manager_shutdown(struct sql_manager *m)
{
    struct sql_run *run, *tmp;

    m->shutting_down = true;
    DL_FOREACH_SAFE(m->runs, run, tmp)
    stop(run, SQL_END_SHUTDOWN, "the agent is shutting down");
}

void sql_manager_free(struct sql_manager *m)
{
    struct sql_run *run, *tmp;

    if (m == NULL)
        return;
    DL_FOREACH_SAFE(m->runs, run, tmp)
    run_free(run);
    arena_done(&m->arena);
    free(m->source);
    free(m);
}
