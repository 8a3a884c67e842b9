#include "execd/init/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/fd.h"
#include "proto/base/str.h"

static const struct {
    const char *name;
    enum cgroup_controller controller;
} names[] = {
    {"cpu", CGROUP_CPU},         {"cpuacct", CGROUP_CPUACCT}, {"memory", CGROUP_MEMORY},
    {"pids", CGROUP_PIDS},       {"io", CGROUP_IO},           {"blkio", CGROUP_IO},
    {"freezer", CGROUP_FREEZER}, {"devices", CGROUP_DEVICES}, {"unified", CGROUP_UNIFIED},
};

/* "name:fd" or "name:fd+v2", already cut out and terminated. */
static int parse_item(char *item, struct cgroup_dirs *dirs)
{
    uint32_t number;
    char *colon = strchr(item, ':');
    if (colon == NULL)
        return -EINVAL;
    *colon = '\0';
    char *digits = colon + 1;
    bool v2 = str_ends(digits, "+v2");
    if (v2)
        digits[strlen(digits) - 3] = '\0';
    if (str_to_u32(digits, &number) < 0 || number < 3 || number > INT32_MAX)
        return -EINVAL;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i].name, item) == 0) {
            if (dirs->fd[names[i].controller] >= 0)
                return -EINVAL;
            dirs->fd[names[i].controller] = (int)number;
            dirs->v2[names[i].controller] = v2;
            return 0;
        }
    return -EINVAL;
}

int handover_parse(const char *text, struct cgroup_dirs *ret_dirs, struct err *err)
{
    struct cgroup_dirs dirs;
    char copy[512], *save = NULL;
    cgroup_dirs_init(&dirs);
    if (strlen(text) >= sizeof(copy))
        return err_set(err, 0, EINVAL, HANDOVER_ENV ": longer than %zu bytes", sizeof(copy) - 1);
    memcpy(copy, text, strlen(text) + 1);
    for (char *item = strtok_r(copy, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save))
        if (parse_item(item, &dirs) < 0)
            return err_set(err, 0, EINVAL,
                           HANDOVER_ENV
                           ": '%.100s' is not a list of name:fd or name:fd+v2 (at '%.40s')",
                           text, item);
    *ret_dirs = dirs;
    return 0;
}

/* Every controller owns a descriptor of its own afterwards, also where several named one number. */
static int duplicate_all(const struct cgroup_dirs *named, struct cgroup_dirs *ret_dirs,
                         struct err *err)
{
    struct cgroup_dirs taken;
    struct stat st;
    cgroup_dirs_init(&taken);
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (named->fd[c] < 0)
            continue;
        taken.v2[c] = named->v2[c];
        if (fstat(named->fd[c], &st) < 0 || !S_ISDIR(st.st_mode)) {
            cgroup_dirs_done(&taken);
            return err_set(err, 0, EBADF, HANDOVER_ENV ": descriptor %d is not an open directory",
                           named->fd[c]);
        }
        taken.fd[c] = fd_dup_cloexec(named->fd[c]);
        if (taken.fd[c] < 0) {
            int errnum = -taken.fd[c];
            cgroup_dirs_done(&taken);
            return err_sys(err, 0, errnum, HANDOVER_ENV ": duplicate descriptor %d", named->fd[c]);
        }
    }
    *ret_dirs = taken;
    return 0;
}

int handover_take(struct cgroup_dirs *ret_dirs, struct err *err)
{
    struct cgroup_dirs named;
    const char *text = getenv(HANDOVER_ENV);
    if (text == NULL || text[0] == '\0') {
        cgroup_dirs_init(ret_dirs);
        return 0;
    }
    int result = handover_parse(text, &named, err);
    if (result == 0)
        result = duplicate_all(&named, ret_dirs, err);
    if (result < 0)
        return result;
    /* The originals go when pid1 closes what it does not know. */
    unsetenv(HANDOVER_ENV);
    return 0;
}
