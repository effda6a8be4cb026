/* SPDX-License-Identifier: MIT */
/* A disk that loses power and has faults.  See vfs_shim.h. */
#include "vfs_shim.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <unistd.h>

#define SECTOR 512

/* A write, or with no data a truncation, that was not synced yet. */
struct change {
    STAILQ_ENTRY(change) link;
    size_t offset;
    size_t bytes_n;
    bool truncates;
    char data[];
};

/* A watched file as the disk has it. */
struct disk {
    LIST_ENTRY(disk) link;
    char *path;
    char *synced;
    size_t synced_n;
    size_t room;
    STAILQ_HEAD(, change) changes;
};

struct file {
    sqlite3_file base;
    struct disk *disk;        /* NULL: not watched */
    _Alignas(8) char below[]; /* as SQLite aligns its files */
};

static struct {
    pthread_mutex_t lock; /* over all of it; recursive, since a call may ask for a cut */
    LIST_HEAD(, disk) disks;
    char *watched;
    void (*call)(void *arg, uint64_t ops_n);
    void *call_arg;
    uint64_t ops_n;
    struct {
        uint64_t after; /* so many still go well */
        uint64_t times;
        int code;
    } faults[VFS_SHIM_OPS];
    bool has_failed;
    bool never_syncs;
    _Atomic uint64_t reads;
} shim;

static sqlite3_vfs vfs;

static sqlite3_vfs *vfs_below(void)
{
    return vfs.pAppData;
}

static sqlite3_file *below(sqlite3_file *base)
{
    return (sqlite3_file *)((struct file *)base)->below;
}

static struct disk *disk_of(sqlite3_file *base)
{
    return ((struct file *)base)->disk;
}

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ---- what the disk has ---- */

static void read_whole(struct disk *disk)
{
    int fd = open(disk->path, O_RDONLY);
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;

    if (size > 0) {
        disk->synced = must(malloc((size_t)size));
        ssize_t got = pread(fd, disk->synced, (size_t)size, 0);
        assert(got == size);
        disk->synced_n = disk->room = (size_t)size;
    }
    if (fd >= 0)
        close(fd);
}

static struct disk *find_disk(const char *path)
{
    struct disk *disk;

    LIST_FOREACH (disk, &shim.disks, link)
        if (strcmp(disk->path, path) == 0)
            return disk;
    disk = must(calloc(1, sizeof(*disk)));
    disk->path = must(strdup(path));
    STAILQ_INIT(&disk->changes);
    read_whole(disk);
    LIST_INSERT_HEAD(&shim.disks, disk, link);
    return disk;
}

static void resize(struct disk *disk, size_t bytes_n)
{
    if (bytes_n > disk->room) {
        disk->room = 2 * bytes_n;
        disk->synced = must(realloc(disk->synced, disk->room));
    }
    if (bytes_n > disk->synced_n)
        memset(disk->synced + disk->synced_n, 0, bytes_n - disk->synced_n);
    disk->synced_n = bytes_n;
}

static void put(struct disk *disk, const char *data, size_t bytes_n, size_t offset)
{
    if (offset + bytes_n > disk->synced_n)
        resize(disk, offset + bytes_n);
    memcpy(disk->synced + offset, data, bytes_n);
}

static void forget_changes(struct disk *disk)
{
    struct change *change;

    while ((change = STAILQ_FIRST(&disk->changes)) != NULL) {
        STAILQ_REMOVE_HEAD(&disk->changes, link);
        free(change);
    }
}

static void note(struct disk *disk, const void *data, size_t bytes_n, size_t offset, bool truncates)
{
    struct change *change = must(malloc(sizeof(*change) + bytes_n));

    change->offset = offset;
    change->bytes_n = bytes_n;
    change->truncates = truncates;
    if (bytes_n > 0)
        memcpy(change->data, data, bytes_n);
    STAILQ_INSERT_TAIL(&disk->changes, change, link);
}

static void apply_changes(struct disk *disk)
{
    struct change *change;

    STAILQ_FOREACH (change, &disk->changes, link)
        if (change->truncates)
            resize(disk, change->offset);
        else
            put(disk, change->data, change->bytes_n, change->offset);
    forget_changes(disk);
}

static void forget_disk(struct disk *disk)
{
    forget_changes(disk);
    LIST_REMOVE(disk, link);
    free(disk->synced);
    free(disk->path);
    free(disk);
}

/* ---- a power cut ---- */

/* A file of the image: the synced bytes and a chance for each piece of the others. */
static void write_image(const struct disk *disk, const char *folder, unsigned *seed)
{
    struct disk image = {.synced_n = 0};
    unsigned chance = (*seed % 3) * 50; /* of 100 */
    const char *name = strrchr(disk->path, '/');
    struct change *change;
    char path[4096];

    if (disk->synced_n > 0)
        put(&image, disk->synced, disk->synced_n, 0);
    STAILQ_FOREACH (change, &disk->changes, link) {
        if (change->truncates && (unsigned)rand_r(seed) % 100 < chance)
            resize(&image, change->offset);
        for (size_t at = 0; at < change->bytes_n;) {
            size_t piece = SECTOR - (change->offset + at) % SECTOR;

            if (piece > change->bytes_n - at)
                piece = change->bytes_n - at;
            if ((unsigned)rand_r(seed) % 100 < chance)
                put(&image, change->data + at, piece, change->offset + at);
            at += piece;
        }
    }
    snprintf(path, sizeof(path), "%s%s", folder, name);
    FILE *file = must(fopen(path, "w"));
    size_t written = image.synced_n > 0 ? fwrite(image.synced, 1, image.synced_n, file) : 0;
    assert(written == image.synced_n);
    fclose(file);
    free(image.synced);
}

void vfs_shim_cut(const char *folder, unsigned seed)
{
    struct disk *disk;

    pthread_mutex_lock(&shim.lock);
    LIST_FOREACH (disk, &shim.disks, link)
        write_image(disk, folder, &seed);
    pthread_mutex_unlock(&shim.lock);
}

/* ---- files ---- */

/* One operation of a watched file: whoever wants to look looks, and it may fail. */
static int begin_op(enum vfs_shim_op op)
{
    int code = SQLITE_OK;

    if (shim.call != NULL)
        shim.call(shim.call_arg, shim.ops_n);
    shim.ops_n++;
    if (shim.faults[op].times == 0)
        return SQLITE_OK;
    if (shim.faults[op].after > 0) {
        shim.faults[op].after--;
        return SQLITE_OK;
    }
    shim.faults[op].times--;
    shim.has_failed = true;
    code = shim.faults[op].code;
    return code;
}

static int close_file(sqlite3_file *base)
{
    return below(base)->pMethods->xClose(below(base));
}

static int read_file(sqlite3_file *base, void *to, int bytes_n, sqlite3_int64 offset)
{
    if (disk_of(base) != NULL)
        shim.reads++;
    return below(base)->pMethods->xRead(below(base), to, bytes_n, offset);
}

static int write_file(sqlite3_file *base, const void *from, int bytes_n, sqlite3_int64 offset)
{
    int code;

    if (disk_of(base) == NULL)
        return below(base)->pMethods->xWrite(below(base), from, bytes_n, offset);
    pthread_mutex_lock(&shim.lock);
    code = begin_op(VFS_SHIM_WRITE);
    if (code == SQLITE_OK)
        note(disk_of(base), from, (size_t)bytes_n, (size_t)offset, false);
    pthread_mutex_unlock(&shim.lock);
    if (code != SQLITE_OK)
        return code;
    return below(base)->pMethods->xWrite(below(base), from, bytes_n, offset);
}

static int truncate_file(sqlite3_file *base, sqlite3_int64 size)
{
    if (disk_of(base) != NULL) {
        pthread_mutex_lock(&shim.lock);
        note(disk_of(base), NULL, 0, (size_t)size, true);
        pthread_mutex_unlock(&shim.lock);
    }
    return below(base)->pMethods->xTruncate(below(base), size);
}

/* The real file needs no sync: the test looks at what the shim knows. */
static int sync_file(sqlite3_file *base, int flags)
{
    int code;

    if (disk_of(base) == NULL)
        return below(base)->pMethods->xSync(below(base), flags);
    pthread_mutex_lock(&shim.lock);
    code = begin_op(VFS_SHIM_SYNC);
    if (code == SQLITE_OK)
        apply_changes(disk_of(base));
    pthread_mutex_unlock(&shim.lock);
    return code;
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

/* Every PRAGMA comes by here first: with "synchronous" taken for done, it stays as it was set when
 * the connection was opened. */
static int control_file(sqlite3_file *base, int operation, void *arg)
{
    if (operation == SQLITE_FCNTL_PRAGMA && shim.never_syncs) {
        const char *const *words = arg;

        if (strcasecmp(words[1], "synchronous") == 0 && words[2] != NULL &&
            strcasecmp(words[2], "OFF") != 0)
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
    struct file *file = (struct file *)base;

    (void)self;
    memset(file, 0, sizeof(*file));
    int code = vfs_below()->xOpen(vfs_below(), name, below(base), flags, ret_flags);
    if (below(base)->pMethods == NULL)
        return code;
    base->pMethods = &methods;
    pthread_mutex_lock(&shim.lock);
    if (name != NULL && shim.watched != NULL &&
        strncmp(name, shim.watched, strlen(shim.watched)) == 0)
        file->disk = find_disk(name);
    pthread_mutex_unlock(&shim.lock);
    return code;
}

/* Taken for lasting at once: folders are not what this is about. */
static int delete_file(sqlite3_vfs *self, const char *name, int sync_folder)
{
    struct disk *disk, *next;

    (void)self;
    pthread_mutex_lock(&shim.lock);
    for (disk = LIST_FIRST(&shim.disks); disk != NULL; disk = next) {
        next = LIST_NEXT(disk, link);
        if (strcmp(disk->path, name) == 0)
            forget_disk(disk);
    }
    pthread_mutex_unlock(&shim.lock);
    return vfs_below()->xDelete(vfs_below(), name, sync_folder);
}

static void never_sync(sqlite3 *db)
{
    if (shim.never_syncs)
        sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
}

static int on_connection(sqlite3 *db, char **ret_error, const struct sqlite3_api_routines *api)
{
    (void)ret_error;
    (void)api;
    never_sync(db);
    return SQLITE_OK;
}

void vfs_shim_install(void)
{
    pthread_mutexattr_t attributes;
    sqlite3_vfs *usual;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&shim.lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    LIST_INIT(&shim.disks);
    sqlite3_initialize();
    usual = sqlite3_vfs_find(NULL);
    vfs = *usual;
    vfs.szOsFile = (int)sizeof(struct file) + usual->szOsFile;
    vfs.zName = "shim";
    vfs.pNext = NULL;
    vfs.pAppData = usual;
    vfs.xOpen = open_file;
    vfs.xDelete = delete_file;
    sqlite3_vfs_register(&vfs, 1);
    sqlite3_auto_extension((void (*)(void))on_connection);
}

void vfs_shim_watch(const char *path)
{
    pthread_mutex_lock(&shim.lock);
    while (!LIST_EMPTY(&shim.disks))
        forget_disk(LIST_FIRST(&shim.disks));
    free(shim.watched);
    shim.watched = path != NULL ? must(strdup(path)) : NULL;
    shim.ops_n = 0;
    pthread_mutex_unlock(&shim.lock);
}

void vfs_shim_on_op(void (*call)(void *arg, uint64_t ops_n), void *arg)
{
    pthread_mutex_lock(&shim.lock);
    shim.call = call;
    shim.call_arg = arg;
    pthread_mutex_unlock(&shim.lock);
}

void vfs_shim_fail(enum vfs_shim_op op, uint64_t nth, uint64_t times, int code)
{
    pthread_mutex_lock(&shim.lock);
    shim.faults[op].after = nth - 1;
    shim.faults[op].times = times;
    shim.faults[op].code = code;
    shim.has_failed = false;
    pthread_mutex_unlock(&shim.lock);
}

bool vfs_shim_has_failed(void)
{
    pthread_mutex_lock(&shim.lock);
    bool has_failed = shim.has_failed;
    pthread_mutex_unlock(&shim.lock);
    return has_failed;
}

void vfs_shim_heal(void)
{
    pthread_mutex_lock(&shim.lock);
    memset(shim.faults, 0, sizeof(shim.faults));
    shim.has_failed = false;
    pthread_mutex_unlock(&shim.lock);
}

void vfs_shim_never_sync(bool never)
{
    shim.never_syncs = never;
}

uint64_t vfs_shim_reads(void)
{
    return shim.reads;
}
