#include <string.h>

#include "execd/api/api.h"
#include "execd/api/kernel_metrics.h"
#include "execd/exec/shell_context.h"
#include "execd/metrics/sample_json.h"
#include "execd/proc/leaf.h"
#include "execd/pty/term.h"
#include "proto/api/errors.h"
#include "proto/base/loop_delay.h"
#include "proto/base/metrics_text.h"
#include "proto/base/process_metrics.h"
#include "proto/base/str.h"
#include "proto/base/version.h"
#include "proto/http/resp.h"
#include "proto/http/server_metrics.h"

#define METRICS_MAX (256 * 1024)

/* What Prometheus sees of a sample: one row per family, valid where the kernel gave the numbers. */
struct family {
    const char *name;
    enum metric_kind kind;
    const char *unit;
    const char *help;
    unsigned needs; /* bits of enum sample_has; 0 = always */
    double (*value)(const struct sample *s);
};

#define VALUE(fn, expr)                                                                            \
    static double fn(const struct sample *s)                                                       \
    {                                                                                              \
        return (expr);                                                                             \
    }
VALUE(cpu_seconds, (double)s->cpu_total_us / 1e6)
VALUE(cpu_user, (double)s->cpu_user_us / 1e6)
VALUE(cpu_system, (double)s->cpu_system_us / 1e6)
VALUE(cpu_count, s->cpu_count)
VALUE(cpu_limit, s->cpu_limit)
VALUE(cpu_percent, s->cpu_used_pct / 100)
VALUE(cpu_periods, (double)s->cpu_periods)
VALUE(cpu_throttled, (double)s->cpu_throttled)
VALUE(cpu_throttled_seconds, (double)s->cpu_throttled_us / 1e6)
VALUE(mem_limit, (double)s->mem_limit)
VALUE(mem_total, (double)s->mem_total)
VALUE(mem_used, (double)s->mem_used)
VALUE(mem_usage, (double)s->mem_usage)
VALUE(mem_peak, (double)s->mem_peak)
VALUE(mem_cache, (double)s->mem_cache)
VALUE(mem_rss, (double)s->mem_rss)
VALUE(oom_events, (double)s->oom_events)
VALUE(oom_kills, (double)s->oom_kills)
VALUE(pids, (double)s->pids)
VALUE(pids_max, (double)s->pids_max)
VALUE(io_read, (double)s->io_read_bytes)
VALUE(io_written, (double)s->io_write_bytes)
VALUE(io_reads, (double)s->io_reads)
VALUE(io_writes, (double)s->io_writes)

static const struct family families[] = {
    {"sandbox_cpus", METRIC_GAUGE, NULL, "CPUs usable by the sandbox, whole.", 0, cpu_count},
    {"sandbox_cpu_limit", METRIC_GAUGE, NULL, "CPU quota in CPUs, 0 = none.", 0, cpu_limit},
    {"sandbox_cpu_seconds", METRIC_COUNTER, "seconds", "CPU time used by the sandbox.", 0,
     cpu_seconds},
    {"sandbox_cpu_user_seconds", METRIC_COUNTER, "seconds", "CPU time in user mode.", 0, cpu_user},
    {"sandbox_cpu_system_seconds", METRIC_COUNTER, "seconds", "CPU time in the kernel.", 0,
     cpu_system},
    {"sandbox_cpu_used_ratio", METRIC_GAUGE, NULL,
     "Share of the usable CPU between the two latest samples.", 0, cpu_percent},
    {"sandbox_cpu_periods", METRIC_COUNTER, NULL, "Quota periods that have passed.", SAMPLE_CPU,
     cpu_periods},
    {"sandbox_cpu_throttled_periods", METRIC_COUNTER, NULL,
     "Quota periods in which the sandbox was throttled.", SAMPLE_CPU, cpu_throttled},
    {"sandbox_cpu_throttled_seconds", METRIC_COUNTER, "seconds", "Time the sandbox was throttled.",
     SAMPLE_CPU, cpu_throttled_seconds},
    {"sandbox_memory_limit_bytes", METRIC_GAUGE, "bytes", "Memory limit, 0 = none.", 0, mem_limit},
    {"sandbox_memory_total_bytes", METRIC_GAUGE, "bytes", "Memory the sandbox may use.", 0,
     mem_total},
    {"sandbox_memory_working_set_bytes", METRIC_GAUGE, "bytes",
     "Memory in use without inactive file cache.", 0, mem_used},
    {"sandbox_memory_usage_bytes", METRIC_GAUGE, "bytes",
     "Memory charged to the sandbox, cache included.", 0, mem_usage},
    {"sandbox_memory_peak_bytes", METRIC_GAUGE, "bytes", "Highest memory charge so far.",
     SAMPLE_MEMORY, mem_peak},
    {"sandbox_memory_cache_bytes", METRIC_GAUGE, "bytes", "File cache.", SAMPLE_MEMORY, mem_cache},
    {"sandbox_memory_rss_bytes", METRIC_GAUGE, "bytes", "Anonymous memory.", 0, mem_rss},
    {"sandbox_memory_limit_hits", METRIC_COUNTER, NULL, "Times the memory limit was reached.",
     SAMPLE_MEMORY, oom_events},
    {"sandbox_oom_kills", METRIC_COUNTER, NULL, "Processes killed for lack of memory.", SAMPLE_OOM,
     oom_kills},
    {"sandbox_pids", METRIC_GAUGE, NULL, "Processes and threads in the sandbox.", 0, pids},
    {"sandbox_pids_limit", METRIC_GAUGE, NULL, "Most processes allowed, 0 = no limit.", SAMPLE_PIDS,
     pids_max},
    {"sandbox_io_read_bytes", METRIC_COUNTER, "bytes", "Bytes read from block devices.", SAMPLE_IO,
     io_read},
    {"sandbox_io_written_bytes", METRIC_COUNTER, "bytes", "Bytes written to block devices.",
     SAMPLE_IO, io_written},
    {"sandbox_io_reads", METRIC_COUNTER, NULL, "Read operations on block devices.", SAMPLE_IO,
     io_reads},
    {"sandbox_io_writes", METRIC_COUNTER, NULL, "Write operations on block devices.", SAMPLE_IO,
     io_writes},
};

/* One family of the pressure files: a sample for each resource that has it. */
static void pressure_family(struct strbuf *out, enum metric_format f, const struct sample *s,
                            const char *name, enum metric_kind kind, const char *unit,
                            const char *help, bool full,
                            double (*value)(const struct pressure *p, bool full))
{
    bool begun = false;

    for (unsigned r = 0; r < SAMPLE_RESOURCE_MAX; r++) {
        const struct pressure *p = &s->pressure[r];

        if (!(full ? p->has_full : p->has_some))
            continue;
        if (!begun)
            metric_family(out, f, name, kind, unit, help);
        begun = true;
        metric_sample(out, f, name, kind, value(p, full), "resource",
                      sample_resource_name((enum sample_resource)r), NULL);
    }
}

static double ratio_of(const struct pressure *p, bool full)
{
    return (full ? p->full_avg10 : p->some_avg10) / 100;
}

static double seconds_of(const struct pressure *p, bool full)
{
    return (double)(full ? p->full_total_us : p->some_total_us) / 1e6;
}

static void pressure_metrics(struct strbuf *out, enum metric_format f, const struct sample *s)
{
    pressure_family(out, f, s, "sandbox_pressure_ratio", METRIC_GAUGE, NULL,
                    "Share of the last 10 s in which some task was stalled.", false, ratio_of);
    pressure_family(out, f, s, "sandbox_pressure_full_ratio", METRIC_GAUGE, NULL,
                    "Share of the last 10 s in which all tasks were stalled.", true, ratio_of);
    pressure_family(out, f, s, "sandbox_pressure_waiting_seconds", METRIC_COUNTER, "seconds",
                    "Time in which some task was stalled.", false, seconds_of);
    pressure_family(out, f, s, "sandbox_pressure_stalled_seconds", METRIC_COUNTER, "seconds",
                    "Time in which all tasks were stalled.", true, seconds_of);
}

static void command_metrics(struct strbuf *out, enum metric_format f, const struct api *api)
{
    struct command_counts c;

    command_manager_counts(api->commands, &c);
    metric_one(out, f, "execd_commands_started", METRIC_COUNTER, NULL, "Commands started.",
               (double)c.started);
    metric_one(out, f, "execd_commands_running", METRIC_GAUGE, NULL, "Commands under way.",
               (double)c.running);
    metric_family(out, f, "execd_commands_finished", METRIC_COUNTER, NULL,
                  "Commands finished, by how they ended.");
    for (unsigned e = COMMAND_END_EXIT; e <= COMMAND_END_SHUTDOWN; e++)
        metric_sample(out, f, "execd_commands_finished", METRIC_COUNTER, (double)c.by_end[e], "end",
                      command_end_name(e), NULL);
    metric_one(out, f, "execd_command_output_bytes", METRIC_COUNTER, "bytes",
               "Bytes of command output.", (double)c.bytes_out);
}

static void terminal_metrics(struct strbuf *out, enum metric_format f, const struct api *api)
{
    struct term_counts c;

    term_manager_counts(api->terms, &c);
    metric_one(out, f, "execd_terminal_processes_started", METRIC_COUNTER, NULL,
               "Processes started in terminal sessions.", (double)c.started);
    metric_one(out, f, "execd_terminals", METRIC_GAUGE, NULL, "Terminal sessions.", c.sessions);
    metric_one(out, f, "execd_terminals_running", METRIC_GAUGE, NULL,
               "Terminal sessions whose process runs.", c.running);
    metric_one(out, f, "execd_terminal_clients", METRIC_GAUGE, NULL,
               "Clients connected to terminal sessions.", c.clients);
    metric_one(out, f, "execd_terminal_recording_bytes", METRIC_GAUGE, "bytes",
               "Memory of terminal recordings.", (double)c.recorded_bytes);
}

/* By state: contexts are few (code_config.contexts_max). */
static void kernel_metrics(struct strbuf *out, enum metric_format f, const struct api *api)
{
    unsigned n[CODE_STATE_MAX] = {0};

    for (struct code_context *ctx = NULL; (ctx = code_context_next(api->code, ctx)) != NULL;)
        n[code_context_state(ctx)]++;
    metric_family(out, f, "execd_kernels", METRIC_GAUGE, NULL,
                  "Kernels of code contexts, by state.");
    for (enum code_state state = 0; state < CODE_STATE_MAX; state++)
        metric_sample(out, f, "execd_kernels", METRIC_GAUGE, n[state], "state",
                      code_state_name(state), NULL);
}

/* Those of shells have no kernel. */
static void context_metrics(struct strbuf *out, enum metric_format f, const struct api *api,
                            const struct code_counts *kernels)
{
    struct shell_context_counts shells = shell_context_count(api->sessions);

    metric_one(out, f, "execd_code_contexts", METRIC_GAUGE, NULL, "Code contexts.",
               kernels->contexts + shells.n);
    metric_one(out, f, "execd_code_contexts_busy", METRIC_GAUGE, NULL,
               "Code contexts that run something.", kernels->busy + shells.busy);
}

static void code_metrics(struct strbuf *out, enum metric_format f, const struct api *api)
{
    struct code_counts c = {0};

    if (api->code != NULL)
        code_manager_counts(api->code, &c);
    context_metrics(out, f, api, &c);
    if (api->code == NULL)
        return;
    metric_family(out, f, "execd_code_runs", METRIC_COUNTER, NULL, "Code runs, by outcome.");
    metric_sample(out, f, "execd_code_runs", METRIC_COUNTER, (double)c.runs_ok, "outcome", "ok",
                  NULL);
    metric_sample(out, f, "execd_code_runs", METRIC_COUNTER, (double)c.runs_failed, "outcome",
                  "error", NULL);
    metric_one(out, f, "execd_kernels_started", METRIC_COUNTER, NULL, "Kernels started.",
               (double)c.kernels_started);
    metric_one(out, f, "execd_kernels_died", METRIC_COUNTER, NULL,
               "Kernels that ended by themselves.", (double)c.kernels_died);
    metric_one(out, f, "execd_kernels_from_pool", METRIC_COUNTER, NULL,
               "Kernels that had waited ready when a context wanted one.", (double)c.pool_taken);
    metric_one(out, f, "execd_kernel_pool_ready", METRIC_GAUGE, NULL, "Kernels that wait ready.",
               c.pool_ready);
    metric_one(out, f, "execd_kernel_checkpoints", METRIC_GAUGE, NULL, "Checkpoints of kernels.",
               c.checkpoints);
    metric_one(out, f, "execd_kernel_checkpoint_bytes", METRIC_GAUGE, "bytes",
               "Memory of checkpoints: their shares.", (double)c.checkpoint_bytes);
    metric_one(out, f, "execd_kernel_checkpoints_made", METRIC_COUNTER, NULL, "Checkpoints made.",
               (double)c.checkpoints_made);
    metric_one(out, f, "execd_kernel_checkpoints_evicted", METRIC_COUNTER, NULL,
               "Checkpoints that went to make room.", (double)c.checkpoints_evicted);
    metric_one(out, f, "execd_kernel_frames_dropped", METRIC_COUNTER, NULL,
               "Kernel messages refused as malformed, unsigned or of too many parts.",
               (double)c.frames_dropped);
    kernel_metrics(out, f, api);
    kernel_type_metrics(out, f, code_manager_stats(api->code));
}

static enum http_result send_text(struct http_req *req, const struct api *api, enum metric_format f)
{
    const struct sample *s = sampler_get(api->sampler);
    cleanup_strbuf struct strbuf out;

    strbuf_init(&out, METRICS_MAX);
    metric_family(&out, f, "execd_build", METRIC_INFO, NULL,
                  "Version of the agent, and where its numbers come from.");
    metric_sample(&out, f, "execd_build", METRIC_INFO, 1, "version", version_text(), "source",
                  s->from_cgroup ? "cgroup" : "proc", "cgroup", leaf_mode(), NULL);
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        const struct family *fam = &families[i];
        if ((s->has & fam->needs) == fam->needs)
            metric_one(&out, f, fam->name, fam->kind, fam->unit, fam->help, fam->value(s));
    }
    pressure_metrics(&out, f, s);
    command_metrics(&out, f, api);
    terminal_metrics(&out, f, api);
    code_metrics(&out, f, api);
    http_server_write_metrics(api->server, "execd", &out, f);
    loop_delay_write_metrics("execd", &out, f);
    process_write_metrics(&out, f, api->started_wall_ms);
    metric_end(&out, f);
    if (strbuf_check(&out) < 0)
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "the metrics do not fit");
    return http_resp_data(req, 200, metric_content_type(f), out.data, out.len);
}

enum http_result h_metrics(struct http_req *req, void *app)
{
    const struct api *api = app;
    int format = metric_negotiate(http_req_header(req, "Accept"));

    if (format >= 0)
        return send_text(req, api, (enum metric_format)format);
    json_t *json = sample_to_json(sampler_get(api->sampler));
    return json != NULL ? http_resp_json(req, 200, json)
                        : http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for the metrics");
}
