#include "execd/gateway/specs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/path.h"
#include "proto/base/str.h"
#include "proto/json/json_load.h"

#define NAME_FALLBACK "python3"
#define FILES_MAX 64 /* that a spec shows */

/* ---- which one ---- */

const struct kernelspec *specs_default(const struct kernelspecs *specs, const char *wanted)
{
    const struct kernelspec *spec = wanted ? kernelspecs_named(specs, wanted) : NULL;
    if (!spec)
        spec = kernelspecs_named(specs, NAME_FALLBACK);
    if (!spec)
        spec = kernelspecs_find(specs, "python");
    return spec || specs->n == 0 ? spec : &specs->items[0];
}

const struct kernelspec *specs_find(const struct kernelspecs *specs, const char *name,
                                    const char *wanted)
{
    return name && name[0] ? kernelspecs_named(specs, name) : specs_default(specs, wanted);
}

/* ---- files ---- */

/* Plain enough to stand in an address as it is, and no hidden file. */
static bool is_plain_name(const char *name)
{
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
            return false;
    return name[0] && name[0] != '.';
}

/* The spec that execd makes up itself has no folder of its own. */
static bool has_files(const struct kernelspec *spec)
{
    return strcmp(spec->resource_dir, "/") != 0;
}

static bool is_shown(const char *file)
{
    return is_plain_name(file) && (str_starts(file, "logo-") || strcmp(file, "kernel.js") == 0 ||
                                   strcmp(file, "kernel.css") == 0);
}

/* False: no memory. */
static bool add_resource(json_t *resources, const struct kernelspec *spec, const char *file)
{
    char key[256], address[512];
    const char *dot = strrchr(file, '.');
    bool by_stem = str_starts(file, "logo-") && dot;
    (void)snprintf(key, sizeof(key), "%.*s", by_stem ? (int)(dot - file) : (int)strlen(file), file);
    (void)snprintf(address, sizeof(address), "/kernelspecs/%s/%s", spec->name, file); /* both fit */
    return json_object_set_new(resources, key, json_string(address)) == 0;
}

static json_t *resources_of(const struct kernelspec *spec)
{
    cleanup_json json_t *resources = json_object();
    DIR *dir = has_files(spec) ? opendir(spec->resource_dir) : NULL;
    /* A folder that cannot be read has no files for us; one that cannot be read just now may have some. */
    bool good = dir || !has_files(spec) || (errno != ENOMEM && errno != EMFILE && errno != ENFILE);
    const struct dirent *entry;
    int shown = 0;
    for (int i = 0; dir && good && i < KERNELSPEC_SCAN_MAX && shown < FILES_MAX &&
                    (entry = readdir(dir)) != NULL;
         i++)
        if (is_shown(entry->d_name)) {
            good = add_resource(resources, spec, entry->d_name);
            shown++;
        }
    if (dir)
        closedir(dir);
    return good ? take_ptr(&resources) : NULL;
}

int specs_read_file(const struct kernelspec *spec, const char *file, char **ret_data,
                    size_t *ret_len, struct err *err)
{
    struct stat st;
    cleanup_fd int dir = has_files(spec) && is_plain_name(file)
                             ? open(spec->resource_dir, O_PATH | O_DIRECTORY | O_CLOEXEC)
                             : -1;
    cleanup_fd int fd =
        dir >= 0 ? path_open_in_root(dir, file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0)
                 : -1;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_FILE_NOT_FOUND, ENOENT, "kernelspec %.64s has no file '%.64s'",
                       spec->name, file);
    if (st.st_size > (off_t)SPECS_FILE_MAX)
        return err_set(err, ERR_FILE_TOO_LARGE, EFBIG, "'%.64s' has more than %u bytes", file,
                       SPECS_FILE_MAX);
    cleanup_free char *data = malloc((size_t)st.st_size + 1);
    if (!data)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for '%.64s'", file);
    ssize_t n = fd_read_full(fd, data, (size_t)st.st_size);
    if (n < 0)
        return err_sys(err, ERR_FILE_ACCESS, (int)-n, "read '%.64s'", file);
    *ret_len = (size_t)n;
    *ret_data = take_ptr(&data);
    return 0;
}

const char *specs_file_type(const char *file)
{
    static const struct {
        const char *end, *type;
    } types[] = {
        {".png", "image/png"},      {".svg", "image/svg+xml"}, {".jpg", "image/jpeg"},
        {".js", "text/javascript"}, {".css", "text/css"},      {".json", "application/json"},
        {".txt", "text/plain"},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_ends(file, types[i].end))
            return types[i].type;
    return "application/octet-stream";
}

/* ---- models ---- */

static json_t *words(const struct jstrings *strings)
{
    cleanup_json json_t *list = json_array();
    for (size_t i = 0; i < strings->n; i++)
        if (json_array_append_new(list, json_string(strings->items[i])) < 0)
            return NULL;
    return take_ptr(&list);
}

static json_t *pairs(const struct jmap *map)
{
    cleanup_json json_t *object = json_object();
    for (size_t i = 0; i < map->n; i++)
        if (json_object_set_new(object, map->items[i].key, json_string(map->items[i].value)) < 0)
            return NULL;
    return take_ptr(&object);
}

/* Clients look for what they know in it, such as "debugger". It was read once when the spec was. */
static json_t *metadata_of(const struct kernelspec *spec)
{
    const char *text = spec->metadata_json;
    return text ? json_load_tolerant((struct slice){text, strlen(text)}) : json_object();
}

json_t *specs_model(const struct kernelspec *spec)
{
    json_t *content =
        json_pack("{s:o, s:o, s:s, s:s, s:s, s:o}", "argv", words(&spec->argv), "env",
                  pairs(&spec->env), "display_name", spec->display_name, "language", spec->language,
                  "interrupt_mode", spec->interrupt_mode, "metadata", metadata_of(spec));
    return json_pack("{s:s, s:o, s:o}", "name", spec->name, "spec", content, "resources",
                     resources_of(spec));
}

json_t *specs_list(const struct kernelspecs *specs, const char *wanted)
{
    const struct kernelspec *first = specs_default(specs, wanted);
    cleanup_json json_t *list = specs->is_cut ? NULL : json_object();
    for (size_t i = 0; i < specs->n; i++)
        if (json_object_set_new(list, specs->items[i].name, specs_model(&specs->items[i])) < 0)
            return NULL;
    return json_pack("{s:s, s:o}", "default", first ? first->name : NAME_FALLBACK, "kernelspecs",
                     take_ptr(&list));
}
