/*
 * The measuring half of `make bench`. Each mode takes turns between the floor and execd and prints one line per
 * repetition: the floor's number, then execd's (nanoseconds; `rate`: requests per second). `run` makes the table.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *self; /* borrowed (argv): this program, for the children that it needs */

static struct agent agent_at(char **argv)
{
    struct agent agent = {.fd = connect_unix(argv[0]), .token = argv[1]};
    if (agent.fd < 0)
        die("connect");
    return agent;
}

static void run_command(const struct agent *agent, const char *json, struct answer *answer)
{
    send_request(agent, "POST /command", "application/json", json, strlen(json));
    read_answer(agent->fd, answer);
    if (memmem(answer->text, answer->len, "execution_complete", 18) == NULL)
        die("the command did not complete");
}

static int command(char **argv)
{
    struct agent agent = agent_at(argv + 1);
    struct answer answer = {.text = room(65536), .size = 65536};
    for (int i = 0; i < atoi(argv[0]); i++) {
        long long begin = now_ns();
        wait_for(spawn((char *[]){"/bin/bash", "-c", "true", NULL}, NULL));
        long long middle = now_ns();
        run_command(&agent, "{\"command\":\"true\"}", &answer);
        printf("%lld %lld\n", middle - begin, now_ns() - middle);
    }
    return 0;
}

static long long start_agent(const char *execd, const char *path)
{
    char listen[256];
    struct answer answer = {.text = room(65536), .size = 65536};
    struct agent agent = {.fd = -1, .token = "none"};
    snprintf(listen, sizeof(listen), "unix:%s", path);
    unlink(path);
    long long begin = now_ns();
    pid_t pid = spawn((char *[]){(char *)execd, "--listen", listen, "--inner-listen", "off",
                                 "--log-level", "error", NULL},
                      NULL);
    while ((agent.fd = connect_unix(path)) <
           0) { /* asking without a pause would take the core that it starts on */
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        if (waitpid(pid, NULL, WNOHANG) != 0 || now_ns() - begin > 10000000000LL)
            die("execd does not listen");
    }
    send_request(&agent, "GET /ping", "text/plain", "", 0);
    read_answer(agent.fd, &answer);
    long long taken = now_ns() - begin;
    close(agent.fd);
    kill(pid, SIGTERM);
    wait_for(pid);
    return taken;
}

static int start(char **argv)
{
    prctl(PR_SET_TIMERSLACK, 1);
    for (int i = 0; i < atoi(argv[0]); i++) {
        long long begin = now_ns();
        wait_for(spawn((char *[]){(char *)self, "nothing", NULL}, NULL));
        long long bare = now_ns() - begin;
        printf("%lld %lld\n", bare, start_agent(argv[1], argv[2]));
    }
    return 0;
}

static long long stamp_in(const char *text)
{
    const char *at = strstr(text, "stamp=");
    long long stamp;
    if (at == NULL || sscanf(at, "stamp=%lld", &stamp) != 1)
        die("the child's stamp did not arrive");
    return stamp;
}

static long long bare_first_byte(void)
{
    char text[64] = "";
    int out;
    pid_t pid = spawn((char *[]){(char *)self, "stamp", NULL}, &out);
    if (read(out, text, sizeof(text) - 1) <= 0)
        die("read");
    long long seen = now_ns();
    close(out);
    wait_for(pid);
    return seen - stamp_in(text);
}

static int first(char **argv)
{
    struct agent agent = agent_at(argv + 1);
    struct answer answer = {.text = room(65536), .size = 65536, .mark = "stamp="};
    char json[4400];
    snprintf(json, sizeof(json), "{\"argv\":[\"%s\",\"stamp\"]}", self);
    for (int i = 0; i < atoi(argv[0]); i++) {
        long long bare = bare_first_byte();
        run_command(&agent, json, &answer);
        printf("%lld %lld\n", bare, answer.seen - stamp_in(answer.text));
    }
    return 0;
}

static void save(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    send_all(fd, bytes, len);
    close(fd);
}

/* The same flood through a bare pipe and through execd, into the same memory; what execd sent is kept for checking. */
static int flood(char **argv)
{
    struct agent agent = agent_at(argv);
    struct stat file;
    char shell[4200], json[4400];
    if (stat(argv[2], &file) < 0)
        die(argv[2]);
    size_t size = (size_t)file.st_size, got = 0;
    struct answer answer = {.text = room(size * 2), .size = size * 2};
    snprintf(shell, sizeof(shell), "cat %s", argv[2]);
    snprintf(json, sizeof(json), "{\"command\":\"%s\"}", shell);

    int out;
    ssize_t n;
    long long begin = now_ns();
    pid_t pid = spawn((char *[]){"/bin/bash", "-c", shell, NULL}, &out);
    while ((n = read(out, answer.text + got, answer.size - got)) > 0)
        got += (size_t)n;
    wait_for(pid);
    long long middle = now_ns();
    if (got != size)
        die("the bare pipe lost bytes");
    run_command(&agent, json, &answer);
    printf("%lld %lld\n", middle - begin, now_ns() - middle);
    save(argv[3], answer.text, answer.len);
    return 0;
}

static long long copy_by_cat(const char *source, const char *copy, const char *then)
{
    char shell[8500];
    snprintf(shell, sizeof(shell), "cat %s >%s%s", source, copy, then);
    long long begin = now_ns();
    wait_for(spawn((char *[]){"/bin/sh", "-c", shell, NULL}, NULL));
    long long taken = now_ns() - begin;
    unlink(copy);
    return taken;
}

/* The file's bytes go from the page cache to the socket: no client is faster. */
static void send_multipart(const struct agent *agent, const char *source, const char *target)
{
    static const char tail[] = "\r\n--bench--\r\n";
    char parts[5000];
    struct stat file;
    int fd = open(source, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &file) < 0)
        die(source);
    int n = snprintf(
        parts, sizeof(parts),
        "--bench\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"metadata\"\r\n"
        "Content-Type: application/json\r\n\r\n{\"path\":\"%s\",\"mode\":644}\r\n"
        "--bench\r\nContent-Disposition: form-data; name=\"file\"; filename=\"source\"\r\n"
        "Content-Type: application/octet-stream\r\n\r\n",
        target);
    send_request(agent, "POST /files/upload", "multipart/form-data; boundary=bench", NULL,
                 (size_t)n + (size_t)file.st_size + sizeof(tail) - 1);
    send_all(agent->fd, parts, (size_t)n);
    for (off_t at = 0; at < file.st_size;)
        if (sendfile(agent->fd, fd, &at, (size_t)(file.st_size - at)) <= 0)
            die("sendfile");
    send_all(agent->fd, tail, sizeof(tail) - 1);
    close(fd);
}

static int upload(char **argv)
{
    struct agent agent = agent_at(argv);
    struct answer answer = {.text = room(65536), .size = 65536};
    long long bare = copy_by_cat(argv[2], argv[4], argv[5]);
    unlink(argv[3]);
    long long begin = now_ns();
    send_multipart(&agent, argv[2], argv[3]);
    read_answer(agent.fd, &answer);
    printf("%lld %lld\n", bare, now_ns() - begin);
    return 0;
}

static int download(char **argv)
{
    enum { PIECE = 1 << 20 };
    struct agent agent = agent_at(argv);
    char line[4200], *buffer = room(PIECE), *body = NULL;
    size_t head = 0;
    long long left, bare = copy_by_cat(argv[2], argv[3], "");
    snprintf(line, sizeof(line), "GET /files/download?path=%s", argv[2]);
    long long begin = now_ns();
    int out = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    send_request(&agent, line, "text/plain", "", 0);
    while (body == NULL) {
        ssize_t n = read(agent.fd, buffer + head, PIECE - head);
        if (n <= 0)
            die("no head");
        head += (size_t)n;
        if (memmem(buffer, head, "\r\n\r\n", 4) != NULL)
            body = body_of(buffer, head, &left);
    }
    size_t n_early = head - (size_t)(body - buffer);
    send_all(out, body, n_early);
    for (left -= (long long)n_early; left > 0;) {
        ssize_t n = read(agent.fd, buffer, PIECE);
        if (n <= 0)
            die("the download ended early");
        send_all(out, buffer, (size_t)n);
        left -= n;
    }
    close(out);
    printf("%lld %lld\n", bare, now_ns() - begin);
    return 0;
}

enum { CONNECTIONS = 16 };

/* Requests per second over kept-alive connections, one outstanding on each. */
static double rate_of(int port, const char *request, size_t len, long long span_ns)
{
    struct pollfd polls[CONNECTIONS];
    static char buffer[65536];
    long long done = 0;
    for (int i = 0; i < CONNECTIONS; i++) {
        polls[i] = (struct pollfd){.fd = connect_port(port), .events = POLLIN};
        send_all(polls[i].fd, request, len);
    }
    long long begin = now_ns();
    while (now_ns() - begin < span_ns) {
        if (poll(polls, CONNECTIONS, 1000) <= 0)
            die("no answer within a second");
        for (int i = 0; i < CONNECTIONS; i++) {
            if ((polls[i].revents & POLLIN) == 0)
                continue;
            ssize_t n =
                read(polls[i].fd, buffer, sizeof(buffer)); /* answers are small: one read each */
            if (n < 12 || memcmp(buffer + 9, "200", 3) != 0)
                die("an answer is not 200");
            done++;
            send_all(polls[i].fd, request, len);
        }
    }
    double rate = (double)done * 1e9 / (double)(now_ns() - begin);
    for (int i = 0; i < CONNECTIONS; i++)
        close(polls[i].fd);
    return rate;
}

static int rate(char **argv)
{
    long long span_ns = atoll(argv[1]) * 1000000;
    int port = atoi(argv[2]), bare_port;
    char request[1024];
    struct answer answer = {.text = room(65536), .size = 65536};
    int n = snprintf(request, sizeof(request),
                     "GET %s HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: %s\r\n\r\n", argv[4],
                     argv[3]);
    int fd = connect_port(port);
    send_all(fd, request, (size_t)n);
    read_answer(fd, &answer);
    close(fd);
    pid_t bare = floor_serve(answer.text, answer.len, &bare_port);
    for (int i = 0; i < atoi(argv[0]); i++) {
        double alone = rate_of(bare_port, request, (size_t)n, span_ns);
        printf("%.0f %.0f\n", alone, rate_of(port, request, (size_t)n, span_ns));
    }
    kill(bare, SIGKILL);
    waitpid(bare, NULL, 0);
    return 0;
}

static int nothing(char **argv)
{
    (void)argv;
    return 0;
}

static int stamp(char **argv)
{
    (void)argv;
    return dprintf(STDOUT_FILENO, "stamp=%lld\n", now_ns()) < 0;
}

static const struct {
    const char *name, *arguments;
    int n_arguments;
    int (*run)(char **argv);
} modes[] = {
    {"command", "N SOCKET TOKEN", 3, command},
    {"start", "N EXECD SOCKET", 3, start},
    {"first", "N SOCKET TOKEN", 3, first},
    {"flood", "SOCKET TOKEN SOURCE KEEP", 4, flood},
    {"upload", "SOCKET TOKEN SOURCE TARGET COPY THEN", 6, upload},
    {"download", "SOCKET TOKEN SOURCE COPY", 4, download},
    {"rate", "N MILLISECONDS PORT TOKEN PATH", 5, rate},
    {"clone", "N", 1, floor_clone},
    {"nothing", "", 0, nothing},
    {"stamp", "", 0, stamp},
};

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    self = argv[0];
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (argc >= 2 && strcmp(argv[1], modes[i].name) == 0 && argc == 2 + modes[i].n_arguments)
            return modes[i].run(argv + 2);
    fputs("usage, one of:\n", stderr);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        fprintf(stderr, "  measure %s %s\n", modes[i].name, modes[i].arguments);
    return 2;
}
