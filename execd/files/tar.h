/*
 * The tar format, both ways: headers from members, and members from bytes as they come.
 *
 * Written: POSIX ustar, with a pax header before a member whose path, link, size or owner does not fit. Read: ustar,
 * pax (x and g; path, linkpath, size, uid, gid, mtime), GNU long names (L, K) and base-256 numbers, old v7 headers.
 * Refused: a wrong checksum, sparse files, pax headers over TAR_EXTRA_MAX, paths over 4,095 bytes or with NUL, an
 * archive that ends early. What follows the two zero blocks of the end is ignored. Nothing is said here about what a
 * path may be: the one who extracts decides. Pure: no I/O. Constant memory.
 * Thread rule: the owner's thread. Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual.
 */
#pragma once

#include <limits.h>

#include "proto/base/err.h"
#include "proto/base/str.h"

#define TAR_BLOCK 512
#define TAR_EXTRA_MAX (64 * 1024)

enum tar_type {
    TAR_FILE,
    TAR_HARD_LINK,
    TAR_SYMLINK,
    TAR_FOLDER,
    TAR_SPECIAL, /* device or FIFO */
};

struct tar_member {
    enum tar_type type;
    const char *path; /* as in the archive; borrowed, valid until the next member */
    const char *link; /* of links: where to; else "" */
    unsigned mode;    /* 07777 */
    uint64_t size;    /* of files; else 0 */
    uint64_t uid, gid;
    int64_t mtime; /* seconds since 1970 */
};

/* Appends the header blocks; the caller then adds `size` bytes and tar_padding(size) zeros. */
void tar_put_header(struct strbuf *out, const struct tar_member *m);
size_t tar_padding(uint64_t size);
#define TAR_END_SIZE ((size_t)2 * TAR_BLOCK) /* zeros that end an archive */

/* A reader calls these in order: member, data (files only, any number of pieces), end. Each returns 0 or -errno with
 * err to stop the reader for good. */
struct tar_ops {
    int (*on_member)(void *arg, const struct tar_member *m, struct err *err);
    int (*on_data)(void *arg, const char *p, size_t n, struct err *err);
    int (*on_member_end)(void *arg, struct err *err);
};

struct tar_reader {
    const struct tar_ops *ops; /* borrowed */
    void *arg;
    enum { TAR_AT_HEADER, TAR_AT_EXTRA, TAR_AT_DATA, TAR_AT_END } state;
    char block[TAR_BLOCK];
    size_t have;     /* bytes of block */
    uint64_t left;   /* of data or extra */
    size_t padding;  /* behind it */
    char extra_type; /* 'x', 'g', 'L' or 'K' */
    struct strbuf extra;
    struct strbuf path,
        link; /* of the next member, from what came before its header; empty = none */
    int64_t size, uid, gid, mtime; /* likewise; -1 = none */
    bool seen;                     /* at least one header, or the end */
};
void tar_reader_init(struct tar_reader *r, const struct tar_ops *ops, void *arg);
void tar_reader_done(struct tar_reader *r);
/* -EINVAL with ERR_INVALID_ARCHIVE, or what an operation returned. */
int tar_reader_feed(struct tar_reader *r, const char *p, size_t n, struct err *err) must_check;
/* There is no more: -EINVAL when the archive broke off. */
int tar_reader_finish(struct tar_reader *r, struct err *err) must_check;
