#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/gateway/outbox.h"
#include "proto/base/mem.h"

static const struct slice parent = SLICE_LIT("{\"msg_id\":\"p\"}");
static const struct outbox_limits limits = {
    .stream_max = 8000, .output_max = 16000, .hard_max = 20000, .away_max = 6000, .keep_max = 6000};

/* About 1,000 bytes of text. */
static void put_stream(struct outbox *o, char c)
{
    char text[1001];
    memset(text, c, 1000);
    text[1000] = '\0';
    outbox_put(o, message_make(CHANNEL_IOPUB, "stream", parent,
                               json_pack("{s:s, s:s}", "name", "stdout", "text", text)));
}

static void put_display(struct outbox *o)
{
    char text[1001];
    memset(text, 'd', 1000);
    text[1000] = '\0';
    outbox_put(o, message_make(CHANNEL_IOPUB, "display_data", parent,
                               json_pack("{s:{s:s}}", "data", "text/plain", text)));
}

static void put_status(struct outbox *o, const char *state)
{
    outbox_put(o, message_status(parent, state));
}

/* The letters of the streams that are to be sent, statuses as '.', notes as '!'. */
static void drain(struct outbox *o, char *out, size_t max)
{
    const struct message *m;
    size_t n = 0;
    while ((m = outbox_peek(o)) != NULL && n + 1 < max) {
        const char *text = memmem(m->parts.content.ptr, m->parts.content.len, "\"text\":\"", 8);
        if (memmem(m->parts.content.ptr, m->parts.content.len, "\"stderr\"", 8))
            out[n++] = '!';
        else
            out[n++] = strcmp(m->type, "status") == 0 ? '.' : text ? text[8] : 'D';
        outbox_sent(o, m->size);
    }
    out[n] = '\0';
}

static void messages_come_out_in_order_with_numbers(void **state)
{
    (void)state;
    struct outbox o;
    outbox_init(&o, &limits);
    assert_null(outbox_peek(&o));
    for (char c = 'a'; c <= 'd'; c++)
        put_stream(&o, c);
    for (uint64_t seq = 1; seq <= 4; seq++) {
        assert_int_equal(outbox_peek(&o)->seq, seq);
        outbox_sent(&o, 100);
    }
    assert_null(outbox_peek(&o));
    assert_int_equal(o.unsent_bytes, 0);
    outbox_done(&o);
}

static void a_slow_client_loses_streams_then_outputs_and_is_told_H03(void **state)
{
    (void)state;
    struct outbox o;
    char seen[200];
    outbox_init(&o, &limits);
    for (int i = 0; i < 20; i++)
        put_stream(&o, 's');
    assert_true(o.unsent_bytes <= limits.stream_max);
    for (int i = 0; i < 20; i++)
        put_display(&o);
    assert_true(o.unsent_bytes <= limits.output_max + 1000);
    put_status(&o, "idle");
    assert_false(outbox_is_too_full(&o));
    drain(&o, seen, sizeof(seen));
    size_t n = strlen(seen);
    assert_string_equal(seen + n - 2, "!."); /* told before the end */
    assert_non_null(strstr(seen, "ss!DD"));  /* and where streams were left out */
    put_stream(&o, 'x');
    drain(&o, seen, sizeof(seen));
    assert_string_equal(seen, "x");
    outbox_done(&o);
}

static void what_is_essential_always_passes_up_to_the_end(void **state)
{
    (void)state;
    struct outbox o;
    outbox_init(&o, &limits);
    while (!outbox_is_too_full(&o))
        put_status(&o, "busy");
    assert_true(o.unsent_bytes > limits.hard_max);
    outbox_done(&o);
}

static void one_message_alone_always_has_room(void **state)
{
    (void)state;
    struct outbox_limits tiny = {
        .stream_max = 10, .output_max = 10, .hard_max = 10, .away_max = 10};
    struct outbox o;
    char seen[10];
    outbox_init(&o, &tiny);
    put_stream(&o, 'a');
    assert_false(outbox_is_too_full(&o));
    drain(&o, seen, sizeof(seen));
    assert_string_equal(seen, "a");
    assert_int_equal(o.kept_bytes, 0); /* keep_max 0: nothing stays */
    outbox_leave(&o, 0);
    put_stream(&o, 'b');
    outbox_return(&o, NULL);
    drain(&o, seen, sizeof(seen));
    assert_string_equal(seen, "b");
    outbox_done(&o);
}

static void what_did_not_arrive_is_sent_again(void **state)
{
    (void)state;
    struct outbox o;
    char seen[20];
    outbox_init(&o, &limits);
    for (char c = 'a'; c <= 'c'; c++)
        put_stream(&o, c);
    for (int i = 0; i < 3; i++)
        outbox_sent(&o, 100);
    outbox_leave(&o, 101); /* one byte of the second */
    put_stream(&o, 'd');
    outbox_return(&o, NULL);
    drain(&o, seen, sizeof(seen));
    assert_string_equal(seen, "bcd");
    outbox_leave(&o, 0);
    outbox_return(&o, NULL);
    assert_null(outbox_peek(&o));
    outbox_done(&o);
}

static void being_away_costs_a_bounded_amount_and_the_loss_is_told_H03(void **state)
{
    (void)state;
    struct outbox o;
    char seen[40];
    outbox_init(&o, &limits);
    outbox_leave(&o, 0);
    for (char c = 'a'; c <= 'z'; c++)
        put_stream(&o, c);
    assert_true(o.unsent_bytes <= limits.away_max);
    outbox_return(&o, NULL);
    drain(&o, seen, sizeof(seen));
    assert_int_equal(seen[0], '!');
    assert_int_equal(seen[strlen(seen) - 1], 'z');
    for (size_t i = 2; i < strlen(seen); i++)
        assert_int_equal(seen[i], seen[i - 1] + 1);
    outbox_done(&o);
}

static void a_client_may_ask_from_a_number_on(void **state)
{
    (void)state;
    struct outbox o;
    char seen[40];
    uint64_t two = 2, zero = 0, far = 1000;
    outbox_init(&o, &limits);
    for (char c = 'a'; c <= 'd'; c++)
        put_stream(&o, c);
    drain(&o, seen, sizeof(seen));
    outbox_leave(&o, 0);
    outbox_return(&o, &two);
    drain(&o, seen, sizeof(seen));
    assert_string_equal(seen, "cd");
    outbox_leave(&o, 0);
    outbox_return(&o, &far); /* never sent: goes on where it was */
    assert_null(outbox_peek(&o));
    for (char c = 'e'; c <= 'z'; c++) {
        put_stream(&o, c);
        drain(&o, seen, sizeof(seen));
    }
    outbox_leave(&o, 0);
    outbox_return(&o, &zero); /* the first ones are gone, which is told under the number before */
    uint64_t note = outbox_peek(&o)->seq;
    drain(&o, seen, sizeof(seen));
    assert_int_equal(seen[0], '!');
    assert_int_equal(seen[strlen(seen) - 1], 'z');
    assert_int_equal(note + strlen(seen) - 1, 26);
    outbox_done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_out_in_order_with_numbers),
        cmocka_unit_test(a_slow_client_loses_streams_then_outputs_and_is_told_H03),
        cmocka_unit_test(what_is_essential_always_passes_up_to_the_end),
        cmocka_unit_test(one_message_alone_always_has_room),
        cmocka_unit_test(what_did_not_arrive_is_sent_again),
        cmocka_unit_test(being_away_costs_a_bounded_amount_and_the_loss_is_told_H03),
        cmocka_unit_test(a_client_may_ask_from_a_number_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
