/* SPDX-License-Identifier: MIT */
/* From the text of history.store to a store.  See history_open.h. */
#include "config.h"
#include "server/history_open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/state_dir.h"
#include "history/history_memory.h"
#include "history/sqlite/sqlite_store.h"
#include "history/store_path.h"

static int make_state_dir(struct conf_error *ret_error)
{
    char *folder = state_dir_path();
    int error = 0;

    if (folder != NULL && (error = state_dir_make(folder)) != 0)
        snprintf(ret_error->text, sizeof(ret_error->text), "the folder %s cannot be made: %s",
                 folder, strerror(-error));
    free(folder);
    return error;
}

/* Nobody chose this place, so the line says how to choose another. */
static void add_way_out(struct conf_error *error)
{
    char why[sizeof(error->text)];

    strcpy(why, error->text);
    snprintf(error->text, sizeof(error->text),
             "history.store: %.300s; --store sqlite:PATH names another file, --store memory: does "
             "without a disk",
             why);
}

static struct history *open_file(const char *store, const struct history_limits *limits,
                                 struct conf_error *ret_error)
{
    bool is_default = *store_given_path(store) == '\0';
    struct history *history = NULL;
    char *path = store_path(store);

    if (path != NULL && (!is_default || make_state_dir(ret_error) == 0))
        history = sqlite_store_open(path, limits, ret_error);
    free(path);
    if (history == NULL && is_default)
        add_way_out(ret_error);
    return history;
}

struct history *history_open(const char *store, const struct history_limits *limits,
                             struct conf_error *ret_error)
{
    strcpy(ret_error->text, "out of memory");
    return store_given_path(store) != NULL ? open_file(store, limits, ret_error)
                                           : history_memory_new(limits);
}
