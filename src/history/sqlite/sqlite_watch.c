/* SPDX-License-Identifier: MIT */
/*
 * The store on disk: that it is this process's alone, and still the one that its path names.  See
 * sqlite_store.h.
 *
 * Two locks.  That of PATH.lock is taken first and is there before the file is.  That of the file
 * itself goes by inode, so it holds under any other name of the file too: a hard link, a bind
 * mount, or when PATH.lock was removed.  It is flock(), which knows nothing of the locks of SQLite.
 *
 * The descriptor that has it stays open until the store is freed, also when the lock is let go of:
 * closing any descriptor of a file takes the locks of SQLite on that file from the whole process.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_vfs.h"

#define TRY_AGAIN_MS 1000

/* Of the format of the log. */
#define LOG_HEADER_BYTES 32
#define LOG_FRAME_BYTES 24

/* ---- locks ---- */

static int lock_fd(int fd, const char *what, const struct sqlite_store *sqlite,
                   struct conf_error *ret_error)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return conf_refuse(ret_error, -1, "%s is in use by another process", sqlite->path);
    return conf_refuse(ret_error, -1, "%s cannot be locked: %s", what, strerror(errno));
}

static int lock_name(struct sqlite_store *sqlite, struct conf_error *ret_error)
{
    char *path;

    if (asprintf(&path, "%s.lock", sqlite->path) < 0)
        return conf_refuse(ret_error, -1, "out of memory");
    sqlite->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int result = sqlite->lock_fd < 0
                     ? conf_refuse(ret_error, -1, "%s cannot be opened: %s", path, strerror(errno))
                     : lock_fd(sqlite->lock_fd, path, sqlite, ret_error);
    free(path);
    return result;
}

/* Whether the path leads to what the descriptor has open, and no other name does. */
static int check_names(const struct sqlite_store *sqlite, struct conf_error *ret_error)
{
    struct stat open_facts, facts;

    if (fstat(sqlite->file_fd, &open_facts) != 0 || stat(sqlite->path, &facts) != 0)
        return conf_refuse(ret_error, -1, "%s: %s", sqlite->path, strerror(errno));
    if (facts.st_dev != open_facts.st_dev || facts.st_ino != open_facts.st_ino)
        return conf_refuse(ret_error, -1, "%s was replaced by another file", sqlite->path);
    if (facts.st_nlink > 1)
        return conf_refuse(ret_error, -1,
                           "%s is a hard link: the file has %ju names, and opened by another one "
                           "it would be without its log; remove the others, or copy the file",
                           sqlite->path, (uintmax_t)facts.st_nlink);
    return 0;
}

static int lock_file(struct sqlite_store *sqlite, struct conf_error *ret_error)
{
    if (sqlite->file_fd < 0)
        sqlite->file_fd = open(sqlite->path, O_RDONLY | O_CLOEXEC);
    if (sqlite->file_fd < 0)
        return conf_refuse(ret_error, -1, "%s cannot be opened: %s", sqlite->path, strerror(errno));
    int result = lock_fd(sqlite->file_fd, sqlite->path, sqlite, ret_error);
    return result == 0 ? check_names(sqlite, ret_error) : result;
}

int sqlite_lock(struct sqlite_store *sqlite, struct conf_error *ret_error)
{
    int result = lock_name(sqlite, ret_error);

    if (result == 0)
        result = lock_file(sqlite, ret_error);
    if (result != 0)
        sqlite_unlock(sqlite);
    return result;
}

void sqlite_unlock(struct sqlite_store *sqlite)
{
    if (sqlite->file_fd >= 0)
        flock(sqlite->file_fd, LOCK_UN);
    if (sqlite->lock_fd >= 0)
        close(sqlite->lock_fd);
    sqlite->lock_fd = -1;
}

/* ---- what the paths name ---- */

static const char *const endings[SQLITE_STORE_FILES] = {"", "-wal", "-shm"};

static bool look(const struct sqlite_store *sqlite, size_t which, struct stat *ret_facts)
{
    char *path;

    if (which == 0)
        return stat(sqlite->path, ret_facts) == 0;
    if (asprintf(&path, "%s%s", sqlite->path, endings[which]) < 0)
        return false;
    bool there = stat(path, ret_facts) == 0;
    free(path);
    return there;
}

void sqlite_note_files(struct sqlite_store *sqlite)
{
    for (size_t i = 0; i < SQLITE_STORE_FILES; i++) {
        struct stat facts = {0};

        look(sqlite, i, &facts); /* 0 where SQLite does without such a file */
        pthread_mutex_lock(&sqlite->readers_lock);
        sqlite->files[i] = (struct sqlite_file){.device = facts.st_dev, .inode = facts.st_ino};
        pthread_mutex_unlock(&sqlite->readers_lock);
    }
}

void sqlite_note_size(struct sqlite_store *sqlite)
{
    struct stat facts;

    sqlite->file_bytes = fstat(sqlite->file_fd, &facts) == 0 ? (int64_t)facts.st_size : 0;
}

/* What `>` of a shell does, or a rotation of logs: SQLite itself goes on for long. */
static void look_for_cut(struct sqlite_store *sqlite)
{
    int64_t log_bytes =
        LOG_HEADER_BYTES + (int64_t)sqlite->wal_pages * (LOG_FRAME_BYTES + SQLITE_VFS_PAGE_BYTES);
    struct stat facts;
    bool file_is_cut = fstat(sqlite->file_fd, &facts) == 0 && facts.st_size < sqlite->file_bytes;

    if (!file_is_cut &&
        (sqlite->wal_pages == 0 || !look(sqlite, 1, &facts) || facts.st_size >= log_bytes))
        return;
    sqlite->failed = true;
    log_error("%s%s was cut short: publishing stops until a restart, and what was stored may be "
              "lost; put a sound copy in its place",
              sqlite->path, file_is_cut ? "" : "-wal");
    sqlite_tell_trouble(sqlite);
}

static bool is_in_place(struct sqlite_store *sqlite, size_t which)
{
    struct stat facts;

    pthread_mutex_lock(&sqlite->readers_lock);
    struct sqlite_file file = sqlite->files[which];
    pthread_mutex_unlock(&sqlite->readers_lock);
    if (file.inode == 0)
        return true;
    if (!look(sqlite, which, &facts))
        return errno == ENOMEM; /* nobody knows */
    return facts.st_dev == file.device && facts.st_ino == file.inode;
}

/* Which of the files is not in place; SQLITE_STORE_FILES: all are. */
static size_t find_lost(struct sqlite_store *sqlite)
{
    size_t which = 0;

    while (which < SQLITE_STORE_FILES && is_in_place(sqlite, which))
        which++;
    return which;
}

bool sqlite_is_in_place(struct sqlite_store *sqlite)
{
    return find_lost(sqlite) == SQLITE_STORE_FILES;
}

static void tell(const struct sqlite_store *sqlite, size_t lost)
{
    struct stat facts;

    if (lost == SQLITE_STORE_FILES)
        log_info("%s and its log are in their places again: publishing goes on", sqlite->path);
    else
        log_error("%s%s %s: publishing stops (503 store_gone), reading goes on.  Move it back and "
                  "publishing goes on; or have `bugle backup` save what is stored, and start again",
                  sqlite->path, endings[lost],
                  look(sqlite, lost, &facts) ? "is another file than the one this gateway writes"
                                             : "was removed or moved away");
}

bool sqlite_is_gone(struct sqlite_store *sqlite, bool quick)
{
    if (quick && !sqlite->gone && is_in_place(sqlite, 0))
        return false;
    size_t lost = find_lost(sqlite);
    bool gone = lost < SQLITE_STORE_FILES;

    if (gone != sqlite->gone) {
        sqlite->gone = gone;
        tell(sqlite, lost);
        sqlite_tell_trouble(sqlite);
    }
    return gone;
}

/* ---- what keeps events from being stored ---- */

void sqlite_tell_trouble(struct sqlite_store *sqlite)
{
    enum history_trouble trouble = HISTORY_FINE;

    if (sqlite->failed)
        trouble = HISTORY_FAILED;
    else if (sqlite->gone)
        trouble = HISTORY_GONE;
    else if (sqlite->damaged)
        trouble = HISTORY_DAMAGED;
    else if (sqlite->lacks_memory)
        trouble = HISTORY_NO_MEMORY;
    else if (sqlite->lacks_room)
        trouble = HISTORY_NO_ROOM;
    sqlite->base.trouble = trouble;
}

void sqlite_note_memory(struct sqlite_store *sqlite, bool has_memory)
{
    /* SQLite keeps what it has in its cache, and asks for more */
    if (!has_memory)
        sqlite3_db_release_memory(sqlite->db);
    if (sqlite->lacks_memory == !has_memory)
        return;
    sqlite->lacks_memory = !has_memory;
    sqlite_tell_trouble(sqlite);
}

void sqlite_find_damage(struct sqlite_store *sqlite)
{
    int64_t now_ms = clock_mono_ms();

    if (sqlite->tried_ms != 0 && now_ms - sqlite->tried_ms < TRY_AGAIN_MS)
        return;
    bool damaged = sqlite_is_damage(sqlite_try(sqlite));
    sqlite->tried_ms = now_ms;
    if (damaged && !sqlite->damaged)
        log_error("%s is damaged where events are stored: nothing can be published; restore a copy "
                  "(`bugle backup`), or move the file away to begin anew",
                  sqlite->path);
    sqlite->damaged = damaged;
    sqlite_tell_trouble(sqlite);
}

void sqlite_store_watch(struct history *history)
{
    struct sqlite_store *sqlite = sqlite_of(history);

    if (!sqlite_is_gone(sqlite, false) && !sqlite->failed)
        look_for_cut(sqlite);
    sqlite_look_for_room(sqlite);
    if (sqlite->damaged && !sqlite->failed)
        sqlite_find_damage(sqlite);
    if (sqlite->lacks_memory && !sqlite->failed && sqlite_try(sqlite) == SQLITE_OK)
        sqlite_note_memory(sqlite, true);
}
