/*
 * Which database language "sql" speaks to.
 *
 *   sqlite:PATH                             PATH, ~/PATH or :memory:
 *   mysql://USER[:PASSWORD]@HOST[:PORT]/DB  HOST is an address or localhost, PORT 3306
 *   mysql://USER[:PASSWORD]@/DB?socket=PATH through a Unix socket
 *
 * USER, PASSWORD and DB may be written with %XX; without a DB it is "sandbox", made when it is not there. Names of hosts
 * are refused: to look them up, libraries of the sandbox would have to be loaded. "mariadb://" is the same.
 * Pure. Thread rule: any thread. Source: contracts/execd.md 3.2; RFC 3986.
 */
#pragma once

#include "proto/base/err.h"
#include "proto/base/mem.h"

enum dsn_kind { DSN_SQLITE, DSN_MYSQL };

struct dsn { /* strings in the arena */
    enum dsn_kind kind;
    const char *path; /* of SQLite's file */
    const char *user, *password, *database;
    const char *host;   /* an IPv4 or IPv6 address; NULL with a socket */
    const char *socket; /* absolute path; NULL with a host */
    uint16_t port;
};

/* -EINVAL with a text that shows nothing of the password. */
int dsn_parse(const char *text, struct arena *arena, struct dsn *ret_dsn,
              struct err *err) must_check;
