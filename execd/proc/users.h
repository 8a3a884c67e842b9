/*
 * Users and groups from the container's own /etc/passwd and /etc/group, without NSS.
 *
 * The files are hostile: read up to 1 MiB, lines over 4 KiB and entries with odd ids are skipped, only regular
 * files are opened (hardening A20, M1, M2). A name is never resolved to uid 0 by a parse error.
 * Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/err.h"

struct user {
    char name[256]; /* "" if the uid has no entry */
    uid_t uid;
    gid_t gid;       /* primary group; 0 if unknown */
    char home[4096]; /* "/" if unknown */
    char shell[4096];
    bool known;
};

/* By number: 0 also when unknown (known = false). By name: -ENOENT. */
int users_by_uid(uid_t uid, struct user *ret_user) must_check;
int users_by_name(const char *name, struct user *ret_user) must_check;
int users_group_by_name(const char *name, gid_t *ret_gid) must_check;
/* The group's name, or its number as text. buf of 256 bytes. */
void users_group_name(gid_t gid, char *buf, size_t size);
/* Supplementary groups of a user name; at most max, primary group first. Returns the count. */
int users_groups(const char *name, gid_t primary, gid_t *ret_groups, size_t max) must_check;
