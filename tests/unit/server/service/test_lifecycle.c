/* The life cycle over a runtime of the test's own: it completes when the test says so, and can fail or lose things. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "server/service/lifecycle.h"

#define BOXES_MAX 16

struct box {
    char id[40];
    bool exists;
};

struct fake {
    struct runtime rt;
    struct box boxes[BOXES_MAX];
    bool fail_start, fail_remove, hold;
    runtime_done_fn held_done; /* a start that waits for the test */
    void *held_arg;
    unsigned starts, removes;
};

static struct fake fake;
static struct event_base *base;
static struct store *store;
static struct lifecycle *lc;
static char folder[] = "/tmp/test_lifecycle.XXXXXX";

static struct box *box_of(const char *id)
{
    for (size_t i = 0; i < BOXES_MAX; i++) {
        if (strcmp(fake.boxes[i].id, id) == 0)
            return &fake.boxes[i];
    }
    return NULL;
}

static void fake_start(struct runtime *rt, const struct runtime_start *req, runtime_done_fn done,
                       void *arg)
{
    struct err err;

    (void)rt;
    fake.starts++;
    assert_int_equal(strlen(req->token_sha256), 64);
    if (fake.fail_start) {
        (void)err_set(&err, ERR_SANDBOX_START_FAILED, EIO, "planned failure");
        done(arg, &err, NULL);
        return;
    }
    for (size_t i = 0; i < BOXES_MAX; i++) {
        if (!fake.boxes[i].exists) {
            fake.boxes[i].exists = true;
            snprintf(fake.boxes[i].id, sizeof(fake.boxes[i].id), "%s", req->sandbox->id);
            break;
        }
    }
    if (fake.hold) {
        fake.held_done = done;
        fake.held_arg = arg;
        return;
    }
    done(arg, NULL, "{}");
}

static void fake_remove(struct runtime *rt, const char *id, const char *data, runtime_done_fn done,
                        void *arg)
{
    struct err err;
    struct box *b = box_of(id);

    (void)rt;
    (void)data;
    fake.removes++;
    if (fake.fail_remove) {
        (void)err_set(&err, ERR_SANDBOX_DELETE_FAILED, EBUSY, "planned failure");
        done(arg, &err, NULL);
        return;
    }
    if (b != NULL)
        memset(b, 0, sizeof(*b));
    done(arg, NULL, NULL);
}

static int fake_adopt(struct runtime *rt, const struct sandbox *sb, struct runtime_exit *ret_exit,
                      struct err *err)
{
    (void)rt;
    (void)ret_exit;
    return box_of(sb->id) != NULL ? 0 : err_set(err, 0, ESRCH, "gone");
}

static int fake_each(struct runtime *rt, int (*fn)(void *arg, const struct runtime_found *found),
                     void *arg, struct err *err)
{
    (void)rt;
    (void)err;
    for (size_t i = 0; i < BOXES_MAX; i++) {
        struct runtime_found found = {.id = fake.boxes[i].id, .running = true};
        if (fake.boxes[i].exists)
            fn(arg, &found);
    }
    return 0;
}

static int fake_limits(struct runtime *rt, const struct sandbox_spec *spec, struct err *err)
{
    (void)rt;
    return spec->pids == 13 ? err_set(err, ERR_LIMIT_UNAVAILABLE, EOPNOTSUPP, "no pids controller")
                            : 0;
}

static int fake_image(struct runtime *rt, const char *image, struct arena *arena, const char **ret,
                      struct err *err)
{
    (void)rt;
    (void)arena;
    *ret = "sha256:00";
    return strcmp(image, "missing") == 0
               ? err_set(err, ERR_IMAGE_NOT_FOUND, ENOENT, "no image 'missing'")
               : 0;
}

static const struct runtime_ops fake_ops = {.name = "fake",
                                            .start = fake_start,
                                            .remove = fake_remove,
                                            .adopt = fake_adopt,
                                            .each = fake_each,
                                            .check_limits = fake_limits,
                                            .resolve_image = fake_image};

static void open_all(void)
{
    const struct lifecycle_config config = {.sandboxes_max = 4, .timeout_max_s = 3600};
    char path[80];
    struct err err = {0};

    snprintf(path, sizeof(path), "%s/server.db", folder);
    base = event_base_new();
    assert_int_equal(store_open(path, &store, &err), 0);
    fake.rt.ops = &fake_ops;
    assert_int_equal(lifecycle_new(base, &config, store, &fake.rt, &lc, &err), 0);
}

static void close_all(void)
{
    lifecycle_free(lc);
    store_close(store);
    event_base_free(base);
}

static int set_up(void **state)
{
    (void)state;
    clock_test_shift_ms = 0;
    memset(&fake, 0, sizeof(fake));
    strcpy(folder + strlen(folder) - 6, "XXXXXX"); // NOLINT: same length
    if (mkdtemp(folder) == NULL)
        return -1;
    open_all();
    return 0;
}

static int tear_down(void **state)
{
    char command[96];

    (void)state;
    close_all();
    clock_test_shift_ms = 0;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

struct answer {
    unsigned calls;
    char id[40];
    int code;
};

static void on_answer(void *arg, const struct sandbox *sb, const struct err *err)
{
    struct answer *a = arg;

    a->calls++;
    a->code = err != NULL ? err->code : 0;
    if (sb != NULL)
        snprintf(a->id, sizeof(a->id), "%s", sb->id);
}

static const char *argv_true[] = {"true", NULL};
static const struct sandbox_spec plain = {
    .image = "python", .entrypoint = {argv_true, 1}, .timeout_s = 60};

static struct answer create(const struct sandbox_spec *spec)
{
    struct answer a = {0};
    struct err err = {0};

    if (lifecycle_create(lc, spec, on_answer, &a, &err) < 0)
        a.code = err.code;
    return a;
}

/* Lets due timers run. */
static void turn(void)
{
    for (int i = 0; i < 3; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
}

/* The sweep runs on a real timer: shift the clock, then wait for its next tick. */
static void until_gone(const char *id)
{
    struct timeval tv = {.tv_usec = 20000};

    for (int i = 0; i < 500 && lifecycle_find(lc, id) != NULL; i++) {
        event_base_loopexit(base, &tv);
        event_base_dispatch(base);
    }
}

static void test_create_find_delete(void **state)
{
    struct answer made = create(&plain), gone = {0}, again = {0};

    (void)state;
    assert_int_equal(made.calls, 1);
    const struct sandbox *sb = lifecycle_find(lc, made.id);
    assert_non_null(sb);
    assert_int_equal(sb->state, SANDBOX_RUNNING);
    assert_int_equal(sb->expires_us - sb->created_us, 60 * 1000000LL);
    lifecycle_delete(lc, made.id, on_answer, &gone);
    assert_int_equal(gone.calls, 1);
    assert_int_equal(gone.code, 0);
    assert_null(lifecycle_find(lc, made.id));
    lifecycle_delete(lc, made.id, on_answer, &again);
    assert_int_equal(again.code, ERR_SANDBOX_NOT_FOUND);
}

static void test_failed_start_leaves_nothing(void **state)
{
    struct lifecycle_counts counts;

    (void)state;
    fake.fail_start = true;
    struct answer made = create(&plain);
    assert_int_equal(made.code, ERR_SANDBOX_START_FAILED);
    lifecycle_counts(lc, &counts);
    assert_int_equal(counts.create_failed, 1);
    close_all();
    open_all();
    lifecycle_counts(lc, &counts);
    for (unsigned s = 0; s < SANDBOX_STATE_MAX; s++)
        assert_int_equal(counts.by_state[s], 0);
}

static void test_refusals(void **state)
{
    struct sandbox_spec missing = plain, pids = plain, longer = plain;

    (void)state;
    missing.image = "missing";
    pids.pids = 13;
    longer.timeout_s = 3601;
    assert_int_equal(create(&missing).code, ERR_IMAGE_NOT_FOUND);
    assert_int_equal(create(&pids).code, ERR_LIMIT_UNAVAILABLE);
    assert_int_equal(create(&longer).code, ERR_INVALID_PARAMETER);
    assert_int_equal(fake.starts, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(create(&plain).code, 0);
    assert_int_equal(create(&plain).code, ERR_TOO_MANY_SANDBOXES);
}

static void test_J13_delete_during_create(void **state)
{
    struct answer made = {0}, gone = {0};
    struct err err;
    char id[40];

    (void)state;
    fake.hold = true;
    assert_int_equal(lifecycle_create(lc, &plain, on_answer, &made, &err), 0);
    snprintf(id, sizeof(id), "%s", fake.boxes[0].id);
    assert_null(lifecycle_find(lc, id)); /* not visible before it runs */
    lifecycle_delete(lc, id, on_answer, &gone);
    assert_int_equal(gone.calls, 0);
    fake.held_done(fake.held_arg, NULL, "{}");
    assert_int_equal(gone.calls, 1);
    assert_int_equal(made.calls, 1);
    assert_false(fake.boxes[0].exists);
}

static void test_creator_that_left_leaves_no_sandbox(void **state)
{
    struct answer made = {0};
    struct err err;

    (void)state;
    fake.hold = true;
    assert_int_equal(lifecycle_create(lc, &plain, on_answer, &made, &err), 0);
    lifecycle_cancel(lc, &made);
    fake.held_done(fake.held_arg, NULL, "{}");
    assert_int_equal(made.calls, 0);
    assert_int_equal(fake.removes, 1);
    assert_false(fake.boxes[0].exists);
}

static void test_J14_expiry_and_renewal(void **state)
{
    struct answer first = create(&plain), second = create(&plain);
    struct err err;

    (void)state;
    assert_int_equal(lifecycle_renew(lc, second.id, clock_wall_us() + 3600 * 1000000LL, &err), 0);
    assert_int_equal(lifecycle_renew(lc, first.id, clock_wall_us() - 1, &err), -EINVAL);
    assert_int_equal(err.code, ERR_INVALID_EXPIRATION);
    clock_test_shift_ms = 61000;
    assert_int_equal(lifecycle_renew(lc, second.id, clock_wall_us() + 3600 * 1000000LL, &err),
                     0); /* re-arms */
    until_gone(first.id);
    assert_null(lifecycle_find(lc, first.id));
    assert_non_null(lifecycle_find(lc, second.id));
}

static void test_manual_cleanup_has_nothing_to_renew(void **state)
{
    struct sandbox_spec manual = plain;
    struct err err;

    (void)state;
    manual.timeout_s = 0;
    struct answer made = create(&manual);
    assert_true(lifecycle_renew(lc, made.id, clock_wall_us() + 1000000, &err) < 0);
    assert_int_equal(err.code, ERR_EXPIRATION_CONFLICT);
}

static void test_J15_restart_adopts_and_cleans_up(void **state)
{
    struct answer kept = create(&plain), lost = create(&plain);
    struct err err;

    (void)state;
    assert_int_equal(lifecycle_renew(lc, kept.id, clock_wall_us() + 1800 * 1000000LL, &err), 0);
    int64_t expires = lifecycle_find(lc, kept.id)->expires_us;
    memset(box_of(lost.id), 0, sizeof(struct box)); /* died while the server was away */
    fake.boxes[9] =
        (struct box){"77777777-2222-4333-8444-555555555555", true}; /* never acknowledged */
    close_all();
    open_all();
    turn();
    assert_int_equal(lifecycle_find(lc, kept.id)->state, SANDBOX_RUNNING);
    assert_int_equal(lifecycle_find(lc, kept.id)->expires_us, expires); /* the renewal survived */
    assert_int_equal(lifecycle_find(lc, lost.id)->state, SANDBOX_FAILED);
    assert_false(fake.boxes[9].exists);
}

static void test_J15_half_deleted_is_deleted_after_a_restart(void **state)
{
    struct answer made = create(&plain), told = {0};

    (void)state;
    fake.fail_remove = true;
    lifecycle_delete(lc, made.id, on_answer, &told);
    assert_int_equal(told.calls, 1);
    close_all();
    fake.fail_remove = false;
    open_all();
    turn();
    assert_null(lifecycle_find(lc, made.id));
    assert_null(box_of(made.id));
}

static void test_exit_is_told_and_kept(void **state)
{
    struct answer clean = create(&plain), oom = create(&plain);

    (void)state;
    fake.rt.on_exit(fake.rt.arg, clean.id, &(struct runtime_exit){.known = true});
    fake.rt.on_exit(
        fake.rt.arg, oom.id,
        &(struct runtime_exit){.known = true, .signalled = true, .code = 9, .oom = true});
    assert_int_equal(lifecycle_find(lc, clean.id)->state, SANDBOX_TERMINATED);
    close_all();
    open_all();
    assert_int_equal(lifecycle_find(lc, oom.id)->state, SANDBOX_FAILED);
    assert_non_null(strstr(lifecycle_find(lc, oom.id)->message, "out of memory"));
}

static void test_removal_that_fails_is_tried_again(void **state)
{
    struct answer made = create(&plain), gone = {0};

    (void)state;
    fake.fail_remove = true;
    lifecycle_delete(lc, made.id, on_answer, &gone);
    assert_int_equal(gone.code, ERR_SANDBOX_DELETE_FAILED);
    fake.fail_remove = false;
    lifecycle_delete(lc, made.id, on_answer, &gone);
    assert_int_equal(gone.code, 0);
    assert_null(box_of(made.id));
}

static void test_metadata_patch(void **state)
{
    static const struct jpair first[] = {{"a", "1"}, {"b", "2"}};
    static const struct jpair second[] = {{"a", NULL}, {"c", "3"}};
    struct answer made = create(&plain);
    struct err err;

    (void)state;
    assert_int_equal(lifecycle_patch_metadata(lc, made.id, first, 2, &err), 0);
    assert_int_equal(lifecycle_patch_metadata(lc, made.id, second, 2, &err), 0);
    close_all();
    open_all();
    const struct jmap *m = &lifecycle_find(lc, made.id)->spec.metadata;
    assert_int_equal(m->n, 2);
}

static void test_list_filters_and_pages(void **state)
{
    struct lifecycle_filter filter = {.page = 1, .page_size = 2};
    struct lifecycle_page page;
    struct arena arena;

    (void)state;
    arena_init(&arena);
    for (int i = 0; i < 3; i++)
        (void)create(&plain);
    assert_int_equal(lifecycle_list(lc, &filter, &arena, &page), 0);
    assert_int_equal(page.n, 2);
    assert_int_equal(page.total, 3);
    assert_true(page.items[0]->created_us >= page.items[1]->created_us);
    filter.page = 9;
    assert_int_equal(lifecycle_list(lc, &filter, &arena, &page), 0);
    assert_int_equal(page.n, 0);
    filter = (struct lifecycle_filter){.page = 1, .page_size = 20, .by_state = true};
    filter.states[SANDBOX_PAUSED] = true;
    assert_int_equal(lifecycle_list(lc, &filter, &arena, &page), 0);
    assert_int_equal(page.total, 0);
    arena_done(&arena);
}

static void test_E10_tokens_differ_and_survive(void **state)
{
    struct answer a = create(&plain), b = create(&plain);
    char token_a[TOKEN_TEXT_SIZE], token_b[TOKEN_TEXT_SIZE], again[TOKEN_TEXT_SIZE];

    (void)state;
    lifecycle_token(lc, lifecycle_find(lc, a.id), token_a);
    lifecycle_token(lc, lifecycle_find(lc, b.id), token_b);
    assert_int_equal(strlen(token_a), 43);
    assert_string_not_equal(token_a, token_b);
    close_all();
    open_all();
    lifecycle_token(lc, lifecycle_find(lc, a.id), again);
    assert_string_equal(token_a, again);
}

static void test_a_damaged_key_is_refused_not_replaced(void **state)
{
    const struct lifecycle_config config = {.sandboxes_max = 4};
    char kept[16];
    struct err err = {0};

    (void)state;
    lifecycle_free(lc);
    lc = NULL;
    assert_int_equal(store_put_value(store, "master_key", "damaged", &err), 0);
    assert_int_equal(lifecycle_new(base, &config, store, &fake.rt, &lc, &err), -EINVAL);
    assert_non_null(strstr(err.text, "master key"));
    assert_int_equal(store_get_value(store, "master_key", kept, sizeof(kept), &err), 0);
    assert_string_equal(kept, "damaged");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_create_find_delete),
        TEST(test_failed_start_leaves_nothing),
        TEST(test_refusals),
        TEST(test_J13_delete_during_create),
        TEST(test_creator_that_left_leaves_no_sandbox),
        TEST(test_J14_expiry_and_renewal),
        TEST(test_manual_cleanup_has_nothing_to_renew),
        TEST(test_J15_restart_adopts_and_cleans_up),
        TEST(test_J15_half_deleted_is_deleted_after_a_restart),
        TEST(test_exit_is_told_and_kept),
        TEST(test_removal_that_fails_is_tried_again),
        TEST(test_metadata_patch),
        TEST(test_list_filters_and_pages),
        TEST(test_E10_tokens_differ_and_survive),
        TEST(test_a_damaged_key_is_refused_not_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
