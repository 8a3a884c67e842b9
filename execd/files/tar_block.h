/* One header block, byte for byte (POSIX.1-2017, ustar). Any thread. */
#pragma once

#include "execd/files/tar.h"

struct tar_block {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct tar_block) == TAR_BLOCK, "a header is one block");

union tar_any {
    struct tar_block block;
    char bytes[TAR_BLOCK];
};

/* The sum of all bytes, those of the checksum taken as blanks. */
static inline unsigned tar_checksum(const char bytes[TAR_BLOCK])
{
    size_t first = offsetof(struct tar_block, checksum),
           n = sizeof(((struct tar_block *)0)->checksum);
    unsigned sum = 0;

    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i >= first && i < first + n ? ' ' : (unsigned char)bytes[i];
    return sum;
}
