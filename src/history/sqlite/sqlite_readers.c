/* SPDX-License-Identifier: MIT */
/*
 * The store on disk: the connections that read, and the moment without any of them in which the log
 * can begin again at its front.
 *
 * A log that only grows costs every commit: its end has moved, so the file system writes its own
 * journal with each sync, where it would otherwise write the pages alone (half as long again by
 * measurement, and an order of magnitude now and then).  Readers that come one upon the other keep
 * it growing.  So when it is time the hub bars new reads, goes on committing, and moves the log
 * into the file as soon as those under way have ended.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/thread.h"
#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_vfs.h"

/* Room for the inner pages of the table of events at ten million of them. */
#define CACHE_KIB "8192"
#define BUSY_MS 1000
/* Of the virtual machine of SQLite; a row of a page takes some 20. */
#define STEPS_BETWEEN_WAYS 400

/* So long do reads wait at most for the hub to come by again; it does so after each commit. */
#define BARRED_NS_MAX (50 * INT64_C(1000000))
/* So long does a hub wait that came by later than that: a page and some. */
#define WAIT_NS_MAX (25 * INT64_C(1000000))

static const char *const read_sql[READ_COUNT] = {
    [READ_BEGIN] = "BEGIN",
    [READ_END] = "COMMIT",
    [READ_OLDEST] = "SELECT min(position) FROM events",
    [READ_EVENTS] = "SELECT " SQLITE_STORE_COLUMNS " FROM events"
                    " WHERE position BETWEEN ?1 AND ?2 ORDER BY position",
    [READ_TOPIC] = "SELECT position FROM topics WHERE topic = ?1 AND position BETWEEN ?2 AND ?3"
                   " ORDER BY position",
    [READ_USER] = "SELECT position FROM users WHERE user = ?1 AND position BETWEEN ?2 AND ?3"
                  " ORDER BY position",
    [READ_EVENTS_BACK] = "SELECT " SQLITE_STORE_COLUMNS " FROM events"
                         " WHERE position BETWEEN ?1 AND ?2 ORDER BY position DESC",
    [READ_TOPIC_BACK] = "SELECT position FROM topics WHERE topic = ?1"
                        " AND position BETWEEN ?2 AND ?3 ORDER BY position DESC",
    [READ_USER_BACK] = "SELECT position FROM users WHERE user = ?1"
                       " AND position BETWEEN ?2 AND ?3 ORDER BY position DESC",
    [READ_NEXT_TOPIC] = "SELECT topic FROM topics WHERE topic >= ?1 AND topic < ?2"
                        " ORDER BY topic LIMIT 1",
    [READ_TIME] = "SELECT published_ms + ahead_ms FROM events WHERE position >= ?1"
                  " ORDER BY position LIMIT 1",
};

/* ---- connections ---- */

static void free_reader(struct sqlite_reader *reader)
{
    for (size_t i = 0; i < READ_COUNT; i++)
        sqlite3_finalize(reader->statements[i]);
    sqlite3_close(reader->db);
    free(reader->names);
    free(reader);
}

/* Asked by SQLite during a read. */
static int make_way(void *unused)
{
    (void)unused;
    thread_make_way();
    return 0;
}

static int open_reader(const struct sqlite_store *sqlite, struct sqlite_reader *reader)
{
    int code = sqlite3_open_v2(sqlite->path, &reader->db,
                               SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, sqlite_vfs());

    if (code != SQLITE_OK)
        return code;
    sqlite_vfs_check(reader->db);
    sqlite3_extended_result_codes(reader->db, 1);
    sqlite3_busy_timeout(reader->db, BUSY_MS);
    sqlite3_db_config(reader->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_progress_handler(reader->db, STEPS_BETWEEN_WAYS, make_way, NULL);
    code = sqlite3_exec(reader->db,
                        "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;"
                        "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
                        "PRAGMA cache_size = -" CACHE_KIB,
                        NULL, NULL, NULL);
    for (size_t i = 0; code == SQLITE_OK && i < READ_COUNT; i++)
        code = sqlite3_prepare_v3(reader->db, read_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                  &reader->statements[i], NULL);
    return code;
}

/* SQLite opens by name, so see that the names are those of the store: before, since it would make a
 * log that is missing, and after, since what it has opened then stays. */
static int new_reader(struct sqlite_store *sqlite, struct sqlite_reader **ret_reader)
{
    if (!sqlite_is_in_place(sqlite))
        return -ESTALE;
    struct sqlite_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL)
        return -ENOMEM;
    int code = open_reader(sqlite, reader);
    bool in_place = sqlite_is_in_place(sqlite);
    if (code != SQLITE_OK || !in_place) {
        free_reader(reader);
        return !in_place ? -ESTALE : (code & 0xff) == SQLITE_NOMEM ? -ENOMEM : -EIO;
    }
    *ret_reader = reader;
    return 0;
}

void sqlite_add_reader(struct sqlite_store *sqlite)
{
    struct sqlite_reader *reader;

    pthread_mutex_lock(&sqlite->readers_lock);
    bool has_one = sqlite->readers_n > 0;
    pthread_mutex_unlock(&sqlite->readers_lock);
    if (has_one || new_reader(sqlite, &reader) != 0)
        return;
    pthread_mutex_lock(&sqlite->readers_lock);
    SLIST_INSERT_HEAD(&sqlite->readers, reader, link);
    sqlite->readers_n++;
    pthread_mutex_unlock(&sqlite->readers_lock);
}

void sqlite_init_readers(struct sqlite_store *sqlite)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&sqlite->readers_lock, NULL);
    pthread_cond_init(&sqlite->readers_turn, &monotonic);
    pthread_condattr_destroy(&monotonic);
    SLIST_INIT(&sqlite->readers);
}

void sqlite_free_readers(struct sqlite_store *sqlite)
{
    struct sqlite_reader *reader;

    while ((reader = SLIST_FIRST(&sqlite->readers)) != NULL) {
        SLIST_REMOVE_HEAD(&sqlite->readers, link);
        free_reader(reader);
    }
    pthread_cond_destroy(&sqlite->readers_turn);
    pthread_mutex_destroy(&sqlite->readers_lock);
}

/* ---- reads and the bar to them ---- */

/* Wait for a turn until this time at most.  With the lock held. */
static void wait_turn(struct sqlite_store *sqlite, int64_t until_ns)
{
    struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};

    pthread_cond_timedwait(&sqlite->readers_turn, &sqlite->readers_lock, &until);
}

/* Count one more that reads, and have it take a connection that nobody uses.  NULL: it opens one.
 */
static struct sqlite_reader *enter(struct sqlite_store *sqlite)
{
    struct sqlite_reader *reader;

    pthread_mutex_lock(&sqlite->readers_lock);
    while (sqlite->barred_until_ns > clock_mono_ns())
        wait_turn(sqlite, sqlite->barred_until_ns);
    sqlite->reading_n++;
    reader = SLIST_FIRST(&sqlite->readers);
    if (reader != NULL)
        SLIST_REMOVE_HEAD(&sqlite->readers, link);
    pthread_mutex_unlock(&sqlite->readers_lock);
    return reader;
}

/* READER: NULL, none could be had. */
static void leave(struct sqlite_store *sqlite, struct sqlite_reader *reader)
{
    pthread_mutex_lock(&sqlite->readers_lock);
    if (reader != NULL)
        SLIST_INSERT_HEAD(&sqlite->readers, reader, link);
    sqlite->reading_n--;
    if (sqlite->waiting_n > 0 || (sqlite->reading_n == 0 && sqlite->barred_until_ns != 0))
        pthread_cond_broadcast(&sqlite->readers_turn);
    pthread_mutex_unlock(&sqlite->readers_lock);
}

/* While the file is not in its place, those that were opened before are all there are. */
static int wait_for_reader(struct sqlite_store *sqlite, struct sqlite_reader **ret_reader)
{
    pthread_mutex_lock(&sqlite->readers_lock);
    sqlite->waiting_n++;
    while (sqlite->readers_n > 0 && SLIST_EMPTY(&sqlite->readers))
        pthread_cond_wait(&sqlite->readers_turn, &sqlite->readers_lock);
    sqlite->waiting_n--;
    *ret_reader = SLIST_FIRST(&sqlite->readers);
    if (*ret_reader != NULL)
        SLIST_REMOVE_HEAD(&sqlite->readers, link);
    pthread_mutex_unlock(&sqlite->readers_lock);
    return *ret_reader != NULL ? 0 : -EIO;
}

static int open_or_wait(struct sqlite_store *sqlite, struct sqlite_reader **ret_reader)
{
    int result = new_reader(sqlite, ret_reader);

    if (result == -ESTALE)
        return wait_for_reader(sqlite, ret_reader);
    if (result != 0)
        return result;
    pthread_mutex_lock(&sqlite->readers_lock);
    sqlite->readers_n++;
    pthread_mutex_unlock(&sqlite->readers_lock);
    return 0;
}

int sqlite_begin_read(struct sqlite_store *sqlite, struct sqlite_reader **ret_reader)
{
    struct sqlite_reader *reader = enter(sqlite);
    int result = reader != NULL ? 0 : open_or_wait(sqlite, &reader);

    if (result == 0) {
        result = sqlite3_step(reader->statements[READ_BEGIN]) == SQLITE_DONE ? 0 : -EIO;
        sqlite3_reset(reader->statements[READ_BEGIN]);
    }
    if (result != 0)
        leave(sqlite, reader);
    *ret_reader = reader;
    return result;
}

void sqlite_end_read(struct sqlite_store *sqlite, struct sqlite_reader *reader)
{
    sqlite3_step(reader->statements[READ_END]);
    sqlite3_reset(reader->statements[READ_END]);
    leave(sqlite, reader);
}

bool sqlite_bar_reads(struct sqlite_store *sqlite)
{
    int64_t now_ns = clock_mono_ns(), wait_until_ns = now_ns + WAIT_NS_MAX;

    pthread_mutex_lock(&sqlite->readers_lock);
    bool late = sqlite->barred_until_ns != 0 && sqlite->barred_until_ns <= now_ns;
    if (sqlite->barred_until_ns == 0 || late)
        sqlite->barred_until_ns = now_ns + BARRED_NS_MAX;
    while (late && sqlite->reading_n > 0 && clock_mono_ns() < wait_until_ns)
        wait_turn(sqlite, wait_until_ns);
    bool none = sqlite->reading_n == 0;
    pthread_mutex_unlock(&sqlite->readers_lock);
    return none || late;
}

void sqlite_admit_reads(struct sqlite_store *sqlite)
{
    pthread_mutex_lock(&sqlite->readers_lock);
    sqlite->barred_until_ns = 0;
    pthread_cond_broadcast(&sqlite->readers_turn);
    pthread_mutex_unlock(&sqlite->readers_lock);
}
