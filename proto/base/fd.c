#include "proto/base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int fd_set_nonblock(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

int fd_pipe(int ret_fds[2])
{
    return pipe2(ret_fds, O_CLOEXEC) < 0 ? -errno : 0;
}

int fd_dup_cloexec(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    return copy < 0 ? -errno : copy;
}

int fd_write_all(int fd, const void *p, size_t n)
{
    const char *at = p;

    while (n > 0) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

ssize_t fd_read_full(int fd, void *p, size_t n)
{
    size_t got = 0;

    while (got < n) {
        ssize_t done = read(fd, (char *)p + got, n - got);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        if (done == 0)
            break;
        got += (size_t)done;
    }
    return (ssize_t)got;
}

ssize_t fd_slurp_at(int dirfd, const char *path, char *buf, size_t size)
{
    cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return -errno;
    ssize_t n = fd_read_full(fd, buf, size);
    if (n < 0)
        return n;
    if ((size_t)n == size)
        return -EFBIG;
    buf[n] = '\0';
    return n;
}

int fd_slurp_alloc(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_len)
{
    cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    cleanup_free char *data = NULL;
    size_t len = 0, cap = 0;

    if (fd < 0)
        return -errno;
    for (;;) {
        if (cap - len < 2) {
            cap = cap == 0 ? 4096 : cap * 2;
            char *grown = realloc(data, cap);
            if (grown == NULL)
                return -ENOMEM;
            data = grown;
        }
        ssize_t n = fd_read_full(fd, data + len, cap - len - 1);
        if (n < 0)
            return (int)n;
        len += (size_t)n;
        if (len > max)
            return -EFBIG;
        if (len < cap - 1)
            break;
    }
    data[len] = '\0';
    *ret_data = take_ptr(&data);
    *ret_len = len;
    return 0;
}

int fd_spew_at(int dirfd, const char *path, const char *text)
{
    cleanup_fd int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
    size_t len = strlen(text);

    if (fd < 0)
        return -errno;
    for (;;) {
        ssize_t n = write(fd, text, len);
        if (n >= 0)
            return (size_t)n == len ? 0 : -EIO;
        if (errno != EINTR)
            return -errno;
    }
}

static void close_listed(int first)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    if (dir == NULL) { /* no /proc either: every number there may be */
        for (long fd = first, end = sysconf(_SC_OPEN_MAX); fd < end; fd++)
            close((int)fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        char *end;
        long fd = strtol(entry->d_name, &end, 10);
        if (*end == '\0' && end != entry->d_name && fd >= first && fd != dirfd(dir))
            close((int)fd);
    }
    closedir(dir);
}

void fd_close_from(int first)
{
    if (close_range((unsigned)first, ~0U, 0) < 0)
        close_listed(first);
}

int fd_fix_stdio(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        /* open(2) takes the lowest free number, which is this one. Not CLOEXEC: it is a standard stream. */
        int access = fd == STDIN_FILENO ? O_RDONLY : O_WRONLY;
        int opened = open("/dev/null", access | O_NOCTTY); // NOLINT(android-cloexec-open)
        /* An empty root has no /dev/null. The number must be taken all the same, or the next socket gets
         * it: an O_PATH descriptor answers reads and writes with EBADF, as the closed number did. */
        if (opened < 0)
            opened = open("/", O_PATH | O_DIRECTORY); // NOLINT(android-cloexec-open)
        if (opened < 0)
            return -errno;
        if (opened != fd) {
            close(opened);
            return -EBADF;
        }
    }
    return 0;
}
