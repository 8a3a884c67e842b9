#include "execd/sql/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "execd/sql/mysql_client.h"
#include "proto/base/fd.h"
#include "proto/json/jfield.h"

#define FLUSH_AT (64u << 10)
#define COLUMNS_MAX 4096 /* what MySQL allows */

struct work {
    struct arena arena;
    struct dsn dsn;
    char *input; /* owned: settings and statements */
    const char *code;
    size_t code_len;
    size_t max_rows, max_bytes;
    struct mysql *mysql;          /* owned */
    struct strbuf out, line;      /* what goes out; one row of it */
    struct mysql_column *columns; /* owned: of the result that is read */
    size_t n_columns;
};

/* ---- saying ---- */

static int flush(struct work *w)
{
    int rc = strbuf_check(&w->out);

    if (rc == 0 && w->out.len > 0)
        rc = fd_write_all(STDOUT_FILENO, w->out.data, w->out.len);
    strbuf_reset(&w->out);
    return rc;
}

static int say_failure(struct work *w, const char *ename, const struct mysql_failure *f)
{
    struct strbuf evalue;

    strbuf_init(&evalue, 0);
    strbuf_addf(&evalue, "Error %u (%s): %s", f->code, f->state, f->text);
    strbuf_addf(&w->out, "{\"error\":{\"ename\":\"%s\",\"evalue\":", ename);
    json_escape(&w->out, evalue.data, evalue.len);
    strbuf_adds(&w->out, "}}\n");
    strbuf_done(&evalue);
    return flush(w);
}

/* ---- results ---- */

/* Error 1117 is the server's own for a head that it could not send. */
static int too_long(struct mysql_failure *f)
{
    *f = (struct mysql_failure){1117, "HY000", "The names of the columns are too long"};
    return -E2BIG;
}

static int read_columns(struct work *w, uint64_t n, struct mysql_failure *f)
{
    struct slice packet;
    unsigned status;
    bool whole;

    if (n == 0 || n > COLUMNS_MAX)
        return mysql_malformed(f);
    free(w->columns);
    w->columns = calloc(n, sizeof(*w->columns));
    if (w->columns == NULL)
        return mysql_no_memory(f);
    w->n_columns = n;
    strbuf_reset(&w->line);
    strbuf_adds(&w->line, "{\"columns\":[");
    for (size_t i = 0; i < w->n_columns; i++) {
        int rc = mysql_read(w->mysql, &packet, &whole, f);
        if (rc < 0)
            return rc;
        if (mysql_read_column(packet, &w->columns[i]) < 0)
            return mysql_malformed(f);
        if (i > 0)
            strbuf_addc(&w->line, ',');
        mysql_text_json(&w->line, w->columns[i].name);
        w->columns[i].name = (struct slice){NULL, 0}; /* the packet is gone with the next one */
    }
    strbuf_adds(&w->line, "]}\n");
    if (strbuf_check(&w->line) < 0 || w->line.len > w->max_bytes)
        return too_long(f);
    strbuf_add(&w->out, w->line.data, w->line.len);
    int rc = mysql_read(w->mysql, &packet, &whole, f);
    return rc < 0 ? rc : mysql_read_eof(packet, &status) < 0 ? mysql_malformed(f) : 0;
}

static int write_row(struct work *w, struct slice row, struct mysql_failure *f)
{
    struct slice cell;

    strbuf_reset(&w->line);
    strbuf_adds(&w->line, "{\"row\":[");
    for (size_t i = 0; i < w->n_columns; i++) {
        if (mysql_read_cell(&row, &cell) < 0)
            return mysql_malformed(f);
        if (i > 0)
            strbuf_addc(&w->line, ',');
        mysql_value_json(&w->line, &w->columns[i], cell);
    }
    strbuf_adds(&w->line, "]}\n");
    return row.len > 0 ? mysql_malformed(f) : 0;
}

/* The rows behind the columns; those over the limits are read and left out. */
static int read_rows(struct work *w, unsigned *ret_status, struct mysql_failure *f)
{
    struct slice packet;
    size_t rows = 0, bytes = 0;
    bool whole, truncated = false;

    for (;;) {
        int rc = mysql_read(w->mysql, &packet, &whole, f);
        if (rc < 0)
            return rc;
        if (mysql_kind(packet) == MYSQL_EOF && mysql_read_eof(packet, ret_status) == 0)
            break;
        if (truncated)
            continue;
        truncated = !whole || rows == w->max_rows || packet.len > w->max_bytes - bytes;
        if (!truncated && (rc = write_row(w, packet, f)) < 0)
            return rc;
        truncated = truncated || strbuf_check(&w->line) < 0 || w->line.len > w->max_bytes - bytes;
        if (truncated)
            continue;
        strbuf_add(&w->out, w->line.data, w->line.len);
        bytes += w->line.len;
        rows++;
        if (w->out.len > FLUSH_AT && (rc = flush(w)) < 0)
            return rc;
    }
    strbuf_addf(&w->out, "{\"end\":{\"truncated\":%s}}\n", truncated ? "true" : "false");
    return 0;
}

/* One statement's answer. */
static int read_result(struct work *w, unsigned *ret_status, struct mysql_failure *f)
{
    struct slice packet;
    struct mysql_ok ok;
    uint64_t n;
    bool whole;

    int rc = mysql_read(w->mysql, &packet, &whole, f);
    if (rc < 0)
        return rc;
    if (mysql_kind(packet) == MYSQL_OK) {
        if (mysql_read_ok(packet, &ok) < 0)
            return mysql_malformed(f);
        strbuf_addf(&w->out, "{\"affected\":%llu}\n",
                    (unsigned long long)MIN(ok.affected, INT64_MAX));
        *ret_status = ok.status;
        return flush(w);
    }
    if (mysql_kind(packet) == MYSQL_INFILE || mysql_read_count(packet, &n) < 0)
        return mysql_malformed(f);
    rc = read_columns(w, n, f);
    if (rc == 0)
        rc = read_rows(w, ret_status, f);
    return rc == 0 ? flush(w) : rc;
}

/* What the first statement begins with decides how its failure is called, as upstream has it. */
static const char *name_of_failure(const struct work *w)
{
    static const char *const queries[] = {"select", "with",    "show",  "describe", "desc",
                                          "values", "explain", "table", "check"};
    const char *p = w->code + strspn(w->code, " \t\r\n(");
    size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

    for (size_t i = 0; i < ARRAY_LEN(queries); i++)
        if (len == strlen(queries[i]) && strncasecmp(p, queries[i], len) == 0)
            return "DBQueryError";
    return "DBExecError";
}

static int run_statements(struct work *w)
{
    static const struct mysql_failure interruption = {1317, "70100",
                                                      "Query execution was interrupted"};
    struct mysql_failure f = {0};
    unsigned status = 0;

    int rc = mysql_connect(&w->dsn, &w->mysql, &f);
    if (rc == 0)
        rc = mysql_use(w->mysql, w->dsn.database, &f);
    if (rc < 0)
        return say_failure(w, "DBInitError", &f);
    rc = mysql_send_query(w->mysql, w->code, w->code_len, &f);
    do {
        if (rc == 0)
            rc = read_result(w, &status, &f);
        if (rc < 0)
            return f.code != 0 ? say_failure(w, name_of_failure(w), &f) : rc;
        if (mysql_was_interrupted()) /* the statement ended first: the next does not begin */
            return say_failure(w, name_of_failure(w), &interruption);
    } while ((status & MYSQL_MORE_RESULTS) != 0);
    if ((status & MYSQL_IN_TRANSACTION) != 0)
        strbuf_adds(&w->out, "{\"note\":\"the transaction was still open: rolled back\"}\n");
    strbuf_adds(&w->out, "{\"done\":true}\n");
    return flush(w);
}

/* ---- the start ---- */

static int read_input(struct work *w)
{
    cleanup_json json_t *settings = NULL;
    struct stat st;

    if (fstat(STDIN_FILENO, &st) < 0)
        return -errno;
    size_t size = (size_t)st.st_size;
    w->input = malloc(size + 1);
    if (w->input == NULL || fd_read_full(STDIN_FILENO, w->input, size) != (ssize_t)size)
        return -EIO;
    w->input[size] = '\0';
    const char *end = memchr(w->input, '\n', size);
    if (end == NULL || json_parse(w->input, (size_t)(end - w->input), &settings, 0, NULL) < 0)
        return -EINVAL;
    w->code = end + 1;
    w->code_len = size - (size_t)(w->code - w->input);
    w->max_rows = (size_t)json_integer_value(json_object_get(settings, "max_rows"));
    w->max_bytes = (size_t)json_integer_value(json_object_get(settings, "max_bytes"));
    const char *dsn = json_string_value(json_object_get(settings, "dsn"));
    return dsn != NULL ? dsn_parse(dsn, &w->arena, &w->dsn, NULL) : -EINVAL;
}

static void on_interrupt(int signum)
{
    (void)signum;
    mysql_note_interrupt();
}

/* It comes in only where a call waits. */
static int take_interrupts(void)
{
    const struct sigaction action = {.sa_handler = on_interrupt};
    sigset_t set;

    if (sigemptyset(&set) < 0 || sigaddset(&set, SIGINT) < 0 ||
        sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    return sigaction(SIGINT, &action, NULL) < 0 ? -errno : 0;
}

int sql_worker_main(void)
{
    struct work w = {0};

    /* Its memory holds a password. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || take_interrupts() < 0)
        return EXIT_FAILURE;
    arena_init(&w.arena);
    strbuf_init(&w.out, 16u << 20);
    strbuf_init(&w.line, 8u << 20);
    int rc = read_input(&w);
    if (rc == 0)
        rc = run_statements(&w);
    mysql_free(w.mysql);
    strbuf_done(&w.out);
    strbuf_done(&w.line);
    free(w.columns);
    free(w.input);
    arena_done(&w.arena);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
