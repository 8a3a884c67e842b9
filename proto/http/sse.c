#include "proto/http/sse.h"

#include <event2/buffer.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/http/req.h"
#include "proto/http/resp.h"

enum sse_framing sse_choose(struct http_req *req, enum sse_framing otherwise)
{
    const char *query = http_req_query(req, "sse", 0);
    const char *field = http_req_header(req, "X-Execd-Sse");
    const char *choice = query ? query : field;

    if (choice && str_eq_nocase(choice, "standard"))
        return SSE_STANDARD;
    return choice && str_eq_nocase(choice, "raw") ? SSE_RAW : otherwise;
}

void sse_headers(struct http_req *req)
{
    http_resp_header(req, "Content-Type", "text/event-stream");
    http_resp_header(req, "Cache-Control", "no-cache");
    http_resp_header(req, "Connection", "keep-alive");
    http_resp_header(req, "X-Accel-Buffering", "no");
}

static void field(struct evbuffer *out, const char *name, const char *value)
{
    (void)evbuffer_add(out, name, strlen(name)); /* out of memory shows when the buffer is moved */
    (void)evbuffer_add(out, value, strlen(value));
    (void)evbuffer_add(out, "\n", 1);
}

void sse_frame(struct evbuffer *out, enum sse_framing framing, const char *id, const char *event,
               const char *json, size_t json_len)
{
    if (framing == SSE_STANDARD) {
        if (id)
            field(out, "id: ", id);
        if (event)
            field(out, "event: ", event);
        (void)evbuffer_add(out, "data: ", 6);
    }
    (void)evbuffer_add(out, json, json_len);
    (void)evbuffer_add(out, "\n\n", 2);
}
