/* SPDX-License-Identifier: MIT */
/* Small files, whole or not there.  See state_file.h. */
#include "config.h"
#include "base/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_size(int fd, size_t bytes_n)
{
    struct stat facts;

    if (fstat(fd, &facts) != 0)
        return -errno;
    return S_ISREG(facts.st_mode) && facts.st_size == (off_t)bytes_n ? 0 : -EBADMSG;
}

int state_file_read(const char *path, void *to, size_t bytes_n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return -errno;
    int result = check_size(fd, bytes_n);
    if (result == 0) {
        ssize_t n = read(fd, to, bytes_n);
        result = n == (ssize_t)bytes_n ? 0 : n < 0 ? -errno : -EBADMSG;
    }
    close(fd);
    return result;
}

static int write_all(int fd, const char *bytes, size_t bytes_n)
{
    while (bytes_n > 0) {
        ssize_t n = write(fd, bytes, bytes_n);

        if (n < 0)
            return -errno;
        bytes += n;
        bytes_n -= (size_t)n;
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

/* dirname(3) writes into what it is given. */
static int sync_folder_of(const char *path)
{
    char *copy = strdup(path);
    int fd = copy != NULL ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int result = fd >= 0 && fsync(fd) == 0 ? 0 : -errno;

    if (fd >= 0)
        close(fd);
    free(copy);
    return result;
}

/* Unlike rename() this replaces nothing, should another process be making the file too. */
static int give_name(const char *fresh, const char *path)
{
    if (renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL) /* which file systems that do not know the flag say */
        return -errno;
    return link(fresh, path) == 0 ? 0 : -errno;
}

int state_file_make(const char *path, const void *bytes, size_t bytes_n)
{
    char *fresh;

    if (asprintf(&fresh, "%s.XXXXXX", path) < 0)
        return -ENOMEM;
    int fd = mkostemp(fresh, O_CLOEXEC); /* of mode 0600 */
    int result = fd >= 0 ? write_all(fd, bytes, bytes_n) : -errno;
    if (result == 0)
        result = give_name(fresh, path);
    if (fd >= 0) {
        close(fd);
        unlink(fresh);
    }
    free(fresh);
    return result == 0 ? sync_folder_of(path) : result;
}

int state_file_set_aside(const char *path)
{
    char *aside;

    if (asprintf(&aside, "%s.bad", path) < 0)
        return -ENOMEM;
    int result = rename(path, aside) == 0 ? 0 : -errno;
    free(aside);
    return result;
}
