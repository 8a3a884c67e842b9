/* Commands over real processes: one true end each, in every way to get there. */
/* link: -Wl,--wrap=leaf_kill */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "execd/exec/command.h"
#include "execd/exec/command_priv.h"
#include "execd/proc/leaf.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/base/work.h"

static struct event_base *base;
static struct command_manager *manager;

/* A tree whose last process is slow to die: it is killed, and yet there. */
static bool slow_to_die;
static bool seen_empty;
bool __real_leaf_kill(struct leaf *leaf);
bool __wrap_leaf_kill(struct leaf *leaf);
bool __wrap_leaf_kill(struct leaf *leaf)
{
    bool empty = __real_leaf_kill(leaf) && !slow_to_die;

    seen_empty = seen_empty || empty;
    return empty;
}

static int set_up(void **state)
{
    static const struct command_config config = {
        .running_max = 3, .history_max = 4, .interrupt_grace_ms = 200, .linger_ms = 50};
    struct err err;

    (void)state;
    base = event_base_new();
    leaf_setup(NULL);
    return reaper_init(base, &err) < 0 || command_manager_new(base, &config, &manager) < 0;
}

static int tear_down(void **state)
{
    (void)state;
    command_manager_free(manager);
    reaper_done();
    leaf_teardown();
    event_base_free(base);
    return 0;
}

/* --- a reader that writes down what it sees: "init stdout(hi\n) execution_complete" --- */

struct viewer {
    struct channel_reader reader;
    struct strbuf seen;
    bool over;
    bool is_ticket; /* of a background command: it has ended nothing yet */
    unsigned receipts;
};

static void on_ready(void *arg)
{
    struct viewer *v = arg;
    struct channel_entry e;

    while (channel_peek(&v->reader, &e)) {
        const char *key = event_rows[e.type].wire;
        assert_false(v->over);         /* nothing comes behind the end */
        if (e.type == EVENT_RECEIPT) { /* its figures differ from run to run */
            assert_true(e.len > 12 && memcmp(e.data, "{\"reason\":\"", 11) == 0);
            v->receipts++;
            channel_advance(&v->reader);
            continue;
        }
        v->over = event_rows[e.type].terminal;
        strbuf_adds(&v->seen, v->seen.len > 0 ? " " : "");
        strbuf_adds(&v->seen, key);
        if (e.type != EVENT_INIT && e.type != EVENT_EXECUTION_COMPLETE) {
            strbuf_addc(&v->seen, '(');
            strbuf_add(&v->seen, e.data, e.len);
            strbuf_addc(&v->seen, ')');
        }
        channel_advance(&v->reader);
    }
}

static void turn(void)
{
    struct timeval tv = {.tv_usec = 10000};

    event_base_loopexit(base, &tv);
    event_base_dispatch(base);
}

static struct command *start(const struct command_request *request, struct viewer *v)
{
    struct command *c = NULL;
    struct channel *ch = NULL;
    struct err err = {0};

    assert_int_equal(command_start(manager, request, &c, &ch, &err), 0);
    *v = (struct viewer){.is_ticket = request->background};
    strbuf_init(&v->seen, 1 << 20);
    channel_attach(&v->reader, ch, CHANNEL_FROM_START, on_ready, v);
    channel_unref(ch);
    return c;
}

#define TURNS 3000 /* half a minute: only a fault takes so long */

static void await_text(const struct viewer *v, const char *text)
{
    for (int i = 0; i < TURNS && (v->seen.len == 0 || strstr(v->seen.data, text) == NULL); i++)
        turn();
    assert_non_null(strstr(v->seen.data, text));
}

static void await_end(const struct viewer *v)
{
    for (int i = 0; i < TURNS && !v->over; i++)
        turn();
    assert_true(v->over);
}

static void finish(struct viewer *v, const char *expected)
{
    await_end(v);
    if (!v->is_ticket)
        assert_int_equal(v->receipts, 1); /* one end, one receipt */
    if (expected != NULL)
        assert_string_equal(v->seen.data, expected);
    channel_detach(&v->reader);
    strbuf_done(&v->seen);
}

static struct command *run(const struct command_request *request, const char *expected)
{
    struct viewer v;
    struct command *c = start(request, &v);

    finish(&v, expected);
    return c;
}

static struct command *shell(const char *text, const char *expected)
{
    return run(&(struct command_request){.command = text}, expected);
}

static struct command_status status_of(const struct command *c)
{
    struct command_status s;

    command_get_status(c, &s);
    return s;
}

static void test_B07_ends_are_true(void **state)
{
    (void)state;
    struct command_status s = status_of(shell("printf x", "init stdout(x) execution_complete"));
    assert_false(s.running);
    assert_int_equal(s.exit_code, 0);
    assert_null(s.error);
    assert_int_equal(s.end, COMMAND_END_EXIT);
    assert_true(s.finished_us >= s.started_us);
    s = status_of(shell("exit 7", "init error({\"ename\":\"CommandExecError\",\"evalue\":\"7\","
                                  "\"traceback\":[\"exit status 7\"]})"));
    assert_int_equal(s.exit_code, 7);
    assert_string_equal(s.error, "exit status 7");
    s = status_of(shell("kill -TERM $$",
                        "init error({\"ename\":\"CommandExecError\",\"evalue\":\"-1\","
                        "\"traceback\":[\"signal: terminated\"]})"));
    assert_int_equal(s.exit_code, -1);
    assert_int_equal(s.end, COMMAND_END_SIGNAL);
}

static void test_C08_last_bytes_before_terminal(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++)
        (void)shell("printf x; kill -9 $$",
                    "init stdout(x) error({\"ename\":\"CommandExecError\",\"evalue\":\"-1\","
                    "\"traceback\":[\"signal: killed\"]})");
}

/* What a command like "sleep 60 & printf $!" leaves behind. */
static pid_t daemon_of(const struct viewer *v)
{
    int pid = 0;

    assert_int_equal(sscanf(v->seen.data, "init stdout(%d)", &pid), 1);
    return pid;
}

static void test_B03_held_pipe_delays_little(void **state)
{
    struct viewer v;

    (void)state;
    (void)start(&(struct command_request){.command = "sleep 60 & printf $!"}, &v);
    await_end(&v); /* which waits less than that */
    assert_int_equal(kill(daemon_of(&v), SIGKILL), 0);
    finish(&v, NULL);
}

/* The process is over before anybody has looked, and then everything is found at once: its time limit first. */
static struct command *start_and_end(const char *text, struct viewer *v)
{
    const struct command_request request = {.command = text, .timeout_ms = 1000000};
    struct command *c = start(&request, v);
    siginfo_t info;

    assert_int_equal(waitid(P_PID, (id_t)c->leader.pid, &info, WEXITED | WNOWAIT), 0);
    c->timer_due_ms = 0;
    event_active(c->timer, EV_TIMEOUT, 0);
    return c;
}

static void test_an_end_before_the_timeout_that_is_seen_behind_it(void **state)
{
    struct viewer v;

    (void)state;
    struct command *c = start_and_end("exit 3", &v);
    finish(&v, "init error({\"ename\":\"CommandExecError\",\"evalue\":\"3\","
               "\"traceback\":[\"exit status 3\"]})");
    assert_int_equal(status_of(c).end, COMMAND_END_EXIT);
    c = start_and_end("sleep 60 & printf $!", &v);
    await_end(&v);
    assert_int_equal(status_of(c).end, COMMAND_END_EXIT);
    assert_int_equal(kill(daemon_of(&v), SIGKILL), 0); /* it was not killed: nothing was late */
    finish(&v, NULL);
}

static void test_timeout(void **state)
{
    const struct command_request request = {.command = "sleep 60", .timeout_ms = 50};

    (void)state;
    struct command *c =
        run(&request, "init error({\"ename\":\"CommandExecError\",\"evalue\":\"-1\","
                      "\"traceback\":[\"signal: killed\",\"timeout after 50 ms\"]})");
    assert_int_equal(status_of(c).end, COMMAND_END_TIMEOUT);
}

static void count(void *arg)
{
    ++*(unsigned *)arg;
}

static void test_interrupt(void **state)
{
    struct viewer v;
    struct err err = {0};
    unsigned gone = 0, forgotten = 0;

    (void)state;
    struct command *c = start(
        &(struct command_request){.command = "trap '' TERM; printf go; while :; do sleep 1; done"},
        &v);
    await_text(&v, "go"); /* the trap is set */
    assert_int_equal(command_interrupt(c, count, &gone, &err), 0);
    assert_int_equal(command_interrupt(c, count, &forgotten, &err), 0);
    command_cancel_wait(c, &forgotten);
    assert_int_equal(gone, 0); /* posted, never from inside */
    finish(&v, "init stdout(go) error({\"ename\":\"CommandExecError\",\"evalue\":\"-1\","
               "\"traceback\":[\"signal: killed\",\"interrupted\"]})");
    for (int i = 0; i < TURNS && gone == 0; i++)
        turn();
    assert_int_equal(gone, 1);
    assert_int_equal(forgotten, 0);
    assert_int_equal(command_interrupt(c, count, &gone, &err), -ESRCH);
    assert_int_equal(err.code, ERR_COMMAND_NOT_RUNNING);
}

static const char stubborn[] = "trap '' TERM; printf go; while :; do sleep 0.02; done";

/* Asked for without a break: the first grace is the last. */
static void test_repeated_interrupts_do_not_prolong_life(void **state)
{
    struct viewer v;
    struct err err = {0};

    (void)state;
    struct command *c = start(&(struct command_request){.command = stubborn}, &v);
    await_text(&v, "go");
    for (int i = 0; i < TURNS && !v.over; i++) {
        if (!c->done)
            assert_int_equal(command_interrupt(c, NULL, NULL, &err), 0);
        turn();
    }
    assert_int_equal(status_of(c).end, COMMAND_END_INTERRUPTED);
    finish(&v, NULL);
}

static void test_an_interrupt_does_not_undo_the_timeout(void **state)
{
    const struct command_request request = {.command = stubborn, .timeout_ms = 2000};
    struct viewer v;
    struct err err = {0};

    (void)state;
    manager->config.interrupt_grace_ms = 1000000;
    struct command *c = start(&request, &v);
    await_text(&v, "go");
    if (!c->done)
        assert_int_equal(command_interrupt(c, NULL, NULL, &err), 0);
    finish(&v, NULL); /* which waits less than that */
    assert_int_not_equal(status_of(c).end, COMMAND_END_EXIT);
}

/* Told to end and left with a status of its own: the status is the truth. */
static void test_interrupt_that_is_handled(void **state)
{
    struct viewer v;
    struct err err = {0};

    (void)state;
    struct command *c =
        start(&(struct command_request){.command = "exec 2>/dev/null; trap 'printf bye; exit 0' "
                                                   "TERM; printf go; while :; do sleep 0.02; done"},
              &v);
    await_text(&v, "go");
    assert_int_equal(command_interrupt(c, NULL, NULL, &err), 0);
    finish(&v, "init stdout(go) stdout(bye) execution_complete");
    assert_int_equal(status_of(c).end, COMMAND_END_EXIT);
}

static void test_what_is_refused(void **state)
{
    const struct {
        struct command_request request;
        int code;
    } rows[] = {
        {{.command = NULL}, ERR_INVALID_REQUEST_BODY},
        {{.command = "true", .argv = {.items = (const char *[]){"true", NULL}, .n = 1}},
         ERR_INVALID_REQUEST_BODY},
        {{.command = "true", .has_gid = true}, ERR_INVALID_REQUEST_BODY},
        {{.command = "true", .cwd = "/no/such/folder"}, ERR_INVALID_REQUEST_BODY},
    };
    struct command *c = NULL;
    struct channel *ch = NULL;
    struct command_counts counts;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        assert_true(command_start(manager, &rows[i].request, &c, &ch, &err) < 0);
        assert_int_equal(err.code, rows[i].code);
        assert_null(c);
        assert_null(ch);
    }
    command_manager_counts(manager, &counts);
    assert_int_equal(counts.started, 0);
}

static void test_limits(void **state)
{
    struct viewer v[3];
    struct command *c = NULL;
    struct channel *ch = NULL;
    struct err err = {0};
    char first[ID_HEX_LEN + 1];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        (void)start(&(struct command_request){.command = "sleep 0.2"}, &v[i]);
    assert_true(
        command_start(manager, &(struct command_request){.command = "true"}, &c, &ch, &err) < 0);
    assert_int_equal(err.code, ERR_TOO_MANY_COMMANDS);
    for (size_t i = 0; i < 3; i++)
        finish(&v[i], "init execution_complete");
    snprintf(first, sizeof(first), "%s", status_of(shell("true", NULL)).id);
    assert_non_null(command_find(manager, first));
    for (int i = 0; i < 4; i++) /* the history keeps four */
        (void)shell("true", NULL);
    assert_null(command_find(manager, first));
    assert_null(command_find(manager, "nonsense"));
}

static void test_B16_spawn_failure_is_an_end(void **state)
{
    struct viewer v;
    const struct command_request request = {
        .argv = {.items = (const char *[]){"no-such-program", NULL}, .n = 1}, .background = true};

    (void)state;
    struct command *c = start(&request, &v);
    finish(&v, NULL);
    assert_int_equal(status_of(c).end, COMMAND_END_SPAWN_FAILED);
    assert_int_equal(status_of(c).exit_code, 255);
    assert_non_null(strstr(status_of(c).error, "no-such-program"));
}

static void test_background_ticket(void **state)
{
    struct viewer v;

    (void)state;
    struct command *c = start(&(struct command_request){.command = "read x; exit 4",
                                                        .background = true,
                                                        .stdin_open = true},
                              &v);
    finish(&v, "init execution_complete");
    assert_true(status_of(c).running);
    assert_int_equal(feed_write(command_stdin(c), "\n", 1), 0);
    for (int i = 0; i < TURNS && status_of(c).running; i++)
        turn();
    assert_int_equal(status_of(c).exit_code, 4);
}

static void wait_for_byte(void *fd)
{
    char byte;

    (void)!read(*(int *)fd, &byte, 1);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

static void open_gate(int fd, const struct command *c)
{
    assert_int_equal(write(fd, "x", 1), 1);
    for (int i = 0; i < TURNS && !c->done; i++)
        turn();
    assert_true(c->done);
}

/* The output is through, the tree is not empty, the log is not whole; then one after the other, in either order. */
static void check_late_tree(bool log_first)
{
    struct viewer v;
    struct work_pool *pool;
    int gate[2];

    assert_int_equal(pipe(gate), 0);
    assert_int_equal(work_pool_new(base, 1, 16, &pool), 0);
    assert_int_equal(work_post(pool, wait_for_byte, do_nothing, &gate[0]), 0);
    manager->config.pool = pool;
    struct command *c =
        start(&(struct command_request){.command = "head -c 100000 /dev/zero; exec sleep 60",
                                        .background = true},
              &v);
    finish(&v, "init execution_complete");
    for (int i = 0; i < TURNS && spool_size(c->spool) <= SPOOL_MEMORY_MAX; i++)
        turn(); /* it is in a file now, which the pool does not write */
    slow_to_die = true;
    command_kill(c, COMMAND_END_TIMEOUT);
    for (int i = 0; i < TURNS && !c->closed; i++)
        turn();
    assert_true(c->closed && !c->done && c->leaf != NULL);
    if (log_first) {
        open_gate(gate[1], c);
        assert_non_null(c->leaf);
    }
    slow_to_die = seen_empty = false;
    for (int i = 0; i < TURNS && !seen_empty; i++)
        turn();
    assert_true(seen_empty && c->done == log_first);
    if (!log_first)
        open_gate(gate[1], c);
    assert_null(c->leaf); /* the group, its descriptors, and the record when its time comes */
    manager->config.pool = NULL;
    work_pool_free(pool);
    close(gate[0]);
    close(gate[1]);
}

static void test_a_tree_that_ends_behind_its_command(void **state)
{
    (void)state;
    check_late_tree(true);
    check_late_tree(false);
}

static void test_shutdown_tells_and_ends(void **state)
{
    struct viewer v;
    struct err err = {0};
    struct command *none = NULL;
    struct channel *ch = NULL;
    unsigned done = 0;

    (void)state;
    (void)start(&(struct command_request){.command = "sleep 60"}, &v);
    command_manager_shutdown(manager, 500, count, &done);
    assert_int_equal(done, 0);
    assert_true(
        command_start(manager, &(struct command_request){.command = "true"}, &none, &ch, &err) < 0);
    assert_int_equal(err.code, ERR_SHUTTING_DOWN);
    finish(&v, "init error({\"ename\":\"CommandExecError\",\"evalue\":\"-1\","
               "\"traceback\":[\"signal: terminated\",\"the agent is shutting down\"]})");
    for (int i = 0; i < 100 && done == 0; i++)
        turn();
    assert_int_equal(done, 1);
}

static void test_argv_is_described_for_a_shell(void **state)
{
    const char *argv[] = {"printf", "%s|", "a b", "", "it's", NULL};
    const struct command_request request = {.argv = {.items = argv, .n = 5}};

    (void)state;
    char *text = launch_describe(&request);
    assert_string_equal(text, "printf '%s|' 'a b' '' 'it'\\''s'");
    struct command *c = run(&(struct command_request){.command = text},
                            "init stdout(a b||it's|) execution_complete");
    assert_string_equal(status_of(c).content, text);
    free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_B07_ends_are_true),
        TEST(test_C08_last_bytes_before_terminal),
        TEST(test_B03_held_pipe_delays_little),
        TEST(test_an_end_before_the_timeout_that_is_seen_behind_it),
        TEST(test_timeout),
        TEST(test_interrupt),
        TEST(test_repeated_interrupts_do_not_prolong_life),
        TEST(test_an_interrupt_does_not_undo_the_timeout),
        TEST(test_interrupt_that_is_handled),
        TEST(test_what_is_refused),
        TEST(test_limits),
        TEST(test_B16_spawn_failure_is_an_end),
        TEST(test_background_ticket),
        TEST(test_a_tree_that_ends_behind_its_command),
        TEST(test_shutdown_tells_and_ends),
        TEST(test_argv_is_described_for_a_shell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
