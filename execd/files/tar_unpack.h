/*
 * A tar archive put into a folder, as its bytes come.
 *
 * Nothing leaves the folder (hardening F22): absolute paths and ".." are refused, directories are opened one below
 * the other without following any symbolic link, also none that the archive itself, or somebody else meanwhile, has
 * planted. Files and links are made beside their place and renamed: whole or not at all, and an existing link is
 * replaced, not written through. Devices and FIFOs are refused. Set-id and sticky bits and owners are taken only when
 * asked for. An existing folder keeps its mode. A failure leaves what was extracted before it.
 * Blocking: for the worker pool. Thread rule: one thread at a time.
 */
#pragma once

#include "proto/base/err.h"

struct unpack;

struct unpack_options {
    bool keep_owner;  /* numeric user and group of each member */
    bool keep_set_id; /* 07000 of each mode */
};

struct unpack_counts {
    uint64_t members, bytes;
};

/* Makes the folder and its parents where they are missing. */
int unpack_new(const char *root, const struct unpack_options *options, struct unpack **ret_unpack,
               struct err *err) must_check;
int unpack_feed(struct unpack *u, const char *p, size_t n, struct err *err) must_check;
/* The archive must be at its end; gives the folders their modes. */
int unpack_finish(struct unpack *u, struct unpack_counts *ret_counts, struct err *err) must_check;
void unpack_free(struct unpack *u); /* removes a half file; NULL is fine */
