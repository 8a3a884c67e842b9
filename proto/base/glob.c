#include "proto/base/glob.h"

#include <errno.h>
#include <string.h>

#include "proto/base/glob_priv.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

/* A set of positions in the text: bit p is set when the pattern so far can match the first p bytes. */
#define SET_WORDS (GLOB_TEXT_MAX / 64 + 1)
struct set {
    uint64_t words[SET_WORDS];
};

struct walk {
    const struct glob *g;
    const char *text;
    size_t end;     /* the text ends here; inside a negation: the segment */
    size_t n_words; /* of each set that are in use */
};

#define NO_POSITION SIZE_MAX

static void set_add(struct set *s, size_t p)
{
    s->words[p / 64] |= UINT64_C(1) << (p % 64);
}

static void set_remove(struct set *s, size_t p)
{
    s->words[p / 64] &= ~(UINT64_C(1) << (p % 64));
}

static bool set_has(const struct set *s, size_t p)
{
    return (s->words[p / 64] >> (p % 64) & 1) != 0;
}

static void set_clear(const struct walk *w, struct set *s)
{
    memset(s->words, 0, w->n_words * sizeof(s->words[0]));
}

static void set_copy(const struct walk *w, struct set *to, const struct set *from)
{
    memcpy(to->words, from->words, w->n_words * sizeof(to->words[0]));
}

static void set_unite(const struct walk *w, struct set *to, const struct set *from)
{
    for (size_t i = 0; i < w->n_words; i++)
        to->words[i] |= from->words[i];
}

static size_t set_lowest(const struct walk *w, const struct set *s)
{
    for (size_t i = 0; i < w->n_words; i++) {
        if (s->words[i] != 0)
            return i * 64 + (size_t)__builtin_ctzll(s->words[i]);
    }
    return NO_POSITION;
}

/* The highest position below `limit`. */
static size_t set_below(const struct set *s, size_t limit)
{
    size_t i = limit / 64;
    uint64_t word = s->words[i] & ((UINT64_C(1) << (limit % 64)) - 1);

    while (word == 0 && i > 0)
        word = s->words[--i];
    return word == 0 ? NO_POSITION : i * 64 + 63 - (size_t)__builtin_clzll(word);
}

size_t glob_rune(const char *p, size_t n, uint32_t *ret_rune)
{
    static const unsigned char lead[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    int len = utf8_sequence(p, n);

    if (len <= 0) {
        *ret_rune = 0x110000 + (unsigned char)p[0];
        return 1;
    }
    uint32_t rune = (unsigned char)p[0] & lead[len];
    for (int i = 1; i < len; i++)
        rune = rune << 6 | ((unsigned char)p[i] & 0x3f);
    *ret_rune = rune;
    return (size_t)len;
}

static size_t class_rune(const char *p, size_t n, uint32_t *ret_rune)
{
    size_t escape = p[0] == '\\' && n > 1;

    return escape + glob_rune(p + escape, n - escape, ret_rune);
}

static bool class_has(const char *p, size_t n, uint32_t rune)
{
    uint32_t low, high;

    for (size_t i = 0; i < n;) {
        i += class_rune(p + i, n - i, &low);
        high = low;
        if (i + 1 < n && p[i] == '-') {
            i++;
            i += class_rune(p + i, n - i, &high);
        }
        if (low <= rune && rune <= high)
            return true;
    }
    return false;
}

/* How many bytes a node of fixed width takes at p; 0: it does not match there. */
static size_t width_at(const struct walk *w, const struct glob_node *node, size_t p)
{
    const char *own = w->g->text + node->at;
    uint32_t rune;

    if (node->kind == GLOB_LITERAL)
        return w->end - p >= node->len && memcmp(w->text + p, own, node->len) == 0 ? node->len : 0;
    if (p == w->end || w->text[p] == '/')
        return 0;
    size_t n = glob_rune(w->text + p, w->end - p, &rune);
    if (node->kind == GLOB_CLASS && class_has(own, node->len, rune) == node->negated)
        return 0;
    return n;
}

/* From the highest position down: each one moves forward to where all have been looked at. */
static void step_fixed(const struct walk *w, const struct glob_node *node, struct set *s)
{
    for (size_t p = w->end + 1; (p = set_below(s, p)) != NO_POSITION;) {
        size_t n = width_at(w, node, p);
        set_remove(s, p);
        if (n > 0)
            set_add(s, p + n);
    }
}

static void step_star(const struct walk *w, struct set *s)
{
    uint32_t rune;

    for (size_t p = set_lowest(w, s); p < w->end; p++) {
        if (set_has(s, p) && w->text[p] != '/')
            set_add(s, p + glob_rune(w->text + p, w->end - p, &rune));
    }
}

static void step_dirs(const struct walk *w, struct set *s)
{
    for (size_t p = set_lowest(w, s); p < w->end; p++) {
        if (w->text[p] == '/')
            set_add(s, p + 1);
    }
}

static void step_rest(const struct walk *w, struct set *s)
{
    for (size_t p = set_lowest(w, s); p <= w->end; p++)
        set_add(s, p);
}

/* Always the last node: only the end of the text counts behind it. */
static void step_below(const struct walk *w, struct set *s)
{
    bool below = set_has(s, w->end);

    for (size_t p = w->end; !below && (p = set_below(s, p)) != NO_POSITION;)
        below = w->text[p] == '/';
    set_clear(w, s);
    if (below)
        set_add(s, w->end);
}

static void walk_sequence(const struct walk *w, uint16_t first, struct set *s);

/* The positions behind any of the branches. The depth of this recursion is bounded by the parser. */
static void walk_branches(const struct walk *w, uint16_t first, const struct set *from,
                          struct set *ret_union)
{
    struct set one;

    set_clear(w, ret_union);
    for (uint16_t i = first; i != GLOB_NO_NODE; i = w->g->nodes[i].next) {
        set_copy(w, &one, from);
        walk_sequence(w, w->g->nodes[i].first, &one);
        set_unite(w, ret_union, &one);
    }
}

/* The parser lets it begin at segments only, so that the segments walked do not overlap. */
static void step_none_of(const struct walk *w, const struct glob_node *node, struct set *s)
{
    struct set from, matched, out;
    size_t p = w->end + 1;

    set_clear(w, &out);
    while ((p = set_below(s, p)) != NO_POSITION) {
        const char *slash = memchr(w->text + p, '/', w->end - p);
        struct walk segment = *w;
        segment.end = slash != NULL ? (size_t)(slash - w->text) : w->end;
        segment.n_words = segment.end / 64 + 1;
        set_clear(&segment, &from);
        set_add(&from, p);
        walk_branches(&segment, node->first, &from, &matched);
        for (size_t q = p; q <= segment.end; q++) {
            if (!set_has(&matched, q))
                set_add(&out, q);
        }
    }
    set_copy(w, s, &out);
}

static void walk_sequence(const struct walk *w, uint16_t first, struct set *s)
{
    struct set out;

    for (uint16_t i = first; i != GLOB_NO_NODE && set_lowest(w, s) != NO_POSITION;
         i = w->g->nodes[i].next) {
        const struct glob_node *node = &w->g->nodes[i];
        switch ((enum glob_kind)node->kind) {
        case GLOB_LITERAL:
        case GLOB_ANY:
        case GLOB_CLASS:
            step_fixed(w, node, s);
            break;
        case GLOB_STAR:
            step_star(w, s);
            break;
        case GLOB_DIRS:
            step_dirs(w, s);
            break;
        case GLOB_REST:
            step_rest(w, s);
            break;
        case GLOB_BELOW:
            step_below(w, s);
            break;
        case GLOB_EITHER:
            walk_branches(w, node->first, s, &out);
            set_copy(w, s, &out);
            break;
        case GLOB_NONE_OF:
            step_none_of(w, node, s);
            break;
        case GLOB_BRANCH: /* hangs on a group, never in a sequence */
            break;
        }
    }
}

int glob_new(const char *pattern, struct glob **ret_glob, struct err *err)
{
    size_t len = strnlen(pattern, GLOB_PATTERN_MAX + 1);

    if (len > GLOB_PATTERN_MAX)
        return err_set(err, 0, E2BIG, "bad pattern: longer than %d bytes", GLOB_PATTERN_MAX);
    struct glob *g = xnew(struct glob);
    *g = (struct glob){.first = GLOB_NO_NODE, .has_slash = strchr(pattern, '/') != NULL};
    g->nodes = malloc((2 * len + 1) * sizeof(*g->nodes));
    g->text = malloc(len + 1);
    int rc = g->nodes == NULL || g->text == NULL
                 ? err_set(err, 0, ENOMEM, "no memory for the pattern")
                 : glob_parse(g, pattern, err);
    if (rc < 0) {
        glob_free(g);
        return rc;
    }
    *ret_glob = g;
    return 0;
}

void glob_free(struct glob *g)
{
    if (g == NULL)
        return;
    free(g->nodes);
    free(g->text);
    free(g);
}

bool glob_match(const struct glob *g, const char *text)
{
    struct walk w = {.g = g, .text = text, .end = strlen(text)};
    struct set s;

    if (w.end > GLOB_TEXT_MAX)
        return false;
    w.n_words = w.end / 64 + 1;
    set_clear(&w, &s);
    set_add(&s, 0);
    walk_sequence(&w, g->first, &s);
    return set_has(&s, w.end);
}

bool glob_has_slash(const struct glob *g)
{
    return g->has_slash;
}
