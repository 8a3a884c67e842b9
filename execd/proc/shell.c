#include "execd/proc/shell.h"

#include <errno.h>
#include <unistd.h>

#include "execd/proc/spawn.h"
#include "proto/api/errors.h"
#include "proto/base/defs.h"

/* The first of the candidates that can be executed; NULL if none. */
static const char *first_executable(const char *const *candidates)
{
    for (size_t i = 0; candidates[i] != NULL; i++) {
        if (access(candidates[i], X_OK) == 0)
            return candidates[i];
    }
    return NULL;
}

int shell_find(const char *const *envp, const char *cwd, struct arena *arena,
               struct shell *ret_shell, struct err *err)
{
    static const char *const names[] = {"bash", "sh"};
    static const char *const usual[][3] = {{"/bin/bash", "/usr/bin/bash", NULL},
                                           {"/bin/sh", "/usr/bin/sh", NULL}};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *const *candidates;
        struct err ignored; /* a PATH without absolute entries: the usual places are left */
        const char *file = NULL;
        if (spawn_resolve(names[i], envp, cwd, arena, &candidates, &ignored) == 0)
            file = first_executable(candidates);
        if (file == NULL)
            file = first_executable(usual[i]);
        if (file != NULL) {
            *ret_shell = (struct shell){file, names[i]};
            return 0;
        }
    }
    return err_set(err, ERR_RUNTIME_ERROR, ENOENT,
                   "no shell: neither bash nor sh is in this image");
}
