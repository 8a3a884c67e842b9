/*
 * What a kernel writes outside the protocol: to its descriptors 1 and 2.
 *
 * Both are always drained. The end of it is kept to explain a death. For a kernel that lets the user's own writes go
 * there (QUIRK_RAW_OUTPUT) it also becomes output of the request that execd sent last, as if the kernel had published
 * it: descriptor 2 then has a pipe of its own, so that it is known for stderr.
 */
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <unistd.h>

#include "execd/code/kernel_priv.h"
#include "proto/base/mem.h"

#define READ_SIZE (16u << 10)
#define PIPE_READS 8 /* what a pipe holds, and as much again */

static void keep_tail(struct kernel *k, const char *p, size_t n)
{
    if (n > KERNEL_TAIL_MAX) {
        p += n - KERNEL_TAIL_MAX;
        n = KERNEL_TAIL_MAX;
    }
    size_t drop = k->tail_len + n > KERNEL_TAIL_MAX ? k->tail_len + n - KERNEL_TAIL_MAX : 0;
    memmove(k->tail, k->tail + drop, k->tail_len - drop);
    memcpy(k->tail + k->tail_len - drop, p, n);
    k->tail_len += n - drop;
    for (size_t i = k->tail_len - n; i < k->tail_len; i++)
        if (k->tail[i] == '\0')
            k->tail[i] = ' '; /* it is kept as a C string */
    k->tail[k->tail_len] = '\0';
}

const char *kernel_tail(const struct kernel *k)
{
    return k->tail;
}

/* As if it had come over iopub; NULL for a kernel whose output is none of the user's. The bytes are passed on as they
 * are: a character may be cut in two. */
static struct kernel_msg *make_stream(const struct kernel *k, enum kernel_pipe which, const char *p,
                                      size_t n)
{
    if (!(k->quirks & QUIRK_RAW_OUTPUT) || !k->executing[0])
        return NULL;
    struct kernel_msg *m = xnew(struct kernel_msg);
    memcpy(m->msg.type, "stream", sizeof("stream"));
    memcpy(m->msg.parent_id, k->executing, sizeof(m->msg.parent_id));
    m->size = sizeof(*m) + n;
    m->msg.content = json_pack("{s:s}", "name", which == KERNEL_STDERR ? "stderr" : "stdout");
    if (json_object_set_new(m->msg.content, "text", json_stringn_nocheck(p, n)) < 0) {
        kernel_msg_free(m);
        return NULL;
    }
    return m;
}

/* Bytes read; 0 at the end of the pipe or when there is nothing just now. */
static size_t read_some(struct kernel *k, enum kernel_pipe which, char buf[READ_SIZE])
{
    ssize_t n = read(k->process.output[which], buf, READ_SIZE);
    if (n > 0) {
        keep_tail(k, buf, (size_t)n);
        return (size_t)n;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        (void)event_del(k->output_events[which]); /* cannot fail for an event of ours */
    return 0;
}

/* False when nothing was read. */
static bool pass_on(struct kernel *k, enum kernel_pipe which)
{
    char buf[READ_SIZE];
    size_t n = k->output_events[which] ? read_some(k, which, buf) : 0;
    struct kernel_msg *m = n > 0 ? make_stream(k, which, buf, n) : NULL;
    if (m)
        k->ops->on_iopub(k->arg, m);
    return n > 0;
}

struct kernel_msg *kernel_next_output(struct kernel *k)
{
    char buf[READ_SIZE];
    for (int which = 0; which < KERNEL_PIPES; which++) {
        size_t n = k->output_events[which] ? read_some(k, (enum kernel_pipe)which, buf) : 0;
        struct kernel_msg *m = n > 0 ? make_stream(k, (enum kernel_pipe)which, buf, n) : NULL;
        if (m)
            return m;
    }
    return NULL;
}

void kernel_pause_output(struct kernel *k, bool pause)
{
    for (int which = 0; (k->quirks & QUIRK_RAW_OUTPUT) && which < KERNEL_PIPES; which++) {
        if (pause && k->output_events[which])
            (void)event_del(k->output_events[which]); /* cannot fail for an event of ours */
        else if (k->output_events[which])
            (void)event_add(k->output_events[which], NULL); /* fails only without memory */
    }
}

void kernel_drain_output(struct kernel *k)
{
    for (int which = 0; which < KERNEL_PIPES; which++)
        for (int i = 0; i < PIPE_READS && pass_on(k, (enum kernel_pipe)which); i++)
            ;
}

/* The loop calls again while there is more. */
static void on_stdout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)pass_on(arg, KERNEL_STDOUT);
}

static void on_stderr(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)pass_on(arg, KERNEL_STDERR);
}

int kernel_watch_output(struct kernel *k)
{
    static const event_callback_fn callbacks[KERNEL_PIPES] = {
        [KERNEL_STDOUT] = on_stdout,
        [KERNEL_STDERR] = on_stderr,
    };
    for (int which = 0; which < KERNEL_PIPES; which++) {
        int fd = k->process.output[which];
        if (fd < 0)
            continue;
        k->output_events[which] =
            event_new(k->host->base, fd, EV_READ | EV_PERSIST, callbacks[which], k);
        if (!k->output_events[which] || event_add(k->output_events[which], NULL) < 0)
            return -ENOMEM;
    }
    return 0;
}

void kernel_unwatch_output(struct kernel *k)
{
    for (int which = 0; which < KERNEL_PIPES; which++)
        if (k->output_events[which])
            event_free(k->output_events[which]);
}
