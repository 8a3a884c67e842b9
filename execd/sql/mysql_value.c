#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/sql/mysql_packet.h"
#include "proto/json/jfield.h"

#define CHARSET_BINARY 63
#define NUMBER_MAX 40 /* digits and all */

/* Types of columns, as numbered by the protocol. */
enum {
    TYPE_TINY = 1,
    TYPE_SHORT = 2,
    TYPE_LONG = 3,
    TYPE_FLOAT = 4,
    TYPE_DOUBLE = 5,
    TYPE_LONGLONG = 8,
    TYPE_INT24 = 9,
    TYPE_YEAR = 13,
    TYPE_BIT = 16,
    TYPE_TINY_BLOB = 249,
    TYPE_GEOMETRY = 255,
};

static bool is_integer(unsigned type)
{
    return type == TYPE_TINY || type == TYPE_SHORT || type == TYPE_LONG || type == TYPE_LONGLONG ||
           type == TYPE_INT24 || type == TYPE_YEAR;
}

static const char *skip_digits(const char *p)
{
    return p + strspn(p, "0123456789");
}

/* As JSON writes a number: -0.5e+10, never 05, .5 or 5. */
static bool is_json_number(const char *p)
{
    const char *whole = p + (*p == '-');
    p = skip_digits(whole);
    if (p == whole || (whole[0] == '0' && p - whole > 1))
        return false;
    if (*p == '.') {
        const char *part = p + 1;
        p = skip_digits(part);
        if (p == part)
            return false;
    }
    if (*p == 'e' || *p == 'E') {
        const char *power = p + 1 + (p[1] == '-' || p[1] == '+');
        p = skip_digits(power);
        if (p == power)
            return false;
    }
    return *p == '\0';
}

/* Numbers that JSON and 64 bits can hold; decimals stay text, exact as they are. */
static bool fits_number(unsigned type, struct slice value)
{
    char text[NUMBER_MAX + 1];
    int64_t whole;

    if (value.len == 0 || value.len > NUMBER_MAX)
        return false;
    memcpy(text, value.ptr, value.len);
    text[value.len] = '\0';
    if (strlen(text) != value.len || !is_json_number(text))
        return false;
    if (type != TYPE_FLOAT && type != TYPE_DOUBLE && !is_integer(type))
        return false;
    if (strpbrk(text, ".eE") == NULL) /* a whole one, whatever the column's type */
        return str_to_i64(text, &whole) == 0;
    return isfinite(strtod(text, NULL));
}

static bool is_bytes(const struct mysql_column *column)
{
    if (column->type == TYPE_BIT)
        return true;
    return column->charset == CHARSET_BINARY && column->type >= TYPE_TINY_BLOB &&
           column->type <= TYPE_GEOMETRY;
}

static void add_hex(struct strbuf *out, struct slice bytes)
{
    static const char digits[] = "0123456789ABCDEF";

    strbuf_adds(out, "\"0x");
    for (size_t i = 0; i < bytes.len; i++) {
        strbuf_addc(out, digits[(uint8_t)bytes.ptr[i] >> 4]);
        strbuf_addc(out, digits[bytes.ptr[i] & 15]);
    }
    strbuf_addc(out, '"');
}

void mysql_text_json(struct strbuf *out, struct slice text)
{
    struct strbuf whole;

    if (text.len == 0 || memchr(text.ptr, '\0', text.len) == NULL) {
        json_escape(out, text.ptr, text.len);
        return;
    }
    strbuf_init(&whole, 3 * text.len + 1);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\0')
            strbuf_adds(&whole, "\xef\xbf\xbd"); /* parsers take no NUL, however it is written */
        else
            strbuf_addc(&whole, text.ptr[i]);
    }
    if (strbuf_check(&whole) < 0)
        out->failed = true;
    else
        json_escape(out, whole.data, whole.len);
    strbuf_done(&whole);
}

void mysql_value_json(struct strbuf *out, const struct mysql_column *column, struct slice value)
{
    if (value.ptr == NULL)
        strbuf_adds(out, "null");
    else if (fits_number(column->type, value))
        strbuf_add(out, value.ptr, value.len);
    else if (is_bytes(column))
        add_hex(out, value);
    else
        mysql_text_json(out, value);
}
