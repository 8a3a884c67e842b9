#include "execd/files/download.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "execd/files/place.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"

static int open_error(const char *path, int errnum, struct err *err)
{
    if (place_is_missing(errnum))
        return err_sys(err, ERR_FILE_NOT_FOUND, errnum, "file not found. '%s'", path);
    if (errnum == ENXIO) /* a socket, or a FIFO opened the other way */
        return err_set(err, ERR_FILE_KIND, errnum, "'%s' is not a regular file", path);
    return err_sys(err, ERR_FILE_ACCESS, errnum, "error accessing file: '%s'", path);
}

static bool on_pseudo_fs(int fd)
{
    static const unsigned long pseudo[] = {PROC_SUPER_MAGIC,    SYSFS_MAGIC,   CGROUP_SUPER_MAGIC,
                                           CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC,
                                           SECURITYFS_MAGIC};
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(pseudo); i++) {
        if ((unsigned long)fs.f_type == pseudo[i])
            return true;
    }
    return false;
}

int file_source_open(const char *path, struct file_source *ret_source, struct err *err)
{
    /* O_PATH first: opening a device for reading may already act on it, and a FIFO would block. */
    cleanup_fd int probe = open(path, O_PATH | O_CLOEXEC);
    struct stat st;

    if (probe < 0)
        return open_error(path, errno, err);
    if (fstat(probe, &st) < 0)
        return open_error(path, errno, err);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_FILE_KIND, EISDIR, "'%s' is %s, not a regular file", path,
                       S_ISDIR(st.st_mode) ? "a directory" : "a device, socket or pipe");
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return open_error(path, errno, err);
    if (fstat(fd, &ret_source->st) < 0)
        return open_error(path, errno, err);
    if (!S_ISREG(ret_source->st.st_mode)) /* exchanged between the two looks */
        return err_set(err, ERR_FILE_KIND, EISDIR, "'%s' is not a regular file", path);
    ret_source->pseudo = on_pseudo_fs(fd);
    ret_source->fd = take_fd(&fd);
    return 0;
}

#define LOOK_MAX (1U << 20)
#define PAGE_MIN 4096

bool file_source_is_cached(const struct file_source *s, uint64_t offset, size_t n)
{
    unsigned char in_core[LOOK_MAX / PAGE_MIN + 2];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t first = offset - offset % page;
    size_t len = (size_t)(offset - first) + MIN(n, (size_t)LOOK_MAX);
    bool cached = true;

    void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, s->fd, (off_t)first); /* never touched */
    if (map == MAP_FAILED)
        return false;
    if (mincore(map, len, in_core) < 0)
        cached = false;
    for (size_t i = 0; cached && i < (len + page - 1) / page; i++)
        cached = (in_core[i] & 1) != 0;
    (void)munmap(map, len); /* it was mapped */
    return cached;
}

void file_source_load(int fd, uint64_t offset, size_t n)
{
    char scratch[64 * 1024];

    (void)posix_fadvise(fd, (off_t)offset, (off_t)n * 2, POSIX_FADV_WILLNEED); /* advice */
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, scratch, MIN(n - done, sizeof(scratch)), (off_t)(offset + done));
        if (got <= 0)
            break; /* the sender will meet it too */
        done += (size_t)got;
    }
}

void file_source_done(struct file_source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}
