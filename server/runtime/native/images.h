/*
 * The image store of the native runtime: unpacked root filesystems by content digest, with names.
 *
 *   images/sha256-<hex>/rootfs/       unpacked tree, read-only lower layer, owned by root
 *   images/sha256-<hex>/config.json   Env, Entrypoint, Cmd, WorkingDir, User (OCI image configuration names)
 *   images/sha256-<hex>/manifest.txt  what is inside
 *   images/refs/<name>[:<tag>]        a file that holds the digest ('/' is written as '%2F')
 * The digest is the SHA-256 of the deterministic rootfs.tar. Importing is atomic (unpack beside, rename). Importing
 * a tree that is there already unpacks nothing and takes over its new config.json, for all names of that tree.
 * Thread rule: any thread (paths and values), imports in a process of their own or the CLI.
 */
#pragma once

#include "proto/base/err.h"
#include "proto/json/jfield.h"

struct image_config {
    struct jstrings env, entrypoint, cmd;
    const char *working_dir, *user;
};
struct image {
    const char *name, *digest; /* "sha256:<hex>" */
    const char *rootfs;        /* absolute path of the tree */
    struct image_config config;
    uint64_t size_bytes;
    int64_t created_us;
};

/* Name, name:tag, or digest. -ENOENT with the list of what there is and how to build one. */
int images_find(const char *store_dir, const char *ref, struct arena *arena,
                struct image *ret_image, struct err *err) must_check;
int images_each(const char *store_dir, struct arena *arena,
                int (*fn)(void *arg, const struct image *image), void *arg,
                struct err *err) must_check;
/* dir holds rootfs.tar, config.json, manifest.txt (images/README.md). Progress lines go to stderr. */
int images_import(const char *store_dir, const char *name, const char *dir, struct arena *arena,
                  struct image *ret_image, struct err *err) must_check;
int images_remove(const char *store_dir, const char *ref,
                  struct err *err) must_check; /* tree goes with its last name */
