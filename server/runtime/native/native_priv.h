/*
 * What the files of the native runtime share: the runtime and its table of live sandboxes ("boxes").
 * Private to server/runtime/native. Thread rule: loop thread only.
 */
#pragma once

#include <uthash.h>

#include "proto/base/work.h"
#include "server/runtime/native/folder.h"
#include "server/runtime/native/groups.h"
#include "server/runtime/native/native.h"
#include "server/runtime/native/trees.h"

struct event;
struct start;
struct removal;

struct native {
    struct runtime rt;           /* first: the vtable's object */
    struct native_config config; /* strings owned */
    struct trees trees;
    struct groups groups;
    struct seccomp_filter seccomp[2]; /* by plan.isolation */
    int sandboxes_fd;                 /* owned; state_dir/sandboxes */
    char *images_dir;                 /* owned */
    char boot_id[40];
    struct work_pool *pool; /* owned; deletes folders */
    struct event *upkeep;   /* owned; trims logs while there are boxes */
    struct box *boxes;      /* uthash, owned */
};

/* A sandbox that exists on this host: starting, running, or being removed. */
struct box {
    char id[ID_UUID_LEN + 1];
    struct native *native; /* borrowed */
    struct arena arena;    /* owns the texts below */
    pid_t pid;             /* of its first process; 0 = none known */
    int pidfd;             /* owned; -1 = none */
    bool is_child;         /* ours to reap: not adopted */
    bool dead;
    struct runtime_exit exit; /* valid when dead */
    struct jstrings groups;   /* absolute paths */
    struct event *exit_event; /* owned */
    struct start *start;      /* owned; while it starts */
    struct removal *removal;  /* owned; while it is removed */
    UT_hash_handle hh;
};

/* box.c */
struct box *box_find(struct native *n, const char *id);
struct box *box_new(struct native *n, const char *id);
void box_free(struct box *box); /* forgets it; the sandbox itself is not touched */
int box_watch(struct box *box,
              struct err *err) must_check; /* tells when the process ends; pidfd must be set */
/* The box of a sandbox that this process did not start, from the text kept with it or its folder; -ESRCH when its
 * process is gone (the box then has no process but can be removed). */
int box_restore(struct native *n, const char *id, const char *data, struct box **ret_box,
                struct err *err) must_check;
bool box_name_is_id(const char *name);
void native_group_name(const struct native *n, const char *id, char *out, size_t size);

/* start.c */
void start_begin(struct native *n, const struct runtime_start *req, runtime_done_fn done,
                 void *arg);
void start_on_exit(struct box *box);
void start_abort(struct box *box); /* drops it without an answer: the runtime is freed */

/* remove.c */
void removal_begin(struct box *box, runtime_done_fn done, void *arg);
void removal_on_exit(struct box *box);
void removal_abort(struct box *box);

/* pause.c */
void native_pause(struct runtime *rt, const char *id, const char *data, runtime_done_fn done,
                  void *arg);
void native_resume(struct runtime *rt, const char *id, const char *data, runtime_done_fn done,
                   void *arg);
