/*
 * WebSocket frames as a server reads and writes them: bytes in, whole messages out.
 *
 * The parser is fed in pieces of any size and gives the same answer at every split. It is strict: client frames
 * must be masked, reserved bits and opcodes are refused, control frames are at most 125 bytes and unfragmented,
 * text is UTF-8 (checked as it arrives), close codes are those that may be sent. A message larger than the
 * limit is refused before its bytes are taken. Extensions are never negotiated, so there is no compression.
 * Memory: one message, grown as its bytes really arrive. Pure: no sockets, no events.
 * Thread rule: any thread; a parser belongs to its owner. Source: RFC 6455 sections 5, 7.4 and 8.1.
 */
#pragma once

#include "proto/base/defs.h"

enum ws_opcode {
    WS_CONTINUATION = 0x0,
    WS_TEXT = 0x1,
    WS_BINARY = 0x2,
    WS_CLOSE = 0x8,
    WS_PING = 0x9,
    WS_PONG = 0xa,
};

/* RFC 6455 7.4.1: those that we send or look at. */
enum ws_close_code {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_NO_STATUS = 1005, /* never on the wire: the peer's close frame was empty */
    WS_CLOSE_ABNORMAL = 1006,  /* never on the wire: the connection just ended */
    WS_CLOSE_BAD_DATA = 1007,
    WS_CLOSE_POLICY = 1008,
    WS_CLOSE_TOO_BIG = 1009,
    WS_CLOSE_INTERNAL = 1011,
};

#define WS_CONTROL_MAX 125
#define WS_REASON_MAX 123     /* bytes of text in a close frame */
#define WS_CLIENT_HEAD_MAX 14 /* with 64-bit length and mask */
#define WS_HEAD_MAX 10        /* as we send it: no mask */

struct ws_message {
    enum ws_opcode opcode; /* WS_TEXT, WS_BINARY, WS_CLOSE, WS_PING or WS_PONG */
    const char *data;      /* borrowed until the next call; not NUL-terminated; close: the reason */
    size_t len;
    uint16_t close_code; /* WS_CLOSE only; WS_CLOSE_NO_STATUS when the frame was empty */
};

struct ws_fault {
    uint16_t code;    /* what to close with */
    const char *text; /* constant */
};

enum ws_result { WS_MORE, WS_MESSAGE, WS_BAD };

struct ws_parser {
    size_t message_max; /* bytes */
    /* the frame at hand */
    uint8_t head[WS_CLIENT_HEAD_MAX];
    size_t head_len;
    bool in_payload, fin;
    uint8_t opcode;
    uint64_t left; /* payload bytes to come */
    size_t mask_at;
    /* the message at hand */
    bool in_message, is_text;
    char *data; /* owned */
    size_t len, cap;
    size_t checked; /* text: bytes known to be UTF-8 */
    bool given;     /* the message was handed out: the next call begins anew */
    char control[WS_CONTROL_MAX];
    size_t control_len;
    struct ws_fault fault; /* after WS_BAD */
};

void ws_parser_init(struct ws_parser *p, size_t message_max);
void ws_parser_done(struct ws_parser *p); /* legal on a zeroed struct */

/* Takes bytes from data until a message is complete (*ret_message), all are used up (WS_MORE), or the peer has
 * broken the protocol (p->fault; the parser must not be fed again). *ret_used tells how many were taken. */
enum ws_result ws_parser_next(struct ws_parser *p, const char *data, size_t n, size_t *ret_used,
                              struct ws_message *ret_message) must_check;

/* The head of an unfragmented, unmasked frame; returns its length. */
size_t ws_frame_head(enum ws_opcode opcode, uint64_t len, uint8_t out[WS_HEAD_MAX]);

/* May this code stand in a close frame? */
bool ws_close_code_is_valid(uint16_t code);
