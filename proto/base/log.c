#include "proto/base/log.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/str.h"

#define LINE_MAX_BYTES 4096
#define TAIL_ROOM 8 /* closing quote, brace, newline always fit */

static int log_fd = STDERR_FILENO;
static enum log_level log_threshold = LOG_LEVEL_INFO;

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

/* A line under construction on the stack; what does not fit is left out, never the closing part. */
struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static void add_raw(struct line *l, const char *p, size_t n)
{
    size_t room = LINE_MAX_BYTES - TAIL_ROOM - l->len;

    n = MIN(n, room);
    memcpy(l->text + l->len, p, n);
    l->len += n;
}

static void add_char(struct line *l, unsigned char c)
{
    char escape[8];

    if (l->len > LINE_MAX_BYTES - TAIL_ROOM - 8)
        return; /* an escape is never cut in two */
    if (c == '"' || c == '\\')
        add_raw(l, (char[]){'\\', (char)c}, 2);
    else if (c < 0x20 || c == 0x7f)
        add_raw(l, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", c));
    else
        add_raw(l, (char *)&c, 1);
}

static void add_string(struct line *l, const char *s)
{
    add_raw(l, "\"", 1);
    while (*s != '\0') {
        int n = utf8_sequence(s, strnlen(s, 4));
        if (n <= 0) {
            add_char(l, '?');
            s++;
        } else if (n == 1) {
            add_char(l, (unsigned char)*s++);
        } else {
            if (l->len < LINE_MAX_BYTES - TAIL_ROOM - 8)
                add_raw(l, s, (size_t)n);
            s += n;
        }
    }
    l->text[l->len++] = '"'; /* TAIL_ROOM keeps place for it */
}

static void add_pair(struct line *l, const char *key, const char *value)
{
    if (l->len > LINE_MAX_BYTES - 64)
        return;
    add_raw(l, ",", 1);
    add_string(l, key);
    add_raw(l, ":", 1);
    if (value != NULL)
        add_string(l, value);
    else
        add_raw(l, "null", 4);
}

static void begin(struct line *l, enum log_level level, const char *module, const char *msg)
{
    char ts[CLOCK_RFC3339_MAX];

    l->len = 0;
    clock_format_us(clock_wall_us(), ts);
    add_raw(l, "{\"ts\":", 6);
    add_string(l, ts);
    add_pair(l, "level", level_names[level]);
    add_pair(l, "module", module);
    add_pair(l, "msg", msg);
}

static void finish(struct line *l)
{
    l->text[l->len++] = '}';
    l->text[l->len++] = '\n';
    ssize_t n;
    do {
        n = write(log_fd, l->text, l->len);
    } while (n < 0 && errno == EINTR); /* EAGAIN: the reader of the log is too slow, the line is lost */
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
    char msg[1024];
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
