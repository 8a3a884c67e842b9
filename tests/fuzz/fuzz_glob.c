/* Globs: "PATTERN NUL TEXT". Laws of the dialect hold for every pattern that is accepted. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/glob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* -1: refused. */
static int matches(const char *pattern, const char *text)
{
    cleanup_glob struct glob *g = NULL;
    struct err err = {0};

    if (glob_new(pattern, &g, &err) < 0) {
        if (err.text[0] == '\0' || g != NULL)
            abort();
        return -1;
    }
    return glob_match(g, text);
}

static int matches_wrapped(const char *before, const char *pattern, const char *behind,
                           const char *text)
{
    char wrapped[600];

    snprintf(wrapped, sizeof(wrapped), "%s%s%s", before, pattern, behind);
    return matches(wrapped, text);
}

static void check_escaped(const char *text)
{
    char pattern[1100];
    size_t n = 0;

    for (size_t i = 0; text[i] != '\0'; i++) {
        pattern[n++] = '\\';
        pattern[n++] = text[i];
    }
    pattern[n] = '\0';
    if (matches(pattern, text) != 1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char copy[513];

    if (size > 512)
        return 0;
    if (size > 0)
        memcpy(copy, data, size);
    copy[size] = '\0';
    const char *pattern = copy, *text = copy + strlen(copy) + (strlen(copy) < size);
    int plain = matches(pattern, text);
    check_escaped(text);
    if (matches("**", text) != 1 || matches("**/*", text) != 1)
        abort();
    /* A last "/" "**" means the folder too only where the pattern ends with it. */
    if (plain < 0 || strpbrk(pattern, ",|(){}!\\[") != NULL || strstr(pattern, "/**") != NULL)
        return 0;
    if (matches_wrapped("{", pattern, "}", text) < plain ||
        matches_wrapped("{x,", pattern, "}", text) < plain)
        abort();
    if (strchr(pattern, '/') == NULL && strchr(text, '/') == NULL &&
        matches_wrapped("!(", pattern, ")", text) != !plain)
        abort();
    return 0;
}
