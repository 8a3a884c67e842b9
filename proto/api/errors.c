#include "proto/api/errors.h"

#include <errno.h>

static const struct err_row rows[ERR_CODE_MAX] = {
#define ERR(row_name, wire_code, http_status, short_code, default_text)                            \
    [ERR_##row_name] = {.name = #row_name,                                                         \
                        .wire = (wire_code),                                                       \
                        .status = (http_status),                                                   \
                        .family = (short_code),                                                    \
                        .text = (default_text)},
#include "proto/api/errors.def"
#undef ERR
};

const struct err_row *err_row(int code)
{
    return &rows[code > ERR_NONE && code < ERR_CODE_MAX ? code : ERR_INTERNAL];
}

static enum err_code code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
        return ERR_FILE_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case ENOMEM:
        return ERR_OUT_OF_MEMORY;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_FILE_ACCESS;
    default:
        return ERR_INTERNAL;
    }
}

const struct err_row *err_classify(const struct err *err)
{
    return err_row(err->code != ERR_NONE ? err->code : (int)code_of_errno(err->errnum));
}
