#include "execd/isolate/program.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/harden/confine.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

static bool is_named(const struct jstrings *keys, const char *entry, size_t len)
{
    for (size_t i = 0; i < keys->n; i++)
        if (strlen(keys->items[i]) == len && strncmp(keys->items[i], entry, len) == 0)
            return true;
    return false;
}

/* What the shell itself was started with stays, whatever the list says. */
static bool is_needed(const char *entry, size_t len)
{
    static const char *const needed[] = {"PATH", "PS1", "PS2", "ENV", "PROMPT_COMMAND", "HISTFILE"};

    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (strlen(needed[i]) == len && strncmp(needed[i], entry, len) == 0)
            return true;
    return false;
}

static void choose_environment(struct program *p)
{
    size_t n = 0, kept = 0;

    while (environ[n] != NULL)
        n++;
    p->envp = xcalloc(n + 1, sizeof(*p->envp));
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(environ[i], "=");
        bool named = is_named(&p->plan->env_keys, environ[i], len);
        if (is_needed(environ[i], len) || named == p->plan->env_allow)
            p->envp[kept++] = environ[i];
    }
}

int program_prepare(struct program *p, const struct isolate_plan *plan, int proc, struct err *err)
{
    *p = (struct program){.plan = plan, .proc = proc};
    if (plan->groups.n > ARRAY_LEN(p->groups))
        return err_set(err, 0, EINVAL, "more than %zu groups", ARRAY_LEN(p->groups));
    for (; p->n_groups < plan->groups.n; p->n_groups++) {
        uint32_t gid;
        if (str_to_u32(plan->groups.items[p->n_groups], &gid) < 0)
            return err_set(err, 0, EINVAL, "a group that is no number");
        p->groups[p->n_groups] = gid;
    }
    choose_environment(p);
    return confine_filter(CONFINE_SESSION, &p->filter, err);
}

static int write_map(const struct program *p, const char *name, const char *text, struct err *err)
{
    char path[32];

    snprintf(path, sizeof(path), "self/%s", name);
    int rc = fd_spew_at(p->proc, path, text);
    return rc < 0 ? err_sys(err, 0, -rc, "write /proc/%s", path) : 0;
}

/* Another name for the identity that we have: files of ours look like files of that user. */
static int enter_userns(const struct program *p, struct err *err)
{
    char uids[32], gids[32];

    snprintf(uids, sizeof(uids), "%u %u 1", p->plan->uid, geteuid());
    snprintf(gids, sizeof(gids), "%u %u 1", p->plan->gid, getegid());
    if (unshare(CLONE_NEWUSER) < 0)
        return err_sys(err, 0, errno, "make a user namespace");
    int rc = write_map(p, "setgroups", "deny", err);
    if (rc == 0)
        rc = write_map(p, "uid_map", uids, err);
    return rc == 0 ? write_map(p, "gid_map", gids, err) : rc;
}

static int change_user(const struct program *p, struct err *err)
{
    if (setgroups(p->n_groups, p->groups) < 0 ||
        setresgid(p->plan->gid, p->plan->gid, p->plan->gid) < 0 ||
        setresuid(p->plan->uid, p->plan->uid, p->plan->uid) < 0)
        return err_sys(err, 0, errno, "become user %u", p->plan->uid);
    return 0;
}

static noreturn_fn void become(const struct program *p, char **argv, int report)
{
    struct err err = {.text = ""};
    sigset_t none;
    int rc = 0;

    if (p->plan->userns)
        rc = enter_userns(p, &err); /* which gives every capability inside */
    if (rc == 0)
        rc = confine_privileges(&err); /* what it takes to change the user is kept */
    if (rc == 0 && p->plan->has_uid && !p->plan->userns)
        rc = change_user(p, &err);
    if (rc == 0)
        rc = confine_scope(&err);
    if (rc >= 0)
        rc = confine_load(p->filter, &err);
    sigemptyset(&none);
    if (rc == 0 && sigprocmask(SIG_SETMASK, &none, NULL) == 0) {
        execve(argv[0], argv, p->envp);
        (void)err_sys(&err, 0, errno, "exec '%.150s'", argv[0]);
    }
    (void)!write(report, err.text, strlen(err.text));
    _exit(127);
}

int program_start(struct program *p, char **argv, pid_t *ret_pid, struct err *err)
{
    char text[ERR_TEXT_MAX];
    int report[2];

    int rc = fd_pipe(report);
    if (rc < 0)
        return err_sys(err, 0, -rc, "make a pipe");
    cleanup_fd int read_end = report[0];
    cleanup_fd int write_end = report[1];
    pid_t pid = fork();
    if (pid == 0)
        become(p, argv, write_end);
    if (pid < 0)
        return err_sys(err, 0, errno, "make a new process");
    close(take_fd(&write_end));
    ssize_t n = fd_read_full(read_end, text, sizeof(text) - 1);
    if (n != 0)
        return err_set(err, 0, EIO, "%.*s", (int)(n > 0 ? n : 0), text);
    *ret_pid = pid;
    return 0;
}
