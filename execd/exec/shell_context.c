#include "execd/exec/shell_context.h"

#include <string.h>

#include "proto/base/str.h"

bool shell_context_speaks(const char *language)
{
    static const char *const ours[] = {"bash", "sh", "shell"};

    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (str_eq_nocase(language, ours[i]))
            return true;
    return false;
}

struct session *shell_context_find(struct session_manager *m, const char *id)
{
    struct session *s = session_find(m, id);

    return s != NULL && session_language(s) != NULL ? s : NULL;
}

/* ---- looking through all ---- */

struct search {
    const char *language;
    struct session *found;
};

static void look_for_default(struct session *s, void *arg)
{
    struct search *search = arg;
    const char *language = session_language(s);

    if (language != NULL && session_is_default(s) && str_eq_nocase(language, search->language))
        search->found = s;
}

static void count(struct session *s, void *arg)
{
    struct shell_context_counts *counts = arg;
    struct session_status status;

    if (session_language(s) == NULL)
        return;
    session_get_status(s, &status);
    counts->n++;
    counts->busy += status.busy;
}

struct shell_context_counts shell_context_count(struct session_manager *m)
{
    struct shell_context_counts counts = {0};

    session_each(m, count, &counts);
    return counts;
}

static void delete_if_of_language(struct session *s, void *arg)
{
    const char *language = session_language(s);

    if (language != NULL && str_eq_nocase(language, arg))
        session_delete(s);
}

struct session *shell_context_default(struct session_manager *m, const char *language)
{
    struct search search = {.language = language};

    session_each(m, look_for_default, &search);
    return search.found;
}

void shell_context_delete_all(struct session_manager *m, const char *language)
{
    session_each(m, delete_if_of_language, (void *)language);
}

/* ---- making and running ---- */

int shell_context_run(struct session_manager *m, struct session *ctx, const char *language,
                      const struct session_run_request *request, unsigned *ret_ahead,
                      struct session_run **ret_run, struct channel **ret_channel, struct err *err)
{
    struct session_status status;
    const struct session_request first = {.language = language, .is_default = true};

    if (ctx == NULL) {
        int rc = session_create(m, &first, &ctx, err);
        if (rc < 0)
            return rc;
    }
    session_get_status(ctx, &status);
    *ret_ahead = status.queued + status.busy;
    return session_start_run(ctx, request, ret_run, ret_channel, err);
}
