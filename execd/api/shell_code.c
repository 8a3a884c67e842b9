#include "execd/api/shell_code.h"

#include <errno.h>
#include <string.h>

#include "execd/exec/shell_context.h"
#include "proto/api/errors.h"
#include "proto/json/json_build.h"

static bool is_empty(const char *text)
{
    return text == NULL || text[0] == '\0';
}

bool shell_code_serves(const struct api *api, const char *language)
{
    return shell_context_speaks(language) &&
           (api->code == NULL || !code_has_language(api->code, language));
}

bool shell_code_takes(const struct api *api, const char *id, const char *language)
{
    if (!is_empty(id))
        return shell_context_find(api->sessions, id) != NULL;
    return shell_context_default(api->sessions, language) != NULL ||
           shell_code_serves(api, language);
}

/* Contexts with and without a kernel have one limit. */
static int check_room(const struct api *api, struct err *err)
{
    struct code_counts kernels = {0};

    if (api->code != NULL)
        code_manager_counts(api->code, &kernels);
    unsigned n = shell_context_count(api->sessions).n + kernels.contexts;
    return n < api->contexts_max ? 0 : code_refuse_room(api->contexts_max, err);
}

int shell_code_run(const struct api *api, const char *id, const char *language,
                   const struct session_run_request *request, unsigned *ret_ahead,
                   struct session_run **ret_run, struct channel **ret_channel, struct err *err)
{
    struct session *ctx = is_empty(id) ? shell_context_default(api->sessions, language)
                                       : shell_context_find(api->sessions, id);
    int rc = ctx == NULL ? check_room(api, err) : 0;

    if (rc < 0)
        return rc;
    return shell_context_run(api->sessions, ctx, language, request, ret_ahead, ret_run, ret_channel,
                             err);
}

json_t *shell_code_describe(const struct session *s)
{
    struct session_status status;

    session_get_status(s, &status);
    return json_pack("{s:s,s:s,s:s}", "id", session_id(s), "language", session_language(s), "state",
                     status.busy ? "busy" : "idle");
}

int shell_code_create(const struct api *api, const struct session_request *request,
                      struct session **ret_session, struct err *err)
{
    int rc = check_room(api, err);

    return rc < 0 ? rc : session_create(api->sessions, request, ret_session, err);
}

struct listing {
    const char *language;
    json_t **list;
};

static void add(struct session *s, void *arg)
{
    struct listing *listing = arg;
    const char *language = session_language(s);

    if (language == NULL)
        return;
    if (is_empty(listing->language) || str_eq_nocase(listing->language, language))
        json_push(listing->list, shell_code_describe(s));
}

void shell_code_list(const struct api *api, const char *language, json_t **list)
{
    struct listing listing = {language, list};

    session_each(api->sessions, add, &listing);
}
