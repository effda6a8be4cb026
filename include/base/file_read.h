/* SPDX-License-Identifier: MIT */
/*
 * Files that an operator names: settings, certificates, keys.  They are read whole.  A FIFO, such
 * as a shell's <(...), is waited for as long as FILE_READ_MS at most.  A file on a mount that hangs
 * blocks the thread that reads it (open(2) has no deadline), so threads that serve never read one.
 */
#ifndef BUGLE_FILE_READ_H
#define BUGLE_FILE_READ_H

#include <stddef.h>

#define FILE_READ_MS 2000

/*
 * Read the file, NUL behind it.  Returns 0 with memory for free(); -EFBIG when it has more than
 * `bytes_max`; -ETIMEDOUT; -ENODATA for a FIFO without a writer; -EISDIR; -EINVAL for what else is
 * no file; -ENOMEM; or what open() or read() failed with.  Blocks.
 */
int file_read(const char *path, size_t bytes_max, char **ret_text, size_t *ret_n);

/* The error in words, without an end of sentence. */
const char *file_read_text(int error);

#endif
