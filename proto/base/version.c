#include "proto/base/version.h"

#ifndef EXECD_VERSION
#error "the Makefile passes EXECD_VERSION to this file"
#endif

const char *version_text(void)
{
    return EXECD_VERSION;
}
