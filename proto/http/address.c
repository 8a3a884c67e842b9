#include "proto/http/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "proto/base/str.h"

#define LOCALHOST "127.0.0.1"

static int parse_unix(const char *path, struct http_address *a, struct err *err)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&a->sa;

    if (*path == '\0' || strlen(path) >= sizeof(un->sun_path))
        return err_set(err, 0, EINVAL, "listen: a socket path has 1 to %zu bytes",
                       sizeof(un->sun_path) - 1);
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, strlen(path) + 1);
    a->len = sizeof(*un);
    a->unix_path = path;
    return 0;
}

static bool parse_v6(const char *host, uint16_t port, struct http_address *a)
{
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)&a->sa;

    in->sin6_family = AF_INET6;
    in->sin6_port = htons(port);
    a->len = sizeof(*in);
    return inet_pton(AF_INET6, host, &in->sin6_addr) == 1;
}

static bool parse_v4(const char *host, uint16_t port, struct http_address *a)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&a->sa;

    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    a->len = sizeof(*in);
    return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? LOCALHOST : host, &in->sin_addr) ==
           1;
}

static int parse_tcp(const char *where, struct http_address *a, struct err *err)
{
    const char *colon = strrchr(where, ':');
    char host[INET6_ADDRSTRLEN + 2];
    uint32_t port;
    size_t len = colon != NULL ? (size_t)(colon - where) : 0;

    if (colon == NULL || len == 0 || len >= sizeof(host) || str_to_u32(colon + 1, &port) < 0 ||
        port > UINT16_MAX)
        return err_set(err, 0, EINVAL,
                       "listen '%.60s': expected ADDRESS:PORT (such as 127.0.0.1:8080), "
                       "[IPV6]:PORT or unix:PATH",
                       where);
    memcpy(host, where, len);
    host[len] = '\0';
    bool bracket = host[0] == '[' && host[len - 1] == ']';
    if (bracket)
        host[len - 1] = '\0';
    if (bracket ? parse_v6(host + 1, (uint16_t)port, a) : parse_v4(host, (uint16_t)port, a))
        return 0;
    return err_set(err, 0, EINVAL, "listen '%.60s': '%s' is not an IP address, nor localhost",
                   where, host + bracket);
}

int http_address_parse(const char *where, struct http_address *ret_address, struct err *err)
{
    static const char unix_prefix[] = "unix:";

    *ret_address = (struct http_address){.unix_path = NULL};
    if (str_starts(where, unix_prefix))
        return parse_unix(where + strlen(unix_prefix), ret_address, err);
    return parse_tcp(where, ret_address, err);
}

bool http_address_is_local(const struct http_address *address)
{
    if (address->sa.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->sa;
        return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->sa.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&address->sa)->sin6_addr);
    return address->unix_path != NULL;
}
