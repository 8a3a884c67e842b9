/* The multipart parser: what clients send, at every split; what they must not send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/str.h"
#include "proto/http/multipart.h"

/* Parts as text: "name|filename|type:data;" */
static struct strbuf seen;

static int on_part(void *arg, const struct multipart_part *part, struct err *err)
{
    (void)arg;
    (void)err;
    strbuf_addf(&seen, "%s|%s|%s:", part->name, part->filename ? part->filename : "-", part->type);
    return 0;
}

static int on_data(void *arg, const char *p, size_t n, struct err *err)
{
    (void)arg;
    (void)err;
    strbuf_add(&seen, p, n);
    return 0;
}

static int on_part_end(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    strbuf_addc(&seen, ';');
    return 0;
}

static const struct multipart_ops ops = {on_part, on_data, on_part_end};

static int run(const char *type, const char *body, size_t n, size_t piece)
{
    struct multipart *m;
    struct err err = {0};
    int r = multipart_new(type, 10, &ops, NULL, &m, &err);

    strbuf_reset(&seen);
    if (r < 0)
        return r;
    for (size_t at = 0; r == 0 && at < n; at += piece) {
        size_t len = n - at < piece ? n - at : piece;
        char *copy = malloc(len); /* so that the sanitizer sees a read past a piece */

        memcpy(copy, body + at, len);
        r = multipart_feed(m, copy, len, &err);
        free(copy);
    }
    if (r == 0)
        r = multipart_finish(m, &err);
    assert_true(r == 0 || err.text[0]);
    multipart_free(m);
    return r;
}

static void expect(const char *type, const char *body, const char *parts)
{
    for (size_t piece = 1; piece <= strlen(body); piece++) {
        if (run(type, body, strlen(body), piece) < 0)
            fail_msg("refused in pieces of %zu: %s", piece, body);
        assert_string_equal(seen.data ? seen.data : "", parts);
    }
}

static void refuse(const char *type, const char *body)
{
    for (size_t piece = 1; piece <= strlen(body) + 1; piece += 7) {
        if (run(type, body, strlen(body), piece) == 0)
            fail_msg("accepted: %s", body);
    }
}

#define TYPE "multipart/form-data; boundary=xyz"
#define PART(head, data) "--xyz\r\n" head "\r\n\r\n" data "\r\n"
#define NAMED "Content-Disposition: form-data; name=\"f\""

static void test_what_the_clients_send(void **state)
{
    (void)state;
    expect(
        TYPE,
        PART(NAMED "; filename=\"metadata\"\r\nContent-Type: application/json", "{\"path\":\"/a\"}")
            PART(NAMED "; filename=\"/tmp/x y\"\r\nContent-Length: 4", "da\r\n") "--xyz--\r\n",
        "f|metadata|application/json:{\"path\":\"/a\"};f|/tmp/x y|:da\r\n;");
    expect("Multipart/Form-Data; charset=x; boundary=\"a b=c\"",
           "--a b=c\r\nContent-Disposition: form-data; name=metadata; filename=metadata; "
           "filename*=utf-8''metadata\r\n\r\nv\r\n--a b=c--",
           "metadata|metadata|:v;");
    expect(TYPE, PART(NAMED "; filename=\"a\\\"b%22c\\\\d\"", "") "--xyz--", "f|a\"b\"c\\d|:;");
    expect(TYPE, PART(NAMED "; filename*=UTF-8''caf%C3%A9; filename=\"cafe\"", "1") "--xyz--",
           "f|caf\xc3\xa9|:1;");
    expect(TYPE,
           "preamble\r\n" PART("content-disposition:form-data;name=f",
                               "1") "--xyz--\r\nepilogue --xyz",
           "f|-|:1;");
    expect(TYPE, "--xyz \t\r\n" NAMED "\r\n\r\n1\r\n--xyz--", "f|-|:1;");
    expect(TYPE, "--xyz\r\n\r\nno head\r\n--xyz--", "|-|:no head;");
    expect(TYPE, "--xyz--", "");
}

static void test_D64_boundary_in_the_data(void **state)
{
    (void)state;
    expect(TYPE, PART(NAMED, "x--xyz") "--xyz--", "f|-|:x--xyz;");
    expect(TYPE, PART(NAMED, "a\r\n--xy\r\n--xyzz\r\n-\r\r\n--xy-") "--xyz--",
           "f|-|:a\r\n--xy\r\n--xyzz\r\n-\r\r\n--xy-;");
    expect(TYPE, PART(NAMED, "\r\n--xyz-\r\n--xyz-x\r") "--xyz--", "f|-|:\r\n--xyz-\r\n--xyz-x\r;");
    expect(TYPE, PART(NAMED, "\r\n\r\n") "--xyz--", "f|-|:\r\n\r\n;");
    expect(TYPE,
           PART("Content-Type: multipart/mixed; boundary=xyz2",
                "--xyz2\r\n\r\nin\r\n--xyz2--") "--xyz--",
           "|-|multipart/mixed; boundary=xyz2:--xyz2\r\n\r\nin\r\n--xyz2--;");
}

static void test_D64_malformed_bodies(void **state)
{
    (void)state;
    struct strbuf big;

    refuse(TYPE, "");
    refuse(TYPE, "no boundary at all");
    refuse(TYPE, PART(NAMED, "1"));
    refuse(TYPE, PART(NAMED, "1") "--xyz");
    refuse(TYPE, PART(NAMED, "1") "--xyz-");
    refuse(TYPE, "--xyz\n" NAMED "\n\n1\n--xyz--\n");
    refuse(TYPE, "--xyz\r\n" NAMED "\n\n1\r\n--xyz--");
    refuse(TYPE, "--xyz\r\n" NAMED "\rX: y\r\n\r\n1\r\n--xyz--");
    refuse(TYPE, "--xyz\r\nno colon\r\n\r\n1\r\n--xyz--");
    refuse(TYPE, "--xyz\r\nContent-Disposition: form-data; name=\"f\r\n\r\n1\r\n--xyz--");
    refuse(TYPE, "--xyz\r\nX\x01: y\r\n\r\n1\r\n--xyz--");
    refuse(TYPE, "--xyz\r\n folded: y\r\n\r\n1\r\n--xyz--");
    refuse(TYPE, "--xyz text\r\n" NAMED "\r\n\r\n1\r\n--xyz--");
    strbuf_init(&big, 20000);
    strbuf_adds(&big, "--xyz\r\nX: ");
    for (int i = 0; i < 9000; i++)
        strbuf_addc(&big, 'a');
    strbuf_adds(&big, "\r\n\r\n1\r\n--xyz--");
    refuse(TYPE, big.data);
    strbuf_reset(&big);
    for (int i = 0; i < 11; i++)
        strbuf_adds(&big, PART(NAMED, "1"));
    strbuf_adds(&big, "--xyz--");
    refuse(TYPE, big.data);
    strbuf_done(&big);
}

static void test_D64_content_types(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a",
        "multipart/form-datax; boundary=a",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=a\xc3",
        "multipart/form-data boundary=a",
        "multipart/form-data; "
        "boundary=12345678901234567890123456789012345678901234567890123456789012345678901",
    };
    struct multipart *m;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (multipart_new(bad[i], 10, &ops, NULL, &m, NULL) == 0)
            fail_msg("accepted: %s", bad[i]);
    }
    assert_true(multipart_new(NULL, 10, &ops, NULL, &m, NULL) < 0);
}

static int setup(void **state)
{
    (void)state;
    strbuf_init(&seen, 65536);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    strbuf_done(&seen);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_clients_send),
        cmocka_unit_test(test_D64_boundary_in_the_data),
        cmocka_unit_test(test_D64_malformed_bodies),
        cmocka_unit_test(test_D64_content_types),
    };
    return cmocka_run_group_tests_name("multipart", tests, setup, teardown);
}
