/* SPDX-License-Identifier: MIT */
/*
 * What the files of the store on disk share, from the top down: sqlite_store.c opens, hands over
 * and ends; sqlite_append.c appends, sqlite_read.c reads, sqlite_trim.c forgets and moves the log
 * into the file, sqlite_backup.c copies, sqlite_epoch.c begins a new epoch; sqlite_open.c brings a
 * file into use, sqlite_format.c brings it up to date, sqlite_watch.c locks it and sees that it
 * stays in its place, sqlite_log.c ties the log to it, sqlite_keys.c knows idempotency keys,
 * sqlite_readers.c has the connections for reading, sqlite_reserve.c asks the disk,
 * sqlite_truncate.c cuts off the newest, sqlite_time.c finds a time; sqlite_db.c has the connection
 * that writes.
 */
#ifndef BUGLE_SQLITE_INTERNAL_H
#define BUGLE_SQLITE_INTERNAL_H

#include <pthread.h>
#include <sqlite3.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/log.h"
#include "history/sqlite/sqlite_row.h"
#include "history/sqlite/sqlite_store.h"

/* The row of the table `meta` by which a copy is told from the store it was made of. */
#define SQLITE_STORE_COPIED "copied"

/* In which format files are, and the oldest that is known: what that one lacks is in
 * sqlite_format.c. */
#define SQLITE_STORE_FORMAT 3
#define SQLITE_STORE_FORMAT_OLDEST 2

/* Of the table `events`; since format 3 and always the last.  0, or for JSON sqlite_row_mark(). */
#define SQLITE_STORE_JSON_COLUMN "json INTEGER NOT NULL DEFAULT 0"

/* Events for users are found by user, all others by topic; those with neither by this empty name.
 * And the empty user tells of blocks of positions in which there are events for no user in
 * particular, so that a read of all of those passes over the rest without looking. */
#define SQLITE_STORE_BLOCK 256

/* The log is moved into the file each time it has grown by so many pages. */
#define SQLITE_STORE_CHECKPOINT_PAGES 1000

/* A transaction that stays open keeps the log from beginning again at its front; and where events
 * lie far apart, the first ones are of more use at once. */
#define SQLITE_STORE_READ_NS_MAX (20 * INT64_C(1000000))
#define SQLITE_STORE_READ_NS_WITH_EVENTS_MAX (3 * INT64_C(1000000))

enum sqlite_write {
    WRITE_BEGIN,
    WRITE_COMMIT,
    WRITE_ROLLBACK,
    WRITE_EVENT,
    WRITE_TOPIC,
    WRITE_USER,
    WRITE_OLDEST,
    WRITE_DROP_EVENTS,
    WRITE_DROP_TOPIC,
    WRITE_DROP_USER,
    WRITE_DROP_BLOCKS,
    WRITE_KEY,
    WRITE_FIND_KEY,
    WRITE_OLDEST_KEYS,
    WRITE_DROP_KEYS,
    WRITE_TIE,
    WRITE_COUNT
};

enum sqlite_store_read {
    READ_BEGIN,
    READ_END,
    READ_OLDEST,
    READ_EVENTS,
    READ_TOPIC,
    READ_USER,
    READ_EVENTS_BACK,
    READ_TOPIC_BACK,
    READ_USER_BACK,
    READ_NEXT_TOPIC,
    READ_TIME,
    READ_COUNT
};

/* A connection that reads. */
struct sqlite_reader {
    SLIST_ENTRY(sqlite_reader) link;
    sqlite3 *db;
    sqlite3_stmt *statements[READ_COUNT];
    struct message *names; /* of the event that is looked at, for the filter */
    size_t names_room;
};

struct sqlite_store_backup;

/* Where the header says how the file is written, twice: 1 for in place, 2 for by way of a log. */
#define HEADER_WRITTEN_AT 18
#define HEADER_IN_PLACE 1

/* What the file or its log says of both; see sqlite_log.c.  Generation 0: nothing. */
struct sqlite_tie {
    uint64_t generation;
    uint64_t base;
    uint64_t seal; /* 0: none */
    bool closed;
};

/* A new one, of a file that needs no log, as a value in SQL. */
#define SQLITE_STORE_NEW_TIE                                                                       \
    "lower(hex(randomblob(8))) || ' 0000000000000000 ' || lower(hex(randomblob(8))) || ' c'"

/* The file, its log and what SQLite shares of it. */
#define SQLITE_STORE_FILES 3

struct sqlite_file {
    dev_t device;
    ino_t inode;
};

struct sqlite_store {
    struct history base;
    struct history_limits limits;
    char *path;
    int lock_fd;
    int file_fd; /* from the first lock until the end; -1: none yet */
    /* as they were opened; written by the hub's thread, with the lock over readers */
    struct sqlite_file files[SQLITE_STORE_FILES];

    /* the hub's thread */
    sqlite3 *db;
    int format; /* of the file */
    sqlite3_stmt *write[WRITE_COUNT];
    bool failed;         /* no append any more */
    bool lacks_room;     /* beside the reserve */
    bool lacks_memory;   /* the last commit failed for it */
    bool gone;           /* a file is not in its place */
    bool damaged;        /* where the next event would be stored */
    bool is_set_up;      /* as a whole, since it was opened */
    int64_t tried_ms;    /* when that was last looked for */
    bool cannot_trim;    /* the oldest rows are damaged in a way that even forgetting them fails */
    int64_t clock_ms;    /* the latest time that any event has */
    uint64_t total;      /* bytes of all events there ever were */
    int64_t oldest_ms;   /* the time of the oldest event; INT64_MAX: there is none */
    uint64_t open_block; /* the last one that was noted; UINT64_MAX: not known */
    uint64_t first_key;  /* the number of the oldest idempotency key */
    uint64_t next_key;   /* the number that the next one gets */
    int64_t oldest_key_ms;
    uint64_t trimmed_at;        /* the newest position when a step of trimming last ran */
    struct sqlite_tie file_tie; /* of the file alone, as it was opened */
    struct sqlite_tie tie;      /* as of the last commit */
    struct sqlite_tie next_tie; /* of the transaction under way, when it `ties` */
    bool ties;
    bool seals;     /* and that one has a new seal */
    bool sealed;    /* the last commit had */
    bool log_begun; /* something was committed since the log was moved into the file as a whole */
    int wal_pages;
    int64_t file_bytes; /* of the file, when the log was last moved into it */
    int checkpoint_at;  /* at so many pages */
    char *names;        /* room for the names of one event */
    size_t names_room;
    bool is_hasty; /* commits are not synced one by one: sqlite_apply() */
    struct log_valve valve;
    struct sqlite_store_backup *backup; /* under way; NULL: none */

    _Atomic bool
        away; /* another process writes: `newest` follows, `trimmed` when a read finds out */
    _Atomic uint64_t trimmed;
    _Atomic uint64_t newest;
    _Atomic unsigned cuts_n; /* of sqlite_truncate() */
    _Atomic size_t events_n;
    _Atomic size_t bytes;
    _Atomic size_t keys_early_n;

    int64_t read_ns_max; /* so long does a page take that has no event yet */
    int64_t read_ns_with_events_max;

    pthread_mutex_t readers_lock;        /* over all of these */
    pthread_cond_t readers_turn;         /* the last one has gone, or others may come again */
    SLIST_HEAD(, sqlite_reader) readers; /* that nobody uses now */
    size_t readers_n;                    /* opened */
    size_t waiting_n;                    /* for one that is given back, as none can be opened */
    size_t reading_n;
    int64_t barred_until_ns; /* no read begins before; 0: any may */
};

static inline struct sqlite_store *sqlite_of(struct history *history)
{
    return (struct sqlite_store *)history;
}

/* What an event counts towards history.max_bytes. */
static inline size_t sqlite_cost(size_t names_n, size_t body_n)
{
    return names_n + body_n + SSE_TAIL_BYTES;
}

/* Whether a code means that the file is not what was written, as opposed to a disk that fails. */
static inline bool sqlite_is_damage(int code)
{
    return (code & 0xff) == SQLITE_CORRUPT || code == SQLITE_IOERR_DATA;
}

/* Open the file for writing, or make its tables first, and find out where it stands.  With the lock
 * held.  `path` is its name for the operator.  Returns 0 or -1; sqlite_close_writer() ends it. */
int sqlite_open_file(struct sqlite_store *sqlite, const char *path, struct conf_error *ret_error);

/* Compile what is written with, once the tables are there; or what events are written with alone,
 * after the format has changed.  Returns 0 or -1; or an SQLite code. */
int sqlite_prepare(struct sqlite_store *sqlite);
int sqlite_prepare_event(struct sqlite_store *sqlite, sqlite3_stmt **ret_statement);

/* Bring a file of an older format up to date, before the first append: one transaction, however
 * large the file is.  Returns 0 or -errno, as sqlite_give_up(); then the file is as it was. */
int sqlite_renew_format(struct sqlite_store *sqlite);

/* Close what is written with, the log moved into the file or left as it is, then let go of the
 * locks. */
void sqlite_close_writer(struct sqlite_store *sqlite, bool leaves_log);

/* Run a prepared statement that returns no rows.  Returns SQLITE_OK or an extended error code. */
int sqlite_run(struct sqlite_store *sqlite, enum sqlite_write which);

/* Do what storing an event does, and take it back: whether damage is in the way.  Returns an SQLite
 * code. */
int sqlite_try(struct sqlite_store *sqlite);

/* Whether a commit of these fits beside the disk's reserve; says so in the log when not.  One
 * question to the file system. */
bool sqlite_has_room(struct sqlite_store *sqlite, struct message *const *events, size_t events_n);

/* The same for no event in particular, for the log and readiness. */
void sqlite_look_for_room(struct sqlite_store *sqlite);

/* A full disk is the one error after which trying again is sound: SQLite has taken the transaction
 * back, and nothing that was acknowledged depends on what could not be written. */
bool sqlite_is_full(struct sqlite_store *sqlite, int code);

/* Undo a transaction that failed with this code, and what the code means for the store.  Returns
 * -ENOSPC, -ENOMEM or -EIO. */
int sqlite_give_up(struct sqlite_store *sqlite, int code, const char *what);

/* The columns of an event as a struct; the pointers are the statement's.  Not by their names, so
 * that a connection that was there before the format changed finds the new one too. */
#define SQLITE_STORE_COLUMNS "*"
void sqlite_get_row(sqlite3_stmt *statement, struct sqlite_row *ret_row);

/* Whether the row is what was written. */
bool sqlite_is_sound(sqlite3_stmt *statement, const struct sqlite_row *row);

/* Bytes of any length, the empty ones too, to a parameter; borrowed until the statement is reset.
 */
int sqlite_bind(sqlite3_stmt *statement, int index, const void *bytes, size_t bytes_n);

/* Within a transaction: drop the entries by which an event is found, whose row has these names.
 * Names that are damaged leave entries without an event behind.  Returns an SQLite code. */
int sqlite_drop_entries(struct sqlite_store *sqlite, const void *names, size_t names_n,
                        uint64_t position, size_t *ret_entries_n);

/* The key of an event that is being stored. */
int sqlite_put_key(struct sqlite_store *sqlite, const struct message *message, uint64_t number,
                   uint64_t position, int64_t now_ms);

/* What a step of forgetting keys comes to; it holds once its transaction is committed. */
struct sqlite_old_keys {
    uint64_t first_kept;
    int64_t oldest_ms; /* of those that stay */
    size_t early_n;    /* forgotten within their window: there were too many */
};

bool sqlite_has_old_keys(const struct sqlite_store *sqlite, int64_t now_ms);

/* Within a transaction: forget at most so many keys that are over. */
int sqlite_drop_keys(struct sqlite_store *sqlite, size_t keys_max, int64_t now_ms,
                     struct sqlite_old_keys *ret_old);

/* Remove what a copy that was not finished may have left beside the store.  With the lock held. */
void sqlite_remove_leavings(const struct sqlite_store *sqlite);

/* Find out where the file stands; cheap however large it is.  Returns 0 or -1. */
int sqlite_read_state(struct sqlite_store *sqlite);

/* The lineage that the file has, as that of the store.  Returns 0 or -1. */
int sqlite_read_lineage(struct sqlite_store *sqlite);

/* Within a transaction: write a lineage down.  Returns an SQLite code. */
int sqlite_put_lineage(struct sqlite_store *sqlite, const struct lineage *lineage);

/* If the file is a copy that a backup made, have it begin a new epoch.  Returns 0 or -1. */
int sqlite_settle_copy(struct sqlite_store *sqlite);

/* What the first column of the first row says; "" when there is none.  Returns an SQLite code. */
int sqlite_ask_text(sqlite3 *db, const char *sql, char *to, size_t to_n);

/* ---- whose the file is, and where ---- */

/* Lock the file, under its name and as an inode, and see that it has one name.  Returns 0 or -1,
 * and then nothing is locked. */
int sqlite_lock(struct sqlite_store *sqlite, struct conf_error *ret_error);
void sqlite_unlock(struct sqlite_store *sqlite);

/* Note which files they are that were opened. */
void sqlite_note_files(struct sqlite_store *sqlite);

/* Note how long the file is; it only grows, and then. */
void sqlite_note_size(struct sqlite_store *sqlite);

/* Whether they are in their places.  A question to the file system for each; any thread. */
bool sqlite_is_in_place(struct sqlite_store *sqlite);

/* The same for the hub, which tells it; quick: of the file alone as long as none was
 * missed.  A question to the file system for each. */
bool sqlite_is_gone(struct sqlite_store *sqlite, bool quick);

/* Say in `trouble` what the fields come to. */
void sqlite_tell_trouble(struct sqlite_store *sqlite);

/* Whether there is memory for a commit; when not, have SQLite give up its cache. */
void sqlite_note_memory(struct sqlite_store *sqlite, bool has_memory);

/* After damage: see whether an event like the newest can be stored; once a second at most. */
void sqlite_find_damage(struct sqlite_store *sqlite);

/* ---- the log ---- */

/* A name for sqlite3_open_v2() with SQLITE_OPEN_URI; immutable: the file alone, without its log.
 * For free(). */
char *sqlite_uri(const char *path, bool immutable);

/* Before the file is opened for writing, with the lock: refuse a log beside a file that has none,
 * and a file whose log is missing unless it may be; and note what the file alone says.  Returns 0
 * or -1. */
int sqlite_look_at_log(struct sqlite_store *sqlite, bool may_lack_log,
                       struct conf_error *ret_error);

/* With the log: whether it belongs to that file.  Returns 0 or -1; nothing was changed. */
int sqlite_check_log(struct sqlite_store *sqlite, struct conf_error *ret_error);
int sqlite_read_tie(sqlite3 *db, struct sqlite_tie *ret_tie);

/* Whether it is time to move the log into the file. */
static inline bool sqlite_log_is_due(const struct sqlite_store *sqlite)
{
    return sqlite->wal_pages >= sqlite->checkpoint_at;
}

/* Each transaction of the writer begins and is committed by these; or it is a seal, which is to be
 * the last before the log is moved into the file.  They return SQLite codes. */
int sqlite_begin(struct sqlite_store *sqlite);
int sqlite_commit(struct sqlite_store *sqlite);
int sqlite_seal(struct sqlite_store *sqlite, bool closed);

/* history_ops */
int sqlite_append(struct history *history, struct message *const *events, size_t events_n,
                  int64_t now_ms);
void sqlite_store_watch(struct history *history);
int sqlite_find_key(struct history *history, const struct message *message, int64_t now_ms,
                    uint64_t *ret_position);
void sqlite_settle(struct history *history);
void sqlite_adopt(struct history *history);
int sqlite_backup_begin(struct history *history);
int sqlite_backup_step(struct history *history, struct history_backup *ret_backup);
void sqlite_backup_end(struct history *history);
int sqlite_apply(struct history *history, struct message *const *events, size_t events_n);
int sqlite_truncate(struct history *history, uint64_t after, struct lineage *lineage);
bool sqlite_store_trim(struct history *history, int64_t now_ms);
int sqlite_store_read(struct history *history, const struct history_query *query,
                      struct history_page **ret_page);
uint64_t sqlite_find_time(struct history *history, int64_t since_ms);
int sqlite_store_search(struct history *history, struct history_search *search);

/* ---- readers ---- */

void sqlite_init_readers(struct sqlite_store *sqlite);
void sqlite_free_readers(struct sqlite_store *sqlite);

/* Have one ready, so that reads go on when the file is moved away before the first of them. Without
 * memory or descriptors for it there is none. */
void sqlite_add_reader(struct sqlite_store *sqlite);

/* Begin a transaction on a connection that nobody else uses until sqlite_end_read().  Waits
 * while reads are barred, 50 ms at most.  Any thread.  Returns 0, -ENOMEM or -EIO. */
int sqlite_begin_read(struct sqlite_store *sqlite, struct sqlite_reader **ret_reader);
void sqlite_end_read(struct sqlite_store *sqlite, struct sqlite_reader *reader);

/* Let no read begin any more, and tell whether now is the time to move the log into the file: no
 * read is under way, or they could not be waited for.  When it is not, ask again after the next
 * commit; when it is, admit them again afterwards.  Does not block, unless it is asked more than
 * 50 ms after it said no: then 25 ms at most.  The hub's thread. */
bool sqlite_bar_reads(struct sqlite_store *sqlite);
void sqlite_admit_reads(struct sqlite_store *sqlite);

#endif
