#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "execd/sql/dsn.h"

static struct dsn parse(struct arena *arena, const char *text)
{
    struct dsn dsn = {0};
    struct err err = {0};
    if (dsn_parse(text, arena, &dsn, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return dsn;
}

static void sources_of_sqlite(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    static const char *const paths[] = {"x.db", "/a b/c%20.db", "~/x", ":memory:"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct dsn dsn = parse(&arena, arena_printf(&arena, "sqlite:%s", paths[i]));
        assert_int_equal(dsn.kind, DSN_SQLITE);
        assert_string_equal(dsn.path, paths[i]);
    }
    arena_done(&arena);
}

static void sources_of_mysql(void **state)
{
    (void)state;
    static const struct {
        const char *text, *user, *password, *host, *socket, *database;
        int port;
    } rows[] = {
        {"mysql://u:p@127.0.0.1:3307/b", "u", "p", "127.0.0.1", NULL, "b", 3307},
        {"mariadb://u@localhost", "u", "", "127.0.0.1", NULL, "sandbox", 3306},
        {"mysql://u:@[::1]/", "u", "", "::1", NULL, "sandbox", 3306},
        {"mysql://u:p@[fe80::1]:1/b", "u", "p", "fe80::1", NULL, "b", 1},
        {"mysql://a%40b:c%3a%2F@10.0.0.1/d%60", "a@b", "c:/", "10.0.0.1", NULL, "d`", 3306},
        {"mysql://u:a@b@127.0.0.1/b", "u", "a@b", "127.0.0.1", NULL, "b", 3306},
        {"mysql://u:a:b@127.0.0.1/b", "u", "a:b", "127.0.0.1", NULL, "b", 3306},
        {"mysql://u:p@/b?socket=/run/my%20sql.sock", "u", "p", NULL, "/run/my sql.sock", "b", 0},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dsn dsn = parse(&arena, rows[i].text);
        assert_int_equal(dsn.kind, DSN_MYSQL);
        assert_string_equal(dsn.user, rows[i].user);
        assert_string_equal(dsn.password, rows[i].password);
        assert_string_equal(dsn.database, rows[i].database);
        assert_int_equal(dsn.port, rows[i].port);
        assert_int_equal(dsn.host == NULL, rows[i].host == NULL);
        assert_int_equal(dsn.socket == NULL, rows[i].socket == NULL);
        assert_string_equal(dsn.host ? dsn.host : dsn.socket,
                            rows[i].host ? rows[i].host : rows[i].socket);
    }
    arena_done(&arena);
}

static void what_is_no_source(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "sqlite:",
        "x.db",
        "postgres://u:geheim@127.0.0.1/b",
        "mysql://",
        "mysql://127.0.0.1/b",
        "mysql://u:geheim@",
        "mysql://u:geheim@/b",
        "mysql://u:geheim@host.name/b",
        "mysql://u:geheim@127.0.0.1:/b",
        "mysql://u:geheim@127.0.0.1:70000/b",
        "mysql://u:geheim@127.0.0.1:x/b",
        "mysql://u:geheim@127.0.0.1/b?socket=/s",
        "mysql://u:geheim@/b?socket=s",
        "mysql://u:geheim@/b?tls=1",
        "mysql://u:geheim%4@127.0.0.1/b",
        "mysql://u:geheim%zz@127.0.0.1/b",
        "mysql://u:geheim%00@127.0.0.1/b",
        "mysql://u:geheim@[]/b",
    };
    struct arena arena;
    struct dsn dsn;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = {0};
        if (dsn_parse(bad[i], &arena, &dsn, &err) >= 0)
            fail_msg("%s was taken", bad[i]);
        assert_non_null(strstr(err.text, "mysql://USER"));
        assert_null(strstr(err.text, "geheim"));
    }
    const char *filler = "0123456789012345678901234567890123456789012345678901234567890123456789";
    const char *long_user =
        arena_printf(&arena, "mysql://%s%s%s%s@127.0.0.1/", filler, filler, filler, filler);
    assert_true(dsn_parse(long_user, &arena, &dsn, NULL) < 0);
    const char *long_path = arena_printf(&arena, "mysql://u@/?socket=/%s%s", filler, filler);
    assert_true(dsn_parse(long_path, &arena, &dsn, NULL) < 0);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources_of_sqlite),
        cmocka_unit_test(sources_of_mysql),
        cmocka_unit_test(what_is_no_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
