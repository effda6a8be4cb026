/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a configuration: as a file, as one --set, as one variable of the environment.  What
 * is refused is told in one safe line; what is accepted prints as settings that, set again, print
 * the same.
 */
#include "config.h" /* memfd_create() is of GNU */

#include "conf/conf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/utf8.h"

extern char **environ;

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_n);

static void require(bool fact)
{
    if (!fact)
        abort();
}

static struct conf *new_conf(void)
{
    struct conf *conf = conf_new();
    require(conf != NULL);
    return conf;
}

/* One line that a terminal can show, and that was not cut for want of room. */
static void check_refusal(const struct conf_error *error)
{
    size_t text_n = strnlen(error->text, sizeof error->text);
    require(text_n > 0 && text_n < sizeof error->text - 1);
    for (size_t i = 0; i < text_n;) {
        uint32_t cp;
        size_t n = utf8_decode(error->text + i, text_n - i, &cp);
        require(n > 0 && !utf8_is_hidden(cp));
        i += n;
    }
}

static char *print(const struct conf *conf)
{
    char *text = NULL;
    size_t text_n = 0;
    FILE *to = open_memstream(&text, &text_n);
    require(to != NULL);
    conf_print(conf, to);
    require(fclose(to) == 0 && strlen(text) == text_n);
    return text;
}

/* Set a copy from the printed lines; both must print alike. */
static void check_print(const struct conf *conf)
{
    char *text = print(conf);
    char *lines = strdup(text);
    struct conf *again = new_conf();
    struct conf_error error;

    require(lines != NULL);
    for (char *at = lines, *line; (line = strsep(&at, "\n")) && *line;) {
        char *equals = strstr(line, " = ");
        require(equals != NULL);
        *equals = '\0';
        require(conf_set_as(again, "again", line, equals + 3, &error) == 0);
    }
    char *text_again = print(again);
    require(strcmp(text, text_again) == 0);
    free(text_again);
    conf_unref(again);
    free(lines);
    free(text);
}

static void check(struct conf *conf, int answer, const struct conf_error *error)
{
    struct conf_error check_error = {""};
    if (answer != 0)
        check_refusal(error);
    else
        check_print(conf);
    if (answer == 0 && conf_check(conf, &check_error) != 0)
        check_refusal(&check_error);
    conf_unref(conf);
}

/* A file without a disk: the path of a memory file that holds the bytes. */
static int make_file(const uint8_t *bytes, size_t bytes_n, char *ret_path, size_t path_room)
{
    int fd = memfd_create("conf", MFD_CLOEXEC);
    require(fd >= 0 && write(fd, bytes, bytes_n) == (ssize_t)bytes_n);
    snprintf(ret_path, path_room, "/proc/self/fd/%d", fd);
    return fd;
}

static void try_file(const uint8_t *input, size_t input_n)
{
    char path[64];
    struct conf_error error = {""};
    struct conf *conf = new_conf();
    int fd = make_file(input, input_n, path, sizeof path);
    check(conf, conf_load_file(conf, path, &error), &error);
    close(fd);
}

static void try_assignment(const char *text)
{
    struct conf_error error = {""};
    struct conf *conf = new_conf();
    check(conf, conf_set(conf, text, &error), &error);
}

static void try_variable(const char *text, size_t text_n)
{
    struct conf_error error = {""};
    struct conf *conf = new_conf();
    char **saved = environ;
    char *variable = malloc(text_n + 8);
    require(variable != NULL);
    sprintf(variable, "BUGLE_%s", text);
    environ = (char *[]){variable, NULL};
    int answer = conf_load_environment(conf, &error);
    environ = saved;
    check(conf, answer, &error);
    free(variable);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_n)
{
    char *text = strndup((const char *)input, input_n);
    require(text != NULL);
    try_file(input, input_n);
    try_assignment(text);
    try_variable(text, strlen(text));
    free(text);
    return 0;
}
