/* A compiled glob: a tree in one array, written by glob_parse.c, walked by glob.c. */
#pragma once

#include "proto/base/glob.h"

enum glob_kind {
    GLOB_LITERAL, /* text[at .. at + len), escapes undone */
    GLOB_ANY,     /* ? */
    GLOB_STAR,    /* * */
    GLOB_CLASS,  /* pattern[at .. at + len): what stands between the brackets, without '^' or '!' */
    GLOB_DIRS,   /* "**" and its '/': any number of whole segments */
    GLOB_REST,   /* a last "**": everything */
    GLOB_BELOW,  /* a last "/" "**": the folder itself and everything below */
    GLOB_EITHER, /* {a,b}: the alternatives hang on `first` */
    GLOB_NONE_OF, /* !(a|b): likewise */
    GLOB_BRANCH,  /* one alternative: its sequence hangs on `first` */
};

#define GLOB_NO_NODE UINT16_MAX

struct glob_node {
    uint8_t kind;
    bool negated;         /* GLOB_CLASS */
    uint16_t at, len;     /* in glob.text */
    uint16_t first, next; /* indices of nodes, GLOB_NO_NODE at the end */
};

struct glob {
    bool has_slash;
    uint16_t first; /* of the outermost sequence */
    uint16_t n_nodes;
    struct glob_node *nodes; /* owned; at most two per byte of the pattern */
    char *text;              /* owned: literals and classes, in order */
};

/* Fills nodes, text and first; both arrays have room for any pattern of GLOB_PATTERN_MAX bytes. */
int glob_parse(struct glob *g, const char *pattern, struct err *err) must_check;

/* The character at p: its length in bytes (at least 1 when n > 0) and its code point; a byte that is no UTF-8 is
 * 0x110000 + byte. */
size_t glob_rune(const char *p, size_t n, uint32_t *ret_rune);
