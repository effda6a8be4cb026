/* SPDX-License-Identifier: MIT */
/* A folder for a test's files, and short ways with the store on disk. */
#ifndef BUGLE_SCRATCH_H
#define BUGLE_SCRATCH_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history/sqlite/sqlite_internal.h"
#include "history/sqlite/sqlite_store.h"
#include "make.h"

#define SCRATCH_LOTS ((size_t)1 << 40)
#define SCRATCH_FOR_EVER (INT64_MAX / 2)

struct scratch {
    char folder[64];
    char path[96]; /* of a store in it */
};

static inline void scratch_make(struct scratch *scratch)
{
    strcpy(scratch->folder, "/tmp/bugle-test-XXXXXX");
    if (mkdtemp(scratch->folder) == NULL)
        abort();
    snprintf(scratch->path, sizeof(scratch->path), "%s/h.db", scratch->folder);
}

static inline void scratch_empty(const struct scratch *scratch)
{
    DIR *folder = opendir(scratch->folder);
    struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder != NULL)
        closedir(folder);
}

static inline void scratch_remove(const struct scratch *scratch)
{
    scratch_empty(scratch);
    rmdir(scratch->folder);
}

/* Its reads have all the time there is: how far a page goes must not depend on what else the
 * machine does. */
static inline struct history *scratch_try(const char *path, const struct history_limits *limits,
                                          struct conf_error *ret_error)
{
    static const struct history_limits none = {SCRATCH_FOR_EVER, SCRATCH_LOTS, SCRATCH_LOTS,
                                               SCRATCH_FOR_EVER, SCRATCH_LOTS};
    struct history *history = sqlite_store_open(path, limits != NULL ? limits : &none, ret_error);

    if (history != NULL) {
        sqlite_of(history)->read_ns_max = INT64_MAX;
        sqlite_of(history)->read_ns_with_events_max = INT64_MAX;
    }
    return history;
}

/* It must open. */
static inline struct history *scratch_open(const char *path, const struct history_limits *limits)
{
    struct conf_error error = {.text = ""};
    struct history *history = scratch_try(path, limits, &error);

    if (history == NULL) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
    return history;
}

#endif
