#include "execd/code/clients.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "execd/code/context_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/json/json_load.h"
#include "proto/json/json_scan.h"

/* An end that does not come must not hold everybody up. */
#define FAILING_MS 1000

/* A message that a client sent: whose it is, and what it costs while it is open. */
struct route {
    uint64_t hash;   /* of msg_id; 0 = free */
    size_t bytes;    /* 0: finished, or nothing that the kernel finishes */
    int64_t sent_ns; /* monotonic */
    bool is_run;     /* code that has no reply yet */
    enum kernel_channel channel;
};

struct code_client {
    struct code_context *ctx; /* borrowed; NULL once it has ended */
    const struct code_client_ops *ops;
    void *arg;
    struct route routes[CLIENT_ROUTES_MAX]; /* a ring */
    size_t next_route, n_open, open_bytes;
    unsigned n_questions; /* for input, that it has not answered */
    bool holds, away,
        gone; /* gone: detached; one of these stays while something is open, for all of them */
    struct code_client *next;
};

/* FNV-1a; a collision misroutes a reply to another client of the same kernel, who ignores it. */
static uint64_t hash_id(const char *id)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * UINT64_C(0x100000001b3);
    return hash ? hash : 1;
}

static struct route *find_route(struct code_client *client, uint64_t hash)
{
    for (size_t i = 0; i < CLIENT_ROUTES_MAX; i++)
        if (client->routes[i].hash == hash)
            return &client->routes[i];
    return NULL;
}

static void close_route(struct code_client *client, struct route *route)
{
    if (!route || route->bytes == 0)
        return;
    client->n_open--;
    client->open_bytes -= route->bytes;
    route->bytes = 0;
}

/* The oldest finished one makes room; CLIENT_OPEN_MAX is half of the ring, so there is one. */
static void add_route(struct code_client *client, const struct route *route)
{
    while (client->routes[client->next_route].bytes > 0)
        client->next_route = (client->next_route + 1) % CLIENT_ROUTES_MAX;
    client->routes[client->next_route] = *route;
    client->next_route = (client->next_route + 1) % CLIENT_ROUTES_MAX;
    if (route->bytes > 0) {
        client->n_open++;
        client->open_bytes += route->bytes;
    }
}

/* ---- coming and going --------------------------------------------------------------------------- */

struct code_client *code_client_attach(struct code_context *ctx, const struct code_client_ops *ops,
                                       void *arg)
{
    if (code_context_n_clients(ctx) >= CODE_CLIENTS_MAX)
        return NULL;
    struct code_client *client = xnew(struct code_client);
    client->ctx = ctx;
    client->ops = ops;
    client->arg = arg;
    client->next = ctx->clients;
    ctx->clients = client;
    return client;
}

static void remove_client(struct code_context *ctx, struct code_client *client)
{
    struct code_client **at = &ctx->clients;
    while (*at != client)
        at = &(*at)->next;
    *at = client->next;
    free(client);
}

/* ---- what those that have left had open: one client keeps it for all, however many came and left ---- */

static struct route *oldest_open(struct code_client *client, enum kernel_channel channel,
                                 int64_t after_ns)
{
    struct route *oldest = NULL;
    for (size_t i = 0; i < CLIENT_ROUTES_MAX; i++) {
        struct route *route = &client->routes[i];
        if (route->bytes > 0 && route->channel == channel && route->sent_ns > after_ns &&
            (!oldest || route->sent_ns < oldest->sent_ns))
            oldest = route;
    }
    return oldest;
}

/* Makes room for one: a channel is answered in order, so the oldest one's bytes may wait for the end of the next. */
static void fold_oldest(struct code_client *client)
{
    static const enum kernel_channel channels[] = {CHANNEL_SHELL, CHANNEL_CONTROL};
    for (size_t i = 0; i < ARRAY_LEN(channels); i++) {
        struct route *first = oldest_open(client, channels[i], 0);
        struct route *next = first ? oldest_open(client, channels[i], first->sent_ns) : NULL;
        if (!next)
            continue;
        size_t bytes = first->bytes;
        close_route(client, first);
        next->bytes += bytes;
        client->open_bytes += bytes;
        return;
    }
}

static void inherit(struct code_client *heir, struct code_client *from)
{
    for (size_t i = 0; i < CLIENT_ROUTES_MAX; i++) {
        struct route *route = &from->routes[i];
        if (route->bytes == 0)
            continue;
        if (heir->n_open >= CLIENT_OPEN_MAX)
            fold_oldest(heir);
        add_route(heir, route);
        close_route(from, route);
    }
}

static void remove_gone(struct code_context *ctx)
{
    struct code_client *heir = NULL;
    for (struct code_client *c = ctx->clients; c;) {
        struct code_client *next = c->next;
        if (c->gone && c->n_open > 0 && heir)
            inherit(heir, c);
        if (c->gone && c->n_open == 0)
            remove_client(ctx, c);
        else if (c->gone)
            heir = c;
        c = next;
    }
}

static void update_hold(struct code_context *ctx)
{
    bool held = false;
    for (const struct code_client *c = ctx->clients; c; c = c->next)
        held |= c->holds && !c->gone;
    if (ctx->kernel && !ctx->kernel_ended)
        kernel_hold(ctx->kernel, KERNEL_HOLD_CLIENT, held);
}

void code_client_detach(struct code_client *client)
{
    if (!client)
        return;
    struct code_context *ctx = client->ctx;
    client->gone = true;
    if (!ctx)
        return; /* on_end is running: freed after it */
    update_hold(ctx);
    if (ctx->clients_walked == 0)
        remove_gone(ctx);
}

void code_client_hold(struct code_client *client, bool value)
{
    client->holds = value;
    update_hold(client->ctx);
}

void code_client_charge_hold(struct code_client *client, int64_t ms)
{
    hold_budget_charge(&client->ctx->hold_budget, ms, clock_monotonic_ms());
}

bool code_client_may_hold(struct code_client *client)
{
    return !hold_budget_is_spent(&client->ctx->hold_budget, clock_monotonic_ms());
}

void code_client_set_away(struct code_client *client, bool value)
{
    client->away = value;
}

uint64_t code_client_serial(const struct code_client *client)
{
    return client->ctx->manager->n_heard;
}

void code_client_nudge(struct code_client *client)
{
    struct code_context *ctx = client->ctx;
    if (ctx && ctx->state == CONTEXT_READY && ctx->kernel && !ctx->kernel_ended)
        kernel_nudge(ctx->kernel);
}

unsigned code_context_n_clients(const struct code_context *ctx)
{
    unsigned n = 0;
    for (const struct code_client *c = ctx->clients; c; c = c->next)
        n += !c->gone && !c->away;
    return n;
}

/* Callbacks may detach any client: nobody leaves the list while it is walked. */
static void walk_begin(struct code_context *ctx)
{
    ctx->clients_walked++;
}

static void walk_end(struct code_context *ctx)
{
    if (--ctx->clients_walked == 0)
        remove_gone(ctx);
}

/* The kernel owes somebody an answer. */
static bool has_open(const struct code_context *ctx)
{
    bool open = false;
    for (const struct code_client *c = ctx->clients; c; c = c->next)
        open |= c->n_open > 0;
    return open;
}

/* ---- from the kernel ----------------------------------------------------------------------------- */

static void note_status(struct code_context *ctx, const struct jmsg *msg)
{
    struct slice text = msg->parts.content;
    json_t *content = json_load_tolerant(text);
    const char *state = json_string_value(json_object_get(content, "execution_state"));
    bool idle = state && strcmp(state, "idle") == 0;
    uint64_t hash = hash_id(msg->parent_id);
    if (kernel_is_work(msg->parent_type) && !kernel_is_own(ctx->kernel, msg->parent_id)) {
        /* What else it answers meanwhile, on control or in a subshell, ends no cell. */
        if (state && strcmp(state, "busy") == 0) {
            ctx->client_work = hash;
            ctx->client_replied = ctx->client_lost = false;
        } else if (ctx->client_work == hash) {
            ctx->client_work = 0;
        }
        context_touch(ctx);
        context_tick(ctx); /* a run may have waited for it */
    }
    if (ctx->client_interrupt && ctx->client_work && !ctx->current) {
        ctx->client_interrupt = false;
        (void)!kernel_interrupt(ctx->kernel, NULL); /* a kernel that is gone needs none */
    }
    json_decref(content);
    if (idle && strcmp(ctx->failing, msg->parent_id) == 0)
        ctx->failing[0] = '\0';
    walk_begin(ctx);
    for (struct code_client *c = ctx->clients; idle && c; c = c->next)
        close_route(c, find_route(c, hash));
    ctx->client_interrupt &= has_open(ctx); /* what it was for was no work, or has ended */
    walk_end(ctx);
}

/* It comes to a nudge behind that: the reply to one tells that the work is over, where no idle does any more. */
void clients_check_work(struct code_context *ctx)
{
    ctx->client_lost = ctx->client_work != 0;
    if (ctx->client_lost)
        kernel_nudge(ctx->kernel);
}

static void note_nudged(struct code_context *ctx, const struct jmsg *msg)
{
    if (!ctx->client_lost || strcmp(msg->type, "kernel_info_reply") != 0 ||
        !kernel_is_own(ctx->kernel, msg->parent_id))
        return;
    ctx->client_work = 0;
    ctx->client_lost = false;
    context_tick(ctx);
}

/* What our own probes cause is nobody's business. */
static bool is_noise(const struct code_context *ctx, const struct jmsg *msg)
{
    return strcmp(msg->type, "iopub_welcome") == 0 ||
           (strcmp(msg->parent_type, "kernel_info_request") == 0 &&
            kernel_is_own(ctx->kernel, msg->parent_id));
}

/* From here to its idle the kernel drops every run that comes (contracts/jupyter.md 1.9). That is meant for what was sent
 * before; who has seen the error and goes on is to be heard. */
static void note_error(struct code_context *ctx, const struct jmsg *msg)
{
    if (strcmp(msg->parent_type, "execute_request") != 0 ||
        kernel_is_own(ctx->kernel, msg->parent_id))
        return;
    (void)snprintf(ctx->failing, sizeof(ctx->failing), "%s", msg->parent_id); /* one length */
    ctx->failing_until_ms = clock_monotonic_ms() + FAILING_MS;
}

static bool is_dropping(const struct code_context *ctx)
{
    return ctx->failing[0] && clock_monotonic_ms() < ctx->failing_until_ms;
}

/* Whoever sent it, those that have left too. Code that the kernel threw away unseen is nothing that it executed. */
static void note_reply(struct code_context *ctx, uint64_t hash, const struct jmsg *msg)
{
    struct slice content, status = {0};
    if (json_scan(msg->parts.content, &content) == 0)
        status = json_find_member(content, "status");
    bool ok = json_text_is(status, "ok"), aborted = json_text_is(status, "aborted");
    for (struct code_client *c = ctx->clients; c; c = c->next) {
        struct route *route = find_route(c, hash);
        if (!route || !route->is_run)
            continue;
        if (!aborted)
            kernel_stats_executed(&ctx->manager->stats, ctx->spec, route->sent_ns, !ok);
        route->is_run = false;
    }
    if (hash != ctx->client_work)
        return;
    /* A run that waits need not wait for an idle that may never come; only behind a failure, up to which the kernel drops
     * what comes. */
    ctx->client_replied = ok;
    context_tick(ctx);
}

static void publish(struct code_context *ctx, const struct jmsg *msg)
{
    if (strcmp(msg->type, "status") == 0)
        note_status(ctx, msg);
    else if (strcmp(msg->type, "error") == 0)
        note_error(ctx, msg);
    if (is_noise(ctx, msg))
        return;
    ctx->manager->n_heard++;
    walk_begin(ctx);
    for (struct code_client *c = ctx->clients; c; c = c->next)
        if (!c->gone)
            c->ops->on_message(c->arg, CHANNEL_IOPUB, msg);
    walk_end(ctx);
}

bool clients_take(struct code_context *ctx, enum kernel_channel channel, const struct jmsg *msg)
{
    if (channel == CHANNEL_IOPUB) {
        publish(ctx, msg);
        return false;
    }
    uint64_t hash = hash_id(msg->parent_id);
    if (strcmp(msg->type, "execute_reply") == 0)
        note_reply(ctx, hash, msg);
    else if (channel == CHANNEL_SHELL)
        note_nudged(ctx, msg);
    struct route *route = NULL;
    struct code_client *client = ctx->clients;
    while (client && (client->gone || !(route = find_route(client, hash))))
        client = client->next;
    if (!client)
        return false;
    if (channel != CHANNEL_STDIN)
        close_route(client, route);
    else if (client->n_questions < CLIENT_OPEN_MAX)
        client->n_questions++;
    ctx->manager->n_heard++;
    walk_begin(ctx);
    client->ops->on_message(client->arg, channel, msg);
    walk_end(ctx);
    return true;
}

/* Nothing that was open in a kernel that is gone has an end any more. */
static void forget_routes(struct code_client *client)
{
    struct code_context *ctx = client->ctx;
    for (size_t i = 0; i < CLIENT_ROUTES_MAX; i++)
        if (client->routes[i].is_run && client->routes[i].bytes > 0)
            kernel_stats_executed(&ctx->manager->stats, ctx->spec, client->routes[i].sent_ns, true);
    memset(client->routes, 0, sizeof(client->routes));
    client->next_route = client->n_open = client->open_bytes = 0;
    client->n_questions = 0;
}

void clients_end(struct code_context *ctx)
{
    while (ctx->clients) {
        struct code_client *client = ctx->clients;
        ctx->clients = client->next;
        client->ctx = NULL;
        if (!client->gone)
            client->ops->on_end(client->arg);
        free(client);
    }
}

void clients_tell_lost(struct code_context *ctx, const struct jmsg *msg)
{
    walk_begin(ctx);
    for (struct code_client *c = ctx->clients; c; c = c->next)
        if (!c->gone)
            c->ops->on_lost(c->arg, msg);
    walk_end(ctx);
}

void clients_tell(struct code_context *ctx)
{
    if (ctx->told == ctx->state)
        return;
    ctx->told = ctx->state;
    if (ctx->state == CONTEXT_GONE) {
        clients_end(ctx);
        return;
    }
    walk_begin(ctx);
    for (struct code_client *c = ctx->clients; c; c = c->next) {
        if (ctx->state != CONTEXT_READY)
            forget_routes(c);
        if (!c->gone)
            c->ops->on_state(c->arg, code_context_state(ctx));
    }
    walk_end(ctx);
}

/* ---- to the kernel ------------------------------------------------------------------------------- */

int clients_interrupt(struct code_context *ctx, struct err *err)
{
    if (ctx->state != CONTEXT_READY || !ctx->kernel || ctx->kernel_ended)
        return 0;
    ctx->client_interrupt = ctx->client_work == 0 && has_open(ctx);
    return ctx->client_work ? kernel_interrupt(ctx->kernel, err) : 0;
}

static size_t parts_size(const struct jmsg_parts *parts)
{
    size_t size = parts->header.len + parts->parent.len + parts->metadata.len + parts->content.len;
    for (size_t i = 0; i < parts->n_buffers; i++)
        size += parts->buffers[i].len;
    return size;
}

int code_client_send(struct code_client *client, enum kernel_channel channel, const char *msg_id,
                     const struct jmsg_parts *parts, struct err *err)
{
    struct code_context *ctx = client->ctx;
    size_t size = channel == CHANNEL_STDIN ? 0 : parts_size(parts), waiting = 0;
    for (const struct code_client *c = ctx ? ctx->clients : NULL; c; c = c->next)
        waiting += c->open_bytes;
    if (!ctx || !ctx->kernel || ctx->kernel_ended || ctx->restart_wanted ||
        ctx->state == CONTEXT_DEAD) /* its kernel may only wait for its end: the system holds it */
        return err_set(err, ERR_KERNEL_UNAVAILABLE, ESRCH, "%s",
                       ctx && ctx->state == CONTEXT_DEAD ? ctx->death
                                                         : "the kernel is not there just now");
    if (client->n_open >= CLIENT_OPEN_MAX || client->open_bytes + size > CLIENT_OPEN_BYTES_MAX ||
        waiting + size > KERNEL_OPEN_BYTES_MAX)
        return err_set(err, ERR_OVERLOADED, EAGAIN,
                       "%zu messages of %zu bytes wait for the kernel already, %zu bytes in all",
                       client->n_open, client->open_bytes, waiting);
    if (channel == CHANNEL_STDIN && client->n_questions == 0)
        return 0; /* an answer to nothing: kernels throw it away, and do not count it */
    bool is_run = json_text_is(json_find_member(parts->header, "msg_type"), "execute_request");
    if (is_run && is_dropping(ctx))
        return err_set(err, ERR_OVERLOADED, EAGAIN,
                       "the kernel drops runs until a failed one ends");
    int r = kernel_send_parts(ctx->kernel, channel, parts);
    if (r == -EMSGSIZE)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EMSGSIZE, "at most %d buffers",
                       JMSG_BUFFERS_MAX);
    if (r < 0)
        return err_set(err, ERR_OVERLOADED, -r, "the kernel takes no messages");
    if (channel == CHANNEL_STDIN)
        client->n_questions--;
    add_route(client, &(struct route){.hash = hash_id(msg_id),
                                      .bytes = size,
                                      .sent_ns = clock_monotonic_ns(),
                                      .is_run = is_run,
                                      .channel = channel});
    return 0;
}
