#include "execd/exec/shell_driver.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/exec/shell_driver_priv.h"
#include "execd/exec/stragglers.h"
#include "execd/stream/feed.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/ids.h"
#include "proto/base/mem.h"

#define READ_SIZE (64 * 1024)
#define REPORT_MAX (8 * 1024)
#define REPORT_READS 16 /* as much as a pipe holds */

static struct jpair env_items[] = {
    {"PS1", ""}, {"PS2", ""}, {"ENV", ""}, {"PROMPT_COMMAND", ""}, {"HISTFILE", ""}};
const struct jmap shell_driver_env = {env_items, ARRAY_LEN(env_items)};

struct outlet {
    struct shell_driver *driver;
    int fd;             /* owned; -1 at its end */
    struct event *read; /* owned */
};

struct shell_driver {
    const struct shell_ops *ops;
    void *arg;
    struct leaf *leaf; /* borrowed */
    struct pidref pid;
    bool wrapped, is_bash, by_source;
    struct feed *lines; /* owned */
    ino_t lines_inode;
    struct outlet out[2];    /* stdout, stderr */
    int report_fd;           /* owned */
    struct event *on_report; /* owned */
    struct strbuf report;    /* what has arrived of it */
    char nonce[ID_HEX_LEN + 1];
    bool running;   /* a text was given, its report is awaited */
    bool begun;     /* and the shell has begun with it */
    bool interrupt; /* as soon as it has */
    bool interrupted;
    struct stragglers *stragglers; /* owned */
    bool held;
};

/* The first child of a wrapping program is the shell. */
static pid_t first_child(pid_t pid)
{
    char path[64], text[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid); /* fits */
    if (fd_slurp_at(AT_FDCWD, path, text, sizeof(text)) <= 0)
        return 0;
    return (pid_t)strtol(text, NULL, 10);
}

static pid_t shell_of(const struct shell_driver *d)
{
    return d->wrapped ? first_child(d->pid.pid) : d->pid.pid;
}

/* ---- output ---- */

static void close_outlet(struct outlet *o)
{
    if (o->read != NULL)
        event_free(take_ptr(&o->read));
    if (o->fd >= 0)
        close(take_fd(&o->fd));
}

/* Reads once; false at the end or when nothing is there. */
static bool read_some(struct outlet *o, size_t max, size_t *ret_n)
{
    static char buffer[READ_SIZE]; /* loop thread only */
    struct shell_driver *d = o->driver;

    ssize_t n = read(o->fd, buffer, MIN(max, sizeof(buffer)));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        close_outlet(o);
        return false;
    }
    *ret_n = (size_t)n;
    d->ops->on_output(d->arg, o == &d->out[1], buffer, (size_t)n);
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    size_t n;

    (void)fd;
    (void)what;
    (void)read_some(arg, READ_SIZE, &n);
}

/* What is in the pipes by now was written before now: that much, and no more, belongs to what just ended. */
static void drain(struct shell_driver *d)
{
    for (size_t i = 0; i < ARRAY_LEN(d->out); i++) {
        struct outlet *o = &d->out[i];
        int left = 0;
        size_t n;
        if (o->fd < 0 || ioctl(o->fd, FIONREAD, &left) < 0)
            continue;
        while (left > 0 && o->fd >= 0 && read_some(o, (size_t)left, &n))
            left -= (int)n;
    }
}

void shell_driver_hold(struct shell_driver *d, bool hold)
{
    if (d->held == hold)
        return;
    d->held = hold;
    for (size_t i = 0; i < ARRAY_LEN(d->out); i++) {
        struct event *read = d->out[i].read;
        if (read != NULL && (hold ? event_del(read) : event_add(read, NULL)) < 0)
            close_outlet(&d->out[i]); /* no memory for an event: better short than stuck */
    }
}

/* ---- reports ---- */

/* "NONCE\0STATUS\0CWD\0" at the front of the buffer; returns its length, 0 when it is not whole yet. */
static size_t next_report(const struct strbuf *b, const char *field[3])
{
    size_t at = 0;

    for (size_t i = 0; i < 3; i++) {
        field[i] = b->data + at;
        const char *end = memchr(field[i], '\0', b->len - at);
        if (end == NULL)
            return 0;
        at = (size_t)(end - b->data) + 1;
    }
    return at;
}

static void take_reports(struct shell_driver *d)
{
    const char *field[3];
    size_t len;
    int64_t status;

    while ((len = next_report(&d->report, field)) > 0) {
        bool ours =
            d->running && strcmp(field[0], d->nonce) == 0 && str_to_i64(field[1], &status) == 0;
        bool begun = d->running && !d->begun && strcmp(field[0], SHELL_BEGUN) == 0;
        cleanup_free char *cwd = xstrdup(field[2]);
        memmove(d->report.data, d->report.data + len, d->report.len - len);
        d->report.len -= len;
        if (begun) {
            d->begun = true;
            if (d->interrupt)
                shell_driver_interrupt(d);
        }
        if (!ours)
            continue; /* of an earlier run that was asked twice, or somebody's own text */
        d->running = false;
        if (d->interrupted)
            stragglers_chase(d->stragglers, shell_of(d));
        drain(d);
        d->ops->on_result(d->arg, (int)status, cwd);
    }
}

/* Once; false when there is no more. */
static bool read_report(struct shell_driver *d)
{
    char buffer[4096];

    ssize_t n = read(d->report_fd, buffer, sizeof(buffer));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) { /* the shell closed it: its end follows, or its runs end by their timeout */
        (void)event_del(d->on_report);
        return false;
    }
    strbuf_add(&d->report, buffer, (size_t)n);
    if (strbuf_check(&d->report) < 0) /* no report is so long: somebody's own text */
        strbuf_reset(&d->report);
    take_reports(d);
    return true;
}

static void on_report(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)read_report(arg);
}

void shell_driver_settle(struct shell_driver *d)
{
    for (int i = 0; i < REPORT_READS && read_report(d); i++)
        ;
    drain(d);
}

/* Before it ended it may have reported, and that is how the run ended. */
static void on_exit_status(void *arg, const struct exit_status *status)
{
    struct shell_driver *d = arg;

    d->pid.pid = 0;
    shell_driver_settle(d);
    d->ops->on_exit(d->arg, status);
}

/* ---- texts ---- */

static int give(struct shell_driver *d, struct strbuf *text)
{
    int rc = strbuf_check(text);

    if (rc == 0)
        rc = feed_write(d->lines, text->data, text->len);
    strbuf_done(text);
    return rc;
}

int shell_driver_run(struct shell_driver *d, const struct shell_text *text)
{
    struct strbuf out;

    ids_hex(d->nonce);
    d->begun = d->interrupt = d->interrupted = false;
    strbuf_init(&out, SHELL_TEXT_MAX);
    shell_script_add_run(&out, text, d->by_source);
    shell_script_add_report(&out, d->nonce, d->by_source);
    int rc = give(d, &out);
    d->running = rc == 0;
    return rc;
}

void shell_driver_interrupt(struct shell_driver *d)
{
    struct strbuf out;

    if (d->pid.pid == 0 || !d->running)
        return;
    d->interrupt = !d->begun;
    if (d->interrupt)
        return;
    d->interrupted = true;
    stragglers_note(d->stragglers, shell_of(d));
    leaf_signal_group(d->leaf, SIGINT);
    strbuf_init(&out, 0);
    strbuf_adds(&out, "\n\n"); /* what a shell drops that was just waiting for its next line */
    shell_script_add_report(&out, d->nonce, d->by_source);
    (void)give(d, &out); /* a shell that does not read any more is about to end */
}

void shell_driver_kill_others(struct shell_driver *d)
{
    struct pid_list spared = {.pid = {d->pid.pid}, .n = 1};

    if (d->pid.pid == 0)
        return;
    if (d->wrapped)
        spared.pid[spared.n++] = shell_of(d);
    (void)leaf_kill_others(d->leaf, &spared);
}

/* While a text runs, the shell's standard input is /dev/null or the text's own; at its prompt it is our pipe. */
static bool is_at_prompt(const struct shell_driver *d)
{
    char path[64], link[64] = "", ours[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", shell_of(d), SHELL_FD_LINES); /* fits */
    (void)snprintf(ours, sizeof(ours), "pipe:[%llu]", (unsigned long long)d->lines_inode);
    return readlink(path, link, sizeof(link) - 1) > 0 && strcmp(link, ours) == 0;
}

bool shell_driver_is_silent(const struct shell_driver *d)
{
    return d->running && d->begun && d->pid.pid > 0 && feed_is_through(d->lines) && is_at_prompt(d);
}

pid_t shell_driver_pid(const struct shell_driver *d)
{
    return d->pid.pid;
}

/* ---- life ---- */

static int watch_outlet(struct shell_driver *d, struct event_base *base, int index, int *fd)
{
    struct outlet *o = &d->out[index];

    o->fd = take_fd(fd);
    o->read = event_new(base, o->fd, EV_READ | EV_PERSIST, on_readable, o);
    if (o->read == NULL || event_add(o->read, NULL) < 0)
        return -ENOMEM;
    return fd_set_nonblock(o->fd, true);
}

static int connect_ends(struct shell_driver *d, struct event_base *base, struct shell_ends *e)
{
    struct stat st;

    if (fstat(e->lines[1], &st) < 0)
        return -errno;
    d->lines_inode = st.st_ino;
    int rc = feed_new(base, take_fd(&e->lines[1]), d->is_bash ? 0 : SHELL_PACKET, &d->lines);
    if (rc == 0)
        rc = watch_outlet(d, base, 0, &e->out[0]);
    if (rc == 0)
        rc = watch_outlet(d, base, 1, &e->err[0]);
    if (rc < 0)
        return rc;
    d->report_fd = take_fd(&e->report[0]);
    d->on_report = event_new(base, d->report_fd, EV_READ | EV_PERSIST, on_report, d);
    if (d->on_report == NULL || event_add(d->on_report, NULL) < 0)
        return -ENOMEM;
    rc = fd_set_nonblock(d->report_fd, true);
    if (rc == 0 && d->is_bash)
        rc = feed_write(d->lines, shell_script_setup, strlen(shell_script_setup));
    return rc;
}

int shell_driver_new(struct event_base *base, const struct shell_start *start,
                     const struct shell_ops *ops, void *arg, struct shell_driver **ret,
                     struct err *err)
{
    struct shell_driver *d = xnew(struct shell_driver);
    struct shell_ends ends = SHELL_ENDS_UNSET;
    struct shell shell;
    struct arena arena;

    *d = (struct shell_driver){.ops = ops,
                               .arg = arg,
                               .leaf = start->leaf,
                               .pid = PIDREF_UNSET,
                               .wrapped = start->wrap != NULL,
                               .report_fd = -1,
                               .out = {{d, -1, NULL}, {d, -1, NULL}}};
    strbuf_init(&d->report, REPORT_MAX);
    arena_init(&arena);
    int rc = shell_find(start->envp, start->cwd, &arena, &shell, err);
    if (rc == 0) {
        d->is_bash = strcmp(shell.name, "bash") == 0;
        d->by_source = d->is_bash && access("/proc/self/fd", X_OK) == 0;
        rc = shell_ends_open(&ends, !d->is_bash);
        if (rc < 0)
            rc = err_sys(err, ERR_RUNTIME_ERROR, -rc, "open the shell's pipes");
    }
    if (rc == 0 && (d->stragglers = stragglers_new(base)) == NULL)
        rc = err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "watch the shell");
    if (rc == 0)
        rc = shell_spawn(start, &shell, &ends, &arena, &d->pid, err);
    if (rc == 0 && (rc = connect_ends(d, base, &ends)) < 0)
        (void)err_sys(err, ERR_RUNTIME_ERROR, -rc, "connect the shell");
    shell_ends_close(&ends);
    arena_done(&arena);
    if (rc < 0) {
        shell_driver_free(d);
        return rc;
    }
    reaper_watch(d->pid.pid, on_exit_status, d);
    *ret = d;
    return 0;
}

void shell_driver_free(struct shell_driver *d)
{
    if (d == NULL)
        return;
    if (d->pid.pid > 0)
        reaper_forget(d->pid.pid);
    pidref_done(&d->pid);
    stragglers_free(d->stragglers);
    feed_free(d->lines);
    close_outlet(&d->out[0]);
    close_outlet(&d->out[1]);
    if (d->on_report != NULL)
        event_free(d->on_report);
    if (d->report_fd >= 0)
        close(d->report_fd);
    strbuf_done(&d->report);
    free(d);
}
