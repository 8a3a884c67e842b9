#include "execd/gateway/channels_ws.h"

#include <errno.h>

#include "proto/base/mem.h"
#include "proto/http/ws_conn.h"

#define OUT_HIGH (256u << 10)
#define CLOSE_FRAME_MAX (2 + WS_CONTROL_MAX)

struct socket {
    struct ws_conn *ws;             /* owned until on_close */
    struct channels_client *client; /* borrowed; NULL once it has ended */
    enum framing framing;
    bool with_seq, closed_in_order;
};

/* ---- out ------------------------------------------------------------------------------------------- */

static int send_message(struct socket *k, const struct message *m, size_t *ret_size)
{
    struct frame_source source = {m->channel, m->id, m->type, m->parts, k->with_seq ? m->seq : 0};
    uint8_t head[WS_HEAD_MAX];
    struct frame_out out;
    int r = frame_encode(k->framing, &source, &out);

    if (r >= 0) {
        enum ws_opcode opcode = out.is_binary ? WS_BINARY : WS_TEXT;
        ws_conn_send(k->ws, opcode, out.pieces, out.n_pieces);
        *ret_size = ws_frame_head(opcode, out.size, head) + out.size;
    }
    frame_out_done(&out);
    return r;
}

/* all: whatever the client has not yet taken; nothing will come behind it. */
static void pull(struct socket *k, bool all)
{
    const struct message *m;
    size_t size = 0;

    while ((all || ws_conn_wants_more(k->ws)) && (m = channels_peek(k->client)) != NULL) {
        if (send_message(k, m, &size) < 0) {
            ws_conn_abort(k->ws); /* no memory: better gone than silent */
            return;
        }
        channels_pop(k->client, size);
    }
}

/* ---- what the client's channels tell -------------------------------------------------------------------------- */

static void on_more(void *arg)
{
    pull(arg, false);
}

static void on_room(void *arg)
{
    struct socket *k = arg;

    ws_conn_pause(k->ws, false);
}

/* Behind the messages a close frame of ours may be on its way, which is smaller than any message. */
static size_t undelivered(void *arg)
{
    const struct socket *k = arg;
    size_t n = k->ws != NULL ? ws_conn_undelivered(k->ws) : 0; /* none: the upgrade has failed */

    return k->closed_in_order && n <= CLOSE_FRAME_MAX ? 0 : n;
}

static void on_end(void *arg, enum channels_end why)
{
    static const struct {
        uint16_t code;
        const char *reason;
    } rows[] = {
        [CHANNELS_KERNEL_GONE] = {WS_CLOSE_NORMAL, "the kernel was deleted"},
        [CHANNELS_KERNEL_DIED] = {WS_CLOSE_NORMAL, "the kernel is dead"},
        [CHANNELS_REPLACED] = {WS_CLOSE_NORMAL,
                               "replaced by a connection with the same session_id"},
        [CHANNELS_TOO_SLOW] = {WS_CLOSE_POLICY, "the client reads too slowly"},
        [CHANNELS_NO_MEMORY] = {WS_CLOSE_INTERNAL, "no memory"},
    };
    struct socket *k = arg;

    if (why == CHANNELS_KERNEL_GONE || why == CHANNELS_KERNEL_DIED)
        pull(k, true);
    k->client = NULL;
    ws_conn_close(k->ws, rows[why].code, rows[why].reason);
}

/* ---- in -------------------------------------------------------------------------------------------- */

static void refuse(struct socket *k, int errnum, const char *reason)
{
    uint16_t code = errnum == EBADMSG  ? WS_CLOSE_BAD_DATA
                    : errnum == EPROTO ? WS_CLOSE_POLICY
                                       : WS_CLOSE_INTERNAL;

    ws_conn_close(k->ws, code, reason);
}

static void on_message(void *arg, const struct ws_message *m)
{
    struct socket *k = arg;
    struct frame frame;
    struct err err = {0};

    if (k->client == NULL)
        return;
    int r = frame_decode(k->framing, m->opcode == WS_BINARY, (struct slice){m->data, m->len},
                         &frame, &err);
    if (r < 0)
        refuse(k, -r, err.text);
    else if (!channels_send(k->client, &frame))
        ws_conn_pause(k->ws, true);
    frame_done(&frame);
}

static void on_writable(void *arg)
{
    struct socket *k = arg;

    if (k->client != NULL)
        pull(k, false);
}

static void on_close(void *arg, uint16_t code)
{
    struct socket *k = arg;

    k->closed_in_order = code != WS_CLOSE_ABNORMAL;
    if (k->client != NULL)
        channels_detach(k->client);
    free(k);
}

/* ---- its beginning ----------------------------------------------------------------------------------- */

int channels_ws_start(struct http_req *req, struct channels *channels, struct code_context *ctx,
                      const struct channels_options *options, struct err *err)
{
    static const struct channels_ops ops = {on_more, on_room, undelivered, on_end};
    static const struct ws_handlers handlers = {on_message, on_writable, on_close};
    static const char *const subprotocols[] = {FRAMING_V1_NAME, NULL};
    static const struct ws_options ws_options = {
        .message_max = CHANNELS_MESSAGE_MAX,
        .out_high = OUT_HIGH,
        .ping_ms = 30000,
        .dead_ms = 90000,
        .subprotocols = subprotocols,
    };
    struct socket *k = xnew(struct socket);

    *k = (struct socket){.with_seq = options->last_seq != NULL};
    k->framing = ws_subprotocol(req, subprotocols) != NULL ? FRAMING_V1 : FRAMING_LEGACY;
    int r = channels_attach(channels, ctx, options, &ops, k, &k->client, err);
    if (r >= 0 && (r = ws_conn_accept(req, &ws_options, &handlers, k, &k->ws, err)) < 0)
        channels_detach(k->client);
    if (r < 0) {
        free(k);
        return r;
    }
    if (channels_is_full(k->client))
        ws_conn_pause(k->ws, true);
    pull(k, false);
    return 0;
}
