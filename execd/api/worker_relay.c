#include "execd/api/worker_relay.h"

#include "proto/http/relay.h"
#include "proto/http/resp.h"

static const char *const dropped_fields[] = {"X-EXECD-ACCESS-TOKEN", "OPEN-SANDBOX-API-KEY", NULL};

static void on_close(void *arg)
{
    worker_release(arg);
}

enum http_result worker_relay(struct http_req *req, const struct api *api,
                              const struct worker_place *place, const char *target_path)
{
    struct relay_target target = {.unix_path = NULL};
    struct worker *worker;
    struct err err = {0};

    if (worker_start(api->base, place, &worker, &target.fd, &err) < 0)
        return http_resp_error(req, &err);
    const struct relay_options options = {
        .target = target_path,
        .drop = dropped_fields,
        .on_close = on_close,
        .on_close_arg = worker,
    };
    return relay_start(req, &target, &options);
}
