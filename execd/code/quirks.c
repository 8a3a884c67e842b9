#include "execd/code/quirks.h"

#include <ctype.h>
#include <string.h>

#include "proto/base/str.h"

#define NAME_PARTS_MAX 200 /* bytes of an ename taken from text */

static const struct {
    const char *program; /* a whole word in the last path component of an argument */
    unsigned quirks;
    unsigned transports; /* 0 = both */
    char ipc_separator;  /* 0 = '-' */
} rows[] = {
    {"tslab", QUIRK_ERROR_AS_STDERR | QUIRK_ABORT_WINDOW | QUIRK_COMPILES_FIRST, 0, ':'},
    {"tslab-kernel", QUIRK_COMPILES_FIRST, 0, ':'}, /* the launcher of our images */
    {"deno", QUIRK_LATE_RESULT | QUIRK_NOT_INTERRUPTIBLE | QUIRK_SIGINT_KILLS, TRANSPORT_TCP, 0},
    {"jjava", QUIRK_SIGINT_KILLS | QUIRK_RAW_OUTPUT | QUIRK_CLASS_IN_EVALUE | QUIRK_COMPILES_FIRST,
     TRANSPORT_TCP, 0},
    {"ijava", QUIRK_SIGINT_KILLS | QUIRK_COMPILES_FIRST, TRANSPORT_TCP, 0},
    {"IRkernel", QUIRK_RESULT_AS_DISPLAY_DATA | QUIRK_RAW_OUTPUT, 0, 0},
    {"evcxr_jupyter", QUIRK_SIGINT_KILLS, TRANSPORT_TCP, 0},
    {"xpython", QUIRK_SIGINT_KILLS | QUIRK_NOT_INTERRUPTIBLE, 0, 0},
    {"xpython_launcher", QUIRK_SIGINT_KILLS | QUIRK_NOT_INTERRUPTIBLE, 0, 0},
};

/* The names of contracts/kernels.md 2 that ask something of execd. */
static const struct {
    const char *name;
    unsigned bit;
} names[] = {
    {"error-as-stderr", QUIRK_ERROR_AS_STDERR},
    {"abort-window-200ms", QUIRK_ABORT_WINDOW},
    {"result-as-display-data", QUIRK_RESULT_AS_DISPLAY_DATA},
    {"raw-output", QUIRK_RAW_OUTPUT},
    {"await-not-interruptible", QUIRK_NOT_INTERRUPTIBLE},
    {"not-interruptible", QUIRK_NOT_INTERRUPTIBLE},
    {"sigint-kills", QUIRK_SIGINT_KILLS},
    {"class-in-evalue", QUIRK_CLASS_IN_EVALUE},
    {"late-result", QUIRK_LATE_RESULT},
    {"compiles-first", QUIRK_COMPILES_FIRST},
};

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* "/usr/bin/deno" names deno, "IRkernel::main()" IRkernel, "/opt/jjava.jar" jjava; "denotation" nothing. */
static bool names_program(const char *argument, const char *program)
{
    const char *slash = strrchr(argument, '/');
    const char *name = slash ? slash + 1 : argument;
    size_t len = strlen(program);
    return strncasecmp(name, program, len) == 0 && !is_word(name[len]);
}

struct kernel_traits kernel_traits_find(const struct jstrings *argv)
{
    struct kernel_traits traits = {.transports = TRANSPORT_IPC | TRANSPORT_TCP,
                                   .ipc_separator = '-'};
    for (size_t i = 0; i < argv->n; i++) {
        for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
            if (!names_program(argv->items[i], rows[k].program))
                continue;
            traits.quirks |= rows[k].quirks;
            if (rows[k].transports)
                traits.transports = rows[k].transports;
            if (rows[k].ipc_separator)
                traits.ipc_separator = rows[k].ipc_separator;
        }
    }
    return traits;
}

unsigned kernel_quirk_by_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].bit;
    return 0;
}

/* ---- errors -------------------------------------------------------------------------------------- */

static void set_text(json_t *error, const char *key, const char *p, size_t len)
{
    json_t *text = json_stringn(p, len); /* NULL for what is no UTF-8: then the old text stays */
    (void)json_object_set_new(error, key, text);
}

static struct slice get_text(const json_t *error, const char *key)
{
    const json_t *text = json_object_get(error, key);
    return (struct slice){json_string_value(text), json_string_length(text)};
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && isspace((unsigned char)s.ptr[s.len - 1]))
        s.len--;
    while (s.len > 0 && isspace((unsigned char)s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    return s;
}

/* The next line of *rest, without its end. */
static struct slice next_line(struct slice *rest)
{
    const char *end = memchr(rest->ptr, '\n', rest->len);
    struct slice line = {rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len};
    size_t step = line.len + (end != NULL);
    *rest = (struct slice){rest->ptr + step, rest->len - step};
    return line;
}

/* "TypeError: text" or "Uncaught TypeError: text": the length of the name, 0 when the line does not begin so. */
static size_t error_name(struct slice line)
{
    size_t n = 0;
    while (n < line.len && n < NAME_PARTS_MAX &&
           (isalnum((unsigned char)line.ptr[n]) || strchr("_.$", line.ptr[n])))
        n++;
    bool named = n > 0 && n < line.len && line.ptr[n] == ':' &&
                 (n + 1 == line.len || line.ptr[n + 1] == ' ') &&
                 isalpha((unsigned char)line.ptr[0]);
    return named ? n : 0;
}

/* What the kernel printed: its last line that names an error, else its first one (a compiler's finding). */
static void read_error(json_t *error, struct slice said)
{
    struct slice rest = trim(said), text = rest, found = {0};
    json_t *lines = json_array();
    size_t name = 0;
    while (rest.len > 0) {
        struct slice line = next_line(&rest);
        size_t len = error_name(line);
        if (!found.ptr || (len > 0 && name == 0)) {
            found = line;
            name = len;
        }
        (void)json_array_append_new(lines, json_stringn(line.ptr, line.len)); /* or is missing */
    }
    if (text.len == 0) {
        json_decref(lines);
        return;
    }
    if (name > 0)
        set_text(error, "ename", found.ptr, name);
    found = trim((struct slice){found.ptr + name + (name > 0), found.len - name - (name > 0)});
    set_text(error, "evalue", found.ptr, found.len);
    (void)json_object_set_new(error, "traceback", lines); /* without memory it stays empty */
}

/* xeus-python: "<class 'ValueError'>". */
static struct slice inside_class(struct slice name)
{
    static const struct slice before = SLICE_LIT("<class '"), after = SLICE_LIT("'>");
    if (name.len > before.len + after.len && memcmp(name.ptr, before.ptr, before.len) == 0 &&
        memcmp(name.ptr + name.len - after.len, after.ptr, after.len) == 0)
        return (struct slice){name.ptr + before.len, name.len - before.len - after.len};
    return name;
}

/* JJava: "java.lang.IllegalStateException, text". Length of the class's name, 0 when there is none. */
static size_t class_name(struct slice value)
{
    size_t n = 0, dots = 0;
    while (n < value.len && (isalnum((unsigned char)value.ptr[n]) || strchr("_.$", value.ptr[n])))
        dots += value.ptr[n++] == '.';
    return dots > 0 && (n == value.len || value.ptr[n] == ',') ? n : 0;
}

void kernel_quirks_mend_error(unsigned quirks, json_t *error, struct slice said)
{
    bool silent = get_text(error, "evalue").len == 0 &&
                  json_array_size(json_object_get(error, "traceback")) == 0;
    if (silent && (quirks & QUIRK_ERROR_AS_STDERR))
        read_error(error, said);
    struct slice name = inside_class(trim(get_text(error, "ename")));
    struct slice value = trim(get_text(error, "evalue"));
    size_t len = quirks & QUIRK_CLASS_IN_EVALUE ? class_name(value) : 0;
    if (len > 0) {
        name = (struct slice){value.ptr, len};
        value = trim((struct slice){value.ptr + len, value.len - len});
        if (value.len > 0)
            value = trim((struct slice){value.ptr + 1, value.len - 1}); /* the comma */
    }
    if (name.len == 0) /* bash_kernel: evalue is the exit status */
        name = SLICE_LIT("ExitStatus");
    /* ename may point into evalue, never the other way round; each new string is made before its old one goes. */
    set_text(error, "ename", name.ptr, name.len);
    set_text(error, "evalue", value.ptr, value.len);
}
