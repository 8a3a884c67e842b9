#include "proto/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The text is built aside, because an argument may point into the old text. */
static void fill(struct err *err, int code, int errnum, const char *tail, const char *fmt,
                 va_list ap)
{
    char text[ERR_TEXT_MAX];
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    size_t len = n < 0 ? 0 : MIN((size_t)n, sizeof(text) - 1);

    if (tail != NULL)
        (void)snprintf(text + len, sizeof(text) - len, ": %s", tail); /* cut texts are fine */
    err->code = code;
    err->errnum = errnum;
    memcpy(err->text, text, sizeof(text));
}

int err_set(struct err *err, int code, int errnum, const char *fmt, ...)
{
    if (err != NULL) {
        va_list ap;
        va_start(ap, fmt);
        fill(err, code, errnum, NULL, fmt, ap);
        va_end(ap);
    }
    return -errnum;
}

/* strerrordesc_np and strerrorname_np read constant tables: no locale, no static buffer. */
int err_sys(struct err *err, int code, int errnum, const char *fmt, ...)
{
    if (err != NULL) {
        const char *tail = strerrordesc_np(errnum);
        va_list ap;
        va_start(ap, fmt);
        fill(err, code, errnum, tail != NULL ? tail : "unknown error", fmt, ap);
        va_end(ap);
    }
    return -errnum;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    if (err == NULL)
        return -EIO;

    char tail[ERR_TEXT_MAX];
    memcpy(tail, err->text, sizeof(tail));
    va_list ap;
    va_start(ap, fmt);
    fill(err, err->code, err->errnum != 0 ? err->errnum : EIO, tail, fmt, ap);
    va_end(ap);
    return -err->errnum;
}

const char *err_name(int errnum)
{
    const char *name = strerrorname_np(errnum);
    return name != NULL ? name : "E?";
}
