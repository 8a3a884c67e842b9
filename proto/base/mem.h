/*
 * Memory for bookkeeping that has no sensible failure path, and an arena for one request.
 *
 * x*alloc abort with one line when memory is exhausted: use them for small, bounded things only
 * (under 4 KiB). Anything sized by a client uses malloc with a named limit and fails that request.
 * Thread rule: any thread; an arena belongs to one thread at a time.
 */
#pragma once

#include "proto/base/cleanup.h"
#include "proto/base/defs.h"

/* Once, at the start of a program: one heap for all threads, and what a large request took goes back to the system as
 * soon as it is freed (else libc keeps ever larger pieces for the next time). */
void mem_setup(void);

/* After much has been freed in small pieces: what lies free within the heap goes back too. Takes time with the size of
 * the heap, about a millisecond for each 4 MiB. */
void mem_trim(void);

void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull)); /* zeroed */
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) printf_like(1, 2) __attribute__((malloc, returns_nonnull));
#define xnew(type) ((type *)xcalloc(1, sizeof(type)))

/* Everything allocated from an arena is freed with it; there is no single free. */
struct arena {
    struct arena_block *head; /* owned */
    size_t used;              /* bytes handed out so far */
};
void arena_init(struct arena *a);
void arena_done(struct arena *a);             /* legal on a zeroed struct */
void *arena_alloc(struct arena *a, size_t n); /* zeroed, 16-byte aligned; NULL when out of memory */
char *arena_strndup(struct arena *a, const char *s,
                    size_t n); /* NUL-terminated copy; NULL when out of memory */
char *arena_printf(struct arena *a, const char *fmt, ...) printf_like(2, 3);
