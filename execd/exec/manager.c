#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <string.h>
#include <utlist.h>

#include "execd/events/bus.h"
#include "execd/exec/command_priv.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

static const struct command_config defaults = {
    .running_max = 1024,
    .history_max = 10000,
    .history_text = 32U << 20,
    .history_ms = INT64_C(24) * 3600 * 1000,
    .interrupt_grace_ms = 3000,
    .linger_ms = 150,
    .log_max = UINT64_C(256) << 20,
    .logs_max = UINT64_C(1) << 30,
    .log_files_max = 512,
};

int command_manager_new(struct event_base *base, const struct command_config *config,
                        struct command_manager **ret_manager)
{
    struct command_manager *m = xnew(struct command_manager);

    m->base = base;
    if (config != NULL)
        m->config = *config;
    DEFAULT_FIELD(m->config, defaults, running_max);
    DEFAULT_FIELD(m->config, defaults, history_max);
    DEFAULT_FIELD(m->config, defaults, history_text);
    DEFAULT_FIELD(m->config, defaults, history_ms);
    DEFAULT_FIELD(m->config, defaults, interrupt_grace_ms);
    DEFAULT_FIELD(m->config, defaults, linger_ms);
    DEFAULT_FIELD(m->config, defaults, log_max);
    DEFAULT_FIELD(m->config, defaults, logs_max);
    DEFAULT_FIELD(m->config, defaults, log_files_max);
    *ret_manager = m;
    return 0;
}

void command_manager_free(struct command_manager *m)
{
    struct command *c, *tmp;

    if (m == NULL)
        return;
    HASH_ITER(hh, m->by_id, c, tmp)
    {
        HASH_DEL(m->by_id, c);
        command_free(c);
    }
    if (m->grace != NULL)
        event_free(m->grace);
    free(m);
}

struct command *command_find(struct command_manager *m, const char *id)
{
    struct command *c = NULL;

    HASH_FIND_STR(m->by_id, id, c);
    return c;
}

static void drop_log(struct command *c)
{
    if (c->spool == NULL)
        return;
    c->manager->logs_bytes -= spool_size(c->spool);
    c->manager->n_logs -= spool_memory(c->spool) == NULL;
    spool_release(take_ptr(&c->spool));
}

/* Oldest first. A record whose tree is still being killed, or whose end somebody waits for, stays; so does the newest:
 * its caller is not through with it. */
static void forget_old(struct command_manager *m)
{
    int64_t limit_ms = clock_monotonic_ms() - m->config.history_ms;
    struct command *c, *tmp;

    DL_FOREACH_SAFE(m->finished, c, tmp)
    {
        if (c->next == NULL ||
            (m->n_finished <= m->config.history_max && m->finished_text <= m->config.history_text &&
             c->closed_ms >= limit_ms))
            return;
        if (c->leaf != NULL || c->waiters != NULL)
            continue;
        DL_DELETE(m->finished, c);
        m->n_finished--;
        m->finished_text -= strlen(c->content);
        drop_log(c);
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): what is found by its id has its table
        HASH_DEL(m->by_id, c);
        command_free(c);
    }
}

/* Logs are larger than records: the oldest go when all of them take more than their share. */
static void forget_logs(struct command_manager *m)
{
    for (struct command *c = m->finished;
         c != NULL && (m->logs_bytes > m->config.logs_max || m->n_logs > m->config.log_files_max);
         c = c->next)
        drop_log(c);
}

static void check_shut_down(struct command_manager *m)
{
    if (!m->shutting_down || m->n_running > 0 || m->on_shut_down == NULL)
        return;
    void (*on_done)(void *) = m->on_shut_down;
    m->on_shut_down = NULL;
    on_done(m->shut_down_arg);
}

static void on_grace(evutil_socket_t fd, short what, void *arg)
{
    struct command_manager *m = arg;
    struct command *c, *tmp;

    (void)fd;
    (void)what;
    if (m->n_running == 0) {
        check_shut_down(m);
        return;
    }
    DL_FOREACH_SAFE(m->running, c, tmp)
    command_shut_down(c, SIGKILL);
}

void manager_on_done(struct command *c)
{
    struct command_manager *m = c->manager;
    struct channel_stats stats;

    channel_get_stats(c->channel, &stats);
    m->counts.bytes_out += stats.bytes_total;
    m->counts.by_end[c->end]++;
    events_publish(EVENTS_COMMAND_FINISHED,
                   json_pack("{s:s,s:s,s:i,s:I}", "id", c->id, "end", command_end_name(c->end),
                             "exit_code", c->receipt.exit_code, "duration_ms",
                             (json_int_t)(c->receipt.wall_us / 1000)));
    channel_unref(
        take_ptr(&c->channel)); /* viewers that are still reading hold their own reference */
    DL_DELETE(m->running, c);
    m->n_running--;
    DL_APPEND(m->finished, c);
    m->n_finished++;
    m->finished_text += strlen(c->content);
    if (c->spool != NULL) {
        m->logs_bytes += spool_size(c->spool);
        m->n_logs += spool_memory(c->spool) == NULL;
    }
    forget_logs(m);
    forget_old(m);
    if (m->shutting_down && m->n_running == 0 && m->grace != NULL)
        event_active(m->grace, EV_TIMEOUT, 0); /* the answer is posted, never given from inside */
}

void command_manager_shutdown(struct command_manager *m, int grace_ms, void (*on_done)(void *),
                              void *arg)
{
    struct timeval tv = {.tv_sec = grace_ms / 1000, .tv_usec = (grace_ms % 1000) * 1000};
    struct command *c, *tmp;

    m->shutting_down = true;
    m->on_shut_down = on_done;
    m->shut_down_arg = arg;
    m->grace = event_new(m->base, -1, 0, on_grace, m);
    if (m->grace == NULL) {
        check_shut_down(m);
        return;
    }
    DL_FOREACH_SAFE(m->running, c, tmp)
    command_shut_down(c, SIGTERM);
    if (m->n_running == 0)
        event_active(m->grace, EV_TIMEOUT, 0);
    else
        (void)event_add(m->grace, &tv); /* without memory for it, shutdown_start still kills */
}

void command_manager_counts(const struct command_manager *m, struct command_counts *ret_counts)
{
    *ret_counts = m->counts;
    ret_counts->running = m->n_running;
}
