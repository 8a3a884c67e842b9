/*
 * One result, from the lines of a program that runs SQL to the JSON of an event.
 *
 * Pure. Thread rule: any thread; a result belongs to its owner. Source: contracts/execd.md 3.2.
 */
#pragma once

#include <jansson.h>

#include "proto/base/str.h"

struct sql_result {
    struct strbuf text, json; /* owned: values as strings; values as they are */
    bool open;                /* columns are there, the end is not */
    size_t n_rows;
};
void sql_result_init(struct sql_result *r);
void sql_result_done(struct sql_result *r);

/* -EPROTO where it is no array, or comes at the wrong time. */
int sql_result_columns(struct sql_result *r, const json_t *columns) must_check;
int sql_result_row(struct sql_result *r, const json_t *row) must_check;
/* The results of an event as JSON, malloc'ed; NULL: too large, or there is none. The result is empty afterwards. */
char *sql_result_end(struct sql_result *r, bool truncated, size_t *ret_len);
/* A statement without rows. */
char *sql_result_affected(json_int_t n, size_t *ret_len);
