/*
 * Messages of a gateway's clients: from the bytes of a WebSocket message to the parts of a Jupyter message, and back.
 *
 * Three framings: legacy text (one JSON object), legacy binary (the same with buffers behind it), and
 * v1.kernel.websocket.jupyter.org (all parts as they are). Decoding is tolerant where clients differ (parts that are
 * missing or null count as {}, the channel follows from the type, a header gets a date and a version, because kernels
 * drop what they have seen before and what is of no version) and strict where it protects: every part is an object of valid JSON, so that
 * no kernel is sent what it would drop in silence. Encoding takes nothing on trust either: what a kernel sent is
 * repaired to UTF-8, and parts that are no objects are refused, so that no kernel can write outside its part.
 * Parts are passed on byte for byte where possible: numbers keep their digits.
 * Pure. Thread rule: any thread. Source: contracts/jupyter.md 2.7; jupyter_server "websocket" protocols.
 */
#pragma once

#include "execd/code/connection.h"
#include "execd/code/jmsg.h"
#include "proto/base/str.h"

/* Bytes of a client's header: kernels send it back, escaped in their own way, within JMSG_HEADER_MAX. */
#define FRAME_HEADER_MAX (JMSG_HEADER_MAX / 4)

enum framing { FRAMING_LEGACY, FRAMING_V1 };

#define FRAMING_V1_NAME "v1.kernel.websocket.jupyter.org"

/* A message of a client. Everything borrows from the bytes it was decoded from, or from `header`. */
struct frame {
    enum kernel_channel channel; /* shell, control or stdin */
    char id[JMSG_ID_MAX], type[JMSG_TYPE_MAX];
    struct jmsg_parts parts; /* buffers point to the array below */
    struct slice buffers[JMSG_BUFFERS_MAX];
    struct strbuf header; /* owned; only when it had to be rewritten */
};

/* -EBADMSG: no valid frame, JSON or UTF-8 (WebSocket close 1007); -EPROTO: valid, but no message that a client may send
 * (1008). The text of err is fit for a close frame. The caller calls frame_done in any case. */
int frame_decode(enum framing framing, bool is_binary, struct slice data, struct frame *ret_frame,
                 struct err *err) must_check;
void frame_done(struct frame *frame);
/* Makes the header differ from every earlier one, for a kernel drops what it has seen before. -ENOMEM. */
int frame_renew(struct frame *frame) must_check;

/* A message of a kernel, ready to be framed; id and type are of its header. */
struct frame_source {
    enum kernel_channel channel;
    const char *id, *type;
    struct jmsg_parts parts;
    uint64_t seq; /* legacy only: an additional key "seq"; 0 = none */
};

/* The frame as pieces that borrow from the source and from `head` and `tail`. */
#define FRAME_PIECES_MAX (16 + JMSG_BUFFERS_MAX)
struct frame_out {
    bool is_binary;
    struct slice pieces[FRAME_PIECES_MAX];
    size_t n_pieces, size;
    struct strbuf head, tail; /* owned */
};
/* -ENOMEM. The caller calls frame_out_done in any case. The parts have been through frame_clean. */
int frame_encode(enum framing framing, const struct frame_source *source,
                 struct frame_out *ret_out) must_check;
void frame_out_done(struct frame_out *out);

/* Makes a part of a kernel's message fit for any frame: blanks around it are cut, what is empty or null is {}, invalid
 * UTF-8 is repaired in `fixed` (which the part then borrows from). -EBADMSG when it is no object. */
int frame_clean(struct slice *part, struct strbuf *fixed) must_check;
