/* SPDX-License-Identifier: MIT */
/*
 * Settings from a file and from the environment.  libinih knows the INI format; it is fed line by
 * line from here, because it neither tells the line's number nor notices lines that are too long
 * or hold a NUL.
 */
#include "config.h"

#include "conf/conf.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <regex.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/edit_distance.h"
#include "base/file_read.h"
#include "base/log.h"
#include "conf/conf_internal.h"

#define VARIABLE_PREFIX "BUGLE_"
#define NAME_TEXT_MAX 128
#define SOURCE_TEXT_MAX 160
/* libinih's own 200 is short for a list of origins. */
#define LINE_ROOM 4096
#define FILE_BYTES_MAX ((size_t)4 << 20)

extern char **environ;

/* Variables of the command line and its tools, which are no settings. */
static const char *const other_variables[] = {"BUGLE_CONFIG", "BUGLE_URL", "BUGLE_TOKEN",
                                              "BUGLE_CA"};

struct loading {
    struct conf *conf;
    FILE *file;
    const char *path; /* readable */
    struct conf_error *ret_error;
    int line;       /* the one that libinih has now, from 1 */
    int error;      /* the first, in `line` */
    int read_error; /* errno of the file */
};

static int refuse_line(struct loading *loading, const char *what)
{
    loading->error =
        conf_refuse(loading->ret_error, -EINVAL, "%s:%d: %s", loading->path, loading->line, what);
    return loading->error;
}

/* The section of a known name, into `to`. */
static char *section_of(const char *known, char *to, size_t to_n)
{
    snprintf(to, to_n, "%.*s", (int)strcspn(known, "."), known);
    return to;
}

/* How far a section is from the nearest known one, which goes into `to`. */
static size_t nearest_section(const char *name, char *to, size_t to_n)
{
    char section[NAME_TEXT_MAX];
    size_t best = SIZE_MAX;
    const char *known;
    for (size_t i = 0; (known = conf_name_at(i)); i++) {
        size_t distance = edit_distance(name, section_of(known, section, sizeof section));
        if (distance < best) {
            best = distance;
            section_of(known, to, to_n);
        }
    }
    return best;
}

/* libinih does not report a section that has no keys, so that its name is looked at here. */
static int check_section(struct loading *loading, const char *line)
{
    char name[NAME_TEXT_MAX];
    char shown[NAME_TEXT_MAX];
    char nearest[NAME_TEXT_MAX];
    char text[SOURCE_TEXT_MAX * 2];
    size_t name_n = strcspn(line + 1, "]");
    if (line[0] != '[' || line[1 + name_n] != ']')
        return 0;

    snprintf(name, sizeof name, "%.*s", (int)name_n, line + 1);
    size_t distance = nearest_section(name, nearest, sizeof nearest);
    if (distance == 0 && strcmp(name, nearest) == 0)
        return 0;
    log_visible(shown, sizeof shown, name, strlen(name));
    snprintf(text, sizeof text, "there is no section [%s]; ", shown);
    size_t n = strlen(text);
    if (distance <= CONF_NEAR_ENOUGH)
        snprintf(text + n, sizeof text - n, "did you mean [%s]?", nearest);
    else
        text[n - 2] = '\0';
    return refuse_line(loading, text);
}

static bool is_blank(int c)
{
    return c != '\n' && isspace(c);
}

/* Read a line without its indent: libinih would take an indented line for the rest of the value
 * above.  Returns its length, 0 at the end of the file, -EINVAL for what cannot be a line. */
static int get_line(struct loading *loading, char *to, int room)
{
    int n = 0;
    int c;
    while ((c = getc_unlocked(loading->file)) != EOF) {
        if (c == '\0')
            return refuse_line(loading, "the line has a NUL byte");
        if (n == 0 && is_blank(c))
            continue;
        if (n == room - 1)
            return refuse_line(loading, "the line is too long");
        to[n++] = (char)c;
        if (c == '\n')
            break;
    }
    if (ferror(loading->file))
        loading->read_error = errno;
    to[n] = '\0';
    return n;
}

/* An ini_reader, which works like fgets(). */
static char *read_line(char *to, int room, void *user)
{
    struct loading *loading = user;
    if (loading->error)
        return NULL;
    loading->line++;
    int n = get_line(loading, to, room);
    if (n <= 0 || check_section(loading, to) != 0)
        return NULL;
    return to;
}

/* An ini_handler: non-zero is success. */
static int handle_pair(void *user, const char *section, const char *key, const char *value)
{
    char name[NAME_TEXT_MAX];
    char source[SOURCE_TEXT_MAX];
    struct loading *loading = user;
    if (loading->error)
        return 0;
    snprintf(name, sizeof name, "%s%s%s", section, *section ? "." : "", key);
    snprintf(source, sizeof source, "%s:%d", loading->path, loading->line);
    loading->error = conf_set_as(loading->conf, source, name, value, loading->ret_error);
    return loading->error == 0;
}

/* Make the most of libinih's answer: 0, the number of the first bad line, or -2 without memory. */
static int finish_file(struct loading *loading, int answer)
{
    if (loading->read_error)
        return conf_refuse(loading->ret_error, -loading->read_error, "%s: cannot be read: %s",
                           loading->path, strerror(loading->read_error));
    if (answer < 0)
        return conf_refuse(loading->ret_error, -ENOMEM, "%s: out of memory", loading->path);
    if (answer > 0 && (!loading->error || answer < loading->line)) {
        loading->line = answer;
        return refuse_line(loading, "expected [section] or key = value");
    }
    return loading->error;
}

/* Where the distribution lets a program choose, have libinih take lines of a useful length. */
static void make_line_room(void)
{
#if HAVE_DECL_INI_USE_STACK
    ini_use_stack = false;
    ini_initial_alloc = LINE_ROOM;
#endif
}

int conf_load_file(struct conf *conf, const char *path, struct conf_error *ret_error)
{
    char shown[NAME_TEXT_MAX];
    struct loading loading = {.conf = conf, .path = shown, .ret_error = ret_error};
    log_visible(shown, sizeof shown, path, strlen(path));
    char *text;
    size_t text_n;
    int error = file_read(path, FILE_BYTES_MAX, &text, &text_n);
    if (error)
        return conf_refuse(ret_error, error, "%s: cannot be read: %s", shown,
                           file_read_text(error));
    loading.file = fmemopen(text, text_n, "r");
    if (loading.file) {
        conf_begin_source(conf);
        make_line_room();
        error = finish_file(&loading, ini_parse_stream(read_line, &loading, handle_pair, &loading));
        fclose(loading.file);
    } else {
        error = conf_refuse(ret_error, -ENOMEM, "%s: out of memory", shown);
    }
    explicit_bzero(text, text_n);
    free(text);
    return error;
}

/* server.listen to BUGLE_SERVER_LISTEN. */
static void variable_of(const char *name, char *to, size_t to_n)
{
    snprintf(to, to_n, "%s%s", VARIABLE_PREFIX, name);
    for (char *at = to; *at; at++)
        *at = *at == '.' ? '_' : (char)toupper((unsigned char)*at);
}

static const char *name_of(const char *variable)
{
    char known[NAME_TEXT_MAX];
    const char *name;
    for (size_t i = 0; (name = conf_name_at(i)); i++) {
        variable_of(name, known, sizeof known);
        if (strcmp(known, variable) == 0)
            return name;
    }
    return NULL;
}

/* ---- variables that others set ---- */

/* What Kubernetes and Docker's links set for a service called bugle, or bugle-something, behind
 * BUGLE_: "SERVICE_HOST", "PORT_8080_TCP_ADDR", "NAME", and PORT with a URL. */
#define SERVICE_FORM                                                                               \
    "^([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|ENV_.*|NAME|"                         \
    "PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z_]+)?)=|^([A-Z0-9_]+_)?PORT=[a-z]+://"

static bool is_of_a_service(const char *tail)
{
    regex_t regex;

    if (regcomp(&regex, SERVICE_FORM, REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    bool fits = regexec(&regex, tail, 0, NULL, 0) == 0;
    regfree(&regex);
    return fits;
}

/* Whether the first word is so unlike every section that nobody mistyped a setting. */
static bool is_of_no_section(const char *tail)
{
    char word[NAME_TEXT_MAX], nearest[NAME_TEXT_MAX];
    size_t word_n = strcspn(tail, "_=");

    snprintf(word, sizeof word, "%.*s", (int)word_n, tail);
    for (char *at = word; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return nearest_section(word, nearest, sizeof nearest) * 2 >= strlen(nearest);
}

/* A name of settings, if it is one at all: lower case, and what stands first may be the section. */
static const char *nearest_of(const char *variable)
{
    char name[NAME_TEXT_MAX];

    snprintf(name, sizeof name, "%s", variable + strlen(VARIABLE_PREFIX));
    for (char *at = name; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return conf_nearest(name);
}

static bool is_other_variable(const char *variable)
{
    for (size_t i = 0; i < sizeof other_variables / sizeof *other_variables; i++)
        if (strcmp(variable, other_variables[i]) == 0)
            return true;
    return false;
}

static int refuse_variable(const char *variable, struct conf_error *ret_error)
{
    char shown[NAME_TEXT_MAX];
    char name[NAME_TEXT_MAX];
    const char *nearest = nearest_of(variable);

    log_visible(shown, sizeof shown, variable, strlen(variable));
    if (!nearest)
        return conf_refuse(ret_error, -EINVAL, "%s: no setting has this variable", shown);
    variable_of(nearest, name, sizeof name);
    return conf_refuse(ret_error, -EINVAL, "%s: no setting has this variable; did you mean %s?",
                       shown, name);
}

enum variable_kind {
    VARIABLE_OTHER,   /* not ours, or of the tools */
    VARIABLE_SETTING, /* its name is in `ret_name` */
    VARIABLE_FOREIGN, /* of somebody else's with our prefix */
    VARIABLE_WRONG,   /* a setting that does not exist */
};

/* Takes "NAME=VALUE", and gives the name in `variable`. */
static enum variable_kind kind_of(const char *entry, char variable[NAME_TEXT_MAX],
                                  const char **ret_name)
{
    size_t variable_n = strcspn(entry, "=");

    if (strncmp(entry, VARIABLE_PREFIX, strlen(VARIABLE_PREFIX)) != 0)
        return VARIABLE_OTHER;
    snprintf(variable, NAME_TEXT_MAX, "%.*s", (int)variable_n, entry);
    if (is_other_variable(variable) || entry[variable_n] == '\0')
        return VARIABLE_OTHER;
    *ret_name = name_of(variable);
    if (*ret_name)
        return VARIABLE_SETTING;
    const char *tail = entry + strlen(VARIABLE_PREFIX);
    bool foreign = is_of_a_service(tail) || (is_of_no_section(tail) && !nearest_of(variable));
    return foreign ? VARIABLE_FOREIGN : VARIABLE_WRONG;
}

static int apply_variable(struct conf *conf, const char *entry, struct conf_error *ret_error)
{
    char variable[NAME_TEXT_MAX];
    const char *name;
    enum variable_kind kind = kind_of(entry, variable, &name);

    if (kind == VARIABLE_WRONG)
        return refuse_variable(variable, ret_error);
    if (kind != VARIABLE_SETTING)
        return 0;
    return conf_set_as(conf, variable, name, strchr(entry, '=') + 1, ret_error);
}

int conf_load_environment(struct conf *conf, struct conf_error *ret_error)
{
    conf_begin_source(conf);
    for (char **entry = environ; entry && *entry; entry++) {
        int error = apply_variable(conf, *entry, ret_error);
        if (error)
            return error;
    }
    return 0;
}

size_t conf_foreign_variables(char *to, size_t to_n)
{
    char variable[NAME_TEXT_MAX];
    const char *name;
    size_t n = 0, used = 0;

    to[0] = '\0';
    for (char **entry = environ; entry && *entry; entry++) {
        if (kind_of(*entry, variable, &name) != VARIABLE_FOREIGN)
            continue;
        n++;
        if (used + strlen(variable) + 3 < to_n)
            used += (size_t)sprintf(to + used, "%s%s", used > 0 ? ", " : "", variable);
    }
    return n;
}
