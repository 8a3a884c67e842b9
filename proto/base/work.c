#include "proto/base/work.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "proto/base/cleanup.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"

struct job {
    work_fn run, done;
    void *arg;
    struct job *next;
};

struct queue {
    struct job *head, **tail;
};

struct work_pool {
    pthread_mutex_t lock; /* guards todo, finished, stopping, n_todo */
    pthread_cond_t wake;
    struct queue todo, finished;
    int n_todo, queue_max;
    bool stopping;
    pthread_t *threads; /* owned */
    int n_threads;
    int event_fd;        /* owned; a thread rings it when something has finished */
    struct event *event; /* owned */
};

static void push(struct queue *q, struct job *j)
{
    j->next = NULL;
    *q->tail = j;
    q->tail = &j->next;
}

static struct job *pop(struct queue *q)
{
    struct job *j = q->head;

    if (j != NULL) {
        q->head = j->next;
        if (q->head == NULL)
            q->tail = &q->head;
    }
    return j;
}

static void *thread_main(void *arg)
{
    struct work_pool *pool = arg;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct job *j = pop(&pool->todo);
        if (j == NULL && pool->stopping)
            break;
        if (j == NULL) {
            pthread_cond_wait(&pool->wake, &pool->lock);
            continue;
        }
        pool->n_todo--;
        pthread_mutex_unlock(&pool->lock);
        j->run(j->arg);
        pthread_mutex_lock(&pool->lock);
        push(&pool->finished, j);
        (void)eventfd_write(pool->event_fd, 1); /* full means that it rings already */
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void deliver(struct work_pool *pool)
{
    for (;;) {
        pthread_mutex_lock(&pool->lock);
        struct job *j = pop(&pool->finished);
        pthread_mutex_unlock(&pool->lock);
        if (j == NULL)
            return;
        j->done(j->arg);
        free(j);
    }
}

static void on_finished(evutil_socket_t fd, short what, void *arg)
{
    eventfd_t count;

    (void)what;
    (void)eventfd_read(fd, &count); /* only a bell */
    LOOP_WORK("descriptor", "results of workers");
    deliver(arg);
}

/* Signals belong to the loop: the threads take none. */
static int start_threads(struct work_pool *pool, int threads)
{
    sigset_t all, old;
    int rc = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pool->threads = xcalloc((size_t)threads, sizeof(pthread_t));
    while (rc == 0 && pool->n_threads < threads) {
        rc = pthread_create(&pool->threads[pool->n_threads], NULL, thread_main, pool);
        if (rc == 0)
            pool->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -rc;
}

int work_pool_new(struct event_base *base, int threads, int queue_max, struct work_pool **ret_pool)
{
    struct work_pool *pool = xnew(struct work_pool);

    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->todo.tail = &pool->todo.head;
    pool->finished.tail = &pool->finished.head;
    pool->queue_max = queue_max;
    pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = pool->event_fd < 0 ? -errno : 0;
    if (rc == 0) {
        pool->event = event_new(base, pool->event_fd, EV_READ | EV_PERSIST, on_finished, pool);
        if (pool->event == NULL || event_add(pool->event, NULL) < 0)
            rc = -ENOMEM;
    }
    if (rc == 0)
        rc = start_threads(pool, threads);
    if (rc < 0) {
        work_pool_free(pool);
        return rc;
    }
    *ret_pool = pool;
    return 0;
}

void work_pool_free(struct work_pool *pool)
{
    struct job *j;

    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    while ((j = pop(&pool->todo)) != NULL) /* never started: done() still runs */
        push(&pool->finished, j);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    deliver(pool);
    if (pool->event != NULL)
        event_free(pool->event);
    if (pool->event_fd >= 0)
        close(pool->event_fd);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}

int work_post(struct work_pool *pool, work_fn run, work_fn done, void *arg)
{
    struct job *j = xnew(struct job);

    *j = (struct job){.run = run, .done = done, .arg = arg};
    pthread_mutex_lock(&pool->lock);
    bool full = pool->n_todo >= pool->queue_max || pool->stopping;
    if (!full) {
        push(&pool->todo, j);
        pool->n_todo++;
        pthread_cond_signal(&pool->wake);
    }
    pthread_mutex_unlock(&pool->lock);
    if (full)
        free(j);
    return full ? -EAGAIN : 0;
}
