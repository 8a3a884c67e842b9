/*
 * The entry points of libc that load libraries at run time, replaced by refusals.
 *
 * libevent and libzmq refer to the resolver, although execd hands both of them numeric addresses
 * and paths only; libstdc++ refers to iconv, for locales that execd never sets. In a static binary
 * libc's versions load plug-ins from the root filesystem around them: that of the sandbox, so code
 * of the sandbox inside PID 1. Because the linker takes these definitions first, the resolver's
 * loading code never enters the binary.
 */
#include <errno.h>
#include <iconv.h>
#include <netdb.h>
#include <stddef.h>

int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret_list)
{
    (void)node;
    (void)service;
    (void)hints;
    (void)ret_list;
    return EAI_FAIL;
}

void freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

int getnameinfo(const struct sockaddr *restrict addr, socklen_t addr_len, char *restrict host,
                socklen_t host_len, char *restrict service, socklen_t service_len, int flags)
{
    (void)addr;
    (void)addr_len;
    (void)host;
    (void)host_len;
    (void)service;
    (void)service_len;
    (void)flags;
    return EAI_FAIL;
}

const char *gai_strerror(int code)
{
    (void)code;
    return "names are not resolved here";
}

struct servent *getservbyname(const char *name, const char *proto)
{
    (void)name;
    (void)proto;
    return NULL;
}

struct protoent *getprotobynumber(int number)
{
    (void)number;
    return NULL;
}

struct hostent *gethostbyname(const char *name)
{
    (void)name;
    h_errno = NO_RECOVERY;
    return NULL;
}

iconv_t iconv_open(const char *to_code, const char *from_code)
{
    (void)to_code;
    (void)from_code;
    errno = EINVAL;
    return (iconv_t)-1;
}

size_t iconv(iconv_t conversion, char **restrict in, size_t *restrict in_left, char **restrict out,
             size_t *restrict out_left)
{
    (void)conversion;
    (void)in;
    (void)in_left;
    (void)out;
    (void)out_left;
    errno = EBADF;
    return (size_t)-1;
}

int iconv_close(iconv_t conversion)
{
    (void)conversion;
    errno = EBADF;
    return -1;
}
