/* SPDX-License-Identifier: MIT */
/* The store on disk: forgetting what is past the limits, and moving the log into the file, in steps
 * that hold up no publisher for long.  See sqlite_store.h. */
#include "config.h"

#include <stdlib.h>

#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_row.h"

/* One step forgets at most twice as many events as were appended since the last one, so that it
 * keeps up, within these bounds; and it stops sooner when they have many names each. */
#define STEP_EVENTS_MIN 1000
#define STEP_EVENTS_MAX 10000
#define STEP_NAMES_EACH 4

/* Readers of another process, to which this one's bar is none, can keep the log from beginning
 * again at its front; past this many pages, 32 MiB, the writer waits for them a moment. */
#define WAL_PAGES_MAX 8192

/* ---- the log ---- */

void sqlite_settle(struct history *history)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    int mode =
        sqlite->wal_pages > WAL_PAGES_MAX ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE;
    int log_n = 0, moved_n = 0, code = SQLITE_OK;

    if (sqlite->failed || !sqlite_log_is_due(sqlite) || !sqlite_bar_reads(sqlite))
        return;
    if (!sqlite->sealed && (code = sqlite_seal(sqlite, false)) != SQLITE_OK)
        sqlite_give_up(sqlite, code, "sealing the log");
    sqlite->checkpoint_at = sqlite->wal_pages + SQLITE_STORE_CHECKPOINT_PAGES;
    /* a full disk has no room for a seal, and yet the log is to be moved */
    if (!sqlite->failed)
        code = sqlite3_wal_checkpoint_v2(sqlite->db, NULL, mode, &log_n, &moved_n);
    sqlite_admit_reads(sqlite);
    if (sqlite->failed)
        return;
    sqlite_note_size(sqlite);
    if (code == SQLITE_OK && sqlite->sealed && log_n == moved_n)
        sqlite->log_begun = false;
    else if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY)
        sqlite_give_up(sqlite, code, "moving the log into the file");
}

/* ---- forgetting ---- */

/* What there is, and what is left of it in the course of a step. */
struct step {
    size_t events_max; /* to drop */
    size_t events_n;
    size_t bytes;
    size_t dropped_n;
    size_t names_n;
    uint64_t last;     /* the last position that goes */
    int64_t oldest_ms; /* of what stays */
    struct sqlite_old_keys keys;
};

static bool over_limits(const struct sqlite_store *sqlite, const struct step *step, int64_t now_ms)
{
    if (step->events_n == 0)
        return false;
    return step->events_n > sqlite->limits.events_max || step->bytes > sqlite->limits.bytes_max ||
           now_ms - step->oldest_ms >= sqlite->limits.age_max_ms;
}

static int drop_name(struct sqlite_store *sqlite, enum sqlite_write which,
                     const struct message_name *name, uint64_t position)
{
    sqlite3_stmt *statement = sqlite->write[which];

    sqlite_bind(statement, 1, name->bytes, name->bytes_n);
    sqlite3_bind_int64(statement, 2, (int64_t)position);
    return sqlite_run(sqlite, which);
}

static int drop_names(struct sqlite_store *sqlite, const struct message *names, uint64_t position)
{
    static const struct message_name nameless = {.bytes = "", .bytes_n = 0};
    int code = SQLITE_OK;

    if (names->users_n > 0) {
        for (size_t i = 0; code == SQLITE_OK && i < names->users_n; i++)
            code = drop_name(sqlite, WRITE_DROP_USER, &message_users(names)[i], position);
        return code;
    }
    for (size_t i = 0; code == SQLITE_OK && i < names->topics_n; i++)
        code = drop_name(sqlite, WRITE_DROP_TOPIC, &message_topics(names)[i], position);
    if (code == SQLITE_OK && names->topics_n == 0)
        code = drop_name(sqlite, WRITE_DROP_TOPIC, &nameless, position);
    return code;
}

int sqlite_drop_entries(struct sqlite_store *sqlite, const void *names, size_t names_n,
                        uint64_t position, size_t *ret_entries_n)
{
    int code = SQLITE_OK;

    *ret_entries_n = 0;
    if (!sqlite_row_count_names(names, names_n, ret_entries_n) || *ret_entries_n > names_n)
        return SQLITE_OK;
    struct message *message =
        malloc(sizeof(*message) + *ret_entries_n * sizeof(struct message_name));
    if (message == NULL)
        return SQLITE_NOMEM;
    if (sqlite_row_get_names(names, names_n, message))
        code = drop_names(sqlite, message, position);
    free(message);
    return code;
}

/* What damaged names leave is below all that is ever read. */
static int drop_row(struct sqlite_store *sqlite, sqlite3_stmt *row, struct step *step)
{
    const void *names = sqlite3_column_blob(row, 2);
    size_t names_n = (size_t)sqlite3_column_bytes(row, 2), entries_n;
    size_t bytes = sqlite_cost(names_n, (size_t)sqlite3_column_int64(row, 3));

    step->last = (uint64_t)sqlite3_column_int64(row, 0);
    step->dropped_n++;
    step->events_n--;
    step->bytes -= bytes < step->bytes ? bytes : step->bytes;
    int code = sqlite_drop_entries(sqlite, names, names_n, step->last, &entries_n);
    step->names_n += entries_n;
    return code;
}

static int drop_rows(struct sqlite_store *sqlite, struct step *step, int64_t now_ms)
{
    sqlite3_stmt *rows = sqlite->write[WRITE_OLDEST];
    int code;

    sqlite3_bind_int64(rows, 1, (int64_t)step->events_max + 1);
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        step->oldest_ms = sqlite3_column_int64(rows, 1);
        if (!over_limits(sqlite, step, now_ms) || step->dropped_n == step->events_max ||
            step->names_n >= STEP_NAMES_EACH * step->events_max)
            break;
        code = drop_row(sqlite, rows, step);
        if (code != SQLITE_OK)
            break;
    }
    sqlite3_reset(rows);
    if (code != SQLITE_DONE)
        return code == SQLITE_ROW ? SQLITE_OK : code;
    /* that was all of them, whatever the totals say */
    step->last = sqlite->newest;
    step->events_n = step->bytes = 0;
    step->oldest_ms = INT64_MAX;
    return SQLITE_OK;
}

static int drop_up_to(struct sqlite_store *sqlite, uint64_t last)
{
    sqlite3_bind_int64(sqlite->write[WRITE_DROP_EVENTS], 1, (int64_t)last);
    sqlite3_bind_int64(sqlite->write[WRITE_DROP_BLOCKS], 1,
                       (int64_t)last - (SQLITE_STORE_BLOCK - 1));
    int code = sqlite_run(sqlite, WRITE_DROP_EVENTS);

    return code == SQLITE_OK ? sqlite_run(sqlite, WRITE_DROP_BLOCKS) : code;
}

static int drop_events(struct sqlite_store *sqlite, struct step *step, int64_t now_ms)
{
    if (!over_limits(sqlite, step, now_ms))
        return SQLITE_OK;
    int code = drop_rows(sqlite, step, now_ms);
    return code == SQLITE_OK ? drop_up_to(sqlite, step->last) : code;
}

static int drop(struct sqlite_store *sqlite, struct step *step, int64_t now_ms)
{
    int code = sqlite_begin(sqlite);

    if (code == SQLITE_OK)
        code = drop_events(sqlite, step, now_ms);
    if (code == SQLITE_OK)
        code = sqlite_drop_keys(sqlite, step->events_max, now_ms, &step->keys);
    return code == SQLITE_OK ? sqlite_commit(sqlite) : code;
}

static void take_step(struct sqlite_store *sqlite, const struct step *step)
{
    sqlite->events_n = step->events_n;
    sqlite->bytes = step->bytes;
    sqlite->oldest_ms = step->oldest_ms;
    sqlite->trimmed = step->last;
    sqlite->first_key = step->keys.first_kept;
    sqlite->oldest_key_ms = step->keys.oldest_ms;
    sqlite->keys_early_n += step->keys.early_n;
}

static size_t step_events(struct sqlite_store *sqlite)
{
    size_t events_n = 2 * (size_t)(sqlite->newest - sqlite->trimmed_at);

    sqlite->trimmed_at = sqlite->newest;
    if (events_n < STEP_EVENTS_MIN)
        return STEP_EVENTS_MIN;
    return events_n > STEP_EVENTS_MAX ? STEP_EVENTS_MAX : events_n;
}

bool sqlite_store_trim(struct history *history, int64_t now_ms)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    struct step step = {
        .events_max = step_events(sqlite),
        .events_n = sqlite->events_n,
        .bytes = sqlite->bytes,
        .last = sqlite->trimmed,
        .oldest_ms = sqlite->oldest_ms,
    };

    if (sqlite->failed || sqlite->cannot_trim ||
        (!over_limits(sqlite, &step, now_ms) && !sqlite_has_old_keys(sqlite, now_ms)))
        return false;
    int code = drop(sqlite, &step, now_ms);
    if (code != SQLITE_OK) {
        sqlite_give_up(sqlite, code, "forgetting old events");
        sqlite->cannot_trim = sqlite_is_damage(code);
        return false;
    }
    take_step(sqlite, &step);
    return over_limits(sqlite, &step, now_ms) || sqlite_has_old_keys(sqlite, now_ms);
}
