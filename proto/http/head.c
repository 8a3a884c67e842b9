#include "proto/http/head.h"

#include <errno.h>
#include <llhttp.h>
#include <string.h>
#include <strings.h>

#include "proto/api/errors.h"
#include "proto/http/token.h"
#include "proto/http/uri.h"

/* What llhttp hands out in one pass over a complete head: every span arrives in one piece. */
struct spans {
    struct head *head;
    struct slice url, reason, value;
    struct slice names[HEAD_FIELDS_MAX], values[HEAD_FIELDS_MAX];
    size_t n_names, n_values;
    bool complete;
};

static int on_url(llhttp_t *p, const char *at, size_t n)
{
    ((struct spans *)p->data)->url = (struct slice){at, n};
    return 0;
}

static int on_reason(llhttp_t *p, const char *at, size_t n)
{
    ((struct spans *)p->data)->reason = (struct slice){at, n};
    return 0;
}

static int on_name(llhttp_t *p, const char *at, size_t n)
{
    struct spans *s = p->data;

    if (s->n_names == HEAD_FIELDS_MAX || s->n_names != s->n_values)
        return -1;
    s->names[s->n_names++] = (struct slice){at, n};
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    struct spans *s = p->data;

    /* One name, one value: a second span would be a folded line, which the scan has refused. */
    if (s->n_values + 1 != s->n_names)
        return -1;
    s->values[s->n_values++] = (struct slice){at, n};
    return 0;
}

static int on_head_end(llhttp_t *p)
{
    ((struct spans *)p->data)->complete = true;
    return 1; /* bodies are framed by chunked.c and the connection, not by llhttp */
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_status = on_reason,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head_end,
};

void head_init(struct head *h)
{
    memset(h, 0, offsetof(struct head, fields));
    h->method = "";
    h->path = "";
    h->query = "";
    h->reason = "";
    h->content_length = -1;
}

static char *terminate(char *text, struct slice s)
{
    char *p = text + (s.ptr - text);

    while (s.len > 0 && (p[s.len - 1] == ' ' || p[s.len - 1] == '\t'))
        s.len--;
    while (s.len > 0 && (*p == ' ' || *p == '\t')) {
        p++;
        s.len--;
    }
    p[s.len] = '\0';
    return p;
}

static int run_parser(struct head *h, llhttp_type_t type, char *text, size_t len, struct spans *s,
                      struct err *err)
{
    llhttp_t parser;
    llhttp_errno_t r;

    llhttp_init(&parser, type, &settings);
    parser.data = s;
    r = llhttp_execute(&parser, text, len);
    if ((r != HPE_OK && r != HPE_PAUSED_UPGRADE) || !s->complete || s->n_names != s->n_values) {
        const char *reason = llhttp_get_error_reason(&parser);

        return err_set(err, ERR_BAD_REQUEST, EINVAL, "malformed HTTP message: %s",
                       reason && *reason ? reason : llhttp_errno_name(r));
    }
    if (parser.http_major != 1 || parser.http_minor > 1)
        return err_set(err, ERR_BAD_REQUEST, EINVAL, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    h->http10 = parser.http_minor == 0;
    h->status = parser.status_code;
    if (type == HTTP_REQUEST)
        h->method = llhttp_method_name((llhttp_method_t)parser.method);
    for (size_t i = 0; i < s->n_names; i++) {
        h->fields[i].name = terminate(text, s->names[i]);
        /* The span of an empty value lies behind its line: nothing may be written there. */
        h->fields[i].value = s->values[i].len > 0 ? terminate(text, s->values[i]) : "";
    }
    h->n_fields = s->n_names;
    return 0;
}

const char *head_get(const struct head *h, const char *name)
{
    for (size_t i = 0; i < h->n_fields; i++) {
        if (strcasecmp(h->fields[i].name, name) == 0)
            return h->fields[i].value;
    }
    return NULL;
}

size_t head_count(const struct head *h, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < h->n_fields; i++)
        n += strcasecmp(h->fields[i].name, name) == 0;
    return n;
}

bool head_connection_has(const struct head *h, const char *token)
{
    for (size_t i = 0; i < h->n_fields; i++) {
        if (strcasecmp(h->fields[i].name, "Connection") == 0 &&
            token_list_has(h->fields[i].value, token))
            return true;
    }
    return false;
}

static int parse_length(const char *text, int64_t *ret_length)
{
    int64_t value = 0;

    /* Canonical decimals only: "+1", "010", "1, 1" and "" are read differently by different programs. */
    if (*text == '\0' || (text[0] == '0' && text[1] != '\0'))
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *text - '0', &value))
            return -EINVAL;
    }
    *ret_length = value;
    return 0;
}

/* "gzip, chunked" is well-formed and unsupported; anything else that is not "chunked" is malformed. */
static int check_coding(const char *value, struct err *err)
{
    static const char *const known[] = {"gzip",       "x-gzip", "deflate", "compress",
                                        "x-compress", "br",     "zstd"};
    struct slice item;
    size_t n_known = 0, n_items = 0, last_chunked = 0;

    if (strcasecmp(value, "chunked") == 0)
        return 0;
    while (token_next(&value, &item)) {
        n_items++;
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            n_known += token_eq(item, known[i]);
        last_chunked = token_eq(item, "chunked") ? n_items : 0;
    }
    if (n_items > 1 && n_known == n_items - 1 && last_chunked == n_items)
        return err_set(err, ERR_UNSUPPORTED_ENCODING, EINVAL,
                       "Transfer-Encoding: only chunked is supported");
    return err_set(err, ERR_BAD_REQUEST, EINVAL, "Transfer-Encoding must be exactly one 'chunked'");
}

static int check_framing(struct head *h, struct err *err)
{
    const char *coding = head_get(h, "Transfer-Encoding");
    const char *length = head_get(h, "Content-Length");
    int r;

    if (coding) {
        if (h->http10)
            return err_set(err, ERR_BAD_REQUEST, EINVAL,
                           "Transfer-Encoding does not exist in HTTP/1.0");
        if (length)
            return err_set(err, ERR_BAD_REQUEST, EINVAL,
                           "Transfer-Encoding and Content-Length exclude each other");
        if (head_count(h, "Transfer-Encoding") > 1)
            return err_set(err, ERR_BAD_REQUEST, EINVAL, "more than one Transfer-Encoding field");
        r = check_coding(coding, err);
        if (r < 0)
            return r;
        h->chunked = true;
    }
    if (length && head_count(h, "Content-Length") > 1)
        return err_set(err, ERR_BAD_REQUEST, EINVAL, "more than one Content-Length field");
    if (length && parse_length(length, &h->content_length) < 0)
        return err_set(err, ERR_BAD_REQUEST, EINVAL, "Content-Length must be one decimal number");
    return 0;
}

bool head_is_websocket(const struct head *h)
{
    return h->upgrade && token_list_has(head_get(h, "Upgrade"), "websocket");
}

static void read_connection(struct head *h)
{
    bool close = head_connection_has(h, "close");

    h->keep_alive = !close && (!h->http10 || head_connection_has(h, "keep-alive"));
    h->upgrade = !h->http10 && head_get(h, "Upgrade") && head_connection_has(h, "upgrade");
}

/* Exactly two blanks and a version that is spelled out: llhttp is more patient than that. */
static int check_request_line(const char *text, size_t len, struct err *err)
{
    const char *end = memchr(text, '\r', len);
    const char *first = end ? memchr(text, ' ', (size_t)(end - text)) : NULL;
    const char *second = first ? memchr(first + 1, ' ', (size_t)(end - first - 1)) : NULL;

    if (!second || second == first + 1 || end - second != 9 ||
        memcmp(second + 1, "HTTP/1.", 7) != 0)
        return err_set(err, ERR_BAD_REQUEST, EINVAL,
                       "the request line must be: METHOD target HTTP/1.1");
    return 0;
}

static int check_host(const struct head *h, const char *host, struct err *err)
{
    size_t n = head_count(h, "Host");

    if (n > 1 || (n == 0 && !h->http10))
        return err_set(err, ERR_BAD_REQUEST, EINVAL,
                       "HTTP/1.1 needs exactly one Host field, got %zu", n);
    if (host && !uri_host_is_valid(host, strlen(host)))
        return err_set(err, ERR_BAD_REQUEST, EINVAL,
                       "the Host field is not a host name with an optional port");
    return 0;
}

/* http://authority/path: the authority must repeat Host, user information is refused. */
static int cut_absolute(struct head *h, char **target, const char *host, struct err *err)
{
    char *authority = strstr(*target, "://") + 3;
    size_t len = strcspn(authority, "/?#");

    if (memchr(authority, '@', len))
        return err_set(err, ERR_BAD_REQUEST, EINVAL,
                       "user information is not allowed in a request target");
    if (!host || strlen(host) != len || strncasecmp(host, authority, len) != 0)
        return err_set(err, ERR_BAD_REQUEST, EINVAL,
                       "the request target names another host than Host");
    h->absolute_form = true;
    *target = authority + len;
    return 0;
}

static int read_target(struct head *h, char *target, struct err *err)
{
    const char *host = head_get(h, "Host");
    char *query;
    int r = check_host(h, host, err);

    if (r < 0)
        return r;
    if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
        r = cut_absolute(h, &target, host, err);
        if (r < 0)
            return r;
    } else if (strcmp(target, "*") == 0 && strcmp(h->method, "OPTIONS") == 0) {
        h->path = target;
        return 0;
    } else if (target[0] != '/') {
        return err_set(err, ERR_BAD_REQUEST, EINVAL, "the request target must begin with '/'");
    }
    if (strchr(target, '#'))
        return err_set(err, ERR_BAD_REQUEST, EINVAL, "a request target has no fragment");
    query = strchr(target, '?');
    if (query) {
        *query = '\0';
        h->query = query + 1;
        h->has_query = true;
    }
    h->path = *target ? target : "/";
    return 0;
}

static int check_semantics(struct head *h, struct err *err)
{
    static const char *const refused[] = {"CONNECT", "TRACE", "PRI"};
    const char *coding = head_get(h, "Content-Encoding");
    const char *expect = head_get(h, "Expect");

    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (strcmp(h->method, refused[i]) == 0)
            return err_set(err, ERR_BAD_REQUEST, EINVAL, "the method %s is not served here",
                           refused[i]);
    }
    if (coding && (head_count(h, "Content-Encoding") > 1 || strcasecmp(coding, "identity") != 0))
        return err_set(err, ERR_UNSUPPORTED_ENCODING, EINVAL,
                       "Content-Encoding '%.40s' is not supported", coding);
    if (!expect || h->http10)
        return 0;
    if (head_count(h, "Expect") > 1 || strcasecmp(expect, "100-continue") != 0)
        return err_set(err, ERR_EXPECTATION_FAILED, EINVAL,
                       "only Expect: 100-continue is supported");
    h->expect_continue = true;
    return 0;
}

/* The arrays stay as they are: only n_names and n_values of their entries are ever read. */
static void spans_init(struct spans *s)
{
    s->n_names = s->n_values = 0;
    s->complete = false;
    s->url = s->reason = (struct slice){NULL, 0};
}

int head_parse_request(struct head *h, char *text, size_t len, struct err *err)
{
    struct spans s;
    int r;

    spans_init(&s);
    head_init(h);
    r = check_request_line(text, len, err);
    if (r < 0)
        return r;
    r = run_parser(h, HTTP_REQUEST, text, len, &s, err);
    if (r < 0)
        return r;
    read_connection(h);
    r = check_framing(h, err);
    if (r < 0)
        return r;
    if (!s.url.ptr)
        return err_set(err, ERR_BAD_REQUEST, EINVAL, "the request target is missing");
    r = read_target(h, terminate(text, s.url), err);
    return r < 0 ? r : check_semantics(h, err);
}

int head_parse_response(struct head *h, char *text, size_t len, struct err *err)
{
    struct spans s;
    int r;

    spans_init(&s);
    head_init(h);
    r = run_parser(h, HTTP_RESPONSE, text, len, &s, err);
    if (r < 0)
        return r;
    if (s.reason.len > 0)
        h->reason = terminate(text, s.reason);
    if (h->status < 100 || h->status > 599)
        return err_set(err, ERR_BAD_REQUEST, EINVAL, "status %d", h->status);
    read_connection(h);
    return check_framing(h, err);
}
