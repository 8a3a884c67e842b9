/* What flows between a session and its process. */
#include <errno.h>
#include <event2/buffer.h>
#include <unistd.h>

#include "execd/pty/term_priv.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/loop_delay.h"

#define READ_SIZE 32768
#define READ_TURN 65536 /* per turn of the loop, so that others get theirs */
#define DRAIN_MAX                                                                                  \
    (1 << 20)           /* after the end; the kernel holds less than this of what came before it */
#define INPUT_MAX 65536 /* queued above this: enough for now */
#define INPUT_LOW 16384
#define HOLD_MS 1000 /* how long a writer that takes nothing holds the shell */

static const struct timeval hold_time = {HOLD_MS / 1000, HOLD_MS % 1000 * 1000};
static const struct timeval retry_time = {0, 50 * 1000};

/* ---- output -------------------------------------------------------------------------------------- */

static void close_source(struct term_source *s)
{
    if (s->fd < 0)
        return;
    (void)event_del(&s->readable);
    (void)event_del(&s->retry);
    close(take_fd(&s->fd));
}

/* Bytes read, 0 when there are none now, -EPIPE at the end. */
static ssize_t read_some(struct term_source *s, size_t max)
{
    static char buf[READ_SIZE];
    struct term *t = s->term;
    ssize_t n = read(s->fd, buf, MIN(max, sizeof(buf)));

    if (n > 0) {
        ring_write(&t->ring, s->stream, buf, (size_t)n);
        if (t->recording != NULL)
            recording_output(t->recording, buf, (size_t)n);
        return n;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -EPIPE;
}

/* Has the writer fallen so far behind that what it has not got would soon be overwritten? */
static bool must_hold(const struct term *t)
{
    const struct term_viewer *w = t->writer;

    return w != NULL && !w->has_ended && ring_total(&t->ring) - w->offset > t->ring.size / 2 &&
           loop_clock_ms() - w->moved_ms < HOLD_MS;
}

static void set_reading(struct term *t, bool on)
{
    for (size_t i = 0; i < ARRAY_LEN(t->sources); i++) {
        struct term_source *s = &t->sources[i];
        if (s->fd < 0 || event_pending(&s->retry, EV_TIMEOUT, NULL))
            continue;
        if (on)
            (void)event_add(&s->readable,
                            NULL); /* fails without memory: the hold timer tries again */
        else
            (void)event_del(&s->readable);
    }
}

static void hold_if_needed(struct term *t)
{
    if (must_hold(t) && event_add(&t->hold, &hold_time) == 0)
        set_reading(t, false);
}

/* A slow client empties the kernel's buffers for a while before it takes something of ours: that counts as well. */
static void on_hold_over(evutil_socket_t fd, short what, void *arg)
{
    struct term *t = arg;

    (void)fd;
    (void)what;
    if (t->writer != NULL && t->writer->is_reading(t->writer))
        t->writer->moved_ms = loop_clock_ms();
    if (!must_hold(t) || event_add(&t->hold, &hold_time) < 0)
        set_reading(t, true);
}

void term_io_release(struct term *t)
{
    if (!event_pending(&t->hold, EV_TIMEOUT, NULL) || must_hold(t))
        return;
    (void)event_del(&t->hold);
    set_reading(t, true);
}

static void tell_viewers(struct term *t)
{
    struct term_viewer *v, *next;

    for (v = LIST_FIRST(&t->viewers); v != NULL; v = next) {
        next = LIST_NEXT(v, link);
        v->on_output(v);
    }
}

/* A pipe has ended for good. A terminal whose other side is closed may be opened again by whoever still has it as
 * controlling terminal; until then it would be readable all the time. */
static void source_ended(struct term_source *s)
{
    if (s->term->mode == TERM_PIPE) {
        close_source(s);
        return;
    }
    (void)event_del(&s->readable);
    (void)event_add(&s->retry, &retry_time); /* without memory: the exit drains it */
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct term_source *s = arg;
    size_t taken = 0;
    ssize_t n;

    (void)fd;
    (void)what;
    while (taken < READ_TURN && (n = read_some(s, READ_TURN - taken)) != 0) {
        if (n < 0) {
            source_ended(s);
            break;
        }
        taken += (size_t)n;
    }
    if (taken == 0)
        return;
    tell_viewers(s->term);
    hold_if_needed(s->term);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct term_source *s = arg;

    (void)fd;
    (void)what;
    (void)event_add(&s->readable, NULL); /* as above */
}

void term_io_drain(struct term *t)
{
    size_t left = DRAIN_MAX;

    for (size_t i = 0; i < ARRAY_LEN(t->sources); i++) {
        struct term_source *s = &t->sources[i];
        ssize_t n = 1;
        while (s->fd >= 0 && left > 0 && n > 0) {
            n = read_some(s, MIN(left, (size_t)READ_SIZE));
            left -= n > 0 ? (size_t)n : 0;
        }
    }
}

/* ---- input --------------------------------------------------------------------------------------- */

static void drop_input(struct term *t)
{
    (void)event_del(&t->writable);
    if (t->input != NULL)
        evbuffer_free(t->input);
    t->input = NULL;
}

bool term_takes_input(const struct term *t)
{
    return t->input == NULL || evbuffer_get_length(t->input) < INPUT_MAX;
}

static void tell_room(struct term *t)
{
    if (!t->input_was_full || (t->input != NULL && evbuffer_get_length(t->input) > INPUT_LOW))
        return;
    struct term_viewer *v;
    t->input_was_full = false;
    LIST_FOREACH(v, &t->viewers, link)
    v->on_input_room(v);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct term *t = arg;

    (void)what;
    int n = evbuffer_write(t->input, fd);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        drop_input(t); /* nobody reads it any more */
    else if (evbuffer_get_length(t->input) == 0)
        drop_input(t);
    tell_room(t);
}

static int queue_input(struct term *t, const char *p, size_t n)
{
    if (t->input == NULL) {
        t->input = evbuffer_new();
        if (t->input == NULL || event_add(&t->writable, NULL) < 0) {
            drop_input(t);
            return -ENOMEM;
        }
    }
    if (evbuffer_add(t->input, p, n) < 0)
        return -ENOMEM;
    t->input_was_full = !term_takes_input(t);
    return 0;
}

int term_write(struct term *t, const char *p, size_t n)
{
    if (!t->running || n == 0)
        return 0;
    if (t->input_fd < 0)
        return -EPIPE;
    term_settle_size(t); /* it was asked for first */
    if (t->input == NULL) {
        ssize_t written = write(t->input_fd, p, n);
        /* A terminal may be without another side; what is over reads no more, and its exit tells so. */
        if (written < 0 && errno != EAGAIN && errno != EINTR)
            return t->mode == TERM_PIPE && !pidref_has_ended(&t->leader) ? -EPIPE : 0;
        if (written > 0) {
            p += written;
            n -= (size_t)written;
        }
    }
    return n > 0 ? queue_input(t, p, n) : 0;
}

/* ---- begin and end ------------------------------------------------------------------------------- */

void term_io_init(struct term *t)
{
    for (size_t i = 0; i < ARRAY_LEN(t->sources); i++)
        t->sources[i] = (struct term_source){.term = t, .fd = -1};
    t->input_fd = -1;
    (void)event_assign(&t->hold, t->manager->base, -1, 0, on_hold_over,
                       t); /* fails for bad flags */
    (void)event_assign(&t->writable, t->manager->base, -1, 0, on_writable, t);
}

static int open_source(struct term *t, size_t i, int fd, enum ring_stream stream)
{
    struct term_source *s = &t->sources[i];

    if (fd < 0)
        return 0;
    s->fd = fd;
    s->stream = stream;
    (void)event_assign(&s->readable, t->manager->base, fd, EV_READ | EV_PERSIST, on_readable, s);
    (void)event_assign(&s->retry, t->manager->base, -1, 0, on_retry, s);
    return event_add(&s->readable, NULL);
}

int term_io_start(struct term *t, int out, int err_out, int in, struct err *err)
{
    t->input_fd = in;
    (void)event_assign(&t->writable, t->manager->base, in, EV_WRITE | EV_PERSIST, on_writable, t);
    int rc = open_source(t, 0, out, RING_STDOUT);
    int rc_err = open_source(t, 1, err_out, RING_STDERR); /* takes its descriptor in any case */
    if (rc < 0 || rc_err < 0)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory to watch the terminal");
    return 0;
}

void term_io_stop(struct term *t)
{
    (void)event_del(&t->hold);
    drop_input(t);
    t->input_was_full = false;
    if (t->mode == TERM_PIPE && t->input_fd >= 0)
        close(t->input_fd);
    t->input_fd = -1;
    for (size_t i = 0; i < ARRAY_LEN(t->sources); i++)
        close_source(&t->sources[i]);
}
