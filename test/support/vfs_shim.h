/* SPDX-License-Identifier: MIT */
/*
 * A VFS of SQLite for tests, over the usual one: it knows which writes were synced, can leave what
 * a power cut at this moment would leave, and makes writes and syncs fail.
 *
 * It is the default VFS from vfs_shim_install() on.  What it does not watch passes through.
 */
#ifndef BUGLE_VFS_SHIM_H
#define BUGLE_VFS_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vfs_shim_op { VFS_SHIM_WRITE, VFS_SHIM_SYNC, VFS_SHIM_OPS };

/* Before anything else of SQLite. */
void vfs_shim_install(void);

/* Watch the files whose full path begins with this; NULL: none any more, and forget all.  Nothing
 * that is watched may be open meanwhile. */
void vfs_shim_watch(const char *path);

/* Called before each write and sync of a watched file with how many there were before; NULL: no
 * call. */
void vfs_shim_on_op(void (*call)(void *arg, uint64_t ops_n), void *arg);

/*
 * Write what a power cut now would leave of each watched file under its own name into `folder`:
 * all that was synced, and of the rest, in pieces of 512 bytes, nothing, some by chance, or all, as
 * `seed` has it.
 */
void vfs_shim_cut(const char *folder, unsigned seed);

/* From the `nth` one on (1: the next), `times` operations of this kind fail with `code`. */
void vfs_shim_fail(enum vfs_shim_op op, uint64_t nth, uint64_t times, int code);
bool vfs_shim_has_failed(void); /* since then */
void vfs_shim_heal(void);

/* Open connections with synchronous=OFF from now on, whatever they ask for. */
void vfs_shim_never_sync(bool never);

/* Reads of watched files so far. */
uint64_t vfs_shim_reads(void);

#endif
