#include "execd/gateway/channels.h"

#include <errno.h>
#include <string.h>

#include "execd/gateway/channels_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

struct channels *channels_new(struct event_base *base)
{
    struct channels *c = xnew(struct channels);

    c->base = base;
    TAILQ_INIT(&c->sessions);
    return c;
}

void channels_free(struct channels *c)
{
    if (c == NULL)
        return;
    while (!TAILQ_EMPTY(&c->sessions))
        session_free(TAILQ_FIRST(&c->sessions));
    free(c);
}

/* ---- the list -------------------------------------------------------------------------------------- */

unsigned channels_n_connected(const struct channels *c, const struct code_context *ctx)
{
    const struct channels_session *s;
    unsigned n = 0;

    TAILQ_FOREACH(s, &c->sessions, link)
    n += s->ctx == ctx && s->ops != NULL;
    return n;
}

bool channels_is_held(const struct channels *c, const struct code_context *ctx)
{
    const struct channels_session *s;

    TAILQ_FOREACH(s, &c->sessions, link)
    if (s->ctx == ctx && s->holds)
        return true;
    return false;
}

static struct channels_session *find_session(const struct channels *c,
                                             const struct code_context *ctx, const char *id)
{
    struct channels_session *s;

    TAILQ_FOREACH(s, &c->sessions, link)
    if (s->ctx == ctx && id[0] != '\0' && strcmp(s->id, id) == 0)
        return s;
    return NULL;
}

/* Those who left move to the end of the list: the first one has been away longest. */
static void trim_away(struct channels *c, const struct code_context *ctx)
{
    struct channels_session *s, *oldest = NULL;
    unsigned n = 0;

    TAILQ_FOREACH(s, &c->sessions, link)
    {
        if (s->ctx != ctx || s->ops != NULL)
            continue;
        oldest = oldest != NULL ? oldest : s;
        n++;
    }
    if (n > CHANNELS_AWAY_MAX)
        session_free(oldest);
}

/* ---- one ------------------------------------------------------------------------------------------- */

static const struct outbox_limits limits = {
    .stream_max = 48u << 20,
    .output_max = 56u << 20,
    .hard_max = 64u << 20,
    .away_max = 2u << 20,
    .keep_max = 1u << 20,
};

static struct channels_session *session_new(struct channels *c, struct code_context *ctx,
                                            const char *id)
{
    struct channels_session *s = xnew(struct channels_session);

    s->channels = c;
    s->ctx = ctx;
    memcpy(s->id, id, strlen(id) + 1);
    outbox_init(&s->outbox, &limits);
    if (id[0] == '\0')
        s->outbox.limits.keep_max = 0;
    requests_init(&s->requests, session_deliver, s);
    s->hold_end_ms = s->away_end_ms = s->retry_ms = s->armed_ms = INT64_MAX;
    s->client = code_client_attach(ctx, &session_client_ops, s);
    s->timer = evtimer_new(c->base, session_on_timer, s);
    TAILQ_INSERT_TAIL(&c->sessions, s, link);
    return s;
}

void session_free(struct channels_session *s)
{
    session_release(s);
    TAILQ_REMOVE(&s->channels->sessions, s, link);
    s->channels->bytes -= s->bytes;
    code_client_detach(s->client);
    if (s->timer != NULL)
        event_free(s->timer);
    requests_done(&s->requests);
    outbox_done(&s->outbox);
    message_free(s->kept);
    free(s);
}

void session_end(struct channels_session *s, enum channels_end why)
{
    if (s->ops != NULL)
        s->ops->on_end(s->arg, why);
    session_free(s);
}

static int make_session(struct channels *c, struct code_context *ctx, const char *id,
                        struct channels_session **ret_session, struct err *err)
{
    struct channels_session *s = session_new(c, ctx, id);

    if (s->client != NULL && s->timer != NULL) {
        *ret_session = s;
        return 0;
    }
    bool full = s->client == NULL;
    session_free(s);
    if (full) {
        (void)err_set(err, ERR_OVERLOADED, EAGAIN, "%d clients of a kernel at once is the limit",
                      CODE_CLIENTS_MAX);
        return -EAGAIN;
    }
    (void)err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a client");
    return -ENOMEM;
}

/* ---- coming and going ------------------------------------------------------------------------------ */

static void leave(struct channels_session *s)
{
    session_release(s);
    outbox_leave(&s->outbox, s->ops->undelivered(s->arg));
    s->ops = NULL;
    s->shown = 0;
    code_client_set_away(s->client, true);
}

int channels_attach(struct channels *c, struct code_context *ctx,
                    const struct channels_options *options, const struct channels_ops *ops,
                    void *arg, struct channels_session **ret_session, struct err *err)
{
    const char *id = options->session_id != NULL ? options->session_id : "";

    if (strlen(id) > CHANNELS_ID_MAX)
        return err_set(err, ERR_INVALID_QUERY, EINVAL, "session_id: at most %d bytes",
                       CHANNELS_ID_MAX);
    struct channels_session *s = find_session(c, ctx, id);
    bool is_new = s == NULL;
    int r = is_new ? make_session(c, ctx, id, &s, err) : 0;
    if (r < 0)
        return r;
    if (s->ops != NULL) {
        const struct channels_ops *old = s->ops;
        void *old_arg = s->arg;
        leave(s);
        old->on_end(old_arg, CHANNELS_REPLACED);
    }
    s->ops = ops;
    s->arg = arg;
    s->away_end_ms = INT64_MAX;
    code_client_set_away(s->client, false);
    outbox_return(&s->outbox, options->last_seq);
    if (is_new)
        session_greet(s);
    *ret_session = s;
    return 0;
}

void channels_detach(struct channels_session *s)
{
    struct channels *c = s->channels;

    leave(s);
    if (s->id[0] == '\0' || s->is_ending) {
        session_free(s);
        return;
    }
    TAILQ_REMOVE(&c->sessions, s, link);
    TAILQ_INSERT_TAIL(&c->sessions, s, link);
    s->away_end_ms = clock_monotonic_ms() + CHANNELS_AWAY_MS;
    session_settle(s);
    trim_away(c, s->ctx); /* not s itself: it left last */
}

const struct message *channels_peek(const struct channels_session *s)
{
    return outbox_peek(&s->outbox);
}
