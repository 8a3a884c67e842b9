/*
 * TOML to JSON, by way of toml++: the only C++ in the server.
 * Thread rule: any thread.
 */
#pragma once

#include <jansson.h>

#include "proto/base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/* New reference to an object; -EINVAL with line and column in err. name is for messages. */
int toml_to_json(const char *text, size_t len, const char *name, json_t **ret_json,
                 struct err *err);

#ifdef __cplusplus
}
#endif
