#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "execd/exec/command_priv.h"
#include "execd/proc/environment.h"
#include "execd/proc/plan_policy.h"
#include "execd/proc/shell.h"
#include "execd/proc/spawn.h"
#include "execd/proc/users.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

int launch_prepare(const struct command_request *request, struct arena *arena, struct launch *ret,
                   struct err *err)
{
    struct spawn_plan *plan = &ret->plan;

    ret->arena = arena;
    plan_init(plan);
    plan->oom_score_adj = PLAN_OOM_SCORE_ADJ;
    int rc = environment_build(arena, &request->envs, &plan->envp, err);
    if (rc == 0)
        rc = environment_resolve_cwd(arena, request->cwd, plan->envp, &plan->cwd, err);
    if (rc == 0 && request->policy != NULL)
        rc = policy_add_to_plan(request->policy, plan, err);
    return rc;
}

void launch_done(struct launch *l)
{
    policy_remove_from_plan(&l->plan);
}

static int plan_program(const struct command_request *r, struct launch *l, struct err *err)
{
    struct spawn_plan *plan = &l->plan;

    if (r->argv.n > 0) {
        plan->argv = r->argv.items;
        return spawn_resolve(r->argv.items[0], plan->envp, plan->cwd, l->arena, &plan->candidates,
                             err);
    }
    struct shell shell;
    const char **argv = arena_alloc(l->arena, 4 * sizeof(*argv));
    if (argv == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory to start the command");
    argv[1] = "-c";
    argv[2] = r->command;
    plan->argv = argv;
    int rc = shell_find(plan->envp, plan->cwd, l->arena, &shell, err);
    if (rc == 0) {
        plan->file = shell.file;
        argv[0] = shell.name;
    }
    return rc;
}

/* Another identity only where it differs from ours: our own needs no privilege (contracts/v1.1.md 1.1). */
static int plan_user(const struct command_request *r, struct spawn_plan *plan, struct err *err)
{
    struct user user;

    if (!r->has_uid || (r->uid == geteuid() && (!r->has_gid || r->gid == getegid())))
        return 0;
    int rc = users_by_uid(r->uid, &user);
    if (rc < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, -rc, "look up uid %u", r->uid);
    plan->switch_user = true;
    plan->uid = r->uid;
    plan->gid = r->has_gid ? r->gid : user.gid;
    if (user.known) {
        rc = users_groups(user.name, plan->gid, plan->groups, PLAN_GROUPS_MAX);
        if (rc < 0)
            return err_sys(err, ERR_RUNTIME_ERROR, -rc, "groups of uid %u", r->uid);
        plan->n_groups = (size_t)rc;
    }
    return 0;
}

struct pipes {
    int in[2], out[2], err[2];
};
#define PIPES_NONE                                                                                 \
    {                                                                                              \
        {-1, -1}, {-1, -1},                                                                        \
        {                                                                                          \
            -1, -1                                                                                 \
        }                                                                                          \
    }

static void close_pipes(struct pipes *p)
{
    int *all[] = {&p->in[0], &p->in[1], &p->out[0], &p->out[1], &p->err[0], &p->err[1]};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (*all[i] >= 0)
            close(take_fd(all[i]));
    }
}

static int open_pipes(struct pipes *p, bool with_stdin, struct err *err)
{
    int rc = with_stdin ? fd_pipe(p->in) : 0;
    if (rc == 0)
        rc = fd_pipe(p->out);
    if (rc == 0)
        rc = fd_pipe(p->err);
    return rc < 0 ? err_sys(err, ERR_RUNTIME_ERROR, -rc, "pipe") : 0;
}

/* The text goes in at once; without stdin_open its end is the end of input. */
static int start_feed(struct command *c, const struct command_request *request, int *fd)
{
    if (*fd < 0)
        return 0;
    int rc = feed_new(c->manager->base, take_fd(fd), 0, &c->feed);
    if (rc == 0 && request->stdin_text != NULL)
        rc = feed_write(c->feed, request->stdin_text, request->stdin_len);
    if (rc == -EPIPE) /* it has closed its input already: its own choice */
        rc = 0;
    if (rc == 0 && !request->stdin_open)
        feed_close(c->feed);
    return rc;
}

int launch_run(struct command *c, const struct command_request *request, struct launch *l,
               struct err *err)
{
    struct spawn_plan *plan = &l->plan;
    struct pipes pipes = PIPES_NONE;

    int rc = plan_program(request, l, err);
    if (rc == 0)
        rc = plan_user(request, plan, err);
    if (rc == 0)
        rc = open_pipes(&pipes, request->stdin_text != NULL || request->stdin_open, err);
    if (rc == 0)
        rc = leaf_new(c->id, &c->leaf, err);
    if (rc == 0) {
        plan->fds[plan->n_fds++] = (struct plan_fd){pipes.in[0], 0};
        plan->fds[plan->n_fds++] = (struct plan_fd){pipes.out[1], 1};
        plan->fds[plan->n_fds++] = (struct plan_fd){pipes.err[1], 2};
        leaf_add_to_plan(c->leaf, plan);
        rc = spawn_process(plan, &c->leader, err);
    }
    if (rc == 0) {
        leaf_set_leader(c->leaf, c->leader.pid);
        rc = start_feed(c, request, &pipes.in[1]);
        if (rc == 0)
            rc = pump_new(c->manager->base, c->channel, take_fd(&pipes.out[0]),
                          take_fd(&pipes.err[0]), c->manager->config.linger_ms, command_on_pump_end,
                          c, &c->pump);
        if (rc < 0) { /* it runs, but nobody could hear it */
            (void)leaf_kill(c->leaf);
            (void)err_sys(err, ERR_RUNTIME_ERROR, -rc, "connect the command");
        }
    }
    close_pipes(&pipes);
    return rc;
}

static void add_quoted(struct strbuf *out, const char *word)
{
    static const char safe[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./:=@%+,";

    if (word[0] != '\0' && word[strspn(word, safe)] == '\0') {
        strbuf_adds(out, word);
        return;
    }
    strbuf_addc(out, '\'');
    for (; *word != '\0'; word++) {
        if (*word == '\'')
            strbuf_adds(out, "'\\''");
        else
            strbuf_addc(out, *word);
    }
    strbuf_addc(out, '\'');
}

char *launch_describe(const struct command_request *request)
{
    struct strbuf text;

    if (request->argv.n == 0)
        return xstrdup(request->command);
    strbuf_init(&text, 4 * 1024 * 1024);
    for (size_t i = 0; i < request->argv.n; i++) {
        if (i > 0)
            strbuf_addc(&text, ' ');
        add_quoted(&text, request->argv.items[i]);
    }
    char *taken = strbuf_take(&text);
    return taken != NULL ? taken : xstrdup(request->argv.items[0]);
}
