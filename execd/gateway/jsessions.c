#include "execd/gateway/jsessions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "proto/api/errors.h"
#include "proto/base/ids.h"
#include "proto/base/mem.h"
#include "proto/json/json_build.h"

struct jsession {
    char id[ID_UUID_LEN + 1], kernel_id[ID_UUID_LEN + 1];
    char *path, *name, *type; /* owned */
    TAILQ_ENTRY(jsession) link;
};

struct jsessions {
    struct code_manager *kernels; /* borrowed */
    TAILQ_HEAD(, jsession) list;  /* oldest first */
    size_t n;
};

struct jsessions *jsessions_new(struct code_manager *m)
{
    struct jsessions *s = xnew(struct jsessions);
    s->kernels = m;
    TAILQ_INIT(&s->list);
    return s;
}

void jsession_remove(struct jsessions *s, struct jsession *session)
{
    TAILQ_REMOVE(&s->list, session, link);
    s->n--;
    free(session->path);
    free(session->name);
    free(session->type);
    free(session);
}

void jsessions_free(struct jsessions *s)
{
    struct jsession *session;
    if (s == NULL)
        return;
    while ((session = TAILQ_FIRST(&s->list)) != NULL)
        jsession_remove(s, session);
    free(s);
}

struct code_context *jsession_kernel(const struct jsessions *s, const struct jsession *session)
{
    return code_context_find(s->kernels, session->kernel_id);
}

/* Those whose kernel is gone are kept until their place is needed: a late DELETE is told so. */
static void make_room(struct jsessions *s)
{
    struct jsession *session = TAILQ_FIRST(&s->list);
    while (session != NULL && s->n >= JSESSIONS_MAX) {
        struct jsession *next = TAILQ_NEXT(session, link);
        if (jsession_kernel(s, session) == NULL)
            jsession_remove(s, session);
        session = next;
    }
}

static void set_text(char **field, const char *text)
{
    if (text == NULL && *field != NULL)
        return;
    free(*field);
    *field = xstrdup(text != NULL ? text : "");
}

void jsession_change(struct jsession *session, const struct jsession_facts *facts,
                     const char *kernel_id)
{
    set_text(&session->path, facts->path);
    set_text(&session->name, facts->name);
    set_text(&session->type, facts->type);
    (void)snprintf(session->kernel_id, sizeof(session->kernel_id), "%s", kernel_id); /* a UUID */
}

int jsessions_add(struct jsessions *s, const struct jsession_facts *facts, const char *kernel_id,
                  struct jsession **ret_session, struct err *err)
{
    make_room(s);
    if (s->n >= JSESSIONS_MAX)
        return err_set(err, ERR_OVERLOADED, EAGAIN, "%d sessions at once is the limit",
                       JSESSIONS_MAX);
    struct jsession *session = xnew(struct jsession);
    ids_uuid(session->id);
    jsession_change(session, facts, kernel_id);
    TAILQ_INSERT_TAIL(&s->list, session, link);
    s->n++;
    *ret_session = session;
    return 0;
}

struct jsession *jsessions_find(struct jsessions *s, const char *id)
{
    struct jsession *session;
    TAILQ_FOREACH(session, &s->list, link)
    if (strcmp(session->id, id) == 0)
        return session;
    return NULL;
}

/* Whoever asks for a path again is to have a kernel, not one that never started. */
static bool is_of_use(const struct code_context *ctx)
{
    return ctx != NULL && !code_context_is_kept_dead(ctx);
}

struct jsession *jsessions_find_path(struct jsessions *s, const char *path)
{
    struct jsession *session;
    TAILQ_FOREACH(session, &s->list, link)
    if (strcmp(session->path, path) == 0 && is_of_use(jsession_kernel(s, session)))
        return session;
    return NULL;
}

const char *jsession_id(const struct jsession *session)
{
    return session->id;
}

const char *jsession_path(const struct jsession *session)
{
    return session->path;
}

json_t *jsession_model(const struct jsessions *s, const struct jsession *session)
{
    json_t *model = json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", session->id, "path", session->path,
                              "name", session->name, "type", session->type, "kernel",
                              kernels_model(jsession_kernel(s, session)));
    if (strcmp(session->type, "notebook") == 0)
        json_put(&model, "notebook",
                 json_pack("{s:s, s:s}", "path", session->path, "name", session->name));
    return model;
}

json_t *jsessions_list(const struct jsessions *s)
{
    const struct jsession *session;
    cleanup_json json_t *list = json_array();
    TAILQ_FOREACH(session, &s->list, link)
    if (jsession_kernel(s, session) != NULL &&
        json_array_append_new(list, jsession_model(s, session)) < 0)
        return NULL;
    return take_ptr(&list);
}
