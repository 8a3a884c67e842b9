/*
 * One connection to MySQL or MariaDB, as a program that may wait uses it.
 *
 * For the SQL worker only, a process of its own: calls block. SIGINT, which must be blocked and have a handler, is taken
 * while a call waits: the statement is then killed on the server by a second connection, and its error is the answer.
 * Connecting and logging in have 10 s. Neither TLS nor LOCAL INFILE; a password is shown to nobody but a Unix socket.
 * Any failure but an error of a statement ends the connection. Not thread-safe.
 */
#pragma once

#include "execd/sql/dsn.h"
#include "execd/sql/mysql_packet.h"

/* More of one packet is read, and thrown away. */
#define MYSQL_KEEP_MAX (2u << 20)

struct mysql;

/* All that fail return -errno, with what the server or we say of it in *ret_failure. */
int mysql_connect(const struct dsn *dsn, struct mysql **ret_mysql,
                  struct mysql_failure *ret_failure) must_check;
void mysql_free(struct mysql *m); /* NULL is fine */
/* Makes it when it is not there. */
int mysql_use(struct mysql *m, const char *database, struct mysql_failure *ret_failure) must_check;
int mysql_send_query(struct mysql *m, const char *text, size_t len,
                     struct mysql_failure *ret_failure) must_check;
/* The next packet; valid until the next call. *ret_whole false: it was longer than MYSQL_KEEP_MAX. An error packet is
 * -EIO. */
int mysql_read(struct mysql *m, struct slice *ret_packet, bool *ret_whole,
               struct mysql_failure *ret_failure) must_check;
/* A packet that must not be there. Returns -EPROTO. */
int mysql_malformed(struct mysql_failure *ret_failure);
int mysql_no_memory(struct mysql_failure *ret_failure); /* returns -ENOMEM */

/* The handler of SIGINT calls it. */
void mysql_note_interrupt(void);
bool mysql_was_interrupted(void);
