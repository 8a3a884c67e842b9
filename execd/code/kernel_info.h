/*
 * What a kernel tells about itself when it starts, kept for whoever asks about its context.
 *
 * The reply may be of any shape; what is missing or no string stays empty, what is long is cut between characters.
 * Pure. Thread rule: any thread. Source: contracts/jupyter.md 1.10.
 */
#pragma once

#include <jansson.h>

struct kernel_info {
    char protocol_version[16], implementation[64], implementation_version[64];
    char language[64], language_version[128];
};

/* content: of a kernel_info_reply, may be NULL. */
void kernel_info_read(const json_t *content, struct kernel_info *ret_info);
