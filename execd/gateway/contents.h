/*
 * Documents of Jupyter clients: the files below one root, as models.
 *
 * One call is one request, done in the worker pool: it holds values only, blocks on disk, and its cost is bounded
 * (CONTENTS_FILE_MAX, CONTENTS_ENTRIES_MAX, CONTENTS_ANSWER_MAX). Paths never lead out of the root, by ".." or by
 * links; hidden files are neither shown nor touched. A file is replaced as a whole: readers see the old one or the new.
 * Knows nothing of HTTP. Thread rule: contents_run in any thread, one at a time for one call.
 * Source: contracts/jupyter.md 2.9.
 */
#pragma once

#include <limits.h>

#include "proto/base/err.h"
#include "proto/base/str.h"

#define CONTENTS_FILE_MAX (16u << 20)   /* bytes of a file that is read or written */
#define CONTENTS_ANSWER_MAX (32u << 20) /* bytes of a model with its content */
#define CONTENTS_ENTRIES_MAX 10000      /* of a folder */

enum contents_verb {
    CONTENTS_GET,
    CONTENTS_SAVE,   /* PUT: body with type, format, content */
    CONTENTS_NEW,    /* POST at a folder: untitled, or a copy */
    CONTENTS_RENAME, /* PATCH: body with path */
    CONTENTS_DELETE,
    CONTENTS_CHECKPOINTS, /* GET: list */
    CONTENTS_CHECKPOINT,  /* POST: make the one that there is */
    CONTENTS_RESTORE,     /* POST at it */
    CONTENTS_FORGET,      /* DELETE of it */
};

enum contents_outcome {
    CONTENTS_SHOWN, /* what there is, or has become of it */
    CONTENTS_MADE,  /* something new */
    CONTENTS_DONE,  /* there is nothing to show */
};

struct contents_call {
    enum contents_verb verb;
    const char *root;    /* absolute */
    char path[PATH_MAX]; /* below the root, as the client gave it; "" = the root */
    /* CONTENTS_GET; NULL = as it is */
    const char *type, *format;
    bool without_content;
    struct slice body; /* JSON; empty = none */
    /* what came of it */
    struct err err; /* code is none: the rest counts */
    enum contents_outcome outcome;
    struct strbuf out;       /* JSON; empty with CONTENTS_DONE */
    char location[PATH_MAX]; /* path of what was made or moved; "" = none */
};

void contents_init(struct contents_call *call); /* zeroes it */
void contents_done(struct contents_call *call);
void contents_run(struct contents_call *call);
