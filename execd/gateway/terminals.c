#include "execd/gateway/terminals.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "execd/gateway/kernels.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/ids.h"
#include "proto/base/mem.h"

struct terminal {
    char name[TERMINAL_NAME_MAX + 1];
    char id[ID_UUID_LEN + 1]; /* of its session */
    int64_t active_us;
    LIST_ENTRY(terminal) link;
};

struct terminals {
    struct term_manager *terms; /* borrowed */
    LIST_HEAD(, terminal) list;
};

struct terminals *terminals_new(struct term_manager *terms)
{
    struct terminals *t = xnew(struct terminals);
    t->terms = terms;
    LIST_INIT(&t->list);
    return t;
}

static void forget(struct terminal *terminal)
{
    LIST_REMOVE(terminal, link);
    free(terminal);
}

void terminals_free(struct terminals *t)
{
    if (t == NULL)
        return;
    while (!LIST_EMPTY(&t->list))
        forget(LIST_FIRST(&t->list));
    free(t);
}

static bool is_running(const struct term *term)
{
    struct term_info info;
    term_get_info(term, &info);
    return info.running;
}

/* A session whose shell has ended is of use to those alone who still read from it. */
static void drop_ended(struct term *term)
{
    struct term_info info;
    term_get_info(term, &info);
    if (info.viewers == 0)
        term_delete(term);
}

/* Names go with their shells. */
static void sweep(struct terminals *t)
{
    struct terminal *terminal = LIST_FIRST(&t->list);
    while (terminal != NULL) {
        struct terminal *next = LIST_NEXT(terminal, link);
        struct term *term = term_find(t->terms, terminal->id);
        bool running = term != NULL && is_running(term);
        if (term != NULL && !running)
            drop_ended(term);
        if (!running)
            forget(terminal);
        terminal = next;
    }
}

static struct terminal *by_name(const struct terminals *t, const char *name)
{
    struct terminal *terminal;
    LIST_FOREACH(terminal, &t->list, link)
    if (strcmp(terminal->name, name) == 0)
        return terminal;
    return NULL;
}

static struct terminal *by_id(const struct terminals *t, const char *id)
{
    struct terminal *terminal;
    LIST_FOREACH(terminal, &t->list, link)
    if (strcmp(terminal->id, id) == 0)
        return terminal;
    return NULL;
}

/* A session that was made elsewhere, under its id. */
static struct term *foreign(const struct terminals *t, const char *id)
{
    struct term *term = by_id(t, id) == NULL ? term_find(t->terms, id) : NULL;
    return term != NULL && is_running(term) ? term : NULL;
}

struct term *terminals_find(struct terminals *t, const char *name)
{
    sweep(t);
    const struct terminal *terminal = by_name(t, name);
    return terminal != NULL ? term_find(t->terms, terminal->id) : foreign(t, name);
}

/* ---- coming and going ---- */

static int check_name(const char *name, struct err *err)
{
    bool good = strlen(name) <= TERMINAL_NAME_MAX && name[0] != '.';
    for (const char *p = name; *p != '\0' && good; p++)
        good = isalnum((unsigned char)*p) || strchr("_-.", *p) != NULL;
    return good ? 0
                : err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                          "name: at most %d letters, digits, _, - and .", TERMINAL_NAME_MAX);
}

static void next_name(const struct terminals *t, char name[TERMINAL_NAME_MAX + 1])
{
    unsigned number = 0;
    do
        (void)snprintf(name, TERMINAL_NAME_MAX + 1, "%u", ++number); /* fits */
    while (by_name(t, name) != NULL);
}

static int start_shell(struct terminals *t, const char *cwd, struct term **ret_term,
                       struct err *err)
{
    const struct term_request request = {.cwd = cwd};
    struct term *term;
    int r = term_create(t->terms, &request, &term, err);
    if (r < 0)
        return r;
    r = term_start(term, TERM_PTY, err);
    if (r < 0) {
        term_delete(term);
        return r;
    }
    *ret_term = term;
    return 0;
}

int terminals_start(struct terminals *t, const char *name, const char *cwd, const char **ret_name,
                    struct err *err)
{
    struct term_info info;
    struct term *term;
    bool named = name != NULL && name[0] != '\0';
    int r = named ? check_name(name, err) : 0;
    if (r < 0)
        return r;
    sweep(t);
    struct terminal *terminal = named ? by_name(t, name) : NULL;
    if (terminal == NULL) {
        if ((r = start_shell(t, cwd, &term, err)) < 0)
            return r;
        terminal = xnew(struct terminal);
        if (named)
            (void)snprintf(terminal->name, sizeof(terminal->name), "%s", name); /* fits */
        else
            next_name(t, terminal->name);
        term_get_info(term, &info);
        (void)snprintf(terminal->id, sizeof(terminal->id), "%s", info.id); /* fits */
        terminal->active_us = clock_wall_us();
        LIST_INSERT_HEAD(&t->list, terminal, link);
    }
    *ret_name = terminal->name;
    return 0;
}

void terminals_remove(struct terminals *t, const char *name)
{
    struct term *term = terminals_find(t, name);
    struct terminal *terminal = by_name(t, name);
    if (terminal != NULL)
        forget(terminal);
    if (term != NULL)
        term_delete(term);
}

void terminals_touch(struct terminals *t, const struct term *term)
{
    struct term_info info;
    term_get_info(term, &info);
    struct terminal *terminal = by_id(t, info.id);
    if (terminal != NULL)
        terminal->active_us = clock_wall_us();
}

/* ---- models ---- */

static json_t *model(const char *name, int64_t active_us)
{
    char active[CLOCK_RFC3339_MAX];
    kernels_format_time(active_us, active);
    return json_pack("{s:s, s:s}", "name", name, "last_activity", active);
}

json_t *terminals_model(struct terminals *t, const char *name)
{
    const struct terminal *terminal = by_name(t, name);
    struct term_info info;
    if (terminal != NULL)
        return model(name, terminal->active_us);
    term_get_info(term_find(t->terms, name), &info);
    return model(name, info.created_us);
}

json_t *terminals_list(struct terminals *t)
{
    const struct terminal *terminal;
    cleanup_json json_t *list = json_array();
    sweep(t);
    LIST_FOREACH(terminal, &t->list, link) /* oldest first */
    if (json_array_insert_new(list, 0, model(terminal->name, terminal->active_us)) < 0)
        return NULL;
    for (struct term *term = term_next(t->terms, NULL); term != NULL;
         term = term_next(t->terms, term)) {
        struct term_info info;
        term_get_info(term, &info);
        if (info.running && by_id(t, info.id) == NULL &&
            json_array_append_new(list, model(info.id, info.created_us)) < 0)
            return NULL;
    }
    return take_ptr(&list);
}
