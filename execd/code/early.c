#include "execd/code/early.h"

#include <string.h>

#include "proto/base/str.h"

/* A prefix, and who reads what starts with it. */
static const struct {
    const char *prefix;
    enum early_reader reader;
} rows[] = {
    {"PYTHON", EARLY_INTERPRETER}, {"LD_", EARLY_INTERPRETER},     {"LC_", EARLY_INTERPRETER},
    {"LANG", EARLY_INTERPRETER},   {"MALLOC_", EARLY_INTERPRETER}, {"GLIBC_", EARLY_INTERPRETER},
    {"HOME=", EARLY_KERNEL},       {"IPYTHON", EARLY_KERNEL},      {"JUPYTER", EARLY_KERNEL},
    {"JPY_", EARLY_KERNEL},        {"XDG_", EARLY_KERNEL},         {"VIRTUAL_ENV", EARLY_KERNEL},
    {"MPL", EARLY_KERNEL},
};

static bool is_early(const char *variable, enum early_reader reader)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].reader <= reader && str_starts(variable, rows[i].prefix))
            return true;
    }
    return false;
}

static bool has_all(const char *const *of, const char *const *in, enum early_reader reader)
{
    for (; *of != NULL; of++) {
        if (!is_early(*of, reader))
            continue;
        const char *const *at = in;
        while (*at != NULL && strcmp(*at, *of) != 0)
            at++;
        if (*at == NULL)
            return false;
    }
    return true;
}

bool early_same(const char *const *a, const char *const *b, enum early_reader reader)
{
    return has_all(a, b, reader) && has_all(b, a, reader);
}
