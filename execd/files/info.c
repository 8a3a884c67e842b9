#include "execd/files/info.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "execd/proc/users.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"

/* 0755 → 755. */
static int mode_to_digits(unsigned mode)
{
    return (int)(((mode >> 9) & 7) * 1000 + ((mode >> 6) & 7) * 100 + ((mode >> 3) & 7) * 10 +
                 (mode & 7));
}

int file_mode_from_digits(int64_t digits, unsigned *ret_mode)
{
    unsigned mode = 0, shift = 0;

    if (digits < 0 || digits > 7777)
        return -EINVAL;
    for (; digits > 0; digits /= 10, shift += 3) {
        unsigned digit = (unsigned)(digits % 10);
        if (digit > 7)
            return -EINVAL;
        mode |= digit << shift;
    }
    *ret_mode = mode;
    return 0;
}

static const char *kind_of(mode_t mode)
{
    if (S_ISREG(mode))
        return "file";
    if (S_ISDIR(mode))
        return "directory";
    return S_ISLNK(mode) ? "symlink" : "other";
}

static json_t *time_json(const struct timespec *ts)
{
    char text[CLOCK_RFC3339_MAX];

    clock_format_ts(ts, text);
    return json_string(text);
}

/* A path in JSON must be valid UTF-8; bytes that are not become U+FFFD one by one. */
static json_t *path_json(const char *path)
{
    json_t *plain = json_string(path);
    struct strbuf out;

    if (plain != NULL)
        return plain;
    strbuf_init(&out, 0);
    json_escape(&out, path, strlen(path));
    json_t *repaired =
        strbuf_check(&out) == 0 ? json_loadb(out.data, out.len, JSON_DECODE_ANY, NULL) : NULL;
    strbuf_done(&out);
    return repaired;
}

int file_info(const char *path, json_t **ret_info, struct err *err)
{
    struct stat st;
    struct statx sx;
    struct user owner;
    char group[256];
    char number[16];

    if (lstat(path, &st) < 0)
        return err_sys(
            err, errno == ENOENT || errno == ENOTDIR ? ERR_FILE_NOT_FOUND : ERR_FILE_ACCESS, errno,
            errno == ENOENT || errno == ENOTDIR ? "file not found. '%s'"
                                                : "error accessing file: '%s'",
            path);
    /* The birth time where the file system keeps one; ctime, which chmod changes, only otherwise. */
    bool born = statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &sx) == 0 &&
                (sx.stx_mask & STATX_BTIME) != 0;
    struct timespec created =
        born ? (struct timespec){.tv_sec = sx.stx_btime.tv_sec, .tv_nsec = sx.stx_btime.tv_nsec}
             : st.st_ctim;
    if (users_by_uid(st.st_uid, &owner) < 0)
        owner.known = false;
    snprintf(number, sizeof(number), "%u", st.st_uid);
    users_group_name(st.st_gid, group, sizeof(group));
    json_t *info = json_object();
    json_object_set_new(info, "path", path_json(path));
    json_object_set_new(info, "type", json_string(kind_of(st.st_mode)));
    json_object_set_new(info, "size", json_integer(st.st_size));
    json_object_set_new(info, "modified_at", time_json(&st.st_mtim));
    json_object_set_new(info, "created_at", time_json(&created));
    json_object_set_new(info, "owner",
                        json_string(owner.known && owner.name[0] != '\0' ? owner.name : number));
    json_object_set_new(info, "group", json_string(group));
    json_object_set_new(info, "mode", json_integer(mode_to_digits(st.st_mode & 0777)));
    *ret_info = info;
    return 0;
}
