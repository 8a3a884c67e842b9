#include "execd/api/log_page.h"

#include <stdlib.h>
#include <unistd.h>

#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/http/resp.h"

#define PAGE_READ (64 * 1024)
#define LOG_TYPE "text/plain; charset=utf-8"

struct page {
    struct http_req *req;
    int fd; /* owned */
    uint64_t at, end;
};

static void page_proceed(void *arg)
{
    static char buffer[PAGE_READ]; /* loop thread only */
    struct page *p = arg;

    while (p->at < p->end && http_resp_wants_more(p->req)) {
        ssize_t n = pread(p->fd, buffer, (size_t)MIN(p->end - p->at, sizeof(buffer)), (off_t)p->at);
        if (n <= 0) { /* it was promised: an incomplete page must not look whole */
            http_resp_abort(p->req);
            return;
        }
        http_resp_write(p->req, buffer, (size_t)n);
        p->at += (uint64_t)n;
    }
    if (p->at == p->end)
        http_resp_end(p->req);
}

static void page_stop(void *arg)
{
    struct page *p = arg;

    close(p->fd);
    free(p);
}

static const struct http_producer page_producer = {page_proceed, page_stop};

enum http_result api_log_page(struct http_req *req, const struct spool *log, uint64_t cursor,
                              const char *header)
{
    uint64_t size = spool_size(log);
    int fd;

    http_resp_header(req, header,
                     arena_printf(http_req_arena(req), "%llu", (unsigned long long)size));
    if (spool_is_cut(log))
        http_resp_header(req, "X-Execd-Truncated", "true");
    if (spool_memory(log) != NULL)
        return http_resp_data(req, 200, LOG_TYPE, spool_memory(log) + cursor,
                              (size_t)(size - cursor));
    if (spool_open(log, &fd) < 0)
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no descriptor for the log");
    struct page *page = xnew(struct page);
    *page = (struct page){.req = req, .fd = fd, .at = cursor, .end = size};
    return http_resp_begin(req, 200, LOG_TYPE, (int64_t)(size - cursor), &page_producer, page);
}
