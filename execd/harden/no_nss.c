/*
 * The resolver entry points of libc, replaced by refusals.
 *
 * libevent and libzmq refer to them, although execd hands both of them numeric addresses and
 * paths only. In a static binary libc's versions load NSS plug-ins at run time from the root
 * filesystem around them: that of the sandbox, so code of the sandbox inside PID 1. Because the
 * linker takes these definitions first, the loading code never enters the binary.
 */
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
