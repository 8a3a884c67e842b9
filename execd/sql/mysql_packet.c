#include "execd/sql/mysql_packet.h"

#include <errno.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>
#include <string.h>

enum {
    CLIENT_LONG_PASSWORD = 0x1,
    CLIENT_LONG_FLAG = 0x4,
    CLIENT_PROTOCOL_41 = 0x200,
    CLIENT_TRANSACTIONS = 0x2000,
    CLIENT_SECURE_CONNECTION = 0x8000,
    CLIENT_MULTI_STATEMENTS = 0x10000,
    CLIENT_MULTI_RESULTS = 0x20000,
    CLIENT_PLUGIN_AUTH = 0x80000,
};
#define LOGIN_FLAGS                                                                                \
    (CLIENT_LONG_PASSWORD | CLIENT_LONG_FLAG | CLIENT_PROTOCOL_41 | CLIENT_TRANSACTIONS |          \
     CLIENT_SECURE_CONNECTION | CLIENT_MULTI_STATEMENTS | CLIENT_MULTI_RESULTS |                   \
     CLIENT_PLUGIN_AUTH)
#define PACKET_MAX (1u << 24)
#define CHARSET_UTF8MB4 45

/* ---- reading ---- */

struct reader {
    const uint8_t *p;
    size_t left;
    bool bad; /* something was not there; what is read from then on is 0 */
};

static struct reader reader_of(struct slice packet)
{
    return (struct reader){(const uint8_t *)packet.ptr, packet.len, false};
}

static const uint8_t *take(struct reader *r, size_t n)
{
    if (r->bad || n > r->left) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += n;
    r->left -= n;
    return p;
}

static uint64_t take_uint(struct reader *r, size_t n)
{
    const uint8_t *p = take(r, n);
    uint64_t value = 0;

    for (size_t i = 0; p != NULL && i < n; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

/* A number with its own length. */
static uint64_t take_count(struct reader *r)
{
    uint64_t first = take_uint(r, 1);

    if (first < 0xfb)
        return first;
    if (first < 0xfc || first > 0xfe) { /* NULL and errors are none */
        r->bad = true;
        return 0;
    }
    return take_uint(r, first == 0xfc ? 2 : first == 0xfd ? 3 : 8);
}

static struct slice take_text(struct reader *r)
{
    uint64_t len = take_count(r);
    const uint8_t *p = take(r, len);

    return (struct slice){(const char *)p, p != NULL ? len : 0};
}

/* Up to a NUL, or to the end: some servers leave the last one out. */
static struct slice take_string(struct reader *r)
{
    const uint8_t *end = r->left > 0 ? memchr(r->p, 0, r->left) : NULL;
    size_t len = end != NULL ? (size_t)(end - r->p) : r->left;
    const uint8_t *p = take(r, len);

    if (end != NULL)
        (void)take(r, 1); /* the NUL, which is there */
    return (struct slice){(const char *)p, p != NULL ? len : 0};
}

static int copy_name(struct slice name, char out[MYSQL_NAME_MAX + 1])
{
    if (name.len > MYSQL_NAME_MAX)
        return -EPROTO;
    if (name.len > 0)
        memcpy(out, name.ptr, name.len);
    out[name.len] = '\0';
    return 0;
}

enum mysql_packet_kind mysql_kind(struct slice packet)
{
    switch (packet.len > 0 ? (uint8_t)packet.ptr[0] : 1) {
    case 0x00:
        return MYSQL_OK;
    case 0xff:
        return MYSQL_ERR;
    case 0xfe:
        return MYSQL_EOF;
    case 0xfb:
        return MYSQL_INFILE;
    default:
        return MYSQL_OTHER;
    }
}

int mysql_read_greeting(struct slice packet, struct mysql_greeting *ret)
{
    struct mysql_greeting g = {0};
    struct reader r = reader_of(packet);

    if (take_uint(&r, 1) != 10)
        return -EPROTO;
    (void)take_string(&r); /* the server's version */
    g.thread_id = (uint32_t)take_uint(&r, 4);
    const uint8_t *first = take(&r, 8);
    (void)take(&r, 1 + 2 + 1 + 2 + 2 + 1 + 10); /* filler, capabilities, charset, status */
    const uint8_t *second = take(&r, MYSQL_SCRAMBLE_LEN - 8);
    if (first == NULL || second == NULL)
        return -EPROTO;
    memcpy(g.scramble, first, 8);
    memcpy(g.scramble + 8, second, MYSQL_SCRAMBLE_LEN - 8);
    if (r.left > 0)
        (void)take(&r, 1); /* the NUL behind it */
    if (copy_name(take_string(&r), g.plugin) < 0)
        return -EPROTO;
    *ret = g;
    return 0;
}

int mysql_read_switch(struct slice packet, struct mysql_greeting *greeting)
{
    struct mysql_greeting g = *greeting;
    struct reader r = reader_of(packet);

    (void)take(&r, 1);
    if (copy_name(take_string(&r), g.plugin) < 0)
        return -EPROTO;
    if (r.left >= MYSQL_SCRAMBLE_LEN)
        memcpy(g.scramble, r.p, MYSQL_SCRAMBLE_LEN);
    if (r.bad || g.plugin[0] == '\0')
        return -EPROTO;
    *greeting = g;
    return 0;
}

int mysql_read_failure(struct slice packet, struct mysql_failure *ret)
{
    struct mysql_failure f = {.state = "HY000"};
    struct reader r = reader_of(packet);

    (void)take(&r, 1);
    f.code = (unsigned)take_uint(&r, 2);
    if (r.bad)
        return -EPROTO;
    if (r.left >= 6 && r.p[0] == '#') { /* not there before the login */
        memcpy(f.state, r.p + 1, 5);
        (void)take(&r, 6);
    }
    size_t len = MIN(r.left, sizeof(f.text) - 1);
    memcpy(f.text, r.p, len);
    *ret = f;
    return 0;
}

int mysql_read_ok(struct slice packet, struct mysql_ok *ret)
{
    struct reader r = reader_of(packet);

    (void)take(&r, 1);
    uint64_t affected = take_count(&r);
    (void)take_count(&r); /* the last insert's id */
    unsigned status = (unsigned)take_uint(&r, 2);
    if (r.bad)
        return -EPROTO;
    *ret = (struct mysql_ok){affected, status};
    return 0;
}

int mysql_read_eof(struct slice packet, unsigned *ret_status)
{
    struct reader r = reader_of(packet);

    if (packet.len >= 9) /* then it is a row with a very long first cell */
        return -EPROTO;
    (void)take(&r, 3); /* mark and warnings */
    *ret_status = (unsigned)take_uint(&r, 2);
    return r.bad ? -EPROTO : 0;
}

int mysql_read_count(struct slice packet, uint64_t *ret_n)
{
    struct reader r = reader_of(packet);

    *ret_n = take_count(&r);
    return r.bad || r.left > 0 ? -EPROTO : 0;
}

int mysql_read_column(struct slice packet, struct mysql_column *ret)
{
    struct mysql_column c = {0};
    struct reader r = reader_of(packet);

    for (int i = 0; i < 4; i++) /* catalog, schema, table, the table's own name */
        (void)take_text(&r);
    c.name = take_text(&r);
    (void)take_text(&r); /* the column's own name */
    (void)take_count(&r);
    c.charset = (unsigned)take_uint(&r, 2);
    (void)take(&r, 4); /* width */
    c.type = (unsigned)take_uint(&r, 1);
    if (r.bad)
        return -EPROTO;
    *ret = c;
    return 0;
}

int mysql_read_cell(struct slice *row, struct slice *ret)
{
    struct reader r = reader_of(*row);

    if (r.left > 0 && r.p[0] == 0xfb) {
        (void)take(&r, 1);
        *ret = (struct slice){NULL, 0};
    } else {
        *ret = take_text(&r);
        if (r.bad)
            return -EPROTO;
    }
    *row = (struct slice){(const char *)r.p, r.left};
    return 0;
}

/* ---- answering ---- */

static void xor_into(uint8_t *out, const uint8_t *with, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] ^= with[i];
}

/* SHA1(password) XOR SHA1(scramble + SHA1(SHA1(password))) */
size_t mysql_answer_native(const char *password, const uint8_t scramble[MYSQL_SCRAMBLE_LEN],
                           uint8_t out[MYSQL_ANSWER_MAX])
{
    uint8_t twice[SHA1_DIGEST_SIZE];
    struct sha1_ctx ctx;

    if (password[0] == '\0')
        return 0;
    sha1_init(&ctx);
    sha1_update(&ctx, strlen(password), (const uint8_t *)password);
    sha1_digest(&ctx, SHA1_DIGEST_SIZE, out);
    sha1_update(&ctx, SHA1_DIGEST_SIZE, out);
    sha1_digest(&ctx, SHA1_DIGEST_SIZE, twice);
    sha1_update(&ctx, MYSQL_SCRAMBLE_LEN, scramble);
    sha1_update(&ctx, SHA1_DIGEST_SIZE, twice);
    sha1_digest(&ctx, SHA1_DIGEST_SIZE, twice);
    xor_into(out, twice, SHA1_DIGEST_SIZE);
    return SHA1_DIGEST_SIZE;
}

/* SHA256(password) XOR SHA256(SHA256(SHA256(password)) + scramble) */
size_t mysql_answer_sha2(const char *password, const uint8_t scramble[MYSQL_SCRAMBLE_LEN],
                         uint8_t out[MYSQL_ANSWER_MAX])
{
    uint8_t twice[SHA256_DIGEST_SIZE];
    struct sha256_ctx ctx;

    if (password[0] == '\0')
        return 0;
    sha256_init(&ctx);
    sha256_update(&ctx, strlen(password), (const uint8_t *)password);
    sha256_digest(&ctx, SHA256_DIGEST_SIZE, out);
    sha256_update(&ctx, SHA256_DIGEST_SIZE, out);
    sha256_digest(&ctx, SHA256_DIGEST_SIZE, twice);
    sha256_update(&ctx, SHA256_DIGEST_SIZE, twice);
    sha256_update(&ctx, MYSQL_SCRAMBLE_LEN, scramble);
    sha256_digest(&ctx, SHA256_DIGEST_SIZE, twice);
    xor_into(out, twice, SHA256_DIGEST_SIZE);
    return SHA256_DIGEST_SIZE;
}

static void add_uint(struct strbuf *out, uint32_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        strbuf_addc(out, (char)(value >> (8 * i)));
}

void mysql_write_login(struct strbuf *out, const char *user, const char *plugin,
                       const uint8_t *answer, size_t answer_len)
{
    static const char reserved[23];

    add_uint(out, LOGIN_FLAGS, 4);
    add_uint(out, PACKET_MAX, 4);
    add_uint(out, CHARSET_UTF8MB4, 1);
    strbuf_add(out, reserved, sizeof(reserved));
    strbuf_add(out, user, strlen(user) + 1);
    add_uint(out, (uint32_t)answer_len, 1);
    strbuf_add(out, answer, answer_len);
    strbuf_add(out, plugin, strlen(plugin) + 1);
}
