/*
 * Table-driven decode and encode between JSON and C structs, over jansson.
 *
 * One const table of `struct jfield` rows describes one struct: name, kind, offset, limits. Decoding
 * checks types, required keys, integer rules and limits, and names the field path in its error
 * ("envs.PATH: expected a string"). Rules (contracts/execd.md 1.5, hardening D61/D62):
 *  - the body is one JSON value of depth ≤ 64; duplicate keys, trailing bytes, a BOM, NUL in strings and
 *    invalid UTF-8 are refused; unknown keys are ignored (JFIELD_STRICT refuses them, with a suggestion);
 *  - null means absent for optional fields;
 *  - integers must be integral literals ("5000", not 5000.0, 1e3 or "5000") within min..max;
 *  - keys match exactly, or, with .alias set, by that second spelling too.
 * Strings are copied into the caller's arena and live as long as it does.
 * Thread rule: any thread. Errors carry the `code` given by the caller.
 */
#pragma once

#include <jansson.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"

#define JSON_DEPTH_MAX 64

enum jfield_kind {
    JFIELD_STRING,  /* const char * ; size limits in min/max (bytes) */
    JFIELD_BOOL,    /* bool */
    JFIELD_I64,     /* int64_t; min..max inclusive */
    JFIELD_U32,     /* uint32_t; 0..4294967295 unless narrowed */
    JFIELD_DOUBLE,  /* double */
    JFIELD_STRINGS, /* struct jstrings: array of strings, min..max elements */
    JFIELD_MAP,     /* struct jmap: object of strings (null values dropped), min..max entries */
    JFIELD_OBJECT,  /* embedded struct described by .sub */
    JFIELD_OBJECTS, /* struct jobjects: array of structs described by .sub, .sub_size bytes each */
    JFIELD_RAW,     /* json_t * : borrowed from the document, which the arena keeps alive */
};

enum jfield_flags {
    JFIELD_REQUIRED = 1 << 0,
    JFIELD_STRICT =
        1 << 2, /* on the table's first row: the object may have no keys but those of the table */
    JFIELD_OMIT_EMPTY = 1 << 1, /* encode: leave out when NULL, 0, false, empty or (has) unset */
};

struct jstrings {
    const char **items; /* NULL-terminated, so it can serve as an argv */
    size_t n;
};
struct jpair {
    const char *key, *value;
};
struct jmap {
    struct jpair *items;
    size_t n;
};
struct jobjects {
    void *items; /* n structs in a row */
    size_t n;
};

struct jfield {
    const char *name;
    const char *alias; /* second accepted spelling on input, NULL = none */
    enum jfield_kind kind;
    unsigned flags;
    size_t offset;
    size_t has_offset; /* bool that tells whether the key was there and not null; 0 = none */
    int64_t min, max;  /* both 0: the kind's own limits (strings ≤ 1 MiB, 10,000 elements) */
    const struct jfield *sub;
    size_t n_sub, sub_size;
    const char *doc; /* one sentence for documentation and error texts */
};

#define JFIELD(struct_type, member, kind_, ...)                                                    \
    {                                                                                              \
        .name = #member, .kind = (kind_), .offset = offsetof(struct_type, member), __VA_ARGS__     \
    }

/* Parses text (not necessarily NUL-terminated) under the rules above. New reference. -EINVAL. */
int json_parse(const char *text, size_t len, json_t **ret_json, int err_code,
               struct err *err) must_check;

/* Fills *target (what the table names is zeroed first) from an object. -EINVAL and err->code = err_code. */
int jfield_decode(const struct jfield *fields, size_t n_fields, json_t *object, void *target,
                  struct arena *arena, int err_code, struct err *err) must_check;

/* json_parse + jfield_decode; the document is kept alive by the arena's owner only for RAW fields:
 * *ret_doc (may be NULL when the table has none) is a new reference to release after use.
 * An empty body counts as {} when allow_empty. */
int jfield_decode_text(const struct jfield *fields, size_t n_fields, const char *text, size_t len,
                       bool allow_empty, void *target, struct arena *arena, int err_code,
                       json_t **ret_doc, struct err *err) must_check;

/* Object from a struct; new reference; NULL only when memory is exhausted. Key order = table order. Bytes that are not
 * UTF-8 (names of files, environments) become U+FFFD. */
json_t *jfield_encode(const struct jfield *fields, size_t n_fields, const void *source);

/* Compact text with '/' unescaped; control characters, U+0085, U+2028 and U+2029 escaped so that no
 * line splitter breaks it (contracts/execd.md rule 19). Reals have 15 to 17 digits, as few as read back as the same
 * double. malloc'ed, caller frees; NULL = no memory, or nested far beyond JSON_SCAN_DEPTH_MAX. */
char *json_compact(const json_t *json, size_t *ret_len);

/* Appends a JSON string literal of arbitrary bytes: invalid UTF-8 becomes U+FFFD, same escapes as above. */
struct strbuf;
void json_escape(struct strbuf *out, const char *p, size_t len);

static inline void guard_json(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(guard_json)))
