/* GET /ports: who listens in the sandbox. */
#include <unistd.h>

#include "execd/api/api.h"
#include "execd/ports/watch.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/http/resp.h"
#include "proto/json/jfield.h"
#include "proto/json/json_build.h"

struct shown {
    const char *address, *family, *command, *since;
    int64_t port, pid, uid;
    bool own;
};

static const struct jfield shown_fields[] = {
    JFIELD(struct shown, port, JFIELD_I64),
    JFIELD(struct shown, address, JFIELD_STRING),
    JFIELD(struct shown, family, JFIELD_STRING),
    JFIELD(struct shown, pid, JFIELD_I64, .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct shown, command, JFIELD_STRING, .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct shown, uid, JFIELD_I64),
    JFIELD(struct shown, since, JFIELD_STRING),
    JFIELD(struct shown, own, JFIELD_BOOL),
};

struct asked {
    struct http_req *req;
    struct api *api;
};

static json_t *encode(const struct api *api, const struct port_seen *p)
{
    char since[CLOCK_RFC3339_MAX];

    clock_format_us(p->since_us, since);
    struct shown shown = {
        .address = p->entry.address,
        .family = p->entry.v6 ? "ipv6" : "ipv4",
        .command = p->entry.comm,
        .since = since,
        .port = p->entry.port,
        .pid = p->entry.pid,
        .uid = p->entry.uid,
        .own = http_server_has_port(api->server, p->entry.port) &&
               (p->entry.pid == 0 || p->entry.pid == getpid()),
    };
    return jfield_encode(shown_fields, ARRAY_LEN(shown_fields), &shown);
}

static void on_ports(void *arg, const struct port_view *view, const struct err *err)
{
    struct asked *asked = arg;
    struct http_req *req = asked->req;

    if (view == NULL) {
        (void)http_resp_error(req, err); /* H_DONE: nobody to hand it to */
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < view->n; i++)
        json_push(&list, encode(asked->api, &view->items[i]));
    (void)http_resp_json(req, 200,
                         json_pack("{s:o, s:b, s:s}", "ports", list, "truncated", view->truncated,
                                   "source", view->from_netlink ? "netlink" : "proc"));
}

static void on_close(void *arg)
{
    struct asked *asked = arg;

    port_watch_cancel(asked->api->ports, asked);
}

enum http_result h_ports(struct http_req *req, void *app)
{
    struct api *api = app;
    struct asked *asked = arena_alloc(http_req_arena(req), sizeof(*asked));
    struct err err = {0};

    if (asked == NULL)
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for the ports");
    *asked = (struct asked){req, api};
    if (port_watch_get(api->ports, on_ports, asked, &err) < 0)
        return http_resp_error(req, &err);
    http_req_on_close(req, on_close, asked);
    return H_WAIT;
}
