/*
 * The entry points of libc that load libraries at run time, replaced by refusals.
 *
 * libevent and libzmq refer to the resolver, although execd hands both of them numeric addresses
 * and paths only; libstdc++ refers to iconv, for locales that execd never sets. In a static binary
 * libc's versions load plug-ins from the root filesystem around them: that of the sandbox, so code
 * of the sandbox inside PID 1. Because the linker takes these definitions first, the resolver's
 * loading code never enters the binary. libzmq asks even for an address that is a number, when a kernel is reached
 * over a port of the loopback: that is answered here, for IPv4.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <iconv.h>
#include <netdb.h>
#include <stddef.h>
#include <stdlib.h>

struct numeric_answer {
    struct addrinfo info;
    struct sockaddr_in address;
};

int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret_list)
{
    struct in_addr ip;
    if (!node || service || inet_pton(AF_INET, node, &ip) != 1)
        return EAI_FAIL;
    struct numeric_answer *answer = calloc(1, sizeof(*answer));
    if (!answer)
        return EAI_MEMORY;
    answer->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = ip};
    answer->info = (struct addrinfo){
        .ai_family = AF_INET,
        .ai_socktype = hints ? hints->ai_socktype : 0,
        .ai_protocol = hints ? hints->ai_protocol : 0,
        .ai_addrlen = sizeof(answer->address),
        .ai_addr = (struct sockaddr *)&answer->address,
    };
    /* -fanalyzer: freeaddrinfo knows what the list is a part of */
    *ret_list = &answer->info;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    free(list); /* the first member of its struct numeric_answer */
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
