#include "execd/ports/scan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "execd/ports/holders.h"
#include "proto/base/fd.h"

#define TCP_LISTEN_STATE 10
#define DATAGRAM_MAX 32768
#define DATAGRAMS_MAX 4096
#define PROC_TEXT_MAX (4 * 1024 * 1024)

/* words: the address in network order, one word for IPv4, four for IPv6. */
static void add(struct port_list *list, bool v6, const __be32 *words, uint16_t port, uint32_t uid,
                uint64_t inode)
{
    if (list->n == PORTS_MAX) {
        list->truncated = true;
        return;
    }
    struct port_entry *e = &list->items[list->n++];
    *e = (struct port_entry){.port = port, .v6 = v6, .uid = uid, .inode = inode};
    (void)inet_ntop(v6 ? AF_INET6 : AF_INET, words, e->address, sizeof(e->address)); /* it fits */
}

/* ---- socket diagnostics ---------------------------------------------------------------------------- */

static void add_diag(const struct inet_diag_msg *m, struct port_list *list)
{
    add(list, m->idiag_family == AF_INET6, m->id.idiag_src, ntohs(m->id.idiag_sport), m->idiag_uid,
        m->idiag_inode);
}

static int error_of(const char *message, size_t len)
{
    int code = -EBADMSG;

    if (len >= NLMSG_LENGTH(sizeof(code))) /* struct nlmsgerr begins with it */
        memcpy(&code, message + NLMSG_HDRLEN, sizeof(code));
    return code < 0 ? code : 0;
}

bool ports_parse_diag(const void *data, size_t len, struct port_list *list, int *ret_error)
{
    const char *p = data;
    struct nlmsghdr h;

    *ret_error = 0;
    while (len >= sizeof(h)) {
        memcpy(&h, p, sizeof(h));
        if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len) {
            *ret_error = -EBADMSG;
            return false;
        }
        if (h.nlmsg_type == NLMSG_DONE)
            return false;
        if (h.nlmsg_type == NLMSG_ERROR) {
            *ret_error = error_of(p, h.nlmsg_len);
            return false;
        }
        if (h.nlmsg_type == SOCK_DIAG_BY_FAMILY &&
            h.nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg))) {
            struct inet_diag_msg m;
            memcpy(&m, p + NLMSG_HDRLEN, sizeof(m));
            add_diag(&m, list);
        }
        size_t step = NLMSG_ALIGN((size_t)h.nlmsg_len);
        p += MIN(step, len);
        len -= MIN(step, len);
    }
    return true;
}

static int ask_diag(int fd, uint8_t family)
{
    const struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
    } message = {
        .header = {.nlmsg_len = sizeof(message),
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .request = {.sdiag_family = family,
                    .sdiag_protocol = IPPROTO_TCP,
                    .idiag_states = 1U << TCP_LISTEN_STATE},
    };

    return send(fd, &message, sizeof(message), 0) == (ssize_t)sizeof(message) ? 0 : -errno;
}

static int dump_family(int fd, uint8_t family, struct port_list *list)
{
    _Alignas(struct nlmsghdr) char data[DATAGRAM_MAX];
    int error = ask_diag(fd, family);

    if (error < 0)
        return error;
    for (int i = 0; i < DATAGRAMS_MAX; i++) {
        ssize_t n = recv(fd, data, sizeof(data), 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EPIPE;
        if (!ports_parse_diag(data, (size_t)n, list, &error))
            return error;
        if (list->truncated)
            return 0; /* the rest stays unread: this descriptor is not used again */
    }
    return -E2BIG;
}

static int scan_netlink(struct port_list *list)
{
    static const struct timeval patience = {.tv_sec = 2};
    cleanup_fd int v4 = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    cleanup_fd int v6 = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    if (v4 < 0 || v6 < 0 ||
        setsockopt(v4, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
        setsockopt(v6, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
        return -errno;
    int r = dump_family(v4, AF_INET, list);
    if (r < 0)
        return r;
    r = dump_family(v6, AF_INET6, list);
    return r == -ENOENT ? 0 : r; /* a kernel without IPv6 */
}

/* ---- /proc/net ------------------------------------------------------------------------------------- */

/* Addresses are groups of 8 hex digits, each a word as it lies in memory. */
static bool parse_address(const char *hex, bool v6, __be32 words[4])
{
    size_t n = v6 ? 4 : 1;

    memset(words, 0, 4 * sizeof(words[0]));
    for (size_t i = 0; i < n; i++) {
        char text[9] = "", *end;

        if (strnlen(hex + 8 * i, 8) < 8)
            return false;
        memcpy(text, hex + 8 * i, 8);
        words[i] = (__be32)strtoul(text, &end, 16);
        if (*end != '\0')
            return false;
    }
    return hex[8 * n] == ':';
}

static void parse_line(const char *line, bool v6, struct port_list *list)
{
    char address[40];
    unsigned port, state;
    uint32_t uid;
    unsigned long long inode;
    __be32 words[4];

    if (sscanf(line, " %*u: %39s %*s %x %*s %*s %*s %u %*d %llu", address, &state, &uid, &inode) !=
            4 ||
        state != TCP_LISTEN_STATE || !parse_address(address, v6, words) ||
        sscanf(strchr(address, ':'), ":%4X", &port) != 1)
        return;
    add(list, v6, words, (uint16_t)port, uid, inode);
}

void ports_parse_proc(const char *text, bool v6, struct port_list *list)
{
    char line[256];

    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        if (len < sizeof(line)) {
            memcpy(line, text, len);
            line[len] = '\0';
            parse_line(line, v6, list);
        }
        text += len + (text[len] == '\n');
    }
}

static int scan_proc(struct port_list *list)
{
    static const char *const files[2] = {"/proc/net/tcp", "/proc/net/tcp6"};
    int result = -ENOENT;

    for (int v6 = 0; v6 < 2; v6++) {
        cleanup_free char *text = NULL;
        size_t len;
        int r = fd_slurp_alloc(AT_FDCWD, files[v6], PROC_TEXT_MAX, &text, &len);

        if (r >= 0) {
            ports_parse_proc(text, v6 == 1, list);
            result = 0;
        } else if (v6 == 0) {
            result = r;
        }
    }
    return result;
}

/* ---- both ------------------------------------------------------------------------------------------ */

int port_entry_compare(const struct port_entry *a, const struct port_entry *b)
{
    if (a->port != b->port)
        return a->port < b->port ? -1 : 1;
    return strcmp(a->address, b->address);
}

static int by_port(const void *a, const void *b)
{
    return port_entry_compare(a, b);
}

/* Sockets that share a port (SO_REUSEPORT) are one listener; the one whose process is known stays. Sorted. */
static void drop_doubles(struct port_list *list)
{
    size_t kept = 0;

    for (size_t i = 0; i < list->n; i++) {
        struct port_entry *last = kept > 0 ? &list->items[kept - 1] : NULL;
        if (last == NULL || port_entry_compare(last, &list->items[i]) != 0)
            list->items[kept++] = list->items[i];
        else if (last->pid == 0)
            *last = list->items[i];
    }
    list->n = kept;
}

int ports_scan(struct port_list *list)
{
    memset(list, 0, sizeof(*list));
    list->from_netlink = scan_netlink(list) == 0;
    if (!list->from_netlink) {
        list->n = 0;
        list->truncated = false;
        int r = scan_proc(list);
        if (r < 0)
            return r;
    }
    holders_find(list);
    qsort(list->items, list->n, sizeof(list->items[0]), by_port);
    drop_doubles(list);
    return 0;
}
