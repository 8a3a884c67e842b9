#include "proto/http/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "proto/api/errors.h"
#include "proto/http/req.h"

#define ADDRESS_MAX 64

/* The name or address without its port; brackets stay. */
static struct slice name_of(const char *host)
{
    const char *close = host[0] == '[' ? strchr(host, ']') : NULL;
    size_t inside = close != NULL ? (size_t)(close - host) : 0;

    return (struct slice){host, inside + strcspn(host + inside, ":/")};
}

static bool is_same(struct slice a, struct slice b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

static bool is_localhost(struct slice name)
{
    static const char below[] = ".localhost";
    size_t len = strlen(below);

    return is_same(name, (struct slice){below + 1, len - 1}) ||
           (name.len > len && strncasecmp(name.ptr + name.len - len, below, len) == 0);
}

static bool is_address(struct slice name)
{
    char text[ADDRESS_MAX];
    struct in6_addr a;
    bool v6 = name.len > 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']';

    if (name.len >= sizeof(text))
        return false;
    size_t len = v6 ? name.len - 2 : name.len;
    memcpy(text, v6 ? name.ptr + 1 : name.ptr, len);
    text[len] = '\0';
    return inet_pton(v6 ? AF_INET6 : AF_INET, text, &a) == 1;
}

bool host_is_trusted(const char *host, const char *const *origins)
{
    struct slice name = name_of(host);

    for (; origins != NULL && *origins != NULL; origins++) {
        const char *scheme = strstr(*origins, "://");
        const char *allowed = scheme != NULL ? scheme + 3 : *origins;
        if (strcmp(*origins, "*") == 0 || is_same(name, name_of(allowed)))
            return true;
    }
    return is_localhost(name) || is_address(name);
}

int host_check(const struct http_req *req, const char *const *origins, struct err *err)
{
    const char *host = http_req_header(req, "Host");

    if (host == NULL || strcmp(http_req_peer(req), "unix") == 0 || host_is_trusted(host, origins))
        return 0;
    return err_set(
        err, ERR_HOST_NOT_ALLOWED, EACCES,
        "without a token or key nothing is served under the name '%.100s', but under localhost, "
        "addresses and the hosts that the configuration names",
        host);
}
