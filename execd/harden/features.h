/*
 * What this kernel and this container give, found out by trying and never by reading version numbers.
 *
 * Nothing here forks or changes the process; namespaces, which cannot be tried without a process, are in
 * execd/proc/probe.h. Thread rule: any thread. Source: the manual page of each call.
 */
#pragma once

#include "proto/base/defs.h"

#define FEATURES_RELEASE_MAX 65

struct features {
    char release[FEATURES_RELEASE_MAX], machine[FEATURES_RELEASE_MAX];
    bool clone3, pidfd, close_range, openat2;
    bool sock_diag;       /* sockets can be listed through netlink */
    bool psi;             /* /proc/pressure */
    bool pty;             /* /dev/ptmx gives a terminal */
    int64_t landlock_abi; /* 0 = none */
    bool seccomp;         /* filters can be loaded */
    bool filtered;        /* execd itself runs under one */
    bool no_new_privs;    /* execd itself, so everything here */
    uint64_t caps_effective, caps_bounding;
};
void features_find(struct features *ret_features);
