/* SPDX-License-Identifier: MIT */
/*
 * `bugle backup`: have the gateway make a copy of its store, and put it into a file.  The file gets
 * its name only when it is complete and on the disk.
 */
#include "config.h"

#include "cli/cli_common.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli_http.h"
#include "history/sqlite/sqlite_store.h"

#define TOOL "backup"
/* The first byte comes only when the copy is made. */
#define STALLED_SECONDS 900L
#define TO_STDOUT "-"
/* The beginning of an SQLite file: what it is, in bytes 28 to 31 how many pages it has, and in 68
 * to 71 whose it is. */
#define MAGIC "SQLite format 3"
#define HEADER_BYTES 100
#define PAGES_AT 28
#define APPLICATION_AT 68
#define PAGE_BYTES 4096

static const char help_text[] =
    "Usage: bugle backup [OPTION]... FILE\n"
    "\n"
    "Copy the store of a running gateway to FILE.  FILE appears only when it is\n"
    "complete.  A FILE of - is standard output.\n"
    "\n"
    "  --force              replace FILE if it exists\n"
    "  --url URL            the gateway (default: $BUGLE_URL, or\n"
    "                       http://127.0.0.1:8080)\n"
    "  --token T            API key or JWT (default: $BUGLE_TOKEN, which unlike a\n"
    "                       command line other users of this machine cannot see)\n"
    "  --ca FILE            trusted certificates for https URLs, in PEM form\n"
    "                       (default: $BUGLE_CA, or those of the system)\n"
    "  --header 'K: V'      send a header; may be repeated\n"
    "  -h, --help           print this\n"
    "\n"
    "To restore a copy: stop the gateway, copy FILE over its store, remove the files\n"
    "beside it whose names end in -wal and -shm, and start the gateway.  Clients with\n"
    "later ids get a reset.\n"
    "\n"
    "Exit status: 0 FILE is written and on the disk; 1 it is not; 2 wrong usage.\n"
    "\n"
    "Example:\n"
    "  bugle backup /var/backups/bugle-$(date +%F).db\n";

struct backup {
    struct cli_http_target target;
    const char *file; /* borrowed */
    bool force;
    struct cli_http http;
    char *part;    /* the file while it is written; NULL: none */
    int fd;        /* of it, or standard output */
    int signal_fd; /* SIGINT, SIGTERM, SIGHUP */
    int error;     /* errno of a write; 0: none */
    uint64_t bytes;
    unsigned char header[HEADER_BYTES]; /* of what came */
};

/* ---- the command line ---- */

static int backup_read_options(struct backup *backup, int argc, char **argv)
{
    const struct cli_option known[] = {
        CLI_FLAG("force", &backup->force),
        CLI_HTTP_OPTIONS(&backup->target),
    };
    int status =
        cli_read_options(TOOL, help_text, known, sizeof(known) / sizeof(known[0]), argc, argv);

    if (status != CLI_FINE)
        return status;
    if (optind == argc || !*argv[optind])
        return cli_misused(TOOL, "name the file to write");
    if (optind + 1 < argc)
        return cli_misused(TOOL, "unexpected argument %s", argv[optind + 1]);
    backup->file = argv[optind];
    if (strcmp(backup->file, TO_STDOUT) == 0 && isatty(STDOUT_FILENO))
        return cli_misused(TOOL, "a terminal cannot show the copy: name a file");
    return CLI_FINE;
}

/* ---- the file ---- */

static int backup_open_file(struct backup *backup)
{
    struct stat facts;

    if (strcmp(backup->file, TO_STDOUT) == 0) {
        backup->fd = STDOUT_FILENO;
        return CLI_FINE;
    }
    if (lstat(backup->file, &facts) == 0) {
        if (!backup->force)
            return cli_fail(TOOL, "%s is there already (--force replaces it)", backup->file);
        if (!S_ISREG(facts.st_mode) && !S_ISLNK(facts.st_mode))
            return cli_fail(TOOL, "%s is no file", backup->file);
    }
    backup->part = cli_format("%s.XXXXXX", backup->file);
    backup->fd = mkostemp(backup->part, O_CLOEXEC); /* mode 0600 */
    if (backup->fd >= 0)
        return CLI_FINE;
    int status = cli_fail(TOOL, "%s cannot be written: %s", backup->file, strerror(errno));
    free(backup->part);
    backup->part = NULL;
    return status;
}

static void backup_close_file(struct backup *backup)
{
    if (backup->part == NULL)
        return;
    close(backup->fd);
    unlink(backup->part);
    free(backup->part);
}

static int backup_write_all(int fd, const char *bytes, size_t bytes_n)
{
    for (size_t at = 0; at < bytes_n;) {
        ssize_t n = write(fd, bytes + at, bytes_n - at);

        if (n < 0 && errno != EINTR)
            return errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Give the complete file its name, without --force only if no file has that name. */
static int backup_rename_file(const struct backup *backup)
{
    unsigned flags = backup->force ? 0 : RENAME_NOREPLACE;

    if (renameat2(AT_FDCWD, backup->part, AT_FDCWD, backup->file, flags) == 0)
        return 0;
    if (errno != EINVAL || backup->force)
        return errno;
    /* a file system that does not know the flag */
    if (link(backup->part, backup->file) < 0)
        return errno;
    return unlink(backup->part) == 0 ? 0 : errno;
}

static int backup_sync_folder(const char *file)
{
    char *copy = cli_format("%s", file);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) < 0 ? errno : 0;

    if (fd >= 0)
        close(fd);
    free(copy);
    return error;
}

static int backup_keep_file(struct backup *backup)
{
    if (backup->part == NULL)
        return CLI_FINE;
    int error = fsync(backup->fd) < 0 ? errno : backup_rename_file(backup);
    if (error == EEXIST)
        return cli_fail(TOOL, "%s is there already (--force replaces it)", backup->file);
    if (error == 0) {
        close(backup->fd);
        free(backup->part);
        backup->part = NULL;
        error = backup_sync_folder(backup->file);
    }
    if (error != 0)
        return cli_fail(TOOL, "%s cannot be written: %s", backup->file, strerror(error));
    return CLI_FINE;
}

/* ---- the request ---- */

static uint32_t backup_number_at(const struct backup *backup, size_t at)
{
    const unsigned char *bytes = backup->header + at;

    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Whether what came is the beginning of a store, and no more than all of it. */
static bool backup_is_store(const struct backup *backup)
{
    size_t magic_n = backup->bytes < sizeof(MAGIC) ? backup->bytes : sizeof(MAGIC);

    if (backup->bytes < HEADER_BYTES)
        return memcmp(backup->header, MAGIC, magic_n) == 0;
    return memcmp(backup->header, MAGIC, sizeof(MAGIC)) == 0 &&
           backup_number_at(backup, APPLICATION_AT) == SQLITE_STORE_APPLICATION_ID &&
           backup->bytes <= (uint64_t)backup_number_at(backup, PAGES_AT) * PAGE_BYTES;
}

static size_t backup_on_body(char *bytes, size_t one, size_t bytes_n, void *arg)
{
    struct backup *backup = arg;

    (void)one;
    if (cli_http_status(&backup->http) != 200)
        return cli_http_keep(&backup->http, bytes, bytes_n) ? bytes_n : 0;
    for (size_t i = 0; i < bytes_n && backup->bytes + i < HEADER_BYTES; i++)
        backup->header[backup->bytes + i] = (unsigned char)bytes[i];
    backup->bytes += bytes_n;
    if (!backup_is_store(backup))
        return CURL_WRITEFUNC_ERROR;
    backup->error = backup_write_all(backup->fd, bytes, bytes_n);
    return backup->error == 0 ? bytes_n : CURL_WRITEFUNC_ERROR;
}

/* About once a second, and when bytes come.  A signal ends the request, so that the beginning of a
 * file does not stay behind. */
static int backup_on_progress(void *arg, curl_off_t down_n, curl_off_t down, curl_off_t up_n,
                              curl_off_t up)
{
    struct backup *backup = arg;
    struct signalfd_siginfo signal;

    (void)down_n, (void)down, (void)up_n, (void)up;
    return read(backup->signal_fd, &signal, sizeof(signal)) > 0;
}

static void watch_signals(struct backup *backup)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    backup->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    signal(SIGPIPE, SIG_IGN); /* a reader of standard output that left is told as an error */
}

static CURLcode backup_ask(struct backup *backup)
{
    static const char *const lines[] = {
        "Accept: application/vnd.sqlite3, application/problem+json",
        "Content-Type:", /* there is no body */
    };
    CURL *easy = backup->http.easy;

    cli_http_begin(&backup->http, lines, sizeof(lines) / sizeof(lines[0]));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, backup_on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, backup);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, backup_on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, backup);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, STALLED_SECONDS);
    return curl_easy_perform(easy);
}

static int backup_tell_text(char *text)
{
    int status = cli_fail(TOOL, "%s", text);

    free(text);
    return status;
}

static int backup_judge(struct backup *backup, CURLcode code)
{
    if (backup->error != 0)
        return cli_fail(TOOL, "%s cannot be written: %s", backup->file, strerror(backup->error));
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return cli_fail(TOOL, "interrupted; %s was not written", backup->file);
    if (!backup_is_store(backup))
        return cli_fail(TOOL,
                        "%s answered 200 with data that is not a Bugle store: is it a gateway?",
                        backup->http.shown);
    if (code != CURLE_OK)
        return backup_tell_text(cli_http_trouble(&backup->http, code));
    if (cli_http_status(&backup->http) != 200)
        return backup_tell_text(cli_http_refusal(&backup->http));
    if (backup->bytes < HEADER_BYTES ||
        backup->bytes != (uint64_t)backup_number_at(backup, PAGES_AT) * PAGE_BYTES)
        return cli_fail(TOOL, "%s answered 200 without a whole copy: is it a Bugle gateway?",
                        backup->http.shown);
    return backup_keep_file(backup);
}

static int backup_run(struct backup *backup)
{
    int status = backup_open_file(backup);

    if (status != CLI_FINE)
        return status;
    watch_signals(backup);
    status = backup_judge(backup, backup_ask(backup));
    backup_close_file(backup);
    close(backup->signal_fd);
    return status;
}

int cli_backup(int argc, char **argv)
{
    struct backup backup = {.target = cli_http_target_default()};
    int status = backup_read_options(&backup, argc, argv);

    if (status == CLI_FINE) {
        status = cli_http_init(&backup.http, TOOL, &backup.target, "/api/backup", NULL);
        if (status == CLI_FINE)
            status = backup_run(&backup);
        cli_http_clear(&backup.http);
    }
    cli_list_clear(&backup.target.headers);
    return status == CLI_HELPED ? CLI_FINE : status;
}
