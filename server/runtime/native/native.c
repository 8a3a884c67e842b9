#include "server/runtime/native/native.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/loop_delay.h"
#include "server/runtime/native/native_priv.h"

#define WORKERS 2
#define QUEUE_MAX 4096
#define UPKEEP_S 2
#define LOG_MAX (4 << 20) /* bytes of one sandbox's execd.log */

static struct native *of(struct runtime *rt)
{
    return container_of(rt, struct native, rt);
}

/* --- operations --- */

static void op_start(struct runtime *rt, const struct runtime_start *req, runtime_done_fn done,
                     void *arg)
{
    start_begin(of(rt), req, done, arg);
}

static void op_remove(struct runtime *rt, const char *id, const char *data, runtime_done_fn done,
                      void *arg)
{
    struct native *n = of(rt);
    struct box *box = box_find(n, id);
    struct err ignored = {0};

    /* A box without a process can be removed like any other. */
    if (box == NULL && box_restore(n, id, data, &box, &ignored) < 0)
        box->dead = true;
    removal_begin(box, done, arg);
}

static int op_adopt(struct runtime *rt, const struct sandbox *sb, struct runtime_exit *ret_exit,
                    struct err *err)
{
    struct box *box;

    int rc = box_restore(of(rt), sb->id, sb->runtime_data, &box, err);
    if (rc < 0)
        *ret_exit = (struct runtime_exit){.known = false, .oom = group_had_oom(&box->groups)};
    return rc;
}

static int op_execd_target(struct runtime *rt, const struct sandbox *sb,
                           struct relay_target *ret_target, struct arena *arena)
{
    char path[128];

    int rc = folder_socket_path(of(rt)->sandboxes_fd, sb->id, path, sizeof(path));
    if (rc < 0)
        return rc;
    const char *copy = arena_strndup(arena, path, strlen(path));
    if (copy == NULL)
        return -ENOMEM;
    *ret_target = (struct relay_target){.unix_path = copy};
    return 0;
}

static int op_each(struct runtime *rt, int (*fn)(void *arg, const struct runtime_found *found),
                   void *arg, struct err *err)
{
    struct native *n = of(rt);
    int fd = openat(n->sandboxes_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    int rc = 0;

    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return err_sys(err, 0, errno, "list the sandboxes");
    }
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (!box_name_is_id(entry->d_name))
            continue;
        const struct box *box = box_find(n, entry->d_name);
        struct runtime_found found = {.id = entry->d_name, .running = box != NULL && !box->dead};
        rc = fn(arg, &found);
    }
    closedir(dir);
    return rc;
}

static int op_check_limits(struct runtime *rt, const struct sandbox_spec *spec, struct err *err)
{
    struct group_limits limits = {
        .memory_bytes = spec->memory_bytes, .millicpu = spec->millicpu, .pids = spec->pids};

    return groups_check(&of(rt)->groups, &limits, err);
}

static int op_resolve_image(struct runtime *rt, const char *image, struct arena *arena,
                            const char **ret_digest, struct err *err)
{
    struct image found;

    int rc = images_find(of(rt)->images_dir, image, arena, &found, err);
    if (rc == 0)
        *ret_digest = found.digest;
    return rc;
}

static void op_free(struct runtime *rt)
{
    struct native *n = of(rt);
    struct box *box, *tmp;

    HASH_ITER(hh, n->boxes, box, tmp)
    {
        if (box->start != NULL)
            start_abort(box);
        if (box->removal != NULL)
            removal_abort(box);
        box_free(box);
    }
    if (n->upkeep != NULL)
        event_free(n->upkeep);
    if (n->pool != NULL)
        work_pool_free(n->pool);
    trees_done(&n->trees);
    groups_done(&n->groups);
    seccomp_filter_done(&n->seccomp[false]);
    seccomp_filter_done(&n->seccomp[true]);
    if (n->sandboxes_fd >= 0)
        close(n->sandboxes_fd);
    free(n->images_dir);
    const char *const *texts[] = {&n->config.state_dir, &n->config.execd_path,
                                  &n->config.cgroup_parent, &n->config.owner};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free((char *)(uintptr_t)*texts[i]);
    free(n);
}

static const struct runtime_ops ops = {
    .name = "native",
    .start = op_start,
    .remove = op_remove,
    .adopt = op_adopt,
    .pause = native_pause,
    .resume = native_resume,
    .execd_target = op_execd_target,
    .each = op_each,
    .check_limits = op_check_limits,
    .resolve_image = op_resolve_image,
    .free = op_free,
};

/* --- life cycle --- */

static void on_upkeep(evutil_socket_t fd, short what, void *arg)
{
    struct native *n = arg;
    struct box *box, *tmp;

    (void)fd;
    (void)what;
    LOOP_WORK("timer", "upkeep");
    HASH_ITER(hh, n->boxes, box, tmp)
    {
        folder_trim_log(n->sandboxes_fd, box->id, LOG_MAX);
        /* An execd that was killed while it froze a leaf waits for processes that cannot die: without this its end
         * would never be seen. */
        if (!box->dead && box->pid > 0 && folder_process_is_ending(box->pid))
            group_thaw_all(&box->groups);
    }
}

static int open_folders(struct native *n, struct err *err)
{
    cleanup_free char *sandboxes = xasprintf("%s/sandboxes", n->config.state_dir);

    n->images_dir = xasprintf("%s/images", n->config.state_dir);
    const char *dirs[] = {n->config.state_dir, sandboxes, n->images_dir};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        if (mkdir(dirs[i], 0700) < 0 && errno != EEXIST)
            return err_sys(err, 0, errno, "make '%.150s'", dirs[i]);
    }
    n->sandboxes_fd = open(sandboxes, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (n->sandboxes_fd < 0)
        return err_sys(err, 0, errno, "open '%.150s'", sandboxes);
    return 0;
}

static int open_all(struct native *n, struct err *err)
{
    static const struct timeval every = {.tv_sec = UPKEEP_S};

    if (geteuid() != 0)
        return err_set(err, 0, EPERM, "the native runtime must be started by root");
    int rc = open_folders(n, err);
    if (rc == 0)
        rc = trees_open(n->config.execd_path, n->config.uid_base, n->config.uid_count, &n->trees,
                        err);
    if (rc == 0)
        rc = groups_open(n->config.cgroup_parent, &n->groups, err);
    if (rc == 0)
        rc = seccomp_compile(false, &n->seccomp[false], err);
    if (rc == 0)
        rc = seccomp_compile(true, &n->seccomp[true], err);
    if (rc < 0)
        return rc;
    if (fd_slurp_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", n->boot_id, sizeof(n->boot_id)) <
        0)
        return err_set(err, 0, EIO, "read the boot id");
    n->boot_id[strcspn(n->boot_id, "\n")] = '\0';
    rc = work_pool_new(n->rt.base, WORKERS, QUEUE_MAX, &n->pool);
    if (rc < 0)
        return err_sys(err, 0, -rc, "start the worker threads");
    n->upkeep = event_new(n->rt.base, -1, EV_PERSIST, on_upkeep, n);
    if (n->upkeep == NULL || event_add(n->upkeep, &every) < 0)
        return err_set(err, 0, ENOMEM, "no memory for a timer");
    return 0;
}

int native_runtime_new(struct event_base *base, const struct native_config *config,
                       struct runtime **ret_runtime, struct err *err)
{
    struct native *n = xnew(struct native);

    n->rt = (struct runtime){.ops = &ops, .base = base};
    n->config = *config;
    n->config.state_dir = xstrdup(config->state_dir);
    n->config.execd_path = xstrdup(config->execd_path);
    n->config.cgroup_parent = xstrdup(config->cgroup_parent);
    n->config.owner = xstrdup(config->owner);
    n->sandboxes_fd = n->trees.userns = -1;
    for (int i = 0; i < TREE_MAX; i++)
        n->trees.device[i] = -1;
    cgroup_dirs_init(&n->groups.parent);
    int rc = open_all(n, err);
    if (rc < 0)
        op_free(&n->rt);
    else
        *ret_runtime = &n->rt;
    return rc < 0 ? err_wrap(err, "native runtime") : 0;
}
