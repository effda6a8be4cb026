/* SPDX-License-Identifier: MIT */
/*
 * The files of server.www, read once at start and served from memory: the page at `/` and what
 * stands beside it.
 */
#ifndef BUGLE_STATIC_FILES_H
#define BUGLE_STATIC_FILES_H

#include <stddef.h>

#include "conf/conf.h"
#include "http/request.h"

struct static_files;

/*
 * Read every plain file of a folder (no sub-folders, no names that begin with a dot).
 *
 * folder  empty: no pages at all
 *
 * Returns NULL with a line for the operator when the folder cannot be read or is too large.
 */
struct static_files *static_files_new(const char *folder, struct conf_error *ret_error);
void static_files_free(struct static_files *files); /* accepts NULL */

/* Answer a GET or HEAD for one of them.  Returns MHD_YES or MHD_NO as respond.h, or -ENOENT when
 * there is no such page. */
int static_files_respond(const struct static_files *files, struct request *request,
                         const char *path);

size_t static_files_count(const struct static_files *files);

#endif
