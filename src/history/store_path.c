/* SPDX-License-Identifier: MIT */
/* From the text of history.store to a file.  See store_path.h. */
#include "config.h"
#include "history/store_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/state_dir.h"

static const char on_disk[] = "sqlite:";

const char *store_given_path(const char *store)
{
    size_t scheme_n = strlen(on_disk);

    return strncmp(store, on_disk, scheme_n) == 0 ? store + scheme_n : NULL;
}

char *store_path(const char *store)
{
    const char *given = store_given_path(store);
    char *path;

    if (given == NULL || *given != '\0')
        return given != NULL ? strdup(given) : NULL;
    char *folder = state_dir_path();
    if (folder == NULL || asprintf(&path, "%s/history.db", folder) < 0)
        path = NULL;
    free(folder);
    return path;
}

char *store_text(const char *store)
{
    char *path = store_path(store), *full = path != NULL ? realpath(path, NULL) : NULL, *text;

    if (store_given_path(store) == NULL)
        text = strdup(store);
    else if (full == NULL || asprintf(&text, "%s%s", on_disk, full) < 0)
        text = NULL;
    free(path);
    free(full);
    return text;
}
