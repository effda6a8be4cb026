/* SPDX-License-Identifier: MIT */
/* From the text of history.store to a store.  See store.h. */
#include "config.h"
#include "server/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/state_dir.h"
#include "history/history_memory.h"
#include "history/sqlite/sqlite_store.h"

static const char on_disk[] = "sqlite:";

/* The part behind the scheme; NULL when the store has no file. */
static const char *given_path(const char *store)
{
    size_t scheme_n = strlen(on_disk);

    return strncmp(store, on_disk, scheme_n) == 0 ? store + scheme_n : NULL;
}

char *store_path(const char *store)
{
    const char *given = given_path(store);
    char *path;

    if (given == NULL || *given != '\0')
        return given != NULL ? strdup(given) : NULL;
    char *folder = state_dir_path();
    if (folder == NULL || asprintf(&path, "%s/history.db", folder) < 0)
        path = NULL;
    free(folder);
    return path;
}

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
    bool is_default = *given_path(store) == '\0';
    struct history *history = NULL;
    char *path = store_path(store);

    if (path != NULL && (!is_default || make_state_dir(ret_error) == 0))
        history = sqlite_store_open(path, limits, ret_error);
    free(path);
    if (history == NULL && is_default)
        add_way_out(ret_error);
    return history;
}

struct history *store_open(const char *store, const struct history_limits *limits,
                           struct conf_error *ret_error)
{
    strcpy(ret_error->text, "out of memory");
    return given_path(store) != NULL ? open_file(store, limits, ret_error)
                                     : history_memory_new(limits);
}

char *store_text(const char *store)
{
    char *path = store_path(store), *full = path != NULL ? realpath(path, NULL) : NULL, *text;

    if (given_path(store) == NULL)
        text = strdup(store);
    else if (full == NULL || asprintf(&text, "%s%s", on_disk, full) < 0)
        text = NULL;
    free(path);
    free(full);
    return text;
}
