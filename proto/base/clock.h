/*
 * Clocks: monotonic for durations, boottime for lifetimes, wall clock for display.
 *
 * Thread rule: any thread. A test may shift the clocks by clock_test_shift_ms.
 */
#pragma once

#include <time.h>

#include "proto/base/defs.h"

int64_t clock_monotonic_ns(void);
int64_t clock_monotonic_ms(void);
int64_t clock_boottime_ms(void); /* goes on during suspend; the base of every TTL */
int64_t clock_wall_ms(void);     /* Unix time in milliseconds */
int64_t clock_wall_us(void);

#define CLOCK_RFC3339_MAX 40
/* "2026-11-21T10:00:00.123456Z" (UTC, microseconds; without fraction when zero). buf has CLOCK_RFC3339_MAX bytes. */
void clock_format_us(int64_t wall_us, char *buf);
/* From a timespec with nanoseconds, as file times are shown. */
void clock_format_ts(const struct timespec *ts, char *buf);
/* RFC 3339 with offset or Z; also without offset (taken as UTC). Result in wall microseconds. -EINVAL. */
int clock_parse_rfc3339(const char *text, int64_t *ret_wall_us) must_check;
/* "Sat, 21 Nov 2026 10:00:00 GMT" (RFC 9110 IMF-fixdate); buf has CLOCK_RFC3339_MAX bytes. */
void clock_format_http(time_t t, char *buf);
int clock_parse_http(const char *text, time_t *ret_time) must_check;

extern int64_t clock_test_shift_ms; /* added to all four clocks; 0 outside tests */
