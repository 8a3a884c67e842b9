/*
 * Structured logging: one JSON object per line on one file descriptor.
 *
 * {"ts":"2026-11-21T10:00:00.123Z","level":"info","module":"reaper","msg":"...","key":"value",...}
 * Values are escaped, so no input can forge a line. Lines longer than 4 KiB are cut. Writing never
 * blocks longer than one write(2); a line that a full pipe refuses is dropped and counted, and the next one that
 * gets through carries "lost_lines". No secrets, bodies or command lines above debug level.
 * Library modules (below api/ and app) do not log above debug.
 * Thread rule: any thread (one write per line).
 */
#pragma once

#include "proto/base/defs.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_MAX };

/* fd is borrowed and stays open for the life of the process; default: stderr, info. */
void log_init(int fd, enum log_level level);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* "debug", "info", "warn"/"warning", "error" in any case; -EINVAL otherwise. */
int log_level_parse(const char *text, enum log_level *ret_level) must_check;

/* Key/value pairs of strings follow msg, closed by NULL. A NULL value is printed as null. */
void log_event(enum log_level level, const char *module, const char *msg, ...) sentinel_null;

/* The message is formatted; no keys. */
void log_printf(enum log_level level, const char *module, const char *fmt, ...) printf_like(3, 4);

/* Lines dropped since the last one that was written. */
unsigned log_lost_lines(void);

/* Routes libevent's own messages and its fatal path into this log. Call once before any base exists. */
void log_capture_libevent(void);
