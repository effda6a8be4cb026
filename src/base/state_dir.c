/* SPDX-License-Identifier: MIT */
/* The state directory.  See state_dir.h. */
#include "config.h"
#include "base/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- where it is ---- */

/* The value of a variable that names a folder; NULL if it does not. */
static const char *folder_in(const char *variable)
{
    const char *value = getenv(variable);

    return value != NULL && value[0] == '/' ? value : NULL;
}

static char *join(const char *folder, size_t folder_n, const char *tail)
{
    char *path;

    while (folder_n > 1 && folder[folder_n - 1] == '/')
        folder_n--;
    return asprintf(&path, "%.*s%s", (int)folder_n, folder, tail) >= 0 ? path : NULL;
}

char *state_dir_path(void)
{
    const char *folder;

    if ((folder = folder_in("STATE_DIRECTORY")) != NULL)
        return join(folder, strcspn(folder, ":"), "");
    if ((folder = folder_in("XDG_STATE_HOME")) != NULL)
        return join(folder, strlen(folder), "/bugle");
    if ((folder = folder_in("HOME")) != NULL)
        return join(folder, strlen(folder), "/.local/state/bugle");
    return strdup("/var/lib/bugle");
}

/* ---- making it ---- */

static int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) != 0 ? -errno : 0;

    if (fd >= 0)
        close(fd);
    return error;
}

static int check_folder(const char *path)
{
    struct stat facts;

    if (stat(path, &facts) != 0)
        return -errno;
    return S_ISDIR(facts.st_mode) ? 0 : -ENOTDIR;
}

/* The folder `path`, whose last name stands at `name`; those above it are there. */
static int make_one(char *path, char *name)
{
    if (mkdir(path, 0700) != 0)
        return errno == EEXIST ? check_folder(path) : -errno;
    char first = *name;
    *name = '\0';
    int error = sync_folder(*path != '\0' ? path : ".");
    *name = first;
    return error;
}

int state_dir_make(const char *path)
{
    char *copy = strdup(path), *end = copy;
    int error = copy != NULL ? 0 : -ENOMEM;

    while (error == 0 && *end != '\0') {
        char *name = end + strspn(end, "/");
        char after;

        end = name + strcspn(name, "/");
        after = *end;
        *end = '\0';
        if (*name != '\0')
            error = make_one(copy, name);
        *end = after;
    }
    free(copy);
    return error;
}
