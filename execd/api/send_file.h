/*
 * Sends a part of an opened file as the body of an answer.
 *
 * The loop thread never waits for a disk: what is not in the page cache is read by the worker pool first. On a Unix
 * socket the pages go out by sendfile(2). The promised length is sent or the connection is cut (hardening F03): a
 * file that shrinks meanwhile is never padded, hashed or not. Thread rule: loop thread only.
 */
#pragma once

#include "execd/files/download.h"
#include "proto/http/route.h"

struct work_pool;

struct send_part {
    int status;
    uint64_t first, length;
    bool
        sha256; /* of what is sent, as the trailer X-Execd-Sha256; then without a declared length */
};
/* Takes the source over, always. A pseudo file is sent to its end, whatever `length` says. */
enum http_result api_send_file(struct http_req *req, struct work_pool *pool,
                               struct file_source *source, const struct send_part *part);
