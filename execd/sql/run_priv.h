/*
 * What the files of a run share: its state (run.c), its process (process.c), what that says (reader.c).
 *
 * Private to execd/sql. Thread rule: loop thread only.
 */
#pragma once

#include "execd/proc/leaf.h"
#include "execd/proc/reaper.h"
#include "execd/sql/dsn.h"
#include "execd/sql/result.h"
#include "execd/sql/run.h"

struct event;

enum sql_end { SQL_END_EXIT, SQL_END_TIMEOUT, SQL_END_INTERRUPTED, SQL_END_SHUTDOWN };

struct sql_run {
    char id[ID_UUID_LEN + 1];
    struct sql_manager *manager; /* borrowed */
    struct channel *channel;     /* ref */
    struct pidref process;
    struct leaf *leaf;              /* owned */
    int fd;                         /* owned: what the program says; -1 once it has said all */
    struct event *readable, *timer; /* owned */
    struct strbuf line;             /* what was read and is no whole line yet */
    struct sql_result result;
    bool counted; /* EXECUTION_COUNT is in */
    bool heard, done;
    char *ename, *evalue; /* owned: what went wrong, as the program says; NULL = nothing yet */
    bool exited;
    struct exit_status status;
    enum sql_end end;
    bool stopping;
    int64_t started_ns, timeout_ms;
    struct sql_run *prev, *next;
};

struct sql_manager {
    struct event_base *base; /* borrowed */
    struct sql_config config;
    char *source;       /* owned: as it was given */
    struct arena arena; /* holds the strings of dsn */
    struct dsn dsn;
    struct sql_run *runs; /* owned list */
    unsigned n;
    bool shutting_down;
};

/* process.c: *ret_fd reads what the program says; non-blocking, the caller's. */
int sql_process_start(struct sql_run *run, const char *code, int *ret_fd,
                      struct err *err) must_check;

/* reader.c: one line of the program. -EPROTO where it is not what we agreed on. */
int sql_reader_take(struct sql_run *run, const char *line, size_t len) must_check;
/* Nothing more comes: shows the rows of a result that has no end. */
void sql_reader_end(struct sql_run *run);
