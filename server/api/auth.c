#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/ids.h"
#include "proto/base/str.h"
#include "server/api/cors.h"
#include "server/api/enclave.h"
#include "server/api/handlers.h"

#define REQUEST_ID_MAX 128

static bool key_matches(const struct api *api, const char *given)
{
    uint8_t hash[SHA256_LEN];

    codec_sha256(given, strlen(given), hash);
    return codec_equal(hash, api->key_sha256, sizeof(hash));
}

/* As ms-enclave's clients give it; in the query only on their own routes (contracts/jupyter.md 3.5). */
static const char *key_of_enclave(struct http_req *req)
{
    size_t n = http_req_header_count(req, "X-API-Key");

    if (n == 0 && enclave_is_asked(req))
        return http_req_query(req, "api_key", 0);
    return n == 1 ? http_req_header(req, "X-API-Key") : NULL;
}

/* The contract's header, or `Authorization: Bearer` for scrapers that can send nothing else. */
static const char *presented_key(struct http_req *req)
{
    const char *key = http_req_header(req, "OPEN-SANDBOX-API-KEY");
    const char *authorization = http_req_header(req, "Authorization");

    if (http_req_header_count(req, "OPEN-SANDBOX-API-KEY") > 1)
        return NULL;
    if (key == NULL)
        key = key_of_enclave(req);
    if (key == NULL && authorization != NULL && str_starts(authorization, "Bearer "))
        key = authorization + strlen("Bearer ");
    return key;
}

bool api_key_given(const struct api *api, struct http_req *req)
{
    const char *key = presented_key(req);

    return api->has_key && key != NULL && key_matches(api, key);
}

int api_authorize(struct http_req *req, const struct route *route, void *app, struct err *err)
{
    const struct api *api = app;

    /* The proxy is open to callers without a key: what stands behind it asks for the sandbox's own token
     * (contracts/server.md 1.2; design decision 8). */
    if (route != NULL && route->handler == h_proxy)
        return 0;
    if (!api->has_key)
        return cors_check(req, api, err);
    const char *key = presented_key(req);
    if (key == NULL)
        return err_set(err, ERR_MISSING_API_KEY, EACCES,
                       "Authentication credentials are missing. Provide API key via "
                       "OPEN-SANDBOX-API-KEY header.");
    if (!key_matches(api, key))
        return err_set(err, ERR_INVALID_API_KEY, EACCES,
                       "Authentication credentials are invalid. Check your API key and try again.");
    return 0;
}

static bool id_is_usable(const char *id, size_t len)
{
    if (len == 0 || len > REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)id[i] < 0x20 || (unsigned char)id[i] > 0x7e)
            return false;
    }
    return true;
}

void api_decorate(struct http_req *req, void *app)
{
    const char *given = http_req_header(req, "X-Request-ID");
    char made[ID_HEX_LEN + 1];
    char id[REQUEST_ID_MAX + 1];

    cors_decorate(req, app);
    ids_hex(made);
    if (given != NULL) {
        given += strspn(given, " \t");
        size_t len = strlen(given);
        while (len > 0 && isblank((unsigned char)given[len - 1]))
            len--;
        if (id_is_usable(given, len)) {
            memcpy(id, given, len);
            id[len] = '\0';
            http_resp_header(req, "X-Request-ID", id);
            return;
        }
    }
    http_resp_header(req, "X-Request-ID", made);
}
