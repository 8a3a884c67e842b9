/*
 * What the control plane's handlers work with, and its route table (each row under "/" and "/v1").
 * Thread rule: loop thread only. Source: contracts/server.md 1, v1.1.md 2.
 */
#pragma once

#include "proto/base/codec.h"
#include "proto/http/server.h"
#include "server/enclave/config.h"
#include "server/service/lifecycle.h"

struct enclave_pool;
struct stopped_list;

/* Tags of listeners: the one for clients of ms-enclave. */
enum { LISTENER_ENCLAVE = 1 };

struct api {
    struct event_base *base;
    struct lifecycle *lifecycle;
    struct http_server *server;
    struct enclave_defaults enclave;
    struct enclave_pool *pool;    /* of ms-enclave's API */
    struct stopped_list *stopped; /* the same */
    bool has_key;
    uint8_t key_sha256[SHA256_LEN];
    const char *public_host;    /* NULL: endpoints are named by the Host header */
    uint64_t client_creates[2]; /* reported by clients: [success] */
    uint64_t client_create_ms;
    int64_t started_wall_ms, started_boot_ms;
};

extern const struct route api_routes[];
extern const size_t api_n_routes;

int api_authorize(struct http_req *req, const struct route *route, void *app, struct err *err);
void api_decorate(struct http_req *req, void *app); /* X-Request-ID on every answer */
