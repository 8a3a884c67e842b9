#include "proto/http/server_metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http/conn_priv.h"

#define STATUS_CLASSES 6 /* 0: the peer was gone before an answer */
#define BUCKETS 8
#define NAME_MAX_LEN 64

/* Upper bounds in seconds: from an answer out of memory to a command that runs for a while. */
static const double bounds[BUCKETS] = {0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10};
static const char *const class_names[STATUS_CLASSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

struct times {
    char name[24];                 /* of the class of routes */
    uint64_t buckets[BUCKETS + 1]; /* not cumulative */
    uint64_t sum_us;
};

struct request_counts {
    uint64_t (*by_row)[STATUS_CLASSES]; /* owned; n_routes + 1: the last is for no route */
    unsigned *class_of;                 /* owned; n_routes + 1 */
    struct times *times;                /* owned; n_classes */
    size_t n_classes;
    uint64_t body_in, body_out;
};

/* ---- counting -------------------------------------------------------------------------------------- */

static void name_class(const char *pattern, char name[24])
{
    if (strncmp(pattern, "/v1/", 4) == 0)
        pattern += 3;
    size_t len = strcspn(pattern + 1, "/");
    (void)snprintf(name, 24, "%.*s", (int)len, pattern + 1); /* a longer one is cut */
}

static unsigned find_class(struct request_counts *c, const char *name)
{
    for (size_t i = 0; i < c->n_classes; i++) {
        if (strcmp(c->times[i].name, name) == 0)
            return (unsigned)i;
    }
    memcpy(c->times[c->n_classes].name, name, sizeof(c->times->name));
    return (unsigned)c->n_classes++;
}

struct request_counts *request_counts_new(const struct route *routes, size_t n_routes)
{
    struct request_counts *c = xnew(struct request_counts);
    char name[24];

    c->by_row = xcalloc(n_routes + 1, sizeof(*c->by_row));
    c->class_of = xcalloc(n_routes + 1, sizeof(*c->class_of));
    c->times = xcalloc(n_routes + 1, sizeof(*c->times));
    for (size_t i = 0; i < n_routes; i++) {
        name_class(routes[i].pattern, name);
        c->class_of[i] = find_class(c, name);
    }
    memcpy(name, "none", 5);
    c->class_of[n_routes] = find_class(c, name);
    return c;
}

void request_counts_free(struct request_counts *c)
{
    if (c == NULL)
        return;
    free(c->by_row);
    free(c->class_of);
    free(c->times);
    free(c);
}

void request_counts_add(struct http_server *server, const struct http_req *req, int64_t duration_us)
{
    struct request_counts *c = server->counts;
    const struct route *route = req->match.route;
    size_t row = route ? (size_t)(route - server->config.routes) : server->config.n_routes;
    struct times *t = &c->times[c->class_of[row]];
    size_t bucket = 0;

    while (bucket < BUCKETS && (double)duration_us > bounds[bucket] * 1e6)
        bucket++;
    t->buckets[bucket]++;
    t->sum_us += (uint64_t)MAX(duration_us, (int64_t)0);
    c->by_row[row][MIN(req->resp.status / 100, STATUS_CLASSES - 1)]++;
    c->body_in += req->body.got;
    c->body_out += req->resp.bytes;
}

/* ---- showing --------------------------------------------------------------------------------------- */

struct page {
    struct strbuf *out;
    enum metric_format format;
    const char *prefix;
    char name[NAME_MAX_LEN]; /* of the family begun last */
    enum metric_kind kind;
};

static void begin(struct page *p, const char *name, enum metric_kind kind, const char *unit,
                  const char *help)
{
    (void)snprintf(p->name, sizeof(p->name), "%s_%s", p->prefix, name); /* ours: it fits */
    p->kind = kind;
    metric_family(p->out, p->format, p->name, kind, unit, help);
}

static void one(struct page *p, const char *name, enum metric_kind kind, const char *unit,
                const char *help, double value)
{
    begin(p, name, kind, unit, help);
    metric_sample(p->out, p->format, p->name, kind, value, NULL);
}

static void write_row(struct page *p, const struct route *route, const uint64_t *by_status)
{
    for (size_t s = 0; s < STATUS_CLASSES; s++) {
        if (by_status[s] > 0) /* most pairs never happen */
            metric_sample(p->out, p->format, p->name, p->kind, (double)by_status[s], "method",
                          route ? route->method : "", "route", route ? route->pattern : "",
                          "status", class_names[s], NULL);
    }
}

static void write_requests(struct page *p, const struct http_server *server)
{
    const struct request_counts *c = server->counts;
    size_t n = server->config.n_routes;

    begin(p, "http_requests", METRIC_COUNTER, NULL,
          "Requests that have ended, by route and status.");
    for (size_t i = 0; i <= n; i++)
        write_row(p, i < n ? &server->config.routes[i] : NULL, c->by_row[i]);
}

static void write_times(struct page *p, const struct request_counts *c)
{
    begin(p, "http_request_duration_seconds", METRIC_HISTOGRAM, "seconds",
          "From the head of a request to its end, streams too, by class of route.");
    for (size_t i = 0; i < c->n_classes; i++)
        metric_histogram(p->out, p->name, bounds, c->times[i].buckets, BUCKETS,
                         (double)c->times[i].sum_us / 1e6, "route_class", c->times[i].name);
}

void http_server_write_metrics(const struct http_server *server, const char *prefix,
                               struct strbuf *out, enum metric_format format)
{
    struct page p = {.out = out, .format = format, .prefix = prefix};
    const struct http_server_stats *s = &server->stats;
    const struct request_counts *c = server->counts;

    write_requests(&p, server);
    write_times(&p, c);
    one(&p, "http_request_body_bytes", METRIC_COUNTER, "bytes", "Bytes of request bodies read.",
        (double)c->body_in);
    one(&p, "http_response_body_bytes", METRIC_COUNTER, "bytes",
        "Bytes of response bodies written.", (double)c->body_out);
    one(&p, "http_connections_accepted", METRIC_COUNTER, NULL, "Connections accepted.",
        (double)s->accepted);
    one(&p, "http_connections_rejected", METRIC_COUNTER, NULL,
        "Connections closed at once, for lack of room or descriptors.", (double)s->rejected);
    one(&p, "http_connections", METRIC_GAUGE, NULL, "Open connections.", s->open_conns);
    one(&p, "http_active_requests", METRIC_GAUGE, NULL, "Requests under way.", s->active_requests);
    one(&p, "http_open_streams", METRIC_GAUGE, NULL, "Responses that have begun and go on.",
        s->open_streams);
}
