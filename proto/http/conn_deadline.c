/* Deadlines of a connection: heads, idle keep-alive, body rate, stalled writes, lingering. */
#include <errno.h>
#include <poll.h>

#include "proto/http/conn_priv.h"

#define FULL_LOOK_MS 1000 /* how often a full input is looked at */
#define STALL_LOOKS 8     /* how often a waiting output is looked at before it counts as stalled */

static int64_t head_deadline(const struct conn *c)
{
    const struct http_limits *limits = &c->server->config.limits;

    return c->since_ms + (c->head_begun ? limits->head_deadline_ms : limits->idle_ms);
}

static int64_t earlier(int64_t at, int64_t other)
{
    return at == 0 || other < at ? other : at;
}

/* The earliest moment at which something must have happened; 0 = none. */
static int64_t next_deadline(struct conn *c)
{
    int64_t at = 0;

    if (c->phase == CONN_HEAD)
        at = head_deadline(c);
    else if (c->phase == CONN_LINGER)
        at = c->since_ms + CONN_LINGER_MS;
    else if (conn_body_is_awaited(c))
        at = c->req.body.window_start_ms + CONN_BODY_WINDOW_MS;
    if (conn_pending(c) > 0) {
        if (c->out_ms == 0)
            c->out_ms = conn_now_ms();
        at = earlier(at, conn_now_ms() + c->server->config.limits.write_stall_ms / STALL_LOOKS);
    }
    if (c->full)
        at = earlier(at, conn_now_ms() + FULL_LOOK_MS);
    return at;
}

/* Timers are lazy: one that fires too early looks again, so a request costs no timer operation. */
void conn_arm_timer(struct conn *c)
{
    int64_t at = next_deadline(c), delay;
    struct timeval tv;

    if (at == 0 || (c->timer_at_ms != 0 && c->timer_at_ms <= at))
        return;
    delay = MAX(at - conn_now_ms(), (int64_t)1);
    tv = (struct timeval){.tv_sec = delay / 1000, .tv_usec = (delay % 1000) * 1000};
    if (event_add(&c->timer, &tv) == 0)
        c->timer_at_ms = at;
}

static void body_is_slow(struct conn *c)
{
    struct err err = {0};

    (void)err_set(&err, ERR_REQUEST_TIMEOUT, ETIMEDOUT,
                  "the request body arrives too slowly"); /* a value */
    if (c->phase == CONN_ACTIVE)
        conn_body_broke(c, &err);
    else if (c->phase == CONN_COLLECT)
        conn_refuse(c, &err);
    else
        conn_break(c);
}

static void check_body_rate(struct conn *c, int64_t now)
{
    struct req_body *b = &c->req.body;
    size_t due = c->server->config.limits.body_rate_min * (CONN_BODY_WINDOW_MS / 1000);

    if (now - b->window_start_ms < CONN_BODY_WINDOW_MS)
        return;
    if (b->window_got < due) {
        body_is_slow(c);
        return;
    }
    b->window_start_ms = now;
    b->window_got = 0;
}

/* The peer has read nothing for the whole time; one that reads slowly is no stall. */
static bool is_stalled(struct conn *c, int64_t now)
{
    size_t unread;

    if (conn_pending(c) == 0 || c->out_ms == 0)
        return false;
    unread = conn_unread(c);
    if (unread != c->unread) {
        c->unread = unread;
        c->out_ms = now;
    }
    return now - c->out_ms >= c->server->config.limits.write_stall_ms;
}

/* Of a body that the peer has announced, nothing comes beyond what is here: too little. */
static bool body_will_not_come(const struct conn *c)
{
    const struct req_body *b = &c->req.body;

    return c->phase == CONN_ACTIVE && !b->done && !c->req.head.chunked && b->left > conn_arrived(c);
}

/* Nothing is read, so nothing else would tell. A FIN behind whole requests may be a half-close. */
static bool has_left(const struct conn *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};

    if (!c->full || poll(&p, 1, 0) != 1)
        return false;
    return (p.revents & (POLLHUP | POLLERR)) || ((p.revents & POLLRDHUP) && body_will_not_come(c));
}

void conn_check_deadlines(struct conn *c)
{
    int64_t now = conn_now_ms();
    struct err err = {0};

    if (is_stalled(c, now) || has_left(c)) {
        conn_break(c);
    } else if (c->phase == CONN_LINGER && now - c->since_ms >= CONN_LINGER_MS) {
        conn_break(c);
    } else if (c->phase == CONN_HEAD && now >= head_deadline(c)) {
        if (c->scan.total == 0) {
            conn_break(c);
            return;
        }
        (void)err_set(&err, ERR_REQUEST_TIMEOUT, ETIMEDOUT,
                      "the request head took too long"); /* a value */
        conn_refuse(c, &err);
    } else if (conn_body_is_awaited(c)) {
        check_body_rate(c, now);
    }
}
