#include "execd/sql/dsn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "proto/base/codec.h"
#include "proto/base/str.h"

#define SQLITE "sqlite:"
#define PART_MAX 255   /* user, password, database: what MySQL's own fields hold, or more */
#define SOCKET_MAX 107 /* sun_path */

static int refuse(struct err *err, const char *why)
{
    return err_set(err, 0, EINVAL,
                   "%s: expected sqlite:PATH, mysql://USER:PASSWORD@ADDRESS:PORT/DATABASE or "
                   "mysql://USER:PASSWORD@/DATABASE?socket=PATH",
                   why);
}

/* The bytes up to `end`, with %XX resolved; NULL: too long, or no such bytes. */
static const char *decode(const char *from, const char *end, struct arena *arena)
{
    size_t n = 0, len = (size_t)(end - from);
    char *out = len <= 3 * PART_MAX ? arena_alloc(arena, len + 1) : NULL;

    for (const char *p = from; out != NULL && p < end; p++) {
        unsigned char byte = (unsigned char)*p;
        if (*p == '%') {
            const char digits[3] = {end - p > 2 ? p[1] : '\0', end - p > 2 ? p[2] : '\0', '\0'};
            if (codec_unhex(digits, &byte, 1) < 0)
                return NULL;
            p += 2;
        }
        if (byte == 0 || n == PART_MAX)
            return NULL;
        out[n++] = (char)byte;
    }
    if (out != NULL)
        out[n] = '\0';
    return out;
}

static bool is_address(const char *host)
{
    struct in6_addr any;

    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

/* "ADDRESS", "ADDRESS:PORT", "[ADDRESS]:PORT" */
static int take_host(const char *from, const char *end, struct arena *arena, struct dsn *dsn)
{
    const char *colon = memrchr(from, ':', (size_t)(end - from));
    const char *close = memrchr(from, ']', (size_t)(end - from));
    uint32_t port = 3306;

    if (colon != NULL && (close == NULL || colon > close)) {
        const char *number = decode(colon + 1, end, arena);
        if (number == NULL || str_to_u32(number, &port) < 0 || port == 0 || port > UINT16_MAX)
            return -EINVAL;
        end = colon;
    }
    if (*from == '[' && end[-1] == ']') {
        from++;
        end--;
    }
    dsn->host = decode(from, end, arena);
    if (dsn->host != NULL && strcmp(dsn->host, "localhost") == 0)
        dsn->host = "127.0.0.1";
    dsn->port = (uint16_t)port;
    return dsn->host != NULL && is_address(dsn->host) ? 0 : -EINVAL;
}

static int take_user(const char *from, const char *end, struct arena *arena, struct dsn *dsn)
{
    const char *colon = memchr(from, ':', (size_t)(end - from));

    dsn->user = decode(from, colon != NULL ? colon : end, arena);
    dsn->password = colon != NULL ? decode(colon + 1, end, arena) : "";
    return dsn->user != NULL && dsn->password != NULL ? 0 : -EINVAL;
}

static int take_socket(const char *query, struct arena *arena, struct dsn *dsn)
{
    static const char key[] = "socket=";

    if (!str_starts(query, key))
        return -EINVAL;
    const char *path = query + strlen(key);
    dsn->socket = decode(path, path + strlen(path), arena);
    bool good = dsn->socket != NULL && dsn->socket[0] == '/' && strlen(dsn->socket) <= SOCKET_MAX;
    return good ? 0 : -EINVAL;
}

/* What stands behind "mysql://". */
static int parse_mysql(const char *text, struct arena *arena, struct dsn *dsn, struct err *err)
{
    const char *query = strchr(text, '?');
    const char *end = query != NULL ? query : text + strlen(text);
    const char *slash = memchr(text, '/', (size_t)(end - text));
    const char *host_end = slash != NULL ? slash : end;
    const char *at = memrchr(text, '@', (size_t)(host_end - text));

    if (at == NULL || take_user(text, at, arena, dsn) < 0)
        return refuse(err, "no user");
    if (query != NULL && take_socket(query + 1, arena, dsn) < 0)
        return refuse(err, "a socket is one absolute path");
    if ((at + 1 < host_end) == (dsn->socket != NULL))
        return refuse(err, "either an address or a socket");
    if (dsn->socket == NULL && take_host(at + 1, host_end, arena, dsn) < 0)
        return refuse(err, "the host must be an IP address or localhost");
    bool named = slash != NULL && slash + 1 < end;
    dsn->database = named ? decode(slash + 1, end, arena) : "sandbox";
    return dsn->database != NULL ? 0 : refuse(err, "no name of a database");
}

int dsn_parse(const char *text, struct arena *arena, struct dsn *ret_dsn, struct err *err)
{
    static const char *const schemes[] = {"mysql://", "mariadb://"};
    struct dsn dsn = {.kind = DSN_MYSQL};

    if (str_starts(text, SQLITE) && text[strlen(SQLITE)] != '\0') {
        *ret_dsn = (struct dsn){.kind = DSN_SQLITE,
                                .path = arena_printf(arena, "%s", text + strlen(SQLITE))};
        return ret_dsn->path != NULL ? 0 : err_set(err, 0, ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (!str_starts(text, schemes[i]))
            continue;
        int rc = parse_mysql(text + strlen(schemes[i]), arena, &dsn, err);
        if (rc == 0)
            *ret_dsn = dsn;
        return rc;
    }
    return refuse(err, "the source of SQL");
}
