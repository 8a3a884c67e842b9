/* A kernel that was started in advance goes to somebody: he sees it start, and be ready a moment later. */

#include <errno.h>
#include <stdio.h>

#include "execd/code/kernel_priv.h"
#include "proto/base/loop_delay.h"

static void on_entered(void *arg, const char *why)
{
    struct kernel *k = arg;
    if (!k->entering || k->state != KERNEL_STARTING)
        return;
    if (!why) {
        k->entering = false;
        kernel_process_entered(&k->process);
        kernel_check_ready(k);
        return;
    }
    (void)snprintf(k->refusal, sizeof(k->refusal), "%s", why); /* cutting is fine */
    (void)leaf_kill(k->process.leaf); /* kernel_on_exit goes on, repeated by kernel_start_tick */
}

void kernel_replace(struct kernel *k)
{
    struct err err = {0};
    k->entering = k->info_seen = k->iopub_seen = k->stdin_linked = k->stdin_awaited = false;
    k->killed_ms = 0;
    if (kernel_process_replace(&k->process, k->refusal[0] ? k->refusal : "the kernel had ended",
                               &err) < 0) {
        (void)snprintf(k->reason, sizeof(k->reason), "%s", err.text); /* fits */
        kernel_settle(k);
        return;
    }
    reaper_watch(k->process.ref.pid, kernel_on_exit, k);
    kernel_start_tick(k);
}

int kernel_rehearse(struct kernel *k)
{
    return kernel_send(k, CHANNEL_SHELL, "execute_request", (struct slice){0},
                       json_pack("{s:s, s:b, s:b, s:{}, s:b, s:b}", "code", "None", "silent", 1,
                                 "store_history", 0, "user_expressions", "allow_stdin", 0,
                                 "stop_on_error", 0),
                       NULL);
}

void kernel_hand_over(struct kernel *k, const struct kernel_ops *ops, void *arg)
{
    k->ops = ops;
    k->arg = arg;
}

int kernel_reuse(struct kernel *k, const struct kernel_plan *plan, const struct kernel_ops *ops,
                 void *arg, struct err *err)
{
    int r = kernel_process_enter(&k->process, plan, k->connection.file, on_entered, k, err);
    if (r < 0)
        return r;
    kernel_hand_over(k, ops, arg);
    k->state = KERNEL_STARTING;
    k->entering = true;
    k->started_ms = k->looked_ms = loop_clock_ms();
    k->deadline_ms = k->started_ms + k->host->start_ms;
    kernel_arm(k, k->host->start_ms);
    return 0;
}
