/*
 * When a periodic hook is due: five-field cron, the usual @names, and @every.
 *
 * Fields: minute, hour, day of month, month, day of week; each a list of *, n, n-m, with /step; months and days of the
 * week by their first three letters too; 7 is Sunday. When both day fields are narrowed, either one is enough. Times
 * are UTC: an image's idea of local time is not read. Thread rule: pure. Source: contracts/v1.1.md 1.9.
 */
#pragma once

#include "proto/base/err.h"

struct cron {
    int64_t every_s; /* @every; 0 = by the fields below, bit n for the value n */
    uint64_t minutes, hours, days, months, weekdays;
    bool any_day, any_weekday; /* the field was a plain star */
};

/* -EINVAL with a text, also for a time that never comes (31 February). */
int cron_parse(const char *text, struct cron *ret_cron, struct err *err) must_check;

/* The first due time after `now_s` (seconds since 1970); -1 when there is none within eight years. For @every:
 * now_s and its period. */
int64_t cron_next(const struct cron *cron, int64_t now_s);
