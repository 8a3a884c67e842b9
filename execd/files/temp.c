#include "execd/files/temp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void temp_name(char name[TEMP_NAME_MAX])
{
    char id[ID_HEX_LEN + 1];

    ids_hex(id);
    (void)snprintf(name, TEMP_NAME_MAX, ".execd-%s.tmp", id); /* fits */
}

int temp_make(int dir_fd, char name[TEMP_NAME_MAX], int *ret_fd)
{
    temp_name(name);
    int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        int errnum = errno;
        name[0] = '\0';
        return -errnum;
    }
    *ret_fd = fd;
    return 0;
}

int temp_become(int fd, const struct stat *st)
{
    mode_t mode = st->st_mode & 07777;

    if (fchown(fd, st->st_uid, st->st_gid) < 0) {
        if (errno != EPERM && errno != EINVAL)
            return -errno;
        mode &= 0777;
    }
    return fchmod(fd, mode) < 0 ? -errno : 0;
}

int temp_rename(int from_fd, const char *from, int to_fd, const char *to)
{
    struct stat st;

    if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (fstatat(to_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    return renameat(from_fd, from, to_fd, to) < 0 ? -errno : 0;
}
