/* SPDX-License-Identifier: MIT */
/* The store on disk: bringing a file into use, and finding out where it stands. */
#include "config.h"
#include "history/sqlite/sqlite_store.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_row.h"
#include "history/sqlite/sqlite_vfs.h"

/* How long the writer waits for readers at a checkpoint that must be complete, and a reader for a
 * recovery; in usual work nobody waits. */
#define BUSY_MS 100

/* Damage among the events is passed over; this is where the file could not be written any more. */
#define DAMAGED "%s is damaged: put a sound copy in its place, or move it away to begin anew"

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE events(position INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  published_ms INTEGER NOT NULL, ahead_ms INTEGER NOT NULL, ttl_ms INTEGER NOT NULL,"
    "  total INTEGER NOT NULL, sum INTEGER NOT NULL, names BLOB NOT NULL, body BLOB NOT NULL,"
    "  " SQLITE_STORE_JSON_COLUMN ");"
    "CREATE TABLE topics(topic BLOB NOT NULL, position INTEGER NOT NULL,"
    "  PRIMARY KEY(topic, position)) WITHOUT ROWID;"
    "CREATE TABLE users(user BLOB NOT NULL, position INTEGER NOT NULL,"
    "  PRIMARY KEY(user, position)) WITHOUT ROWID;"
    "CREATE TABLE keys(number INTEGER PRIMARY KEY, position INTEGER NOT NULL,"
    "  stored_ms INTEGER NOT NULL, digest BLOB NOT NULL, key BLOB NOT NULL UNIQUE);"
    "INSERT INTO meta VALUES('epoch', '%s');"
    "INSERT INTO meta VALUES('log', " SQLITE_STORE_NEW_TIE ");"
    "PRAGMA application_id = %d;"
    "PRAGMA user_version = %d;"
    "COMMIT";

static const char settings[] = "PRAGMA trusted_schema = OFF;"
                               "PRAGMA page_size = %d;"
                               "PRAGMA synchronous = FULL;"
                               "PRAGMA cell_size_check = ON;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA cache_size = -16384;"
                               "PRAGMA mmap_size = 0;"
                               "PRAGMA journal_size_limit = 67108864";

/* After the tables of a new file were made in place: a file never needs a log that it does not
 * know. */
static const char use_log[] = "PRAGMA journal_mode = WAL";

/* ---- refusals ---- */

static int refuse_code(int code, const char *path, struct conf_error *ret_error)
{
    if ((code & 0xff) == SQLITE_NOTADB)
        return conf_refuse(ret_error, -1, "%s is not a history of bugle", path);
    if (sqlite_is_damage(code))
        return conf_refuse(ret_error, -1, DAMAGED, path);
    if ((code & 0xff) == SQLITE_READONLY)
        return conf_refuse(ret_error, -1, "%s cannot be written: it is read-only", path);
    return conf_refuse(ret_error, -1, "%s cannot be opened: %s", path, sqlite3_errstr(code & 0xff));
}

static int refuse_as_sqlite(struct sqlite_store *sqlite, const char *path,
                            struct conf_error *ret_error)
{
    return refuse_code(sqlite->db != NULL ? sqlite3_extended_errcode(sqlite->db) : SQLITE_NOMEM,
                       path, ret_error);
}

/* ---- the file ---- */

/* A number that the file has; false when the statement fails.  No row is 0. */
static bool ask_number(struct sqlite_store *sqlite, const char *sql, int64_t *ret_number)
{
    sqlite3_stmt *statement = NULL;
    int64_t number = 0;

    if (sqlite3_prepare_v2(sqlite->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return false;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return false;
    *ret_number = number;
    return true;
}

static bool run_sql(struct sqlite_store *sqlite, const char *sql)
{
    return sqlite3_exec(sqlite->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

/* Whether the file is a history that this version knows, or none yet; changes nothing. */
static int identify(struct sqlite_store *sqlite, const char *path, bool *ret_empty,
                    struct conf_error *ret_error)
{
    int64_t application, format, tables;

    if (!ask_number(sqlite, "PRAGMA application_id", &application) ||
        !ask_number(sqlite, "PRAGMA user_version", &format) ||
        !ask_number(sqlite, "SELECT count(*) FROM sqlite_master", &tables))
        return refuse_as_sqlite(sqlite, path, ret_error);
    *ret_empty = application == 0 && format == 0 && tables == 0;
    if (*ret_empty)
        return 0;
    if (application != SQLITE_STORE_APPLICATION_ID)
        return conf_refuse(ret_error, -1, "%s is not a history of bugle", path);
    if (!sqlite_vfs_is_reserved(sqlite->db))
        return conf_refuse(ret_error, -1, DAMAGED, path);
    if (format < SQLITE_STORE_FORMAT_OLDEST || format > SQLITE_STORE_FORMAT)
        return conf_refuse(
            ret_error, -1, "%s has format %lld, and this version knows formats %d and %d only",
            path, (long long)format, SQLITE_STORE_FORMAT_OLDEST, SQLITE_STORE_FORMAT);
    sqlite->format = (int)format;
    return 0;
}

/* Make the folder's entry of a new file as safe as the file. */
static bool sync_folder(const char *path)
{
    char *copy = strdup(path);
    int fd = copy != NULL ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool done = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    free(copy);
    return done;
}

static int make_schema(struct sqlite_store *sqlite, const char *path, struct conf_error *ret_error)
{
    char epoch[SSE_EPOCH_BYTES + 1], sql[sizeof(schema) + SSE_EPOCH_BYTES + 32];

    if (history_draw_epoch(epoch) != 0)
        return conf_refuse(ret_error, -1, "no random bytes for an epoch");
    snprintf(sql, sizeof(sql), schema, epoch, SQLITE_STORE_APPLICATION_ID, SQLITE_STORE_FORMAT);
    if (!run_sql(sqlite, sql))
        return refuse_as_sqlite(sqlite, path, ret_error);
    sqlite->format = SQLITE_STORE_FORMAT;
    if (!sync_folder(sqlite->path))
        return conf_refuse(ret_error, -1, "the folder of %s cannot be synced: %s", path,
                           strerror(errno));
    return 0;
}

/* The figures of the oldest or newest event.  Returns whether it is there and sound. */
static bool read_end(struct sqlite_store *sqlite, const char *order, struct sqlite_row *ret_row)
{
    sqlite3_stmt *statement = NULL;
    bool sound = false;
    char sql[160];

    snprintf(sql, sizeof(sql),
             "SELECT " SQLITE_STORE_COLUMNS " FROM events ORDER BY position %s LIMIT 1", order);
    if (sqlite3_prepare_v2(sqlite->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return false;
    if (sqlite3_step(statement) == SQLITE_ROW) {
        sqlite_get_row(statement, ret_row);
        sound = sqlite_is_sound(statement, ret_row);
    }
    sqlite3_finalize(statement);
    return sound;
}

/* Bytes and times.  They follow from the two ends of the table, unless one of them is damaged. */
static int read_figures(struct sqlite_store *sqlite)
{
    struct sqlite_row oldest, newest;
    int64_t bytes;

    if (read_end(sqlite, "ASC", &oldest) && read_end(sqlite, "DESC", &newest)) {
        sqlite->oldest_ms = oldest.published_ms;
        sqlite->clock_ms = newest.published_ms + newest.ahead_ms;
        sqlite->total = newest.total;
        sqlite->bytes =
            (size_t)(newest.total - oldest.total) + sqlite_cost(oldest.names_n, oldest.body_n);
        return 0;
    }
    if (!ask_number(sqlite, "SELECT sum(length(names) + length(body)) FROM events", &bytes))
        bytes =
            0; /* nothing is forgotten for its size, until this has been forgotten for its age */
    sqlite->bytes = (size_t)bytes + sqlite->events_n * SSE_TAIL_BYTES;
    sqlite->total = sqlite->bytes;
    sqlite->oldest_ms = 0; /* the first step of trimming finds it out */
    return 0;
}

/* The first position that can be read, where the oldest events are damaged. */
static int64_t search_oldest(struct sqlite_store *sqlite, int64_t newest)
{
    int64_t low = 1, high = newest, position;
    char sql[80];

    while (low < high) {
        int64_t middle = low + (high - low) / 2;

        snprintf(sql, sizeof(sql), "SELECT position FROM events WHERE position = %lld",
                 (long long)middle);
        if (ask_number(sqlite, sql, &position) && position == middle)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int read_keys(struct sqlite_store *sqlite)
{
    int64_t first, last;

    if (!ask_number(sqlite, "SELECT min(number) FROM keys", &first) ||
        !ask_number(sqlite, "SELECT max(number) FROM keys", &last))
        return -1;
    sqlite->first_key = sqlite->next_key = 1;
    sqlite->oldest_key_ms = INT64_MAX;
    if (last == 0)
        return 0;
    sqlite->first_key = (uint64_t)first;
    sqlite->next_key = (uint64_t)last + 1;
    sqlite->oldest_key_ms = 0; /* the first step of trimming finds it out */
    return 0;
}

/* Where the file stands; cheap however large it is. */
int sqlite_read_state(struct sqlite_store *sqlite)
{
    int64_t ever, newest, oldest;

    if (!ask_number(sqlite, "SELECT seq FROM sqlite_sequence WHERE name = 'events'", &ever) ||
        !ask_number(sqlite, "SELECT max(position) FROM events", &newest))
        return -1;
    if (!ask_number(sqlite, "SELECT min(position) FROM events", &oldest))
        oldest = search_oldest(sqlite, newest);
    sqlite->newest = (uint64_t)(ever > newest ? ever : newest);
    sqlite->trimmed = oldest > 0 ? (uint64_t)oldest - 1 : sqlite->newest;
    sqlite->events_n = sqlite->newest - sqlite->trimmed;
    sqlite->trimmed_at = sqlite->newest;
    sqlite->oldest_ms = INT64_MAX;
    sqlite->clock_ms = 0;
    sqlite->bytes = 0;
    if (read_keys(sqlite) != 0)
        return -1;
    return sqlite->events_n > 0 ? read_figures(sqlite) : 0;
}

static int note_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct sqlite_store *sqlite = arg;

    (void)db;
    (void)name;
    if (pages < sqlite->wal_pages)
        sqlite->checkpoint_at = SQLITE_STORE_CHECKPOINT_PAGES; /* it began again at its front */
    sqlite->wal_pages = pages;
    return SQLITE_OK;
}

/* Ready means that a commit would succeed, so see that one does: first what damage could be in the
 * way of, then the log and its sync.  A full disk keeps nobody from reading. */
static int try_to_commit(struct sqlite_store *sqlite, const char *path,
                         struct conf_error *ret_error)
{
    int code = sqlite_try(sqlite);

    if (code == SQLITE_OK)
        code = sqlite_seal(sqlite, false);
    if (code == SQLITE_OK)
        return 0;
    if (sqlite_is_full(sqlite, code)) {
        sqlite_give_up(sqlite, code, "trying to store");
        return 0;
    }
    if (sqlite_is_damage(code) || (code & 0xff) == SQLITE_READONLY)
        return refuse_code(code, path, ret_error);
    return conf_refuse(ret_error, -1, "%s cannot be written: %s", path,
                       sqlite3_errstr(code & 0xff));
}

/* The file itself is to say that it has a log from now on, so the log is moved into it once. */
static int note_opened(struct sqlite_store *sqlite, const char *path, struct conf_error *ret_error)
{
    sqlite->checkpoint_at = 0;
    sqlite_settle(&sqlite->base);
    if (!sqlite->failed)
        return 0;
    return conf_refuse(ret_error, -1, "%s cannot be written: %s", path,
                       sqlite3_errstr(SQLITE_IOERR));
}

static int open_writer(struct sqlite_store *sqlite, const char *path, struct conf_error *ret_error)
{
    if (sqlite3_open_v2(sqlite->path, &sqlite->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                        sqlite_vfs()) != SQLITE_OK)
        return refuse_as_sqlite(sqlite, path, ret_error);
    /* a log that is refused must not be moved into the file by closing it again */
    sqlite3_db_config(sqlite->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_extended_result_codes(sqlite->db, 1);
    sqlite3_busy_timeout(sqlite->db, BUSY_MS);
    return 0;
}

/* Bring the file into use, or make its tables first. */
static int use_file(struct sqlite_store *sqlite, const char *path, bool empty,
                    struct conf_error *ret_error)
{
    char sql[sizeof(settings) + 16];

    if (empty)
        sqlite_vfs_reserve(sqlite->db);
    sqlite_vfs_check(sqlite->db);
    sqlite3_db_release_memory(sqlite->db); /* the first page was read when nothing was checked */
    if (!empty && sqlite_check_log(sqlite, ret_error) != 0)
        return -1;
    snprintf(sql, sizeof(sql), settings, SQLITE_VFS_PAGE_BYTES);
    if (!run_sql(sqlite, sql))
        return refuse_as_sqlite(sqlite, path, ret_error);
    if (empty && make_schema(sqlite, path, ret_error) != 0)
        return -1;
    if (empty && sqlite_read_tie(sqlite->db, &sqlite->tie) != SQLITE_OK)
        return refuse_as_sqlite(sqlite, path, ret_error);
    if (empty)
        sqlite->file_tie = sqlite->tie;
    return run_sql(sqlite, use_log) ? 0 : refuse_as_sqlite(sqlite, path, ret_error);
}

int sqlite_open_file(struct sqlite_store *sqlite, const char *path, struct conf_error *ret_error)
{
    bool empty = false;

    if (open_writer(sqlite, path, ret_error) != 0 ||
        identify(sqlite, path, &empty, ret_error) != 0 ||
        use_file(sqlite, path, empty, ret_error) != 0)
        return -1;
    if (sqlite_prepare(sqlite) != 0 || sqlite_read_lineage(sqlite) != 0 ||
        sqlite_read_state(sqlite) != 0 || sqlite_settle_copy(sqlite) != 0)
        return refuse_as_sqlite(sqlite, path, ret_error);
    sqlite3_wal_hook(sqlite->db, note_wal, sqlite);
    if (try_to_commit(sqlite, path, ret_error) != 0 ||
        (sqlite->file_tie.closed && note_opened(sqlite, path, ret_error) != 0))
        return -1;
    sqlite3_db_config(sqlite->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    sqlite_note_files(sqlite);
    sqlite_note_size(sqlite);
    sqlite_add_reader(sqlite);
    sqlite->is_set_up = true;
    return 0;
}
