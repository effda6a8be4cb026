/* SPDX-License-Identifier: MIT */
/* The store on disk: reading the epoch of a file, and beginning a new one.  See sqlite_store.h.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_vfs.h"

/* ---- reading ---- */

int sqlite_ask_text(sqlite3 *db, const char *sql, char *to, size_t to_n)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    to[0] = '\0';
    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW && sqlite3_column_text(statement, 0) != NULL)
        snprintf(to, to_n, "%s", (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

/* Returns an SQLite code. */
static int ask_copied(sqlite3 *db, bool *ret_copied)
{
    char name[sizeof(SQLITE_STORE_COPIED)];
    int code = sqlite_ask_text(db, "SELECT name FROM meta WHERE name = '" SQLITE_STORE_COPIED "'",
                               name, sizeof(name));

    *ret_copied = name[0] != '\0';
    return code;
}

/* ---- terms ---- */

int sqlite_read_lineage(struct sqlite_store *sqlite)
{
    char epoch[SSE_EPOCH_BYTES + 2];
    char terms[LINEAGE_TERMS_MAX * LINEAGE_TERM_BYTES + 1];
    struct lineage *lineage = NULL;

    errno = 0;
    if (sqlite_ask_text(sqlite->db, "SELECT value FROM meta WHERE name = 'epoch'", epoch,
                        sizeof(epoch)) == SQLITE_OK &&
        strlen(epoch) == SSE_EPOCH_BYTES &&
        sqlite_ask_text(sqlite->db, "SELECT value FROM meta WHERE name = 'terms'", terms,
                        sizeof(terms)) == SQLITE_OK)
        lineage = lineage_read(epoch, terms, strlen(terms));
    if (lineage == NULL && errno == EINVAL) /* ids of former epochs are unknown then */
        lineage = lineage_new(epoch);
    if (lineage == NULL)
        return -1;
    history_set_lineage(&sqlite->base, lineage);
    return 0;
}

int sqlite_put_lineage(struct sqlite_store *sqlite, const struct lineage *lineage)
{
    static const char sql[] = "INSERT OR REPLACE INTO meta VALUES('epoch', ?1), ('terms', ?2)";
    char terms[LINEAGE_TERMS_MAX * LINEAGE_TERM_BYTES + 1];
    size_t terms_n = lineage_write(lineage, terms);
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(sqlite->db, sql, -1, &statement, NULL);

    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_text(statement, 1, lineage->epoch, SSE_EPOCH_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, terms, (int)terms_n, SQLITE_STATIC);
    code = sqlite3_step(statement);
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* A copy is one no longer. */
static int put_renewed(struct sqlite_store *sqlite, const struct lineage *lineage)
{
    int code = sqlite_begin(sqlite);

    if (code == SQLITE_OK)
        code = sqlite_put_lineage(sqlite, lineage);
    if (code == SQLITE_OK)
        code = sqlite3_exec(sqlite->db, "DELETE FROM meta WHERE name = '" SQLITE_STORE_COPIED "'",
                            NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite_commit(sqlite);
    if (code != SQLITE_OK && !sqlite3_get_autocommit(sqlite->db))
        sqlite3_exec(sqlite->db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

int sqlite_store_renew_epoch(struct history *history)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    char epoch[SSE_EPOCH_BYTES + 1];
    int result = history_draw_epoch(epoch);

    if (result != 0)
        return result;
    struct lineage *lineage = lineage_begin(history_lineage(history), epoch, sqlite->newest);
    if (lineage == NULL)
        return -ENOMEM;
    if (put_renewed(sqlite, lineage) != SQLITE_OK) {
        free(lineage);
        return -EIO;
    }
    history_set_lineage(history, lineage);
    return 0;
}

int sqlite_settle_copy(struct sqlite_store *sqlite)
{
    bool copied;

    if (ask_copied(sqlite->db, &copied) != SQLITE_OK)
        return -1;
    if (!copied)
        return 0;
    if (sqlite_store_renew_epoch(&sqlite->base) != 0)
        return -1;
    log_info("%s is a copy that a backup made: it begins the epoch %s, and clients that come with "
             "ids from after the copy are told reset",
             sqlite->path, history_epoch(&sqlite->base));
    return 0;
}

/* ---- from outside ---- */

char *sqlite_uri(const char *path, bool immutable)
{
    char *uri = NULL;
    size_t uri_n;
    FILE *to = open_memstream(&uri, &uri_n);

    if (to == NULL)
        return NULL;
    fputs("file:", to);
    for (const char *from = path; *from != '\0'; from++)
        if (strchr("%?#", *from) != NULL)
            fprintf(to, "%%%02X", (unsigned)(unsigned char)*from);
        else
            fputc(*from, to);
    fprintf(to, "?mode=ro%s", immutable ? "&immutable=1" : "");
    return fclose(to) == 0 ? uri : NULL;
}

/* A file that nobody has open and that was closed in good order has no log, and then SQLite would
 * make one to read it; unless it is told that the file does not change. */
static char *uri_of(const char *path)
{
    struct stat facts;
    char *log;

    if (asprintf(&log, "%s-wal", path) < 0)
        return NULL;
    bool has_log = stat(log, &facts) == 0;
    free(log);
    return sqlite_uri(path, !has_log);
}

static int read_from(sqlite3 *db, const char *path, char *ret_epoch, bool *ret_copied,
                     struct conf_error *ret_error)
{
    char number[16] = "", epoch[SSE_EPOCH_BYTES + 2] = "";
    int code = sqlite_ask_text(db, "PRAGMA application_id", number, sizeof(number));

    if (code == SQLITE_OK && atoi(number) != SQLITE_STORE_APPLICATION_ID)
        code = SQLITE_NOTADB;
    sqlite_vfs_check(db); /* not before: the pages of others have no checksums */
    if (code == SQLITE_OK)
        code = sqlite_ask_text(db, "SELECT value FROM meta WHERE name = 'epoch'", epoch,
                               sizeof(epoch));
    if (code == SQLITE_OK)
        code = ask_copied(db, ret_copied);
    if (code == SQLITE_NOTADB)
        return conf_refuse(ret_error, -1, "%s is not a history of bugle", path);
    if (sqlite_is_damage(code))
        return conf_refuse(ret_error, -1, "%s is damaged", path);
    if (code != SQLITE_OK)
        return conf_refuse(ret_error, -1, "%s %s", path, sqlite3_errmsg(db));
    if (strlen(epoch) != SSE_EPOCH_BYTES)
        return conf_refuse(ret_error, -1, "%s has no epoch", path);
    memcpy(ret_epoch, epoch, SSE_EPOCH_BYTES + 1);
    return 0;
}

int sqlite_store_read_epoch(const char *path, char *ret_epoch, bool *ret_copied,
                            struct conf_error *ret_error)
{
    char *real = realpath(path, NULL);
    char *uri = real != NULL ? uri_of(real) : NULL;
    sqlite3 *db = NULL;
    int result;

    if (uri == NULL) {
        result = conf_refuse(ret_error, -1, "%s: %s", path, strerror(errno));
        free(real);
        return result;
    }
    if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, sqlite_vfs()) ==
        SQLITE_OK) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_extended_result_codes(db, 1);
        sqlite3_busy_timeout(db, 1000);
        result = read_from(db, path, ret_epoch, ret_copied, ret_error);
    } else {
        result = conf_refuse(ret_error, -1, "%s %s", path, sqlite3_errmsg(db));
    }
    sqlite3_close(db);
    free(uri);
    free(real);
    return result;
}
