/*
 * Sandboxes that ms-enclave's clients have stopped: the sandbox itself is gone, but for a while it can still be looked
 * at, and deleted (contracts/jupyter.md 3.5). At most STOPPED_MAX, the oldest make room. Thread rule: loop thread only.
 */
#pragma once

#include <jansson.h>

#include "server/model/sandbox.h"

#define STOPPED_MAX 256
#define STOPPED_MS (3600 * 1000)

struct stopped_list;

struct stopped {
    char id[ID_UUID_LEN + 1];
    int64_t created_us, stopped_us;
    int64_t until_ms; /* monotonic */
    char type[16];
    json_t *config; /* owned */
    struct stopped *prev, *next;
};

struct stopped_list *stopped_new(void);
void stopped_free(struct stopped_list *list); /* NULL is fine */
void stopped_add(struct stopped_list *list,
                 const struct sandbox *sb); /* before it is removed; once */
const struct stopped *stopped_find(struct stopped_list *list, const char *id);
bool stopped_remove(struct stopped_list *list, const char *id); /* was it there? */
/* The oldest one; the others follow by ->next. */
const struct stopped *stopped_first(struct stopped_list *list);
