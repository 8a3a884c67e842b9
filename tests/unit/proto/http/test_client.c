/* The client against the server of the same layer, on one loop, over Unix sockets and loopback TCP. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "proto/api/errors.h"
#include "proto/http/client.h"
#include "proto/http/resp.h"
#include "proto/http/server.h"

struct fixture {
    struct event_base *base;
    struct http_server *server;
    char folder[64], path[80], where[96];
    int port;
    unsigned drained, calls;
};

struct outcome {
    struct fixture *f;
    int status, code;
    char body[256];
};

static enum http_result get_hello(struct http_req *req, void *app)
{
    const char *name = http_req_header(req, "X-Name");
    struct slice body = http_req_body(req);

    ((struct fixture *)app)->calls++;
    return http_resp_json(req, 200,
                          json_pack("{s:s?, s:s%}", "name", name, "body", body.ptr, body.len));
}

static enum http_result get_big(struct http_req *req, void *app)
{
    static const char block[5000] = {0};

    (void)app;
    return http_resp_data(req, 200, "text/plain", block, sizeof(block));
}

static enum http_result get_never(struct http_req *req, void *app)
{
    (void)req;
    (void)app;
    return H_WAIT;
}

static const struct route routes[] = {
    {"*", "/hello", AUTH_REQUIRED, BODY_COLLECTED, 0, get_hello, "hello"},
    {"GET", "/big", AUTH_REQUIRED, BODY_NONE, 0, get_big, "5,000 bytes"},
    {"GET", "/never", AUTH_REQUIRED, BODY_NONE, 0, get_never, "no answer"},
};

static void on_call(void *arg, int status, struct slice body, const struct err *err)
{
    struct outcome *o = arg;

    assert_true((status == 0) == (err != NULL));
    o->status = status;
    o->code = err ? err->code : 0;
    (void)snprintf(o->body, sizeof(o->body), "%.*s", (int)body.len, body.ptr);
    event_base_loopbreak(o->f->base);
}

static struct outcome call(struct fixture *f, const struct relay_target *target, const char *method,
                           const char *path, const char *body, int timeout_ms)
{
    static const char *const headers[][2] = {{"X-Name", "n"}, {NULL, NULL}};
    struct outcome o = {.f = f, .status = -1};
    struct http_call *c;

    assert_int_equal(http_call_start(f->base, target, method, path, headers,
                                     (struct slice){body, strlen(body)}, 1000, timeout_ms, on_call,
                                     &o, &c),
                     0);
    assert_int_equal(o.status, -1); /* posted, never from inside the start */
    event_base_dispatch(f->base);
    return o;
}

static struct relay_target by_path(struct fixture *f)
{
    return (struct relay_target){.unix_path = f->path};
}

static void test_calls_over_both_transports(void **state)
{
    struct fixture *f = *state;
    struct relay_target targets[] = {by_path(f),
                                     {.address = "127.0.0.1", .port = (uint16_t)f->port}};

    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct outcome o = call(f, &targets[i], "POST", "/hello", "{}", 2000);

        assert_int_equal(o.status, 200);
        assert_string_equal(o.body, "{\"name\":\"n\",\"body\":\"{}\"}");
        assert_int_equal(call(f, &targets[i], "HEAD", "/hello", "", 2000).status, 200);
        assert_int_equal(call(f, &targets[i], "GET", "/nope", "", 2000).status, 404);
    }
}

static void test_failures_are_typed(void **state)
{
    struct fixture *f = *state;
    struct relay_target target = by_path(f), none = {.unix_path = "/nonexistent/socket"},
                        closed = {.address = "127.0.0.1", .port = 1},
                        name = {.address = "localhost", .port = 1};

    assert_int_equal(call(f, &target, "GET", "/never", "", 50).code, ERR_BACKEND_TIMEOUT);
    assert_int_equal(call(f, &target, "GET", "/big", "", 2000).code, ERR_BACKEND_RESPONSE_FAILED);
    assert_int_equal(call(f, &none, "GET", "/hello", "", 2000).code, ERR_BACKEND_CONNECTION_FAILED);
    assert_int_equal(call(f, &closed, "GET", "/hello", "", 2000).code,
                     ERR_BACKEND_CONNECTION_FAILED);
    assert_int_equal(call(f, &name, "GET", "/hello", "", 2000).code, ERR_BACKEND_CONNECTION_FAILED);
}

static void test_cancelled_calls_say_nothing(void **state)
{
    struct fixture *f = *state;
    struct relay_target target = by_path(f);
    struct outcome o = {.f = f, .status = -1};
    struct http_call *c;

    assert_int_equal(http_call_start(f->base, &target, "GET", "/hello", NULL, SLICE_LIT(""), 1000,
                                     1000, on_call, &o, &c),
                     0);
    http_call_cancel(c);
    http_call_cancel(NULL);
    for (int i = 0; i < 10; i++)
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    assert_int_equal(o.status, -1);
}

static void test_M14_sockets_are_not_shared(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    char where[64];
    struct stat st;

    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(http_server_listen(f->server, f->where, NULL, &err), -EADDRINUSE);
    (void)snprintf(where, sizeof(where), "127.0.0.1:%d", f->port);
    assert_int_equal(http_server_listen(f->server, where, NULL, &err), -EADDRINUSE);
    assert_true(http_server_listen(f->server, "example:1", NULL, &err) < 0);
    assert_true(http_server_listen(f->server, "127.0.0.1", NULL, &err) < 0);
    assert_true(http_server_listen(f->server, "127.0.0.1:70000", NULL, &err) < 0);
    assert_true(http_server_listen(f->server, "unix:", NULL, &err) < 0);
    assert_true(http_server_listen(f->server, "unix:/etc/passwd", NULL, &err) < 0);
}

static void test_stale_socket_files_are_replaced(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char where[128];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct relay_target target = {.unix_path = sa.sun_path};

    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/stale", f->folder);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    close(fd);
    (void)snprintf(where, sizeof(where), "unix:%s", sa.sun_path);
    assert_int_equal(http_server_listen(f->server, where, NULL, NULL), 0);
    assert_int_equal(call(f, &target, "GET", "/hello", "", 2000).status, 200);
}

static void on_drained(void *arg)
{
    struct fixture *f = arg;

    f->drained++;
    event_base_loopbreak(f->base);
}

static void test_drain_is_announced_once(void **state)
{
    struct fixture *f = *state;

    http_server_drain(f->server, 5000, on_drained, f);
    assert_int_equal(f->drained, 0);
    event_base_dispatch(f->base);
    event_base_loop(f->base, EVLOOP_NONBLOCK);
    assert_int_equal(f->drained, 1);
    assert_int_equal(access(f->path, F_OK), -1);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct http_server_config config = {.routes = routes, .n_routes = ARRAY_LEN(routes), .app = f};

    f->base = event_base_new();
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/test_client.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/sock", f->folder);
    (void)snprintf(f->where, sizeof(f->where), "unix:%s", f->path);
    assert_int_equal(http_server_new(f->base, &config, &f->server), 0);
    assert_int_equal(http_server_listen(f->server, f->where, NULL, NULL), 0);
    assert_int_equal(http_server_listen(f->server, "127.0.0.1:0", &f->port, NULL), 0);
    assert_true(f->port > 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    http_server_free(f->server);
    event_base_free(f->base);
    assert_int_equal(rmdir(f->folder), 0); /* every socket file is gone */
    free(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_calls_over_both_transports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures_are_typed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_calls_say_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_M14_sockets_are_not_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stale_socket_files_are_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drain_is_announced_once, setup, teardown),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
