/* SPDX-License-Identifier: MIT */
/* The store on disk: appending. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_row.h"

/* The event that is tried and taken back. */
#define TRIAL_BYTES 32768

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
    uint64_t sum = sqlite_row_sum(row);

    sqlite3_bind_int64(statement, 1, row->published_ms);
    sqlite3_bind_int64(statement, 2, row->ahead_ms);
    sqlite3_bind_int64(statement, 3, row->ttl_ms);
    sqlite3_bind_int64(statement, 4, (int64_t)row->total);
    sqlite3_bind_int64(statement, 5, (int64_t)sum);
    sqlite_bind(statement, 6, row->names, row->names_n);
    sqlite_bind(statement, 7, row->body, row->body_n);
    if (sqlite->format == SQLITE_STORE_FORMAT)
        sqlite3_bind_int64(statement, 8, row->is_json ? (int64_t)sqlite_row_mark(sum) : 0);
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
    int64_t clock_ms; /* the latest time so far */
};

static int put_event(struct sqlite_store *sqlite, const struct message *message, uint64_t position,
                     int64_t published_ms, struct added *added)
{
    size_t names_n = sqlite_row_names_bytes(message);
    struct sqlite_row row = {
        .position = position,
        .published_ms = published_ms,
        .ahead_ms = added->clock_ms > published_ms ? added->clock_ms - published_ms : 0,
        .ttl_ms = message->ttl_ms,
        .names_n = names_n,
        .body = message->frame,
        .body_n = message_body_bytes(message),
        .is_json = message->is_json,
    };

    int code = reserve_names(sqlite, names_n);
    if (code != SQLITE_OK)
        return code;
    sqlite_row_put_names(sqlite->names, message);
    row.names = sqlite->names;
    added->bytes += sqlite_cost(row.names_n, row.body_n);
    row.total = sqlite->total + added->bytes;
    added->clock_ms = published_ms + row.ahead_ms;
    code = put_row(sqlite, &row);
    if (code == SQLITE_OK)
        code = put_entries(sqlite, message, position);
    if (code == SQLITE_OK && message->key_n > 0)
        code = sqlite_put_key(sqlite, message, sqlite->next_key + added->keys_n++, position,
                              published_ms);
    return code;
}

/* One transaction.  `now_ms` is the time of all of them; -1: they are sealed, each with its own. */
static int put_events(struct sqlite_store *sqlite, struct message *const *events, size_t events_n,
                      int64_t now_ms, struct added *ret_added)
{
    int code = sqlite_begin(sqlite);

    *ret_added = (struct added){.clock_ms = sqlite->clock_ms};
    for (size_t i = 0; code == SQLITE_OK && i < events_n; i++)
        code = put_event(sqlite, events[i], sqlite->newest + 1 + i,
                         now_ms >= 0 ? now_ms : events[i]->published_ms, ret_added);
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

/* Whether each commit is synced: yes where it is what makes events safe, and not where a shared log
 * has them. */
static int set_hasty(struct sqlite_store *sqlite, bool is_hasty)
{
    if (sqlite->is_hasty == is_hasty)
        return SQLITE_OK;
    sqlite->is_hasty = is_hasty;
    return sqlite3_exec(sqlite->db,
                        is_hasty ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL",
                        NULL, NULL, NULL);
}

static void note_added(struct sqlite_store *sqlite, size_t events_n, const struct added *added,
                       int64_t first_ms)
{
    sqlite_note_memory(sqlite, true);
    if (sqlite->events_n == 0)
        sqlite->oldest_ms = first_ms;
    if (sqlite->first_key == sqlite->next_key)
        sqlite->oldest_key_ms = first_ms;
    sqlite->clock_ms = added->clock_ms;
    sqlite->next_key += added->keys_n;
    sqlite->events_n += events_n;
    sqlite->bytes += added->bytes;
    sqlite->total += added->bytes;
}

/* Commit them; as put_events().  Returns as history_append(). */
static int store(struct sqlite_store *sqlite, struct message *const *events, size_t events_n,
                 int64_t now_ms, struct added *ret_added)
{
    if (sqlite->failed)
        return -EIO;
    if (sqlite_is_gone(sqlite, true))
        return -ESTALE;
    if (!sqlite_has_room(sqlite, events, events_n))
        return -ENOSPC;
    int result = sqlite_renew_format(sqlite);
    if (result != 0)
        return result;
    int code = set_hasty(sqlite, now_ms < 0);
    if (code == SQLITE_OK)
        code = put_events(sqlite, events, events_n, now_ms, ret_added);
    return code == SQLITE_OK ? 0 : sqlite_give_up(sqlite, code, "storing events");
}

int sqlite_append(struct history *history, struct message *const *events, size_t events_n,
                  int64_t now_ms)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    struct added added;
    int result = store(sqlite, events, events_n, now_ms, &added);

    if (result != 0)
        return result;
    for (size_t i = 0; i < events_n; i++)
        message_seal(events[i], history_epoch(history), sqlite->newest + 1 + i, now_ms);
    note_added(sqlite, events_n, &added, now_ms);
    sqlite->newest += events_n;
    return 0;
}

int sqlite_apply(struct history *history, struct message *const *events, size_t events_n)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    struct added added;

    if (events_n == 0)
        return 0;
    int result = store(sqlite, events, events_n, -1, &added);
    if (result != 0)
        return result;
    note_added(sqlite, events_n, &added, events[0]->published_ms);
    sqlite->newest += events_n;
    return 0;
}
