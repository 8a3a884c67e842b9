/*
 * A form that brings files (multipart/form-data), from the first byte of the request to its answer: what the routes that
 * take one have in common. A route says what each part means; the bytes of a file go straight into a temporary file
 * beside its target, and the pool puts it in place.
 *
 * The body is not read while the pool flushes files that are whole: at most one read's worth of them waits there. The
 * first failure decides the answer; a file that is half there goes away, those in place stay. A form lives until its
 * request is over and the pool has no file of it any more, whichever comes last. Thread rule: loop thread only.
 */
#pragma once

#include "execd/files/upload.h"
#include "proto/http/multipart.h"
#include "proto/http/resp.h"

struct upload_form;

struct upload_form_ops {
    /* 0, or -errno with err. */
    int (*on_part)(void *arg, const struct multipart_part *part, struct err *err);
    int (*on_data)(void *arg, const char *p, size_t n, struct err *err);
    int (*on_part_end)(void *arg, struct err *err);
    int (*on_whole)(void *arg, struct err *err); /* all parts were there */
    void (*answer)(void *arg, struct http_req *req);
    void (*free)(void *arg);
};

/* Reads the request's body. arg belongs to the form, also when it is refused at once. */
enum http_result upload_form_receive(struct http_req *req, struct work_pool *pool,
                                     unsigned parts_max, const struct upload_form_ops *ops,
                                     void *arg, struct upload_form **ret_form);

/* The request; only from on_part, on_data, on_part_end, which run while it is there. */
struct http_req *upload_form_req(const struct upload_form *form);
/* One file at a time: begin, write, commit. */
int upload_form_begin(struct upload_form *form, const struct upload_target *target,
                      struct err *err) must_check;
int upload_form_write(struct upload_form *form, const char *p, size_t n,
                      struct err *err) must_check;
void upload_form_commit(struct upload_form *form);
