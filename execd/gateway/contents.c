#include "execd/gateway/contents.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/files/temp.h"
#include "execd/gateway/contents_priv.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/path.h"
#include "proto/json/json_load.h"
#include "proto/json/json_scan.h"

/* ---- places ---- */

int contents_fail(struct err *err, int errnum, const char *what, const char *path)
{
    if (errnum == ENOENT || errnum == ENOTDIR)
        return err_set(err, ERR_FILE_NOT_FOUND, errnum, "No such file or directory: %.160s", path);
    if (errnum == EEXIST)
        return err_set(err, ERR_FILE_CONFLICT, errnum, "File already exists: %.160s", path);
    if (errnum == ENOSPC || errnum == EDQUOT)
        return err_sys(err, ERR_NO_SPACE, errnum, "%s '%.160s'", what, path);
    if (errnum == ENOMEM)
        return err_sys(err, ERR_OUT_OF_MEMORY, errnum, "%s '%.160s'", what, path);
    if (errnum == EFBIG)
        return err_set(err, ERR_FILE_TOO_LARGE, errnum, "no file may be as large: %.160s", path);
    if (errnum == ENXIO || errnum == EISDIR)
        return err_set(err, ERR_FILE_KIND, errnum, "%.160s is not a file", path);
    if (errnum == ENAMETOOLONG || errnum == EINVAL)
        return err_sys(err, ERR_INVALID_PATH, errnum, "%s '%.160s'", what, path);
    if (errnum == ELOOP || errnum == EXDEV)
        return err_set(err, ERR_INVALID_PATH, errnum, "'%.160s' is a link, or leads over one",
                       path);
    return err_sys(err, ERR_FILE_ACCESS, errnum, "%s '%.160s'", what, path);
}

static bool has_hidden_part(const char *path)
{
    return path[0] == '.' || strstr(path, "/.") != NULL;
}

int spot_find(const char *root, const char *path, struct spot *ret_spot, struct err *err)
{
    cleanup_spot struct spot spot = SPOT_UNSET;
    char rooted[PATH_MAX], clean[PATH_MAX], folder[PATH_MAX];
    if (strlen(path) >= PATH_MAX - 2)
        return err_set(err, ERR_INVALID_PATH, ENAMETOOLONG, "the path is too long");
    (void)snprintf(rooted, sizeof(rooted), "/%s", path); /* fits */
    if (path_clean(rooted, clean) < 0)
        return err_set(err, ERR_INVALID_PATH, ENAMETOOLONG, "the path is too long");
    (void)snprintf(spot.path, sizeof(spot.path), "%s", clean + 1); /* fits */
    if (has_hidden_part(spot.path))
        return contents_fail(err, ENOENT, "find", spot.path);
    spot.root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (spot.root_fd < 0)
        return contents_fail(err, errno, "open", root);
    char *slash = strrchr(spot.path, '/');
    (void)snprintf(folder, sizeof(folder), "%.*s", slash != NULL ? (int)(slash - spot.path) : 0,
                   spot.path); /* fits */
    spot.dir_fd = path_open_in_root(spot.root_fd, folder[0] != '\0' ? folder : ".",
                                    O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (spot.dir_fd < 0)
        return contents_fail(err, -spot.dir_fd, "open", spot.path);
    *ret_spot = spot;
    slash = strrchr(ret_spot->path, '/');
    ret_spot->name = slash != NULL ? slash + 1 : ret_spot->path;
    if (ret_spot->name[0] == '\0')
        ret_spot->name = ".";
    spot.root_fd = spot.dir_fd = -1;
    return 0;
}

void spot_done(struct spot *spot)
{
    if (spot->root_fd >= 0)
        close(spot->root_fd);
    if (spot->dir_fd >= 0)
        close(spot->dir_fd);
}

bool spot_is_root(const struct spot *spot)
{
    return spot->path[0] == '\0';
}

int spot_stat(const struct spot *spot, struct stat *ret_st)
{
    return fstatat(spot->dir_fd, spot->name, ret_st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* ---- whole files ---- */

int contents_read(const struct spot *spot, char **ret_data, size_t *ret_len, struct err *err)
{
    struct stat st;
    /* Looked at before it is opened: opening a device may act on it, and a FIFO would wait. */
    cleanup_fd int probe = path_open_in_root(spot->root_fd, spot->path, O_PATH | O_CLOEXEC, 0);
    if (probe < 0)
        return contents_fail(err, -probe, "open", spot->path);
    if (fstat(probe, &st) < 0)
        return contents_fail(err, errno, "look at", spot->path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_FILE_KIND, EINVAL, "%.160s is not a file", spot->path);
    if (st.st_size > (off_t)CONTENTS_FILE_MAX)
        return err_set(err, ERR_FILE_TOO_LARGE, EFBIG, "%.160s has more than %u bytes", spot->path,
                       CONTENTS_FILE_MAX);
    cleanup_fd int fd = path_open_in_root(spot->root_fd, spot->path,
                                          O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
    if (fd < 0)
        return contents_fail(err, -fd, "open", spot->path);
    cleanup_free char *data = malloc((size_t)st.st_size + 1);
    ssize_t n = data != NULL ? fd_read_full(fd, data, (size_t)st.st_size) : -ENOMEM;
    if (n < 0)
        return contents_fail(err, (int)-n, "read", spot->path);
    *ret_len = (size_t)n;
    *ret_data = take_ptr(&data);
    return 0;
}

/* like: whose mode and owner it gets; NULL: a new one's. */
static int write_temp(int dir_fd, struct slice data, const struct stat *like, char *temp)
{
    int fd = -1, r = temp_make(dir_fd, temp, &fd);
    if (r < 0)
        return r;
    r = fd_write_all(fd, data.ptr, data.len);
    if (r >= 0)
        r = like != NULL ? temp_become(fd, like) : (fchmod(fd, 0644) < 0 ? -errno : 0);
    close(fd);
    return r;
}

/* All of it or nothing: an empty or half file is never left behind. */
static int put(const struct spot *spot, struct slice data, const struct stat *like, bool replace)
{
    char temp[TEMP_NAME_MAX] = "";
    int r = write_temp(spot->dir_fd, data, like, temp);
    if (r >= 0 && !replace)
        r = temp_rename(spot->dir_fd, temp, spot->dir_fd, spot->name);
    else if (r >= 0 && renameat(spot->dir_fd, temp, spot->dir_fd, spot->name) < 0)
        r = -errno;
    if (r < 0 && temp[0] != '\0')
        (void)unlinkat(spot->dir_fd, temp, 0); /* what cannot be removed has a telling name */
    return r;
}

int contents_write(const struct spot *spot, struct slice data, struct err *err)
{
    struct stat st;
    bool known = spot_stat(spot, &st) == 0;
    if (known && !S_ISREG(st.st_mode))
        return err_set(err, ERR_FILE_KIND, EINVAL, "%.160s is %s, not a file", spot->path,
                       S_ISDIR(st.st_mode) ? "a directory" : "a link or device");
    int r = put(spot, data, known ? &st : NULL, true);
    return r < 0 ? contents_fail(err, -r, "write", spot->path) : 0;
}

int contents_create(const struct spot *spot, struct slice data)
{
    struct stat st;
    return spot_stat(spot, &st) == 0 ? -EEXIST : put(spot, data, NULL, false);
}

/* ---- bodies ---- */

int contents_text(struct slice body, const char *key, size_t max, char **ret_text, size_t *ret_len,
                  struct err *err)
{
    struct slice value = json_find_member(body, key);
    *ret_text = NULL;
    if (value.len == 0 || value.ptr[0] == 'n')
        return 0;
    if (value.ptr[0] != '"')
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "%s: expected a text", key);
    json_t *text = json_load_tolerant(value);
    if (text == NULL) /* it was found to be valid */
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for %s", key);
    size_t len = json_string_length(text);
    /* Without ret_len it is a name or a path: nobody would see what stands behind a NUL. */
    bool cut = ret_len == NULL && strlen(json_string_value(text)) != len;
    if (len > max || cut || json_has_lone_surrogate(value)) {
        json_decref(text);
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "%s: no valid text of at most %zu bytes", key, max);
    }
    *ret_text = malloc(len + 1);
    if (*ret_text != NULL)
        memcpy(*ret_text, json_string_value(text), len + 1);
    json_decref(text);
    if (ret_len != NULL)
        *ret_len = len;
    return *ret_text != NULL ? 0 : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for %s", key);
}

/* ---- a call ---- */

void contents_init(struct contents_call *call)
{
    *call = (struct contents_call){.outcome = CONTENTS_SHOWN};
    strbuf_init(&call->out, CONTENTS_ANSWER_MAX);
}

void contents_done(struct contents_call *call)
{
    strbuf_done(&call->out);
}

/* Bodies are objects; none is an empty one. */
static int check_body(struct contents_call *call)
{
    struct slice value;
    if (call->body.len == 0)
        return 0;
    if (json_scan(call->body, &value) < 0 || (value.ptr[0] != '{' && value.ptr[0] != 'n'))
        return err_set(&call->err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "Invalid JSON in body of request");
    call->body = value.ptr[0] == '{' ? value : (struct slice){NULL, 0};
    return 0;
}

static int check_answer(struct contents_call *call, const struct spot *spot)
{
    int r = strbuf_check(&call->out);
    if (r == -ENOMEM)
        return err_set(&call->err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the answer");
    return r < 0
               ? err_set(&call->err, ERR_FILE_TOO_LARGE, EFBIG,
                         "%.160s makes an answer beyond %u bytes", spot->path, CONTENTS_ANSWER_MAX)
               : 0;
}

void contents_run(struct contents_call *call)
{
    static int (*const verbs[])(struct contents_call *, const struct spot *) = {
        [CONTENTS_GET] = contents_get,
        [CONTENTS_SAVE] = contents_save,
        [CONTENTS_NEW] = contents_new,
        [CONTENTS_RENAME] = contents_rename,
        [CONTENTS_DELETE] = contents_delete,
        [CONTENTS_CHECKPOINTS] = contents_checkpoints,
        [CONTENTS_CHECKPOINT] = contents_checkpoint,
        [CONTENTS_RESTORE] = contents_restore,
        [CONTENTS_FORGET] = contents_forget,
    };
    cleanup_spot struct spot spot = SPOT_UNSET;
    int r = check_body(call);
    if (r >= 0)
        r = spot_find(call->root, call->path, &spot, &call->err);
    if (r >= 0)
        r = verbs[call->verb](call, &spot);
    if (r >= 0)
        r = check_answer(call, &spot);
    if (r < 0)
        strbuf_done(&call->out);
}
