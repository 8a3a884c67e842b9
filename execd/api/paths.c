#include "execd/api/paths.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "execd/proc/environment.h"
#include "proto/api/errors.h"
#include "proto/base/path.h"

static const char *lookup(const char *name, void *arg)
{
    return environment_get(arg, name);
}

int api_path(struct arena *arena, const char *given, const char **ret_path, struct err *err)
{
    char expanded[PATH_MAX], clean[PATH_MAX];
    const char *const *envp;
    const char *base;
    struct stat st;

    if (given[0] == '\0')
        return err_set(err, ERR_INVALID_PATH, EINVAL, "the path is empty");
    int rc = environment_build(arena, NULL, &envp, err);
    if (rc == 0)
        rc = environment_resolve_cwd(arena, NULL, envp, &base, err);
    if (rc < 0)
        return rc;
    rc = path_expand(given, lookup, (void *)envp, expanded, err);
    /* A file whose own name holds a '$' stays reachable: the literal path wins when it exists. */
    if (rc < 0 && strchr(given, '$') != NULL && strlen(given) < sizeof(expanded) &&
        lstat(given, &st) == 0) {
        memcpy(expanded, given, strlen(given) + 1);
        rc = 0;
    }
    if (rc < 0) {
        if (err != NULL)
            err->code = ERR_INVALID_PATH;
        return rc;
    }
    if (path_join(base, expanded, clean) < 0)
        return err_set(err, ERR_INVALID_PATH, ENAMETOOLONG, "the path is longer than %d bytes",
                       PATH_MAX - 1);
    *ret_path = arena_strndup(arena, clean, strlen(clean));
    return *ret_path != NULL ? 0
                             : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the path");
}
