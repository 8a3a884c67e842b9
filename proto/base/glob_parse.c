#include <errno.h>
#include <string.h>

#include "proto/base/glob_priv.h"

struct parser {
    struct glob *g;
    const char *pattern;
    size_t at;
    size_t text_len;
    const char *ends; /* separator and close of the innermost group; "" outside */
    unsigned depth;
    bool in_none_of;
    struct err *err;
};

static int bad(struct parser *p, const char *what)
{
    return err_set(p->err, 0, EINVAL, "bad pattern: %s at byte %zu", what, p->at + 1);
}

static char peek(const struct parser *p)
{
    return p->pattern[p->at];
}

static bool at_end(const struct parser *p, size_t ahead)
{
    char c = p->pattern[p->at + ahead];

    return c == '\0' || strchr(p->ends, c) != NULL;
}

/* Appends a node to a sequence; *link is where its index belongs and moves on. */
static struct glob_node *add(struct parser *p, enum glob_kind kind, uint16_t **link)
{
    uint16_t index = p->g->n_nodes++;
    struct glob_node *node = &p->g->nodes[index];

    *node = (struct glob_node){.kind = (uint8_t)kind,
                               .at = (uint16_t)p->text_len,
                               .first = GLOB_NO_NODE,
                               .next = GLOB_NO_NODE};
    **link = index;
    *link = &node->next;
    return node;
}

static void keep(struct parser *p, struct glob_node *node)
{
    p->g->text[p->text_len++] = p->pattern[p->at++];
    node->len++;
}

/* Behind '['. Kept as written: escapes are undone while matching, where '-' still tells a range. */
static int parse_class(struct parser *p, struct glob_node *node)
{
    node->negated = peek(p) == '^' || peek(p) == '!';
    p->at += node->negated;
    if (peek(p) == ']')
        return bad(p, "an empty set");
    while (peek(p) != ']') {
        if (peek(p) == '\\')
            keep(p, node);
        if (peek(p) == '\0')
            return bad(p, "'[' without its ']'");
        keep(p, node);
    }
    p->at++;
    return 0;
}

static int parse_sequence(struct parser *p, uint16_t *link, bool segment_start);

/* Behind the opening of a group. Returns 1 when what follows it begins a segment. */
static int parse_branches(struct parser *p, struct glob_node *group, const char *ends,
                          bool segment_start)
{
    const char *outer = p->ends;
    uint16_t *link = &group->first;
    int boundary = 1;

    if (++p->depth > GLOB_DEPTH_MAX)
        return bad(p, "too many levels");
    p->ends = ends;
    do {
        struct glob_node *branch = add(p, GLOB_BRANCH, &link);
        int rc = parse_sequence(p, &branch->first, segment_start);
        if (rc < 0)
            return rc;
        boundary &= rc;
        if (peek(p) == '\0')
            return bad(p, ends[1] == '}' ? "'{' without its '}'" : "'!(' without its ')'");
    } while (p->pattern[p->at++] != ends[1]);
    p->ends = outer;
    p->depth--;
    return boundary;
}

static int parse_none_of(struct parser *p, uint16_t **link, bool segment_start)
{
    if (peek(p) != '(')
        return bad(p, "'!' without '('");
    if (!segment_start)
        return bad(p, "'!(' inside a segment");
    if (p->in_none_of)
        return bad(p, "'!(' inside another one");
    p->at++;
    p->in_none_of = true;
    int rc = parse_branches(p, add(p, GLOB_NONE_OF, link), "|)", true);
    p->in_none_of = false;
    return rc < 0 ? rc : 0;
}

/* Behind '*'. Returns 1 when what follows begins a segment. */
static int parse_star(struct parser *p, uint16_t **link, bool segment_start)
{
    bool doubled = segment_start && peek(p) == '*';

    if (doubled && p->pattern[p->at + 1] == '/') {
        p->at += 2;
        (void)add(p, GLOB_DIRS, link); /* has neither text nor branches */
        return 1;
    }
    if (doubled && at_end(p, 1)) {
        p->at++;
        (void)add(p, GLOB_REST, link); /* likewise */
        return 0;
    }
    while (peek(p) == '*')
        p->at++;
    (void)add(p, GLOB_STAR, link); /* likewise */
    return 0;
}

/* A character that stands for itself; returns 1 behind a '/'. */
static int parse_literal(struct parser *p, uint16_t **link, struct glob_node **last)
{
    static const char below[] = "/**";

    if (strcmp(p->pattern + p->at, below) == 0) {
        p->at += sizeof(below) - 1;
        (void)add(p, GLOB_BELOW, link); /* has neither text nor branches */
        return 0;
    }
    if (peek(p) == '\\')
        p->at++;
    if (peek(p) == '\0')
        return bad(p, "a last '\\'");
    if (*last == NULL)
        *last = add(p, GLOB_LITERAL, link);
    keep(p, *last);
    return p->pattern[p->at - 1] == '/';
}

/* Up to the end of the pattern or of a branch, whose ending character is left. Returns 1 when what follows begins a
 * segment. */
static int parse_sequence(struct parser *p, uint16_t *link, bool segment_start)
{
    struct glob_node *literal = NULL;
    int rc = segment_start;

    while (rc >= 0 && !at_end(p, 0)) {
        bool start = rc == 1;
        char c = peek(p);
        if (strchr("?*[{!", c) == NULL) {
            rc = parse_literal(p, &link, &literal);
            continue;
        }
        literal = NULL;
        p->at++;
        rc = 0;
        if (c == '?')
            (void)add(p, GLOB_ANY, &link); /* has neither text nor branches */
        else if (c == '*')
            rc = parse_star(p, &link, start);
        else if (c == '[')
            rc = parse_class(p, add(p, GLOB_CLASS, &link));
        else if (c == '{')
            rc = parse_branches(p, add(p, GLOB_EITHER, &link), ",}", start);
        else
            rc = parse_none_of(p, &link, start);
    }
    return rc;
}

int glob_parse(struct glob *g, const char *pattern, struct err *err)
{
    struct parser p = {.g = g, .pattern = pattern, .ends = "", .err = err};
    int rc = parse_sequence(&p, &g->first, true);

    return rc < 0 ? rc : 0;
}
