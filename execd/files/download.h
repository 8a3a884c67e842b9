/*
 * Reading a file for a client: opened safely, streamed with constant memory, with one byte range or a window of lines.
 *
 * Only regular files (and readable pseudo files of size 0) are served; FIFOs, sockets, devices and directories are
 * refused at once because the open is non-blocking and checked by fstat (hardening F01). The domain part: gives
 * bytes; the API part puts them into a response. Thread rule: loop thread only; reads may be posted to the pool.
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
