/*
 * Port numbers in paths: plain decimal, 1..65535, no sign, no leading zero (hardening I01). Pure.
 */
#pragma once

#include "proto/base/defs.h"

#define EXECD_PORT 44772

bool port_parse(const char *text, uint16_t *ret_port);
