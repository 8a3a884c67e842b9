/*
 * Who shall own a file: the wish of a request, by name, turned into numbers. Thread rule: loop thread only.
 */
#pragma once

#include "execd/files/place.h"

/* NULL and "" leave the member -1. An unknown name is -EINVAL with err_code. */
int owner_find(const char *user, const char *group, int err_code, struct place_owner *ret_owner,
               struct err *err) must_check;
bool owner_is_wished(const struct place_owner *owner);
