/* SPDX-License-Identifier: MIT */
/* The store on disk: opening, appending, ending.  See history_sqlite.h. */
#include "config.h"
#include "history_sqlite.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "history_row.h"
#include "history_sqlite_internal.h"
#include "history_vfs.h"
#include "log.h"

/* What the file says it is (the four letters "Bugl"), and in which format. */
#define APPLICATION_ID 0x4275676c
#define FORMAT 1

#define NUMBER_TEXT(number) #number
#define AS_TEXT(macro) NUMBER_TEXT(macro)

/* How long the writer waits for readers at a checkpoint that must be complete, and a reader for a
 * recovery; in usual work nobody waits. */
#define BUSY_MS 100
#define CHECKPOINT_PAGES 1000

/* Damage among the events is passed over; this is where the file could not be written any more. */
#define DAMAGED "%s is damaged: put a sound copy in its place, or move it away to begin anew"

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE events(position INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  published_ms INTEGER NOT NULL, ahead_ms INTEGER NOT NULL, ttl_ms INTEGER NOT NULL,"
    "  total INTEGER NOT NULL, sum INTEGER NOT NULL, names BLOB NOT NULL, body BLOB NOT NULL);"
    "CREATE TABLE topics(topic BLOB NOT NULL, position INTEGER NOT NULL,"
    "  PRIMARY KEY(topic, position)) WITHOUT ROWID;"
    "CREATE TABLE users(user BLOB NOT NULL, position INTEGER NOT NULL,"
    "  PRIMARY KEY(user, position)) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('epoch', '%s');"
    "PRAGMA application_id = " AS_TEXT(APPLICATION_ID) ";"
                                                       "PRAGMA user_version = " AS_TEXT(
                                                           FORMAT) ";"
                                                                   "COMMIT";

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
};

/* ---- errors ---- */

static int refuse(struct conf_error *ret_error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int refuse(struct conf_error *ret_error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(ret_error->text, sizeof(ret_error->text), format, arguments);
    va_end(arguments);
    return -1;
}

static int refuse_as_sqlite(struct history_sqlite *sqlite, const char *path,
                            struct conf_error *ret_error)
{
    int code = sqlite->db != NULL ? sqlite3_errcode(sqlite->db) : SQLITE_NOMEM;

    if (code == SQLITE_NOTADB)
        return refuse(ret_error, "%s is not a history of bugle", path);
    if (history_sqlite_is_damage(sqlite3_extended_errcode(sqlite->db)))
        return refuse(ret_error, DAMAGED, path);
    return refuse(ret_error, "%s cannot be opened: %s", path, sqlite3_errstr(code));
}

/* A full disk is the one error after which trying again is sound: SQLite has taken the transaction
 * back, and nothing that was acknowledged depends on what could not be written. */
static bool is_full(struct history_sqlite *sqlite, int code)
{
    int error = sqlite3_system_errno(sqlite->db);

    if ((code & 0xff) == SQLITE_FULL)
        return true;
    return (code == SQLITE_IOERR_WRITE || code == SQLITE_IOERR_SHMSIZE) &&
           (error == ENOSPC || error == EDQUOT);
}

static int errno_of(struct history_sqlite *sqlite, int code)
{
    if (is_full(sqlite, code))
        return -ENOSPC;
    return (code & 0xff) == SQLITE_NOMEM || code == SQLITE_IOERR_NOMEM ? -ENOMEM : -EIO;
}

int history_sqlite_give_up(struct history_sqlite *sqlite, int code, const char *what)
{
    int result = errno_of(sqlite, code);
    unsigned long skipped;

    if ((code & 0xff) == SQLITE_IOERR && !history_sqlite_is_damage(code) && result == -EIO &&
        !sqlite->failed) {
        sqlite->failed = true;
        log_error("%s: %s: %s: publishing stops until a restart, since nobody knows what reached "
                  "the disk; reading goes on",
                  sqlite->path, what, sqlite3_errmsg(sqlite->db));
    } else if (log_valve_open(&sqlite->valve, &skipped)) {
        log_error("%s: %s: %s (%lu more like it)", sqlite->path, what, sqlite3_errmsg(sqlite->db),
                  skipped);
    }
    if (!sqlite3_get_autocommit(sqlite->db))
        history_sqlite_run(sqlite, WRITE_ROLLBACK);
    sqlite->open_block = UINT64_MAX;
    return result;
}

/* ---- statements ---- */

int history_sqlite_bind(sqlite3_stmt *statement, int index, const void *bytes, size_t bytes_n)
{
    return sqlite3_bind_blob(statement, index, bytes_n > 0 ? bytes : "", (int)bytes_n,
                             SQLITE_STATIC);
}

int history_sqlite_run(struct history_sqlite *sqlite, enum history_sqlite_write which)
{
    int code = sqlite3_step(sqlite->write[which]);

    sqlite3_reset(sqlite->write[which]);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

void history_sqlite_get_row(sqlite3_stmt *statement, struct history_row *ret_row)
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

bool history_sqlite_is_sound(sqlite3_stmt *statement, const struct history_row *row)
{
    return history_row_sum(row) == (uint64_t)sqlite3_column_int64(statement, 5);
}

/* ---- appending ---- */

static int put_key(struct history_sqlite *sqlite, enum history_sqlite_write which,
                   const struct message_name *name, uint64_t position)
{
    sqlite3_stmt *statement = sqlite->write[which];

    history_sqlite_bind(statement, 1, name->bytes, name->bytes_n);
    sqlite3_bind_int64(statement, 2, (int64_t)position);
    return history_sqlite_run(sqlite, which);
}

static int put_keys(struct history_sqlite *sqlite, const struct message *message, uint64_t position)
{
    static const struct message_name nameless = {.bytes = "", .bytes_n = 0};
    uint64_t block = position - position % HISTORY_SQLITE_BLOCK;
    int code = SQLITE_OK;

    if (message->users_n > 0) {
        for (size_t i = 0; code == SQLITE_OK && i < message->users_n; i++)
            code = put_key(sqlite, WRITE_USER, &message_users(message)[i], position);
        return code;
    }
    for (size_t i = 0; code == SQLITE_OK && i < message->topics_n; i++)
        code = put_key(sqlite, WRITE_TOPIC, &message_topics(message)[i], position);
    if (code == SQLITE_OK && message->topics_n == 0)
        code = put_key(sqlite, WRITE_TOPIC, &nameless, position);
    if (code == SQLITE_OK && block != sqlite->open_block)
        code = put_key(sqlite, WRITE_USER, &nameless, block);
    sqlite->open_block = block;
    return code;
}

static int reserve_names(struct history_sqlite *sqlite, size_t names_n)
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

static int put_row(struct history_sqlite *sqlite, const struct history_row *row)
{
    sqlite3_stmt *statement = sqlite->write[WRITE_EVENT];

    sqlite3_bind_int64(statement, 1, row->published_ms);
    sqlite3_bind_int64(statement, 2, row->ahead_ms);
    sqlite3_bind_int64(statement, 3, row->ttl_ms);
    sqlite3_bind_int64(statement, 4, (int64_t)row->total);
    sqlite3_bind_int64(statement, 5, (int64_t)history_row_sum(row));
    history_sqlite_bind(statement, 6, row->names, row->names_n);
    history_sqlite_bind(statement, 7, row->body, row->body_n);
    int code = history_sqlite_run(sqlite, WRITE_EVENT);
    if (code != SQLITE_OK)
        return code;
    /* the next number is known before, since a rollback takes its numbers back too */
    return (uint64_t)sqlite3_last_insert_rowid(sqlite->db) == row->position ? SQLITE_OK
                                                                            : SQLITE_CORRUPT;
}

/* Adds to `bytes` what the event counts. */
static int put_event(struct history_sqlite *sqlite, const struct message *message,
                     uint64_t position, int64_t now_ms, size_t *bytes)
{
    size_t names_n = history_row_names_bytes(message);
    struct history_row row = {
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
    history_row_put_names(sqlite->names, message);
    row.names = sqlite->names;
    *bytes += history_sqlite_cost(row.names_n, row.body_n);
    row.total = sqlite->total + *bytes;
    code = put_row(sqlite, &row);
    return code == SQLITE_OK ? put_keys(sqlite, message, position) : code;
}

/* One transaction; `ret_bytes` gets what it adds. */
static int put_events(struct history_sqlite *sqlite, struct message *const *events, size_t events_n,
                      int64_t now_ms, size_t *ret_bytes)
{
    int code = history_sqlite_run(sqlite, WRITE_BEGIN);

    *ret_bytes = 0;
    for (size_t i = 0; code == SQLITE_OK && i < events_n; i++)
        code = put_event(sqlite, events[i], sqlite->newest + 1 + i, now_ms, ret_bytes);
    return code == SQLITE_OK ? history_sqlite_run(sqlite, WRITE_COMMIT) : code;
}

static int append(struct history *history, struct message *const *events, size_t events_n,
                  int64_t now_ms)
{
    struct history_sqlite *sqlite = history_sqlite_of(history);
    size_t bytes;

    if (sqlite->failed)
        return -EIO;
    int code = put_events(sqlite, events, events_n, now_ms, &bytes);
    if (code != SQLITE_OK)
        return history_sqlite_give_up(sqlite, code, "storing events");
    for (size_t i = 0; i < events_n; i++)
        message_seal(events[i], history->epoch, sqlite->newest + 1 + i, now_ms);
    if (sqlite->events_n == 0)
        sqlite->oldest_ms = now_ms;
    if (now_ms > sqlite->clock_ms)
        sqlite->clock_ms = now_ms;
    sqlite->events_n += events_n;
    sqlite->bytes += bytes;
    sqlite->total += bytes;
    sqlite->newest += events_n;
    return 0;
}

/* ---- figures ---- */

static void bounds(struct history *history, struct history_bounds *ret_bounds)
{
    struct history_sqlite *sqlite = history_sqlite_of(history);

    /* trimmed never passes newest, so reading it first keeps them in order */
    ret_bounds->trimmed = sqlite->trimmed;
    ret_bounds->newest = sqlite->newest;
}

static void usage(struct history *history, size_t *ret_events, size_t *ret_bytes)
{
    struct history_sqlite *sqlite = history_sqlite_of(history);

    *ret_events = sqlite->events_n;
    *ret_bytes = sqlite->bytes;
}

/* ---- ending ---- */

static void free_store(struct history *history)
{
    struct history_sqlite *sqlite = history_sqlite_of(history);

    history_sqlite_free_readers(sqlite);
    pthread_mutex_destroy(&sqlite->readers_lock);
    for (size_t i = 0; i < WRITE_COUNT; i++)
        sqlite3_finalize(sqlite->write[i]);
    /* after an error of the disk, what was not acknowledged must not be moved into the file */
    if (sqlite->db != NULL && sqlite->failed)
        sqlite3_db_config(sqlite->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int code = sqlite3_close(sqlite->db);
    assert(code == SQLITE_OK);
    if (sqlite->lock_fd >= 0)
        close(sqlite->lock_fd);
    free(sqlite->names);
    free(sqlite->path);
    free(sqlite);
}

static const struct history_ops sqlite_ops = {
    .append = append,
    .read = history_sqlite_read,
    .trim = history_sqlite_trim,
    .bounds = bounds,
    .find_time = history_sqlite_find_time,
    .usage = usage,
    .free = free_store,
};

/* ---- opening ---- */

/* A number that the file has; false when the statement fails.  No row is 0. */
static bool ask_number(struct history_sqlite *sqlite, const char *sql, int64_t *ret_number)
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

static bool run_sql(struct history_sqlite *sqlite, const char *sql)
{
    return sqlite3_exec(sqlite->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

/* The file, empty if it was not there: for its owner only, since events may be private.  It must
 * not be opened here when it was there: closing it would drop the locks that this process has. */
static int touch(const char *path, struct conf_error *ret_error)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat facts;

    if (fd >= 0)
        close(fd);
    else if (errno != EEXIST)
        return refuse(ret_error, "%s cannot be made: %s", path, strerror(errno));
    if (stat(path, &facts) != 0)
        return refuse(ret_error, "%s: %s", path, strerror(errno));
    return S_ISREG(facts.st_mode) ? 0 : refuse(ret_error, "%s is no file", path);
}

static int lock(struct history_sqlite *sqlite, struct conf_error *ret_error)
{
    char *path;

    if (asprintf(&path, "%s.lock", sqlite->path) < 0)
        return refuse(ret_error, "out of memory");
    sqlite->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int result = 0;
    if (sqlite->lock_fd < 0)
        result = refuse(ret_error, "%s cannot be opened: %s", path, strerror(errno));
    else if (flock(sqlite->lock_fd, LOCK_EX | LOCK_NB) != 0)
        result = errno == EWOULDBLOCK
                     ? refuse(ret_error, "%s is in use by another process", sqlite->path)
                     : refuse(ret_error, "%s cannot be locked: %s", path, strerror(errno));
    free(path);
    return result;
}

/* Whether the file is a history that this version knows, or none yet; changes nothing. */
static int identify(struct history_sqlite *sqlite, const char *path, bool *ret_empty,
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
    if (application != APPLICATION_ID)
        return refuse(ret_error, "%s is not a history of bugle", path);
    if (!history_vfs_is_reserved(sqlite->db))
        return refuse(ret_error, DAMAGED, path);
    if (format != FORMAT)
        return refuse(ret_error, "%s has format %lld, and this version knows format %d only", path,
                      (long long)format, FORMAT);
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

static int make_schema(struct history_sqlite *sqlite, const char *path,
                       struct conf_error *ret_error)
{
    char epoch[SSE_EPOCH_BYTES + 1], sql[sizeof(schema) + SSE_EPOCH_BYTES];

    if (history_draw_epoch(epoch) != 0)
        return refuse(ret_error, "no random bytes for an epoch");
    snprintf(sql, sizeof(sql), schema, epoch);
    if (!run_sql(sqlite, sql))
        return refuse_as_sqlite(sqlite, path, ret_error);
    if (!sync_folder(sqlite->path))
        return refuse(ret_error, "the folder of %s cannot be synced: %s", path, strerror(errno));
    return 0;
}

static int read_epoch(struct history_sqlite *sqlite)
{
    sqlite3_stmt *statement = NULL;
    int result = -1;

    if (sqlite3_prepare_v2(sqlite->db, "SELECT value FROM meta WHERE name = 'epoch'", -1,
                           &statement, NULL) != SQLITE_OK)
        return -1;
    if (sqlite3_step(statement) == SQLITE_ROW &&
        sqlite3_column_bytes(statement, 0) == SSE_EPOCH_BYTES) {
        memcpy(sqlite->base.epoch, sqlite3_column_blob(statement, 0), SSE_EPOCH_BYTES);
        result = 0;
    }
    sqlite3_finalize(statement);
    return result;
}

/* The figures of the oldest or newest event.  Returns whether it is there and sound. */
static bool read_end(struct history_sqlite *sqlite, const char *order, struct history_row *ret_row)
{
    sqlite3_stmt *statement = NULL;
    bool sound = false;
    char sql[160];

    snprintf(sql, sizeof(sql),
             "SELECT " HISTORY_SQLITE_COLUMNS " FROM events ORDER BY position %s LIMIT 1", order);
    if (sqlite3_prepare_v2(sqlite->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return false;
    if (sqlite3_step(statement) == SQLITE_ROW) {
        history_sqlite_get_row(statement, ret_row);
        sound = history_sqlite_is_sound(statement, ret_row);
    }
    sqlite3_finalize(statement);
    return sound;
}

/* Bytes and times.  They follow from the two ends of the table, unless one of them is damaged. */
static int read_figures(struct history_sqlite *sqlite)
{
    struct history_row oldest, newest;
    int64_t bytes;

    if (read_end(sqlite, "ASC", &oldest) && read_end(sqlite, "DESC", &newest)) {
        sqlite->oldest_ms = oldest.published_ms;
        sqlite->clock_ms = newest.published_ms + newest.ahead_ms;
        sqlite->total = newest.total;
        sqlite->bytes = (size_t)(newest.total - oldest.total) +
                        history_sqlite_cost(oldest.names_n, oldest.body_n);
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
static int64_t search_oldest(struct history_sqlite *sqlite, int64_t newest)
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

/* Where the file stands; cheap however large it is. */
static int read_state(struct history_sqlite *sqlite)
{
    int64_t ever, newest, oldest;

    if (read_epoch(sqlite) != 0 ||
        !ask_number(sqlite, "SELECT seq FROM sqlite_sequence WHERE name = 'events'", &ever) ||
        !ask_number(sqlite, "SELECT max(position) FROM events", &newest))
        return -1;
    if (!ask_number(sqlite, "SELECT min(position) FROM events", &oldest))
        oldest = search_oldest(sqlite, newest);
    sqlite->newest = (uint64_t)(ever > newest ? ever : newest);
    sqlite->trimmed = oldest > 0 ? (uint64_t)oldest - 1 : sqlite->newest;
    sqlite->events_n = sqlite->newest - sqlite->trimmed;
    sqlite->oldest_ms = INT64_MAX;
    return sqlite->events_n > 0 ? read_figures(sqlite) : 0;
}

static int prepare(struct history_sqlite *sqlite)
{
    for (size_t i = 0; i < WRITE_COUNT; i++)
        if (sqlite3_prepare_v3(sqlite->db, write_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &sqlite->write[i], NULL) != SQLITE_OK)
            return -1;
    return 0;
}

static int note_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct history_sqlite *sqlite = arg;

    (void)db;
    (void)name;
    if (pages < sqlite->wal_pages)
        sqlite->checkpoint_at = CHECKPOINT_PAGES; /* it began again at its front */
    sqlite->wal_pages = pages;
    return SQLITE_OK;
}

/* With the lock held: what only the owner of the file may do. */
static int set_up(struct history_sqlite *sqlite, const char *path, struct conf_error *ret_error)
{
    bool empty = false;

    if (sqlite3_open_v2(sqlite->path, &sqlite->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                        history_vfs()) != SQLITE_OK)
        return refuse_as_sqlite(sqlite, path, ret_error);
    sqlite3_extended_result_codes(sqlite->db, 1);
    sqlite3_busy_timeout(sqlite->db, BUSY_MS);
    if (identify(sqlite, path, &empty, ret_error) != 0)
        return -1;
    if (empty)
        history_vfs_reserve(sqlite->db);
    history_vfs_check(sqlite->db);
    if (!run_sql(
            sqlite,
            "PRAGMA trusted_schema = OFF; PRAGMA page_size = " AS_TEXT(
                HISTORY_VFS_PAGE_BYTES) ";"
                                        "PRAGMA journal_mode = WAL;"
                                        "PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON;"
                                        "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;"
                                        "PRAGMA mmap_size = 0; PRAGMA journal_size_limit = "
                                        "67108864"))
        return refuse_as_sqlite(sqlite, path, ret_error);
    if (empty && make_schema(sqlite, path, ret_error) != 0)
        return -1;
    if (read_state(sqlite) != 0 || prepare(sqlite) != 0)
        return refuse_as_sqlite(sqlite, path, ret_error);
    sqlite3_wal_hook(sqlite->db, note_wal, sqlite);
    return 0;
}

struct history *history_sqlite_open(const char *path, const struct history_limits *limits,
                                    struct conf_error *ret_error)
{
    struct history_sqlite *sqlite;

    if (touch(path, ret_error) != 0)
        return NULL;
    sqlite = calloc(1, sizeof(*sqlite));
    if (sqlite == NULL) {
        refuse(ret_error, "out of memory");
        return NULL;
    }
    sqlite->base.ops = &sqlite_ops;
    sqlite->base.durability = HISTORY_DISK;
    sqlite->limits = *limits;
    sqlite->lock_fd = -1;
    sqlite->open_block = UINT64_MAX;
    sqlite->checkpoint_at = CHECKPOINT_PAGES;
    pthread_mutex_init(&sqlite->readers_lock, NULL);
    SLIST_INIT(&sqlite->readers);
    sqlite->path = realpath(path, NULL);
    int result = sqlite->path != NULL ? lock(sqlite, ret_error)
                                      : refuse(ret_error, "%s: %s", path, strerror(errno));
    if (result == 0)
        result = set_up(sqlite, path, ret_error);
    if (result == 0)
        return &sqlite->base;
    free_store(&sqlite->base);
    return NULL;
}
