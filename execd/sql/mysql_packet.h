/*
 * Packets of the MySQL protocol: what a server sends, taken apart, and what a client answers.
 *
 * A server is somebody else's program: every length is checked, nothing is read behind a packet's end.
 * Pure. Thread rule: any thread. Source: MySQL internals manual, "Client/Server Protocol"; MariaDB knowledge base.
 */
#pragma once

#include "proto/base/str.h"

#define MYSQL_SCRAMBLE_LEN 20
#define MYSQL_NAME_MAX 64 /* of an authentication plugin */

enum mysql_status { MYSQL_IN_TRANSACTION = 0x0001, MYSQL_MORE_RESULTS = 0x0008 };

enum mysql_packet_kind {
    MYSQL_OK,
    MYSQL_ERR,
    MYSQL_EOF,    /* or, in the handshake, another plugin is wanted */
    MYSQL_INFILE, /* the server wants a file of ours: never allowed */
    MYSQL_OTHER,
};
enum mysql_packet_kind mysql_kind(struct slice packet);

struct mysql_greeting {
    uint32_t thread_id;
    uint8_t scramble[MYSQL_SCRAMBLE_LEN];
    char plugin[MYSQL_NAME_MAX + 1];
};
struct mysql_failure {
    unsigned code;
    char state[6];
    char text[512];
};
struct mysql_ok {
    uint64_t affected;
    unsigned status;
};
struct mysql_column {
    struct slice name;
    unsigned charset, type;
};

/* All: -EPROTO where the packet is none of these. Slices point into the packet. */
int mysql_read_greeting(struct slice packet, struct mysql_greeting *ret) must_check;
int mysql_read_failure(struct slice packet, struct mysql_failure *ret) must_check;
int mysql_read_ok(struct slice packet, struct mysql_ok *ret) must_check;
int mysql_read_eof(struct slice packet, unsigned *ret_status) must_check;
int mysql_read_count(struct slice packet, uint64_t *ret_n) must_check;
int mysql_read_column(struct slice packet, struct mysql_column *ret) must_check;
/* Another plugin and its scramble: plugin and scramble of `greeting` change. */
int mysql_read_switch(struct slice packet, struct mysql_greeting *greeting) must_check;
/* The next cell of a row, taken off its front; ptr NULL for NULL. */
int mysql_read_cell(struct slice *row, struct slice *ret) must_check;

/* The answer to a scramble: mysql_native_password (20 bytes) and caching_sha2_password (32 bytes). Nothing for no
 * password. Returns the length. */
#define MYSQL_ANSWER_MAX 32
size_t mysql_answer_native(const char *password, const uint8_t scramble[MYSQL_SCRAMBLE_LEN],
                           uint8_t out[MYSQL_ANSWER_MAX]);
size_t mysql_answer_sha2(const char *password, const uint8_t scramble[MYSQL_SCRAMBLE_LEN],
                         uint8_t out[MYSQL_ANSWER_MAX]);
/* The body of the handshake's answer. */
void mysql_write_login(struct strbuf *out, const char *user, const char *plugin,
                       const uint8_t *answer, size_t answer_len);

/* One value as JSON: numbers where the column's type says so and JSON can hold them, bytes as "0x…", NULL. */
void mysql_value_json(struct strbuf *out, const struct mysql_column *column, struct slice value);
/* Text of any bytes as a JSON string that every parser takes. */
void mysql_text_json(struct strbuf *out, struct slice text);
