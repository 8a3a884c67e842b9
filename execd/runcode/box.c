#include "execd/runcode/box.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "execd/files/remove.h"
#include "execd/proc/environment.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/codec.h"
#include "proto/base/fd.h"
#include "proto/base/ids.h"
#include "proto/base/path.h"
#include "proto/base/str.h"

static int no_memory(struct err *err)
{
    return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the files of the run");
}

int box_make(const char *const *envp, struct arena *arena, const char **ret_path, struct err *err)
{
    const char *parent = environment_get(envp, "TMPDIR");
    char id[ID_HEX_LEN + 1];

    if (parent == NULL || parent[0] != '/')
        parent = "/tmp";
    ids_hex(id);
    const char *path = arena_printf(arena, "%s/run-%s", parent, id);
    if (path == NULL)
        return no_memory(err);
    if (mkdir(path, 0700) < 0)
        return err_sys(err, errno == ENOSPC ? ERR_NO_SPACE : ERR_RUNTIME_ERROR, errno,
                       "make the folder of the run below '%.200s'", parent);
    *ret_path = path;
    return 0;
}

int box_path(const char *given, struct arena *arena, const char **ret_path, struct err *err)
{
    char clean[PATH_MAX];

    if (given[0] == '\0' || given[0] == '/' || path_clean(given, clean) < 0 ||
        strcmp(clean, ".") == 0 || strcmp(clean, "..") == 0 || str_starts(clean, "../"))
        return err_set(err, ERR_INVALID_PATH, EINVAL,
                       "'%.100s': expected a relative path inside the folder of the run", given);
    *ret_path = arena_strndup(arena, clean, strlen(clean));
    return *ret_path != NULL ? 0 : no_memory(err);
}

static int open_box(const char *path)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/* ---- writing ---- */

static int make_parents(int box, const char *path)
{
    const char *name = path_basename(path);
    char parent[PATH_MAX];

    if (name == path)
        return 0;
    size_t len = (size_t)(name - path) - 1;
    memcpy(parent, path, len);
    parent[len] = '\0';
    return path_mkdirs_in_root(box, parent, 0755);
}

static int write_bytes(int fd, const struct box_write *w, struct err *err)
{
    cleanup_free char *decoded = NULL;
    const char *bytes = w->text;
    size_t len = w->len;

    if (w->base64) {
        decoded = malloc(codec_base64_room(w->len));
        if (decoded == NULL)
            return no_memory(err);
        if (codec_unbase64(w->text, w->len, decoded, &len) < 0)
            return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "files.%.100s: not base64",
                           w->path);
        bytes = decoded;
    }
    int rc = fd_write_all(fd, bytes, len);
    return rc < 0 ? err_sys(err, rc == -ENOSPC ? ERR_NO_SPACE : ERR_RUNTIME_ERROR, -rc,
                            "write '%.100s'", w->path)
                  : 0;
}

static int write_step(void *item, struct err *err)
{
    const struct box_write *w = item;
    cleanup_fd int box = open_box(w->box);

    int rc = box < 0 ? box : make_parents(box, w->path);
    if (rc < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, -rc, "make the folders of '%.100s'", w->path);
    cleanup_fd int fd = path_open_in_root(
        box, w->path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, fd == -EISDIR ? ERR_INVALID_PATH : ERR_RUNTIME_ERROR, -fd,
                       "make '%.100s'", w->path);
    return write_bytes(fd, w, err);
}

const struct file_op box_write_op = {.size = sizeof(struct box_write), .step = write_step};

/* ---- reading ---- */

/* O_PATH first: opening a device may already act on it, and a FIFO would block. */
static int open_regular(int box, const char *path, struct stat *ret_st)
{
    cleanup_fd int probe = path_open_in_root(box, path, O_PATH | O_CLOEXEC, 0);

    if (probe < 0 || fstat(probe, ret_st) < 0 || !S_ISREG(ret_st->st_mode))
        return -ENOENT;
    int fd = path_open_in_root(box, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
    if (fd >= 0 && (fstat(fd, ret_st) < 0 || !S_ISREG(ret_st->st_mode)))
        close(take_fd(&fd)); /* exchanged between the two looks */
    return fd;
}

static int read_step(void *item, struct err *err)
{
    struct box_read *r = item;
    struct stat st;
    cleanup_fd int box = open_box(r->box);
    cleanup_fd int fd = box < 0 ? -1 : open_regular(box, r->path, &st);

    if (fd < 0) /* what is not there is left out of the answer */
        return FILE_DONE;
    r->too_large = st.st_size > BOX_FETCH_FILE_MAX || (size_t)st.st_size > *r->left;
    if (r->too_large)
        return FILE_DONE;
    size_t size = (size_t)st.st_size;
    cleanup_free char *bytes = malloc(size + 1);
    char *text = malloc(codec_base64_len(size) + 1);
    ssize_t n = bytes != NULL && text != NULL ? fd_read_full(fd, bytes, size) : -ENOMEM;
    if (n < 0) {
        free(text);
        return n == -ENOMEM ? no_memory(err)
                            : err_sys(err, ERR_RUNTIME_ERROR, (int)-n, "read '%.100s'", r->path);
    }
    codec_base64(bytes, (size_t)n, text);
    r->base64 = text;
    *r->left -= (size_t)n;
    return FILE_DONE;
}

static void read_done(void *item)
{
    struct box_read *r = item;

    free(r->base64);
}

const struct file_op box_read_op = {
    .size = sizeof(struct box_read), .step = read_step, .done = read_done};

/* ---- removing ---- */

void box_remove_now(const char *path, int limit_ms)
{
    int64_t until_ms = clock_monotonic_ms() + limit_ms;
    struct remove_item item = {.path = path, .tree = true};
    struct err err;

    while (remove_op.step(&item, &err) == FILE_MORE && clock_monotonic_ms() < until_ms)
        ;
    remove_op.done(&item);
}
