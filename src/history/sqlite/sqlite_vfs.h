/* SPDX-License-Identifier: MIT */
/*
 * A checksum on every page of a database file: what SQLite leaves to the disk.  The checksums of
 * rows (sqlite_row.h) tell damage in events; this one tells it in what leads to them, where a
 * flipped bit would otherwise make events unfindable without a word.
 *
 * It is a VFS of SQLite over the usual one, for which each page keeps its last eight bytes free.
 * Other programs can read such a file, and must not write to it.
 */
#ifndef BUGLE_SQLITE_VFS_H
#define BUGLE_SQLITE_VFS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQLITE_VFS_PAGE_BYTES 4096
#define SQLITE_VFS_SUM_BYTES 8

/* Its name, for sqlite3_open_v2().  Registers it over the VFS that is the default at the first
 * call. Any thread. */
const char *sqlite_vfs(void);

/*
 * From now on add a checksum to the pages that this connection writes to its main file, and have
 * reads of pages fail with SQLITE_IOERR_DATA where it is wrong.  The file must keep the bytes free:
 * sqlite_vfs_reserve() before its first page is written.
 */
int sqlite_vfs_check(sqlite3 *db);
int sqlite_vfs_reserve(sqlite3 *db);

/*
 * Note the pages that this connection reads from its main file and that are nothing but zeros, for
 * the caller to judge: one that was never written, free ever since, or one that was lost.
 *
 * holes  `pages` is for free(); borrowed until the next call, with NULL for no more
 */
struct sqlite_vfs_holes {
    uint32_t *pages; /* from 1; one may be there several times */
    size_t pages_n;
    size_t room;
};

int sqlite_vfs_note_holes(sqlite3 *db, struct sqlite_vfs_holes *holes);

/* Whether the file keeps the bytes free. */
bool sqlite_vfs_is_reserved(sqlite3 *db);

#endif
