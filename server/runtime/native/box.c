#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "server/runtime/native/native_priv.h"
#include "proto/base/loop_delay.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

struct box *box_find(struct native *n, const char *id)
{
    struct box *box;

    HASH_FIND_STR(n->boxes, id, box);
    return box;
}

struct box *box_new(struct native *n, const char *id)
{
    struct box *box = xnew(struct box);

    snprintf(box->id, sizeof(box->id), "%s", id);
    box->native = n;
    box->pidfd = -1;
    arena_init(&box->arena);
    HASH_ADD_STR(n->boxes, id, box);
    return box;
}

void box_free(struct box *box)
{
    if (box == NULL)
        return;
    HASH_DEL(box->native->boxes, box);
    if (box->exit_event != NULL)
        event_free(box->exit_event);
    if (box->pidfd >= 0)
        close(box->pidfd);
    arena_done(&box->arena);
    free(box);
}

/* Eight digits of the owner keep two servers with one parent group apart. */
void native_group_name(const struct native *n, const char *id, char *out, size_t size)
{
    snprintf(out, size, "%.8s-%s", n->config.owner, id);
}

bool box_name_is_id(const char *name)
{
    return strlen(name) == ID_UUID_LEN && strspn(name, "0123456789abcdef-") == ID_UUID_LEN;
}

/* --- the end of its first process --- */

static void learn_exit(struct box *box)
{
    siginfo_t info = {0};

    box->dead = true;
    box->exit = (struct runtime_exit){.known = false};
    if (box->is_child &&
        waitid((idtype_t)P_PIDFD, (id_t)box->pidfd, &info, WEXITED | WNOHANG) == 0 &&
        info.si_pid != 0)
        box->exit = (struct runtime_exit){
            .known = true, .signalled = info.si_code != CLD_EXITED, .code = info.si_status};
    /* PID 1 of a sandbox is only ever killed from outside: by us, by an operator, or for want of memory. */
    if (!box->exit.known || box->exit.signalled)
        box->exit.oom = group_had_oom(&box->groups);
}

static void on_pidfd(evutil_socket_t fd, short what, void *arg)
{
    struct box *box = arg;
    struct native *n = box->native;

    (void)fd;
    (void)what;
    LOOP_WORK("descriptor", "end of a sandbox");
    learn_exit(box);
    if (box->start != NULL)
        start_on_exit(box);
    else if (box->removal != NULL)
        removal_on_exit(box);
    else if (n->rt.on_exit != NULL)
        n->rt.on_exit(n->rt.arg, box->id, &box->exit);
}

int box_watch(struct box *box, struct err *err)
{
    box->exit_event = event_new(box->native->rt.base, box->pidfd, EV_READ, on_pidfd, box);
    if (box->exit_event == NULL || event_add(box->exit_event, NULL) < 0)
        return err_set(err, 0, ENOMEM, "no memory to watch sandbox %s", box->id);
    return 0;
}

/* --- after a restart --- */

/* A pidfd of the very process that was started, not of a later one with its number. */
static int open_process(const struct folder_state *state)
{
    if (state->pid <= 0)
        return -ESRCH;
    int fd = (int)syscall(SYS_pidfd_open, state->pid, 0);
    struct pollfd ended = {.fd = fd, .events = POLLIN};
    if (fd < 0)
        return -ESRCH;
    if (folder_process_start(state->pid) == state->start_time && poll(&ended, 1, 0) == 0)
        return fd;
    close(fd);
    return -ESRCH;
}

static int read_state(struct box *box, const char *data, struct folder_state *ret_state,
                      struct err *err)
{
    struct native *n = box->native;

    if (data != NULL && data[0] != '\0' &&
        folder_state_parse(data, &box->arena, ret_state, NULL) == 0)
        return 0;
    return folder_read_state(n->sandboxes_fd, box->id, &box->arena, ret_state, err);
}

int box_restore(struct native *n, const char *id, const char *data, struct box **ret_box,
                struct err *err)
{
    struct folder_state state = {0};
    struct box *box = box_new(n, id);

    /* -fanalyzer: the runtime lists it */
    *ret_box = box;
    if (read_state(box, data, &state, err) < 0) {
        /* Half-made: only the names are left to go by. */
        char name[80];
        native_group_name(n, id, name, sizeof(name));
        box->dead = true;
        (void)!groups_paths(&n->groups, name, &box->arena,
                            &box->groups); /* without them the folder still goes */
        return -ESRCH;
    }
    box->groups = state.groups;
    box->pid = state.pid;
    if (strcmp(state.boot_id, n->boot_id) == 0)
        box->pidfd = open_process(&state);
    if (box->pidfd < 0) {
        box->pidfd = -1;
        box->dead = true;
        return err_set(err, 0, ESRCH, "process %d of sandbox %s has ended", state.pid, id);
    }
    return box_watch(box, err);
}
