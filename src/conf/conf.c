/* SPDX-License-Identifier: MIT */
/*
 * What is made from the rows of the option table: defaults, assignments from anywhere, help, the
 * printed settings, and what a reload may change.  conf_table.c has the table, conf_check.c
 * what no single row can tell, conf_load.c reads files and the environment, conf_value.c
 * knows how values are written.
 */
#include "config.h"

#include "conf/conf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/edit_distance.h"
#include "base/log.h"
#include "conf/conf_internal.h"
#include "conf/conf_value.h"

#define GIVEN_TEXT_MAX 160

static void *target_of(struct conf *conf, const struct conf_row *row)
{
    return (char *)conf + row->offset;
}

static const void *value_of(const struct conf *conf, const struct conf_row *row)
{
    return (const char *)conf + row->offset;
}

static bool is_number(const struct conf_row *row)
{
    return row->type == CONF_DURATION || row->type == CONF_BYTES || row->type == CONF_COUNT;
}

static const struct conf_row *find_row(const char *name)
{
    const struct conf_row *row;

    for (size_t i = 0; (row = conf_row_at(i)) != NULL; i++)
        if (strcmp(row->name, name) == 0)
            return row;
    return NULL;
}

const char *conf_name_at(size_t index)
{
    const struct conf_row *row = conf_row_at(index);

    return row != NULL ? row->name : NULL;
}

int conf_refuse(struct conf_error *ret_error, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ret_error->text, sizeof ret_error->text, format, arguments);
    va_end(arguments);
    return error;
}

/* Forgetting the section, or taking the wrong one, is as near as one letter. */
static size_t name_distance(const char *name, const char *known)
{
    const char *key = strrchr(name, '.');
    if (strcmp(key ? key + 1 : name, strchr(known, '.') + 1) == 0)
        return 1;
    return edit_distance(name, known);
}

const char *conf_nearest(const char *name)
{
    const char *nearest = NULL;
    size_t best = CONF_NEAR_ENOUGH + 1;
    const struct conf_row *row;
    for (size_t i = 0; (row = conf_row_at(i)) != NULL; i++) {
        size_t distance = name_distance(name, row->name);
        if (distance < best) {
            best = distance;
            nearest = row->name;
        }
    }
    return nearest;
}

static int refuse_name(const char *source, const char *name, struct conf_error *ret_error)
{
    char shown[GIVEN_TEXT_MAX];
    const char *nearest = conf_nearest(name);
    log_visible(shown, sizeof shown, name, strlen(name));
    if (!nearest)
        return conf_refuse(ret_error, -EINVAL, "%s: there is no setting \"%s\"", source, shown);
    return conf_refuse(ret_error, -EINVAL, "%s: there is no setting \"%s\"; did you mean %s?",
                       source, shown, nearest);
}

static const char *kind_of(enum conf_type type)
{
    if (type == CONF_DURATION)
        return "a duration";
    return type == CONF_BYTES ? "a size" : "a whole number";
}

/* What a row takes, for the end of a sentence. */
static char *describe(const struct conf_row *row, char *to, size_t to_n)
{
    if (is_number(row))
        snprintf(to, to_n, "%s from %s to %s", kind_of(row->type), row->min, row->max);
    else
        snprintf(to, to_n, "%s", row->form);
    return to;
}

static int refuse_value(const char *source, const struct conf_row *row, const char *value,
                        struct conf_error *ret_error)
{
    char shown[GIVEN_TEXT_MAX];
    char expected[GIVEN_TEXT_MAX];
    if (row->secrecy != CONF_OPEN)
        return conf_refuse(ret_error, -EINVAL, "%s: %s has %sanother form, expected %s", source,
                           row->name, row->type == CONF_LIST ? "an item of " : "",
                           describe(row, expected, sizeof expected));
    log_visible(shown, sizeof shown, value, strlen(value));
    return conf_refuse(ret_error, -EINVAL, "%s: %s is \"%s\", expected %s%s", source, row->name,
                       shown, describe(row, expected, sizeof expected),
                       row->type == CONF_DURATION ? ", such as 10s, without a space" : "");
}

static int set_number(struct conf *conf, const struct conf_row *row, const char *value)
{
    uint64_t number, min, max;
    bool has_range = conf_value_number(row->type, row->min, &min) &&
                     conf_value_number(row->type, row->max, &max);
    assert(has_range);
    if (!conf_value_number(row->type, value, &number) || number < min || number > max)
        return -EINVAL;
    *(uint64_t *)target_of(conf, row) = number;
    return 0;
}

static int set_text(struct conf *conf, const struct conf_row *row, const char *value)
{
    if (!row->fits(value))
        return -EINVAL;

    char *copy = strdup(value);
    if (!copy)
        return -ENOMEM;
    char **target = target_of(conf, row);
    free(*target);
    *target = copy;
    return 0;
}

static int set_choice(struct conf *conf, const struct conf_row *row, const char *value)
{
    for (int i = 0; row->choices[i]; i++) {
        if (strcmp(row->choices[i], value) == 0) {
            *(int *)target_of(conf, row) = i;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_row(struct conf *conf, const struct conf_row *row, const char *value)
{
    if (!conf_value_is_clean(value))
        return -EINVAL;
    switch (row->type) {
    case CONF_DURATION:
    case CONF_BYTES:
    case CONF_COUNT:
        return set_number(conf, row, value);
    case CONF_TEXT:
        return set_text(conf, row, value);
    case CONF_LIST:
        return conf_value_list_add(target_of(conf, row), value, row->fits);
    case CONF_CHOICE:
        return set_choice(conf, row, value);
    }
    return -EINVAL;
}

int conf_set_as(struct conf *conf, const char *source, const char *name, const char *value,
                struct conf_error *ret_error)
{
    const struct conf_row *row = find_row(name);
    if (!row)
        return refuse_name(source, name, ret_error);

    int error = set_row(conf, row, value);
    if (error == -EINVAL)
        return refuse_value(source, row, value, ret_error);
    if (error)
        return conf_refuse(ret_error, error, "%s: %s: out of memory", source, row->name);
    if (row->offset == offsetof(struct conf, auth.mode))
        conf->auth.mode_written = true;
    return 0;
}

int conf_set(struct conf *conf, const char *assignment, struct conf_error *ret_error)
{
    char shown[GIVEN_TEXT_MAX];
    const char *equals = strchr(assignment, '=');
    if (!equals) {
        log_visible(shown, sizeof shown, assignment, strlen(assignment));
        return conf_refuse(ret_error, -EINVAL, "--set: expected section.key=value, given \"%s\"",
                           shown);
    }

    char *name = strndup(assignment, (size_t)(equals - assignment));
    if (!name)
        return conf_refuse(ret_error, -ENOMEM, "--set: out of memory");
    int error = conf_set_as(conf, "--set", name, equals + 1, ret_error);
    free(name);
    return error;
}

void conf_begin_source(struct conf *conf)
{
    const struct conf_row *row;

    for (size_t i = 0; (row = conf_row_at(i)) != NULL; i++) {
        if (row->type == CONF_LIST) {
            struct conf_list *list = target_of(conf, row);
            list->inherited = true;
        }
    }
}

struct conf *conf_new(void)
{
    const struct conf_row *row;
    struct conf *conf = calloc(1, sizeof *conf);
    if (!conf)
        return NULL;
    for (size_t i = 0; (row = conf_row_at(i)) != NULL; i++) {
        int error = set_row(conf, row, row->fallback);
        assert(error != -EINVAL); /* a default must fit its own row */
        if (error) {
            conf_unref(conf);
            return NULL;
        }
    }
    conf_begin_source(conf);
    return conf;
}

const struct conf *conf_ref(const struct conf *conf)
{
    if (conf)
        atomic_fetch_add_explicit(&((struct conf *)(uintptr_t)conf)->more_refs, 1,
                                  memory_order_relaxed);
    return conf;
}

void conf_unref(const struct conf *shared)
{
    struct conf *conf = (struct conf *)(uintptr_t)shared;
    const struct conf_row *row;

    if (!conf || atomic_fetch_sub_explicit(&conf->more_refs, 1, memory_order_acq_rel) != 0)
        return;
    for (size_t i = 0; (row = conf_row_at(i)) != NULL; i++) {
        if (row->type == CONF_TEXT)
            free(*(char **)target_of(conf, row));
        if (row->type == CONF_LIST)
            conf_value_list_clear(target_of(conf, row));
    }
    free(conf);
}

#define NOT_SHOWN "(not shown)"

/* "redis://user:(not shown)@host" */
char *conf_hide_password(const char *url, char *to, size_t to_n)
{
    const char *at = strrchr(url, '@'), *host = strstr(url, "://");
    size_t user = host != NULL ? (size_t)(host - url) + 3 : 0;

    if (at == NULL)
        snprintf(to, to_n, "%s", url);
    else
        snprintf(to, to_n, "%.*s:" NOT_SHOWN "%s", (int)(user + strcspn(url + user, ":@")), url,
                 at);
    return to;
}

static void print_url(const char *url, FILE *to)
{
    size_t room = strlen(url) + sizeof NOT_SHOWN + 1;
    char *shown = malloc(room);

    if (shown)
        fputs(conf_hide_password(url, shown, room), to);
    free(shown);
}

/* What stands before the secret, and how many there are, is enough to check a file by. */
static void print_secret(const struct conf_row *row, const char *text, FILE *to)
{
    if (row->secrecy == CONF_IN_URL)
        print_url(text, to);
    else if (row->secrecy == CONF_LABELLED)
        fprintf(to, "%.*s:" NOT_SHOWN, (int)strcspn(text, ":"), text);
    else if (text[0] != '\0')
        fputs(NOT_SHOWN, to);
}

static void print_secrets(const struct conf_row *row, const struct conf_list *list, FILE *to)
{
    for (size_t i = 0; i < list->items_n; i++) {
        fputs(i > 0 ? ", " : "", to);
        print_secret(row, list->items[i], to);
    }
}

static void print_list(const struct conf_list *list, FILE *to)
{
    for (size_t i = 0; i < list->items_n; i++)
        fprintf(to, "%s%s", i > 0 ? ", " : "", list->items[i]);
}

static void print_value(const struct conf *conf, const struct conf_row *row, FILE *to)
{
    char text[CONF_NUMBER_TEXT_MAX];
    const void *value = value_of(conf, row);
    if (is_number(row))
        fputs(conf_value_number_text(row->type, *(const uint64_t *)value, text, sizeof text), to);
    else if (row->secrecy != CONF_OPEN && row->type == CONF_LIST)
        print_secrets(row, value, to);
    else if (row->secrecy != CONF_OPEN)
        print_secret(row, *(char *const *)value, to);
    else if (row->type == CONF_LIST)
        print_list(value, to);
    else if (row->type == CONF_CHOICE)
        fputs(row->choices[*(const int *)value], to);
    else
        fputs(*(char *const *)value, to);
}

void conf_print(const struct conf *conf, FILE *to)
{
    const struct conf_row *row;

    for (size_t i = 0; (row = conf_row_at(i)) != NULL; i++) {
        fprintf(to, "%s = ", row->name);
        print_value(conf, row, to);
        fputc('\n', to);
    }
}

void conf_print_help(FILE *to)
{
    const struct conf_row *row;

    for (size_t i = 0; (row = conf_row_at(i)) != NULL; i++) {
        char expected[GIVEN_TEXT_MAX];

        fprintf(to, "%s = %s\n", row->name, row->fallback);
        fprintf(to, "    %s\n", row->sentence);
        fprintf(to, "    Takes %s%s.  %s\n\n", row->type == CONF_LIST ? "a list of " : "",
                describe(row, expected, sizeof expected),
                row->reload == CONF_RELOAD ? "Reloads." : "Needs a restart.");
    }
}

static bool is_same_list(const struct conf_list *one, const struct conf_list *other)
{
    if (one->items_n != other->items_n)
        return false;
    for (size_t i = 0; i < one->items_n; i++)
        if (strcmp(one->items[i], other->items[i]) != 0)
            return false;
    return true;
}

static bool is_same(const struct conf_row *row, const void *one, const void *other)
{
    if (is_number(row))
        return *(const uint64_t *)one == *(const uint64_t *)other;
    if (row->type == CONF_LIST)
        return is_same_list(one, other);
    if (row->type == CONF_CHOICE)
        return *(const int *)one == *(const int *)other;
    return strcmp(*(char *const *)one, *(char *const *)other) == 0;
}

const char *conf_next_restart(const struct conf *before, const struct conf *after, size_t *index)
{
    const struct conf_row *row;

    while ((row = conf_row_at(*index)) != NULL) {
        (*index)++;
        if (row->reload == CONF_RESTART &&
            !is_same(row, value_of(before, row), value_of(after, row)))
            return row->name;
    }
    return NULL;
}

const char *conf_first_changed(const struct conf *conf, const char *prefix)
{
    const struct conf *defaults = conf_new();
    const struct conf_row *row;
    const char *name = NULL;

    for (size_t i = 0; defaults && !name && (row = conf_row_at(i)) != NULL; i++)
        if (strncmp(row->name, prefix, strlen(prefix)) == 0 &&
            !is_same(row, value_of(conf, row), value_of(defaults, row)))
            name = row->name;
    conf_unref(defaults);
    return name;
}

static int copy_list(struct conf_list *to, const struct conf_list *from)
{
    int error = 0;

    conf_value_list_clear(to);
    for (size_t i = 0; error == 0 && i < from->items_n; i++)
        error = conf_value_list_add(to, from->items[i], conf_fits_any);
    return error;
}

static int copy_row(struct conf *to, const struct conf *from, const struct conf_row *row)
{
    char *text;

    switch (row->type) {
    case CONF_DURATION:
    case CONF_BYTES:
    case CONF_COUNT:
        *(uint64_t *)target_of(to, row) = *(const uint64_t *)value_of(from, row);
        return 0;
    case CONF_CHOICE:
        *(int *)target_of(to, row) = *(const int *)value_of(from, row);
        return 0;
    case CONF_TEXT:
        text = strdup(*(char *const *)value_of(from, row));
        if (!text)
            return -ENOMEM;
        free(*(char **)target_of(to, row));
        *(char **)target_of(to, row) = text;
        return 0;
    case CONF_LIST:
        return copy_list(target_of(to, row), value_of(from, row));
    }
    return -EINVAL;
}

int conf_keep_restart(struct conf *after, const struct conf *before)
{
    const struct conf_row *row;
    int error = 0;

    for (size_t i = 0; error == 0 && (row = conf_row_at(i)) != NULL; i++)
        if (row->reload == CONF_RESTART)
            error = copy_row(after, before, row);
    after->auth.mode_written = before->auth.mode_written;
    return error;
}
