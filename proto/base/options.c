#include "proto/base/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/fd.h"
#include "proto/base/str.h"

#define NEAR_DISTANCE 3
#define NEAR_WORD_MAX 63
#define HELP_WIDTH 80
#define HELP_INDENT 26

static int store_value(const struct option_row *row, void *target, const char *value,
                       struct err *err)
{
    char *slot = (char *)target + row->offset;

    if (row->kind == OPTION_CALL)
        return row->call(target, value, err);
    if (row->kind == OPTION_STRING) {
        *(const char **)slot = value;
        return 0;
    }
    if (value == NULL || str_to_bool(value, (bool *)slot) == 0) {
        if (value == NULL)
            *(bool *)slot = true;
        return 0;
    }
    return err_set(err, 0, EINVAL, "--%s: '%.40s' is neither true nor false", row->name, value);
}

static const struct option_row *find_long(const struct option_row *rows, size_t n, const char *name,
                                          size_t len)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    }
    return NULL;
}

static const struct option_row *find_letter(const struct option_row *rows, size_t n, char letter)
{
    for (size_t i = 0; i < n; i++) {
        if (rows[i].letter != 0 && rows[i].letter == letter)
            return &rows[i];
    }
    return NULL;
}

static unsigned distance(const char *a, const char *b)
{
    unsigned row[NEAR_WORD_MAX + 1];
    size_t n = strlen(a), m = strlen(b);

    if (n > NEAR_WORD_MAX || m > NEAR_WORD_MAX)
        return UINT32_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned above = row[j];
            unsigned change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = MIN(change, MIN(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[m];
}

const char *options_nearest(const char *word, const char *const *names, size_t n_names)
{
    const char *best = NULL;
    unsigned best_distance = NEAR_DISTANCE + 1;

    for (size_t i = 0; i < n_names; i++) {
        unsigned d = distance(word, names[i]);
        if (d < best_distance) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}

static int unknown(const struct option_row *rows, size_t n, const char *arg, struct err *err)
{
    const char *names[128];
    char word[NEAR_WORD_MAX + 1];
    size_t count = MIN(n, ARRAY_LEN(names));

    for (size_t i = 0; i < count; i++)
        names[i] = rows[i].name;
    const char *name = arg + strspn(arg, "-");
    snprintf(word, sizeof(word), "%.*s", (int)strcspn(name, "="), name);
    const char *near = options_nearest(word, names, count);
    if (near != NULL)
        return err_set(err, 0, EINVAL, "unknown option '%.60s' (did you mean --%s?)", arg, near);
    return err_set(err, 0, EINVAL, "unknown option '%.60s' (see --help)", arg);
}

/* The length of "--name: " at the beginning of a text; 0 where it is something else. */
static size_t own_prefix(const struct option_row *row, const char *text)
{
    size_t n = strlen(row->name);
    bool is_own = strncmp(text, "--", 2) == 0 && strncmp(text + 2, row->name, n) == 0 &&
                  strncmp(text + 2 + n, ": ", 2) == 0;
    return is_own ? n + 4 : 0;
}

static void blame_variable(const struct option_row *row, size_t prefix, struct err *err)
{
    memmove(err->text, err->text + prefix, strlen(err->text + prefix) + 1);
    (void)err_wrap(err, "environment variable %s", row->env); /* it only returns the error */
}

static int apply_environment(const struct option_row *rows, size_t n, void *target, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        const char *value = rows[i].env != NULL ? getenv(rows[i].env) : NULL;
        if (value == NULL || value[0] == '\0')
            continue;
        int rc = store_value(&rows[i], target, value, err);
        if (rc < 0 && err != NULL)
            blame_variable(&rows[i], own_prefix(&rows[i], err->text), err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* A value is borrowed where it stands, so its address tells where it came from. */
static bool is_of_variable(const struct option_row *row, size_t slot, const void *target)
{
    if (row->kind != OPTION_STRING || row->env == NULL || row->offset != slot)
        return false;
    const char *value = getenv(row->env);
    return value != NULL && value == *(const char *const *)((const char *)target + slot);
}

void options_name_source(const struct option_row *rows, size_t n_rows, const void *target,
                         struct err *err)
{
    size_t prefix = 0, named = 0;

    if (err == NULL)
        return;
    while (named < n_rows && (prefix = own_prefix(&rows[named], err->text)) == 0)
        named++;
    if (named == n_rows || rows[named].kind != OPTION_STRING)
        return;
    /* Several options may be names of one value. */
    for (size_t i = 0; i < n_rows; i++) {
        if (is_of_variable(&rows[i], rows[named].offset, target)) {
            blame_variable(&rows[i], prefix, err);
            return;
        }
    }
}

int options_parse(const struct option_row *rows, size_t n_rows, int argc, char *const *argv,
                  void *target, int *ret_next, struct err *err)
{
    int rc = apply_environment(rows, n_rows, target, err);
    int i = 1;

    for (; rc == 0 && i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
        const char *arg = argv[i], *name = arg + strspn(arg, "-");
        if (strcmp(arg, "--") == 0) {
            i++;
            break;
        }
        size_t len = strcspn(name, "=");
        const char *value = name[len] == '=' ? name + len + 1 : NULL;
        const struct option_row *row = find_long(rows, n_rows, name, len);
        if (row == NULL && len == 1 && arg[1] != '-')
            row = find_letter(rows, n_rows, name[0]);
        if (row == NULL)
            return unknown(rows, n_rows, arg, err);
        if (value == NULL && row->arg != NULL) {
            if (i + 1 >= argc)
                return err_set(err, 0, EINVAL, "--%s needs a value: %s", row->name, row->arg);
            value = argv[++i];
        }
        rc = store_value(row, target, value, err);
    }
    if (rc == 0)
        *ret_next = i;
    return rc;
}

/* Words of text from column on, wrapped at HELP_WIDTH and indented to HELP_INDENT. */
static void wrap(struct strbuf *out, const char *text, size_t column)
{
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column + word + 1 > HELP_WIDTH || column < HELP_INDENT) {
            if (column > HELP_INDENT)
                strbuf_addc(out, '\n');
            strbuf_addf(out, "%*s",
                        (int)(column > HELP_INDENT ? HELP_INDENT : HELP_INDENT - column), "");
            column = HELP_INDENT;
        } else if (column > HELP_INDENT) {
            strbuf_addc(out, ' ');
            column++;
        }
        strbuf_add(out, text, word);
        column += word;
        text += word;
        text += strspn(text, " ");
    }
    strbuf_addc(out, '\n');
}

static void print_row(struct strbuf *out, const struct option_row *row)
{
    size_t start = out->len;
    struct strbuf text;

    if (row->letter != 0)
        strbuf_addf(out, "  -%c, --%s", row->letter, row->name);
    else
        strbuf_addf(out, "      --%s", row->name);
    if (row->arg != NULL)
        strbuf_addf(out, " %s", row->arg);
    size_t column = out->len - start;
    if (column + 2 > HELP_INDENT) {
        strbuf_addc(out, '\n');
        column = 0;
    }
    strbuf_init(&text, 0);
    strbuf_adds(&text, row->help);
    if (row->env != NULL)
        strbuf_addf(&text, " [$%s]", row->env);
    wrap(out, text.data != NULL ? text.data : "", column);
    strbuf_done(&text);
}

void options_print_help(const struct option_row *rows, size_t n_rows, int out_fd)
{
    struct strbuf out;

    strbuf_init(&out, 0);
    for (size_t i = 0; i < n_rows; i++) {
        if (rows[i].group != NULL)
            strbuf_addf(&out, "%s%s:\n", i > 0 ? "\n" : "", rows[i].group);
        print_row(&out, &rows[i]);
    }
    if (strbuf_check(&out) == 0 && fd_write_all(out_fd, out.data, out.len) < 0)
        exit(EXIT_FAILURE); /* the terminal is gone */
    strbuf_done(&out);
}
