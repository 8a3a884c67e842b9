#include "execd/pty/recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"

#define BLOCK (64 * 1024)
#define LINE_MAX_BYTES (1024 * 1024) /* of one event: six bytes for each of a read, at most */
#define MARKER_ROOM 128              /* kept back for the last event */

struct recording {
    unsigned refs;
    struct recording_budget *budget; /* borrowed */
    size_t n_blocks, blocks_max;
    size_t len;
    bool truncated;
    int64_t start_ns; /* monotonic */
    char tail[4];     /* of a character that has only begun */
    size_t tail_len;
    char *blocks[]; /* owned, of BLOCK bytes; never move */
};

static bool make_room(struct recording *r, size_t n)
{
    while (r->len + n > r->n_blocks * BLOCK) {
        if (r->n_blocks == r->blocks_max || r->budget->used + BLOCK > r->budget->max)
            return false;
        char *block = malloc(BLOCK);
        if (block == NULL)
            return false;
        r->blocks[r->n_blocks++] = block;
        r->budget->used += BLOCK;
    }
    return true;
}

static void append(struct recording *r, const char *p, size_t n)
{
    while (n > 0) {
        size_t at = r->len % BLOCK, run = MIN(n, BLOCK - at);
        memcpy(r->blocks[r->len / BLOCK] + at, p, run);
        r->len += run;
        p += run;
        n -= run;
    }
}

static double seconds(const struct recording *r)
{
    return (double)(clock_monotonic_ns() - r->start_ns) / 1e9;
}

/* The marker's room is always there: every other event leaves it. */
static void truncate_here(struct recording *r)
{
    char line[MARKER_ROOM];
    int n = snprintf(line, sizeof(line), "[%.6f, \"m\", \"recording truncated\"]\n", seconds(r));

    append(r, line, (size_t)n);
    r->truncated = true;
}

static void add_line(struct recording *r, const struct strbuf *line)
{
    if (strbuf_check(line) == 0 && make_room(r, line->len + MARKER_ROOM))
        append(r, line->data, line->len);
    else
        truncate_here(r);
}

static void add_event(struct recording *r, const char *kind, const char *p, size_t n)
{
    struct strbuf line;

    strbuf_init(&line, LINE_MAX_BYTES);
    strbuf_addf(&line, "[%.6f, \"%s\", ", seconds(r), kind);
    json_escape(&line, p, n);
    strbuf_adds(&line, "]\n");
    add_line(r, &line);
    strbuf_done(&line);
}

/* How many bytes at the end begin a character that is not complete. */
static size_t incomplete_tail(const char *p, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        if (((uint8_t)p[n - back] & 0xc0) != 0x80)
            return utf8_sequence(p + n - back, back) < 0 ? back : 0;
    }
    return 0;
}

void recording_output(struct recording *r, const char *p, size_t n)
{
    char joined[8];

    if (r->truncated || n == 0)
        return;
    /* The rest of a begun character is at most 3 bytes away. */
    while (r->tail_len > 0 && n > 0) {
        memcpy(joined, r->tail, r->tail_len);
        joined[r->tail_len] = *p;
        int fits = utf8_sequence(joined, r->tail_len + 1);
        if (fits == 0) { /* it never becomes one */
            add_event(r, "o", r->tail, r->tail_len);
            r->tail_len = 0;
            break;
        }
        r->tail[r->tail_len++] = *p++;
        n--;
        if (fits > 0) {
            add_event(r, "o", r->tail, r->tail_len);
            r->tail_len = 0;
        }
    }
    size_t tail = incomplete_tail(p, n);
    if (n > tail && !r->truncated)
        add_event(r, "o", p, n - tail);
    if (tail > 0) {
        memcpy(r->tail, p + n - tail, tail);
        r->tail_len = tail;
    }
}

void recording_resize(struct recording *r, unsigned cols, unsigned rows)
{
    char size[32];
    int n = snprintf(size, sizeof(size), "%ux%u", cols, rows);

    if (!r->truncated)
        add_event(r, "r", size, (size_t)n);
}

size_t recording_len(const struct recording *r)
{
    return r->len;
}

bool recording_is_truncated(const struct recording *r)
{
    return r->truncated;
}

struct slice recording_read(const struct recording *r, size_t offset)
{
    if (offset >= r->len)
        return (struct slice){NULL, 0};
    size_t at = offset % BLOCK;
    return (struct slice){r->blocks[offset / BLOCK] + at, MIN(r->len - offset, BLOCK - at)};
}

struct recording *recording_new(struct recording_budget *budget, size_t size_max, unsigned cols,
                                unsigned rows)
{
    size_t blocks_max = MAX(size_max / BLOCK, (size_t)1);
    struct recording *r = xcalloc(1, sizeof(*r) + blocks_max * sizeof(r->blocks[0]));
    char line[160];

    r->refs = 1;
    r->budget = budget;
    r->blocks_max = blocks_max;
    r->start_ns = clock_monotonic_ns();
    int n = snprintf(line, sizeof(line),
                     "{\"version\": 2, \"width\": %u, \"height\": %u, \"timestamp\": %lld, "
                     "\"env\": {\"TERM\": \"xterm-256color\"}}\n",
                     cols, rows, (long long)(clock_wall_ms() / 1000));
    if (!make_room(r, (size_t)n + MARKER_ROOM)) {
        recording_unref(r);
        return NULL;
    }
    append(r, line, (size_t)n);
    return r;
}

struct recording *recording_ref(struct recording *r)
{
    r->refs++;
    return r;
}

void recording_unref(struct recording *r)
{
    if (r == NULL || --r->refs > 0)
        return;
    for (size_t i = 0; i < r->n_blocks; i++)
        free(r->blocks[i]);
    r->budget->used -= r->n_blocks * BLOCK;
    free(r);
}
