/* SPDX-License-Identifier: MIT */
/* The `bugle` command: its commands, the flags of `serve`, and where settings come from. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/edit_distance.h"
#include "base/log.h"
#include "base/signals.h"
#include "bench/bench.h"
#include "cli/cli_common.h"
#include "cluster/cluster_conf.h"
#include "conf/conf.h"
#include "conn/tls_credentials.h"
#include "server/server.h"

#define LOAD_SECONDS 10

/* ---- settings: defaults, file, environment, flags ---- */

/* The flags of `serve`, kept so that a reload can apply them again. */
struct flags {
    const char *file;
    struct cli_list names;  /* "--listen" */
    struct cli_list values; /* its argument */
    bool help_config;
    bool takes_over;
};

/* Flags that stand for a setting. */
static const struct {
    const char *flag;
    const char *setting;
} short_ways[] = {
    {"--listen", "server.listen"},
    {"--workers", "server.workers"},
    {"--store", "history.store"},
    {"--www", "server.www"},
};

static bool is_port_alone(const char *text)
{
    uint64_t port;

    return cli_parse_number(text, 1, UINT16_MAX, &port);
}

/* A port alone is what many other programs take. */
static int refuse_port(const char *value, struct conf_error *ret_error)
{
    snprintf(ret_error->text, sizeof(ret_error->text),
             "--listen %s lacks an address; use --listen 127.0.0.1:%s", value, value);
    return -EINVAL;
}

static int apply_flag(struct conf *conf, const char *flag, const char *value,
                      struct conf_error *ret_error)
{
    if (strcmp(flag, "--listen") == 0 && is_port_alone(value))
        return refuse_port(value, ret_error);
    for (size_t i = 0; i < sizeof(short_ways) / sizeof(short_ways[0]); i++)
        if (strcmp(flag, short_ways[i].flag) == 0)
            return conf_set_as(conf, flag, short_ways[i].setting, value, ret_error);
    return conf_set(conf, value, ret_error);
}

static int apply_flags(struct conf *conf, const struct flags *flags, struct conf_error *ret_error)
{
    conf_begin_source(conf);
    for (size_t i = 0; i < flags->names.items_n; i++) {
        int error = apply_flag(conf, flags->names.items[i], flags->values.items[i], ret_error);

        if (error != 0)
            return error;
    }
    return 0;
}

static struct conf *load_settings(void *arg, struct conf_error *ret_error)
{
    const struct flags *flags = arg;
    struct conf *conf = conf_new();

    snprintf(ret_error->text, sizeof(ret_error->text), "out of memory");
    if (conf == NULL)
        return NULL;
    if ((flags->file == NULL || conf_load_file(conf, flags->file, ret_error) == 0) &&
        conf_load_environment(conf, ret_error) == 0 && apply_flags(conf, flags, ret_error) == 0 &&
        conf_check(conf, ret_error) == 0 && conf_read_secrets(conf, ret_error) == 0 &&
        auth_read_files(conf) == 0 && auth_check_conf(conf, ret_error) == 0 &&
        cluster_conf_check(conf, ret_error) == 0 &&
        tls_credentials_check_conf(conf, ret_error) == 0)
        return conf;
    conf_unref(conf);
    return NULL;
}

/* ---- serve and check-config ---- */

static const char serve_help[] =
    "Usage: bugle %s [OPTION]...\n"
    "%s\n"
    "\n"
    "  --config FILE            settings from an INI file (also BUGLE_CONFIG)\n"
    "  --listen ADDR:PORT       where to accept connections; repeatable (127.0.0.1:8080)\n"
    "  --workers N              threads that serve connections (one for each core)\n"
    "  --store STORE            where events are kept for replay: memory: or sqlite:PATH\n"
    "                           (sqlite:, history.db in the state directory)\n"
    "  --www DIR                folder of the page at /\n"
    "  --set SECTION.KEY=VALUE  any setting; repeatable\n"
    "  --takeover               take over from the gateway at server.handover, if one runs\n"
    "  --help-config            print every setting, its default and its range\n"
    "  -h, --help               print this\n"
    "\n"
    "Settings can also come from the environment, as BUGLE_SECTION_KEY.\n";

enum { OPT_CONFIG = 1, OPT_SETTING, OPT_TAKEOVER, OPT_HELP_CONFIG };

static const struct option serve_options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"listen", required_argument, NULL, OPT_SETTING},
    {"workers", required_argument, NULL, OPT_SETTING},
    {"store", required_argument, NULL, OPT_SETTING},
    {"www", required_argument, NULL, OPT_SETTING},
    {"set", required_argument, NULL, OPT_SETTING},
    {"takeover", no_argument, NULL, OPT_TAKEOVER},
    {"help-config", no_argument, NULL, OPT_HELP_CONFIG},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void keep_setting(struct flags *flags, const char *name)
{
    static const char *const texts[] = {"--listen", "--workers", "--store", "--www", "--set"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strcmp(texts[i] + 2, name) == 0)
            cli_list_add(&flags->names, texts[i]);
    cli_list_add(&flags->values, optarg);
}

/* What getopt_long() refused.  A port is an option of many other programs. */
static int refuse_flag(int verdict, int argc, char **argv)
{
    static const char port[] = "--port";
    const char *word = argv[optind - 1];

    if (verdict != '?' || strncmp(word, port, sizeof(port) - 1) != 0)
        return cli_bad_option(argv[0], verdict, argv);
    const char *value = word[sizeof(port) - 1] == '=' ? word + sizeof(port)
                        : optind < argc               ? argv[optind]
                                                      : "";
    return cli_misused(argv[0], "there is no option --port; use --listen 127.0.0.1:%s",
                       is_port_alone(value) ? value : "8080");
}

/* Returns -1 to go on, or the exit status. */
static int read_flags(int argc, char **argv, const char *what, struct flags *flags)
{
    int option, index;

    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", serve_options, &index)) != -1)
        switch (option) {
        case OPT_CONFIG:
            flags->file = optarg;
            break;
        case OPT_SETTING:
            keep_setting(flags, serve_options[index].name);
            break;
        case OPT_TAKEOVER:
            flags->takes_over = true;
            break;
        case OPT_HELP_CONFIG:
            flags->help_config = true;
            break;
        case 'h':
            printf(serve_help, argv[0], what);
            return CLI_FINE;
        default:
            return refuse_flag(option, argc, argv);
        }
    if (optind < argc)
        return cli_misused(argv[0], "unexpected argument %s", argv[optind]);
    return -1;
}

static void clear_flags(struct flags *flags)
{
    cli_list_clear(&flags->names);
    cli_list_clear(&flags->values);
}

struct loading {
    struct flags *flags;
    struct conf *conf;
    struct conf_error error;
    sem_t done;
};

static void *run_load_settings(void *arg)
{
    struct loading *loading = arg;

    loading->conf = load_settings(loading->flags, &loading->error);
    sem_post(&loading->done);
    return NULL;
}

/* By a thread that can be left behind: on a mount that hangs nobody would learn why nothing begins.
 * The wall clock may be set meanwhile, as it is when a machine starts. */
static int load_in_time(struct loading *loading)
{
    struct timespec until;
    pthread_t thread;

    sem_init(&loading->done, 0, 0);
    if (pthread_create(&thread, NULL, run_load_settings, loading) != 0) {
        run_load_settings(loading);
        return 0;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOAD_SECONDS;
    while (sem_clockwait(&loading->done, CLOCK_MONOTONIC, &until) != 0)
        if (errno != EINTR)
            return -errno;
    return -pthread_join(thread, NULL);
}

static struct conf *load_or_tell(const char *word, struct flags *flags)
{
    struct loading loading = {.flags = flags};

    if (load_in_time(&loading) != 0) {
        cli_fail(word,
                 "a file of settings, certificates or keys is not read after %d seconds: does "
                 "its file system answer?",
                 LOAD_SECONDS);
        _exit(CLI_FAILED); /* the thread still uses all there is to free */
    }
    if (loading.conf == NULL)
        cli_fail(word, "%s", loading.error.text);
    return loading.conf;
}

/* The command line of a gateway that takes over from this one.  For free(); NULL when out of
 * memory. */
static char **upgrade_words(int argc, char **argv, const char *program, bool takes_over)
{
    char **words = calloc((size_t)argc + 3, sizeof(*words));
    size_t n = 0;

    if (words == NULL)
        return NULL;
    words[n++] = (char *)(uintptr_t)program;
    for (int i = 0; i < argc; i++)
        words[n++] = argv[i];
    if (!takes_over)
        words[n] = (char *)(uintptr_t) "--takeover";
    return words;
}

static int run_server(int argc, char **argv, struct flags *flags, struct conf *conf)
{
    char *program = realpath("/proc/self/exe", NULL);
    char **words = program != NULL ? upgrade_words(argc, argv, program, flags->takes_over) : NULL;
    struct server_source source = {.load = load_settings,
                                   .arg = flags,
                                   .takes_over = flags->takes_over,
                                   .program = words != NULL ? program : NULL,
                                   .upgrade_words = words};
    int status = server_run(conf, &source);

    free(words);
    free(program);
    return status;
}

/* Set empty, as compose files and unit files do, it names none. */
static const char *file_of_environment(void)
{
    const char *file = getenv("BUGLE_CONFIG");

    return file != NULL && file[0] != '\0' ? file : NULL;
}

static int serve_command(int argc, char **argv)
{
    struct flags flags = {.file = file_of_environment()};

    signals_begin();
    int status = read_flags(argc, argv, "Run the gateway until SIGTERM or SIGINT.", &flags);

    if (status < 0 && flags.help_config) {
        conf_print_help(stdout);
        status = CLI_FINE;
    }
    if (status < 0) {
        struct conf *conf = load_or_tell(argv[0], &flags);

        status = conf != NULL ? run_server(argc, argv, &flags, conf) : CLI_FAILED;
    }
    clear_flags(&flags);
    return status;
}

static int check_config(int argc, char **argv)
{
    struct flags flags = {.file = file_of_environment()};
    int status = read_flags(argc, argv, "Check the settings and print the effective ones.", &flags);

    if (status < 0) {
        struct conf *conf = load_or_tell(argv[0], &flags);

        status = conf != NULL ? CLI_FINE : CLI_FAILED;
        if (conf != NULL)
            conf_print(conf, stdout);
        conf_unref(conf);
    }
    clear_flags(&flags);
    return status;
}

/* ---- commands ---- */

static int help_command(int argc, char **argv);

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *sentence;
} commands[] = {
    {"serve", serve_command, "run the gateway"},
    {"publish", cli_publish, "publish events from arguments or standard input"},
    {"subscribe", cli_subscribe, "print events as they come"},
    {"bench", bench_main, "measure a gateway: hold streams, publish, report"},
    {"backup", cli_backup, "copy the store of a running gateway to a file"},
    {"epoch", cli_epoch, "print the epoch of a store, or begin a new one"},
    {"token", cli_token, "make and inspect tokens and keys"},
    {"check-config", check_config, "check settings and print the effective ones"},
    {"help", help_command, "print the options of a command"},
};

#define COMMAND_NEAR_ENOUGH 2
#define COMMANDS_N (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *to)
{
    fputs("Usage: bugle COMMAND [OPTION]...\n"
          "A gateway for Server-Sent Events, and its tools.\n\n",
          to);
    for (size_t i = 0; i < COMMANDS_N; i++)
        fprintf(to, "  %-13s %s\n", commands[i].name, commands[i].sentence);
    fputs("\nRun `bugle COMMAND --help` for its options, `bugle --version` for the version.\n", to);
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS_N; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

/* Letters that differ; the beginning of a command is as near as one. */
static size_t command_distance(const char *name, const char *known)
{
    if (name[0] != '\0' && strncmp(name, known, strlen(name)) == 0)
        return 1;
    return edit_distance(name, known);
}

static int refuse_command(const char *name)
{
    const char *nearest = NULL;
    size_t best = COMMAND_NEAR_ENOUGH + 1;

    for (size_t i = 0; i < COMMANDS_N; i++) {
        size_t distance = command_distance(name, commands[i].name);

        if (distance < best) {
            best = distance;
            nearest = commands[i].name;
        }
    }
    fputs("bugle: unknown command \"", stderr);
    cli_put_visible(stderr, name, strlen(name), NULL);
    if (nearest != NULL)
        fprintf(stderr, "\"; did you mean %s?\n", nearest);
    else
        fputs("\"; see bugle --help\n", stderr);
    return CLI_USAGE;
}

static int help_command(int argc, char **argv)
{
    char option[] = "--help";
    const struct command *command = argc > 1 ? find_command(argv[1]) : NULL;

    if (argc > 1 && command == NULL && argv[1][0] != '-')
        return refuse_command(argv[1]);
    if (command != NULL && command->run != help_command)
        return command->run(2, (char *[]){argv[1], option, NULL});
    print_help(stdout);
    return CLI_FINE;
}

/* A parent may start us with standard descriptors closed; what we open next must not become one. */
static void fill_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return CLI_FINE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("bugle " PACKAGE_VERSION);
        return CLI_FINE;
    }
    const struct command *command = find_command(argv[1]);
    return command != NULL ? command->run(argc - 1, argv + 1) : refuse_command(argv[1]);
}
