/*
 * Random identifiers from the kernel's generator.
 *
 * getrandom(2) failing aborts the process: a weak id or token is never made. Thread rule: any thread.
 */
#pragma once

#include "proto/base/defs.h"

#define ID_HEX_LEN 32  /* lower-case hex digits, no dashes */
#define ID_UUID_LEN 36 /* RFC 9562 version 4 with dashes */

void ids_random(void *buf, size_t n);
void ids_hex(char out[ID_HEX_LEN + 1]);
void ids_uuid(char out[ID_UUID_LEN + 1]);
bool ids_is_uuid(const char *text); /* hex digits of any case, dashes where they belong */
