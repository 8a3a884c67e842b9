#include "execd/exec/stragglers.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/proc/pidref.h"
#include "proto/base/fd.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"

#define CHILDREN_MAX 32
#define ROUND_MS 20
#define ROUNDS_YOUNG 5 /* a child may take so long to become a program, or a background job */
#define ROUNDS_MAX 25  /* then SIGKILL: half a second after they should have ended */

struct stragglers {
    struct event *timer; /* owned */
    pid_t shell;
    unsigned round;
    size_t n, n_programs;
    struct pidref list[CHILDREN_MAX]; /* owned; the ones that are chased */
    pid_t programs[CHILDREN_MAX];     /* of the last note */
};

static size_t children_of(pid_t pid, pid_t ret_pids[CHILDREN_MAX])
{
    char path[64], text[CHILDREN_MAX * 12];
    size_t n = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid); /* fits */
    if (fd_slurp_at(AT_FDCWD, path, text, sizeof(text)) <= 0)
        return 0;
    char *at = text, *end;
    for (long child; n < CHILDREN_MAX && (child = strtol(at, &end, 10)) > 0; at = end)
        ret_pids[n++] = (pid_t)child;
    return n;
}

static bool read_program(pid_t pid, char *buf, size_t size)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/exe", pid); /* fits */
    ssize_t n = readlink(path, buf, size - 1);
    buf[MAX(n, 0)] = '\0';
    return n > 0;
}

static bool is_shell_still(pid_t pid, pid_t shell)
{
    char its[512], ours[512];

    return read_program(pid, its, sizeof(its)) && read_program(shell, ours, sizeof(ours)) &&
           strcmp(its, ours) == 0;
}

static bool ignores_interrupts(pid_t pid)
{
    char path[64], text[4096];

    (void)snprintf(path, sizeof(path), "/proc/%d/status", pid); /* fits */
    if (fd_slurp_at(AT_FDCWD, path, text, sizeof(text)) <= 0)
        return true; /* it is gone */
    const char *line = strstr(text, "\nSigIgn:");
    uint64_t mask = line ? strtoull(line + strlen("\nSigIgn:"), NULL, 16) : UINT64_MAX;
    return (mask >> (SIGINT - 1) & 1) != 0;
}

void stragglers_note(struct stragglers *s, pid_t shell)
{
    pid_t pids[CHILDREN_MAX];
    size_t n = children_of(shell, pids);

    s->n_programs = 0;
    for (size_t i = 0; i < n; i++)
        if (!is_shell_still(pids[i], shell))
            s->programs[s->n_programs++] = pids[i];
}

static bool was_program(const struct stragglers *s, pid_t pid)
{
    for (size_t i = 0; i < s->n_programs; i++)
        if (s->programs[i] == pid)
            return true;
    return false;
}

static void let_go(struct stragglers *s)
{
    while (s->n > 0)
        pidref_done(&s->list[--s->n]);
    (void)event_del(s->timer); /* cannot fail for an event of ours */
}

static void arm(struct stragglers *s)
{
    struct timeval round = {0, ROUND_MS * 1000};

    if (event_add(s->timer, &round) < 0)
        let_go(s); /* no memory: they are left alone */
}

void stragglers_chase(struct stragglers *s, pid_t shell)
{
    pid_t pids[CHILDREN_MAX];
    size_t n = children_of(shell, pids);

    let_go(s);
    s->shell = shell;
    s->round = 0;
    for (size_t i = 0; i < n; i++)
        if (!was_program(s, pids[i]) && pidref_open(&s->list[s->n], pids[i]) == 0)
            s->n++;
    if (s->n > 0)
        arm(s);
}

/* Looked at anew each time: a background job needs a moment until it ignores interrupts. */
static bool is_meant(const struct stragglers *s, pid_t pid)
{
    return getpgid(pid) == getpgid(s->shell) && !ignores_interrupts(pid);
}

/* False when there is nothing more to do about it. */
static bool chase_one(const struct stragglers *s, const struct pidref *ref)
{
    if (!is_meant(s, ref->pid))
        return false;
    if (s->round <= ROUNDS_YOUNG && is_shell_still(ref->pid, s->shell))
        return true;
    return pidref_signal(ref, s->round < ROUNDS_MAX ? SIGINT : SIGKILL) == 0;
}

static void on_round(evutil_socket_t fd, short what, void *arg)
{
    struct stragglers *s = arg;
    size_t left = 0;

    (void)fd;
    (void)what;
    LOOP_WORK("timer", "stragglers");
    s->round++;
    for (size_t i = 0; i < s->n; i++) {
        struct pidref *ref = &s->list[i];
        if (chase_one(s, ref))
            s->list[left++] = *ref;
        else
            pidref_done(ref);
    }
    s->n = left;
    if (left > 0 && s->round < ROUNDS_MAX)
        arm(s);
    else
        let_go(s);
}

struct stragglers *stragglers_new(struct event_base *base)
{
    struct stragglers *s = xnew(struct stragglers);

    s->timer = evtimer_new(base, on_round, s);
    if (s->timer != NULL)
        return s;
    free(s);
    return NULL;
}

void stragglers_free(struct stragglers *s)
{
    if (s == NULL)
        return;
    let_go(s);
    event_free(s->timer);
    free(s);
}
