/*
 * A request that waits for a row of file operations (execd/files/job.h): it is answered when they are done, and they
 * end when the client leaves. Thread rule: loop thread only.
 */
#pragma once

#include "execd/api/api.h"
#include "execd/files/job.h"

/* Takes the job over. answer runs on success; NULL: 200 without a body. */
enum http_result file_request_run(struct http_req *req, struct work_pool *pool,
                                  struct file_job *job,
                                  void (*answer)(struct http_req *req, struct file_job *job));

/* The same for a job that could not be put together: frees it and answers the error. */
enum http_result file_request_refuse(struct http_req *req, struct file_job *job,
                                     const struct err *err);

/* A body {"PATH": {...}, ...}: take runs for each entry in its order, with the path expanded into the job's arena. */
typedef int (*file_entry_fn)(struct file_job *job, const char *key, const char *path, json_t *value,
                             struct err *err);
int file_request_entries(struct http_req *req, struct file_job *job, file_entry_fn take,
                         struct err *err) must_check;

/* Octal digits as a decimal number, 0 and absent: -1 (contracts/execd.md 3.7). Set-id bits are dropped. */
int file_request_mode(bool has, int64_t digits, int *ret_mode, struct err *err) must_check;

/* "error parsing request, MAYBE invalid body format. " before the text. */
int file_request_bad_body(struct err *err);
