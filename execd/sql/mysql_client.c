#include "execd/sql/mysql_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "proto/base/clock.h"

#define LOGIN_MS 10000
#define FRAME_MAX 0xffffffu
#define COM_INIT_DB 2
#define COM_QUERY 3
#define ERROR_NO_DATABASE 1049
#define SWITCHES_MAX 4

struct mysql {
    const struct dsn *dsn; /* borrowed */
    int fd;                /* owned */
    uint8_t sequence;
    int64_t deadline_ms; /* monotonic; 0 = none */
    struct mysql_greeting greeting;
    struct strbuf packet; /* the last that was read */
    bool killed;          /* the server was told once to end the statement */
};

static volatile sig_atomic_t interrupted;

void mysql_note_interrupt(void)
{
    interrupted = 1;
}

bool mysql_was_interrupted(void)
{
    return interrupted != 0;
}

/* Codes and texts as MySQL's own client has them. */
static int fail(struct mysql_failure *f, int errnum, unsigned code, const char *text)
{
    *f = (struct mysql_failure){.code = code, .state = "HY000"};
    (void)snprintf(f->text, sizeof(f->text), "%s%s%s", text, errnum != EPROTO ? ": " : "",
                   errnum != EPROTO ? strerror(errnum) : ""); /* cutting is fine */
    return -errnum;
}

int mysql_malformed(struct mysql_failure *f)
{
    return fail(f, EPROTO, 2027, "Malformed packet");
}

int mysql_no_memory(struct mysql_failure *f)
{
    return fail(f, ENOMEM, 2008, "Client ran out of memory");
}

static int lost(struct mysql_failure *f, int errnum)
{
    if (errnum == ENOMEM)
        return mysql_no_memory(f);
    return fail(f, errnum, 2013, "Lost connection to server");
}

/* ---- waiting ---- */

static void kill_statement(struct mysql *m);

/* Until the socket is ready. SIGINT comes in here and nowhere else. */
static int wait_for(struct mysql *m, short events)
{
    struct pollfd pfd = {.fd = m->fd, .events = events};
    sigset_t none;

    (void)sigemptyset(&none); /* cannot fail */
    for (;;) {
        int64_t left = m->deadline_ms > 0 ? m->deadline_ms - clock_monotonic_ms() : 0;
        struct timespec ts = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
        if (left < 0)
            return -ETIMEDOUT;
        if (interrupted && !m->killed)
            kill_statement(m);
        int n = ppoll(&pfd, 1, m->deadline_ms > 0 ? &ts : NULL, &none);
        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

static int send_all(struct mysql *m, const void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t sent = send(m->fd, (const char *)p + done, n - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            done += (size_t)sent;
            continue;
        }
        int rc = errno == EAGAIN ? wait_for(m, POLLOUT) : -errno;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int receive_all(struct mysql *m, void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = recv(m->fd, (char *)p + done, n - done, MSG_DONTWAIT);
        if (got > 0) {
            done += (size_t)got;
            continue;
        }
        int rc = got == 0 ? -ECONNRESET : errno == EAGAIN ? wait_for(m, POLLIN) : -errno;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- packets ---- */

/* Everything longer than a frame is sent in several, the last of which is shorter than one. */
static int send_packet(struct mysql *m, char command, const char *p, size_t n)
{
    size_t len = MIN(n + (command != 0), FRAME_MAX);

    for (;;) {
        uint8_t head[5] = {(uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16), m->sequence++,
                           (uint8_t)command};
        size_t body = len - (command != 0);
        int rc = send_all(m, head, command != 0 ? 5 : 4);
        if (rc == 0)
            rc = send_all(m, p, body);
        if (rc < 0 || len < FRAME_MAX)
            return rc;
        p += body;
        n -= body;
        command = 0;
        len = MIN(n, FRAME_MAX);
    }
}

static int receive_body(struct mysql *m, size_t len, bool *whole)
{
    char buf[16384];

    while (len > 0) {
        size_t n = MIN(len, sizeof(buf));
        int rc = receive_all(m, buf, n);
        if (rc < 0)
            return rc;
        if (m->packet.len + n <= MYSQL_KEEP_MAX)
            strbuf_add(&m->packet, buf, n);
        else
            *whole = false;
        len -= n;
    }
    return 0;
}

static int receive_packet(struct mysql *m, bool *ret_whole)
{
    uint8_t head[4];
    size_t len;

    strbuf_reset(&m->packet);
    *ret_whole = true;
    do {
        int rc = receive_all(m, head, sizeof(head));
        if (rc == 0 && head[3] != m->sequence)
            rc = -EPROTO;
        if (rc < 0)
            return rc;
        m->sequence = (uint8_t)(head[3] + 1);
        len = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
        if ((rc = receive_body(m, len, ret_whole)) < 0)
            return rc;
    } while (len == FRAME_MAX);
    return strbuf_check(&m->packet) < 0 ? -ENOMEM : 0;
}

int mysql_read(struct mysql *m, struct slice *ret_packet, bool *ret_whole, struct mysql_failure *f)
{
    int rc = receive_packet(m, ret_whole);

    if (rc < 0)
        return rc == -EPROTO ? mysql_malformed(f) : lost(f, -rc);
    *ret_packet = (struct slice){m->packet.data, m->packet.len};
    if (mysql_kind(*ret_packet) == MYSQL_ERR)
        return mysql_read_failure(*ret_packet, f) < 0 ? mysql_malformed(f) : -EIO;
    return 0;
}

static int command(struct mysql *m, char code, const char *text, size_t len,
                   struct mysql_failure *f)
{
    m->sequence = 0;
    int rc = send_packet(m, code, text, len);
    return rc < 0 ? lost(f, -rc) : 0;
}

/* ---- connecting ---- */

static int open_socket(struct mysql *m)
{
    const struct dsn *dsn = m->dsn;
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address = {0};
    socklen_t len = sizeof(address.un);

    if (dsn->socket != NULL) {
        address.un.sun_family = AF_UNIX;
        (void)snprintf(address.un.sun_path, sizeof(address.un.sun_path), "%s",
                       dsn->socket); /* dsn_parse has measured it */
    } else if (inet_pton(AF_INET, dsn->host, &address.in.sin_addr) == 1) {
        address.in.sin_family = AF_INET;
        address.in.sin_port = htons(dsn->port);
        len = sizeof(address.in);
    } else {
        address.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(dsn->port)};
        if (inet_pton(AF_INET6, dsn->host, &address.in6.sin6_addr) != 1)
            return -EINVAL;
        len = sizeof(address.in6);
    }
    m->fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (m->fd < 0)
        return -errno;
    if (connect(m->fd, &address.any, len) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EAGAIN)
        return -errno;
    int errnum = 0, rc = wait_for(m, POLLOUT);
    socklen_t size = sizeof(errnum);
    if (rc == 0 && getsockopt(m->fd, SOL_SOCKET, SO_ERROR, &errnum, &size) < 0)
        return -errno;
    return rc < 0 ? rc : -errnum;
}

/* What the plugin asks for; -ENOTSUP for one that we do not have. */
static int answer_of(const struct mysql *m, uint8_t out[MYSQL_ANSWER_MAX], size_t *ret_len)
{
    const struct mysql_greeting *g = &m->greeting;

    *ret_len = 0;
    if (strcmp(g->plugin, "mysql_native_password") == 0 || g->plugin[0] == '\0')
        *ret_len = mysql_answer_native(m->dsn->password, g->scramble, out);
    else if (strcmp(g->plugin, "caching_sha2_password") == 0)
        *ret_len = mysql_answer_sha2(m->dsn->password, g->scramble, out);
    else if (strcmp(g->plugin, "unix_socket") != 0 && strcmp(g->plugin, "auth_socket") != 0)
        return -ENOTSUP; /* the server looks who is at the other end: nothing to say */
    return 0;
}

static int no_plugin(const struct mysql *m, struct mysql_failure *f)
{
    *f = (struct mysql_failure){.code = 2059, .state = "HY000"};
    (void)snprintf(f->text, sizeof(f->text), "Authentication plugin '%s' is not supported",
                   m->greeting.plugin); /* fits */
    return -ENOTSUP;
}

/* caching_sha2_password: 3 = known by its hash; 4 = the password itself, please. */
static int more_of_sha2(struct mysql *m, struct slice packet, struct mysql_failure *f)
{
    if (packet.len != 2 || packet.ptr[0] != 1)
        return mysql_malformed(f);
    if (packet.ptr[1] == 3)
        return 0;
    if (packet.ptr[1] != 4)
        return mysql_malformed(f);
    if (m->dsn->socket == NULL)
        return fail(f, EPROTO, 2061,
                    "Authentication plugin 'caching_sha2_password' wants a secure connection: "
                    "use the server's socket");
    int rc = send_packet(m, 0, m->dsn->password, strlen(m->dsn->password) + 1);
    return rc < 0 ? lost(f, -rc) : 0;
}

static int follow_switch(struct mysql *m, struct slice packet, struct mysql_failure *f)
{
    uint8_t answer[MYSQL_ANSWER_MAX];
    size_t len;

    if (mysql_read_switch(packet, &m->greeting) < 0)
        return mysql_malformed(f);
    if (answer_of(m, answer, &len) < 0)
        return no_plugin(m, f);
    int rc = send_packet(m, 0, (const char *)answer, len);
    return rc < 0 ? lost(f, -rc) : 0;
}

static int send_login(struct mysql *m, struct mysql_failure *f)
{
    uint8_t answer[MYSQL_ANSWER_MAX];
    struct strbuf login;
    size_t len = 0;

    if (answer_of(m, answer, &len) < 0 || m->greeting.plugin[0] == '\0') {
        /* A plugin of its own: what fits this account is told by a switch. */
        (void)snprintf(m->greeting.plugin, sizeof(m->greeting.plugin),
                       "mysql_native_password"); /* fits */
        len = mysql_answer_native(m->dsn->password, m->greeting.scramble, answer);
    }
    strbuf_init(&login, 0);
    mysql_write_login(&login, m->dsn->user, m->greeting.plugin, answer, len);
    int rc = send_packet(m, 0, login.data, login.len);
    strbuf_done(&login);
    return rc < 0 ? lost(f, -rc) : 0;
}

static int log_in(struct mysql *m, struct mysql_failure *f)
{
    struct slice packet;
    bool whole;

    int rc = mysql_read(m, &packet, &whole, f);
    if (rc < 0)
        return rc;
    if (mysql_read_greeting(packet, &m->greeting) < 0)
        return mysql_malformed(f);
    rc = send_login(m, f);
    for (int i = 0; rc == 0 && i < SWITCHES_MAX; i++) {
        if ((rc = mysql_read(m, &packet, &whole, f)) < 0)
            return rc;
        if (mysql_kind(packet) == MYSQL_OK)
            return 0;
        rc = mysql_kind(packet) == MYSQL_EOF ? follow_switch(m, packet, f)
                                             : more_of_sha2(m, packet, f);
    }
    return rc < 0 ? rc : mysql_malformed(f);
}

int mysql_connect(const struct dsn *dsn, struct mysql **ret_mysql, struct mysql_failure *f)
{
    struct mysql *m = xnew(struct mysql);

    m->dsn = dsn;
    m->fd = -1;
    m->killed = true; /* nothing to kill yet */
    m->deadline_ms = clock_monotonic_ms() + LOGIN_MS;
    strbuf_init(&m->packet, MYSQL_KEEP_MAX + 1);
    int rc = open_socket(m);
    rc = rc < 0 ? fail(f, -rc, dsn->socket != NULL ? 2002 : 2003, "Can't connect to server")
                : log_in(m, f);
    if (rc < 0) {
        mysql_free(m);
        return rc;
    }
    *ret_mysql = m;
    return 0;
}

void mysql_free(struct mysql *m)
{
    if (m == NULL)
        return;
    if (m->fd >= 0)
        close(take_fd(&m->fd));
    strbuf_done(&m->packet);
    free(m);
}

/* ---- statements ---- */

/* One that answers with OK. */
static int do_simple(struct mysql *m, char code, const char *text, struct mysql_failure *f)
{
    struct slice packet;
    bool whole;

    int rc = command(m, code, text, strlen(text), f);
    if (rc == 0)
        rc = mysql_read(m, &packet, &whole, f);
    if (rc == 0 && mysql_kind(packet) != MYSQL_OK)
        rc = mysql_malformed(f);
    return rc;
}

/* Names in backquotes, where a backquote is written twice. */
static int create_database(struct mysql *m, const char *name, struct mysql_failure *f)
{
    struct strbuf text;

    strbuf_init(&text, 0);
    strbuf_adds(&text, "CREATE DATABASE IF NOT EXISTS `");
    for (const char *p = name; *p != '\0'; p++) {
        if (*p == '`')
            strbuf_addc(&text, '`');
        strbuf_addc(&text, *p);
    }
    strbuf_addc(&text, '`');
    int rc = do_simple(m, COM_QUERY, text.data, f);
    strbuf_done(&text);
    return rc;
}

int mysql_use(struct mysql *m, const char *database, struct mysql_failure *f)
{
    int rc = do_simple(m, COM_INIT_DB, database, f);

    if (rc == -EIO && f->code == ERROR_NO_DATABASE) {
        rc = create_database(m, database, f);
        if (rc == 0)
            rc = do_simple(m, COM_INIT_DB, database, f);
    }
    return rc;
}

int mysql_send_query(struct mysql *m, const char *text, size_t len, struct mysql_failure *f)
{
    m->deadline_ms = 0;
    m->killed = false;
    return command(m, COM_QUERY, text, len, f);
}

static void kill_statement(struct mysql *m)
{
    struct mysql_failure ignored; /* the agent kills us when this does not help */
    struct mysql *second;
    char text[32];

    m->killed = true;
    if (mysql_connect(m->dsn, &second, &ignored) < 0)
        return;
    (void)snprintf(text, sizeof(text), "KILL QUERY %u", m->greeting.thread_id); /* fits */
    (void)!do_simple(second, COM_QUERY, text, &ignored);
    mysql_free(second);
}
