/*
 * A message head in parsed form: llhttp's strict parser plus the framing rules that decide where a body ends.
 *
 * Works in place on one complete, scanned head (head_scan.h): names and values become NUL-terminated strings
 * inside the caller's buffer and live as long as it does. Refuses whatever two parsers could read in two ways:
 * Transfer-Encoding with Content-Length, repeated or non-canonical Content-Length, codings other than one
 * "chunked", Transfer-Encoding in HTTP/1.0, versions other than 1.0 and 1.1, wrong or repeated Host.
 * Pure. Thread rule: any thread. Source: RFC 9112 sections 3 and 6, hardening.md D01-D51.
 */
#pragma once

#include "proto/base/err.h"

#define HEAD_FIELDS_MAX 100

struct head_field {
    const char *name, *value; /* borrowed from the buffer; value trimmed */
};

struct head {
    const char *method; /* requests: static string; "" before parsing */
    const char *path;   /* requests: raw path of the target, "" before parsing */
    const char *query;  /* raw, without '?'; "" if none */
    bool has_query;     /* there was a '?' */
    bool absolute_form; /* the target came as http://host/path */
    int status;         /* responses */
    const char *reason; /* responses */
    bool http10;
    bool chunked;
    bool keep_alive; /* by version and Connection */
    bool upgrade;    /* Connection names upgrade and an Upgrade field is there */
    bool expect_continue;
    int64_t content_length; /* -1: none given */
    size_t n_fields;
    struct head_field fields[HEAD_FIELDS_MAX];
};

void head_init(struct head *h);

/* text[0..len) is one head up to and with its last CR LF, without a leading empty line. -EINVAL with err
 * (its code gives the status). What was parsed until then stays readable. */
int head_parse_request(struct head *h, char *text, size_t len, struct err *err) must_check;
int head_parse_response(struct head *h, char *text, size_t len, struct err *err) must_check;

/* First field of that name (case-insensitive), NULL if absent. */
const char *head_get(const struct head *h, const char *name);
size_t head_count(const struct head *h, const char *name);

/* Asks for a WebSocket, or, in an answer, agrees to one; nothing else about it is checked. */
bool head_is_websocket(const struct head *h);

/* Any Connection field names this token. */
bool head_connection_has(const struct head *h, const char *token);
