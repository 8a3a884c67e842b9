/*
 * Opening a file that a client wants to read.
 *
 * Only regular files are served, those of procfs and the like among them; FIFOs, sockets, devices and directories
 * are refused at once: an O_PATH look comes first, and the open itself never blocks (hardening F01). Ranges and the
 * sending are the API's. Thread rule: loop thread only, but for file_source_load.
 */
#pragma once

#include <sys/stat.h>

#include "proto/base/err.h"

struct file_source {
    int fd; /* owned */
    struct stat st;
    bool pseudo; /* procfs, sysfs and the like: st_size says nothing, read until EOF */
};
int file_source_open(const char *path, struct file_source *ret_source, struct err *err) must_check;
void file_source_done(struct file_source *s);

/* Whether all of it is in the page cache (mincore), so that reading does not wait for a disk. Pages that the kernel
 * does not speak of to this user count as cached. */
bool file_source_is_cached(const struct file_source *s, uint64_t offset, size_t n);
/* Brings it into the page cache; blocks: for the worker pool. What follows is asked for in advance. */
void file_source_load(int fd, uint64_t offset, size_t n);
