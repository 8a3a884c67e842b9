/*
 * The scanner of JSON texts against the parser: what the parser takes the scanner takes too (within its depth), and
 * the members that it finds are values of their own, in their place. And the tree that json_load makes is the parser's.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/json/json_load.h"
#include "proto/json/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_members(struct slice object)
{
    struct json_member m;
    size_t at = 0, n = 0;
    while (json_next_member(object, &at, &m)) {
        if (m.value.ptr < m.key.ptr || m.value.ptr + m.value.len > object.ptr + object.len)
            abort();
        if (json_scan(m.value, NULL) != 0)
            abort();
        n++;
    }
    json_t *json = json_loadb(object.ptr, object.len, JSON_ALLOW_NUL, NULL);
    if (json && json_object_size(json) > n)
        abort();
    json_decref(json);
}

/* What is loaded is what the parser makes of it; only valid texts are, deep ones in part. */
static void try_load(struct slice text, bool valid, const json_t *json)
{
    json_t *loaded = json_load_tolerant(text);
    if (loaded && json_scan_deep(text, NULL) != 0)
        abort();
    if (json && valid && !(loaded && json_equal(loaded, json)))
        abort();
    json_decref(loaded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size}, value;
    json_t *json = json_loadb(text.ptr, size, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    int r = json_scan(text, &value);
    /* A NUL ends the text for the parser, whatever comes behind it. */
    if (json && r != 0 && size < JSON_SCAN_DEPTH_MAX && !memchr(data, '\0', size))
        abort();
    try_load(text, r == 0, json);
    json_decref(json);
    if (r == 0 && value.ptr[0] == '{')
        try_members(value);
    return 0;
}
