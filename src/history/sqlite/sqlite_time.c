/* SPDX-License-Identifier: MIT */
/* The store on disk: what a time is the place of. */
#include "config.h"

#include "history/sqlite/sqlite_internal.h"

/* The latest time that any event up to the one at this position has; INT64_MAX when unknown. */
static int64_t clock_at(const struct sqlite_reader *reader, uint64_t position)
{
    sqlite3_stmt *statement = reader->statements[READ_TIME];

    sqlite3_bind_int64(statement, 1, (int64_t)position);
    int64_t clock_ms =
        sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : INT64_MAX;
    sqlite3_reset(statement);
    return clock_ms;
}

/* The clock may have been set back, so times alone are in no order; the latest time so far is, and
 * the first event that brings it to `since_ms` is the first one that is not older.  What cannot be
 * read counts as late, so that too much is found rather than too little. */
uint64_t sqlite_find_time(struct history *history, int64_t since_ms)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    uint64_t low = sqlite->trimmed, high = sqlite->newest;
    struct sqlite_reader *reader;

    if (sqlite_begin_read(sqlite, &reader) != 0)
        return low;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (clock_at(reader, middle + 1) >= since_ms)
            high = middle;
        else
            low = middle + 1;
    }
    sqlite_end_read(sqlite, reader);
    return low;
}
