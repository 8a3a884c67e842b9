#include "execd/code/connection.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/ids.h"
#include "proto/base/path.h"

#define FOLDER_NAME_LEN 16 /* hex digits: unguessable and short */
#define LONGEST_NAME "/kernel.json"

_Static_assert(KERNEL_DIR_MAX + FOLDER_NAME_LEN + sizeof("/" LONGEST_NAME) <= CONNECTION_PATH_MAX,
               "every path fits");
_Static_assert(TCP_PORTS_MAX == CHANNEL_MAX, "a port for each channel");

static const char *const port_keys[CHANNEL_MAX] = {
    [CHANNEL_SHELL] = "shell_port",  [CHANNEL_IOPUB] = "iopub_port",
    [CHANNEL_STDIN] = "stdin_port",  [CHANNEL_CONTROL] = "control_port",
    [CHANNEL_HEARTBEAT] = "hb_port",
};

static int prepare(const char *runtime_dir, struct err *err)
{
    struct stat st;
    if (runtime_dir[0] != '/' || strlen(runtime_dir) > KERNEL_DIR_MAX)
        return err_set(err, ERR_KERNEL_UNAVAILABLE, EINVAL,
                       "'%.100s': an absolute path of at most %d bytes is needed", runtime_dir,
                       KERNEL_DIR_MAX);
    if (mkdir(runtime_dir, 0700) < 0 && errno == ENOENT) {
        cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        (void)!path_mkdirs_in_root(root, runtime_dir + 1, 0700); /* the check below tells */
    }
    if (lstat(runtime_dir, &st) < 0)
        return err_sys(err, ERR_KERNEL_UNAVAILABLE, errno, "make '%s'", runtime_dir);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return err_set(err, ERR_KERNEL_UNAVAILABLE, EPERM,
                       "'%s' must be a folder of uid %u with mode 0700", runtime_dir,
                       (unsigned)geteuid());
    return 0;
}

int connection_choose(const char *configured, char ret_dir[CONNECTION_PATH_MAX], struct err *err)
{
    char fallback[CONNECTION_PATH_MAX];
    const char *dir = configured ? configured : "/run/execd-kernels";
    int r = prepare(dir, err);
    if (r < 0 && !configured) {
        (void)snprintf(fallback, sizeof(fallback), "/tmp/execd-%u", (unsigned)geteuid()); /* fits */
        dir = fallback;
        r = prepare(dir, err);
    }
    if (r >= 0)
        (void)snprintf(ret_dir, CONNECTION_PATH_MAX, "%s", dir); /* length is checked */
    return r;
}

static json_t *describe(const struct connection *c, const char *kernel_name,
                        const struct jmsg_session *session)
{
    bool tcp = c->ports.n > 0;
    char prefix[CONNECTION_PATH_MAX + 2];
    (void)snprintf(prefix, sizeof(prefix), "%s/s", c->dir); /* fits */
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s}", "transport", tcp ? "tcp" : "ipc", "ip",
                             tcp ? "127.0.0.1" : prefix, "key", session->key, "signature_scheme",
                             "hmac-sha256", "kernel_name", kernel_name);
    for (int i = 0; json && i < CHANNEL_MAX; i++)
        (void)json_object_set_new(
            json, port_keys[i],
            json_integer(tcp ? c->ports.ports[i] : i + 1)); /* a missing key shows at start */
    return json;
}

static int write_file(const struct connection *c, const char *text)
{
    cleanup_fd int fd = open(c->file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
}

/* File sockets wherever the kernel can use them. */
static int choose_transport(const struct kernelspec *spec, struct connection *c, struct err *err)
{
    c->separator = spec->traits.ipc_separator;
    if (spec->traits.transports & TRANSPORT_IPC)
        return 0;
    if (spec->traits.transports & TRANSPORT_TCP)
        return tcp_ports_take(&c->ports, err);
    return err_set(err, ERR_KERNEL_UNAVAILABLE, EPROTONOSUPPORT,
                   "kernelspec '%s': metadata.execd.transports names neither ipc nor tcp",
                   spec->name);
}

static int make_folder(const char *runtime_dir, struct connection *c, struct err *err)
{
    char name[ID_HEX_LEN + 1];
    char base[CONNECTION_PATH_MAX];
    ids_hex(name);
    int r = connection_choose(runtime_dir, base, err);
    if (r < 0)
        return r;
    (void)snprintf(c->dir, sizeof(c->dir), "%.*s/%.*s", KERNEL_DIR_MAX, base, FOLDER_NAME_LEN,
                   name); /* fits */
    (void)snprintf(c->file, sizeof(c->file), "%.*s%s",
                   CONNECTION_PATH_MAX - (int)sizeof(LONGEST_NAME), c->dir,
                   LONGEST_NAME); /* as above */
    if (mkdir(c->dir, 0700) < 0)
        return err_sys(err, ERR_KERNEL_UNAVAILABLE, errno, "make '%s'", c->dir);
    return 0;
}

int connection_make(const char *runtime_dir, const struct kernelspec *spec,
                    const struct jmsg_session *session, struct connection *ret_connection,
                    struct err *err)
{
    struct connection c = {0};
    int r = choose_transport(spec, &c, err);
    if (r >= 0)
        r = make_folder(runtime_dir, &c, err);
    if (r < 0) {
        tcp_ports_release(&c.ports);
        return r;
    }
    json_t *json = describe(&c, spec->name, session);
    char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
    r = text ? write_file(&c, text) : -ENOMEM;
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    json_decref(json);
    if (r < 0) {
        connection_remove(&c);
        return err_sys(err, ERR_KERNEL_UNAVAILABLE, -r, "write '%s'", c.file);
    }
    *ret_connection = c;
    return 0;
}

void connection_address(const struct connection *c, enum kernel_channel channel, char *buf,
                        size_t size)
{
    if (c->ports.n > 0) /* callers give room */
        (void)snprintf(buf, size, "tcp://127.0.0.1:%u", c->ports.ports[channel]);
    else
        (void)snprintf(buf, size, "ipc://%s/s%c%d", c->dir, c->separator, (int)channel + 1);
}

/* Everything in it goes: the kernel may have put more there than its sockets. One level is enough for what kernels
 * make; a folder that the workload fills with others stays, and with it only that folder. */
void connection_remove(struct connection *c)
{
    tcp_ports_release(&c->ports);
    if (!c->dir[0])
        return;
    DIR *handle = opendir(c->dir);
    const struct dirent *entry;
    while (handle && (entry = readdir(handle)))
        (void)unlinkat(dirfd(handle), entry->d_name, 0); /* "." and folders refuse */
    if (handle)
        closedir(handle);
    (void)rmdir(c->dir); /* see above */
    c->dir[0] = '\0';
}
