/* SPDX-License-Identifier: MIT */
/*
 * What `bugle subscribe` shows.  Both outputs may be the same screen: the state is wiped before
 * anything else is written and drawn again after.
 */
#include "config.h"

#include "cli/cli_show.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "cli/cli_common.h"

#define DRAW_EVERY_MS 100
#define WIPE "\r\033[K"
#define DATA_INDENT "    "
#define REPLACEMENT "\xEF\xBF\xBD"

static void begin_pending(struct cli_show *show)
{
    show->pending = cli_need(open_memstream(&show->text, &show->text_n));
}

void cli_show_open(struct cli_show *show, const char *tool, int interrupt_fd, bool json, bool quiet)
{
    *show = (struct cli_show){
        .tool = tool,
        .interrupt_fd = interrupt_fd,
        .json = json,
        .quiet = quiet,
        .is_screen = isatty(STDOUT_FILENO),
        .has_state = !quiet && isatty(STDERR_FILENO),
    };
    begin_pending(show);
}

static void show_wipe_state(struct cli_show *show)
{
    if (!show->is_drawn)
        return;
    fputs(WIPE, stderr);
    show->is_drawn = false;
    show->is_current = false;
}

void cli_show_close(struct cli_show *show)
{
    show_wipe_state(show);
    fclose(show->pending);
    free(show->text);
    free(show->state);
}

static void put_for_person(FILE *to, const struct sse_parser_event *event)
{
    if (event->has_id)
        cli_put_visible(to, event->id, event->id_n, NULL);
    else
        putc('-', to);
    fputs("  ", to);
    cli_put_visible(to, event->name, event->name_n, NULL);
    fputs("  ", to);
    cli_put_visible(to, event->data, event->data_n, DATA_INDENT);
    putc('\n', to);
}

/* Text as a JSON string.  A stream may hold bytes that are no UTF-8, which JSON cannot: each
 * becomes U+FFFD, as in a browser.  `*ret_hides` is set when there are hidden characters. */
static json_t *clean_string(const char *bytes, size_t bytes_n, bool *ret_hides)
{
    char *clean = cli_need(malloc(bytes_n * strlen(REPLACEMENT) + 1));
    size_t clean_n = 0;
    uint32_t cp;

    for (size_t i = 0, taken; i < bytes_n; i += taken) {
        taken = utf8_decode(bytes + i, bytes_n - i, &cp);
        if (taken > 0 && utf8_is_hidden(cp))
            *ret_hides = true;
        const char *from = taken > 0 ? bytes + i : REPLACEMENT;
        size_t from_n = taken > 0 ? taken : strlen(REPLACEMENT);
        memcpy(clean + clean_n, from, from_n);
        clean_n += from_n;
        taken = taken > 0 ? taken : 1;
    }
    json_t *string = cli_need(json_stringn_nocheck(clean, clean_n));
    free(clean);
    return string;
}

/* Hidden characters are written as escapes: the same to a program, harmless on a terminal. */
static void put_json(FILE *to, const struct sse_parser_event *event)
{
    bool hides = false;
    json_t *object = cli_need(json_object());
    json_t *id = event->has_id ? clean_string(event->id, event->id_n, &hides) : json_null();

    json_object_set_new(object, "id", id);
    json_object_set_new(object, "event", clean_string(event->name, event->name_n, &hides));
    json_object_set_new(object, "data", clean_string(event->data, event->data_n, &hides));
    char *text = cli_need(json_dumps(object, JSON_COMPACT | (hides ? JSON_ENSURE_ASCII : 0)));
    for (const char *at = text; *at; at++) {
        if (*at == 0x7F) /* ASCII to jansson */
            fputs("\\u007f", to);
        else
            putc(*at, to);
    }
    putc('\n', to);
    free(text);
    json_decref(object);
}

void cli_show_event(struct cli_show *show, const struct sse_parser_event *event)
{
    if (show->json) {
        put_json(show->pending, event);
    } else if (show->is_screen) {
        put_for_person(show->pending, event);
    } else {
        fwrite(event->data, 1, event->data_n, show->pending);
        putc('\n', show->pending);
    }
}

/* Wait until standard output takes bytes. */
static int wait_for_room(const struct cli_show *show)
{
    struct pollfd fds[2] = {
        {.fd = STDOUT_FILENO, .events = POLLOUT},
        {.fd = show->interrupt_fd, .events = POLLIN},
    };

    if (poll(fds, 2, -1) < 0)
        return errno == EINTR ? 0 : -errno;
    if (fds[1].revents)
        return -EINTR;
    return fds[0].revents & POLLERR ? -EPIPE : 0;
}

/* A pipe that is ready takes PIPE_BUF bytes without blocking, so a reader that stops reading
 * never keeps an interrupt waiting. */
static int show_write_all(const struct cli_show *show)
{
    for (size_t at = 0; at < show->text_n;) {
        int ret = wait_for_room(show);

        if (ret < 0)
            return ret;
        size_t left_n = show->text_n - at;
        ssize_t n = write(STDOUT_FILENO, show->text + at, left_n < PIPE_BUF ? left_n : PIPE_BUF);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int cli_show_flush(struct cli_show *show)
{
    if (ftello(show->pending) == 0)
        return 0;
    if (fclose(show->pending) != 0)
        cli_need(NULL);
    if (show->is_screen)
        show_wipe_state(show);
    int ret = show_write_all(show);
    free(show->text);
    begin_pending(show);
    return ret;
}

/* Columns of the screen on standard error. */
static size_t show_columns(void)
{
    struct winsize size = {0};

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

/* The longest beginning of a text that takes at most `columns_n` columns, one a character. */
static size_t show_fitting_n(const char *text, size_t columns_n)
{
    size_t n = 0;

    for (; text[n]; n++) {
        bool begins_character = ((unsigned char)text[n] & 0xC0) != 0x80;

        if (begins_character && columns_n-- == 0)
            break;
    }
    return n;
}

/* Put the state on the screen, in place of the one there. */
static void show_draw_state(struct cli_show *show, long long now_ms)
{
    /* The last column stays free: a full line would scroll. */
    fprintf(stderr, WIPE "%.*s", (int)show_fitting_n(show->state, show_columns() - 1), show->state);
    show->is_drawn = true;
    show->drawn_ms = now_ms;
}

void cli_show_state(struct cli_show *show, const char *format, ...)
{
    if (!show->has_state)
        return;
    va_list arguments;
    va_start(arguments, format);
    char *text = cli_format_visible(format, arguments);
    va_end(arguments);
    if (show->state == NULL || strcmp(text, show->state) != 0)
        show->is_current = false;
    free(show->state);
    show->state = text;
    long long now_ms = clock_mono_ms();
    if (show->is_current && show->is_drawn)
        return;
    show->is_current = now_ms - show->drawn_ms >= DRAW_EVERY_MS;
    if (show->is_current)
        show_draw_state(show, now_ms);
}

void cli_show_note(struct cli_show *show, const char *format, ...)
{
    if (show->quiet)
        return;
    va_list arguments;
    va_start(arguments, format);
    char *text = cli_format_visible(format, arguments);
    va_end(arguments);
    show_wipe_state(show);
    cli_fail(show->tool, "%s", text);
    free(text);
}
