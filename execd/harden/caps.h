/*
 * Capabilities by name and number, and which of them this process has.
 *
 * Thread rule: any thread. Source: capabilities(7).
 */
#pragma once

#include "proto/base/err.h"

/* "net_raw", "NET_RAW" and "CAP_NET_RAW" → its number, -ENOENT. */
int caps_by_name(const char *name) must_check;
/* "net_raw"; NULL for numbers that the build has no name for. Static storage. */
const char *caps_name(int number);
#define CAPS_NUMBERS 64

/* Bit per capability. 0 when the kernel does not tell. */
uint64_t caps_effective(void);
uint64_t caps_bounding(void);
bool caps_have(int number);
