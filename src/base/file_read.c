/* SPDX-License-Identifier: MIT */
/* Reading files that an operator names.  See file_read.h. */
#include "config.h"
#include "base/file_read.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define ROOM_MIN 4096

struct reading {
    int fd;
    bool is_fifo;
    int64_t until_ms;
    char *text;
    size_t n, room;
};

static int look_at(struct reading *reading)
{
    struct stat facts;

    if (fstat(reading->fd, &facts) != 0)
        return -errno;
    if (S_ISDIR(facts.st_mode))
        return -EISDIR;
    reading->is_fifo = S_ISFIFO(facts.st_mode);
    return S_ISREG(facts.st_mode) || S_ISCHR(facts.st_mode) || reading->is_fifo ? 0 : -EINVAL;
}

static int file_read_grow(struct reading *reading, size_t bytes_max)
{
    size_t room = reading->room == 0 ? ROOM_MIN : reading->room * 2;
    char *text;

    if (reading->n > bytes_max)
        return -EFBIG;
    if (reading->n + 1 < reading->room)
        return 0;
    text = realloc(reading->text, room);
    if (text == NULL)
        return -ENOMEM;
    reading->text = text;
    reading->room = room;
    return 0;
}

static int wait_for_more(const struct reading *reading)
{
    struct pollfd fd = {.fd = reading->fd, .events = POLLIN};
    int64_t left_ms = reading->until_ms - clock_mono_ms();

    if (left_ms <= 0)
        return -ETIMEDOUT;
    return poll(&fd, 1, (int)left_ms) >= 0 || errno == EINTR ? 0 : -errno;
}

/* Returns how many bytes came, 0 at the end, or -errno. */
static ssize_t read_some(struct reading *reading)
{
    ssize_t n = read(reading->fd, reading->text + reading->n, reading->room - reading->n - 1);

    if (n > 0)
        reading->n += (size_t)n;
    return n >= 0 ? n : -errno;
}

static int read_all(struct reading *reading, size_t bytes_max)
{
    int result;

    for (;;) {
        if ((result = file_read_grow(reading, bytes_max)) != 0)
            return result;
        ssize_t n = read_some(reading);
        /* before its writer has come a FIFO seems to be at its end */
        bool waits = n == -EAGAIN || n == -EINTR || (n == 0 && reading->is_fifo && reading->n == 0);
        if (!waits && n <= 0)
            return (int)n;
        if (n == 0 && poll(NULL, 0, 10) < 0 && errno != EINTR)
            return -errno;
        if (waits && (result = wait_for_more(reading)) != 0)
            return n == 0 && result == -ETIMEDOUT ? -ENODATA : result;
    }
}

int file_read(const char *path, size_t bytes_max, char **ret_text, size_t *ret_n)
{
    struct reading reading = {.until_ms = clock_mono_ms() + FILE_READ_MS};

    reading.fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (reading.fd < 0)
        return -errno;
    int result = look_at(&reading);
    if (result == 0)
        result = read_all(&reading, bytes_max);
    close(reading.fd);
    if (result != 0) {
        free(reading.text);
        return result;
    }
    reading.text[reading.n] = '\0';
    *ret_text = reading.text;
    *ret_n = reading.n;
    return 0;
}

const char *file_read_text(int error)
{
    switch (error) {
    case -EFBIG:
        return "it is too large";
    case -ETIMEDOUT:
    case -ENODATA:
        return "it is a FIFO without a writer";
    case -EINVAL:
        return "it is no file";
    default:
        return strerrordesc_np(-error);
    }
}
