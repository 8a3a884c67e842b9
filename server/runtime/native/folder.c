#include "server/runtime/native/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/str.h"

#define SOCKET "io/execd.sock"
#define BACKLOG 128
#define STATE_MAX 65536
#define PROCESS_EXITING 0x4 /* PF_EXITING of the kernel, in field 9 of /proc/pid/stat */

/* --- making it --- */

static int make_dirs(int dir, struct err *err)
{
    static const struct {
        const char *name;
        mode_t mode;
    } dirs[] = {{"fs", 0755}, {"fs/upper", 0755}, {"fs/work", 0700}, {"io", 0700}};

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        if (mkdirat(dir, dirs[i].name, dirs[i].mode) < 0)
            return err_sys(err, ERR_SANDBOX_START_FAILED, errno, "make '%s' of the sandbox",
                           dirs[i].name);
    }
    return 0;
}

/* The mode of "/" inside comes from the upper layer's root, which must therefore look like the image's. */
static int give_layers(int dir, const char *rootfs, uint32_t uid_base, struct err *err)
{
    struct stat st;

    if (stat(rootfs, &st) < 0)
        return err_sys(err, ERR_SANDBOX_START_FAILED, errno, "the image's tree '%.150s'", rootfs);
    if (fchownat(dir, "fs/upper", uid_base + st.st_uid, uid_base + st.st_gid, AT_SYMLINK_NOFOLLOW) <
            0 ||
        fchmodat(dir, "fs/upper", st.st_mode & 07777, 0) < 0 ||
        fchownat(dir, "fs/work", uid_base, uid_base, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchownat(dir, "fs", uid_base, uid_base, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, ERR_SANDBOX_START_FAILED, errno, "give the layers to uid %u", uid_base);
    return 0;
}

int folder_make(int sandboxes_fd, const char *id, const char *rootfs, uint32_t uid_base,
                int *ret_fs_fd, struct err *err)
{
    if (mkdirat(sandboxes_fd, id, 0700) < 0)
        return err_sys(err, ERR_SANDBOX_START_FAILED, errno, "make the folder of sandbox %s", id);
    cleanup_fd int dir = openat(sandboxes_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, ERR_SANDBOX_START_FAILED, errno, "open the folder of sandbox %s", id);
    int rc = make_dirs(dir, err);
    if (rc == 0)
        rc = give_layers(dir, rootfs, uid_base, err);
    if (rc < 0)
        return rc;
    int fs = openat(dir, "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fs < 0)
        return err_sys(err, ERR_SANDBOX_START_FAILED, errno, "open the layers of sandbox %s", id);
    *ret_fs_fd = fs;
    return 0;
}

static int name_of(const char *id, const char *file, char *out)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", id, file);

    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int folder_open_log(int sandboxes_fd, const char *id)
{
    char name[PATH_MAX];

    int rc = name_of(id, FOLDER_LOG, name);
    if (rc < 0)
        return rc;
    int fd =
        openat(sandboxes_fd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : fd;
}

int folder_socket_path(int sandboxes_fd, const char *id, char *out, size_t size)
{
    int n = snprintf(out, size, "/proc/self/fd/%d/%s/" SOCKET, sandboxes_fd, id);

    return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int folder_listen(int sandboxes_fd, const char *id, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return err_sys(err, 0, errno, "socket");
    int rc = folder_socket_path(sandboxes_fd, id, address.sun_path, sizeof(address.sun_path));
    if (rc < 0)
        return err_sys(err, 0, -rc, "socket path of sandbox %s", id);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
        return err_sys(err, ERR_SANDBOX_START_FAILED, errno, "listen on '%s'", address.sun_path);
    return take_fd(&fd);
}

/* --- state.json --- */

struct state_json {
    int64_t pid, start_time;
    const char *boot_id;
    struct jstrings groups;
};
static const struct jfield state_fields[] = {
    JFIELD(struct state_json, pid, JFIELD_I64, .flags = JFIELD_REQUIRED, .min = 0, .max = INT_MAX),
    JFIELD(struct state_json, start_time, JFIELD_I64, .flags = JFIELD_REQUIRED, .min = 0,
           .max = INT64_MAX),
    JFIELD(struct state_json, boot_id, JFIELD_STRING, .flags = JFIELD_REQUIRED),
    JFIELD(struct state_json, groups, JFIELD_STRINGS),
};

const char *folder_state_text(const struct folder_state *state, struct arena *arena)
{
    struct state_json raw = {.pid = state->pid,
                             .start_time = (int64_t)state->start_time,
                             .boot_id = state->boot_id,
                             .groups = state->groups};
    cleanup_json json_t *json = jfield_encode(state_fields, ARRAY_LEN(state_fields), &raw);
    size_t len;
    cleanup_free char *text = json != NULL ? json_compact(json, &len) : NULL;

    return text != NULL ? arena_strndup(arena, text, len) : NULL;
}

int folder_state_parse(const char *text, struct arena *arena, struct folder_state *ret_state,
                       struct err *err)
{
    struct state_json raw;

    int rc = jfield_decode_text(state_fields, ARRAY_LEN(state_fields), text, strlen(text), false,
                                &raw, arena, 0, NULL, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < raw.groups.n; i++) {
        if (raw.groups.items[i][0] != '/')
            return err_set(err, 0, EINVAL, "group path '%.100s' is not absolute",
                           raw.groups.items[i]);
    }
    *ret_state = (struct folder_state){.pid = (pid_t)raw.pid,
                                       .start_time = (uint64_t)raw.start_time,
                                       .boot_id = raw.boot_id,
                                       .groups = raw.groups};
    return 0;
}

int folder_write_state(int sandboxes_fd, const char *id, const char *text)
{
    char name[PATH_MAX], draft[PATH_MAX];

    int rc = name_of(id, "state.json", name);
    if (rc == 0)
        rc = name_of(id, "state.json.new", draft);
    if (rc < 0)
        return rc;
    cleanup_fd int fd =
        openat(sandboxes_fd, draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    rc = fd_write_all(fd, text, strlen(text));
    if (rc == 0 && renameat(sandboxes_fd, draft, sandboxes_fd, name) < 0)
        rc = -errno;
    return rc;
}

int folder_read_state(int sandboxes_fd, const char *id, struct arena *arena,
                      struct folder_state *ret_state, struct err *err)
{
    char name[PATH_MAX];
    cleanup_free char *text = NULL;
    size_t len;

    int rc = name_of(id, "state.json", name);
    if (rc == 0)
        rc = fd_slurp_alloc(sandboxes_fd, name, STATE_MAX, &text, &len);
    if (rc < 0)
        return err_sys(err, 0, -rc, "read the state of sandbox %s", id);
    return folder_state_parse(text, arena, ret_state, err);
}

/* --- upkeep --- */

void folder_trim_log(int sandboxes_fd, const char *id, uint64_t max)
{
    struct stat st;
    char name[PATH_MAX];

    if (name_of(id, FOLDER_LOG, name) < 0 ||
        fstatat(sandboxes_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || (uint64_t)st.st_size <= max)
        return;
    cleanup_fd int fd = openat(sandboxes_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0)
        (void)!ftruncate(fd, 0); /* tried again with the next round */
}

/* The command name in field 2 may hold anything, so counting starts behind its last ')'. */
static int read_stat(pid_t pid, int wanted, uint64_t *ret_value)
{
    char path[64], text[1024];

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    ssize_t n = fd_slurp_at(AT_FDCWD, path, text, sizeof(text));
    if (n < 0)
        return (int)n;
    char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < wanted; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL)
        return -EBADMSG;
    at[1 + strcspn(at + 1, " \n")] = '\0';
    return str_to_u64(at + 1, ret_value);
}

uint64_t folder_process_start(pid_t pid)
{
    uint64_t value;

    return read_stat(pid, 22, &value) < 0 ? 0 : value;
}

bool folder_process_is_ending(pid_t pid)
{
    uint64_t flags;

    return read_stat(pid, 9, &flags) == 0 && (flags & PROCESS_EXITING) != 0;
}
