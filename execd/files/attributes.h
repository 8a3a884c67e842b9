/*
 * Mode and owner of what is there, and folders made with them (POST /files/permissions, POST /directories).
 *
 * Both act on a descriptor of what the path leads to at one moment: exchanging the name meanwhile changes nothing
 * else (hardening F07, F08). An owner or mode that was not asked for is left alone; a folder that exists already
 * is, too (contracts/execd.md 3.7). Thread rule: for file_job.
 */
#pragma once

#include "execd/files/owner.h"

extern const struct file_op permissions_op, mkdir_op;
struct attributes_item {
    const char *path; /* in the job's arena */
    struct place_owner owner;
    int mode; /* permission bits; -1 = leave */
};
