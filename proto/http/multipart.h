/*
 * A streaming multipart/form-data parser (RFC 7578, RFC 2046): bytes in, callbacks out, constant memory.
 *
 * Accepts what today's clients send (contracts/execd.md 4.4): quoted and bare parameters, filename*, quoted
 * boundary, preamble, epilogue, extra part headers, boundary split anywhere. Refuses: LF-only line ends in part
 * heads, no boundary or one over 70 characters, part heads over 8 KiB, more than `parts_max` parts, a missing
 * final boundary. Pure: no I/O. Thread rule: the owner's thread.
 */
#pragma once

#include "proto/base/err.h"

struct multipart;

struct multipart_part {
    const char *name;     /* "" if absent; borrowed until the next part */
    const char *filename; /* NULL if absent; decoded by filename* when there is one */
    const char *type;     /* Content-Type, "" if absent */
};

struct multipart_ops { /* each: 0, or -errno with err to stop */
    int (*on_part)(void *arg, const struct multipart_part *part, struct err *err);
    int (*on_data)(void *arg, const char *p, size_t n, struct err *err);
    int (*on_part_end)(void *arg, struct err *err);
};

/* From the request's Content-Type; -EINVAL with a text that says what is missing. */
int multipart_new(const char *content_type, unsigned parts_max, const struct multipart_ops *ops,
                  void *arg, struct multipart **ret_parser, struct err *err) must_check;
void multipart_free(struct multipart *m);
int multipart_feed(struct multipart *m, const char *p, size_t n, struct err *err) must_check;
int multipart_finish(struct multipart *m, struct err *err) must_check; /* the body ended */
