#include "execd/stream/line_endings.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/str.h"

int line_endings_parse(const char *text, enum line_endings *ret_mode)
{
    static const char *const names[] = {
        [LINES_AUTO] = "auto", [LINES_KEEP] = "keep", [LINES_STRIP] = "strip"};

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq_nocase(text, names[i])) {
            *ret_mode = (enum line_endings)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* Clients that want lines without terminators, by the product in their User-Agent (contracts/v1.1.md 1.2). For the
 * Python SDK that ended with 1.1.0. */
enum line_endings line_endings_choose(enum line_endings configured, const char *user_agent)
{
    static const char *const stripping[] = {"OpenSandbox-Go-SDK/", "OpenSandbox-JS-SDK/",
                                            "OpenSandbox-Kotlin-SDK/", "OpenSandbox-CSharp-SDK/"};
    static const char python[] = "OpenSandbox-Python-SDK/";
    unsigned major = 0, minor = 0, patch = 0;

    if (configured != LINES_AUTO)
        return configured;
    if (user_agent == NULL)
        return LINES_KEEP;
    for (size_t i = 0; i < ARRAY_LEN(stripping); i++) {
        if (strstr(user_agent, stripping[i]) != NULL)
            return LINES_STRIP;
    }
    const char *p = strstr(user_agent, python);
    if (p == NULL || sscanf(p + sizeof(python) - 1, "%u.%u.%u", &major, &minor, &patch) < 2)
        return LINES_KEEP;
    bool old = major < 1 || (major == 1 && (minor < 1 || (minor == 1 && patch < 1)));
    return old ? LINES_STRIP : LINES_KEEP;
}
