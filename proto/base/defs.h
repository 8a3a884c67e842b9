/*
 * Small compile-time helpers that every module may use.
 *
 * Nothing here allocates, has state or depends on another header of the project.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* A field that is 0 takes the value that it has in `from`. */
#define DEFAULT_FIELD(to, from, field) ((to).field = (to).field == 0 ? (from).field : (to).field)

/* The result carries an error: dropping it silently is a compile error (-Wunused-result). */
#define must_check __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define sentinel_null __attribute__((sentinel))
#define noreturn_fn __attribute__((noreturn))

/* A run of bytes that somebody else owns; never NUL-terminated by contract. */
struct slice {
    const char *ptr;
    size_t len;
};
#define SLICE_LIT(s) ((struct slice){(s), sizeof(s) - 1})
