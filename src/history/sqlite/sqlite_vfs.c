/* SPDX-License-Identifier: MIT */
/* Checksums of pages.  See sqlite_vfs.h. */
#include "config.h"
#include "history/sqlite/sqlite_vfs.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CONTENT_BYTES (SQLITE_VFS_PAGE_BYTES - SQLITE_VFS_SUM_BYTES)
#define FCNTL_CHECK 0x6275676c /* operations of our own */
#define FCNTL_HOLES 0x6275676d

/* The main file of a connection, or its log, whose pages are never checked; that of the VFS below
 * stands behind it. */
struct file {
    sqlite3_file base;
    bool checks;
    struct sqlite_vfs_holes *holes; /* to note them in; NULL: nobody asks */
    _Alignas(8) char below[];       /* as SQLite aligns its files */
};

static sqlite3_vfs vfs;

static sqlite3_vfs *vfs_below(void)
{
    return vfs.pAppData;
}

static struct file *file_of(sqlite3_file *base)
{
    return (struct file *)base;
}

static sqlite3_file *below(sqlite3_file *base)
{
    return (sqlite3_file *)file_of(base)->below;
}

/* ---- pages ---- */

/* Other reads and writes than of whole pages are of the header alone. */
static bool is_page(const struct file *file, int bytes_n, sqlite3_int64 offset)
{
    return file->checks && bytes_n == SQLITE_VFS_PAGE_BYTES && offset % SQLITE_VFS_PAGE_BYTES == 0;
}

/* The place counts too: a page written to the wrong one is damage. */
static uint64_t sum_of(const char *page, sqlite3_int64 offset)
{
    return htole64(XXH3_64bits_withSeed(page, CONTENT_BYTES, (uint64_t)offset + 1));
}

/* A page that was never written is a hole in the file.  So is one that the disk has lost, and of a
 * page by itself nobody can tell; SQLite takes no such page for one of a tree. */
static bool is_hole(const char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, SQLITE_VFS_PAGE_BYTES - 1) == 0;
}

static int note_hole(struct sqlite_vfs_holes *holes, sqlite3_int64 offset)
{
    if (holes->pages_n == holes->room) {
        size_t room = holes->room > 0 ? 2 * holes->room : 16;
        uint32_t *pages = realloc(holes->pages, room * sizeof(pages[0]));

        if (pages == NULL)
            return SQLITE_IOERR_NOMEM;
        holes->pages = pages;
        holes->room = room;
    }
    holes->pages[holes->pages_n++] = (uint32_t)(offset / SQLITE_VFS_PAGE_BYTES + 1);
    return SQLITE_OK;
}

static int read_file(sqlite3_file *base, void *to, int bytes_n, sqlite3_int64 offset)
{
    int code = below(base)->pMethods->xRead(below(base), to, bytes_n, offset);
    struct sqlite_vfs_holes *holes = file_of(base)->holes;
    const char *page = to;
    uint64_t sum;
    int noted = SQLITE_OK;

    /* a page that the end of the file cuts is no error for SQLite, which takes zeros for the rest
     */
    if ((code != SQLITE_OK && code != SQLITE_IOERR_SHORT_READ) ||
        !is_page(file_of(base), bytes_n, offset))
        return code;
    memcpy(&sum, page + CONTENT_BYTES, sizeof(sum));
    if (sum == sum_of(page, offset))
        return code;
    if (!is_hole(page))
        return SQLITE_IOERR_DATA;
    if (holes != NULL)
        noted = note_hole(holes, offset);
    return noted == SQLITE_OK ? code : noted;
}

static int write_file(sqlite3_file *base, const void *from, int bytes_n, sqlite3_int64 offset)
{
    char page[SQLITE_VFS_PAGE_BYTES];
    uint64_t sum;

    if (is_page(file_of(base), bytes_n, offset)) {
        memcpy(page, from, CONTENT_BYTES);
        sum = sum_of(page, offset);
        memcpy(page + CONTENT_BYTES, &sum, sizeof(sum));
        from = page;
    }
    errno = 0;
    int code = below(base)->pMethods->xWrite(below(base), from, bytes_n, offset);
    /* a limit on the sizes of files (setrlimit(2)) is as harmless as a full disk: nothing is torn
     */
    return code == SQLITE_IOERR_WRITE && errno == EFBIG ? SQLITE_FULL : code;
}

/* ---- what is handed on ---- */

static int close_file(sqlite3_file *base)
{
    return below(base)->pMethods->xClose(below(base));
}

static int truncate_file(sqlite3_file *base, sqlite3_int64 size)
{
    return below(base)->pMethods->xTruncate(below(base), size);
}

static int sync_file(sqlite3_file *base, int flags)
{
    return below(base)->pMethods->xSync(below(base), flags);
}

static int file_size(sqlite3_file *base, sqlite3_int64 *ret_size)
{
    return below(base)->pMethods->xFileSize(below(base), ret_size);
}

static int lock_file(sqlite3_file *base, int level)
{
    return below(base)->pMethods->xLock(below(base), level);
}

static int unlock_file(sqlite3_file *base, int level)
{
    return below(base)->pMethods->xUnlock(below(base), level);
}

static int check_lock(sqlite3_file *base, int *ret_locked)
{
    return below(base)->pMethods->xCheckReservedLock(below(base), ret_locked);
}

static int control_file(sqlite3_file *base, int operation, void *arg)
{
    if (operation == FCNTL_CHECK) {
        file_of(base)->checks = true;
        return SQLITE_OK;
    }
    if (operation == FCNTL_HOLES) {
        file_of(base)->holes = arg;
        return SQLITE_OK;
    }
    return below(base)->pMethods->xFileControl(below(base), operation, arg);
}

static int sector_size(sqlite3_file *base)
{
    return below(base)->pMethods->xSectorSize(below(base));
}

static int characteristics(sqlite3_file *base)
{
    return below(base)->pMethods->xDeviceCharacteristics(below(base));
}

static int map_shm(sqlite3_file *base, int region, int size, int extend, void volatile **ret_map)
{
    return below(base)->pMethods->xShmMap(below(base), region, size, extend, ret_map);
}

static int lock_shm(sqlite3_file *base, int offset, int n, int flags)
{
    return below(base)->pMethods->xShmLock(below(base), offset, n, flags);
}

static void bar_shm(sqlite3_file *base)
{
    below(base)->pMethods->xShmBarrier(below(base));
}

static int unmap_shm(sqlite3_file *base, int drop)
{
    return below(base)->pMethods->xShmUnmap(below(base), drop);
}

/* Version 2: without mapped files, whose pages nobody would check. */
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = close_file,
    .xRead = read_file,
    .xWrite = write_file,
    .xTruncate = truncate_file,
    .xSync = sync_file,
    .xFileSize = file_size,
    .xLock = lock_file,
    .xUnlock = unlock_file,
    .xCheckReservedLock = check_lock,
    .xFileControl = control_file,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
    .xShmMap = map_shm,
    .xShmLock = lock_shm,
    .xShmBarrier = bar_shm,
    .xShmUnmap = unmap_shm,
};

/* ---- the VFS ---- */

static int open_file(sqlite3_vfs *self, const char *name, sqlite3_file *base, int flags,
                     int *ret_flags)
{
    struct file *file = file_of(base);

    (void)self;
    if ((flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) == 0)
        return vfs_below()->xOpen(vfs_below(), name, base, flags, ret_flags);
    memset(file, 0, sizeof(*file));
    int code = vfs_below()->xOpen(vfs_below(), name, below(base), flags, ret_flags);
    if (below(base)->pMethods != NULL)
        base->pMethods = &methods;
    return code;
}

static int delete_file(sqlite3_vfs *self, const char *name, int sync_folder)
{
    (void)self;
    return vfs_below()->xDelete(vfs_below(), name, sync_folder);
}

static int access_file(sqlite3_vfs *self, const char *name, int flags, int *ret_there)
{
    (void)self;
    return vfs_below()->xAccess(vfs_below(), name, flags, ret_there);
}

static int full_path(sqlite3_vfs *self, const char *name, int room, char *to)
{
    (void)self;
    return vfs_below()->xFullPathname(vfs_below(), name, room, to);
}

static int randomness(sqlite3_vfs *self, int bytes_n, char *to)
{
    (void)self;
    return vfs_below()->xRandomness(vfs_below(), bytes_n, to);
}

static int sleep_us(sqlite3_vfs *self, int us)
{
    (void)self;
    return vfs_below()->xSleep(vfs_below(), us);
}

static int current_time(sqlite3_vfs *self, double *ret_days)
{
    (void)self;
    return vfs_below()->xCurrentTime(vfs_below(), ret_days);
}

static int last_error(sqlite3_vfs *self, int room, char *to)
{
    (void)self;
    return vfs_below()->xGetLastError(vfs_below(), room, to);
}

static void register_vfs(void)
{
    /* Its count of all memory has a lock that each allocation takes: a reader that the kernel puts
     * aside while it holds it would hold up the commits. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite3_initialize();
    sqlite3_vfs *usual = sqlite3_vfs_find(NULL);

    vfs = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = (int)sizeof(struct file) + usual->szOsFile,
        .mxPathname = usual->mxPathname,
        .zName = "bugle",
        .pAppData = usual,
        .xOpen = open_file,
        .xDelete = delete_file,
        .xAccess = access_file,
        .xFullPathname = full_path,
        .xRandomness = randomness,
        .xSleep = sleep_us,
        .xCurrentTime = current_time,
        .xGetLastError = last_error,
    };
    sqlite3_vfs_register(&vfs, 0);
}

const char *sqlite_vfs(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, register_vfs);
    return vfs.zName;
}

int sqlite_vfs_check(sqlite3 *db)
{
    return sqlite3_file_control(db, "main", FCNTL_CHECK, NULL);
}

int sqlite_vfs_note_holes(sqlite3 *db, struct sqlite_vfs_holes *holes)
{
    return sqlite3_file_control(db, "main", FCNTL_HOLES, holes);
}

int sqlite_vfs_reserve(sqlite3 *db)
{
    int bytes_n = SQLITE_VFS_SUM_BYTES;

    return sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes_n);
}

bool sqlite_vfs_is_reserved(sqlite3 *db)
{
    int bytes_n = -1;

    return sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes_n) == SQLITE_OK &&
           bytes_n == SQLITE_VFS_SUM_BYTES;
}
