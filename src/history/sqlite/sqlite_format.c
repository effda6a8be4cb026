/* SPDX-License-Identifier: MIT */
/*
 * The store on disk: from an older format to the present one.
 *
 *     3  the column `json` of `events`; the digest of a key has 17 bytes
 *     2  without them: every event is a text, and a key may be of either (message_digest())
 *
 * A file is written to before it is brought up to date only by forgetting, by a new epoch, and by
 * the ties of its log, which are the same in both.
 */
#include "config.h"

#include "history/sqlite/sqlite_internal.h"

#define TEXT_OF(number) #number
#define NUMBER_TEXT(number) TEXT_OF(number)

/* The rows stay as they are: SQLite takes the default for what a row does not have. */
static const char renew_sql[] = "ALTER TABLE events ADD COLUMN " SQLITE_STORE_JSON_COLUMN ";"
                                "PRAGMA user_version = " NUMBER_TEXT(SQLITE_STORE_FORMAT);

/* One transaction, as far as it gets. */
static int renew(struct sqlite_store *sqlite, sqlite3_stmt **ret_event)
{
    int code = sqlite_begin(sqlite);

    if (code == SQLITE_OK)
        code = sqlite3_exec(sqlite->db, renew_sql, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite_prepare_event(sqlite, ret_event);
    return code == SQLITE_OK ? sqlite_commit(sqlite) : code;
}

int sqlite_renew_format(struct sqlite_store *sqlite)
{
    sqlite3_stmt *event = NULL;

    if (sqlite->format == SQLITE_STORE_FORMAT)
        return 0;
    int code = renew(sqlite, &event);
    if (code != SQLITE_OK) {
        sqlite3_finalize(event);
        return sqlite_give_up(sqlite, code, "bringing it into another format");
    }
    sqlite3_finalize(sqlite->write[WRITE_EVENT]);
    sqlite->write[WRITE_EVENT] = event;
    log_info("%s had format %d and has format %d now: earlier versions cannot open it any more",
             sqlite->path, sqlite->format, SQLITE_STORE_FORMAT);
    sqlite->format = SQLITE_STORE_FORMAT;
    return 0;
}

void sqlite_adopt(struct history *history)
{
    struct sqlite_store *sqlite = sqlite_of(history);

    if (!sqlite->failed)
        sqlite_renew_format(sqlite);
}
