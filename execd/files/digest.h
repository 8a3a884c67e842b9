/*
 * The SHA-256 of a file, in steps short enough for the worker pool. Blocking. Thread rule: one thread at a time.
 */
#pragma once

#include "proto/base/codec.h"

struct digest {
    struct sha256_ctx hash;
    uint64_t offset;
};

void digest_init(struct digest *d);
/* Takes a few megabytes more of the file. 1: there may be more; 0: that was its end; -errno. */
int digest_step(struct digest *d, int fd) must_check;
void digest_end(struct digest *d, uint8_t out[SHA256_LEN]);
