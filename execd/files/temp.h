/*
 * Temporary files and folders beside what they will become: one rename puts them in place.
 *
 * Thread rule: any thread; blocks on disk.
 */
#pragma once

#include "proto/base/defs.h"
#include "proto/base/ids.h"

#define TEMP_NAME_MAX (ID_HEX_LEN + 16)

void temp_name(char name[TEMP_NAME_MAX]); /* ".execd-<random>.tmp" */
/* A new empty file, mode 0600, opened for reading and writing; *ret_fd is the caller's. -errno. */
int temp_make(int dir_fd, char name[TEMP_NAME_MAX], int *ret_fd) must_check;
/* Makes the mode and owner of fd those of another file, as far as we may: where the owner cannot be kept, no set-id
 * bit is. */
struct stat;
int temp_become(int fd, const struct stat *st) must_check;
/* Renames without ever replacing anything. -EEXIST. File systems that cannot refuse by themselves are looked at
 * before, which leaves a short moment. */
int temp_rename(int from_fd, const char *from, int to_fd, const char *to) must_check;
