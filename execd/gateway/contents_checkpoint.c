#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/gateway/contents_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/path.h"

/* Where Jupyter Server keeps its one checkpoint of a file: beside it, in a folder of that name. */
#define FOLDER ".ipynb_checkpoints"
#define ID "checkpoint"

/* Its spot; -ENOENT without a text where there is no folder for it, unless it shall be made. */
static int find(const struct spot *spot, bool make, struct spot *ret_spot, char *path_at)
{
    const char *dot = strrchr(spot->name, '.');
    const char *ext = dot != NULL && dot != spot->name ? dot : "";
    char folder[PATH_MAX];
    size_t above = (size_t)(spot->name - spot->path);
    if (spot_is_root(spot) ||
        snprintf(path_at, PATH_MAX, "%.*s" FOLDER "/%.*s-checkpoint%s", (int)above, spot->path,
                 (int)(strlen(spot->name) - strlen(ext)), spot->name, ext) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (make && mkdirat(spot->dir_fd, FOLDER, 0755) < 0 && errno != EEXIST)
        return -errno;
    (void)snprintf(folder, sizeof(folder), "%.*s" FOLDER, (int)above, spot->path); /* fits */
    ret_spot->dir_fd =
        path_open_beneath(spot->root_fd, folder, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (ret_spot->dir_fd == -ENOTDIR && make)
        return -ELOOP; /* it is there and no folder: somebody's link */
    if (ret_spot->dir_fd < 0)
        return ret_spot->dir_fd;
    (void)snprintf(ret_spot->path, PATH_MAX, "%s", path_at); /* fits */
    ret_spot->name = strrchr(ret_spot->path, '/') + 1;
    ret_spot->root_fd = fcntl(spot->root_fd, F_DUPFD_CLOEXEC, 3);
    return ret_spot->root_fd < 0 ? -errno : 0;
}

/* As find, with what there is. */
static int look(const struct spot *spot, struct spot *ret_spot, struct stat *ret_st)
{
    char path[PATH_MAX];
    int r = find(spot, false, ret_spot, path);
    if (r >= 0)
        r = spot_stat(ret_spot, ret_st);
    return r >= 0 && !S_ISREG(ret_st->st_mode) ? -ENOENT : r;
}

static void describe(struct strbuf *out, const struct stat *st)
{
    char modified[CLOCK_RFC3339_MAX];
    clock_format_ts(&st->st_mtim, modified);
    strbuf_addf(out, "{\"id\":\"" ID "\",\"last_modified\":\"%s\"}", modified);
}

static int is_there(const struct spot *spot, struct err *err)
{
    struct stat st;
    int r = spot_stat(spot, &st);
    return r < 0 ? contents_fail(err, -r, "find", spot->path) : 0;
}

int contents_checkpoints(struct contents_call *call, const struct spot *spot)
{
    cleanup_spot struct spot kept = SPOT_UNSET;
    struct stat st;
    int r = is_there(spot, &call->err);
    if (r < 0)
        return r;
    strbuf_addc(&call->out, '[');
    if (look(spot, &kept, &st) >= 0)
        describe(&call->out, &st);
    strbuf_addc(&call->out, ']');
    return 0;
}

static int copy(const struct spot *from, const struct spot *to, struct err *err)
{
    cleanup_free char *data = NULL;
    size_t len;
    int r = contents_read(from, &data, &len, err);
    return r < 0 ? r : contents_write(to, (struct slice){data, len}, err);
}

int contents_checkpoint(struct contents_call *call, const struct spot *spot)
{
    cleanup_spot struct spot kept = SPOT_UNSET;
    char path[PATH_MAX];
    struct stat st;
    int r = is_there(spot, &call->err);
    if (r < 0)
        return r;
    if ((r = find(spot, true, &kept, path)) < 0)
        return contents_fail(&call->err, -r, "keep", spot->path);
    if ((r = copy(spot, &kept, &call->err)) < 0)
        return r;
    if ((r = spot_stat(&kept, &st)) < 0)
        return contents_fail(&call->err, -r, "keep", spot->path);
    describe(&call->out, &st);
    call->outcome = CONTENTS_MADE;
    return 0;
}

static int no_checkpoint(struct contents_call *call, const struct spot *spot)
{
    return err_set(&call->err, ERR_FILE_NOT_FOUND, ENOENT, "Checkpoint does not exist: %.160s",
                   spot->path);
}

int contents_restore(struct contents_call *call, const struct spot *spot)
{
    cleanup_spot struct spot kept = SPOT_UNSET;
    struct stat st;
    if (look(spot, &kept, &st) < 0)
        return no_checkpoint(call, spot);
    call->outcome = CONTENTS_DONE;
    return copy(&kept, spot, &call->err);
}

int contents_forget(struct contents_call *call, const struct spot *spot)
{
    cleanup_spot struct spot kept = SPOT_UNSET;
    struct stat st;
    if (look(spot, &kept, &st) < 0)
        return no_checkpoint(call, spot);
    call->outcome = CONTENTS_DONE;
    return unlinkat(kept.dir_fd, kept.name, 0) < 0
               ? contents_fail(&call->err, errno, "delete", spot->path)
               : 0;
}
