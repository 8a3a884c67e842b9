/*
 * Inputs of the sandbox routes that are no field table: list filters and the metadata patch.
 * Results live in the request's arena. Thread rule: loop thread only. Source: contracts/server.md 1.5, 1.8.
 */
#pragma once

#include "proto/http/req.h"
#include "server/service/lifecycle.h"

int query_decode_filter(struct http_req *req, struct lifecycle_filter *ret_filter,
                        struct err *err) must_check;
/* A flat object of strings and nulls; NULL values mean "delete the key". */
int query_decode_patch(struct http_req *req, struct jpair **ret_changes, size_t *ret_n,
                       struct err *err) must_check;
