#include "server/runtime/native/images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/api/errors.h"
#include "proto/base/codec.h"
#include "proto/base/fd.h"
#include "proto/base/str.h"
#include "server/runtime/native/images_priv.h"

#define CONFIG_MAX (1 << 20)
#define LIST_MAX 160 /* characters of the list of names in an error */

static const struct jfield config_fields[] = {
    {.name = "Env", .kind = JFIELD_STRINGS, .offset = offsetof(struct image_config, env)},
    {.name = "Entrypoint",
     .kind = JFIELD_STRINGS,
     .offset = offsetof(struct image_config, entrypoint)},
    {.name = "Cmd", .kind = JFIELD_STRINGS, .offset = offsetof(struct image_config, cmd)},
    {.name = "WorkingDir",
     .kind = JFIELD_STRING,
     .offset = offsetof(struct image_config, working_dir)},
    {.name = "User", .kind = JFIELD_STRING, .offset = offsetof(struct image_config, user)},
};

/* --- names --- */

int images_ref_file(const char *name, char out[NAME_MAX + 1])
{
    size_t n = 0;

    for (const char *p = name; *p != '\0'; p++) {
        /* The characters of references (registry host, path, tag); a leading dot would hide the file. */
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-_.:@", *p) != NULL;
        if (n + 4 > NAME_MAX || (!plain && *p != '/') || (n == 0 && *p == '.'))
            return -EINVAL;
        if (plain) {
            out[n++] = *p;
        } else {
            memcpy(out + n, "%2F", 3);
            n += 3;
        }
    }
    out[n] = '\0';
    return n == 0 ? -EINVAL : 0;
}

int images_ref_name(const char *file, char out[NAME_MAX + 1])
{
    size_t n = 0;

    for (const char *p = file; *p != '\0' && n < NAME_MAX; p++) {
        bool slash = str_starts(p, "%2F");
        out[n++] = slash ? '/' : *p;
        p += slash ? 2 : 0;
    }
    out[n] = '\0';
    return file[0] == '.' ? -EINVAL : 0;
}

bool images_is_digest(const char *text)
{
    return str_starts(text, "sha256:") && strlen(text) == strlen("sha256:") + SHA256_HEX_LEN &&
           strspn(text + strlen("sha256:"), "0123456789abcdef") == SHA256_HEX_LEN;
}

/* The digest that a name stands for. */
static int read_ref(int store, const char *name, char digest[IMAGES_DIGEST_MAX])
{
    char file[NAME_MAX + 1], path[NAME_MAX + 8];

    int rc = images_ref_file(name, file);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof(path), "refs/%s", file);
    ssize_t n = fd_slurp_at(store, path, digest, IMAGES_DIGEST_MAX);
    if (n < 0)
        return (int)n;
    digest[strcspn(digest, "\n")] = '\0';
    return images_is_digest(digest) ? 0 : -EBADMSG;
}

static bool has_tag(const char *ref)
{
    const char *slash = strrchr(ref, '/');

    return strchr(slash != NULL ? slash : ref, ':') != NULL;
}

/* "name" also means "name:latest" and the other way round. */
static int resolve(int store, const char *ref, char digest[IMAGES_DIGEST_MAX])
{
    char other[NAME_MAX + 1];

    if (images_is_digest(ref)) {
        memcpy(digest, ref, strlen(ref) + 1);
        return 0;
    }
    int rc = read_ref(store, ref, digest);
    if (rc != -ENOENT)
        return rc;
    if (str_ends(ref, ":latest"))
        snprintf(other, sizeof(other), "%.*s",
                 (int)MIN(strlen(ref) - strlen(":latest"), (size_t)NAME_MAX), ref);
    else if (!has_tag(ref))
        snprintf(other, sizeof(other), "%.200s:latest", ref);
    else
        return rc;
    return read_ref(store, other, digest);
}

/* --- one image --- */

static int read_config(int dir, struct arena *arena, struct image_config *ret_config,
                       struct err *err)
{
    cleanup_free char *text = NULL;
    size_t len;

    int rc = fd_slurp_alloc(dir, "config.json", CONFIG_MAX, &text, &len);
    if (rc < 0)
        return err_sys(err, 0, -rc, "read config.json");
    return jfield_decode_text(config_fields, ARRAY_LEN(config_fields), text, len, true, ret_config,
                              arena, 0, NULL, err);
}

static uint64_t read_size(int dir)
{
    char text[32];
    uint64_t size = 0;

    if (fd_slurp_at(dir, "size", text, sizeof(text)) < 0)
        return 0;
    text[strcspn(text, "\n")] = '\0';
    return str_to_u64(text, &size) < 0 ? 0 : size;
}

int images_open(int store, const char *digest)
{
    char folder[IMAGES_DIGEST_MAX];

    snprintf(folder, sizeof(folder), "sha256-%s", digest + strlen("sha256:"));
    int fd = openat(store, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int images_load(const char *store_dir, int store, const char *name, const char *digest,
                struct arena *arena, struct image *ret_image, struct err *err)
{
    struct image image = {.name = arena_strndup(arena, name, strlen(name)),
                          .digest = arena_strndup(arena, digest, strlen(digest)),
                          .rootfs = arena_printf(arena, "%s/sha256-%s/rootfs", store_dir,
                                                 digest + strlen("sha256:"))};
    cleanup_fd int dir = images_open(store, digest);
    struct stat st;

    if (dir < 0 || fstatat(dir, "rootfs", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return err_set(err, ERR_IMAGE_NOT_FOUND, ENOENT,
                       "image '%.100s' (%.19s) has no root file system in the store", name, digest);
    if (image.name == NULL || image.digest == NULL || image.rootfs == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for an image");
    int rc = read_config(dir, arena, &image.config, err);
    if (rc < 0)
        return err_wrap(err, "image '%.100s'", name);
    if (fstat(dir, &st) == 0)
        image.created_us = st.st_mtim.tv_sec * INT64_C(1000000) + st.st_mtim.tv_nsec / 1000;
    image.size_bytes = read_size(dir);
    *ret_image = image;
    return 0;
}

/* --- the store --- */

int images_store(const char *store_dir, struct err *err)
{
    int fd = open(store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? err_sys(err, 0, errno, "the image store '%.150s'", store_dir) : fd;
}

struct name_list {
    char text[LIST_MAX];
    size_t len;
};

static int add_name(void *arg, const char *name)
{
    struct name_list *list = arg;
    size_t need = strlen(name) + 2;

    if (list->len + need < sizeof(list->text))
        list->len += (size_t)snprintf(list->text + list->len, sizeof(list->text) - list->len,
                                      "%s%s", list->len > 0 ? ", " : "", name);
    return 0;
}

int images_each_name(int store, int (*fn)(void *arg, const char *name), void *arg)
{
    int fd = openat(store, "refs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    char name[NAME_MAX + 1];
    const struct dirent *entry;
    int rc = 0;

    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return errno == ENOENT ? 0 : -errno;
    }
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (images_ref_name(entry->d_name, name) == 0)
            rc = fn(arg, name);
    }
    closedir(dir);
    return rc;
}

static int not_found(int store, const char *ref, struct err *err)
{
    struct name_list list = {.len = 0};

    if (images_each_name(store, add_name, &list) < 0 || list.len == 0)
        return err_set(err, ERR_IMAGE_NOT_FOUND, ENOENT,
                       "no image '%.60s': the store is empty; build one with `execd-server image "
                       "build DIR NAME`",
                       ref);
    return err_set(err, ERR_IMAGE_NOT_FOUND, ENOENT,
                   "no image '%.40s'; there is: %.110s (more: `execd-server image build DIR NAME`)",
                   ref, list.text);
}

int images_find(const char *store_dir, const char *ref, struct arena *arena,
                struct image *ret_image, struct err *err)
{
    char digest[IMAGES_DIGEST_MAX];
    int fd = images_store(store_dir, err);
    cleanup_fd int store = fd;

    if (store < 0)
        return fd;
    int rc = resolve(store, ref, digest);
    if (rc == -ENOENT)
        return not_found(store, ref, err);
    if (rc == -EINVAL)
        return err_set(err, ERR_IMAGE_NOT_FOUND, EINVAL, "'%.100s' cannot be the name of an image",
                       ref);
    if (rc < 0)
        return err_sys(err, 0, -rc, "the reference of image '%.100s'", ref);
    return images_load(store_dir, store, ref, digest, arena, ret_image, err);
}

struct each {
    const char *store_dir;
    int store;
    struct arena *arena;
    int (*fn)(void *arg, const struct image *image);
    void *arg;
    struct err *err;
};

static int load_and_call(void *arg, const char *name)
{
    struct each *e = arg;
    char digest[IMAGES_DIGEST_MAX];
    struct image image;

    int rc = read_ref(e->store, name, digest);
    if (rc == 0)
        rc = images_load(e->store_dir, e->store, name, digest, e->arena, &image, e->err);
    return rc < 0 ? rc : e->fn(e->arg, &image);
}

int images_each(const char *store_dir, struct arena *arena,
                int (*fn)(void *arg, const struct image *image), void *arg, struct err *err)
{
    int fd = images_store(store_dir, err);
    cleanup_fd int store = fd;
    struct each each = {
        .store_dir = store_dir, .store = store, .arena = arena, .fn = fn, .arg = arg, .err = err};

    return store < 0 ? fd : images_each_name(store, load_and_call, &each);
}
