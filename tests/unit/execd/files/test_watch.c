/* A watch ends when nobody has read it for long enough; a scan in the pool finds what it reads unchanged. */
#include <limits.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <event2/event.h>

#include "execd/files/watch.c" /* its timer is called by hand */

struct seen {
    struct channel *ch;
    bool ready;
};

static void on_watch_started(void *arg, struct channel *ch, const char *id, const struct err *err)
{
    struct seen *s = arg;

    assert_null(err);
    assert_int_equal(strlen(id), ID_HEX_LEN);
    s->ch = channel_ref(ch);
}

static void on_reader_ready(void *arg)
{
    ((struct seen *)arg)->ready = true;
}

static void wait_for(void *arg)
{
    (void)sem_wait(arg);
}

static void ignore_end(void *arg)
{
    (void)arg;
}

static void make_dir(char out[PATH_MAX], const char *folder, const char *name)
{
    (void)snprintf(out, PATH_MAX, "%s/%s", folder, name);
    assert_int_equal(mkdir(out, 0700), 0);
}

/* The pool's only thread is held while a scan waits for it: a directory that has left the tree stays known until the
 * scan is back, and is told and forgotten then. */
static void test_moves_settle_after_scans(void **state)
{
    (void)state;
    struct event_base *base = event_base_new();
    struct work_pool *pool;
    struct watch *w;
    struct seen seen = {0};
    struct err err;
    sem_t held;
    char folder[] = "/tmp/test_watch.XXXXXX", inside[PATH_MAX], fresh[PATH_MAX], leaves[PATH_MAX];
    char outside[PATH_MAX];

    assert_non_null(mkdtemp(folder));
    make_dir(inside, folder, "watched");
    make_dir(leaves, inside, "leaves");
    (void)snprintf(outside, sizeof(outside), "%s/outside", folder);
    assert_int_equal(sem_init(&held, 0, 0), 0);
    assert_int_equal(work_pool_new(base, 1, 4, &pool), 0);
    assert_int_equal(watch_start(inside, true, base, pool, on_watch_started, &seen, &w, &err), 0);
    while (seen.ch == NULL)
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    assert_int_equal(w->dirs.n, 2);

    assert_int_equal(work_post(pool, wait_for, ignore_end, &held), 0);
    make_dir(fresh, inside, "fresh");
    assert_int_equal(rename(leaves, outside), 0);
    while (!w->scanning)
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    assert_non_null(w->moved_from);
    on_settle(-1, 0, w);
    on_timer(-1, 0, w);
    assert_non_null(w->moved_from);
    assert_int_equal(w->dirs.n, 2);

    assert_int_equal(sem_post(&held), 0);
    while (w->moved_from != NULL)
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    assert_false(w->scanning);
    assert_int_equal(w->dirs.n, 2); /* the root and what is fresh */
    assert_string_equal(w->dirs.items[1].path, "fresh");

    watch_close_all();
    channel_unref(seen.ch);
    work_pool_free(pool);
    event_base_free(base);
    (void)sem_destroy(&held);
    assert_int_equal(rmdir(fresh) | rmdir(outside) | rmdir(inside) | rmdir(folder), 0);
}

static void test_idle_watches_end(void **state)
{
    (void)state;
    struct event_base *base = event_base_new();
    struct work_pool *pool;
    struct watch *w;
    struct seen seen = {0};
    struct channel_reader reader = {0};
    struct err err;
    char folder[] = "/tmp/test_watch.XXXXXX";

    assert_non_null(mkdtemp(folder));
    assert_int_equal(work_pool_new(base, 1, 4, &pool), 0);
    assert_int_equal(watch_start(folder, true, base, pool, on_watch_started, &seen, &w, &err), 0);
    while (seen.ch == NULL)
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);

    clock_test_shift_ms = WATCH_IDLE_MS - 1000;
    on_timer(-1, 0, w);
    assert_false(channel_is_closed(seen.ch));
    channel_attach(&reader, seen.ch, CHANNEL_FROM_NOW, on_reader_ready, &seen);
    clock_test_shift_ms = 10 * (int64_t)WATCH_IDLE_MS;
    on_timer(-1, 0, w);
    assert_false(channel_is_closed(seen.ch));
    channel_detach(&reader);
    clock_test_shift_ms += WATCH_IDLE_MS + 1000;
    on_timer(-1, 0, w);
    assert_true(channel_is_closed(seen.ch));
    assert_int_equal(n_watches, 0);

    clock_test_shift_ms = 0;
    channel_unref(seen.ch);
    watch_close_all();
    work_pool_free(pool);
    event_base_free(base);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_idle_watches_end),
                                       cmocka_unit_test(test_moves_settle_after_scans)};
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
