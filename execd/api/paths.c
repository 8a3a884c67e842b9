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

/* The environment is read anew (its file may have changed), into memory that lives as long as this call. */
static int expand(struct arena *scratch, const char *given, char expanded[PATH_MAX],
                  const char **ret_base, struct err *err)
{
    const char *const *envp;
    struct stat st;

    int rc = environment_build(scratch, NULL, &envp, err);
    if (rc == 0)
        rc = environment_resolve_cwd(scratch, NULL, envp, ret_base, err);
    if (rc < 0)
        return rc;
    rc = path_expand(given, lookup, (void *)envp, expanded, err);
    /* A file whose own name holds a '$' stays reachable: the literal path wins when it exists. */
    if (rc < 0 && strchr(given, '$') != NULL && strlen(given) < PATH_MAX &&
        lstat(given, &st) == 0) {
        memcpy(expanded, given, strlen(given) + 1);
        rc = 0;
    }
    if (rc < 0 && err != NULL)
        err->code = rc == -ENOMEM ? ERR_OUT_OF_MEMORY : ERR_INVALID_PATH;
    return rc;
}

int api_path(struct arena *arena, const char *given, const char **ret_path, struct err *err)
{
    char expanded[PATH_MAX], clean[PATH_MAX];
    const char *base = "/", *path = given;
    struct arena scratch;

    if (given[0] == '\0')
        return err_set(err, ERR_INVALID_PATH, EINVAL, "the path is empty");
    arena_init(&scratch);
    int rc = 0;
    if (given[0] != '/' || strchr(given, '$') != NULL) {
        rc = expand(&scratch, given, expanded, &base, err);
        path = expanded;
    }
    if (rc == 0 && path_join(base, path, clean) < 0)
        rc = err_set(err, ERR_INVALID_PATH, ENAMETOOLONG, "the path is longer than %d bytes",
                     PATH_MAX - 1);
    arena_done(&scratch);
    if (rc < 0)
        return rc;
    *ret_path = arena_strndup(arena, clean, strlen(clean));
    return *ret_path != NULL ? 0
                             : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the path");
}
