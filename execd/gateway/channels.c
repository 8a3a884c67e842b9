#include "execd/gateway/channels.h"

#include <errno.h>
#include <string.h>

#include "execd/gateway/channels_priv.h"
#include "proto/api/errors.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"

struct channels *channels_new(struct event_base *base)
{
    struct channels *c = xnew(struct channels);

    c->base = base;
    TAILQ_INIT(&c->clients);
    if (fanout_init(&c->fanout, base) < 0 || channels_memory_init(c) < 0) {
        channels_free(c);
        return NULL;
    }
    return c;
}

void channels_free(struct channels *c)
{
    if (c == NULL)
        return;
    while (!TAILQ_EMPTY(&c->clients))
        channels_client_free(TAILQ_FIRST(&c->clients));
    fanout_done(&c->fanout);
    if (c->trim != NULL)
        event_free(c->trim);
    free(c);
}

/* ---- the list -------------------------------------------------------------------------------------- */

unsigned channels_n_connected(const struct channels *c, const struct code_context *ctx)
{
    const struct channels_client *client;
    unsigned n = 0;

    TAILQ_FOREACH(client, &c->clients, link)
    n += client->ctx == ctx && client->ops != NULL;
    return n;
}

bool channels_is_held(const struct channels *c, const struct code_context *ctx)
{
    const struct channels_client *client;

    TAILQ_FOREACH(client, &c->clients, link)
    if (client->ctx == ctx && client->holds)
        return true;
    return false;
}

static struct channels_client *find_client(const struct channels *c, const struct code_context *ctx,
                                           const char *id)
{
    struct channels_client *client;

    TAILQ_FOREACH(client, &c->clients, link)
    if (client->ctx == ctx && id[0] != '\0' && strcmp(client->id, id) == 0)
        return client;
    return NULL;
}

/* Those who left move to the end of the list: the first one has been away longest. */
static void trim_away(struct channels *c, const struct code_context *ctx)
{
    struct channels_client *client, *oldest = NULL;
    unsigned n = 0;

    TAILQ_FOREACH(client, &c->clients, link)
    {
        if (client->ctx != ctx || client->ops != NULL)
            continue;
        oldest = oldest != NULL ? oldest : client;
        n++;
    }
    if (n > CHANNELS_AWAY_MAX)
        channels_client_free(oldest);
}

/* ---- one ------------------------------------------------------------------------------------------- */

static struct channels_client *new_client(struct channels *c, struct code_context *ctx,
                                          const char *id)
{
    struct channels_client *client = xnew(struct channels_client);

    client->channels = c;
    client->ctx = ctx;
    memcpy(client->id, id, strlen(id) + 1);
    struct outbox_limits limits = channels_limits(c);
    outbox_init(&client->outbox, &limits);
    if (id[0] == '\0')
        client->outbox.limits.keep_max = 0;
    requests_init(&client->requests, channels_client_deliver, client);
    client->hold_end_ms = client->away_end_ms = client->retry_ms = client->armed_ms = INT64_MAX;
    client->code = code_client_attach(ctx, &channels_client_ops, client);
    client->timer = evtimer_new(c->base, channels_client_on_timer, client);
    TAILQ_INSERT_TAIL(&c->clients, client, link);
    return client;
}

void channels_client_free(struct channels_client *client)
{
    channels_client_release(client);
    TAILQ_REMOVE(&client->channels->clients, client, link);
    code_client_detach(client->code);
    if (client->timer != NULL)
        event_free(client->timer);
    requests_done(&client->requests);
    outbox_done(&client->outbox);
    message_free(client->kept);
    channels_memory_freed(client->channels);
    free(client);
}

void channels_client_end(struct channels_client *client, enum channels_end why)
{
    if (client->ops != NULL)
        client->ops->on_end(client->arg, why);
    channels_client_free(client);
}

static int make_client(struct channels *c, struct code_context *ctx, const char *id,
                       struct channels_client **ret_client, struct err *err)
{
    struct channels_client *client = new_client(c, ctx, id);

    if (client->code != NULL && client->timer != NULL) {
        *ret_client = client;
        return 0;
    }
    bool full = client->code == NULL;
    channels_client_free(client);
    if (full) {
        (void)err_set(err, ERR_OVERLOADED, EAGAIN, "%d clients of a kernel at once is the limit",
                      CODE_CLIENTS_MAX);
        return -EAGAIN;
    }
    (void)err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a client");
    return -ENOMEM;
}

/* ---- coming and going ------------------------------------------------------------------------------ */

static void leave(struct channels_client *client)
{
    channels_client_release(client);
    outbox_leave(&client->outbox, client->ops->undelivered(client->arg));
    client->ops = NULL;
    client->shown = 0;
    code_client_set_away(client->code, true);
}

int channels_attach(struct channels *c, struct code_context *ctx,
                    const struct channels_options *options, const struct channels_ops *ops,
                    void *arg, struct channels_client **ret_client, struct err *err)
{
    const char *id = options->session_id != NULL ? options->session_id : "";

    if (strlen(id) > CHANNELS_ID_MAX)
        return err_set(err, ERR_INVALID_QUERY, EINVAL, "session_id: at most %d bytes",
                       CHANNELS_ID_MAX);
    struct channels_client *client = find_client(c, ctx, id);
    bool is_new = client == NULL;
    int r = is_new ? make_client(c, ctx, id, &client, err) : 0;
    if (r < 0)
        return r;
    if (client->ops != NULL) {
        const struct channels_ops *old = client->ops;
        void *old_arg = client->arg;
        leave(client);
        old->on_end(old_arg, CHANNELS_REPLACED);
    }
    client->ops = ops;
    client->arg = arg;
    client->away_end_ms = INT64_MAX;
    code_client_set_away(client->code, false);
    outbox_return(&client->outbox, options->last_seq);
    if (is_new)
        channels_client_greet(client);
    *ret_client = client;
    return 0;
}

void channels_detach(struct channels_client *client)
{
    struct channels *c = client->channels;

    leave(client);
    if (client->id[0] == '\0' || client->is_ending) {
        channels_client_free(client);
        return;
    }
    TAILQ_REMOVE(&c->clients, client, link);
    TAILQ_INSERT_TAIL(&c->clients, client, link);
    client->away_end_ms = loop_clock_ms() + CHANNELS_AWAY_MS;
    channels_client_settle(client);
    trim_away(c, client->ctx); /* not this one: it left last */
}

const struct message *channels_peek(const struct channels_client *client)
{
    return outbox_peek(&client->outbox);
}
