/* SPDX-License-Identifier: MIT */
/*
 * Small files of a fixed size in which the gateway keeps what must outlive it, such as the key of
 * tickets.  A power cut leaves such a file whole or not there, never a part of it.
 */
#ifndef BUGLE_STATE_FILE_H
#define BUGLE_STATE_FILE_H

#include <stddef.h>

/* Read the file.  Returns 0; -ENOENT when it is not there; -EBADMSG when it has another size, or is
 * no ordinary file; another -errno when it cannot be read.  Does not wait for a FIFO. */
int state_file_read(const char *path, void *to, size_t bytes_n);

/* Make the file, for its owner only, synced with its folder.  Returns 0; -EEXIST when it is there,
 * and then it stays as it is; another -errno.  Blocks. */
int state_file_make(const char *path, const void *bytes, size_t bytes_n);

/* Set a bad file aside, as PATH.bad, in place of an earlier one.  Returns 0 or -errno. */
int state_file_set_aside(const char *path);

#endif
