/*
 * The measuring half of `make bench`: clients without an interpreter in the way, and the physical floors beside them.
 * Each mode prints one number per repetition (nanoseconds, or a rate); run.py makes the table.
 *
 *   floor pair N SOCKET TOKEN      posix_spawn+wait of `sh -c true`, then POST /command of the same, in turn
 *   floor start N EXECD SOCKET     exec of execd to the first 200 of GET /ping
 *   floor first N SOCKET TOKEN     from a write in the child to its arrival here
 *   floor stream SOCKET TOKEN CMD  one command's whole stream; prints nanoseconds and bytes
 *   floor rate SECONDS PORT TOKEN PATH   requests per second over 16 keep-alive connections
 *   floor stamp                    prints the monotonic time: the child of `first`
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int connect_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done <= 0)
            die("write");
        p += done;
        n -= (size_t)done;
    }
}

static void post_command(int fd, const char *token, const char *json)
{
    char head[65536];
    int n = snprintf(head, sizeof(head),
                     "POST /command HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: "
                     "%s\r\nContent-Length: %zu\r\n\r\n%s",
                     token, strlen(json), json);
    send_all(fd, head, (size_t)n);
}

/* Reads one chunked response to its last chunk; returns the bytes read. With mark: stops the clock when it shows. */
static size_t read_stream(int fd, const char *mark, long long *ret_seen, char *text, size_t size)
{
    static char buffer[1 << 20];
    char tail[8] = "";
    size_t total = 0, kept = 0;
    for (;;) {
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n <= 0)
            die("the stream ended early");
        total += (size_t)n;
        if (mark != NULL && kept + (size_t)n < size) {
            memcpy(text + kept, buffer, (size_t)n);
            kept += (size_t)n;
            text[kept] = '\0';
            if (*ret_seen == 0 && strstr(text, mark) != NULL)
                *ret_seen = now_ns();
        }
        size_t take = (size_t)n < 7 ? (size_t)n : 7;
        memmove(tail, tail + take, 7 - take);
        memcpy(tail + 7 - take, buffer + n - take, take);
        if (memcmp(tail, "\r\n0\r\n\r\n", 7) == 0)
            return total;
    }
}

static long long spawn_once(void)
{
    char *argv[] = {"bash", "-c", "true", NULL};
    long long start = now_ns();
    pid_t pid;
    int status;
    if (posix_spawn(&pid, "/bin/bash", NULL, NULL, argv, environ) != 0 ||
        waitpid(pid, &status, 0) < 0)
        die("posix_spawn");
    return now_ns() - start;
}

static int pair(int n, const char *socket_path, const char *token)
{
    int fd = connect_unix(socket_path);
    if (fd < 0)
        die("connect");
    for (int i = 0; i < n; i++) {
        long long bare = spawn_once(), start = now_ns();
        post_command(fd, token, "{\"command\":\"true\"}");
        read_stream(fd, NULL, NULL, NULL, 0);
        printf("%lld %lld\n", bare, now_ns() - start);
    }
    return 0;
}

static int start(int n, const char *execd, const char *socket_path)
{
    char listen[256], answer[256];
    snprintf(listen, sizeof(listen), "unix:%s", socket_path);
    char *argv[] = {(char *)execd, "--listen",    listen,  "--inner-listen",
                    "off",         "--log-level", "error", NULL};
    for (int i = 0; i < n; i++) {
        unlink(socket_path);
        long long began = now_ns();
        pid_t pid;
        int fd;
        if (posix_spawn(&pid, execd, NULL, NULL, argv, environ) != 0)
            die(execd);
        while ((fd = connect_unix(socket_path)) < 0)
            ;
        send_all(fd, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", 32);
        if (read(fd, answer, sizeof(answer)) < 12 || memcmp(answer + 9, "200", 3) != 0)
            die("no 200");
        printf("%lld\n", now_ns() - began);
        close(fd);
        kill(pid, SIGTERM);
        waitpid(pid, NULL, 0);
    }
    return 0;
}

static int first(int n, const char *socket_path, const char *token, const char *self)
{
    char json[512], text[65536];
    int fd = connect_unix(socket_path);
    if (fd < 0)
        die("connect");
    snprintf(json, sizeof(json), "{\"argv\":[\"%s\",\"stamp\"]}", self);
    for (int i = 0; i < n; i++) {
        long long seen = 0, stamp;
        post_command(fd, token, json);
        read_stream(fd, "stamp=", &seen, text, sizeof(text));
        const char *at = strstr(text, "stamp=");
        if (at == NULL || sscanf(at, "stamp=%lld", &stamp) != 1)
            die("no stamp");
        printf("%lld\n", seen - stamp);
    }
    return 0;
}

static int rate(double seconds, int port, const char *token, const char *path)
{
    enum { CONNECTIONS = 16 };
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct pollfd polls[CONNECTIONS];
    char request[512], buffer[65536];
    long long done = 0, end;
    int one = 1;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int n = snprintf(request, sizeof(request),
                     "GET %s HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: %s\r\n\r\n", path, token);
    for (int i = 0; i < CONNECTIONS; i++) {
        polls[i] = (struct pollfd){.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN};
        if (connect(polls[i].fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
            die("connect");
        setsockopt(polls[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        send_all(polls[i].fd, request, (size_t)n);
    }
    long long began = now_ns();
    end = began + (long long)(seconds * 1e9);
    while (now_ns() < end) {
        if (poll(polls, CONNECTIONS, 1000) <= 0)
            die("poll");
        for (int i = 0; i < CONNECTIONS; i++) {
            if ((polls[i].revents & POLLIN) == 0)
                continue;
            if (read(polls[i].fd, buffer, sizeof(buffer)) < 12 || memcmp(buffer + 9, "200", 3) != 0)
                die("no 200"); /* answers are small: one read each */
            done++;
            send_all(polls[i].fd, request, (size_t)n);
        }
    }
    printf("%.0f\n", (double)done * 1e9 / (double)(now_ns() - began));
    return 0;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], "stamp") == 0) {
        printf("stamp=%lld\n", now_ns());
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "pair") == 0)
        return pair(atoi(argv[2]), argv[3], argv[4]);
    if (argc == 5 && strcmp(argv[1], "start") == 0)
        return start(atoi(argv[2]), argv[3], argv[4]);
    if (argc == 5 && strcmp(argv[1], "first") == 0)
        return first(atoi(argv[2]), argv[3], argv[4], argv[0]);
    if (argc == 5 && strcmp(argv[1], "stream") == 0) {
        int fd = connect_unix(argv[2]);
        if (fd < 0)
            die("connect");
        long long began = now_ns();
        post_command(fd, argv[3], argv[4]);
        size_t bytes = read_stream(fd, NULL, NULL, NULL, 0);
        printf("%lld %zu\n", now_ns() - began, bytes);
        return 0;
    }
    if (argc == 6 && strcmp(argv[1], "rate") == 0)
        return rate(atof(argv[2]), atoi(argv[3]), argv[4], argv[5]);
    fputs("usage: see the head of floor.c\n", stderr);
    return 2;
}
