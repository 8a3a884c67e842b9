#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/files/temp.h"
#include "execd/gateway/contents_priv.h"
#include "proto/api/errors.h"
#include "proto/base/codec.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/path.h"
#include "proto/json/json_scan.h"

#define WORD_MAX 64
#define NAMES_MAX 1000 /* untitled ones of a kind in one folder */
#define EMPTY_NOTEBOOK "{\"cells\":[],\"metadata\":{},\"nbformat\":4,\"nbformat_minor\":5}\n"

/* The answer: the model of what is at the spot now. */
static int answer(struct contents_call *call, const struct spot *spot, bool is_new)
{
    call->outcome = is_new ? CONTENTS_MADE : CONTENTS_SHOWN;
    (void)snprintf(call->location, sizeof(call->location), "%s", spot->path); /* fits */
    return contents_model(&call->out, spot, &call->err);
}

static int refuse(struct contents_call *call, const char *why)
{
    return err_set(&call->err, ERR_INVALID_REQUEST_BODY, EINVAL, "%s", why);
}

/* ---- PUT ---- */

struct content {
    char *data; /* owned */
    size_t len;
};

static int from_base64(struct contents_call *call, struct content *content)
{
    char *raw = malloc(codec_base64_room(content->len) + 1);
    size_t n = 0;
    if (raw == NULL)
        return err_set(&call->err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the content");
    if (codec_unbase64(content->data, content->len, raw, &n) < 0) {
        free(raw);
        return refuse(call, "content: no valid base64");
    }
    free(content->data);
    *content = (struct content){raw, n};
    return 0;
}

/* A notebook stays as it was written; only its end is made a line's. */
static int take_notebook(struct contents_call *call, struct content *content)
{
    struct slice value = json_find_member(call->body, "content");
    if (value.len == 0 || value.ptr[0] != '{')
        return refuse(call, "content: expected the object of a notebook");
    if (value.len >= CONTENTS_FILE_MAX)
        return err_set(&call->err, ERR_FILE_TOO_LARGE, EFBIG, "content: more than %u bytes",
                       CONTENTS_FILE_MAX);
    content->data = malloc(value.len + 1);
    if (content->data == NULL)
        return err_set(&call->err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the content");
    memcpy(content->data, value.ptr, value.len);
    content->data[value.len] = '\n';
    content->len = value.len + 1;
    return 0;
}

static int take_content(struct contents_call *call, bool as_notebook, struct content *content)
{
    cleanup_free char *format = NULL;
    int r = contents_text(call->body, "format", WORD_MAX, &format, NULL, &call->err);
    if (r < 0)
        return r;
    if (as_notebook)
        return take_notebook(call, content);
    bool base64 = format != NULL && strcmp(format, "base64") == 0;
    if (!base64 && format != NULL && strcmp(format, "text") != 0)
        return refuse(call, "format: text or base64");
    size_t max = base64 ? codec_base64_len(CONTENTS_FILE_MAX) : CONTENTS_FILE_MAX;
    r = contents_text(call->body, "content", max, &content->data, &content->len, &call->err);
    if (r < 0)
        return r;
    if (content->data == NULL)
        return refuse(call, "No file content provided");
    return base64 ? from_base64(call, content) : 0;
}

/* A part of a large upload behind the first one. */
static int append(const struct spot *spot, const struct content *content, struct err *err)
{
    struct stat st;
    cleanup_fd int fd =
        openat(spot->dir_fd, spot->name,
               O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return contents_fail(err, errno, "open", spot->path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_FILE_KIND, EINVAL, "%.160s is not a file", spot->path);
    int r = fd_write_all(fd, content->data, content->len);
    return r < 0 ? contents_fail(err, -r, "write", spot->path) : 0;
}

static int save_folder(struct contents_call *call, const struct spot *spot, bool known)
{
    struct stat st;
    if (mkdirat(spot->dir_fd, spot->name, 0755) == 0)
        return 0;
    if (!known || spot_stat(spot, &st) < 0)
        return contents_fail(&call->err, errno, "make", spot->path);
    return S_ISDIR(st.st_mode) ? 0
                               : err_set(&call->err, ERR_FILE_KIND, EINVAL,
                                         "%.160s is not a directory", spot->path);
}

/* "chunk": 1 for the first part, 2, 3, ..., -1 for the last. */
static bool is_later_part(struct slice body)
{
    struct slice chunk = json_find_member(body, "chunk");
    return chunk.len > 0 && chunk.ptr[0] != 'n' && !(chunk.len == 1 && chunk.ptr[0] == '1');
}

int contents_save(struct contents_call *call, const struct spot *spot)
{
    cleanup_free char *type = NULL;
    struct content content = {NULL, 0};
    struct stat st;
    int r = contents_text(call->body, "type", WORD_MAX, &type, NULL, &call->err);
    if (r < 0)
        return r;
    bool known = spot_stat(spot, &st) == 0;
    if (type == NULL || spot_is_root(spot))
        return refuse(call, type == NULL ? "No file type provided" : "path: the root itself");
    if (strcmp(type, "directory") == 0) {
        r = save_folder(call, spot, known);
        return r < 0 ? r : answer(call, spot, !known);
    }
    bool as_notebook = strcmp(type, "notebook") == 0;
    if (!as_notebook && strcmp(type, "file") != 0)
        return refuse(call, "type: directory, file or notebook");
    r = take_content(call, as_notebook, &content);
    if (r >= 0 && !as_notebook && is_later_part(call->body))
        r = append(spot, &content, &call->err);
    else if (r >= 0)
        r = contents_write(spot, (struct slice){content.data, content.len}, &call->err);
    free(content.data);
    return r < 0 ? r : answer(call, spot, !known);
}

/* ---- POST at a folder ---- */

struct naming {
    const char *stem, *blank, *ext; /* stem.ext, stem blank 1.ext, stem blank 2.ext, ... */
};

static int name_path(const struct spot *folder, const struct naming *naming, int i,
                     char path[PATH_MAX])
{
    char number[16] = "";
    if (i > 0)
        (void)snprintf(number, sizeof(number), "%s%d", naming->blank, i); /* fits */
    return snprintf(path, PATH_MAX, "%s%s%s%s%s", folder->path, spot_is_root(folder) ? "" : "/",
                    naming->stem, number, naming->ext) < PATH_MAX
               ? 0
               : -ENAMETOOLONG;
}

/* data: of a file; NULL: a folder. */
static int make(const struct spot *spot, const struct slice *data)
{
    if (data != NULL)
        return contents_create(spot, *data);
    return mkdirat(spot->dir_fd, spot->name, 0755) < 0 ? -errno : 0;
}

/* Makes it under the first name that is free: whoever comes first has it. */
static int make_first(struct contents_call *call, const struct spot *folder,
                      const struct naming *naming, const struct slice *data)
{
    char path[PATH_MAX];
    for (int i = 0; i < NAMES_MAX; i++) {
        cleanup_spot struct spot spot = SPOT_UNSET;
        int r = name_path(folder, naming, i, path);
        if (r < 0)
            return contents_fail(&call->err, -r, "make", folder->path);
        if ((r = spot_find(call->root, path, &spot, &call->err)) < 0)
            return r;
        if ((r = make(&spot, data)) >= 0)
            return answer(call, &spot, true);
        if (r != -EEXIST)
            return contents_fail(&call->err, -r, "make", path);
    }
    return contents_fail(&call->err, EEXIST, "make", naming->stem);
}

static int new_untitled(struct contents_call *call, const struct spot *folder, const char *type,
                        const char *ext)
{
    static const struct slice notebook = SLICE_LIT(EMPTY_NOTEBOOK), empty = SLICE_LIT("");
    static const struct naming folders = {"Untitled Folder", " ", ""},
                               notebooks = {"Untitled", "", ".ipynb"};
    const struct naming files = {"untitled", "", ext != NULL ? ext : ""};
    const char *kind = type != NULL                                ? type
                       : ext != NULL && strcmp(ext, ".ipynb") == 0 ? "notebook"
                                                                   : "file";
    if (ext != NULL && strchr(ext, '/') != NULL)
        return refuse(call, "ext: no slash");
    if (strcmp(kind, "directory") == 0)
        return make_first(call, folder, &folders, NULL);
    if (strcmp(kind, "notebook") == 0)
        return make_first(call, folder, &notebooks, &notebook);
    return strcmp(kind, "file") == 0 ? make_first(call, folder, &files, &empty)
                                     : refuse(call, "type: directory, file or notebook");
}

static int new_copy(struct contents_call *call, const struct spot *folder, const char *from)
{
    cleanup_spot struct spot source = SPOT_UNSET;
    cleanup_free char *data = NULL;
    size_t len;
    char stem[NAME_MAX + 16];
    int r = spot_find(call->root, from, &source, &call->err);
    if (r >= 0)
        r = contents_read(&source, &data, &len, &call->err);
    if (r < 0)
        return r;
    const char *dot = strrchr(source.name, '.');
    const char *ext = dot != NULL && dot != source.name ? dot : "";
    (void)snprintf(stem, sizeof(stem), "%.*s-Copy1", (int)(strlen(source.name) - strlen(ext)),
                   source.name); /* fits */
    return make_first(call, folder, &(struct naming){stem, "-", ext}, &(struct slice){data, len});
}

int contents_new(struct contents_call *call, const struct spot *spot)
{
    cleanup_free char *from = NULL, *type = NULL, *ext = NULL;
    struct stat st;
    int r = spot_stat(spot, &st);
    if (r < 0)
        return contents_fail(&call->err, -r, "open", spot->path);
    if (!S_ISDIR(st.st_mode))
        return refuse(call, "Cannot POST to files, use PUT instead");
    if ((r = contents_text(call->body, "copy_from", PATH_MAX, &from, NULL, &call->err)) < 0 ||
        (r = contents_text(call->body, "type", WORD_MAX, &type, NULL, &call->err)) < 0 ||
        (r = contents_text(call->body, "ext", WORD_MAX, &ext, NULL, &call->err)) < 0)
        return r;
    return from != NULL ? new_copy(call, spot, from) : new_untitled(call, spot, type, ext);
}

/* ---- PATCH, DELETE ---- */

int contents_rename(struct contents_call *call, const struct spot *spot)
{
    cleanup_spot struct spot target = SPOT_UNSET;
    cleanup_free char *path = NULL;
    struct stat st;
    int r = contents_text(call->body, "path", PATH_MAX, &path, NULL, &call->err);
    if (r < 0)
        return r;
    if (path == NULL || spot_is_root(spot))
        return refuse(call, path == NULL ? "path: where to?" : "path: the root itself");
    if ((r = spot_stat(spot, &st)) < 0)
        return contents_fail(&call->err, -r, "find", spot->path);
    if ((r = spot_find(call->root, path, &target, &call->err)) < 0)
        return r;
    if (strcmp(target.path, spot->path) != 0 &&
        (r = temp_rename(spot->dir_fd, spot->name, target.dir_fd, target.name)) < 0)
        return contents_fail(&call->err, -r, "rename", target.path);
    return answer(call, &target, false);
}

int contents_delete(struct contents_call *call, const struct spot *spot)
{
    struct stat st;
    int r = spot_stat(spot, &st);
    if (r < 0)
        return contents_fail(&call->err, -r, "find", spot->path);
    if (spot_is_root(spot))
        return refuse(call, "path: the root itself");
    if (S_ISDIR(st.st_mode) && unlinkat(spot->dir_fd, spot->name, AT_REMOVEDIR) < 0)
        return errno == ENOTEMPTY || errno == EEXIST
                   ? err_set(&call->err, ERR_INVALID_REQUEST_BODY, errno,
                             "Directory %.160s not empty", spot->path)
                   : contents_fail(&call->err, errno, "delete", spot->path);
    if (!S_ISDIR(st.st_mode) && unlinkat(spot->dir_fd, spot->name, 0) < 0)
        return contents_fail(&call->err, errno, "delete", spot->path);
    call->outcome = CONTENTS_DONE;
    return 0;
}
