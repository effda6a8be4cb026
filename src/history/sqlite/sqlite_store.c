/* SPDX-License-Identifier: MIT */
/* The store on disk: appending, beginning and ending.  See sqlite_store.h. */
#include "config.h"
#include "history/sqlite/sqlite_store.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_row.h"

/* The event that is tried and taken back. */
#define TRIAL_BYTES 32768

static const char *const write_sql[WRITE_COUNT] = {
    [WRITE_BEGIN] = "BEGIN IMMEDIATE",
    [WRITE_COMMIT] = "COMMIT",
    [WRITE_ROLLBACK] = "ROLLBACK",
    [WRITE_EVENT] = "INSERT INTO events(published_ms, ahead_ms, ttl_ms, total, sum, names, body)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
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
        log_error("%s: %s: %s: publishing stops until a restart, since nobody knows what reached "
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
}

bool sqlite_is_sound(sqlite3_stmt *statement, const struct sqlite_row *row)
{
    return sqlite_row_sum(row) == (uint64_t)sqlite3_column_int64(statement, 5);
}

/* ---- appending ---- */

static int put_entry(struct sqlite_store *sqlite, enum sqlite_write which,
                     const struct message_name *name, uint64_t position)
{
    sqlite3_stmt *statement = sqlite->write[which];

    sqlite_bind(statement, 1, name->bytes, name->bytes_n);
    sqlite3_bind_int64(statement, 2, (int64_t)position);
    return sqlite_run(sqlite, which);
}

/* What the event is found by. */
static int put_entries(struct sqlite_store *sqlite, const struct message *message,
                       uint64_t position)
{
    static const struct message_name nameless = {.bytes = "", .bytes_n = 0};
    uint64_t block = position - position % SQLITE_STORE_BLOCK;
    int code = SQLITE_OK;

    if (message->users_n > 0) {
        for (size_t i = 0; code == SQLITE_OK && i < message->users_n; i++)
            code = put_entry(sqlite, WRITE_USER, &message_users(message)[i], position);
        return code;
    }
    for (size_t i = 0; code == SQLITE_OK && i < message->topics_n; i++)
        code = put_entry(sqlite, WRITE_TOPIC, &message_topics(message)[i], position);
    if (code == SQLITE_OK && message->topics_n == 0)
        code = put_entry(sqlite, WRITE_TOPIC, &nameless, position);
    if (code == SQLITE_OK && block != sqlite->open_block)
        code = put_entry(sqlite, WRITE_USER, &nameless, block);
    sqlite->open_block = block;
    return code;
}

static int reserve_names(struct sqlite_store *sqlite, size_t names_n)
{
    if (names_n <= sqlite->names_room)
        return SQLITE_OK;
    char *names = realloc(sqlite->names, names_n);
    if (names == NULL)
        return SQLITE_NOMEM;
    sqlite->names = names;
    sqlite->names_room = names_n;
    return SQLITE_OK;
}

static int put_row(struct sqlite_store *sqlite, const struct sqlite_row *row)
{
    sqlite3_stmt *statement = sqlite->write[WRITE_EVENT];

    sqlite3_bind_int64(statement, 1, row->published_ms);
    sqlite3_bind_int64(statement, 2, row->ahead_ms);
    sqlite3_bind_int64(statement, 3, row->ttl_ms);
    sqlite3_bind_int64(statement, 4, (int64_t)row->total);
    sqlite3_bind_int64(statement, 5, (int64_t)sqlite_row_sum(row));
    sqlite_bind(statement, 6, row->names, row->names_n);
    sqlite_bind(statement, 7, row->body, row->body_n);
    int code = sqlite_run(sqlite, WRITE_EVENT);
    if (code != SQLITE_OK)
        return code;
    /* the next number is known before, since a rollback takes its numbers back too */
    return (uint64_t)sqlite3_last_insert_rowid(sqlite->db) == row->position ? SQLITE_OK
                                                                            : SQLITE_CORRUPT;
}

/* What a transaction adds, as far as it has come. */
struct added {
    size_t bytes;
    size_t keys_n;
};

static int put_event(struct sqlite_store *sqlite, const struct message *message, uint64_t position,
                     int64_t now_ms, struct added *added)
{
    size_t names_n = sqlite_row_names_bytes(message);
    struct sqlite_row row = {
        .position = position,
        .published_ms = now_ms,
        .ahead_ms = sqlite->clock_ms > now_ms ? sqlite->clock_ms - now_ms : 0,
        .ttl_ms = message->ttl_ms,
        .names_n = names_n,
        .body = message->frame,
        .body_n = message_body_bytes(message),
    };

    int code = reserve_names(sqlite, names_n);
    if (code != SQLITE_OK)
        return code;
    sqlite_row_put_names(sqlite->names, message);
    row.names = sqlite->names;
    added->bytes += sqlite_cost(row.names_n, row.body_n);
    row.total = sqlite->total + added->bytes;
    code = put_row(sqlite, &row);
    if (code == SQLITE_OK)
        code = put_entries(sqlite, message, position);
    if (code == SQLITE_OK && message->key_n > 0)
        code =
            sqlite_put_key(sqlite, message, sqlite->next_key + added->keys_n++, position, now_ms);
    return code;
}

/* One transaction. */
static int put_events(struct sqlite_store *sqlite, struct message *const *events, size_t events_n,
                      int64_t now_ms, struct added *ret_added)
{
    int code = sqlite_begin(sqlite);

    *ret_added = (struct added){0};
    for (size_t i = 0; code == SQLITE_OK && i < events_n; i++)
        code = put_event(sqlite, events[i], sqlite->newest + 1 + i, now_ms, ret_added);
    return code == SQLITE_OK ? sqlite_commit(sqlite) : code;
}

/* The entries of the event of a row, for another position. */
static int put_entries_as_before(struct sqlite_store *sqlite, sqlite3_stmt *newest,
                                 uint64_t position)
{
    const void *names = sqlite3_column_blob(newest, 0);
    size_t names_n = (size_t)sqlite3_column_bytes(newest, 0), count = 0;
    int code = SQLITE_OK;

    if (!sqlite_row_count_names(names, names_n, &count) || count > names_n)
        return SQLITE_OK; /* damage among the events, which is passed over */
    struct message *message = malloc(sizeof(*message) + count * sizeof(struct message_name));
    if (message == NULL)
        return SQLITE_NOMEM;
    if (sqlite_row_get_names(names, names_n, message))
        code = put_entries(sqlite, message, position);
    free(message);
    return code;
}

/* As if the newest event came again, the way of most: next to its topics, users and key.  And so
 * large that it needs pages of its own, since where the free ones are noted counts too. */
static int put_trial(struct sqlite_store *sqlite)
{
    static const char key_sql[] = "INSERT OR REPLACE INTO keys SELECT number + 1, position, 0, "
                                  "digest, CAST(key || x'00' AS BLOB)"
                                  " FROM keys ORDER BY number DESC LIMIT 1";
    static const char names_sql[] = "SELECT names FROM events ORDER BY position DESC LIMIT 1";
    static const struct message nameless;
    static const char blank[TRIAL_BYTES];
    const struct sqlite_row row = {
        .position = sqlite->newest + 1, .names = "", .body = blank, .body_n = sizeof(blank)};
    sqlite3_stmt *newest = NULL;

    int code = sqlite3_prepare_v2(sqlite->db, names_sql, -1, &newest, NULL);
    if (code == SQLITE_OK && sqlite3_step(newest) == SQLITE_ROW)
        code = put_entries_as_before(sqlite, newest, row.position);
    sqlite3_finalize(newest);
    if (code == SQLITE_OK)
        code = put_row(sqlite, &row);
    sqlite->open_block = UINT64_MAX;
    if (code == SQLITE_OK)
        code = put_entries(sqlite, &nameless, row.position);
    return code == SQLITE_OK ? sqlite3_exec(sqlite->db, key_sql, NULL, NULL, NULL) : code;
}

int sqlite_try(struct sqlite_store *sqlite)
{
    int code = sqlite_run(sqlite, WRITE_BEGIN);

    if (code == SQLITE_OK)
        code = put_trial(sqlite);
    if (!sqlite3_get_autocommit(sqlite->db))
        sqlite_run(sqlite, WRITE_ROLLBACK);
    sqlite->open_block = UINT64_MAX;
    return code;
}

static int append(struct history *history, struct message *const *events, size_t events_n,
                  int64_t now_ms)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    struct added added;

    if (sqlite->failed)
        return -EIO;
    if (sqlite_is_gone(sqlite, true))
        return -ESTALE;
    if (!sqlite_has_room(sqlite, events, events_n))
        return -ENOSPC;
    int code = put_events(sqlite, events, events_n, now_ms, &added);
    if (code != SQLITE_OK)
        return sqlite_give_up(sqlite, code, "storing events");
    sqlite_note_memory(sqlite, true);
    for (size_t i = 0; i < events_n; i++)
        message_seal(events[i], history->epoch, sqlite->newest + 1 + i, now_ms);
    if (sqlite->events_n == 0)
        sqlite->oldest_ms = now_ms;
    if (sqlite->first_key == sqlite->next_key)
        sqlite->oldest_key_ms = now_ms;
    if (now_ms > sqlite->clock_ms)
        sqlite->clock_ms = now_ms;
    sqlite->next_key += added.keys_n;
    sqlite->events_n += events_n;
    sqlite->bytes += added.bytes;
    sqlite->total += added.bytes;
    sqlite->newest += events_n;
    return 0;
}

/* ---- figures ---- */

static void bounds(struct history *history, struct history_bounds *ret_bounds)
{
    struct sqlite_store *sqlite = sqlite_of(history);

    /* trimmed never passes newest, so reading it first keeps them in order */
    ret_bounds->trimmed = sqlite->trimmed;
    ret_bounds->newest = sqlite->newest;
}

static void usage(struct history *history, struct history_usage *ret_usage)
{
    struct sqlite_store *sqlite = sqlite_of(history);

    ret_usage->events_n = sqlite->events_n;
    ret_usage->bytes = sqlite->bytes;
    ret_usage->keys_n = (size_t)(sqlite->next_key - sqlite->first_key);
    ret_usage->keys_early_n = sqlite->keys_early_n;
}

/* ---- beginning and ending ---- */

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

static void free_store(struct history *history)
{
    struct sqlite_store *sqlite = sqlite_of(history);

    sqlite_free_readers(sqlite);
    sqlite_backup_end(history);
    sqlite_close_writer(sqlite, false);
    if (sqlite->file_fd >= 0)
        close(sqlite->file_fd);
    free(sqlite->names);
    free(sqlite->path);
    free(sqlite);
}

static const struct history_ops sqlite_ops = {
    .append = append,
    .read = sqlite_store_read,
    .find_key = sqlite_find_key,
    .settle = sqlite_settle,
    .trim = sqlite_store_trim,
    .watch = sqlite_store_watch,
    .bounds = bounds,
    .find_time = sqlite_find_time,
    .usage = usage,
    .backup_begin = sqlite_backup_begin,
    .backup_step = sqlite_backup_step,
    .backup_end = sqlite_backup_end,
    .release = sqlite_release,
    .reclaim = sqlite_reclaim,
    .follow = sqlite_follow,
    .free = free_store,
};

struct sqlite_store *sqlite_store_new(const struct history_limits *limits)
{
    struct sqlite_store *sqlite = calloc(1, sizeof(*sqlite));

    if (sqlite == NULL)
        return NULL;
    sqlite->base.ops = &sqlite_ops;
    sqlite->base.durability = HISTORY_DISK;
    sqlite->limits = *limits;
    sqlite->lock_fd = -1;
    sqlite->file_fd = -1;
    sqlite->open_block = UINT64_MAX;
    sqlite->first_key = sqlite->next_key = 1;
    sqlite->oldest_key_ms = INT64_MAX;
    sqlite->checkpoint_at = SQLITE_STORE_CHECKPOINT_PAGES;
    sqlite->read_ns_max = SQLITE_STORE_READ_NS_MAX;
    sqlite->read_ns_with_events_max = SQLITE_STORE_READ_NS_WITH_EVENTS_MAX;
    sqlite_init_readers(sqlite);
    return sqlite;
}

int sqlite_prepare(struct sqlite_store *sqlite)
{
    for (size_t i = 0; i < WRITE_COUNT; i++)
        if (sqlite3_prepare_v3(sqlite->db, write_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &sqlite->write[i], NULL) != SQLITE_OK)
            return -1;
    return 0;
}
