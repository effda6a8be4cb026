/* SPDX-License-Identifier: MIT */
/*
 * The store on disk: idempotency keys.  Each stands in the same transaction as its event and
 * outlives it if its window is longer.  They are numbered in the order in which they came, so the
 * oldest are the first ones and their count follows from the two ends.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "history/sqlite/sqlite_internal.h"

int sqlite_put_key(struct sqlite_store *sqlite, const struct message *message, uint64_t number,
                   uint64_t position, int64_t now_ms)
{
    sqlite3_stmt *statement = sqlite->write[WRITE_KEY];

    sqlite3_bind_int64(statement, 1, (int64_t)number);
    sqlite3_bind_int64(statement, 2, (int64_t)position);
    sqlite3_bind_int64(statement, 3, now_ms);
    sqlite_bind(statement, 4, message_digest(message), MESSAGE_DIGEST_BYTES);
    sqlite_bind(statement, 5, message_key(message), message->key_n);
    return sqlite_run(sqlite, WRITE_KEY);
}

/* What a row of `position, stored_ms, digest` says about the event. */
static int judge_key(const struct sqlite_store *sqlite, sqlite3_stmt *row,
                     const struct message *message, int64_t now_ms, uint64_t *ret_position)
{
    const void *digest = sqlite3_column_blob(row, 2);
    bool is_same = message_has_digest(message, digest, (size_t)sqlite3_column_bytes(row, 2));

    if (now_ms - sqlite3_column_int64(row, 1) >= sqlite->limits.key_window_ms)
        return HISTORY_KEY_NEW;
    *ret_position = (uint64_t)sqlite3_column_int64(row, 0);
    return is_same ? HISTORY_KEY_SAME : HISTORY_KEY_OTHER;
}

int sqlite_find_key(struct history *history, const struct message *message, int64_t now_ms,
                    uint64_t *ret_position)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    sqlite3_stmt *statement = sqlite->write[WRITE_FIND_KEY];
    int result = HISTORY_KEY_NEW;

    if (statement == NULL) /* the store was given up and could not be had back */
        return -EIO;
    sqlite_bind(statement, 1, message_key(message), message->key_n);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        result = judge_key(sqlite, statement, message, now_ms, ret_position);
    else if (code != SQLITE_DONE)
        result = sqlite_give_up(sqlite, code, "looking up an idempotency key");
    sqlite3_reset(statement);
    return result;
}

static size_t count_from(const struct sqlite_store *sqlite, uint64_t first)
{
    return (size_t)(sqlite->next_key - first);
}

bool sqlite_has_old_keys(const struct sqlite_store *sqlite, int64_t now_ms)
{
    return count_from(sqlite, sqlite->first_key) > 0 &&
           (count_from(sqlite, sqlite->first_key) > sqlite->limits.keys_max ||
            now_ms - sqlite->oldest_key_ms >= sqlite->limits.key_window_ms);
}

/* Look through the oldest ones for the first that stays. */
static int find_first_to_keep(struct sqlite_store *sqlite, size_t keys_max, int64_t now_ms,
                              struct sqlite_old_keys *old)
{
    sqlite3_stmt *rows = sqlite->write[WRITE_OLDEST_KEYS];
    size_t seen = 0;
    int code;

    sqlite3_bind_int64(rows, 1, (int64_t)keys_max + 1);
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        uint64_t number = (uint64_t)sqlite3_column_int64(rows, 0);
        int64_t stored_ms = sqlite3_column_int64(rows, 1);
        bool is_over = now_ms - stored_ms >= sqlite->limits.key_window_ms;

        old->first_kept = number;
        old->oldest_ms = stored_ms;
        if ((!is_over && count_from(sqlite, number) <= sqlite->limits.keys_max) ||
            seen++ == keys_max)
            break;
        old->early_n += !is_over;
    }
    sqlite3_reset(rows);
    if (code == SQLITE_DONE) {
        old->first_kept = sqlite->next_key;
        old->oldest_ms = INT64_MAX;
    }
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

int sqlite_drop_keys(struct sqlite_store *sqlite, size_t keys_max, int64_t now_ms,
                     struct sqlite_old_keys *ret_old)
{
    *ret_old = (struct sqlite_old_keys){.first_kept = sqlite->first_key,
                                        .oldest_ms = sqlite->oldest_key_ms};
    if (!sqlite_has_old_keys(sqlite, now_ms))
        return SQLITE_OK;
    int code = find_first_to_keep(sqlite, keys_max, now_ms, ret_old);
    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_int64(sqlite->write[WRITE_DROP_KEYS], 1, (int64_t)ret_old->first_kept);
    return sqlite_run(sqlite, WRITE_DROP_KEYS);
}
