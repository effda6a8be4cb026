/* SPDX-License-Identifier: MIT */
/*
 * The store on disk: a copy of it, made by the writer between its commits.  What the writer changes
 * meanwhile SQLite carries into the copy, because both go through the one connection.  Another
 * connection would have to begin anew after each commit.
 *
 * The file has a name only as long as SQLite needs one, which is until it is complete.  From then
 * on the descriptor alone leads to it, and nothing is left behind whatever becomes of the process.
 */
#include "config.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_vfs.h"

/* A step copies pages in pieces, at most 1 MiB, until its time is over.  A publisher waits for at
 * most one. */
#define STEP_NS_MAX (2 * INT64_C(1000000))
#define STEP_PIECES 8
#define PIECE_PAGES 32
/* The copy leaves so much of the disk to those who publish while it is made. */
#define ROOM_LEFT_BYTES ((uint64_t)16 << 20)

/* Without a sync: after a crash there is no copy, and who downloads this one syncs their own.
 * Without a journal: a copy that fails is thrown away.  A small cache, so that the end costs no
 * more than any step. */
static const char settings[] = "PRAGMA trusted_schema = OFF;"
                               "PRAGMA locking_mode = EXCLUSIVE;"
                               "PRAGMA journal_mode = OFF;"
                               "PRAGMA synchronous = OFF;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA mmap_size = 0;"
                               "PRAGMA cache_size = -1024";

/* What was copied says that it has a log beside it; the copy is to stand alone. */
static const char finish_sql[] =
    "PRAGMA journal_mode = MEMORY;"
    "INSERT OR REPLACE INTO meta VALUES('" SQLITE_STORE_COPIED "', unixepoch()),"
    "  ('log', " SQLITE_STORE_NEW_TIE ")";

struct sqlite_store_backup {
    int fd;
    sqlite3 *db; /* the copy */
    sqlite3_backup *job;
    int64_t begun_ms;
    struct sqlite_vfs_holes holes; /* pages of the store that were nothing but zeros */
};

/* ---- the file ---- */

static const char *const endings[] = {".copying", ".copying-journal", ".copying-wal",
                                      ".copying-shm"};

/* A name for free(), NULL when out of memory. */
static char *name_beside(const struct sqlite_store *sqlite, const char *ending)
{
    char *name;

    return asprintf(&name, "%s%s", sqlite->path, ending) >= 0 ? name : NULL;
}

void sqlite_remove_leavings(const struct sqlite_store *sqlite)
{
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char *name = name_beside(sqlite, endings[i]);

        if (name != NULL)
            unlink(name);
        free(name);
    }
}

static uint64_t source_bytes(struct sqlite_store *sqlite)
{
    char pages_n[24];

    sqlite_ask_text(sqlite->db, "PRAGMA page_count", pages_n, sizeof(pages_n));
    return strtoull(pages_n, NULL, 10) * SQLITE_VFS_PAGE_BYTES;
}

/* Whether the disk takes so many bytes more and still has room for publishing. */
static bool has_room(const struct sqlite_store_backup *backup, uint64_t bytes)
{
    struct statvfs facts;

    if (fstatvfs(backup->fd, &facts) != 0)
        return true; /* the writes will tell */
    return (uint64_t)facts.f_bavail * facts.f_frsize >= bytes + ROOM_LEFT_BYTES;
}

static int open_file(struct sqlite_store_backup *backup, const char *path)
{
    backup->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (backup->fd >= 0)
        return 0;
    log_error("%s cannot be made: %s", path, strerror(errno));
    return errno == ENOSPC || errno == EDQUOT ? -ENOSPC : -EIO;
}

static int open_copy(struct sqlite_store_backup *backup, const char *path)
{
    int code = sqlite3_open_v2(path, &backup->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                               sqlite_vfs());

    if (code != SQLITE_OK)
        return code;
    sqlite3_extended_result_codes(backup->db, 1);
    sqlite_vfs_reserve(backup->db);
    sqlite_vfs_check(backup->db);
    return sqlite3_exec(backup->db, settings, NULL, NULL, NULL);
}

/* ---- failing ---- */

/* What a code means for the copy; the store itself is as it was. */
static int backup_fail(struct sqlite_store *sqlite, int code, int error)
{
    bool is_full = (code & 0xff) == SQLITE_FULL ||
                   (code == SQLITE_IOERR_WRITE && (error == ENOSPC || error == EDQUOT));
    bool is_oom = (code & 0xff) == SQLITE_NOMEM || code == SQLITE_IOERR_NOMEM;
    int result = is_full ? -ENOSPC : is_oom ? -ENOMEM : -EIO;

    if (sqlite_is_damage(code))
        log_error("%s cannot be copied: a page of it is damaged", sqlite->path);
    else if (result == -EIO)
        log_error("%s cannot be copied: %s (error %d)", sqlite->path, sqlite3_errstr(code), code);
    sqlite_backup_end(&sqlite->base);
    return result;
}

void sqlite_backup_end(struct history *history)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    struct sqlite_store_backup *backup = sqlite->backup;

    if (backup == NULL)
        return;
    sqlite3_backup_finish(backup->job);
    sqlite3_close(backup->db);
    sqlite_vfs_note_holes(sqlite->db, NULL);
    free(backup->holes.pages);
    sqlite_remove_leavings(sqlite);
    if (backup->fd >= 0)
        history_backup_close(backup->fd);
    free(backup);
    sqlite->backup = NULL;
}

/* ---- beginning ---- */

static int begin_at(struct sqlite_store *sqlite, const char *path)
{
    struct sqlite_store_backup *backup = sqlite->backup;
    int result = open_file(backup, path);

    if (result != 0)
        return result;
    if (!has_room(backup, source_bytes(sqlite)))
        return -ENOSPC;
    errno = 0;
    int code = open_copy(backup, path);
    if (code != SQLITE_OK)
        return backup_fail(sqlite, code, errno);
    /* so that all pages are read again, and holes among them noted */
    sqlite3_db_release_memory(sqlite->db);
    sqlite_vfs_note_holes(sqlite->db, &backup->holes);
    backup->job = sqlite3_backup_init(backup->db, "main", sqlite->db, "main");
    return backup->job != NULL ? 0 : backup_fail(sqlite, sqlite3_errcode(backup->db), 0);
}

int sqlite_backup_begin(struct history *history)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    char *path = name_beside(sqlite, endings[0]);

    if (sqlite->failed || path == NULL) {
        free(path);
        return sqlite->failed ? -EIO : -ENOMEM;
    }
    sqlite_remove_leavings(sqlite);
    sqlite->backup = calloc(1, sizeof(*sqlite->backup));
    int result = -ENOMEM;
    if (sqlite->backup != NULL) {
        sqlite->backup->fd = -1;
        sqlite->backup->begun_ms = clock_mono_ms();
        result = begin_at(sqlite, path);
    }
    if (result != 0)
        sqlite_backup_end(history);
    free(path);
    return result;
}

/* ---- copying ---- */

/* SQLITE_OK: there is more to copy; SQLITE_DONE: that was all. */
static int copy_pages(struct sqlite_store_backup *backup)
{
    int64_t until_ns = clock_mono_ns() + STEP_NS_MAX;
    int pieces_n = 0, code;

    do
        code = sqlite3_backup_step(backup->job, PIECE_PAGES);
    while (code == SQLITE_OK && ++pieces_n < STEP_PIECES && clock_mono_ns() < until_ns);
    /* a reader that recovers the log is soon done with it */
    return (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED ? SQLITE_OK : code;
}

/* ---- holes ---- */

/*
 * A page of zeros has no checksum, and in the copy it would get one.  It is sound only where the
 * file says that nothing is in it: when it stands in the list of free pages.  The list is a chain
 * of pages that each begin with the next one and a count, and name so many free pages; the file's
 * header names the first (https://www.sqlite.org/fileformat2.html, 1.5).
 */
#define HEADER_FIRST_FREE_AT 32
#define LIST_NAMES_MAX ((SQLITE_VFS_PAGE_BYTES - SQLITE_VFS_SUM_BYTES) / 4 - 2)

static bool read_page(const struct sqlite_store_backup *backup, uint32_t number, uint32_t *to)
{
    off_t at = (off_t)(number - 1) * SQLITE_VFS_PAGE_BYTES;

    return number > 0 && pread(backup->fd, to, SQLITE_VFS_PAGE_BYTES, at) == SQLITE_VFS_PAGE_BYTES;
}

/* But for its checksum.  What was a hole early in the copying can be in use now. */
static bool is_blank(const struct sqlite_store_backup *backup, uint32_t number)
{
    uint32_t page[SQLITE_VFS_PAGE_BYTES / 4];
    bool blank = read_page(backup, number, page);

    for (size_t i = 0; blank && i < (SQLITE_VFS_PAGE_BYTES - SQLITE_VFS_SUM_BYTES) / 4; i++)
        blank = page[i] == 0;
    return blank;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

    return one < other ? -1 : one > other;
}

/* Keep those that are still holes in the copy, in order and once each. */
static void sift(struct sqlite_store_backup *backup)
{
    struct sqlite_vfs_holes *holes = &backup->holes;
    size_t kept_n = 0;

    qsort(holes->pages, holes->pages_n, sizeof(holes->pages[0]), compare_numbers);
    for (size_t i = 0; i < holes->pages_n; i++)
        if ((kept_n == 0 || holes->pages[kept_n - 1] != holes->pages[i]) &&
            is_blank(backup, holes->pages[i]))
            holes->pages[kept_n++] = holes->pages[i];
    holes->pages_n = kept_n;
}

/* How many of the holes the list of free pages names.  A list that is no list names no more. */
static size_t count_free(const struct sqlite_store_backup *backup)
{
    const struct sqlite_vfs_holes *holes = &backup->holes;
    uint32_t page[SQLITE_VFS_PAGE_BYTES / 4];
    struct stat facts;
    size_t free_n = 0;

    if (fstat(backup->fd, &facts) != 0 || !read_page(backup, 1, page))
        return 0;
    size_t pages_n = (size_t)facts.st_size / SQLITE_VFS_PAGE_BYTES; /* a chain in a ring ends */
    uint32_t next = be32toh(page[HEADER_FIRST_FREE_AT / 4]);
    for (size_t i = 0; i < pages_n && read_page(backup, next, page); i++) {
        uint32_t names_n = be32toh(page[1]);

        next = be32toh(page[0]);
        for (uint32_t n = 0; n < names_n && n < LIST_NAMES_MAX; n++) {
            uint32_t number = be32toh(page[2 + n]);

            free_n += bsearch(&number, holes->pages, holes->pages_n, sizeof(number),
                              compare_numbers) != NULL;
        }
    }
    return free_n;
}

static int check_holes(struct sqlite_store_backup *backup)
{
    if (backup->holes.pages_n == 0)
        return SQLITE_OK;
    sift(backup);
    return count_free(backup) == backup->holes.pages_n ? SQLITE_OK : SQLITE_IOERR_DATA;
}

/* ---- the end ---- */

static bool stands_alone(const struct sqlite_store_backup *backup)
{
    unsigned char written[2];

    return pread(backup->fd, written, sizeof(written), HEADER_WRITTEN_AT) == sizeof(written) &&
           written[0] == HEADER_IN_PLACE && written[1] == HEADER_IN_PLACE;
}

/* Mark the copy and close it. */
static int backup_finish(struct sqlite_store_backup *backup)
{
    int code = sqlite3_backup_finish(backup->job);

    backup->job = NULL;
    if (code == SQLITE_OK)
        code = check_holes(backup);
    if (code == SQLITE_OK)
        code = sqlite3_exec(backup->db, finish_sql, NULL, NULL, NULL);
    if (code != SQLITE_OK)
        return code;
    code = sqlite3_close(backup->db);
    backup->db = NULL;
    if (code == SQLITE_OK && !stands_alone(backup))
        code = SQLITE_INTERNAL;
    return code;
}

static int hand_over(struct sqlite_store *sqlite, struct history_backup *ret_backup)
{
    struct sqlite_store_backup *backup = sqlite->backup;
    struct stat facts;

    if (fstat(backup->fd, &facts) != 0)
        return backup_fail(sqlite, SQLITE_IOERR_FSTAT, errno);
    *ret_backup = (struct history_backup){
        .fd = backup->fd, .bytes = (uint64_t)facts.st_size, .newest = sqlite->newest};
    log_info("%s was copied: %llu bytes in %lld ms", sqlite->path,
             (unsigned long long)facts.st_size, (long long)(clock_mono_ms() - backup->begun_ms));
    backup->fd = -1;
    sqlite_backup_end(&sqlite->base);
    return 0;
}

int sqlite_backup_step(struct history *history, struct history_backup *ret_backup)
{
    struct sqlite_store *sqlite = sqlite_of(history);
    struct sqlite_store_backup *backup = sqlite->backup;
    uint64_t left_n = (uint64_t)sqlite3_backup_remaining(backup->job);

    /* nobody knows what the store's last commit left, so nobody should trust a copy of it */
    if (sqlite->failed)
        return backup_fail(sqlite, SQLITE_IOERR, 0);
    if (!has_room(backup, left_n * SQLITE_VFS_PAGE_BYTES))
        return backup_fail(sqlite, SQLITE_FULL, 0);
    errno = 0;
    int code = copy_pages(backup);
    if (code == SQLITE_OK)
        return 1;
    if (code == SQLITE_DONE)
        code = backup_finish(backup);
    return code == SQLITE_OK ? hand_over(sqlite, ret_backup) : backup_fail(sqlite, code, errno);
}
