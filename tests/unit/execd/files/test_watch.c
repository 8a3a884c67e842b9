/* A watch ends when nobody has read it for long enough, not before, and gives everything back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_idle_watches_end)};
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
