/* Paths: cleaning is idempotent and keeps absolute paths below the root; expansion stays within its limit. */
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/path.h"
#include "proto/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* "A" is short, "B" is empty, "C" is long; HOME is defined; others are not. */
static const char *lookup(const char *name, void *arg)
{
    (void)arg;
    if (name[0] == '\0' || strpbrk(name, "${}/~") != NULL)
        abort(); /* not a name */
    if (strcmp(name, "HOME") == 0)
        return "/home/u";
    return strcmp(name, "A") == 0   ? "a"
           : strcmp(name, "B") == 0 ? ""
           : strcmp(name, "C") == 0 ? "$A/../~"
                                    : NULL;
}

static bool climbs(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")) != NULL; at += 2)
        if ((at == path || at[-1] == '/') && (at[2] == '/' || at[2] == '\0'))
            return true;
    return false;
}

static void check_clean(const char *text)
{
    char once[PATH_MAX], twice[PATH_MAX], joined[PATH_MAX];

    if (path_clean(text, once) != 0)
        return;
    if (once[0] == '\0' || strlen(once) >= PATH_MAX || strstr(once, "//") != NULL ||
        strstr(once, "/./") != NULL)
        abort();
    if ((text[0] == '/') != (once[0] == '/') || (once[0] == '/' && climbs(once)))
        abort();
    if (once[1] != '\0' && str_ends(once, "/"))
        abort();
    if (path_clean(once, twice) != 0 || strcmp(once, twice) != 0)
        abort();
    if (path_join("/srv/base", text, joined) == 0 && (joined[0] != '/' || climbs(joined)))
        abort();
    if (strchr(path_basename(once), '/') != NULL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    char out[PATH_MAX];
    struct err err = {0};

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    check_clean(text);
    int r = path_expand(text, lookup, NULL, out, &err);
    if (r == 0 && strlen(out) >= PATH_MAX)
        abort();
    if (r == 0 && strpbrk(text, "$~") == NULL && strcmp(text, out) != 0)
        abort();
    if (r < 0 && (err.text[0] == '\0' || strlen(err.text) >= ERR_TEXT_MAX))
        abort();
    free(text);
    return 0;
}
