#include "execd/proc/users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/proc/users_priv.h"
#include "proto/base/fd.h"
#include "proto/base/str.h"

#define FILE_MAX (1U << 20)
#define RECORD_MAX 4096
#define FIELDS_MAX 7

const char *users_etc_dir = "/etc";

/* One of the two files, kept until it changes on disk. */
struct db_file {
    const char *name;
    char *text; /* owned; NULL = not there */
    size_t len;
    struct stat seen; /* of the file that text was read from */
};
static struct db_file passwd_file = {.name = "passwd"}, group_file = {.name = "group"};

/* A line cut into its fields; the strings point into line. */
struct record {
    char line[RECORD_MAX + 1];
    char *field[FIELDS_MAX];
    size_t n;
};

/* ---- reading ---- */

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void forget(struct db_file *db)
{
    free(db->text);
    db->text = NULL;
    db->len = 0;
}

/* O_NONBLOCK: a FIFO in this place must not hold us. What lies beyond FILE_MAX is not seen. */
static int load(struct db_file *db)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", users_etc_dir, db->name);
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int result = -errno;
        forget(db);
        return result;
    }
    if (!S_ISREG(st.st_mode)) {
        forget(db);
        return -EINVAL;
    }
    if (db->text != NULL && is_same_file(&db->seen, &st))
        return 0;
    forget(db);
    size_t size = st.st_size > FILE_MAX ? FILE_MAX : (size_t)st.st_size;
    cleanup_free char *text = malloc(size + 1);
    if (text == NULL)
        return -ENOMEM;
    ssize_t got = fd_read_full(fd, text, size);
    if (got < 0)
        return (int)got;
    db->text = take_ptr(&text);
    db->len = (size_t)got;
    db->seen = st;
    return 0;
}

/* Copies the line at *at into r and moves on. False at the end. An unusable line (too long, with NUL, cut off by
 * FILE_MAX, a "+" or "-" entry of the NIS days, a comment) comes out with n = 0. */
static bool next_record(const struct db_file *db, size_t *at, struct record *r)
{
    r->n = 0;
    if (*at >= db->len)
        return false;
    const char *line = db->text + *at;
    const char *nl = memchr(line, '\n', db->len - *at);
    size_t len = nl != NULL ? (size_t)(nl - line) : db->len - *at;
    bool whole = nl != NULL || db->len < FILE_MAX;
    *at += len + 1;
    if (!whole || len == 0 || len > RECORD_MAX || memchr(line, '\0', len) != NULL ||
        strchr("+-#", line[0]) != NULL)
        return true;
    memcpy(r->line, line, len);
    r->line[len] = '\0';
    for (char *p = r->line; p != NULL && r->n < FIELDS_MAX;) {
        r->field[r->n++] = p;
        p = strchr(p, ':');
        if (p != NULL)
            *p++ = '\0';
    }
    return true;
}

/* (uid_t)-1 means "leave as it is" to the kernel, so it is no identity. */
static bool parse_id(const char *text, uint32_t *ret_id)
{
    uint32_t id;
    if (str_to_u32(text, &id) < 0 || id == UINT32_MAX)
        return false;
    *ret_id = id;
    return true;
}

/* ---- passwd ---- */

static bool copy_absolute(char *out, size_t size, const char *path)
{
    size_t len = strlen(path);
    if (path[0] != '/' || len >= size)
        return false;
    memcpy(out, path, len + 1);
    return true;
}

/* name:password:uid:gid:gecos:home:shell. False when the ids or the name cannot be trusted. */
static bool to_user(const struct record *r, struct user *u)
{
    if (r->n < 4 || r->field[0][0] == '\0' || strlen(r->field[0]) >= sizeof(u->name) ||
        !parse_id(r->field[2], &u->uid) || !parse_id(r->field[3], &u->gid))
        return false;
    memcpy(u->name, r->field[0], strlen(r->field[0]) + 1);
    if (r->n < 6 || !copy_absolute(u->home, sizeof(u->home), r->field[5]))
        snprintf(u->home, sizeof(u->home), "/");
    if (r->n < 7 || !copy_absolute(u->shell, sizeof(u->shell), r->field[6]))
        u->shell[0] = '\0';
    u->known = true;
    return true;
}

/* First matching line wins, as everywhere. name NULL: by uid. */
static int find_user(const char *name, uid_t uid, struct user *ret_user)
{
    struct record r;
    int result = load(&passwd_file);
    if (result < 0)
        return result;
    for (size_t at = 0; next_record(&passwd_file, &at, &r);) {
        struct user u;
        if (r.n == 0 || (name != NULL && strcmp(r.field[0], name) != 0))
            continue;
        if (to_user(&r, &u) && (name != NULL || u.uid == uid)) {
            *ret_user = u;
            return 0;
        }
    }
    return -ENOENT;
}

int users_by_uid(uid_t uid, struct user *ret_user)
{
    int result = find_user(NULL, uid, ret_user);
    if (result < 0)
        *ret_user = (struct user){.uid = uid, .home = "/"};
    return result == -ENOMEM ? result : 0;
}

int users_by_name(const char *name, struct user *ret_user)
{
    int result = find_user(name, 0, ret_user);
    return result < 0 && result != -ENOMEM ? -ENOENT : result;
}

/* ---- group: name:password:gid:member,member ---- */

static bool is_group(const struct record *r, gid_t *ret_gid)
{
    return r->n >= 3 && r->field[0][0] != '\0' && parse_id(r->field[2], ret_gid);
}

int users_group_by_name(const char *name, gid_t *ret_gid)
{
    struct record r;
    gid_t gid;
    if (load(&group_file) < 0)
        return -ENOENT;
    for (size_t at = 0; next_record(&group_file, &at, &r);)
        if (r.n > 0 && strcmp(r.field[0], name) == 0 && is_group(&r, &gid)) {
            *ret_gid = gid;
            return 0;
        }
    return -ENOENT;
}

void users_group_name(gid_t gid, char *buf, size_t size)
{
    struct record r;
    gid_t found;
    snprintf(buf, size, "%u", gid);
    if (load(&group_file) < 0)
        return;
    for (size_t at = 0; next_record(&group_file, &at, &r);)
        if (is_group(&r, &found) && found == gid && strlen(r.field[0]) < size) {
            snprintf(buf, size, "%s", r.field[0]);
            return;
        }
}

static bool has_member(char *members, const char *name)
{
    for (char *p = members, *next; p != NULL; p = next) {
        next = strchr(p, ',');
        if (next != NULL)
            *next++ = '\0';
        if (strcmp(p, name) == 0)
            return true;
    }
    return false;
}

int users_groups(const char *name, gid_t primary, gid_t *ret_groups, size_t max)
{
    struct record r;
    gid_t gid;
    size_t n = 0;
    if (max > 0)
        ret_groups[n++] = primary;
    if (name[0] == '\0' || load(&group_file) < 0)
        return (int)n;
    for (size_t at = 0; n < max && next_record(&group_file, &at, &r);)
        if (r.n >= 4 && is_group(&r, &gid) && gid != primary && has_member(r.field[3], name))
            ret_groups[n++] = gid;
    return (int)n;
}
