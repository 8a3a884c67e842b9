#include "execd/files/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "execd/proc/users.h"
#include "proto/base/clock.h"
#include "proto/json/jfield.h"

static struct timespec from_statx(const struct statx_timestamp *t)
{
    return (struct timespec){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

/* Where statx is unknown to a seccomp profile. */
static int by_stat(int dir_fd, const char *name, struct file_facts *ret_facts)
{
    struct stat st;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    *ret_facts = (struct file_facts){.mode = st.st_mode,
                                     .size = (uint64_t)st.st_size,
                                     .modified = st.st_mtim,
                                     .created = st.st_ctim,
                                     .uid = st.st_uid,
                                     .gid = st.st_gid,
                                     .inode = st.st_ino,
                                     .device = st.st_dev,
                                     .links = st.st_nlink};
    return 0;
}

int file_facts_at(int dir_fd, const char *name, struct file_facts *ret_facts)
{
    struct statx sx;

    if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &sx) < 0)
        return errno == EPERM || errno == ENOSYS ? by_stat(dir_fd, name, ret_facts) : -errno;
    *ret_facts = (struct file_facts){
        .mode = sx.stx_mode,
        .size = sx.stx_size,
        .modified = from_statx(&sx.stx_mtime),
        .created = from_statx((sx.stx_mask & STATX_BTIME) != 0 ? &sx.stx_btime : &sx.stx_ctime),
        .uid = sx.stx_uid,
        .gid = sx.stx_gid,
        .inode = sx.stx_ino,
        .device = makedev(sx.stx_dev_major, sx.stx_dev_minor),
        .links = sx.stx_nlink};
    return 0;
}

static const char *type_name(unsigned mode)
{
    if (S_ISREG(mode))
        return "file";
    if (S_ISDIR(mode))
        return "directory";
    return S_ISLNK(mode) ? "symlink" : "other";
}

/* 0755 → 755: octal digits as a decimal number; set-id bits are not shown. */
static unsigned mode_digits(unsigned mode)
{
    return (mode >> 6 & 7) * 100 + (mode >> 3 & 7) * 10 + (mode & 7);
}

static void add_text(struct strbuf *out, const char *key, const char *text)
{
    strbuf_adds(out, key);
    json_escape(out, text, strlen(text));
}

static void add_time(struct strbuf *out, const char *key, const struct timespec *t)
{
    char text[CLOCK_RFC3339_MAX];

    clock_format_ts(t, text);
    add_text(out, key, text);
}

void file_facts_json(struct strbuf *out, const char *path, const struct file_facts *facts,
                     const char *owner, const char *group)
{
    add_text(out, "{\"path\":", path);
    strbuf_addf(out, ",\"type\":\"%s\",\"size\":%llu", type_name(facts->mode),
                (unsigned long long)facts->size);
    add_time(out, ",\"modified_at\":", &facts->modified);
    add_time(out, ",\"created_at\":", &facts->created);
    add_text(out, ",\"owner\":", owner);
    add_text(out, ",\"group\":", group);
    strbuf_addf(out, ",\"mode\":%u}", mode_digits(facts->mode));
}

/* ---- names ---- */

static const char *find(const struct owner_name *slots, uint32_t id)
{
    const struct owner_name *slot = &slots[id % OWNER_NAMES_SLOTS];

    return slot->used && slot->id == id ? slot->name : NULL;
}

const char *owner_names_user(const struct owner_names *names, uid_t uid)
{
    return find(names->users, uid);
}

const char *owner_names_group(const struct owner_names *names, gid_t gid)
{
    return find(names->groups, gid);
}

void owner_names_learn(struct owner_names *names, uid_t uid, gid_t gid)
{
    struct owner_name *user = &names->users[uid % OWNER_NAMES_SLOTS];
    struct owner_name *group = &names->groups[gid % OWNER_NAMES_SLOTS];
    struct user found;

    user->used = group->used = true;
    user->id = uid;
    group->id = gid;
    bool named = users_by_uid(uid, &found) == 0 && found.known && found.name[0] != '\0';
    if (named)
        memcpy(user->name, found.name, sizeof(user->name));
    else
        snprintf(user->name, sizeof(user->name), "%u", uid);
    users_group_name(gid, group->name, sizeof(group->name));
}
