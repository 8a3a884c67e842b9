/*
 * Scope guards: a variable that is released when its scope ends, and the two ways to hand it over.
 *
 * Use:  cleanup_free char *p = xstrdup(s);   ... return take_ptr(&p);
 *       cleanup_fd int fd = open(...);       ... self->fd = take_fd(&fd);
 * A guard on NULL or -1 does nothing. Modules add their own guards beside their types.
 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

static inline void guard_free(void *p)
{
    free(*(void **)p);
}

static inline void guard_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define cleanup_free __attribute__((cleanup(guard_free)))
#define cleanup_fd __attribute__((cleanup(guard_fd)))

/* Gives the pointer away and leaves NULL behind, so that the guard has nothing to free. */
#define take_ptr(pp)                                                                               \
    __extension__({                                                                                \
        __typeof__(pp) take_pp = (pp);                                                             \
        __typeof__(*take_pp) take_p = *take_pp;                                                    \
        *take_pp = NULL;                                                                           \
        take_p;                                                                                    \
    })

static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
