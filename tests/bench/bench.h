/*
 * What the parts of the measuring program share: a clock, a child, and an HTTP client without an interpreter in the way.
 * One thread; every failure ends the program with one line on stderr, because a number that hides a failure is worse
 * than none. All times are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <sys/types.h>

struct agent {
    int fd;            /* connected; kept alive between requests */
    const char *token; /* borrowed (argv) */
};

/* One response, head included. `mark` (may be NULL) is looked for while it arrives; `seen` is when it showed. */
struct answer {
    char *text;     /* borrowed: filled and NUL-terminated */
    size_t size;    /* room behind text */
    size_t len;     /* bytes received */
    long long seen; /* 0: not yet */
    const char *mark;
};

/* The clock and the end of the program. */
long long now_ns(void);
void die(const char *what) __attribute__((noreturn));
/* Memory whose pages are there already, so that their first touch is not measured. */
char *room(size_t size);

/* Children. `ret_pipe` may be NULL; otherwise it gets the reading end of the child's stdout. */
pid_t spawn(char *const argv[], int *ret_pipe);
void wait_for(pid_t pid);

/* Connections: -1 where nobody listens (yet). */
int connect_unix(const char *path);
int connect_port(int port);
void send_all(int fd, const char *bytes, size_t len);

/* One request: the head and `len` bytes of body, of which those behind `body` are sent by the caller if it is NULL. */
void send_request(const struct agent *agent, const char *line, const char *type, const char *body,
                  size_t len);
/* Reads one response to its end and insists on 200. Frees nothing; resets `len` and `seen` first. */
void read_answer(int fd, struct answer *answer);
/* Where the body of a received head begins; dies unless it is whole and says 200. */
char *body_of(char *text, size_t len, long long *ret_length);

/* The floors that need more than a few lines. */
int floor_clone(char **argv);
pid_t floor_serve(const char *response, size_t len, int *ret_port);

#endif
