#include "proto/base/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ARENA_BLOCK 4096
#define ARENA_ALIGN 16

#define OWN_MAPPING_MIN (1 << 20) /* bytes */

void mem_setup(void)
{
    (void)mallopt(M_ARENA_MAX, 1); /* these fail only for values out of range */
    (void)mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_MIN);
    (void)mallopt(M_TRIM_THRESHOLD, 2 * OWN_MAPPING_MIN);
}

void mem_trim(void)
{
    (void)malloc_trim(0); /* whether there was any */
}

static void *check(void *p)
{
    static const char text[] = "out of memory in bookkeeping: aborting\n";

    if (p == NULL) {
        ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1); /* dying anyway */
        (void)ignored;
        abort();
    }
    return p;
}

void *xmalloc(size_t n)
{
    return check(malloc(n != 0 ? n : 1));
}

void *xcalloc(size_t n, size_t size)
{
    return check(calloc(n != 0 ? n : 1, size != 0 ? size : 1));
}

void *xrealloc(void *p, size_t n)
{
    return check(realloc(p, n != 0 ? n : 1));
}

char *xstrdup(const char *s)
{
    return check(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
    return check(strndup(s, n));
}

char *xasprintf(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    return check(n < 0 ? NULL : text);
}

/* Blocks are chained newest first; small requests share one, large ones get their own. */
struct arena_block {
    struct arena_block *next;
    size_t size, used; /* of data */
    _Alignas(ARENA_ALIGN) char data[];
};

void arena_init(struct arena *a)
{
    *a = (struct arena){0};
}

void arena_done(struct arena *a)
{
    while (a->head != NULL) {
        struct arena_block *b = a->head;
        a->head = b->next;
        free(b);
    }
    a->used = 0;
}

static struct arena_block *new_block(size_t size)
{
    size_t total;

    if (__builtin_add_overflow(sizeof(struct arena_block), size, &total))
        return NULL;
    struct arena_block *b = malloc(total);
    if (b != NULL)
        *b = (struct arena_block){.size = size};
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    size_t rounded;

    if (__builtin_add_overflow(n, (size_t)(ARENA_ALIGN - 1), &rounded))
        return NULL;
    rounded &= ~(size_t)(ARENA_ALIGN - 1);
    if (a->head == NULL || a->head->size - a->head->used < rounded) {
        bool large = rounded > ARENA_BLOCK / 2;
        struct arena_block *b =
            new_block(large ? rounded : ARENA_BLOCK - sizeof(struct arena_block));
        if (b == NULL)
            return NULL;
        if (large && a->head != NULL) { /* behind the head, whose rest stays usable */
            b->next = a->head->next;
            a->head->next = b;
            b->used = rounded;
            a->used += rounded;
            return memset(b->data, 0, rounded);
        }
        b->next = a->head;
        a->head = b;
    }
    void *p = a->head->data + a->head->used;
    a->head->used += rounded;
    a->used += rounded;
    return memset(p, 0, rounded);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *copy = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;

    if (copy != NULL)
        memcpy(copy, s, n);
    return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = n >= 0 ? arena_alloc(a, (size_t)n + 1) : NULL;
    if (text == NULL)
        return NULL;
    va_start(args, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, args);
    va_end(args);
    return text;
}
