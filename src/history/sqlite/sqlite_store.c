/* SPDX-License-Identifier: MIT */
/* The store on disk: its life, from opening to the end, and hand-overs between.  See
 * sqlite_store.h. */
#include "config.h"
#include "history/sqlite/sqlite_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "history/sqlite/sqlite_internal.h"

/* How long to wait for a lock that another process is about to let go. */
#define RELOCK_EVERY_MS 10
#define RELOCK_MAX_MS 10000

/* ---- figures ---- */

static void sqlite_bounds(struct history *history, struct history_bounds *ret_bounds)
{
    struct sqlite_store *sqlite = sqlite_of(history);

    /* trimmed never passes newest, so reading it first keeps them in order */
    ret_bounds->trimmed = sqlite->trimmed;
    ret_bounds->newest = sqlite->newest;
}

static void sqlite_usage(struct history *history, struct history_usage *ret_usage)
{
    struct sqlite_store *sqlite = sqlite_of(history);

    ret_usage->events_n = sqlite->events_n;
    ret_usage->bytes = sqlite->bytes;
    ret_usage->keys_n = (size_t)(sqlite->next_key - sqlite->first_key);
    ret_usage->keys_early_n = sqlite->keys_early_n;
}

/* ---- a hand-over ---- */

static int sqlite_release(struct history *history)
{
    struct sqlite_store *sqlite = sqlite_of(history);

    /* the next process goes on with the log as it is: publishers wait for this */
    sqlite_close_writer(sqlite, true);
    sqlite->open_block = UINT64_MAX;
    sqlite->wal_pages = 0;
    sqlite->checkpoint_at = SQLITE_STORE_CHECKPOINT_PAGES;
    sqlite->away = true;
    sqlite->base.trouble = HISTORY_FINE; /* what there is now is the other's */
    return 0;
}

/* The other process lets go of the lock by ending, if not sooner. */
static int lock_soon(struct sqlite_store *sqlite, struct conf_error *ret_error)
{
    struct timespec pause = {.tv_nsec = RELOCK_EVERY_MS * 1000000L};
    int result = sqlite_lock(sqlite, ret_error);

    for (int waited_ms = 0; result != 0 && waited_ms < RELOCK_MAX_MS;
         waited_ms += RELOCK_EVERY_MS) {
        nanosleep(&pause, NULL);
        result = sqlite_lock(sqlite, ret_error);
    }
    return result;
}

static int sqlite_reclaim(struct history *history)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    uint64_t newest = sqlite->newest;
    struct conf_error error;

    int result = lock_soon(sqlite, &error);
    sqlite->file_tie = (struct sqlite_tie){0}; /* the other process has looked at the log */
    if (result == 0)
        result = sqlite_open_file(sqlite, sqlite->path, &error);
    /* what somebody else has stored is in no ring here: going on would pass it over in silence */
    if (result == 0 && sqlite->newest != newest)
        result = conf_refuse(&error, -1, "%s has %llu events more than when it was handed over",
                             sqlite->path, (unsigned long long)(sqlite->newest - newest));
    if (result == 0) {
        sqlite->failed = false;
        sqlite->away = false;
        sqlite_tell_trouble(sqlite);
        return 0;
    }
    log_error("the store cannot be reopened: %s", error.text);
    sqlite->failed = true;
    sqlite_tell_trouble(sqlite);
    return -EIO;
}

static void sqlite_follow(struct history *history, uint64_t newest)
{
    struct sqlite_store *sqlite = sqlite_of(history);

    sqlite->newest = newest;
}

/* ---- opening and ending ---- */

static void sqlite_store_free(struct history *history)
{
    struct sqlite_store *sqlite = sqlite_of(history);

    sqlite_free_readers(sqlite);
    sqlite_backup_end(history);
    sqlite_close_writer(sqlite, false);
    if (sqlite->file_fd >= 0)
        close(sqlite->file_fd);
    history_free_lineage(history);
    free(sqlite->names);
    free(sqlite->path);
    free(sqlite);
}

static const struct history_ops sqlite_ops = {
    .append = sqlite_append,
    .apply = sqlite_apply,
    .truncate = sqlite_truncate,
    .read = sqlite_store_read,
    .find_key = sqlite_find_key,
    .settle = sqlite_settle,
    .adopt = sqlite_adopt,
    .trim = sqlite_store_trim,
    .watch = sqlite_store_watch,
    .bounds = sqlite_bounds,
    .find_time = sqlite_find_time,
    .search = sqlite_store_search,
    .usage = sqlite_usage,
    .backup_begin = sqlite_backup_begin,
    .backup_step = sqlite_backup_step,
    .backup_end = sqlite_backup_end,
    .release = sqlite_release,
    .reclaim = sqlite_reclaim,
    .follow = sqlite_follow,
    .free = sqlite_store_free,
};

static struct sqlite_store *sqlite_store_new(const struct history_limits *limits)
{
    struct sqlite_store *sqlite = calloc(1, sizeof(*sqlite));

    if (sqlite == NULL)
        return NULL;
    sqlite->base.ops = &sqlite_ops;
    sqlite->base.durability = HISTORY_DISK;
    sqlite->limits = *limits;
    sqlite->lock_fd = -1;
    sqlite->file_fd = -1;
    sqlite->open_block = UINT64_MAX;
    sqlite->first_key = sqlite->next_key = 1;
    sqlite->oldest_key_ms = INT64_MAX;
    sqlite->checkpoint_at = SQLITE_STORE_CHECKPOINT_PAGES;
    sqlite->read_ns_max = SQLITE_STORE_READ_NS_MAX;
    sqlite->read_ns_with_events_max = SQLITE_STORE_READ_NS_WITH_EVENTS_MAX;
    sqlite_init_readers(sqlite);
    return sqlite;
}

/* The file, empty if it was not there: for its owner only, since events may be private.  It must
 * not be opened here when it was there: closing it would drop the locks that this process has. */
static int make_file(const char *path, struct conf_error *ret_error)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat facts;

    if (fd >= 0)
        close(fd);
    else if (errno != EEXIST)
        return conf_refuse(ret_error, -1, "%s cannot be made: %s", path, strerror(errno));
    if (stat(path, &facts) != 0)
        return conf_refuse(ret_error, -1, "%s: %s", path, strerror(errno));
    return S_ISREG(facts.st_mode) ? 0 : conf_refuse(ret_error, -1, "%s is no file", path);
}

static struct history *open_store(const char *path, const struct history_limits *limits,
                                  bool may_lack_log, struct conf_error *ret_error)
{
    struct sqlite_store *sqlite;

    if (make_file(path, ret_error) != 0)
        return NULL;
    sqlite = sqlite_store_new(limits);
    if (sqlite == NULL) {
        conf_refuse(ret_error, -1, "out of memory");
        return NULL;
    }
    sqlite->path = realpath(path, NULL);
    int result = sqlite->path != NULL ? sqlite_lock(sqlite, ret_error)
                                      : conf_refuse(ret_error, -1, "%s: %s", path, strerror(errno));
    if (result == 0)
        sqlite_remove_leavings(sqlite);
    if (result == 0)
        result = sqlite_look_at_log(sqlite, may_lack_log, ret_error);
    if (result == 0)
        result = sqlite_open_file(sqlite, path, ret_error);
    if (result == 0)
        return &sqlite->base;
    history_free(&sqlite->base);
    return NULL;
}

struct history *sqlite_store_open(const char *path, const struct history_limits *limits,
                                  struct conf_error *ret_error)
{
    return open_store(path, limits, false, ret_error);
}

struct history *sqlite_store_open_without_log(const char *path, const struct history_limits *limits,
                                              struct conf_error *ret_error)
{
    return open_store(path, limits, true, ret_error);
}
