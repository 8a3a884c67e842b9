#include "proto/http/upstream_pool.h"
#include "proto/http/watch.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "proto/base/mem.h"

#define KEY_SIZE 128 /* a Unix path is at most 107 bytes */

struct idle {
    TAILQ_ENTRY(idle) link;
    struct upstream_pool *pool; /* borrowed */
    struct bufferevent *bev;    /* owned */
    char key[KEY_SIZE];
};

struct upstream_pool {
    TAILQ_HEAD(idle_list, idle) idle; /* the longest idle first */
    unsigned n;
};

static void write_key(const struct relay_target *t, char key[KEY_SIZE])
{
    if (t->unix_path)
        (void)snprintf(key, KEY_SIZE, "unix:%s", t->unix_path); /* it was connected: it fits */
    else
        (void)snprintf(key, KEY_SIZE, "%s|%u", t->address, t->port);
}

static struct bufferevent *remove_idle(struct idle *i)
{
    struct bufferevent *bev = i->bev;

    TAILQ_REMOVE(&i->pool->idle, i, link);
    i->pool->n--;
    free(i);
    return bev;
}

/* A word without a question is no answer to the next one: only an empty wake-up is harmless. */
static void on_read(struct bufferevent *bev, void *arg)
{
    if (evbuffer_get_length(bufferevent_get_input(bev)) > 0)
        bufferevent_free(remove_idle(arg));
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    (void)what; /* closed, broken, or idle for too long */
    bufferevent_free(remove_idle(arg));
}

struct upstream_pool *upstream_pool_new(void)
{
    struct upstream_pool *pool = xnew(struct upstream_pool);

    TAILQ_INIT(&pool->idle);
    return pool;
}

void upstream_pool_free(struct upstream_pool *pool)
{
    struct idle *i;

    if (!pool)
        return;
    while ((i = TAILQ_FIRST(&pool->idle)))
        bufferevent_free(remove_idle(i));
    free(pool);
}

struct bufferevent *upstream_pool_take(struct upstream_pool *pool,
                                       const struct relay_target *target)
{
    char key[KEY_SIZE];
    struct idle *i;

    write_key(target, key);
    TAILQ_FOREACH_REVERSE(i, &pool->idle, idle_list, link)
    {
        if (strcmp(i->key, key) != 0)
            continue;
        struct bufferevent *bev = remove_idle(i);
        bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
        bufferevent_set_timeouts(bev, NULL, NULL);
        return bev;
    }
    return NULL;
}

void upstream_pool_give(struct upstream_pool *pool, const struct relay_target *target,
                        struct bufferevent *bev)
{
    static const struct timeval patience = {.tv_sec = UPSTREAM_IDLE_S};
    struct idle *i = xnew(struct idle);

    if (pool->n == UPSTREAM_IDLE_MAX)
        bufferevent_free(remove_idle(TAILQ_FIRST(&pool->idle)));
    i->pool = pool;
    i->bev = bev;
    write_key(target, i->key);
    TAILQ_INSERT_TAIL(&pool->idle, i, link);
    pool->n++;
    bufferevent_setcb(bev, on_read, NULL, on_event, i);
    bufferevent_set_timeouts(bev, &patience, NULL);
    watch_enable(bev, EV_READ);
}
