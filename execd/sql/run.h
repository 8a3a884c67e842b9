/*
 * Runs of SQL: each in a process of its own, with a connection of its own, as events.
 *
 * SQLite is reached by the image's python3 and its sqlite3 module (sqlite.py is data inside execd), MySQL and MariaDB by
 * execd executing itself (worker.h). Both read settings and statements from standard input and write JSON lines, which
 * are trusted in no way: bounded, checked, and made into events here. A timeout or an interrupt is SIGINT, and after a
 * grace SIGKILL. Channel: INIT (the run's id), EXECUTION_COUNT once before the first result, RESULT per statement, RECEIPT,
 * one terminal event.
 * A result has "text" and "text/plain", {"columns":[],"rows":[[]]} with values as strings, and "application/json", the
 * same with numbers as numbers; both say "truncated":true when rows were left out.
 * Thread rule: loop thread only. Source: contracts/execd.md 3.2.
 */
#pragma once

#include "execd/stream/archive.h"
#include "execd/stream/channel.h"
#include "proto/base/ids.h"

#define SQL_ROWS_MAX 10000        /* of one result */
#define SQL_RESULT_MAX (1u << 20) /* bytes of one result's rows */
#define SQL_RUNS_MAX 16           /* at once */

struct sql_manager;
struct sql_run;

struct sql_config {  /* zeroed fields take the default */
    const char *dsn; /* "sqlite:PATH" (~/.opensandbox/sandbox.db) or "mysql://…" (dsn.h); copied */
    int grace_ms;    /* 2,000: between an interrupt and the kill */
    struct archive *archive; /* borrowed */
};

int sql_manager_new(struct event_base *base, const struct sql_config *config,
                    struct sql_manager **ret_manager, struct err *err) must_check;
void sql_manager_shutdown(struct sql_manager *m); /* runs end with reason agent_shutdown */
void sql_manager_free(struct sql_manager *m);

/* Starts it; what goes wrong from here on is an event. timeout_ms 0 = none. *ret_channel is the caller's reference. */
int sql_start(struct sql_manager *m, const char *code, int64_t timeout_ms,
              char ret_id[ID_UUID_LEN + 1], struct channel **ret_channel,
              struct err *err) must_check;
struct sql_run *sql_find(struct sql_manager *m,
                         const char *id); /* NULL: unknown, or it has ended */
void sql_interrupt(struct sql_run *run);
