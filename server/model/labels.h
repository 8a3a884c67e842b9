/*
 * Metadata labels: the Kubernetes rules for keys and values, and the reserved prefix.
 *
 * Key: optional DNS-subdomain prefix of ≤ 253 characters and "/", then a name of ≤ 63; value ≤ 63 of the same
 * alphabet, may be empty. "opensandbox.io/" belongs to the server. Pure; any thread.
 * Source: contracts/server.md 1.6, hardening J08.
 */
#pragma once

#include "proto/base/err.h"

#define LABELS_MAX 64 /* entries of one sandbox */

int label_check(const char *key, const char *value, struct err *err) must_check;
