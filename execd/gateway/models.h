/*
 * Answers that are JSON trees: whole or none. Where memory ends a tree may lack a leaf, and would look like a whole one.
 *
 * Thread rule: any thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* The tree, or NULL in its place; takes the reference. NULL is fine. */
static inline json_t *models_if_whole(json_t *tree, bool is_whole)
{
    if (is_whole)
        return tree;
    json_decref(tree);
    return NULL;
}
