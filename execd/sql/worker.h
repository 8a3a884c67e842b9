/*
 * The SQL worker: execd, started anew for one run of SQL on MySQL or MariaDB (execd/sql/run.h says who starts it).
 *
 * Reads settings and statements from standard input and writes lines of JSON to standard output, as sqlite.py does and
 * describes. SIGINT ends the statement. Does not return to execd's own main.
 */
#pragma once

#define SQL_WORKER_ARG "sql-worker"

int sql_worker_main(void);
