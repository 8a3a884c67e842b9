/* Tar archives: the same members and bytes however the input is cut; what was read and is written again reads the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/files/tar.h"
#include "proto/base/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct sha256_ctx hash;
    bool open;
    uint64_t left;
    struct strbuf rewritten; /* the header of the last member */
};

static int on_member(void *arg, const struct tar_member *m, struct err *err)
{
    struct seen *s = arg;

    (void)err;
    if (s->open || m->path[0] == '\0' || strlen(m->path) >= PATH_MAX || strlen(m->link) >= PATH_MAX)
        abort();
    if ((m->type != TAR_FILE && m->size != 0) || m->mode > 07777 || m->mtime < 0)
        abort();
    s->open = true;
    s->left = m->size;
    sha256_update(&s->hash, strlen(m->path), (const uint8_t *)m->path);
    sha256_update(&s->hash, strlen(m->link), (const uint8_t *)m->link);
    sha256_update(&s->hash, sizeof(m->size), (const uint8_t *)&m->size);
    strbuf_reset(&s->rewritten);
    if (m->type != TAR_SPECIAL)
        tar_put_header(&s->rewritten, m);
    if (strbuf_check(&s->rewritten) < 0 || s->rewritten.len % TAR_BLOCK != 0)
        abort();
    return 0;
}

static int on_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct seen *s = arg;

    (void)err;
    if (!s->open || n == 0 || n > s->left)
        abort();
    s->left -= n;
    sha256_update(&s->hash, n, (const uint8_t *)p);
    return 0;
}

static int on_member_end(void *arg, struct err *err)
{
    struct seen *s = arg;

    (void)err;
    if (!s->open || s->left != 0)
        abort();
    s->open = false;
    return 0;
}

static const struct tar_ops ops = {on_member, on_data, on_member_end};

/* The result and the digest of all that was told, fed in pieces of `step` bytes. */
static int read_in_pieces(const char *p, size_t n, size_t step, uint8_t digest[SHA256_LEN])
{
    struct seen seen = {0};
    struct tar_reader reader;
    struct err err = {0};
    int rc = 0;

    sha256_init(&seen.hash);
    strbuf_init(&seen.rewritten, 2 * TAR_EXTRA_MAX);
    tar_reader_init(&reader, &ops, &seen);
    for (size_t at = 0; at < n && rc == 0; at += step)
        rc = tar_reader_feed(&reader, p + at, MIN(step, n - at), &err);
    if (rc == 0)
        rc = tar_reader_finish(&reader, &err);
    if (rc < 0 && err.text[0] == '\0')
        abort();
    tar_reader_done(&reader);
    strbuf_done(&seen.rewritten);
    sha256_digest(&seen.hash, SHA256_LEN, digest);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t whole[SHA256_LEN], cut[SHA256_LEN];

    int rc = read_in_pieces((const char *)data, size, MAX(size, (size_t)1), whole);
    if (read_in_pieces((const char *)data, size, 7, cut) != rc ||
        memcmp(whole, cut, sizeof(whole)) != 0)
        abort();
    return 0;
}
