#include "execd/pty/ring.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void ring_init(struct ring *r, size_t size)
{
    *r = (struct ring){.size = size};
}

void ring_done(struct ring *r)
{
    if (r->data != NULL)
        munmap(r->data, r->size);
    free(r->runs);
    *r = (struct ring){.size = r->size};
}

static bool map(struct ring *r)
{
    void *p = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return false;
    (void)madvise(p, r->size, MADV_DONTFORK); /* a saving, not a condition */
    r->data = p;
    return true;
}

uint64_t ring_oldest(const struct ring *r)
{
    uint64_t by_size = r->total > r->size ? r->total - r->size : 0;

    return MAX(by_size, r->lost);
}

/* ---- runs ---------------------------------------------------------------------------------------- */

static struct ring_run *run(const struct ring *r, size_t i)
{
    return &r->runs[(r->first_run + i) % RING_RUNS_MAX];
}

/* From here on more than one stream is in the ring. Without memory for the table all is of the latest stream. */
static void start_table(struct ring *r)
{
    r->runs = calloc(RING_RUNS_MAX, sizeof(*r->runs));
    r->first_run = r->n_runs = 0;
    if (r->runs == NULL)
        return;
    r->runs_from = 0;
    *run(r, r->n_runs++) = (struct ring_run){r->total, r->current};
}

static void note_run(struct ring *r, enum ring_stream stream, size_t n)
{
    if (r->runs == NULL && stream != r->current && r->total > 0)
        start_table(r);
    r->current = stream;
    if (r->runs == NULL)
        return;
    struct ring_run *last = run(r, r->n_runs - 1);
    if (last->stream == stream) {
        last->end += n;
        return;
    }
    if (r->n_runs == RING_RUNS_MAX) {
        r->runs_from = run(r, 0)->end;
        r->first_run = (r->first_run + 1) % RING_RUNS_MAX;
        r->n_runs--;
    }
    *run(r, r->n_runs++) = (struct ring_run){r->total + n, stream};
}

enum ring_stream ring_run_at(const struct ring *r, uint64_t offset, uint64_t *ret_end)
{
    size_t low = 0, high = r->n_runs;

    if (r->runs == NULL) {
        *ret_end = r->total;
        return r->current;
    }
    if (offset < r->runs_from) {
        *ret_end = r->runs_from;
        return RING_UNKNOWN;
    }
    while (low + 1 < high) { /* the first run that ends behind the offset lies in [low, high) */
        size_t middle = (low + high) / 2;
        if (run(r, middle - 1)->end <= offset)
            low = middle;
        else
            high = middle;
    }
    *ret_end = run(r, low)->end;
    return run(r, low)->stream;
}

/* ---- bytes --------------------------------------------------------------------------------------- */

static void copy_in(struct ring *r, const char *p, size_t n)
{
    size_t at = (size_t)(r->total % r->size), first = MIN(n, r->size - at);

    memcpy(r->data + at, p, first);
    memcpy(r->data, p + first, n - first);
}

void ring_write(struct ring *r, enum ring_stream stream, const char *p, size_t n)
{
    size_t skipped = n > r->size ? n - r->size : 0;

    if (n == 0)
        return;
    note_run(r, stream, n);
    if (r->data == NULL && !map(r)) {
        r->total += n;
        r->lost = r->total;
        return;
    }
    r->total += skipped;
    copy_in(r, p + skipped, n - skipped);
    r->total += n - skipped;
}

size_t ring_read(const struct ring *r, uint64_t offset, size_t max, struct slice ret_parts[2])
{
    if (offset >= r->total || max == 0)
        return 0;
    size_t n = (size_t)MIN(r->total - offset, (uint64_t)max);
    size_t at = (size_t)(offset % r->size), first = MIN(n, r->size - at);

    ret_parts[0] = (struct slice){r->data + at, first};
    ret_parts[1] = (struct slice){r->data, n - first};
    return n > first ? 2 : 1;
}
