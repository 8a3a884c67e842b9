/* Bringing images into the store and taking them out. Runs in a command-line verb: it may block. */
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "proto/api/errors.h"
#include "proto/base/codec.h"
#include "proto/base/fd.h"
#include "proto/base/ids.h"
#include "server/runtime/native/folder.h"
#include "server/runtime/native/images_priv.h"

#define CHUNK (1 << 20)

static int hash_file(const char *path, char digest[IMAGES_DIGEST_MAX], uint64_t *ret_size,
                     struct err *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    cleanup_free uint8_t *chunk = malloc(CHUNK);
    uint8_t sum[SHA256_LEN];
    char hex[SHA256_HEX_LEN + 1];
    struct sha256_ctx ctx;
    uint64_t size = 0;
    ssize_t n;

    if (fd < 0 || chunk == NULL)
        return err_sys(err, 0, fd < 0 ? errno : ENOMEM, "'%.150s'", path);
    sha256_init(&ctx);
    while ((n = fd_read_full(fd, chunk, CHUNK)) > 0) {
        sha256_update(&ctx, (size_t)n, chunk);
        size += (uint64_t)n;
    }
    if (n < 0)
        return err_sys(err, 0, (int)-n, "read '%.150s'", path);
    sha256_digest(&ctx, sizeof(sum), sum);
    codec_hex(sum, sizeof(sum), hex);
    snprintf(digest, IMAGES_DIGEST_MAX, "sha256:%s", hex);
    *ret_size = size;
    return 0;
}

/* GNU tar refuses ".." and absolute names and delays links that point out of the tree; owners are numbers. */
static int unpack(const char *tar, const char *dir, struct err *err)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        execlp("tar", "tar", "-xpf", tar, "--numeric-owner", "--same-owner", "--xattrs",
               "--xattrs-include=security.capability", "-C", dir, (char *)NULL);
        dprintf(STDERR_FILENO, "run tar: %s\n", strerror(errno));
        _exit(127);
    }
    if (pid < 0)
        return err_sys(err, 0, errno, "fork");
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return err_sys(err, 0, errno, "wait for tar");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, 0, EIO, "tar could not unpack '%.150s' (see above)", tar);
    return 0;
}

static int copy_file(const char *dir, const char *name, int to, bool needed, struct err *err)
{
    char path[PATH_MAX];
    cleanup_free char *data = NULL;
    size_t len;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int rc = fd_slurp_alloc(AT_FDCWD, path, 16 << 20, &data, &len);
    if (rc == -ENOENT && !needed)
        return 0;
    if (rc < 0)
        return err_sys(err, 0, -rc, "'%.150s'", path);
    cleanup_fd int fd =
        openat(to, ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    rc = fd < 0 ? -errno : fd_write_all(fd, data, len);
    if (rc == 0 && (fsync(fd) < 0 || renameat(to, ".new", to, name) < 0))
        rc = -errno;
    return rc < 0 ? err_sys(err, 0, -rc, "copy '%s'", name) : 0;
}

static int write_text(int dir, const char *path, const char *text)
{
    cleanup_fd int fd =
        openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    int rc = fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));

    return rc == 0 && fsync(fd) < 0 ? -errno : rc;
}

/* Everything below `draft`, complete and on disk, before it gets its name. */
static int fill_draft(int store, const char *store_dir, const char *draft, const char *from,
                      uint64_t size, struct err *err)
{
    char path[PATH_MAX], tar[PATH_MAX], text[32];

    if (mkdirat(store, draft, 0700) < 0)
        return err_sys(err, 0, errno, "make '%s' in the image store", draft);
    cleanup_fd int dir = openat(store, draft, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || mkdirat(dir, "rootfs", 0755) < 0)
        return err_sys(err, 0, errno, "make the tree of the image");
    snprintf(path, sizeof(path), "%s/%s/rootfs", store_dir, draft);
    snprintf(tar, sizeof(tar), "%s/rootfs.tar", from);
    int rc = unpack(tar, path, err);
    if (rc == 0)
        rc = copy_file(from, "config.json", dir, true, err);
    if (rc == 0)
        rc = copy_file(from, "manifest.txt", dir, false, err);
    if (rc < 0)
        return rc;
    snprintf(text, sizeof(text), "%llu\n", (unsigned long long)size);
    rc = write_text(dir, "size", text);
    if (rc == 0 && syncfs(dir) < 0)
        rc = -errno;
    return rc < 0 ? err_sys(err, 0, -rc, "finish the image") : 0;
}

static int unpack_new(int store, const char *store_dir, const char *digest, const char *from,
                      uint64_t size, struct err *err)
{
    char draft[64], folder[IMAGES_DIGEST_MAX], id[ID_HEX_LEN + 1];

    ids_hex(id);
    snprintf(draft, sizeof(draft), ".import-%s", id);
    snprintf(folder, sizeof(folder), "sha256-%s", digest + strlen("sha256:"));
    int rc = fill_draft(store, store_dir, draft, from, size, err);
    if (rc == 0 && renameat(store, draft, store, folder) < 0 && errno != EEXIST &&
        errno != ENOTEMPTY)
        rc = err_sys(err, 0, errno, "name the image");
    int deleted = folder_delete(store, draft); /* gone already after a rename */
    return rc < 0 ? rc : deleted < 0 ? err_sys(err, 0, -deleted, "remove '%s'", draft) : 0;
}

static int set_ref(int store, const char *name, const char *digest, struct err *err)
{
    char file[NAME_MAX + 1], path[NAME_MAX + 8], text[IMAGES_DIGEST_MAX + 1];

    if (images_ref_file(name, file) < 0 || images_is_digest(name))
        return err_set(err, ERR_INVALID_PARAMETER, EINVAL,
                       "'%.100s' cannot be the name of an image", name);
    if (mkdirat(store, "refs", 0700) < 0 && errno != EEXIST)
        return err_sys(err, 0, errno, "make the names of the image store");
    snprintf(path, sizeof(path), "refs/%s", file);
    snprintf(text, sizeof(text), "%s\n", digest);
    int rc = write_text(store, "refs/.new", text);
    if (rc == 0 && renameat(store, "refs/.new", store, path) < 0)
        rc = -errno;
    return rc < 0 ? err_sys(err, 0, -rc, "name the image '%.100s'", name) : 0;
}

int images_import(const char *store_dir, const char *name, const char *dir, struct arena *arena,
                  struct image *ret_image, struct err *err)
{
    char tar[PATH_MAX], digest[IMAGES_DIGEST_MAX], file[NAME_MAX + 1];
    uint64_t size;
    int fd = images_store(store_dir, err);
    cleanup_fd int store = fd;

    if (store < 0)
        return fd;
    if (images_ref_file(name, file) < 0)
        return err_set(err, ERR_INVALID_PARAMETER, EINVAL,
                       "'%.100s' cannot be the name of an image", name);
    snprintf(tar, sizeof(tar), "%s/rootfs.tar", dir);
    int rc = hash_file(tar, digest, &size, err);
    if (rc < 0)
        return rc;
    cleanup_fd int known = images_open(store, digest);
    if (known < 0) {
        dprintf(STDERR_FILENO, "image %s: unpacking %.1f MB\n", name, (double)size / 1e6);
        rc = unpack_new(store, store_dir, digest, dir, size, err);
    } else {
        rc = copy_file(dir, "config.json", known, true, err);
    }
    if (rc == 0)
        rc = set_ref(store, name, digest, err);
    return rc < 0 ? rc : images_load(store_dir, store, name, digest, arena, ret_image, err);
}

/* --- removal --- */

struct uses {
    int store;
    const char *digest;
    unsigned n;
};

static int count_use(void *arg, const char *name)
{
    struct uses *u = arg;
    char file[NAME_MAX + 1], path[NAME_MAX + 8], text[IMAGES_DIGEST_MAX];

    if (images_ref_file(name, file) < 0)
        return 0;
    snprintf(path, sizeof(path), "refs/%s", file);
    if (fd_slurp_at(u->store, path, text, sizeof(text)) > 0 &&
        strncmp(text, u->digest, strlen(u->digest)) == 0)
        u->n++;
    return 0;
}

/* A name first; the tree when no name is left. By digest: only a tree without names. */
int images_remove(const char *store_dir, const char *ref, struct err *err)
{
    char file[NAME_MAX + 1], path[NAME_MAX + 8], folder[IMAGES_DIGEST_MAX];
    struct arena arena;
    struct image image;
    int fd = images_store(store_dir, err);
    cleanup_fd int store = fd;

    if (store < 0)
        return fd;
    arena_init(&arena);
    int rc = images_find(store_dir, ref, &arena, &image, err);
    struct uses uses = {.store = store, .digest = rc == 0 ? image.digest : ""};
    if (rc == 0 && !images_is_digest(ref) && images_ref_file(ref, file) == 0) {
        snprintf(path, sizeof(path), "refs/%s", file);
        if (unlinkat(store, path, 0) < 0)
            rc = err_sys(err, 0, errno, "remove the name '%.100s'", ref);
    }
    if (rc == 0)
        rc = images_each_name(store, count_use, &uses);
    if (rc == 0 && uses.n > 0 && images_is_digest(ref))
        rc = err_set(err, 0, EBUSY, "%u names still stand for %.19s: remove those", uses.n, ref);
    if (rc == 0 && uses.n == 0) {
        snprintf(folder, sizeof(folder), "sha256-%s", image.digest + strlen("sha256:"));
        rc = folder_delete(store, folder);
        if (rc < 0)
            (void)err_sys(err, 0, -rc, "remove the tree of '%.100s'", ref);
    }
    arena_done(&arena);
    return rc;
}
