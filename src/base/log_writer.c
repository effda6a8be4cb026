/* SPDX-License-Identifier: MIT */
/* The thread that writes the log.  See log_writer.h. */
#include "config.h"
#include "base/log_writer.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/signals.h"
#include "base/thread.h"

#define CALM_BYTES (LOG_WRITER_BYTES / 4 * 3)
#define LOOK_NS 1000000

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    log_writer_tell *tell;
    _Atomic bool runs;
    bool stopping;
    uint64_t untold_n; /* lines dropped since the last line about that */
    _Atomic uint64_t dropped_n;
    size_t head;                 /* where the oldest line begins */
    _Atomic size_t used;         /* written under the lock; a line counts until it is written */
    char ring[LOG_WRITER_BYTES]; /* lines, one behind the other, with their line ends */
} writer = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* ---- standard error ---- */

/* A parent may have made it non-blocking, for all who share it. */
static bool can_go_on(void)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (errno == EINTR)
        return true;
    return errno == EAGAIN && (poll(&fd, 1, -1) >= 0 || errno == EINTR);
}

bool log_writer_write(const char *line, size_t line_n)
{
    while (line_n > 0) {
        ssize_t n = write(STDERR_FILENO, line, line_n);

        if (n < 0 && can_go_on())
            continue;
        if (n <= 0)
            return false;
        line += n;
        line_n -= (size_t)n;
    }
    return true;
}

/* ---- the ring, with the lock ---- */

static void append(const char *line, size_t line_n)
{
    size_t at = (writer.head + writer.used) % LOG_WRITER_BYTES;
    size_t first_n = LOG_WRITER_BYTES - at < line_n ? LOG_WRITER_BYTES - at : line_n;

    memcpy(writer.ring + at, line, first_n);
    memcpy(writer.ring, line + first_n, line_n - first_n);
    writer.used += line_n;
}

/* Copy the oldest line; returns its length. */
static size_t copy_first(char to[LOG_WRITER_LINE_MAX])
{
    size_t n = 0;

    do
        to[n] = writer.ring[(writer.head + n) % LOG_WRITER_BYTES];
    while (to[n++] != '\n');
    return n;
}

static void remove_first(size_t line_n)
{
    writer.head = (writer.head + line_n) % LOG_WRITER_BYTES;
    writer.used -= line_n;
}

static void tell_dropped(void)
{
    char line[LOG_WRITER_LINE_MAX];

    if (writer.untold_n == 0 || writer.used > LOG_WRITER_BYTES / 2)
        return;
    append(line, writer.tell(line, writer.untold_n));
    writer.untold_n = 0;
}

/* ---- the thread ---- */

static void write_first(void)
{
    char line[LOG_WRITER_LINE_MAX];
    size_t line_n = copy_first(line);

    pthread_mutex_unlock(&writer.lock);
    bool written = log_writer_write(line, line_n);
    pthread_mutex_lock(&writer.lock);
    remove_first(line_n);
    writer.dropped_n += written ? 0 : 1;
}

static void *run(void *arg)
{
    (void)arg;
    thread_begin("bugle-log", THREAD_BESIDE);
    pthread_mutex_lock(&writer.lock);
    for (;;) {
        tell_dropped();
        if (writer.used > 0)
            write_first();
        else if (writer.stopping)
            break;
        else
            pthread_cond_wait(&writer.wake, &writer.lock);
    }
    pthread_mutex_unlock(&writer.lock);
    return NULL;
}

/* ---- fatal signals ---- */

/* The writer goes on while this thread waits here.  Then the signal comes again, with what it does
 * by default: a fault by itself, but not what another process or abort() sent. */
static void on_fatal(int number)
{
    log_writer_flush();
    raise(number);
}

/* Those that somebody else handles, a sanitizer for one, stay theirs. */
static void hear_fatal(void)
{
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
    struct sigaction flush = {.sa_handler = on_fatal, .sa_flags = (int)SA_RESETHAND | SA_NODEFER};
    struct sigaction now;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
            sigaction(numbers[i], &flush, NULL);
}

/* ---- from outside ---- */

int log_writer_begin(log_writer_tell *tell)
{
    sigset_t before;

    assert(!writer.runs);
    writer.tell = tell;
    writer.stopping = false;
    signals_block(&before);
    int error = pthread_create(&writer.thread, NULL, run, NULL);
    signals_restore(&before);
    if (error != 0)
        return -error;
    hear_fatal();
    writer.runs = true;
    return 0;
}

bool log_writer_take(const char *line, size_t line_n, bool urgent)
{
    assert(line_n > 0 && line_n <= LOG_WRITER_LINE_MAX && line[line_n - 1] == '\n');
    if (!writer.runs)
        return false;
    pthread_mutex_lock(&writer.lock);
    if (writer.used + line_n <= (urgent ? LOG_WRITER_BYTES : CALM_BYTES)) {
        append(line, line_n);
        pthread_cond_signal(&writer.wake);
    } else {
        writer.untold_n++;
        writer.dropped_n++;
    }
    pthread_mutex_unlock(&writer.lock);
    return true;
}

bool log_writer_flush(void)
{
    struct timespec look = {.tv_nsec = LOOK_NS};

    for (int ms = 0; writer.used > 0 && ms < LOG_WRITER_LAST_MS; ms++)
        nanosleep(&look, NULL);
    return writer.used == 0;
}

void log_writer_end(void)
{
    if (!writer.runs || !log_writer_flush())
        return;
    pthread_mutex_lock(&writer.lock);
    writer.stopping = true;
    pthread_cond_signal(&writer.wake);
    pthread_mutex_unlock(&writer.lock);
    pthread_join(writer.thread, NULL);
    writer.runs = false;
}

uint64_t log_writer_dropped(void)
{
    return writer.dropped_n;
}
