#include "proto/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *err_name(int errnum)
{
    const char *name = strerrorname_np(errnum);

    return name != NULL ? name : "E?";
}

int err_set(struct err *err, int code, int errnum, const char *fmt, ...)
{
    va_list args;

    if (err != NULL) {
        err->code = code;
        err->errnum = errnum;
        va_start(args, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, args);
        va_end(args);
    }
    return -errnum;
}

int err_sys(struct err *err, int code, int errnum, const char *fmt, ...)
{
    va_list args;

    if (err != NULL) {
        err->code = code;
        err->errnum = errnum;
        va_start(args, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, args);
        va_end(args);
        size_t len = strlen(err->text);
        const char *reason = strerrordesc_np(errnum);
        snprintf(err->text + len, sizeof(err->text) - len, ": %s", reason != NULL ? reason : "unknown error");
    }
    return -errnum;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char old[ERR_TEXT_MAX];
    va_list args;

    if (err == NULL)
        return -EIO;
    memcpy(old, err->text, sizeof(old));
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    size_t len = strlen(err->text);
    snprintf(err->text + len, sizeof(err->text) - len, ": %.*s", (int)(sizeof(old) - 1), old);
    return err->errnum != 0 ? -err->errnum : -EIO;
}
