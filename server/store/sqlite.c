#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "proto/api/errors.h"
#include "proto/base/cleanup.h"
#include "proto/base/mem.h"
#include "server/store/record.h"
#include "server/store/store.h"

#define STORE_SCHEMA_VERSION 1

struct store {
    sqlite3 *db; /* owned */
    int lock_fd; /* owned; flock held for the life of the process */
    sqlite3_stmt *put, *del, *each, *value_get, *value_put; /* owned */
};

static const char schema[] = "CREATE TABLE IF NOT EXISTS sandboxes (id TEXT PRIMARY KEY, state "
                             "TEXT NOT NULL, created_us INTEGER NOT NULL,"
                             " expires_us INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;"
                             "CREATE TABLE IF NOT EXISTS named_values (name TEXT PRIMARY KEY, "
                             "value TEXT NOT NULL) WITHOUT ROWID;";

static int fail(struct store *s, struct err *err, const char *what)
{
    return err_set(err, ERR_STORE_FAILED, EIO, "store: %s: %s", what, sqlite3_errmsg(s->db));
}

static int take_lock(struct store *s, const char *path, struct err *err)
{
    cleanup_free char *lock = xasprintf("%s.lock", path);

    s->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return err_sys(err, ERR_STORE_FAILED, errno, "open '%s'", lock);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, ERR_STORE_FAILED, EBUSY,
                       "'%s' is in use by another server (lock '%s' is held): give this one its "
                       "own [store] path",
                       path, lock);
    return 0;
}

static int check_version(struct store *s, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int version = 0;

    if (sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &stmt, NULL) != SQLITE_OK)
        return fail(s, err, "read the schema version");
    if (sqlite3_step(stmt) == SQLITE_ROW)
        version = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    if (version > STORE_SCHEMA_VERSION)
        return err_set(err, ERR_STORE_FAILED, EPROTO,
                       "store: schema version %d was written by a newer server (this one knows %d)",
                       version, STORE_SCHEMA_VERSION);
    return 0;
}

static int prepare(struct store *s, struct err *err)
{
    const struct {
        sqlite3_stmt **stmt;
        const char *sql;
    } statements[] = {
        {&s->put, "INSERT OR REPLACE INTO sandboxes (id, state, created_us, expires_us, body) "
                  "VALUES (?,?,?,?,?)"},
        {&s->del, "DELETE FROM sandboxes WHERE id = ?"},
        {&s->each, "SELECT body FROM sandboxes ORDER BY created_us"},
        {&s->value_get, "SELECT value FROM named_values WHERE name = ?"},
        {&s->value_put, "INSERT OR REPLACE INTO named_values (name, value) VALUES (?,?)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(statements); i++) {
        if (sqlite3_prepare_v2(s->db, statements[i].sql, -1, statements[i].stmt, NULL) != SQLITE_OK)
            return fail(s, err, "prepare");
    }
    return 0;
}

int store_open(const char *path, struct store **ret_store, struct err *err)
{
    struct store *s = xnew(struct store);
    char pragma[64];

    s->lock_fd = -1;
    int rc = take_lock(s, path, err);
    if (rc < 0)
        goto out;
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK) {
        rc = err_set(err, ERR_STORE_FAILED, EIO, "open '%s': %s", path,
                     s->db != NULL ? sqlite3_errmsg(s->db) : "out of memory");
        goto out;
    }
    (void)chmod(path, 0600); /* it holds request environments; a refusal shows in the next open */
    snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", STORE_SCHEMA_VERSION);
    rc = check_version(s, err);
    if (rc == 0 &&
        (sqlite3_exec(s->db,
                      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000",
                      NULL, NULL, NULL) != SQLITE_OK ||
         sqlite3_exec(s->db, schema, NULL, NULL, NULL) != SQLITE_OK ||
         sqlite3_exec(s->db, pragma, NULL, NULL, NULL) != SQLITE_OK))
        rc = fail(s, err, "set up the schema");
    if (rc == 0)
        rc = prepare(s, err);
out:
    if (rc < 0) {
        store_close(s);
        return rc;
    }
    *ret_store = s;
    return 0;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    sqlite3_stmt *all[] = {s->put, s->del, s->each, s->value_get, s->value_put};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        sqlite3_finalize(all[i]);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s);
}

static int run(struct store *s, sqlite3_stmt *stmt, struct err *err, const char *what)
{
    int rc = sqlite3_step(stmt);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return rc == SQLITE_DONE ? 0 : fail(s, err, what);
}

int store_put(struct store *s, const struct sandbox *sb, struct err *err)
{
    cleanup_json json_t *record = record_encode(sb);
    size_t len = 0;
    cleanup_free char *text = record != NULL ? json_compact(record, &len) : NULL;

    if (text == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "store: no memory for the record of %s",
                       sb->id);
    sqlite3_bind_text(s->put, 1, sb->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(s->put, 2, sandbox_state_name(sb->state), -1, SQLITE_STATIC);
    sqlite3_bind_int64(s->put, 3, sb->created_us);
    sqlite3_bind_int64(s->put, 4, sb->expires_us);
    sqlite3_bind_text(s->put, 5, text, (int)len, SQLITE_STATIC);
    return run(s, s->put, err, "write a sandbox");
}

int store_delete(struct store *s, const char *id, struct err *err)
{
    sqlite3_bind_text(s->del, 1, id, -1, SQLITE_STATIC);
    return run(s, s->del, err, "delete a sandbox");
}

int store_each(struct store *s, int (*fn)(void *arg, struct sandbox *sb), void *arg,
               struct err *err)
{
    int rc = 0;

    for (;;) {
        int step = sqlite3_step(s->each);
        if (step == SQLITE_DONE)
            break;
        if (step != SQLITE_ROW) {
            rc = fail(s, err, "read the sandboxes");
            break;
        }
        struct sandbox sb;
        rc = record_decode((const char *)sqlite3_column_text(s->each, 0), &sb, err);
        if (rc < 0)
            break;
        rc = fn(arg, &sb);
        arena_done(&sb.arena);
        if (rc < 0)
            break;
    }
    sqlite3_reset(s->each);
    return rc;
}

static int copy_value(sqlite3_stmt *row, const char *name, char *buf, size_t size, struct err *err)
{
    const char *value = (const char *)sqlite3_column_text(row, 0);

    if (value == NULL || strlen(value) >= size)
        return err_set(err, ERR_STORE_FAILED, EOVERFLOW, "the stored value '%s' does not fit",
                       name);
    memcpy(buf, value, strlen(value) + 1);
    return 0;
}

int store_get_value(struct store *s, const char *name, char *buf, size_t size, struct err *err)
{
    int rc;

    sqlite3_bind_text(s->value_get, 1, name, -1, SQLITE_STATIC);
    switch (sqlite3_step(s->value_get)) {
    case SQLITE_ROW:
        rc = copy_value(s->value_get, name, buf, size, err);
        break;
    case SQLITE_DONE:
        rc = -ENOENT;
        break;
    default:
        rc = fail(s, err, "read a value");
    }
    sqlite3_reset(s->value_get);
    sqlite3_clear_bindings(s->value_get);
    return rc;
}

int store_put_value(struct store *s, const char *name, const char *value, struct err *err)
{
    sqlite3_bind_text(s->value_put, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_text(s->value_put, 2, value, -1, SQLITE_STATIC);
    return run(s, s->value_put, err, "write a value");
}
