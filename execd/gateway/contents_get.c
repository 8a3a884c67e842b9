#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/files/facts.h"
#include "execd/gateway/contents_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/codec.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/path.h"
#include "proto/json/jfield.h"
#include "proto/json/json_scan.h"

/* ---- models ---- */

static bool is_notebook(const char *name)
{
    return str_ends(name, ".ipynb");
}

static const char *type_of(const char *name, mode_t mode)
{
    return S_ISDIR(mode) ? "directory" : is_notebook(name) ? "notebook" : "file";
}

static void add_text(struct strbuf *out, const char *key, const char *text)
{
    strbuf_addf(out, "\"%s\":", key);
    json_escape(out, text, strlen(text));
    strbuf_addc(out, ',');
}

/* Everything up to where content, format and mimetype follow. */
static int begin_model(struct strbuf *out, const struct spot *spot, const char *name,
                       const char *path, const char *type, struct err *err)
{
    struct file_facts facts;
    struct stat st;
    char modified[CLOCK_RFC3339_MAX], created[CLOCK_RFC3339_MAX];
    /* A link is what it leads to, as far as that is below the root. */
    cleanup_fd int fd =
        path_open_in_root(spot->root_fd, path[0] != '\0' ? path : ".", O_PATH | O_CLOEXEC, 0);
    if (fd < 0 || fstat(fd, &st) < 0)
        return contents_fail(err, fd < 0 ? -fd : errno, "open", path);
    if (file_facts_at(spot->dir_fd, spot->name, &facts) < 0)
        facts = (struct file_facts){.modified = st.st_mtim, .created = st.st_ctim};
    clock_format_ts(&st.st_mtim, modified);
    clock_format_ts(&facts.created, created);
    strbuf_addc(out, '{');
    add_text(out, "name", name);
    add_text(out, "path", path);
    add_text(out, "type", type != NULL ? type : type_of(name, st.st_mode));
    add_text(out, "last_modified", modified);
    add_text(out, "created", created);
    if (S_ISREG(st.st_mode))
        strbuf_addf(out, "\"size\":%lld,", (long long)st.st_size);
    else
        strbuf_adds(out, "\"size\":null,");
    strbuf_addf(out, "\"writable\":%s,",
                faccessat(spot->dir_fd, spot->name, W_OK, AT_EACCESS) == 0 ? "true" : "false");
    return 0;
}

static void end_model(struct strbuf *out)
{
    strbuf_adds(out, "\"content\":null,\"format\":null,\"mimetype\":null}");
}

static const char *own_name(const struct spot *spot)
{
    return spot_is_root(spot) ? "" : spot->name;
}

int contents_model(struct strbuf *out, const struct spot *spot, struct err *err)
{
    int r = begin_model(out, spot, own_name(spot), spot->path, NULL, err);
    if (r >= 0)
        end_model(out);
    return r;
}

/* ---- folders ---- */

/* One that cannot be looked at (gone meanwhile, a link that leads out) is left out. */
static bool add_entry(struct strbuf *out, const struct spot *folder, int dir_fd, const char *name,
                      bool first)
{
    struct spot spot = {.root_fd = folder->root_fd, .dir_fd = dir_fd, .name = name};
    const char *slash = spot_is_root(folder) ? "" : "/";
    size_t before = out->len;
    if (name[0] == '.' ||
        snprintf(spot.path, sizeof(spot.path), "%s%s%s", folder->path, slash, name) >= PATH_MAX)
        return false;
    if (!first)
        strbuf_addc(out, ',');
    if (contents_model(out, &spot, NULL) >= 0)
        return true;
    out->len = before;
    return false;
}

/* A list that is not whole would look as if it were: it is refused. */
static int add_entries(struct contents_call *call, const struct spot *spot, DIR *dir)
{
    const struct dirent *entry;
    int n = 0, shown = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (++n > CONTENTS_ENTRIES_MAX)
            return err_set(&call->err, ERR_FILE_TOO_LARGE, EFBIG,
                           "folder '%.160s' has more than %d entries, too many for a list",
                           spot->path, CONTENTS_ENTRIES_MAX);
        shown += add_entry(&call->out, spot, dirfd(dir), entry->d_name, shown == 0);
    }
    return 0;
}

static int get_folder(struct contents_call *call, const struct spot *spot)
{
    int fd = path_open_in_root(spot->root_fd, spot->path[0] != '\0' ? spot->path : ".",
                               O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL)
        return contents_fail(&call->err, fd < 0 ? -fd : errno, "open", spot->path);
    strbuf_adds(&call->out, "\"content\":[");
    int r = add_entries(call, spot, dir);
    closedir(dir);
    strbuf_adds(&call->out, "],\"format\":\"json\",\"mimetype\":null}");
    return r;
}

/* ---- files ---- */

static const char *media_type(const char *name, bool is_text)
{
    static const struct {
        const char *end, *type;
    } types[] = {
        {".py", "text/x-python"},      {".md", "text/markdown"}, {".html", "text/html"},
        {".json", "application/json"}, {".csv", "text/csv"},     {".js", "text/javascript"},
        {".css", "text/css"},          {".png", "image/png"},    {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},       {".gif", "image/gif"},    {".svg", "image/svg+xml"},
        {".pdf", "application/pdf"},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_ends(name, types[i].end))
            return types[i].type;
    return is_text ? "text/plain" : "application/octet-stream";
}

static int add_notebook(struct contents_call *call, const char *data, size_t len)
{
    struct slice value;
    if (json_scan((struct slice){data, len}, &value) < 0 || value.ptr[0] != '{')
        return err_set(&call->err, ERR_INVALID_FILE_CONTENT, EINVAL,
                       "Unreadable Notebook: %.160s is no JSON object", call->path);
    strbuf_adds(&call->out, "\"content\":");
    strbuf_add(&call->out, value.ptr, value.len);
    strbuf_adds(&call->out, ",\"format\":\"json\",\"mimetype\":null}");
    return 0;
}

static int add_base64(struct contents_call *call, const char *data, size_t len)
{
    cleanup_free char *text = malloc(codec_base64_len(len) + 1);
    if (text == NULL)
        return err_set(&call->err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the content");
    codec_base64(data, len, text);
    strbuf_adds(&call->out, "\"content\":\"");
    strbuf_adds(&call->out, text);
    strbuf_adds(&call->out, "\",\"format\":\"base64\"");
    return 0;
}

static int add_file(struct contents_call *call, const struct spot *spot, const char *data,
                    size_t len)
{
    bool is_text = utf8_is_valid(data, len);
    bool want_text = call->format != NULL ? strcmp(call->format, "text") == 0 : is_text;
    if (want_text && !is_text)
        return err_set(&call->err, ERR_INVALID_FILE_CONTENT, EINVAL, "%.160s is not UTF-8 encoded",
                       spot->path);
    if (want_text) {
        strbuf_adds(&call->out, "\"content\":");
        json_escape(&call->out, data, len);
        strbuf_adds(&call->out, ",\"format\":\"text\"");
    } else {
        int r = add_base64(call, data, len);
        if (r < 0)
            return r;
    }
    strbuf_addf(&call->out, ",\"mimetype\":\"%s\"}", media_type(spot->name, is_text));
    return 0;
}

static int get_file(struct contents_call *call, const struct spot *spot, bool as_notebook)
{
    cleanup_free char *data = NULL;
    size_t len;
    int r = contents_read(spot, &data, &len, &call->err);
    if (r < 0)
        return r;
    return as_notebook ? add_notebook(call, data, len) : add_file(call, spot, data, len);
}

/* ---- GET ---- */

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words != NULL && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

static int check_query(struct contents_call *call)
{
    static const char *const types[] = {"directory", "file", "notebook", NULL};
    static const char *const formats[] = {"text", "base64", "json", NULL};
    if (call->type != NULL && !is_one_of(call->type, types))
        return err_set(&call->err, ERR_INVALID_QUERY, EINVAL, "Type '%.64s' is invalid",
                       call->type);
    if (call->format != NULL && !is_one_of(call->format, formats))
        return err_set(&call->err, ERR_INVALID_QUERY, EINVAL, "Format '%.64s' is invalid",
                       call->format);
    return 0;
}

static int check_type(struct contents_call *call, const struct spot *spot, bool is_folder)
{
    const char *type = call->type;
    if (type != NULL && (strcmp(type, "directory") == 0) != is_folder)
        return err_set(&call->err, ERR_FILE_KIND, EINVAL, "%.160s is %s", spot->path,
                       is_folder ? "a directory, not a file" : "not a directory");
    return 0;
}

int contents_get(struct contents_call *call, const struct spot *spot)
{
    struct stat st;
    int r = check_query(call);
    if (r < 0)
        return r;
    cleanup_fd int fd = path_open_in_root(spot->root_fd, spot->path[0] != '\0' ? spot->path : ".",
                                          O_PATH | O_CLOEXEC, 0);
    if (fd < 0 || fstat(fd, &st) < 0)
        return contents_fail(&call->err, fd < 0 ? -fd : errno, "open", spot->path);
    bool is_folder = S_ISDIR(st.st_mode);
    r = check_type(call, spot, is_folder);
    if (r < 0)
        return r;
    const char *type = call->type != NULL ? call->type : type_of(spot->name, st.st_mode);
    r = begin_model(&call->out, spot, own_name(spot), spot->path, type, &call->err);
    if (r < 0)
        return r;
    if (call->without_content)
        end_model(&call->out);
    else if (is_folder)
        r = get_folder(call, spot);
    else
        r = get_file(call, spot, strcmp(type, "notebook") == 0);
    return r;
}
