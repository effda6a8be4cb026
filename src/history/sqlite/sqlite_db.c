/* SPDX-License-Identifier: MIT */
/* The store on disk: the connection that writes, its statements, and what its errors mean. */
#include "config.h"

#include <assert.h>
#include <errno.h>

#include "base/log.h"
#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_row.h"

static const char *const write_sql[WRITE_COUNT] = {
    [WRITE_BEGIN] = "BEGIN IMMEDIATE",
    [WRITE_COMMIT] = "COMMIT",
    [WRITE_ROLLBACK] = "ROLLBACK",
    [WRITE_EVENT] = "INSERT INTO events(published_ms, ahead_ms, ttl_ms, total, sum, names, body, "
                    "json) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [WRITE_TOPIC] = "INSERT OR IGNORE INTO topics VALUES(?1, ?2)",
    [WRITE_USER] = "INSERT OR IGNORE INTO users VALUES(?1, ?2)",
    [WRITE_OLDEST] = "SELECT position, published_ms, names, length(body) FROM events"
                     " ORDER BY position LIMIT ?1",
    [WRITE_DROP_EVENTS] = "DELETE FROM events WHERE position <= ?1",
    [WRITE_DROP_TOPIC] = "DELETE FROM topics WHERE topic = ?1 AND position = ?2",
    [WRITE_DROP_USER] = "DELETE FROM users WHERE user = ?1 AND position = ?2",
    [WRITE_DROP_BLOCKS] = "DELETE FROM users WHERE user = x'' AND position <= ?1",
    /* a key whose window is over may still be there */
    [WRITE_KEY] = "INSERT OR REPLACE INTO keys VALUES(?1, ?2, ?3, ?4, ?5)",
    [WRITE_FIND_KEY] = "SELECT position, stored_ms, digest FROM keys WHERE key = ?1",
    [WRITE_OLDEST_KEYS] = "SELECT number, stored_ms FROM keys ORDER BY number LIMIT ?1",
    [WRITE_DROP_KEYS] = "DELETE FROM keys WHERE number < ?1",
    [WRITE_TIE] = "INSERT OR REPLACE INTO meta VALUES('log', ?1)",
};

/* Of a file that is not up to date, to try whether it can be written to. */
static const char event_sql_before[] =
    "INSERT INTO events(published_ms, ahead_ms, ttl_ms, total, sum, names, body)"
    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/* ---- errors ---- */

bool sqlite_is_full(struct sqlite_store *sqlite, int code)
{
    int error = sqlite3_system_errno(sqlite->db);

    if ((code & 0xff) == SQLITE_FULL)
        return true;
    return (code == SQLITE_IOERR_WRITE || code == SQLITE_IOERR_SHMSIZE) &&
           (error == ENOSPC || error == EDQUOT || error == EFBIG);
}

static int errno_of(struct sqlite_store *sqlite, int code)
{
    if (sqlite_is_full(sqlite, code))
        return -ENOSPC;
    return (code & 0xff) == SQLITE_NOMEM || code == SQLITE_IOERR_NOMEM ? -ENOMEM : -EIO;
}

int sqlite_give_up(struct sqlite_store *sqlite, int code, const char *what)
{
    int result = errno_of(sqlite, code);
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if ((code & 0xff) == SQLITE_IOERR && !sqlite_is_damage(code) && result == -EIO &&
        !sqlite->failed) {
        sqlite->failed = true;
        log_error("%s: %s: %s: publishing stops until a restart, since it is unknown what reached "
                  "the disk; reading goes on",
                  sqlite->path, what, sqlite3_errmsg(sqlite->db));
    } else if (log_valve_open(&sqlite->valve, &skipped)) {
        log_error("%s: %s: %s%s", sqlite->path, what, sqlite3_errmsg(sqlite->db),
                  log_skipped(more, skipped));
    }
    if (!sqlite3_get_autocommit(sqlite->db))
        sqlite_run(sqlite, WRITE_ROLLBACK);
    sqlite->open_block = UINT64_MAX;
    if (result == -ENOMEM)
        sqlite_note_memory(sqlite, false);
    if (sqlite_is_damage(code) && sqlite->is_set_up)
        sqlite_find_damage(sqlite);
    sqlite_tell_trouble(sqlite);
    return result;
}

/* ---- statements ---- */

int sqlite_bind(sqlite3_stmt *statement, int index, const void *bytes, size_t bytes_n)
{
    return sqlite3_bind_blob(statement, index, bytes_n > 0 ? bytes : "", (int)bytes_n,
                             SQLITE_STATIC);
}

int sqlite_run(struct sqlite_store *sqlite, enum sqlite_write which)
{
    int code = sqlite3_step(sqlite->write[which]);

    sqlite3_reset(sqlite->write[which]);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* A column that older files do not have. */
static uint64_t get_mark(sqlite3_stmt *statement)
{
    return sqlite3_data_count(statement) > 8 ? (uint64_t)sqlite3_column_int64(statement, 8) : 0;
}

void sqlite_get_row(sqlite3_stmt *statement, struct sqlite_row *ret_row)
{
    ret_row->position = (uint64_t)sqlite3_column_int64(statement, 0);
    ret_row->published_ms = sqlite3_column_int64(statement, 1);
    ret_row->ahead_ms = sqlite3_column_int64(statement, 2);
    ret_row->ttl_ms = sqlite3_column_int64(statement, 3);
    ret_row->total = (uint64_t)sqlite3_column_int64(statement, 4);
    ret_row->names = sqlite3_column_blob(statement, 6);
    ret_row->names_n = (size_t)sqlite3_column_bytes(statement, 6);
    ret_row->body = sqlite3_column_blob(statement, 7);
    ret_row->body_n = (size_t)sqlite3_column_bytes(statement, 7);
    ret_row->is_json = get_mark(statement) != 0;
}

bool sqlite_is_sound(sqlite3_stmt *statement, const struct sqlite_row *row)
{
    uint64_t sum = sqlite_row_sum(row);

    return sum == (uint64_t)sqlite3_column_int64(statement, 5) &&
           (!row->is_json || get_mark(statement) == sqlite_row_mark(sum));
}

static int prepare(struct sqlite_store *sqlite, const char *sql, sqlite3_stmt **ret_statement)
{
    return sqlite3_prepare_v3(sqlite->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_statement, NULL);
}

int sqlite_prepare_event(struct sqlite_store *sqlite, sqlite3_stmt **ret_statement)
{
    return prepare(sqlite, write_sql[WRITE_EVENT], ret_statement);
}

int sqlite_prepare(struct sqlite_store *sqlite)
{
    bool is_old = sqlite->format < SQLITE_STORE_FORMAT;

    for (size_t i = 0; i < WRITE_COUNT; i++)
        if (prepare(sqlite, i == WRITE_EVENT && is_old ? event_sql_before : write_sql[i],
                    &sqlite->write[i]) != SQLITE_OK)
            return -1;
    return 0;
}

void sqlite_close_writer(struct sqlite_store *sqlite, bool leaves_log)
{
    int keeps_log = 1;

    if (sqlite->is_set_up && !sqlite->failed && !sqlite->tie.closed && !leaves_log)
        sqlite_seal(sqlite, true); /* if it fails, the log stays */
    sqlite->is_set_up = false;
    for (size_t i = 0; i < WRITE_COUNT; i++) {
        sqlite3_finalize(sqlite->write[i]);
        sqlite->write[i] = NULL;
    }
    if (sqlite->db != NULL && sqlite->gone) /* what now has the name of the log may be another's */
        sqlite3_file_control(sqlite->db, "main", SQLITE_FCNTL_PERSIST_WAL, &keeps_log);
    /* after an error of the disk, what was not acknowledged must not be moved into the file */
    if (sqlite->db != NULL && (sqlite->failed || leaves_log))
        sqlite3_db_config(sqlite->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int code = sqlite3_close(sqlite->db);
    assert(code == SQLITE_OK);
    sqlite->db = NULL;
    sqlite_unlock(sqlite);
}
