/* The clock, children and HTTP client of bench.h. */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

long long now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

void die(const char *what)
{
    fprintf(stderr, "measure: %s (%s)\n", what, strerror(errno));
    exit(1);
}

char *room(size_t size)
{
    char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    return memory;
}

pid_t spawn(char *const argv[], int *ret_pipe)
{
    posix_spawn_file_actions_t actions;
    int ends[2] = {-1, -1}, failed;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    if (ret_pipe != NULL) {
        if (pipe2(ends, O_CLOEXEC) < 0)
            die("pipe");
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    }
    failed = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        errno = failed;
        die(argv[0]);
    }
    if (ret_pipe != NULL) {
        close(ends[1]);
        *ret_pipe = ends[0];
    }
    return pid;
}

void wait_for(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) < 0 || status != 0)
        die("a child failed");
}

int connect_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (strlen(path) >= sizeof(addr.sun_path))
        die("the socket's path is too long");
    memcpy(addr.sun_path, path, strlen(path));
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    close(fd);
    return -1;
}

int connect_port(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

void send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, bytes, len);
        if (done <= 0)
            die("write");
        bytes += done;
        len -= (size_t)done;
    }
}

void send_request(const struct agent *agent, const char *line, const char *type, const char *body,
                  size_t len)
{
    char head[65536];
    int n = snprintf(head, sizeof(head),
                     "%s HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: %s\r\nContent-Type: %s\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     line, agent->token, type, len, body != NULL ? body : "");
    if ((size_t)n >= sizeof(head))
        die("the request is too long");
    send_all(agent->fd, head, (size_t)n);
}

char *body_of(char *text, size_t len, long long *ret_length)
{
    char *end = memmem(text, len, "\r\n\r\n", 4), *field;
    if (end == NULL || len < 12 || memcmp(text + 9, "200", 3) != 0) {
        fprintf(stderr, "measure: the answer is not 200: %.*s\n", (int)(len < 400 ? len : 400),
                text);
        exit(1);
    }
    *end = '\0';
    field = strcasestr(text, "\r\ncontent-length:");
    *ret_length = field != NULL ? atoll(field + 17) : -1;
    *end = '\r';
    return end + 4;
}

/* Without a Content-Length the response is chunked: its last chunk is its end. */
static int is_whole(const struct answer *answer, const char *body, long long length)
{
    if (length >= 0)
        return answer->text + answer->len >= body + length;
    return answer->len >= 7 && memcmp(answer->text + answer->len - 7, "\r\n0\r\n\r\n", 7) == 0;
}

void read_answer(int fd, struct answer *answer)
{
    char *body = NULL;
    long long length = -1;
    answer->len = 0;
    answer->seen = 0;
    do {
        if (answer->len + 1 >= answer->size)
            die("the answer is larger than its buffer");
        ssize_t n = read(fd, answer->text + answer->len, answer->size - 1 - answer->len);
        if (n <= 0)
            die("the answer ended early");
        answer->len += (size_t)n;
        answer->text[answer->len] = '\0';
        if (answer->mark != NULL && answer->seen == 0 && strstr(answer->text, answer->mark) != NULL)
            answer->seen = now_ns();
        if (body == NULL && memmem(answer->text, answer->len, "\r\n\r\n", 4) != NULL)
            body = body_of(answer->text, answer->len, &length);
    } while (body == NULL || !is_whole(answer, body, length));
}
