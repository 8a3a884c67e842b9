#include "execd/code/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/proc/leaf.h"
#include "proto/base/fd.h"

#define SHORT_PERCENT 90
#define LEFT_PERCENT 5
#define NO_LIMIT (UINT64_C(1) << 60) /* version 1 says "none" by a number near the largest */

bool memory_exceeds(uint64_t used, uint64_t limit)
{
    return limit > 0 && limit < NO_LIMIT && used / 100 >= limit / 100 * SHORT_PERCENT / 100;
}

static uint64_t field(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

bool memory_parse_meminfo(const char *text)
{
    uint64_t total = field(text, "MemTotal:"), left = field(text, "MemAvailable:");
    return total > 0 && left < total / 100 * LEFT_PERCENT;
}

/* "" when it cannot be read. */
static void read_meminfo(char *text, size_t size)
{
    cleanup_fd int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    text[MAX(n, 0)] = '\0';
}

static bool machine_is_short(void)
{
    char text[4096];
    read_meminfo(text, sizeof(text));
    return memory_parse_meminfo(text);
}

/* 0: none. */
static uint64_t read_limit(int fd, bool v2)
{
    uint64_t limit;
    int r = cgroup_read_u64(fd, v2 ? "memory.max" : "memory.limit_in_bytes", &limit);
    return r == 0 && limit < NO_LIMIT ? limit : 0;
}

static bool group_is_short(int fd, bool v2)
{
    uint64_t used, limit = read_limit(fd, v2), idle;
    if (cgroup_read_u64(fd, v2 ? "memory.current" : "memory.usage_in_bytes", &used) < 0 ||
        !memory_exceeds(used, limit))
        return false;
    if (cgroup_read_keyed(fd, "memory.stat", v2 ? "inactive_file" : "total_inactive_file", &idle) <
        0)
        idle = 0;
    return memory_exceeds(used - MIN(used, idle), limit);
}

bool memory_is_short(void)
{
    const struct cgroup_dirs *root = leaf_root();
    int fd = root ? root->fd[CGROUP_MEMORY] : -1;
    return (fd >= 0 && group_is_short(fd, root->v2[CGROUP_MEMORY])) || machine_is_short();
}

uint64_t memory_limit(void)
{
    const struct cgroup_dirs *root = leaf_root();
    int fd = root ? root->fd[CGROUP_MEMORY] : -1;
    return fd >= 0 ? read_limit(fd, root->v2[CGROUP_MEMORY]) : 0;
}

uint64_t memory_total(void)
{
    uint64_t limit = memory_limit();
    char text[4096];
    if (limit > 0)
        return limit;
    read_meminfo(text, sizeof(text));
    return field(text, "MemTotal:") * 1024;
}
