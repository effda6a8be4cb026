/* SPDX-License-Identifier: MIT */
/*
 * `bugle epoch`: tell the epoch of a store on disk, or have it begin a new one, as is needed when
 * its file went back in time.
 */
#include "config.h"

#include "cli/cli_common.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/conf.h"
#include "history/sqlite/sqlite_store.h"
#include "history/store_path.h"

#define TOOL "epoch"
#define ON_DISK "sqlite:"

static const char help_text[] =
    "Usage: bugle epoch [new] [OPTION]...\n"
    "\n"
    "Print the epoch of a store on disk: the part of its ids before the dash.  This\n"
    "changes nothing, and works while a gateway runs.\n"
    "\n"
    "With `new`, begin a new epoch and print it.  Use it when you have restored the\n"
    "file from a disk image or a snapshot: otherwise new events would get ids that\n"
    "clients have already seen.  A copy that `bugle backup` wrote does not need it.\n"
    "The gateway must be stopped.\n"
    "\n"
    "  --store sqlite:PATH  the store (default: $BUGLE_HISTORY_STORE, or that of\n"
    "                       bugle serve, if it is on disk)\n"
    "  -h, --help           print this\n"
    "\n"
    "Exit status: 0 the epoch was printed; 1 it could not be; 2 wrong usage.\n"
    "\n"
    "Example:\n"
    "  bugle epoch new --store sqlite:/var/lib/bugle/history.db\n";

struct options {
    const char *store; /* borrowed; NULL: the default */
    bool is_new;
};

static int epoch_read_options(struct options *options, int argc, char **argv)
{
    const struct cli_option known[] = {CLI_TEXT("store", &options->store)};
    int status =
        cli_read_options(TOOL, help_text, known, sizeof(known) / sizeof(known[0]), argc, argv);

    if (status != CLI_FINE || optind == argc)
        return status;
    if (strcmp(argv[optind], "new") != 0)
        return cli_misused(TOOL, "there is nothing called %s", argv[optind]);
    if (optind + 1 < argc)
        return cli_misused(TOOL, "unexpected argument %s", argv[optind + 1]);
    options->is_new = true;
    return CLI_FINE;
}

/* The store as the settings have it: what was given, or else the environment, or the default. */
static int epoch_load_store(struct conf *conf, const struct options *options)
{
    struct conf_error error;

    if (conf_load_environment(conf, &error) != 0)
        return cli_fail(TOOL, "%s", error.text);
    conf_begin_source(conf);
    if (options->store != NULL &&
        conf_set_as(conf, "--store", "history.store", options->store, &error) != 0)
        return cli_misused(TOOL, "%s", error.text);
    if (strncmp(conf->history.store, ON_DISK, strlen(ON_DISK)) != 0)
        return cli_misused(TOOL, "the store %s has no file: name one with --store sqlite:PATH",
                           conf->history.store);
    return CLI_FINE;
}

static int epoch_tell(const char *path)
{
    struct conf_error error;
    char epoch[SSE_EPOCH_BYTES + 1];
    bool copied;

    if (sqlite_store_read_epoch(path, epoch, &copied, &error) != 0)
        return cli_fail(TOOL, "%s", error.text);
    if (copied)
        cli_fail(TOOL, "%s is a copy: it begins another epoch when a gateway opens it", path);
    puts(epoch);
    return fflush(stdout) == 0 ? CLI_FINE : cli_fail(TOOL, "cannot print the epoch: %m");
}

/* A file that is not there or empty would be made into a store. */
static int epoch_check_file(const char *path)
{
    struct stat facts;

    if (stat(path, &facts) < 0)
        return cli_fail(TOOL, "%s: %s", path, strerror(errno));
    if (S_ISREG(facts.st_mode) && facts.st_size == 0)
        return cli_fail(TOOL, "%s is empty", path);
    return CLI_FINE;
}

static int epoch_renew(const char *path)
{
    static const struct history_limits none = {INT64_MAX / 2, SIZE_MAX, SIZE_MAX, INT64_MAX / 2,
                                               SIZE_MAX};
    struct conf_error error;
    int status = epoch_check_file(path);

    if (status != CLI_FINE)
        return status;
    struct history *history = sqlite_store_open_without_log(path, &none, &error);
    if (history == NULL)
        return cli_fail(TOOL, "%s", error.text);
    int result = sqlite_store_renew_epoch(history);
    if (result == 0)
        puts(history_epoch(history));
    history_free(history);
    if (result != 0)
        return cli_fail(TOOL, "%s: no new epoch: %s", path, strerror(-result));
    return fflush(stdout) == 0 ? CLI_FINE : cli_fail(TOOL, "cannot print the epoch: %m");
}

int cli_epoch(int argc, char **argv)
{
    struct options options = {.store = NULL};
    int status = epoch_read_options(&options, argc, argv);

    if (status != CLI_FINE)
        return status == CLI_HELPED ? CLI_FINE : status;
    struct conf *conf = cli_need(conf_new());
    status = epoch_load_store(conf, &options);
    if (status == CLI_FINE) {
        char *path = cli_need(store_path(conf->history.store));

        status = options.is_new ? epoch_renew(path) : epoch_tell(path);
        free(path);
    }
    conf_unref(conf);
    return status;
}
