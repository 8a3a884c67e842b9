/* Request heads: whatever passes the scan and the parser is unambiguous, at every split. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http/head.h"
#include "proto/http/head_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int scan(const char *p, size_t n, size_t cut, size_t *ret_total, struct head_scan *s)
{
    size_t used = 0;
    int r;

    head_scan_init(s, false, 32768, HEAD_FIELDS_MAX);
    r = head_scan_feed(s, p, cut, &used, NULL);
    if (r == 0)
        r = head_scan_feed(s, p + cut, n - cut, &used, NULL);
    *ret_total = s->total;
    return r;
}

static void check(const struct head *h)
{
    if (h->path[0] != '/' && strcmp(h->path, "*") != 0)
        abort();
    if (h->chunked && h->content_length >= 0)
        abort();
    for (size_t i = 0; i < h->n_fields; i++) {
        if (h->fields[i].name[0] == '\0' || strpbrk(h->fields[i].name, " \t\r\n:") ||
            strpbrk(h->fields[i].value, "\r\n"))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t total, total_cut, cut = size > 0 ? data[0] % size : 0;
    struct head_scan s, t;
    struct head head;
    struct err err = {0};
    char *text;
    int r = scan((const char *)data, size, 0, &total, &s);

    if (r != scan((const char *)data, size, cut, &total_cut, &t) || total != total_cut)
        abort(); /* the verdict must not depend on how bytes arrive */
    if (r != 1)
        return 0;
    text = malloc(total - s.skip); /* exact, so that the sanitizer sees any step outside */
    memcpy(text, data + s.skip, total - s.skip);
    if (head_parse_request(&head, text, total - s.skip, &err) == 0)
        check(&head);
    else if (err.code == 0)
        abort();
    free(text);
    return 0;
}
