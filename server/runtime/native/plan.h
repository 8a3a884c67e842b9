/*
 * A sandbox as a plan: everything that its first process will do, as data, before it exists.
 *
 * plan_build fills it, plan_validate proves that it makes sense, setup.c carries it out in the child, row by row,
 * and reports the row that failed. Nothing in here is decided after the clone.
 * Thread rule: loop thread builds; the child of setup.c only reads.
 * Source: design decision 11, style.md 1.8 (the sandbox is a plan), hardening.md L.
 */
#pragma once

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "server/runtime/native/images.h"
#include "server/model/sandbox.h"
#include "server/runtime/native/seccomp.h"

#define PLAN_EXECD "/opt/opensandbox/execd" /* where the agent is seen inside */
#define PLAN_JOINS_MAX 8
#define PLAN_KEEP_MAX 16
#define PLAN_HOSTNAME_MAX 63

/* Where a row's target is resolved: a descriptor of that mount's root, never a path through another. */
enum plan_base { BASE_ROOT, BASE_PROC, BASE_SYS, BASE_DEV, BASE_MAX };

/* Detached mounts that the server prepares as host root, because the child cannot. */
enum plan_tree {
    TREE_LOWER, /* the image, idmapped */
    TREE_FS,    /* holds upper/ and work/ */
    TREE_EXECD,
    TREE_NULL,
    TREE_ZERO,
    TREE_FULL,
    TREE_RANDOM,
    TREE_URANDOM,
    TREE_TTY,
    TREE_MAX,
};

enum mount_kind {
    MOUNT_FS, /* a new file system of type `source` with `options`; becomes base `opens` when that is set */
    MOUNT_TREE, /* a prepared tree onto a file, which is made */
    MOUNT_LINK, /* symbolic link with the text `source` */
    MOUNT_DIR,  /* a directory with mode `mode`, where missing */
    MOUNT_TEXT, /* a fresh file with the text `source`, replacing what was there */
    MOUNT_MASK, /* hides a file behind /dev/null, a directory behind an empty one; skipped where missing */
    MOUNT_RDONLY, /* makes a part of its file system read-only; skipped where missing */
};

struct mount_row {
    enum mount_kind kind;
    enum plan_base base;
    const char *target; /* relative, without ".." */
    const char *source;
    const char *options; /* "key=value,flag" */
    uint64_t attr;       /* MOUNT_ATTR_* */
    enum plan_tree tree;
    enum plan_base opens;
    mode_t mode;
};

struct plan_rlimit {
    int resource;
    uint64_t soft, hard; /* lowered to the current hard limit where that is lower */
};

struct plan {
    const char *id, *hostname, *cwd;
    const char *const *argv; /* argv[0] names the program inside */
    const char *const *envp;
    const struct mount_row *mounts;
    size_t n_mounts;
    int tree[TREE_MAX];        /* owned; -1 = none */
    int joins[PLAN_JOINS_MAX]; /* owned; "tasks" or "cgroup.procs" files, opened by the server */
    size_t n_joins;
    int keep[PLAN_KEEP_MAX]; /* owned; stay open over exec under these numbers */
    size_t n_keep;
    int log_fd; /* owned; standard output and error of execd */
    const struct plan_rlimit *rlimits;
    size_t n_rlimits;
    const struct seccomp_filter *seccomp; /* borrowed */
    bool isolation; /* execd may make isolated sessions: it keeps caps_grant, its children do not */
};

struct plan_input {
    const char *id;
    const char *token_sha256;
    const struct image *image;
    const struct sandbox_spec *spec;
    uint64_t tmp_bytes;
    const char *cgroup_fds; /* text of EXECD_CGROUP_FDS, NULL = none */
    int listen_fd;
};

void plan_init(struct plan *plan); /* every descriptor -1 */
void plan_done(struct plan *plan); /* closes them */

/* The request asks for isolated sessions: extensions {"bootstrap.execd.isolation": "enable"}. */
bool plan_wants_isolation(const struct sandbox_spec *spec);
/* Fills all but the descriptors; memory in the arena, which must outlive the plan. */
int plan_build(struct plan *plan, const struct plan_input *input, struct arena *arena,
               struct err *err) must_check;
/* -EINVAL with the row that is wrong. */
int plan_validate(const struct plan *plan, struct err *err) must_check;

/* mounts.c: the table of what every sandbox sees; @tmp in options stands for the size of memory file systems. */
extern const struct mount_row mounts_table[];
extern const size_t mounts_n;
