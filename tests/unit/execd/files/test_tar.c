/* The tar format: what is written reads back the same, whatever does not fit a plain header; what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/files/tar.h"
#include "execd/files/tar_block.h"

struct got {
    struct tar_member m;
    char path[PATH_MAX], link[PATH_MAX], data[64];
    size_t n_data;
    unsigned members, ends;
};

static int on_member(void *arg, const struct tar_member *m, struct err *err)
{
    struct got *g = arg;

    (void)err;
    g->m = *m;
    g->members++;
    snprintf(g->path, sizeof(g->path), "%s", m->path);
    snprintf(g->link, sizeof(g->link), "%s", m->link);
    return 0;
}

static int on_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct got *g = arg;

    (void)err;
    assert_true(g->n_data + n <= sizeof(g->data));
    memcpy(g->data + g->n_data, p, n);
    g->n_data += n;
    return 0;
}

static int on_member_end(void *arg, struct err *err)
{
    (void)err;
    ((struct got *)arg)->ends++;
    return 0;
}

static const struct tar_ops ops = {on_member, on_data, on_member_end};

static int read_all(const struct strbuf *archive, struct got *g, struct err *err)
{
    struct tar_reader reader;

    *g = (struct got){0};
    tar_reader_init(&reader, &ops, g);
    int rc = tar_reader_feed(&reader, archive->data, archive->len, err);
    if (rc == 0)
        rc = tar_reader_finish(&reader, err);
    tar_reader_done(&reader);
    return rc;
}

static char *long_path(size_t len, char *out)
{
    for (size_t i = 0; i < len; i++)
        out[i] = i % 50 == 49 && i + 1 < len ? '/' : 'p';
    out[len] = '\0';
    return out;
}

static void check(const struct tar_member *m)
{
    struct strbuf archive;
    struct got g;
    struct err err = {0};
    static const char zeros[TAR_END_SIZE];

    strbuf_init(&archive, 1 << 20);
    tar_put_header(&archive, m);
    if (m->size > 0 && m->size < sizeof(g.data)) {
        strbuf_add(&archive, "0123456789012345678901234567890123456789", (size_t)m->size);
        strbuf_add(&archive, zeros, tar_padding(m->size));
        strbuf_add(&archive, zeros, sizeof(zeros));
    }
    int rc = read_all(&archive, &g, &err);
    if (m->size < sizeof(g.data))
        assert_int_equal(rc, m->size > 0 || g.ends == 1 ? 0 : -EINVAL);
    assert_int_equal(g.members, 1);
    assert_string_equal(g.path, m->path);
    assert_string_equal(g.link, m->link);
    assert_int_equal(g.m.type, m->type);
    assert_int_equal(g.m.mode, m->mode);
    assert_int_equal(g.m.size, m->size);
    assert_int_equal(g.m.uid, m->uid);
    assert_int_equal(g.m.gid, m->gid);
    assert_int_equal(g.m.mtime, m->mtime);
    if (m->size < sizeof(g.data))
        assert_int_equal(g.n_data, m->size);
    strbuf_done(&archive);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const size_t lengths[] = {1,   99,  100, 101,  150,  155, 156,
                                     255, 256, 257, 1000, 4000, 4095};
    char path[PATH_MAX], link[PATH_MAX];

    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct tar_member m = {.type = TAR_FILE,
                               .path = long_path(lengths[i], path),
                               .link = "",
                               .mode = 0644,
                               .size = 5,
                               .mtime = 1700000000};
        check(&m);
        m = (struct tar_member){
            .type = TAR_SYMLINK, .path = "s", .link = long_path(lengths[i], link), .mode = 0777};
        check(&m);
    }
    struct tar_member large = {.type = TAR_FILE,
                               .path = "large",
                               .link = "",
                               .mode = 06755,
                               .size = UINT64_C(1) << 40,
                               .uid = 4294967294U,
                               .gid = 3000000};
    check(&large);
    struct tar_member folder = {.type = TAR_FOLDER, .path = "d/", .link = "", .mode = 0700};
    check(&folder);
}

/* A name of 150 bytes without '/' fits no plain header. */
static void test_unsplittable(void **state)
{
    (void)state;
    char name[152];

    memset(name, 'n', 151);
    name[151] = '\0';
    struct tar_member m = {.type = TAR_FILE, .path = name, .link = ""};
    check(&m);
    for (size_t n = 85; n < 110; n++) { /* around the step where the record's length gets a digit */
        memset(name, 'm', n + 40);
        name[n + 40] = '\0';
        check(&m);
    }
}

static void put_raw(struct strbuf *out, char type, const char *name, const char *size,
                    const char *content, size_t len)
{
    union tar_any any = {0};
    static const char zeros[TAR_BLOCK];

    memcpy(any.block.name, name, strlen(name));
    memcpy(any.block.mode, "0000644", 8);
    memcpy(any.block.size, size, strlen(size));
    memcpy(any.block.magic, "ustar", 6);
    any.block.type = type;
    snprintf(any.block.checksum, sizeof(any.block.checksum), "%06o", tar_checksum(any.bytes));
    strbuf_add(out, any.bytes, sizeof(any.bytes));
    strbuf_add(out, content, len);
    strbuf_add(out, zeros, tar_padding(len));
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        char type;
        const char *name, *size, *content, *why;
    } rows[] = {
        {'0', "f", "00000000zzz", "", "number"},
        {'0', "", "00000000000", "", "without a name"},
        {'S', "f", "00000000000", "", "sparse"},
        {'?', "f", "00000000000", "", "unknown kind"},
        {'x', "p", "00000200001", "", "too long"},
        {'x', "p", "00000000005", "9 a=b", "malformed"},
        {'x', "p", "00000000006", "x a=b\n", "malformed"},
        {'x', "p", "00000000005", "5 ab\n", "malformed"},
        {'x', "p", "00000000013", "11 size=-1\n", "negative"},
        {'x', "p", "00000000013", "11 size=a1\n", "none"},
        {'x', "p", "00000000030", "24 GNU.sparse.major=1.0\n", "sparse"},
        {'0', "f", "00000000010", "short", "breaks off"},
        {'0', "f", "\x80\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01", "", "number"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct strbuf archive;
        struct got g;
        struct err err = {0};
        strbuf_init(&archive, 0);
        put_raw(&archive, rows[i].type, rows[i].name, rows[i].size, rows[i].content,
                strlen(rows[i].content));
        if (strcmp(rows[i].why, "breaks off") == 0)
            archive.len = MIN(archive.len, (size_t)TAR_BLOCK + 5);
        int rc = read_all(&archive, &g, &err);
        if (rc != -EINVAL || strstr(err.text, rows[i].why) == NULL)
            fail_msg("row %zu: %d '%s'", i, rc, err.text);
        strbuf_done(&archive);
    }
}

static void test_checksum_and_emptiness(void **state)
{
    (void)state;
    struct strbuf archive;
    struct got g;
    struct err err = {0};

    strbuf_init(&archive, 0);
    assert_int_equal(read_all(&archive, &g, &err), -EINVAL);
    put_raw(&archive, '0', "f", "00000000000", "", 0);
    assert_int_equal(read_all(&archive, &g, &err), 0);
    assert_int_equal(g.ends, 1);
    archive.data[0] = 'g';
    assert_int_equal(read_all(&archive, &g, &err), -EINVAL);
    assert_non_null(strstr(err.text, "checksum"));
    assert_int_equal(g.members, 0);
    strbuf_done(&archive);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_unsplittable),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_checksum_and_emptiness),
    };
    return cmocka_run_group_tests_name("tar", tests, NULL, NULL);
}
