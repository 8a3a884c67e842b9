#include "execd/files/tar_pack.h"

#include <dirent.h>
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/files/tar.h"
#include "execd/files/walk.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

#define STEP_MS 20
#define READ_SIZE (64 * 1024)

struct pack {
    struct walk *walk; /* owned */
    int fd;            /* owned: the file being read; -1 = none */
    uint64_t left;     /* bytes of it that were promised and not read yet */
    size_t padding;    /* behind it */
    struct strbuf header;
    uint64_t skipped;
    bool ended;
};

int pack_new(const char *root, struct pack **ret_pack, struct err *err)
{
    struct walk *walk;
    int rc = walk_new(root, &walk);

    if (rc == -ENOENT || rc == -ELOOP)
        return err_sys(err, ERR_FILE_NOT_FOUND, -rc, "file not found. '%s'", root);
    if (rc == -ENOTDIR)
        return err_set(err, ERR_FILE_KIND, -rc, "'%s' is not a directory", root);
    if (rc < 0)
        return err_sys(err, ERR_FILE_ACCESS, -rc, "error accessing file: '%s'", root);
    struct pack *p = xnew(struct pack);
    p->walk = walk;
    p->fd = -1;
    strbuf_init(&p->header, TAR_EXTRA_MAX + 4 * TAR_BLOCK);
    *ret_pack = p;
    return 0;
}

void pack_free(struct pack *p)
{
    if (p == NULL)
        return;
    walk_free(p->walk);
    guard_fd(&p->fd);
    strbuf_done(&p->header);
    free(p);
}

uint64_t pack_skipped(const struct pack *p)
{
    return p->skipped;
}

static int no_memory(struct err *err)
{
    return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the archive");
}

static int add_zeros(struct evbuffer *out, size_t n, struct err *err)
{
    static const char zeros[TAR_END_SIZE];

    return evbuffer_add(out, zeros, n) < 0 ? no_memory(err) : 0;
}

static int add_header(struct pack *p, struct evbuffer *out, const struct tar_member *m,
                      struct err *err)
{
    strbuf_reset(&p->header);
    tar_put_header(&p->header, m);
    if (strbuf_check(&p->header) < 0 || evbuffer_add(out, p->header.data, p->header.len) < 0)
        return no_memory(err);
    return 0;
}

static void describe(struct tar_member *m, const struct stat *st, enum tar_type type,
                     const char *path)
{
    *m = (struct tar_member){.type = type,
                             .path = path,
                             .link = "",
                             .mode = st->st_mode & 07777,
                             .uid = st->st_uid,
                             .gid = st->st_gid,
                             .mtime = st->st_mtim.tv_sec};
}

/* -ENOENT and the like: left out. */
static int add_file(struct pack *p, struct evbuffer *out, const struct walk_entry *entry,
                    struct err *err)
{
    struct tar_member m;
    struct stat st;
    /* O_NONBLOCK: a FIFO may have taken the name; fstat then tells. */
    cleanup_fd int fd = openat(entry->dir_fd, entry->name,
                               O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        p->skipped++;
        return 0;
    }
    describe(&m, &st, TAR_FILE, entry->path);
    m.size = (uint64_t)st.st_size;
    p->left = m.size;
    p->padding = tar_padding(m.size);
    if (p->left > 0)
        p->fd = take_fd(&fd);
    return add_header(p, out, &m, err);
}

static int add_other(struct pack *p, struct evbuffer *out, const struct walk_entry *entry,
                     struct err *err)
{
    char path[PATH_MAX + 1], link[PATH_MAX];
    struct tar_member m;
    struct stat st;

    if (fstatat(entry->dir_fd, entry->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        p->skipped++;
        return 0;
    }
    if (S_ISDIR(st.st_mode)) {
        (void)snprintf(path, sizeof(path), "%s/", entry->path); /* paths are below PATH_MAX */
        describe(&m, &st, TAR_FOLDER, path);
        return add_header(p, out, &m, err);
    }
    ssize_t n =
        S_ISLNK(st.st_mode) ? readlinkat(entry->dir_fd, entry->name, link, sizeof(link) - 1) : -1;
    if (n < 0) {
        p->skipped++;
        return 0;
    }
    link[n] = '\0';
    describe(&m, &st, TAR_SYMLINK, entry->path);
    m.link = link;
    return add_header(p, out, &m, err);
}

static int add_content(struct pack *p, struct evbuffer *out, struct err *err)
{
    struct evbuffer_iovec room;
    size_t want = (size_t)MIN(p->left, (uint64_t)READ_SIZE);

    if (evbuffer_reserve_space(out, (ev_ssize_t)want, &room, 1) != 1)
        return no_memory(err);
    ssize_t n = read(p->fd, room.iov_base, want);
    if (n <= 0)
        return err_sys(err, ERR_FILE_ACCESS, n < 0 ? errno : EIO, "a file became shorter or broke");
    room.iov_len = (size_t)n;
    if (evbuffer_commit_space(out, &room, 1) < 0)
        return no_memory(err);
    p->left -= (uint64_t)n;
    if (p->left > 0)
        return 0;
    guard_fd(&p->fd);
    p->fd = -1;
    return add_zeros(out, p->padding, err);
}

static int add_next(struct pack *p, struct evbuffer *out, struct err *err)
{
    struct walk_entry entry;

    if (p->fd >= 0)
        return add_content(p, out, err);
    switch (walk_next(p->walk, &entry)) {
    case WALK_ENTRY:
        return entry.type == DT_REG ? add_file(p, out, &entry, err)
                                    : add_other(p, out, &entry, err);
    case WALK_WORKING:
        break;
    case WALK_END:
        p->ended = true;
        p->skipped += walk_is_cut(p->walk);
        return add_zeros(out, TAR_END_SIZE, err);
    }
    return 0;
}

int pack_fill(struct pack *p, struct evbuffer *out, struct err *err)
{
    int64_t until_ms = clock_monotonic_ms() + STEP_MS;

    while (!p->ended && evbuffer_get_length(out) < PACK_PIECE && clock_monotonic_ms() < until_ms) {
        int rc = add_next(p, out, err);
        if (rc < 0)
            return rc;
    }
    return !p->ended;
}
