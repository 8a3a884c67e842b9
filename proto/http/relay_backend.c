/* A relay's connection: new or out of the pool, its deadlines, its end, and one that is lost before it has answered. */
#include <errno.h>
#include <string.h>

#include "proto/base/loop_delay.h"
#include "proto/http/relay_priv.h"
#include "proto/http/upstream.h"
#include "proto/http/upstream_pool.h"
#include "proto/http/watch.h"

/* ---- events --------------------------------------------------------------------------------------- */

static void arm(struct relay *r);

static void on_up_read(struct bufferevent *bev, void *arg)
{
    struct relay *r = arg;

    (void)bev;
    r->moved_ms = loop_clock_ms();
    relay_pump(r);
}

static void on_up_written(struct bufferevent *bev, void *arg)
{
    struct relay *r = arg;

    (void)bev;
    r->moved_ms = loop_clock_ms();
    if (r->body_paused && !r->over) {
        r->body_paused = false;
        http_req_resume_body(r->req);
    }
}

/* Only now is the client's body asked for: a backend that is not there costs the client no upload. */
void relay_connected(struct relay *r)
{
    r->connected = true;
    r->since_ms = r->moved_ms = loop_clock_ms();
    if (r->has_body)
        http_req_read_body(r->req, &relay_body_ops, r);
    arm(r);
}

/* A connection from the pool that the backend closes at this moment has answered nothing: the request goes out again,
 * on a new one. */
static bool try_again(struct relay *r)
{
    struct err err = {0};

    if (!r->head || r->answered || r->over || r->reply.scan.total > 0 ||
        evbuffer_get_length(bufferevent_get_input(r->up)) > 0)
        return false;
    relay_close_backend(r);
    if (relay_open_backend(r, &err) < 0) {
        relay_fail(r, &err);
        return true;
    }
    (void)evbuffer_add(bufferevent_get_output(r->up), r->head,
                       r->head_len); /* out of memory shows as a broken request at the backend */
    free(take_ptr(&r->head));        /* once */
    return true;
}

static void on_up_event(struct bufferevent *bev, short what, void *arg)
{
    struct relay *r = arg;

    if (!(what & BEV_EVENT_CONNECTED) && try_again(r))
        return;
    if (what & BEV_EVENT_CONNECTED) {
        relay_connected(r);
        return;
    }
    if (!r->connected) {
        relay_fail_text(r, ERR_BACKEND_CONNECTION_FAILED, ECONNREFUSED,
                        "the backend does not accept connections");
        return;
    }
    if ((what & BEV_EVENT_WRITING) && (what & BEV_EVENT_ERROR)) {
        /* It reads no more of the request, yet it may have answered: the rest of the body goes nowhere. */
        r->up_deaf = true;
        on_up_written(bev, r);
        return;
    }
    if (what & BEV_EVENT_EOF) {
        r->up_eof = true;
        relay_pump(r);
        return;
    }
    relay_pump(r); /* a reset: what arrived before it, then a cut */
    relay_fail_text(r, ERR_BACKEND_RESPONSE_FAILED, ECONNRESET, "the backend broke the connection");
}

/* The earliest deadline that holds now; 0 = none. */
static int64_t deadline(const struct relay *r)
{
    int64_t at = 0, idle = r->idle_ms ? r->moved_ms + r->idle_ms : 0;

    if (!r->connected)
        return r->since_ms + r->connect_ms;
    if (!r->answered && r->first_byte_ms)
        at = r->since_ms + r->first_byte_ms;
    return at == 0 || (idle != 0 && idle < at) ? idle : at;
}

static void arm(struct relay *r)
{
    int64_t at = deadline(r), delay = MAX(at - loop_clock_ms(), (int64_t)1);
    struct timeval tv = {.tv_sec = delay / 1000, .tv_usec = (delay % 1000) * 1000};

    if (at != 0)
        (void)event_add(r->timer, &tv); /* no memory: no deadline, the client's own remains */
    else
        (void)event_del(r->timer); /* cannot fail for an initialised event */
}

void relay_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct relay *r = arg;
    int64_t at = deadline(r);

    (void)fd;
    (void)what;
    if (r->over)
        return;
    if (at == 0 || loop_clock_ms() < at)
        arm(r);
    else
        relay_fail_text(r, ERR_BACKEND_TIMEOUT, ETIMEDOUT,
                        r->connected ? "the backend did not answer in time"
                                     : "connecting to the backend took too long");
}

/* ---- backends: new ones, and those that wait ------------------------------------------------------- */

static void use_backend(struct relay *r)
{
    bufferevent_setcb(r->up, on_up_read, on_up_written, on_up_event, r);
    bufferevent_setwatermark(r->up, EV_READ, 0, MAX(CONN_READ_MAX, RELAY_REPLY_HEAD_MAX + 1));
    bufferevent_setwatermark(r->up, EV_WRITE, RELAY_UP_LOW, 0);
    watch_enable(r->up, EV_READ | EV_WRITE);
}

int relay_open_backend(struct relay *r, struct err *err)
{
    int result = upstream_open(http_req_base(r->req), &r->target, &r->up, err);

    r->target.fd = -1; /* taken */
    if (result < 0)
        return result;
    r->connected = false;
    r->since_ms = loop_clock_ms();
    use_backend(r);
    arm(r);
    return 0;
}

/* Methods that ask and change nothing may be asked twice (RFC 9110 9.2.1). */
static bool may_be_repeated(const struct relay *r)
{
    const char *method = http_req_method(r->req);

    return !r->has_body && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 ||
                            strcmp(method, "OPTIONS") == 0);
}

bool relay_reuse_backend(struct relay *r)
{
    if (r->upgrade || r->given)
        return false;
    r->up = upstream_pool_take(r->req->conn->server->upstreams, &r->target);
    /* The backend may be closing it right now, and then nobody knows whether it has acted. It is closed all the same:
     * a backend that serves one connection at a time must be free for the new one. */
    if (r->up && !may_be_repeated(r))
        bufferevent_free(take_ptr(&r->up));
    if (r->up)
        use_backend(r);
    return r->up != NULL;
}

void relay_keep_head(struct relay *r, struct evbuffer *head)
{
    r->head_len = evbuffer_get_length(head);
    r->head = malloc(r->head_len);
    if (r->head)
        (void)evbuffer_copyout(head, r->head, r->head_len); /* these bytes are there */
}
