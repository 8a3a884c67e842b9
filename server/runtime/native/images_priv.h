/*
 * What images.c and images_import.c share: references, folders of the store. Thread rule: any thread.
 */
#pragma once

#include <limits.h>

#include "server/runtime/native/images.h"

#define IMAGES_DIGEST_MAX 80 /* "sha256:" + 64 hex digits + NUL, and a line end */

/* "a/b:1" ↔ "a%2Fb:1"; -EINVAL for what cannot be a reference. */
int images_ref_file(const char *name, char out[NAME_MAX + 1]) must_check;
int images_ref_name(const char *file, char out[NAME_MAX + 1]) must_check;
bool images_is_digest(const char *text);

int images_store(const char *store_dir, struct err *err) must_check; /* descriptor of the store */
int images_open(int store, const char *digest) must_check; /* descriptor of an image's folder */
int images_load(const char *store_dir, int store, const char *name, const char *digest,
                struct arena *arena, struct image *ret_image, struct err *err) must_check;
int images_each_name(int store, int (*fn)(void *arg, const char *name), void *arg) must_check;
