#include "proto/http/uri.h"

#include <errno.h>
#include <string.h>

#include "proto/base/str.h"

ssize_t uri_decode(const char *p, size_t n, bool plus, char *out)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        char c = p[i];

        if (c == '%') {
            int high = i + 2 < n ? str_hex_digit(p[i + 1]) : -1;
            int low = high >= 0 ? str_hex_digit(p[i + 2]) : -1;

            if (low < 0 || (high | low) == 0)
                return -EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        out[len++] = c;
    }
    return (ssize_t)len;
}

static int decode_copy(struct arena *arena, const char *p, size_t len, bool plus, const char **ret)
{
    char *copy = arena_strndup(arena, p, len);
    ssize_t n;

    if (!copy)
        return -ENOMEM;
    n = uri_decode(copy, len, plus, copy);
    if (n < 0 || !utf8_is_valid(copy, (size_t)n))
        return -EINVAL;
    copy[n] = '\0';
    *ret = copy;
    return 0;
}

int uri_decode_query(struct arena *arena, const char *p, size_t len, const char **ret)
{
    return decode_copy(arena, p, len, true, ret);
}

int uri_decode_path(struct arena *arena, const char *p, size_t len, const char **ret)
{
    return decode_copy(arena, p, len, false, ret);
}

static bool is_unreserved(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("-._~", c) != NULL);
}

char *uri_encode(struct arena *arena, const char *text, const char *keep)
{
    static const char hex[] = "0123456789ABCDEF";
    char *copy = arena_alloc(arena, 3 * strlen(text) + 1), *p = copy;

    for (; copy != NULL && *text != '\0'; text++) {
        if (is_unreserved(*text) || strchr(keep, *text) != NULL) {
            *p++ = *text;
            continue;
        }
        *p++ = '%';
        *p++ = hex[(unsigned char)*text >> 4];
        *p++ = hex[(unsigned char)*text & 15];
    }
    return copy;
}

bool uri_text_is_clean(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
            return false;
    }
    return utf8_is_valid(p, n);
}

static bool port_is_valid(const char *p, size_t n)
{
    unsigned port = 0;

    if (n > 5)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        port = port * 10 + (unsigned)(p[i] - '0');
    }
    return port <= 65535; /* "host:" with an empty port is in the grammar */
}

static bool is_reg_name(char c)
{
    return is_unreserved(c) || (c != '\0' && strchr("!$&'()*+,;=%", c) != NULL);
}

/* Only the alphabet: whether the literal is a real address is nobody's business here. */
static bool is_ip_literal(char c)
{
    return str_hex_digit(c) >= 0 || c == ':' || c == '.' || c == '%' || is_reg_name(c);
}

bool uri_host_is_valid(const char *p, size_t n)
{
    size_t i = 0;

    if (n > 0 && p[0] == '[') {
        for (i = 1; i < n && p[i] != ']'; i++) {
            if (!is_ip_literal(p[i]))
                return false;
        }
        if (i == n || i < 3)
            return false;
        i++;
    } else {
        while (i < n && p[i] != ':') {
            if (!is_reg_name(p[i++]))
                return false;
        }
    }
    if (i == n)
        return true;
    return p[i] == ':' && i > 0 && port_is_valid(p + i + 1, n - i - 1);
}

bool uri_parse_port(const char *text, uint16_t *ret_port)
{
    uint64_t port;

    if (text[0] == '0' || str_to_u64(text, &port) < 0 || port < 1 || port > 65535)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}
