#include "proto/http/ws_frame.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"

#define FIN 0x80
#define RESERVED 0x70
#define MASKED 0x80
#define KEPT_MAX 4096 /* a message buffer larger than this is not kept between messages */

void ws_parser_init(struct ws_parser *p, size_t message_max)
{
    *p = (struct ws_parser){.message_max = message_max};
}

void ws_parser_done(struct ws_parser *p)
{
    free(p->data);
    p->data = NULL;
    p->cap = p->len = 0;
}

static enum ws_result bad(struct ws_parser *p, uint16_t code, const char *text)
{
    p->fault = (struct ws_fault){code, text};
    return WS_BAD;
}

static bool is_control(uint8_t opcode)
{
    return (opcode & 0x8) != 0;
}

bool ws_close_code_is_valid(uint16_t code)
{
    if (code >= 3000 && code <= 4999)
        return true;
    return code >= 1000 && code <= 1014 && code != 1004 && code != WS_CLOSE_NO_STATUS &&
           code != WS_CLOSE_ABNORMAL;
}

/* ---- the head ---------------------------------------------------------------------------------- */

static size_t length_bytes(uint8_t second)
{
    uint8_t len7 = second & 0x7f;

    return len7 == 126 ? 2 : len7 == 127 ? 8 : 0;
}

/* Refused as soon as the first two bytes are there: what follows them would be read on a false assumption. */
static enum ws_result check_first_two(struct ws_parser *p)
{
    uint8_t opcode = p->head[0] & 0xf;
    bool fin = p->head[0] & FIN;

    if (p->head[0] & RESERVED)
        return bad(p, WS_CLOSE_PROTOCOL, "reserved bits are set");
    if ((opcode > WS_BINARY && opcode < WS_CLOSE) || opcode > WS_PONG)
        return bad(p, WS_CLOSE_PROTOCOL, "reserved opcode");
    if (!(p->head[1] & MASKED))
        return bad(p, WS_CLOSE_PROTOCOL, "client frames must be masked");
    if (is_control(opcode) && (!fin || (p->head[1] & 0x7f) > WS_CONTROL_MAX))
        return bad(p, WS_CLOSE_PROTOCOL, "control frames are whole and at most 125 bytes");
    if (opcode == WS_CONTINUATION && !p->in_message)
        return bad(p, WS_CLOSE_PROTOCOL, "continuation of nothing");
    if (!is_control(opcode) && opcode != WS_CONTINUATION && p->in_message)
        return bad(p, WS_CLOSE_PROTOCOL, "new message inside a fragmented one");
    return WS_MORE;
}

static uint64_t read_length(const struct ws_parser *p)
{
    size_t n = length_bytes(p->head[1]);
    uint64_t value = 0;

    if (n == 0)
        return p->head[1] & 0x7f;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | p->head[2 + i];
    return value;
}

static enum ws_result begin_payload(struct ws_parser *p)
{
    size_t n = length_bytes(p->head[1]);

    p->left = read_length(p);
    if (p->left >> 63)
        return bad(p, WS_CLOSE_PROTOCOL, "the top bit of a length must be 0");
    if ((n == 2 && p->left < 126) || (n == 8 && p->left <= UINT16_MAX))
        return bad(p, WS_CLOSE_PROTOCOL, "length not in its shortest form");
    p->opcode = p->head[0] & 0xf;
    p->fin = p->head[0] & FIN;
    p->in_payload = true;
    p->mask_at = 0;
    memmove(p->head, p->head + 2 + n, 4); /* only the mask is needed from here on */
    if (is_control(p->opcode)) {
        p->control_len = 0;
        return WS_MORE;
    }
    if (p->left > p->message_max - p->len)
        return bad(p, WS_CLOSE_TOO_BIG, "message too large");
    if (p->opcode != WS_CONTINUATION)
        p->is_text = p->opcode == WS_TEXT;
    p->in_message = true;
    return WS_MORE;
}

static enum ws_result take_head(struct ws_parser *p, const char *data, size_t n, size_t *used)
{
    while (*used < n) {
        p->head[p->head_len++] = (uint8_t)data[(*used)++];
        if (p->head_len < 2)
            continue;
        if (p->head_len == 2 && check_first_two(p) == WS_BAD)
            return WS_BAD;
        if (p->head_len == 2 + length_bytes(p->head[1]) + 4)
            return begin_payload(p);
    }
    return WS_MORE;
}

/* ---- the payload ------------------------------------------------------------------------------- */

/* XOR with the mask from position `at` of the frame on. */
static void unmask(char *to, const char *from, size_t n, const uint8_t mask[4], size_t at)
{
    uint8_t turned[8];
    uint64_t mask8, word;

    for (size_t i = 0; i < sizeof(turned); i++)
        turned[i] = mask[(at + i) % 4];
    memcpy(&mask8, turned, sizeof(mask8));
    for (; n >= sizeof(word); n -= sizeof(word)) {
        memcpy(&word, from, sizeof(word));
        word ^= mask8;
        memcpy(to, &word, sizeof(word));
        from += sizeof(word);
        to += sizeof(word);
    }
    for (size_t i = 0; i < n; i++)
        to[i] = (char)((uint8_t)from[i] ^ turned[i]);
}

/* Doubles, but never beyond what the message may have: a length that lies costs nothing. */
static bool reserve(struct ws_parser *p, size_t n)
{
    size_t cap = MAX(p->cap, (size_t)256);

    if (n <= p->cap)
        return true;
    while (cap < n)
        cap *= 2;
    cap = MIN(cap, MAX(p->message_max, (size_t)1));
    char *grown = realloc(p->data, cap);
    if (grown == NULL)
        return false;
    p->data = grown;
    p->cap = cap;
    return true;
}

static bool check_text(struct ws_parser *p)
{
    int n = 0;

    for (; p->checked < p->len; p->checked += (size_t)n) {
        while (p->checked < p->len && (uint8_t)p->data[p->checked] < 0x80)
            p->checked++;
        n = utf8_sequence(p->data + p->checked, p->len - p->checked);
        if (n <= 0)
            break;
    }
    if (p->checked == p->len)
        return true;
    return n < 0 && !(p->fin && p->left == 0); /* cut in a character, and more is to come */
}

static enum ws_result finish_close(struct ws_parser *p, struct ws_message *m)
{
    if (p->control_len == 0) {
        m->close_code = WS_CLOSE_NO_STATUS;
        return WS_MESSAGE;
    }
    if (p->control_len == 1)
        return bad(p, WS_CLOSE_PROTOCOL, "half a close code");
    m->close_code = (uint16_t)((uint8_t)p->control[0] << 8 | (uint8_t)p->control[1]);
    m->data += 2;
    m->len -= 2;
    if (!ws_close_code_is_valid(m->close_code))
        return bad(p, WS_CLOSE_PROTOCOL, "this close code must not be sent");
    if (!utf8_is_valid(m->data, m->len))
        return bad(p, WS_CLOSE_BAD_DATA, "the close reason is not UTF-8");
    return WS_MESSAGE;
}

static enum ws_result finish_frame(struct ws_parser *p, struct ws_message *m)
{
    p->in_payload = false;
    p->head_len = 0;
    if (is_control(p->opcode)) {
        *m = (struct ws_message){
            .opcode = (enum ws_opcode)p->opcode, .data = p->control, .len = p->control_len};
        return p->opcode == WS_CLOSE ? finish_close(p, m) : WS_MESSAGE;
    }
    if (!p->fin)
        return WS_MORE;
    p->in_message = false;
    p->given = true;
    *m = (struct ws_message){.opcode = p->is_text ? WS_TEXT : WS_BINARY,
                             .data = p->len > 0 ? p->data : "",
                             .len = p->len};
    return WS_MESSAGE;
}

static enum ws_result take_payload(struct ws_parser *p, const char *data, size_t n, size_t *used,
                                   struct ws_message *m)
{
    size_t run = (size_t)MIN(p->left, (uint64_t)(n - *used));
    bool control = is_control(p->opcode);

    if (!control && !reserve(p, p->len + run))
        return bad(p, WS_CLOSE_INTERNAL, "out of memory for this message");
    if (run > 0)
        unmask(control ? p->control + p->control_len : p->data + p->len, data + *used, run, p->head,
               p->mask_at);
    *(control ? &p->control_len : &p->len) += run;
    p->mask_at = (p->mask_at + run) % 4;
    p->left -= run;
    *used += run;
    if (!control && p->is_text && !check_text(p))
        return bad(p, WS_CLOSE_BAD_DATA, "text that is not UTF-8");
    return p->left == 0 ? finish_frame(p, m) : WS_MORE;
}

/* What was handed out is not needed any more. */
static void forget_message(struct ws_parser *p)
{
    p->given = false;
    p->len = p->checked = 0;
    if (p->cap > KEPT_MAX)
        ws_parser_done(p);
}

enum ws_result ws_parser_next(struct ws_parser *p, const char *data, size_t n, size_t *ret_used,
                              struct ws_message *ret_message)
{
    enum ws_result result = WS_MORE;
    size_t used = 0;

    if (p->given)
        forget_message(p);
    while (result == WS_MORE && used < n) {
        if (!p->in_payload)
            result = take_head(p, data, n, &used);
        /* A frame without payload ends with its head. */
        if (result == WS_MORE && p->in_payload)
            result = take_payload(p, data, n, &used, ret_message);
    }
    *ret_used = used;
    return result;
}

size_t ws_frame_head(enum ws_opcode opcode, uint64_t len, uint8_t out[WS_HEAD_MAX])
{
    size_t n = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;

    out[0] = (uint8_t)(FIN | opcode);
    out[1] = n == 0 ? (uint8_t)len : n == 2 ? 126 : 127;
    for (size_t i = 0; i < n; i++)
        out[2 + i] = (uint8_t)(len >> (8 * (n - 1 - i)));
    return 2 + n;
}
