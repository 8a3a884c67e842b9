/*
 * The calls that can fail, made to fail at the n-th one: linked into execd by -Wl,--wrap.
 *
 * The environment variable FAULT_CONTROL names a file of one struct control, mapped shared: the test arms it, execd
 * counts down. One shot per arming. Bookkeeping that is meant to abort (xmalloc and its kin) is not counted. Without the
 * variable everything passes through. Thread rule: any thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

/* The same order as CLASSES in tests/fault/control.py. */
enum fault_class {
    FAULT_NONE,
    FAULT_ALLOC,
    FAULT_OPEN,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_DESCRIPTOR,
    FAULT_STAT,
    FAULT_EPOLL,
    FAULT_MAP,
    FAULT_CLONE,
};

struct control {
    uint32_t fault_class; /* written last when armed */
    uint32_t errnum;      /* 0 = no error but a short count of one byte (read, write) */
    int64_t countdown;    /* the call that takes it to 0 fails */
    uint64_t hits;
    int64_t wall_shift_s, uptime_shift_s; /* seconds that the clocks are ahead */
};

static struct control *control;
static __thread unsigned spared;    /* nothing fails */
static __thread unsigned sheltered; /* nothing but the making of descriptors */

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("FAULT_CONTROL");
    if (path == NULL)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        abort();
    void *p = (void *)syscall(SYS_mmap, NULL, sizeof(struct control), PROT_READ | PROT_WRITE,
                              MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (p == MAP_FAILED)
        abort();
    control = p;
}

static bool strikes(enum fault_class fault_class)
{
    if (control == NULL || spared > 0 || (sheltered > 0 && fault_class != FAULT_DESCRIPTOR) ||
        __atomic_load_n(&control->fault_class, __ATOMIC_ACQUIRE) != (uint32_t)fault_class ||
        __atomic_sub_fetch(&control->countdown, 1, __ATOMIC_ACQ_REL) != 0)
        return false;
    __atomic_add_fetch(&control->hits, 1, __ATOMIC_ACQ_REL);
    errno = (int)control->errnum;
    return true;
}

/* ---- memory ---- */

#define WRAP(type, name, params, args, fault, failed)                                              \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        return strikes(fault) ? (failed) : __real_##name args;                                     \
    }

WRAP(void *, malloc, (size_t n), (n), FAULT_ALLOC, NULL)
WRAP(void *, calloc, (size_t n, size_t size), (n, size), FAULT_ALLOC, NULL)
WRAP(void *, realloc, (void *p, size_t n), (p, n), FAULT_ALLOC, NULL)
WRAP(char *, strdup, (const char *s), (s), FAULT_ALLOC, NULL)
WRAP(char *, strndup, (const char *s, size_t n), (s, n), FAULT_ALLOC, NULL)

#define SPARE(type, name, params, args)                                                            \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        spared++;                                                                                  \
        type result = __real_##name args;                                                          \
        spared--;                                                                                  \
        return result;                                                                             \
    }

SPARE(void *, xmalloc, (size_t n), (n))
SPARE(void *, xcalloc, (size_t n, size_t size), (n, size))
SPARE(void *, xrealloc, (void *p, size_t n), (p, n))
SPARE(char *, xstrdup, (const char *s), (s))
SPARE(char *, xstrndup, (const char *s, size_t n), (s, n))

/* libevent 2.1 uses the callback that it could not allocate here; no caller can know. */
struct bufferevent;
void __real_bufferevent_setwatermark(struct bufferevent *bev, short events, size_t low,
                                     size_t high);
void __wrap_bufferevent_setwatermark(struct bufferevent *bev, short events, size_t low,
                                     size_t high);
void __wrap_bufferevent_setwatermark(struct bufferevent *bev, short events, size_t low, size_t high)
{
    spared++;
    __real_bufferevent_setwatermark(bev, events, low, high);
    spared--;
}

/* ---- libzmq ----
 *
 * It ends the process where memory or a system call fails it, so that nothing fails inside, and in its own threads never.
 * What it can answer for is a socket that cannot be made for lack of descriptors. */

struct thread {
    void *(*start)(void *);
    void *arg;
};

static void *run_spared(void *arg)
{
    struct thread thread = *(struct thread *)arg;
    spared++;
    free(arg);
    return thread.start(thread.arg);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg)
{
    if (spared == 0 && sheltered == 0)
        return __real_pthread_create(thread, attr, start, arg);
    struct thread *wrapped = __real_malloc(sizeof(*wrapped));
    if (wrapped == NULL)
        abort();
    *wrapped = (struct thread){start, arg};
    return __real_pthread_create(thread, attr, run_spared, wrapped);
}

#define SHELTER(type, name, params, args)                                                          \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        sheltered++;                                                                               \
        type result = __real_##name args;                                                          \
        sheltered--;                                                                               \
        return result;                                                                             \
    }

SHELTER(void *, zmq_socket, (void *context, int type), (context, type))
SPARE(void *, zmq_ctx_new, (void), ())
SPARE(int, zmq_ctx_term, (void *context), (context))
SPARE(int, zmq_close, (void *socket), (socket))
SPARE(int, zmq_connect, (void *socket, const char *where), (socket, where))
SPARE(int, zmq_disconnect, (void *socket, const char *where), (socket, where))
SPARE(int, zmq_setsockopt, (void *socket, int option, const void *p, size_t n),
      (socket, option, p, n))
SPARE(int, zmq_getsockopt, (void *socket, int option, void *p, size_t *n), (socket, option, p, n))
SPARE(int, zmq_socket_monitor, (void *socket, const char *where, int events),
      (socket, where, events))
SPARE(int, zmq_send, (void *socket, const void *p, size_t n, int flags), (socket, p, n, flags))
SPARE(int, zmq_msg_recv, (zmq_msg_t * msg, void *socket, int flags), (msg, socket, flags))
SPARE(int, zmq_msg_close, (zmq_msg_t * msg), (msg))
SPARE(int, zmq_msg_move, (zmq_msg_t * to, zmq_msg_t *from), (to, from))

/* ---- clocks ---- */

static void shift(clockid_t clock, time_t *seconds)
{
    if (control == NULL)
        return;
    bool wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    *seconds +=
        __atomic_load_n(wall ? &control->wall_shift_s : &control->uptime_shift_s, __ATOMIC_ACQUIRE);
}

int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    int result = __real_clock_gettime(clock, ts);
    shift(clock, &ts->tv_sec);
    return result;
}

int __real_gettimeofday(struct timeval *tv, void *zone);
int __wrap_gettimeofday(struct timeval *tv, void *zone);
int __wrap_gettimeofday(struct timeval *tv, void *zone)
{
    int result = __real_gettimeofday(tv, zone);
    shift(CLOCK_REALTIME, &tv->tv_sec);
    return result;
}

time_t __real_time(time_t *ret);
time_t __wrap_time(time_t *ret);
time_t __wrap_time(time_t *ret)
{
    time_t now = __real_time(NULL);
    shift(CLOCK_REALTIME, &now);
    if (ret != NULL)
        *ret = now;
    return now;
}

/* ---- descriptors ---- */

WRAP(int, eventfd, (unsigned value, int flags), (value, flags), FAULT_DESCRIPTOR, -1)
WRAP(int, pipe2, (int fds[2], int flags), (fds, flags), FAULT_DESCRIPTOR, -1)
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), FAULT_DESCRIPTOR,
     -1)
WRAP(int, socketpair, (int domain, int type, int protocol, int fds[2]),
     (domain, type, protocol, fds), FAULT_DESCRIPTOR, -1)
WRAP(int, accept4, (int fd, struct sockaddr *address, socklen_t *len, int flags),
     (fd, address, len, flags), FAULT_DESCRIPTOR, -1)
WRAP(int, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *event), (epfd, op, fd, event),
     FAULT_EPOLL, -1)
WRAP(void *, mmap, (void *at, size_t len, int protection, int flags, int fd, off_t offset),
     (at, len, protection, flags, fd, offset), FAULT_MAP, MAP_FAILED)

#define OPEN_WITH(name, params, args)                                                              \
    int __real_##name params;                                                                      \
    int __wrap_##name params;                                                                      \
    int __wrap_##name params                                                                       \
    {                                                                                              \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        /* Harmless where there is no third argument: the register is not looked at. */            \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;             \
        va_end(list);                                                                              \
        return strikes(FAULT_OPEN) ? -1 : __real_##name args;                                      \
    }
OPEN_WITH(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN_WITH(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN_WITH(openat, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *arg = va_arg(list, void *);
    va_end(list);
    bool makes = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    return makes && strikes(FAULT_DESCRIPTOR) ? -1 : __real_fcntl(fd, command, arg);
}

/* ---- reading and writing ---- */

#define MOVE(name, fault, params, args, short_args)                                                \
    ssize_t __real_##name params;                                                                  \
    ssize_t __wrap_##name params;                                                                  \
    ssize_t __wrap_##name params                                                                   \
    {                                                                                              \
        if (!strikes(fault))                                                                       \
            return __real_##name args;                                                             \
        return errno != 0 ? -1 : __real_##name short_args;                                         \
    }

MOVE(read, FAULT_READ, (int fd, void *p, size_t n), (fd, p, n), (fd, p, n < 1 ? n : 1))
MOVE(pread, FAULT_READ, (int fd, void *p, size_t n, off_t at), (fd, p, n, at),
     (fd, p, n < 1 ? n : 1, at))
MOVE(recv, FAULT_READ, (int fd, void *p, size_t n, int flags), (fd, p, n, flags),
     (fd, p, n < 1 ? n : 1, flags))
MOVE(readv, FAULT_READ, (int fd, const struct iovec *v, int n), (fd, v, n), (fd, v, n < 1 ? n : 1))
MOVE(write, FAULT_WRITE, (int fd, const void *p, size_t n), (fd, p, n), (fd, p, n < 1 ? n : 1))
MOVE(pwrite, FAULT_WRITE, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at),
     (fd, p, n < 1 ? n : 1, at))
MOVE(send, FAULT_WRITE, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags),
     (fd, p, n < 1 ? n : 1, flags))
MOVE(writev, FAULT_WRITE, (int fd, const struct iovec *v, int n), (fd, v, n),
     (fd, v, n < 1 ? n : 1))
MOVE(sendfile, FAULT_WRITE, (int out, int in, off_t *at, size_t n), (out, in, at, n),
     (out, in, at, n < 1 ? n : 1))

/* ---- file facts and names ---- */

WRAP(int, fstat, (int fd, struct stat *st), (fd, st), FAULT_STAT, -1)
WRAP(int, stat, (const char *path, struct stat *st), (path, st), FAULT_STAT, -1)
WRAP(int, fstatat, (int dir, const char *path, struct stat *st, int flags), (dir, path, st, flags),
     FAULT_STAT, -1)
WRAP(ssize_t, readlinkat, (int dir, const char *path, char *p, size_t n), (dir, path, p, n),
     FAULT_STAT, -1)
WRAP(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode), FAULT_STAT, -1)
WRAP(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), FAULT_STAT, -1)
WRAP(int, renameat, (int from, const char *old, int to, const char *path), (from, old, to, path),
     FAULT_STAT, -1)
WRAP(int, ftruncate, (int fd, off_t len), (fd, len), FAULT_STAT, -1)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), FAULT_STAT, -1)
WRAP(int, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid), FAULT_STAT, -1)
WRAP(int, fsync, (int fd), (fd), FAULT_STAT, -1)

/* ---- raw calls: only those that make a process, or a descriptor ---- */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
/* Takes the most that a call can have: what the caller did not give is read from its frame, and the kernel ignores it. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...)
{
    long arg[6];
    va_list list;
    va_start(list, number);
    for (size_t i = 0; i < sizeof(arg) / sizeof(arg[0]); i++)
        arg[i] = va_arg(list, long);
    va_end(list);
    bool failed = (number == SYS_clone || number == SYS_clone3)         ? strikes(FAULT_CLONE)
                  : (number == SYS_pidfd_open || number == SYS_openat2) ? strikes(FAULT_OPEN)
                                                                        : false;
    return failed ? -1 : __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
