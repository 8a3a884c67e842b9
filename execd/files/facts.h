/*
 * Facts of one path, read at once and written as the JSON object that clients know (contracts/execd.md 1.9).
 *
 * Reading blocks on disk; both may run in the worker pool. Names of owners come from outside, because users.h is for
 * the loop thread: owner_names is a small cache that the two threads hand to each other.
 * Thread rule: any thread, values only; an owner_names belongs to one thread at a time.
 */
#pragma once

#include <time.h>

#include "proto/base/str.h"

struct file_facts {
    unsigned mode; /* as st_mode */
    uint64_t size;
    struct timespec modified, created; /* created: the change time where no birth time is kept */
    uid_t uid;
    gid_t gid;
    uint64_t inode, device, links;
};

/* lstat semantics. -errno. */
int file_facts_at(int dir_fd, const char *name, struct file_facts *ret_facts) must_check;
/* Appends {"path":...,"type":...,"size":...,"modified_at":...,"created_at":...,"owner":...,"group":...,"mode":...}.
 * Bytes of names that are not UTF-8 become U+FFFD. */
void file_facts_json(struct strbuf *out, const char *path, const struct file_facts *facts,
                     const char *owner, const char *group);

#define OWNER_NAMES_SLOTS 32

/* Direct mapped: an id of another owner with the same slot takes its place. */
struct owner_names {
    struct owner_name {
        bool used;
        uint32_t id;
        char name[256];
    } users[OWNER_NAMES_SLOTS], groups[OWNER_NAMES_SLOTS];
};
/* NULL: not looked up yet. */
const char *owner_names_user(const struct owner_names *names, uid_t uid);
const char *owner_names_group(const struct owner_names *names, gid_t gid);
/* Looks both up: name, or number as text. Loop thread only. */
void owner_names_learn(struct owner_names *names, uid_t uid, gid_t gid);
