/*
 * What the files of contents share: places below the root, models, and the parts of a body.
 *
 * Private to execd/gateway/contents*.c. Thread rule: any thread; blocks on disk.
 */
#pragma once

#include <sys/stat.h>

#include "execd/gateway/contents.h"

/* A name in an opened folder. */
struct spot {
    int root_fd, dir_fd; /* owned; O_PATH */
    char path[PATH_MAX]; /* clean, without a leading slash */
    const char *name;    /* in path */
};
#define SPOT_UNSET                                                                                 \
    {                                                                                              \
        .root_fd = -1, .dir_fd = -1                                                                \
    }

/* Finds where path leads; its folder must exist, it itself need not. ERR_FILE_NOT_FOUND. */
int spot_find(const char *root, const char *path, struct spot *ret_spot,
              struct err *err) must_check;
void spot_done(struct spot *spot);
#define cleanup_spot __attribute__((cleanup(spot_done)))
bool spot_is_root(const struct spot *spot);
/* What is there, links not followed: 0, or -ENOENT and others without a text. */
int spot_stat(const struct spot *spot, struct stat *ret_st) must_check;

/* err for an errno at a path; returns -errnum. */
int contents_fail(struct err *err, int errnum, const char *what, const char *path);

/* Reads a regular file of at most CONTENTS_FILE_MAX bytes; *ret_data is malloc'ed. */
int contents_read(const struct spot *spot, char **ret_data, size_t *ret_len,
                  struct err *err) must_check;
/* Puts a whole file in place, with the mode and owner of the one before. */
int contents_write(const struct spot *spot, struct slice data, struct err *err) must_check;
/* A whole file where nothing is yet: -EEXIST, and others without a text. */
int contents_create(const struct spot *spot, struct slice data) must_check;

/* Appends the model of what is there, without content. */
int contents_model(struct strbuf *out, const struct spot *spot, struct err *err) must_check;

/* A text among the body's members: malloc'ed; NULL when it is absent or null. -EINVAL: another type, or too long. */
int contents_text(struct slice body, const char *key, size_t max, char **ret_text, size_t *ret_len,
                  struct err *err) must_check;

int contents_get(struct contents_call *call, const struct spot *spot) must_check;
int contents_save(struct contents_call *call, const struct spot *spot) must_check;
int contents_new(struct contents_call *call, const struct spot *spot) must_check;
int contents_rename(struct contents_call *call, const struct spot *spot) must_check;
int contents_delete(struct contents_call *call, const struct spot *spot) must_check;
int contents_checkpoints(struct contents_call *call, const struct spot *spot) must_check;
int contents_checkpoint(struct contents_call *call, const struct spot *spot) must_check;
int contents_restore(struct contents_call *call, const struct spot *spot) must_check;
int contents_forget(struct contents_call *call, const struct spot *spot) must_check;
