#include "execd/code/jmsg.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/codec.h"
#include "proto/base/ids.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/json/json_load.h"

static const struct slice delimiter = SLICE_LIT("<IDS|MSG>");
static const struct slice empty_object = SLICE_LIT("{}");

/* Positions behind the delimiter. */
enum { PART_SIGNATURE = 1, PART_HEADER, PART_PARENT, PART_METADATA, PART_CONTENT, PART_COUNT };

void jmsg_session_init(struct jmsg_session *session)
{
    uint8_t key[JMSG_KEY_HEX / 2];
    ids_random(key, sizeof(key));
    codec_hex(key, sizeof(key), session->key);
    explicit_bzero(key, sizeof(key));
    ids_hex(session->id);
    session->sent = 0;
}

static void sign(const struct jmsg_session *session, const struct slice parts[4], char ret_hex[65])
{
    struct hmac_sha256_ctx hmac;
    uint8_t digest[SHA256_LEN];
    hmac_sha256_set_key(&hmac, strlen(session->key), (const uint8_t *)session->key);
    for (size_t i = 0; i < 4; i++)
        hmac_sha256_update(&hmac, parts[i].len, (const uint8_t *)parts[i].ptr);
    hmac_sha256_digest(&hmac, sizeof(digest), digest);
    codec_hex(digest, sizeof(digest), ret_hex);
}

static bool signature_is_good(const struct jmsg_session *session, struct slice signature,
                              const struct slice parts[4])
{
    char expected[65];
    if (session->key[0] == '\0')
        return signature.len == 0;
    sign(session, parts, expected);
    return signature.len == SHA256_HEX_LEN && codec_equal(signature.ptr, expected, SHA256_HEX_LEN);
}

/* The object in a frame, its text repaired: kernels pass user data with lone escapes through as raw bytes. NULL on
 * anything else; null counts as an empty object. */
static json_t *load_object(struct slice text)
{
    json_t *json = json_load_tolerant(text);
    if (!json && !utf8_is_valid(text.ptr, text.len)) {
        struct strbuf fixed;
        strbuf_init(&fixed, text.len * 3 + 1);
        strbuf_add_repaired(&fixed, text.ptr, text.len);
        if (strbuf_check(&fixed) == 0 && fixed.len > 0)
            json = json_load_tolerant((struct slice){fixed.data, fixed.len});
        strbuf_done(&fixed);
    }
    if (json_is_null(json)) /* a constant: nothing to release */
        return json_object();
    if (!json_is_object(json)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static bool copy_field(const json_t *object, const char *key, char *buf, size_t size)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (!text || json_string_length(value) != strlen(text) || strlen(text) >= size)
        return false;
    memcpy(buf, text, strlen(text) + 1);
    return true;
}

static int parse_headers(const struct slice *parts, struct jmsg *msg, struct err *err)
{
    struct slice header = parts[PART_HEADER], parent = parts[PART_PARENT];
    if (header.len > JMSG_HEADER_MAX || parent.len > JMSG_HEADER_MAX)
        return err_set(err, 0, EBADMSG, "header of %zu and parent of %zu bytes, at most %u",
                       header.len, parent.len, JMSG_HEADER_MAX);
    json_t *object = load_object(header);
    bool good = object && copy_field(object, "msg_id", msg->id, sizeof(msg->id)) &&
                copy_field(object, "msg_type", msg->type, sizeof(msg->type));
    json_decref(object);
    if (!good)
        return err_set(err, 0, EBADMSG, "the header is no object with msg_id and msg_type");
    object = parent.len > 0 ? load_object(parent) : json_object();
    if (!object)
        return err_set(err, 0, EBADMSG, "the parent header is no object");
    if (!copy_field(object, "msg_id", msg->parent_id, sizeof(msg->parent_id)))
        msg->parent_id[0] = '\0';
    if (!copy_field(object, "msg_type", msg->parent_type, sizeof(msg->parent_type)))
        msg->parent_type[0] = '\0';
    json_decref(object);
    return 0;
}

int jmsg_parse(const struct slice *frames, size_t n, const struct jmsg_session *session,
               struct jmsg *ret_msg, struct err *err)
{
    size_t at = 0;
    while (at < n && at <= JMSG_IDENTS_MAX &&
           !(frames[at].len == delimiter.len &&
             memcmp(frames[at].ptr, delimiter.ptr, delimiter.len) == 0))
        at++;
    if (at >= n || at > JMSG_IDENTS_MAX)
        return err_set(err, 0, EBADMSG, "no delimiter in %zu frames", n);
    if (n - at < PART_COUNT)
        return err_set(err, 0, EBADMSG, "%zu frames behind the delimiter, at least 5 expected",
                       n - at - 1);
    const struct slice *parts = frames + at;
    if (!signature_is_good(session, parts[PART_SIGNATURE], parts + PART_HEADER))
        return err_set(err, 0, EBADMSG, "wrong signature");
    struct jmsg msg = {.parts = {.header = parts[PART_HEADER],
                                 .parent = parts[PART_PARENT],
                                 .metadata = parts[PART_METADATA],
                                 .content = parts[PART_CONTENT],
                                 .buffers = parts + PART_COUNT,
                                 .n_buffers = n - at - PART_COUNT}};
    int r = parse_headers(parts, &msg, err);
    if (r >= 0)
        *ret_msg = msg;
    return r;
}

int jmsg_load(struct jmsg *msg)
{
    if (msg->content)
        return 0;
    struct slice text = msg->parts.content;
    msg->content = text.len > 0 ? load_object(text) : json_object();
    return msg->content ? 0 : -EBADMSG;
}

void jmsg_done(struct jmsg *msg)
{
    json_decref(msg->content);
    msg->content = NULL;
}

static char *build_header(struct jmsg_session *session, const char *type, char id[JMSG_ID_MAX])
{
    char date[CLOCK_RFC3339_MAX];
    clock_format_us(clock_wall_us(), date);
    (void)snprintf(id, JMSG_ID_MAX, "%s_%llu", session->id,
                   (unsigned long long)++session->sent); /* fits */
    json_t *header = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "msg_id", id, "session",
                               session->id, "username", "execd", "date", date, "msg_type", type,
                               "version", JMSG_PROTOCOL_VERSION);
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    return text;
}

int jmsg_build(struct jmsg_session *session, const char *type, struct slice parent,
               const json_t *content, struct jmsg_out *ret_out)
{
    char id[JMSG_ID_MAX];
    char *header = build_header(session, type, id);
    char *text = header ? json_dumps(content, JSON_COMPACT) : NULL;
    if (!text) {
        free(header);
        return -ENOMEM;
    }
    memset(ret_out, 0, sizeof(*ret_out));
    memcpy(ret_out->id, id, sizeof(id));
    ret_out->header = header;
    ret_out->content = text;
    struct jmsg_parts parts = {
        .header = {header, strlen(header)},
        .parent = parent.len > 0 ? parent : empty_object,
        .metadata = empty_object,
        .content = {text, strlen(text)},
    };
    (void)jmsg_sign(session, &parts, ret_out->signature, ret_out->frames); /* no buffers */
    return 0;
}

void jmsg_out_done(struct jmsg_out *out)
{
    free(out->header);
    free(out->content);
    out->header = out->content = NULL;
}

size_t jmsg_sign(const struct jmsg_session *session, const struct jmsg_parts *parts,
                 char ret_signature[65], struct slice *ret_frames)
{
    struct slice *f = ret_frames;
    size_t n = parts->n_buffers;
    f[0] = delimiter;
    f[PART_SIGNATURE] = (struct slice){0};
    f[PART_HEADER] = parts->header;
    f[PART_PARENT] = parts->parent;
    f[PART_METADATA] = parts->metadata;
    f[PART_CONTENT] = parts->content;
    if (session->key[0] != '\0') {
        sign(session, f + PART_HEADER, ret_signature);
        f[PART_SIGNATURE] = (struct slice){ret_signature, SHA256_HEX_LEN};
    }
    for (size_t i = 0; i < n; i++)
        f[PART_COUNT + i] = parts->buffers[i];
    return PART_COUNT + n;
}
