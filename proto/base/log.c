#include "proto/base/log.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/str.h"

#define LINE_MAX_BYTES 4096
#define LOST_ROOM 32              /* ,"lost_lines":4294967295 */
#define TAIL_ROOM (LOST_ROOM + 8) /* and closing quote, brace, newline always fit */
#define PAIR_ROOM 16              /* ,"":null and the first character of a value */

static int log_fd = STDERR_FILENO;
static _Atomic enum log_level log_threshold = LOG_LEVEL_INFO;
static atomic_uint lines_lost;

static const char *const level_names[LOG_LEVEL_MAX] = {"debug", "info", "warn", "error"};

void log_init(int fd, enum log_level level)
{
    log_fd = fd;
    log_threshold = level;
}

void log_set_level(enum log_level level)
{
    log_threshold = level;
}

enum log_level log_get_level(void)
{
    return log_threshold;
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
    for (unsigned i = 0; i < LOG_LEVEL_MAX; i++) {
        if (strcasecmp(text, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    if (strcasecmp(text, "warning") == 0) {
        *ret_level = LOG_LEVEL_WARN;
        return 0;
    }
    return -EINVAL;
}

/* A line under construction on the stack. What does not fit is left out whole: a line is JSON at any length. */
struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
    bool cut; /* full: nothing more is added but the end */
};

/* A string's closing quote may already stand in the tail's room. */
static size_t room(const struct line *l)
{
    return l->cut || l->len > LINE_MAX_BYTES - TAIL_ROOM ? 0 : LINE_MAX_BYTES - TAIL_ROOM - l->len;
}

/* All of p or none of it. */
static bool add_raw(struct line *l, const char *p, size_t n)
{
    if (n > room(l)) {
        l->cut = true;
        return false;
    }
    /* cppcheck-suppress uninitvar ; it takes a compound literal for one that nobody filled */
    memcpy(l->text + l->len, p, n);
    l->len += n;
    return true;
}

/* U+0085, U+2028 and U+2029 are valid JSON as they are, but readers that split lines at them would be deceived. */
static bool splits_lines(const char *s, int n)
{
    return (n == 2 && memcmp(s, "\xc2\x85", 2) == 0) ||
           (n == 3 && (memcmp(s, "\xe2\x80\xa8", 3) == 0 || memcmp(s, "\xe2\x80\xa9", 3) == 0));
}

/* One character of a string; returns the bytes it took. */
static size_t add_char(struct line *l, const char *s)
{
    int n = utf8_sequence(s, strnlen(s, 4));
    unsigned char c = (unsigned char)*s;
    char escape[8];

    if (n <= 0 || splits_lines(s, n))
        add_raw(l, "\\ufffd", 6);
    else if (c == '"' || c == '\\')
        add_raw(l, (char[]){'\\', *s}, 2);
    else if (c < 0x20 || c == 0x7f)
        add_raw(l, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", c));
    else
        add_raw(l, s, (size_t)n);
    return n > 0 ? (size_t)n : 1;
}

static void add_string(struct line *l, const char *s)
{
    if (!add_raw(l, "\"", 1))
        return;
    while (*s != '\0' && !l->cut)
        s += add_char(l, s);
    l->text[l->len++] = '"'; /* TAIL_ROOM keeps place for it */
}

/* Keys are names in our code. The room is asked for first, so that no key stands without its value's start. */
static void add_pair(struct line *l, const char *key, const char *value)
{
    size_t key_len = strlen(key);

    if (key_len + PAIR_ROOM > room(l)) {
        l->cut = true;
        return;
    }
    add_raw(l, ",\"", 2);
    add_raw(l, key, key_len);
    add_raw(l, "\":", 2);
    if (value != NULL)
        add_string(l, value);
    else
        add_raw(l, "null", 4);
}

static void begin(struct line *l, enum log_level level, const char *module, const char *msg)
{
    char ts[CLOCK_RFC3339_MAX];

    l->len = 0;
    l->cut = false;
    clock_format_us(clock_wall_us(), ts);
    add_raw(l, "{\"ts\":", 6);
    add_string(l, ts);
    add_pair(l, "level", level_names[level]);
    add_pair(l, "module", module);
    add_pair(l, "msg", msg);
}

/* Lines that the log's reader was too slow for are counted, and the count stands in the next line that gets through. */
static void add_lost(struct line *l, unsigned lost)
{
    char text[48];

    if (lost == 0)
        return;
    int n = snprintf(text, sizeof(text), ",\"lost_lines\":%u", lost);
    if (n > 0 && (size_t)n < LOST_ROOM) {
        memcpy(l->text + l->len, text, (size_t)n);
        l->len += (size_t)n;
    }
}

static void finish(struct line *l)
{
    unsigned lost = atomic_exchange(&lines_lost, 0);
    ssize_t n;

    add_lost(l, lost);
    l->text[l->len++] = '}';
    l->text[l->len++] = '\n';
    do
        n = write(log_fd, l->text, l->len);
    while (n < 0 && errno == EINTR);
    if (n < 0 || (size_t)n != l->len)
        atomic_fetch_add(&lines_lost, lost + 1);
}

unsigned log_lost_lines(void)
{
    return atomic_load(&lines_lost);
}

void log_event(enum log_level level, const char *module, const char *msg, ...)
{
    struct line l;
    const char *key;
    va_list pairs;

    if (level < log_threshold)
        return;
    begin(&l, level, module, msg);
    va_start(pairs, msg);
    while ((key = va_arg(pairs, const char *)) != NULL)
        add_pair(&l, key, va_arg(pairs, const char *));
    va_end(pairs);
    finish(&l);
}

void log_printf(enum log_level level, const char *module, const char *fmt, ...)
{
    struct line l;
    char msg[LINE_MAX_BYTES];
    va_list args;

    if (level < log_threshold)
        return;
    va_start(args, fmt);
    vsnprintf(msg, sizeof(msg), fmt, args);
    va_end(args);
    begin(&l, level, module, msg);
    finish(&l);
}

static void on_libevent_message(int severity, const char *msg)
{
    static const enum log_level levels[] = {
        [EVENT_LOG_DEBUG] = LOG_LEVEL_DEBUG,
        [EVENT_LOG_MSG] = LOG_LEVEL_DEBUG,
        [EVENT_LOG_WARN] = LOG_LEVEL_WARN,
        [EVENT_LOG_ERR] = LOG_LEVEL_ERROR,
    };

    if (severity >= 0 && severity < (int)ARRAY_LEN(levels))
        log_event(levels[severity], "libevent", msg, NULL);
}

/* libevent calls this where it would exit(1) silently: die loudly instead. */
static void on_libevent_fatal(int errnum)
{
    log_printf(LOG_LEVEL_ERROR, "libevent", "fatal error %d: aborting", errnum);
    abort();
}

void log_capture_libevent(void)
{
    event_set_log_callback(on_libevent_message);
    event_set_fatal_callback(on_libevent_fatal);
}
