#include <stdio.h>
#include <string.h>

#include "execd/files/tar.h"
#include "execd/files/tar_block.h"

#define OCTAL_11 ((UINT64_C(1) << 33) - 1) /* eleven octal digits */
#define OCTAL_7 ((UINT64_C(1) << 21) - 1)

size_t tar_padding(uint64_t size)
{
    return (size_t)(-size % TAR_BLOCK);
}

static void put_octal(char *field, size_t size, uint64_t value)
{
    field[--size] = '\0';
    while (size > 0) {
        field[--size] = (char)('0' + (value & 7));
        value >>= 3;
    }
}

static void put_text(char *field, size_t size, const char *text)
{
    memcpy(field, text, strnlen(text, size));
}

/* Where to cut a path into prefix and name; 0: it fits the name alone; SIZE_MAX: it fits nowhere. */
static size_t cut_at(const char *path)
{
    const struct tar_block *b = NULL;
    size_t len = strlen(path);

    if (len <= sizeof(b->name))
        return 0;
    for (size_t i = MIN(len - 1, sizeof(b->prefix)); i > 0; i--) {
        if (path[i] == '/' && len - i - 1 <= sizeof(b->name) && len - i - 1 > 0)
            return i;
    }
    return SIZE_MAX;
}

static void put_block(struct strbuf *out, const struct tar_member *m, char type, const char *path)
{
    union tar_any any = {0};
    struct tar_block *b = &any.block;
    size_t cut = cut_at(path);

    if (cut > 0 && cut < SIZE_MAX) {
        memcpy(b->prefix, path, cut);
        path += cut + 1;
    }
    put_text(b->name, sizeof(b->name), path);
    put_text(b->link, sizeof(b->link), m->link != NULL ? m->link : "");
    put_octal(b->mode, sizeof(b->mode), m->mode & 07777);
    put_octal(b->uid, sizeof(b->uid), MIN(m->uid, OCTAL_7));
    put_octal(b->gid, sizeof(b->gid), MIN(m->gid, OCTAL_7));
    put_octal(b->size, sizeof(b->size), MIN(m->size, OCTAL_11));
    put_octal(b->mtime, sizeof(b->mtime), m->mtime > 0 ? MIN((uint64_t)m->mtime, OCTAL_11) : 0);
    b->type = type;
    memcpy(b->magic, "ustar", sizeof(b->magic));
    memcpy(b->version, "00", sizeof(b->version));
    put_octal(b->checksum, sizeof(b->checksum) - 1, tar_checksum(any.bytes));
    b->checksum[sizeof(b->checksum) - 1] = ' ';
    strbuf_add(out, any.bytes, sizeof(any.bytes));
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts itself. */
static void put_record(struct strbuf *out, const char *key, const char *value)
{
    size_t rest = strlen(key) + strlen(value) + 3, len = rest + 1;
    char digits[24];

    while (rest + (size_t)snprintf(digits, sizeof(digits), "%zu", len) != len)
        len = rest + strlen(digits);
    strbuf_addf(out, "%zu %s=%s\n", len, key, value);
}

static void put_number(struct strbuf *out, const char *key, uint64_t value, uint64_t max)
{
    char text[24];

    if (value <= max)
        return;
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    put_record(out, key, text);
}

static void put_zeros(struct strbuf *out, size_t n)
{
    static const char zeros[TAR_BLOCK];

    strbuf_add(out, zeros, n);
}

void tar_put_header(struct strbuf *out, const struct tar_member *m)
{
    static const char type_of[] = {
        [TAR_FILE] = '0', [TAR_HARD_LINK] = '1', [TAR_SYMLINK] = '2', [TAR_FOLDER] = '5'};
    const char *link = m->link != NULL ? m->link : "";
    struct strbuf extra;

    strbuf_init(&extra, TAR_EXTRA_MAX);
    if (cut_at(m->path) == SIZE_MAX)
        put_record(&extra, "path", m->path);
    if (strlen(link) > sizeof(((struct tar_block *)NULL)->link))
        put_record(&extra, "linkpath", link);
    put_number(&extra, "size", m->size, OCTAL_11);
    put_number(&extra, "uid", m->uid, OCTAL_7);
    put_number(&extra, "gid", m->gid, OCTAL_7);
    if (extra.len > 0) {
        struct tar_member pax = {.mode = 0644, .size = extra.len, .mtime = m->mtime};
        put_block(out, &pax, 'x', "PaxHeaders/member");
        strbuf_add(out, extra.data, extra.len);
        put_zeros(out, tar_padding(extra.len));
    }
    put_block(out, m, type_of[m->type], m->path);
    strbuf_done(&extra);
}
