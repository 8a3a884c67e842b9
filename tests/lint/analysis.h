/*
 * Included first by the static analyzers only: tells them what they cannot see across files, that
 * err_set and its kin never return success. Without it every `if (rc < 0) return rc;` looks as if
 * the call before might have failed and yet gone on.
 */
#pragma once

#include "proto/base/err.h"

static inline int analysis_failure(int rc)
{
    if (rc >= 0)
        __builtin_unreachable();
    return rc;
}

#define err_set(...) analysis_failure(err_set(__VA_ARGS__))
/* -fanalyzer: it does not see the scope guards that free after this */
#define err_sys(...) analysis_failure(err_sys(__VA_ARGS__))
#define err_wrap(...) analysis_failure(err_wrap(__VA_ARGS__))
