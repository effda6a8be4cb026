/* SPDX-License-Identifier: MIT */
/*
 * The store on disk: that the log beside the file is the one that belongs to it.
 *
 * SQLite plays in whatever sound log it finds under the right name.  So the row `log` of the table
 * `meta` names what is in the log, and since rows reach the file only by way of the log, the file
 * alone and the file with its log tell whether one follows the other.
 *
 *     generation  drawn by the first transaction after the log was moved into the file as a whole
 *     base        the seal of the file that this generation began upon
 *     seal        drawn by the last transaction before the log is moved into the file
 *     closed      that transaction was the last of all: there need be no log any more
 *
 * A log fits a file of its own generation, and one that is sealed as its base.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_vfs.h"

#define TIE_TEXT_BYTES 64

/* ---- reading ---- */

static void parse(const char *text, struct sqlite_tie *ret_tie)
{
    struct sqlite_tie tie = {0};
    char state;

    *ret_tie = (struct sqlite_tie){0};
    if (sscanf(text, "%16" SCNx64 " %16" SCNx64 " %16" SCNx64 " %c", &tie.generation, &tie.base,
               &tie.seal, &state) != 4)
        return;
    tie.closed = state == 'c';
    *ret_tie = tie;
}

int sqlite_read_tie(sqlite3 *db, struct sqlite_tie *ret_tie)
{
    char text[TIE_TEXT_BYTES];
    int code = sqlite_ask_text(db, "SELECT value FROM meta WHERE name = 'log'", text, sizeof(text));

    parse(text, ret_tie);
    return code;
}

/* Immutable: SQLite neither looks for a log nor takes locks.  For that reason only while this
 * process has no other connection with the file: closing this one lets go of their locks. */
static void read_file_alone(const char *path, struct sqlite_tie *ret_tie)
{
    char *uri = sqlite_uri(path, true);
    sqlite3 *db = NULL;

    *ret_tie = (struct sqlite_tie){0};
    if (uri != NULL && sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
                                       sqlite_vfs()) == SQLITE_OK) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite_vfs_check(db);
        sqlite_read_tie(db, ret_tie); /* torn by a power cut: the log has it whole */
    }
    sqlite3_close(db);
    free(uri);
}

/* ---- what does not belong ---- */

/* A copy has no log, and a file without content has none; SQLite would play it into the one and
 * remove it beside the other. */
static int refuse_log_of_none(const struct sqlite_store *sqlite, const char *log,
                              struct conf_error *ret_error)
{
    unsigned char written = 0;
    ssize_t got = pread(sqlite->file_fd, &written, 1, HEADER_WRITTEN_AT);

    if (got == 1 && written == HEADER_IN_PLACE)
        return conf_refuse(ret_error, -1,
                           "%s is a copy, and %s belongs to another file: remove that, or put it "
                           "back beside its own",
                           sqlite->path, log);
    if (got == 0)
        return conf_refuse(ret_error, -1,
                           "%s is empty or was missing, and %s holds events of the file that was "
                           "there: put that file back, or move the log away to begin anew",
                           sqlite->path, log);
    return 0;
}

int sqlite_look_at_log(struct sqlite_store *sqlite, bool may_lack_log, struct conf_error *ret_error)
{
    struct stat facts;
    char *log;
    int result = 0;

    if (asprintf(&log, "%s-wal", sqlite->path) < 0)
        return conf_refuse(ret_error, -1, "out of memory");
    bool has_log = stat(log, &facts) == 0 && facts.st_size > 0;
    read_file_alone(sqlite->path, &sqlite->file_tie);
    if (has_log)
        result = refuse_log_of_none(sqlite, log, ret_error);
    else if (sqlite->file_tie.generation != 0 && !sqlite->file_tie.closed && !may_lack_log)
        result = conf_refuse(ret_error, -1,
                             "%s was not closed and its log %s is missing, with the events stored "
                             "last: put it back beside the file; if it is lost, `bugle epoch new "
                             "--store sqlite:%s` goes on without them",
                             sqlite->path, log, sqlite->path);
    free(log);
    return result;
}

static bool belongs(const struct sqlite_tie *file, const struct sqlite_tie *both)
{
    return file->generation == 0 || file->generation == both->generation ||
           (file->seal != 0 && file->seal == both->base);
}

int sqlite_check_log(struct sqlite_store *sqlite, struct conf_error *ret_error)
{
    const struct sqlite_tie *file = &sqlite->file_tie;
    struct sqlite_tie both;

    if (sqlite_read_tie(sqlite->db, &both) != SQLITE_OK)
        return conf_refuse(ret_error, -1,
                           "%s is damaged, or its log is not its own: put a sound copy in its "
                           "place, or the log that it was written with",
                           sqlite->path);
    if (!belongs(file, &both))
        return conf_refuse(ret_error, -1,
                           "the log %s-wal does not belong to %s as it is, but to another file or "
                           "another state of it: put back the one that it was written with, or "
                           "move the log away; nothing was changed",
                           sqlite->path, sqlite->path);
    sqlite->tie = both;
    /* with nothing behind the seal of the file, what comes next follows upon it */
    sqlite->log_begun = both.generation != 0 && !(both.generation == file->generation &&
                                                  both.seal == file->seal && both.seal != 0);
    return 0;
}

/* ---- writing ---- */

static uint64_t draw(void)
{
    uint64_t number = 0;

    while (number == 0)
        sqlite3_randomness(sizeof(number), &number);
    return number;
}

/* Within a transaction; it holds once that is committed. */
static int put_tie(struct sqlite_store *sqlite, bool seals, bool closed)
{
    sqlite3_stmt *statement = sqlite->write[WRITE_TIE];
    struct sqlite_tie *tie = &sqlite->next_tie;
    char text[TIE_TEXT_BYTES];

    *tie = sqlite->tie;
    if (!sqlite->log_begun)
        *tie = (struct sqlite_tie){.generation = draw(), .base = sqlite->tie.seal};
    if (seals)
        tie->seal = draw();
    tie->closed = closed;
    sqlite->ties = true;
    sqlite->seals = seals;
    int text_n = snprintf(text, sizeof(text), "%016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %c",
                          tie->generation, tie->base, tie->seal, closed ? 'c' : 'o');
    sqlite3_bind_text(statement, 1, text, text_n, SQLITE_STATIC);
    int code = sqlite_run(sqlite, WRITE_TIE);
    sqlite3_clear_bindings(statement);
    return code;
}

int sqlite_begin(struct sqlite_store *sqlite)
{
    int code = sqlite_run(sqlite, WRITE_BEGIN);
    bool seals = sqlite_log_is_due(sqlite);

    sqlite->ties = sqlite->seals = false;
    return code == SQLITE_OK && (seals || !sqlite->log_begun) ? put_tie(sqlite, seals, false)
                                                              : code;
}

int sqlite_commit(struct sqlite_store *sqlite)
{
    int code = sqlite_run(sqlite, WRITE_COMMIT);

    if (code != SQLITE_OK)
        return code;
    if (sqlite->ties) {
        sqlite->tie = sqlite->next_tie;
        sqlite->log_begun = true;
    }
    sqlite->sealed = sqlite->ties && sqlite->seals;
    return SQLITE_OK;
}

int sqlite_seal(struct sqlite_store *sqlite, bool closed)
{
    int code = sqlite_run(sqlite, WRITE_BEGIN);

    if (code == SQLITE_OK)
        code = put_tie(sqlite, true, closed);
    return code == SQLITE_OK ? sqlite_commit(sqlite) : code;
}
