/*
 * Detached mounts that the server makes as host root and hands to the set-up process: the idmapped image, the
 * sandbox's own folder, the execd binary, device nodes, cgroup directories.
 *
 * A detached mount shows its own tree and nothing above it, so a descriptor of it cannot be used to climb to the
 * host ("..", CVE-2024-21626). Device nodes are checked by number before they are cloned (L04).
 * Thread rule: loop thread. Needs CAP_SYS_ADMIN and Linux 5.19 (idmapped layers below overlayfs).
 */
#pragma once

#include "server/runtime/native/plan.h"

struct trees {
    int userns; /* owned; a user namespace with the map of every sandbox, for idmapped clones */
    int device[TREE_MAX]; /* owned O_PATH descriptors of the host's nodes; -1 for the rest */
    char *execd_path;     /* owned; opened for each sandbox, so that an upgrade replaces the file */
};

/* Opens and checks everything that all sandboxes share. -errno with a text that says what this host lacks. */
int trees_open(const char *execd_path, uint32_t uid_base, uint32_t uid_count,
               struct trees *ret_trees, struct err *err) must_check;
void trees_done(struct trees *trees);

/* Prepares the trees of one sandbox in the plan: image at rootfs, own folder fs_fd. */
int trees_prepare(const struct trees *trees, const char *rootfs, int fs_fd, struct plan *plan,
                  struct err *err) must_check;

/* A detached clone of a directory as a descriptor to hand over (nosuid, nodev, noexec). */
int trees_clone_dir(int fd) must_check;

/* Is the node at fd the character device major:minor? */
bool trees_is_device(int fd, unsigned major_number, unsigned minor_number);
