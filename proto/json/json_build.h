/*
 * Objects and arrays made step by step, whole or not at all: where memory ends, the tree becomes NULL and stays it, and
 * http_resp_json answers that. Half an object would pass for a whole one.
 *
 * Pure. Thread rule: any thread.
 */
#pragma once

#include <jansson.h>

/* Each takes the reference to value; NULL counts as no memory. *tree is NULL from the first failure on. */
void json_put(json_t **object, const char *key, json_t *value);
void json_push(json_t **array, json_t *value);

/* A string of arbitrary bytes, as names of files are: what is no UTF-8 becomes U+FFFD. NULL: no memory. */
json_t *json_text(const char *text);
