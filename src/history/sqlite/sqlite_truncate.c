/* SPDX-License-Identifier: MIT */
/* The store on disk: cutting off the newest events, and going on under another lineage.  See
 * history.h. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "history/sqlite/sqlite_internal.h"

#define SQL_BYTES 400

/* The entries by which the events after a position are found. */
static int drop_entries(struct sqlite_store *sqlite, uint64_t after)
{
    static const char sql[] = "SELECT position, names FROM events WHERE position > ?1";
    sqlite3_stmt *rows = NULL;
    size_t entries_n;
    int code = sqlite3_prepare_v2(sqlite->db, sql, -1, &rows, NULL);

    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_int64(rows, 1, (int64_t)after);
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        code = sqlite_drop_entries(sqlite, sqlite3_column_blob(rows, 1),
                                   (size_t)sqlite3_column_bytes(rows, 1),
                                   (uint64_t)sqlite3_column_int64(rows, 0), &entries_n);
        if (code != SQLITE_OK)
            break;
    }
    sqlite3_finalize(rows);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* The events after a position, their keys, and what tells that others follow. */
static int drop_after(struct sqlite_store *sqlite, uint64_t after)
{
    static const char sql[] = "DELETE FROM events WHERE position > %1$llu;"
                              "DELETE FROM users WHERE user = x'' AND position > %1$llu;"
                              "DELETE FROM keys WHERE position > %1$llu;"
                              "DELETE FROM sqlite_sequence WHERE name = 'events';"
                              "INSERT INTO sqlite_sequence VALUES('events', %1$llu)";
    char text[SQL_BYTES];
    int code = drop_entries(sqlite, after);

    if (code != SQLITE_OK)
        return code;
    snprintf(text, sizeof(text), sql, (unsigned long long)after);
    return sqlite3_exec(sqlite->db, text, NULL, NULL, NULL);
}

/* Everything; the next event is the one after this position. */
static int drop_all(struct sqlite_store *sqlite, uint64_t after)
{
    static const char sql[] = "DELETE FROM events; DELETE FROM topics; DELETE FROM users;"
                              "DELETE FROM keys;"
                              "DELETE FROM sqlite_sequence WHERE name = 'events';"
                              "INSERT INTO sqlite_sequence VALUES('events', %llu)";
    char text[SQL_BYTES];

    snprintf(text, sizeof(text), sql, (unsigned long long)after);
    return sqlite3_exec(sqlite->db, text, NULL, NULL, NULL);
}

/* A reader whose transaction begins after this one is committed notices by `cuts_n` that the newest
 * position it asked for before is none any more. */
static int cut(struct sqlite_store *sqlite, uint64_t after, const struct lineage *lineage)
{
    bool keeps = after >= sqlite->trimmed && after <= sqlite->newest;
    int code = sqlite_begin(sqlite);

    if (code == SQLITE_OK)
        code = keeps ? drop_after(sqlite, after) : drop_all(sqlite, after);
    if (code == SQLITE_OK)
        code = sqlite_put_lineage(sqlite, lineage);
    if (code != SQLITE_OK)
        return code;
    if (keeps)
        sqlite->newest = after;
    sqlite->cuts_n++;
    return sqlite_commit(sqlite);
}

int sqlite_truncate(struct history *history, uint64_t after, struct lineage *lineage)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    uint64_t newest = sqlite->newest;

    if (sqlite->failed) {
        free(lineage);
        return -EIO;
    }
    int code = cut(sqlite, after, lineage);
    if (code != SQLITE_OK) {
        sqlite->newest = newest;
        free(lineage);
        return sqlite_give_up(sqlite, code, "cutting off events");
    }
    history_set_lineage(history, lineage);
    sqlite->open_block = UINT64_MAX;
    if (sqlite_read_state(sqlite) == 0)
        return 0;
    sqlite->failed = true;
    sqlite_tell_trouble(sqlite);
    return -EIO;
}
