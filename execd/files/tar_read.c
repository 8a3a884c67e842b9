#include <errno.h>
#include <string.h>

#include "execd/files/tar.h"
#include "execd/files/tar_block.h"
#include "proto/api/errors.h"

static int bad(struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID_ARCHIVE, EINVAL, "bad archive: %s", what);
}

static void forget_extra(struct tar_reader *r)
{
    strbuf_reset(&r->path);
    strbuf_reset(&r->link);
    r->size = r->uid = r->gid = r->mtime = -1;
}

void tar_reader_init(struct tar_reader *r, const struct tar_ops *ops, void *arg)
{
    *r = (struct tar_reader){.ops = ops, .arg = arg};
    strbuf_init(&r->extra, TAR_EXTRA_MAX);
    strbuf_init(&r->path, PATH_MAX);
    strbuf_init(&r->link, PATH_MAX);
    forget_extra(r);
}

void tar_reader_done(struct tar_reader *r)
{
    strbuf_done(&r->extra);
    strbuf_done(&r->path);
    strbuf_done(&r->link);
}

/* ---- numbers and texts ---- */

/* Octal digits between blanks, or base-256 when the first bit is set. -1: neither, or beyond 63 bits. */
static int64_t number(const char *field, size_t size)
{
    uint64_t value = 0;
    size_t i = 0;

    if ((unsigned char)field[0] == 0x80) {
        for (i = 1; i < size; i++) {
            if (value >> 55 != 0)
                return -1;
            value = value << 8 | (unsigned char)field[i];
        }
        return (int64_t)value;
    }
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] >= '0' && field[i] <= '7'; i++) {
        if (value >> 60 != 0)
            return -1;
        value = value << 3 | (unsigned)(field[i] - '0');
    }
    return i == size || field[i] == ' ' || field[i] == '\0' ? (int64_t)value : -1;
}

#define NUMBER(b, field) number((b)->field, sizeof((b)->field))

static bool is_zero(const char block[TAR_BLOCK])
{
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        if (block[i] != '\0')
            return false;
    }
    return true;
}

/* ---- what stands before a member ---- */

static int take_text(struct strbuf *into, const char *value, size_t len, struct err *err)
{
    while (len > 0 && value[len - 1] == '\0') /* GNU ends its long names with one */
        len--;
    if (memchr(value, '\0', len) != NULL || len >= PATH_MAX)
        return bad(err, "a path is too long or holds NUL");
    strbuf_reset(into);
    strbuf_add(into, value, len);
    return strbuf_check(into) == 0 ? 0 : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory");
}

/* A decimal count; a fraction of a second is dropped. */
static int take_number(int64_t *into, const char *value, size_t len, struct err *err)
{
    const char *point = memchr(value, '.', len);
    char text[24];

    if (point != NULL)
        len = (size_t)(point - value);
    if (len >= sizeof(text))
        return bad(err, "a number is too long");
    memcpy(text, value, len);
    text[len] = '\0';
    return str_to_i64(text, into) == 0 ? 0 : bad(err, "a number is none");
}

static int take_record(struct tar_reader *r, const char *key, size_t key_len, const char *value,
                       size_t len, struct err *err)
{
    const struct {
        const char *key;
        struct strbuf *text;
        int64_t *number;
    } rows[] = {{"path", &r->path, NULL}, {"linkpath", &r->link, NULL}, {"size", NULL, &r->size},
                {"uid", NULL, &r->uid},   {"gid", NULL, &r->gid},       {"mtime", NULL, &r->mtime}};

    if (key_len >= 10 && memcmp(key, "GNU.sparse", 10) == 0)
        return bad(err, "sparse files are not supported");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strlen(rows[i].key) != key_len || memcmp(rows[i].key, key, key_len) != 0)
            continue;
        if (rows[i].text != NULL)
            return take_text(rows[i].text, value, len, err);
        int rc = take_number(rows[i].number, value, len, err);
        if (rc == 0 && *rows[i].number < 0 && rows[i].number != &r->mtime)
            rc = bad(err, "a negative number");
        return rc;
    }
    return 0; /* comments, names of owners, times of access: not needed here */
}

/* Records "LENGTH KEY=VALUE\n". A global header says nothing that outlives the next member: paths and sizes for all
 * members at once make no sense. */
static int take_records(struct tar_reader *r, struct err *err)
{
    const char *p = r->extra.data, *end = p + r->extra.len;

    while (p < end) {
        size_t len = 0;
        const char *at = p;
        while (at < end && *at >= '0' && *at <= '9' && len <= TAR_EXTRA_MAX)
            len = len * 10 + (size_t)(*at++ - '0');
        if (at == end || *at != ' ' || len > (size_t)(end - p) || len < (size_t)(at - p) + 3 ||
            p[len - 1] != '\n')
            return bad(err, "a pax record is malformed");
        const char *key = at + 1, *last = p + len - 1;
        const char *equals = memchr(key, '=', (size_t)(last - key));
        if (equals == NULL)
            return bad(err, "a pax record is malformed");
        int rc = take_record(r, key, (size_t)(equals - key), equals + 1,
                             (size_t)(last - equals - 1), err);
        if (rc < 0)
            return rc;
        p += len;
    }
    return 0;
}

static int end_extra(struct tar_reader *r, struct err *err)
{
    int rc = strbuf_check(&r->extra) < 0 ? bad(err, "no memory for a pax header") : 0;

    if (rc == 0 && r->extra.len > 0 && r->extra_type == 'L')
        rc = take_text(&r->path, r->extra.data, r->extra.len, err);
    else if (rc == 0 && r->extra.len > 0 && r->extra_type == 'K')
        rc = take_text(&r->link, r->extra.data, r->extra.len, err);
    else if (rc == 0 && r->extra.len > 0 && r->extra_type == 'x')
        rc = take_records(r, err);
    r->state = TAR_AT_HEADER;
    return rc;
}

/* ---- members ---- */

static int type_of(char c)
{
    switch (c) {
    case '0':
    case '7':
    case '\0':
        return TAR_FILE;
    case '1':
        return TAR_HARD_LINK;
    case '2':
        return TAR_SYMLINK;
    case '5':
        return TAR_FOLDER;
    case '3':
    case '4':
    case '6':
        return TAR_SPECIAL;
    default:
        return -1;
    }
}

static int put_names(struct tar_reader *r, const struct tar_block *b, struct err *err)
{
    if (r->path.len == 0) {
        bool ustar = memcmp(b->magic, "ustar\0", sizeof(b->magic)) == 0;
        if (ustar && b->prefix[0] != '\0') {
            strbuf_add(&r->path, b->prefix, strnlen(b->prefix, sizeof(b->prefix)));
            strbuf_addc(&r->path, '/');
        }
        strbuf_add(&r->path, b->name, strnlen(b->name, sizeof(b->name)));
    }
    if (r->link.len == 0)
        strbuf_add(&r->link, b->link, strnlen(b->link, sizeof(b->link)));
    if (strbuf_check(&r->path) < 0 || strbuf_check(&r->link) < 0)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a name");
    return r->path.len == 0 ? bad(err, "a member without a name") : 0;
}

static int end_member(struct tar_reader *r, struct err *err)
{
    r->state = TAR_AT_HEADER;
    forget_extra(r);
    return r->ops->on_member_end(r->arg, err);
}

static int begin_member(struct tar_reader *r, const struct tar_block *b, struct err *err)
{
    int64_t size = r->size >= 0 ? r->size : NUMBER(b, size), mode = NUMBER(b, mode);
    int64_t uid = r->uid >= 0 ? r->uid : NUMBER(b, uid);
    int64_t gid = r->gid >= 0 ? r->gid : NUMBER(b, gid);
    int64_t mtime = r->mtime >= 0 ? r->mtime : NUMBER(b, mtime);
    int type = type_of(b->type);

    if (type < 0)
        return bad(err,
                   b->type == 'S' ? "sparse files are not supported" : "an unknown kind of member");
    if (size < 0 || mode < 0 || uid < 0 || gid < 0)
        return bad(err, "a number in a header is none");
    int rc = put_names(r, b, err);
    if (rc < 0)
        return rc;
    if (type == TAR_FILE && r->path.data[r->path.len - 1] == '/') /* as v7 wrote folders */
        type = TAR_FOLDER;
    struct tar_member m = {.type = (enum tar_type)type,
                           .path = r->path.data,
                           .link = r->link.len > 0 ? r->link.data : "",
                           .mode = (unsigned)mode & 07777,
                           .size = type == TAR_FILE ? (uint64_t)size : 0,
                           .uid = (uint64_t)uid,
                           .gid = (uint64_t)gid,
                           .mtime = MAX(mtime, 0)};
    rc = r->ops->on_member(r->arg, &m, err);
    if (rc < 0)
        return rc;
    r->left = m.size;
    r->padding = tar_padding(m.size);
    r->state = TAR_AT_DATA;
    return r->left == 0 ? end_member(r, err) : 0;
}

static int take_header(struct tar_reader *r, struct err *err)
{
    union tar_any any;

    r->seen = true;
    if (is_zero(r->block)) {
        r->state = TAR_AT_END;
        return 0;
    }
    memcpy(any.bytes, r->block, sizeof(any.bytes));
    if (NUMBER(&any.block, checksum) != (int64_t)tar_checksum(r->block))
        return bad(err, "a header's checksum is wrong");
    if (strchr("xgLK", any.block.type) == NULL || any.block.type == '\0')
        return begin_member(r, &any.block, err);
    int64_t size = NUMBER(&any.block, size);
    if (size < 0 || size > TAR_EXTRA_MAX)
        return bad(err, "an extended header is too long");
    r->extra_type = any.block.type;
    strbuf_reset(&r->extra);
    r->left = (uint64_t)size;
    r->padding = tar_padding(r->left);
    r->state = TAR_AT_EXTRA;
    return r->left == 0 ? end_extra(r, err) : 0;
}

static size_t fill_block(struct tar_reader *r, const char *p, size_t n)
{
    size_t take = MIN(n, TAR_BLOCK - r->have);

    memcpy(r->block + r->have, p, take);
    r->have += take;
    return take;
}

/* Returns how many bytes it took, or -errno. */
static ssize_t take_content(struct tar_reader *r, const char *p, size_t n, struct err *err)
{
    size_t take = (size_t)MIN(r->left, (uint64_t)n);
    int rc = 0;

    if (r->left > 0) {
        r->left -= take;
        if (r->state == TAR_AT_DATA)
            rc = r->ops->on_data(r->arg, p, take, err);
        else
            strbuf_add(&r->extra, p, take);
    } else {
        take = MIN(r->padding, n);
        r->padding -= take;
    }
    if (rc == 0 && r->left == 0 && r->padding == 0)
        rc = r->state == TAR_AT_DATA ? end_member(r, err) : end_extra(r, err);
    return rc < 0 ? rc : (ssize_t)take;
}

int tar_reader_feed(struct tar_reader *r, const char *p, size_t n, struct err *err)
{
    while (n > 0 && r->state != TAR_AT_END) {
        ssize_t took;
        if (r->state == TAR_AT_HEADER) {
            took = (ssize_t)fill_block(r, p, n);
            int rc = 0;
            if (r->have == TAR_BLOCK) {
                r->have = 0;
                rc = take_header(r, err);
            }
            if (rc < 0)
                return rc;
        } else {
            took = take_content(r, p, n, err);
            if (took < 0)
                return (int)took;
        }
        p += took;
        n -= (size_t)took;
    }
    return 0;
}

/* One zero block, or none at all behind a whole member, is what careless writers leave. */
int tar_reader_finish(struct tar_reader *r, struct err *err)
{
    if (r->state != TAR_AT_END && (r->state != TAR_AT_HEADER || r->have > 0 || !r->seen))
        return bad(err, r->seen ? "it breaks off" : "it is empty");
    return 0;
}
