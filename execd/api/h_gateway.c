#include <errno.h>
#include <string.h>

#include "execd/api/gateway.h"
#include "execd/gateway/specs.h"
#include "proto/api/errors.h"
#include "proto/base/log.h"
#include "proto/base/version.h"
#include "proto/http/resp.h"
#include "proto/json/jfield.h"

/* The level of Jupyter Server's REST interface that these routes follow: some clients look at it. */
#define REST_VERSION "2.15.0"
#define LOGO_CACHE "max-age=2592000"

enum http_result h_gateway_version(struct http_req *req, void *app)
{
    (void)app;
    return http_resp_json(req, 200,
                          json_pack("{s:s, s:s, s:s}", "version", REST_VERSION, "gateway", "execd",
                                    "gateway_version", version_text()));
}

/* A preflight carries no credential and learns nothing but what api_decorate tells allowed pages. */
enum http_result h_gateway_options(struct http_req *req, void *app)
{
    (void)app;
    return http_resp_empty(req, 200);
}

/* ---- who asks ------------------------------------------------------------------------------------ */

/* Whoever has the token may do everything: what was asked about is granted. */
static int read_permissions(struct http_req *req, json_t **ret_granted, struct err *err)
{
    const char *text = http_req_query(req, "permissions", 0), *resource;
    json_t *actions;
    *ret_granted = NULL;
    if (text == NULL) {
        *ret_granted = json_object();
        return 0;
    }
    cleanup_json json_t *asked = NULL;
    int result = json_parse(text, strlen(text), &asked, ERR_INVALID_QUERY, err);
    if (result < 0)
        return err_wrap(err, "permissions");
    if (!json_is_object(asked))
        return err_set(err, ERR_INVALID_QUERY, EINVAL, "permissions: not an object");
    json_object_foreach(asked, resource, actions) if (!json_is_array(actions)) return err_set(
        err, ERR_INVALID_QUERY, EINVAL, "permissions.%.64s: not a list", resource);
    *ret_granted = json_incref(asked);
    return 0;
}

enum http_result h_gateway_me(struct http_req *req, void *app)
{
    json_t *granted;
    struct err err = {0};
    (void)app;
    if (read_permissions(req, &granted, &err) < 0)
        return http_resp_error(req, &err);
    return http_resp_json(req, 200,
                          json_pack("{s:{s:s, s:s, s:s, s:n, s:n, s:n}, s:o}", "identity",
                                    "username", "execd", "name", "execd", "display_name", "execd",
                                    "initials", "avatar_url", "color", "permissions", granted));
}

/* ---- kernelspecs --------------------------------------------------------------------------------- */

void gateway_check_default(struct api *api, const struct kernelspecs *specs)
{
    const char *wanted = api->kernels.default_spec;
    if (api->default_told || wanted == NULL || kernelspecs_named(specs, wanted) != NULL)
        return;
    const struct kernelspec *instead = specs_default(specs, NULL);
    api->default_told = true;
    log_event(LOG_LEVEL_WARN, "api",
              "the kernel of --default-kernel is not there: another one takes its place", "name",
              wanted, "instead", instead != NULL ? instead->name : NULL, NULL);
}

enum http_result h_kernelspecs(struct http_req *req, void *app)
{
    struct api *api = app;
    if (api->code == NULL)
        return gateway_no_kernels(req);
    struct kernelspecs *specs = code_kernelspecs(api->code);
    gateway_check_default(api, specs);
    json_t *list = specs_list(specs, api->kernels.default_spec);
    kernelspecs_free(specs);
    return http_resp_json(req, 200, list);
}

static enum http_result no_spec(struct http_req *req, bool specs_are_cut)
{
    if (specs_are_cut)
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for the kernelspecs");
    return http_resp_fail(req, ERR_KERNELSPEC_NOT_FOUND, "Kernel spec %.64s not found",
                          http_req_param(req, "name"));
}

enum http_result h_kernelspec(struct http_req *req, void *app)
{
    struct api *api = app;
    if (api->code == NULL)
        return gateway_no_kernels(req);
    struct kernelspecs *specs = code_kernelspecs(api->code);
    const struct kernelspec *spec =
        specs_find(specs, http_req_param(req, "name"), api->kernels.default_spec);
    json_t *model = spec != NULL ? specs_model(spec) : NULL;
    bool known = spec != NULL, cut = specs->is_cut;
    kernelspecs_free(specs);
    return known ? http_resp_json(req, 200, model) : no_spec(req, cut);
}

enum http_result h_kernelspec_file(struct http_req *req, void *app)
{
    struct api *api = app;
    struct err err = {0};
    const char *file = http_req_param(req, "file");
    cleanup_free char *data = NULL;
    size_t len = 0;
    if (api->code == NULL)
        return gateway_no_kernels(req);
    struct kernelspecs *specs = code_kernelspecs(api->code);
    const struct kernelspec *spec =
        specs_find(specs, http_req_param(req, "name"), api->kernels.default_spec);
    int result = spec != NULL ? specs_read_file(spec, file, &data, &len, &err) : -1;
    bool known = spec != NULL, cut = specs->is_cut;
    kernelspecs_free(specs);
    if (!known)
        return no_spec(req, cut);
    if (result < 0)
        return http_resp_error(req, &err);
    http_resp_header(req, "Cache-Control", LOGO_CACHE);
    /* What a kernelspec brings is the sandbox's: it must not act as a page of ours. */
    http_resp_header(req, "Content-Security-Policy", "sandbox");
    http_resp_header(req, "X-Content-Type-Options", "nosniff");
    return http_resp_data(req, 200, specs_file_type(file), data, len);
}
