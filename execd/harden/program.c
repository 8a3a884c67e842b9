#include "execd/harden/program.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/fd.h"

#define PROGRAM_MAX (BPF_MAXINSNS * sizeof(struct sock_filter))

/* Through a memory file: libseccomp writes to descriptors only. */
int program_export(scmp_filter_ctx ctx, struct sock_fprog *ret_program)
{
    struct stat st;
    cleanup_fd int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = seccomp_export_bpf(ctx, fd);
    if (rc < 0)
        return rc;
    if (fstat(fd, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    size_t size = (size_t)st.st_size;
    if (size == 0 || size > PROGRAM_MAX || size % sizeof(struct sock_filter) != 0)
        return -E2BIG;
    cleanup_free struct sock_filter *filter = malloc(size);
    if (filter == NULL)
        return -ENOMEM;
    if (fd_read_full(fd, filter, size) != (ssize_t)size)
        return -EIO;
    ret_program->len = (unsigned short)(size / sizeof(struct sock_filter));
    ret_program->filter = take_ptr(&filter);
    return 0;
}
