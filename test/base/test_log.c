/* SPDX-License-Identifier: MIT */
/*
 * What a line of the log looks like, whatever bytes go into it.  Standard error is a socket that
 * keeps the borders of writes while a line is written, so that a test sees each write() by itself.
 */
#include "base/log.h"

#include <setjmp.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <regex.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define LINE_ROOM 8192
#define TIME "^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{3}Z "

static int saved_stderr;
static int reader;

static void capture(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_int_equal(dup2(pair[1], STDERR_FILENO), STDERR_FILENO);
    close(pair[1]);
    reader = pair[0];
}

/* Give standard error back; returns how many writes there were and the bytes of the last. */
static int release(char *to)
{
    int writes = 0;
    ssize_t n;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    to[0] = '\0';
    while ((n = recv(reader, to, LINE_ROOM - 1, 0)) > 0) {
        to[n] = '\0';
        writes++;
    }
    close(reader);
    return writes;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int answer = regexec(&regex, text, 0, NULL, 0);
    regfree(&regex);
    if (answer != 0)
        fail_msg("'%s' does not match '%s'", text, pattern);
}

static void text_line_has_time_level_and_message(void **state)
{
    static const struct {
        enum log_level level;
        const char *pattern;
    } rows[] = {
        {LOG_LEVEL_ERROR, TIME "error 7 streams\n$"},
        {LOG_LEVEL_WARNING, TIME "warning 7 streams\n$"},
        {LOG_LEVEL_INFO, TIME "info  7 streams\n$"},
        {LOG_LEVEL_DEBUG, TIME "debug 7 streams\n$"},
    };
    char line[LINE_ROOM];

    (void)state;
    log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    for (size_t i = 0; i < ROWS(rows); i++) {
        capture();
        log_write(rows[i].level, "%d %s", 7, "streams");
        assert_int_equal(release(line), 1);
        assert_matches(line, rows[i].pattern);
    }
}

static void writes_only_what_the_level_asks_for(void **state)
{
    char line[LINE_ROOM];

    (void)state;
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        log_setup(level, LOG_FORMAT_TEXT);
        capture();
        log_error("e");
        log_warning("w");
        log_info("i");
        log_debug("d");
        assert_int_equal(release(line), level + 1);
        for (int other = LOG_LEVEL_ERROR; other <= LOG_LEVEL_DEBUG; other++)
            assert_int_equal(log_enabled(other), other <= level);
    }
}

static void a_peer_cannot_forge_a_line_or_command_a_terminal(void **state)
{
    static const struct {
        const char *given;
        const char *pattern;
    } rows[] = {
        {"a\n2026-01-01T00:00:00.000Z error b",
         "info  a\\\\x0a2026-01-01T00:00:00.000Z error b\n$"},
        {"a\r\tb", "info  a\\\\x0d\\\\x09b\n$"},
        {"\x1b[2J", "info  \\\\x1b\\[2J\n$"},
        {"\xc2\x9b", "info  \\\\xc2\\\\x9b\n$"},
        {"\xe2\x80\xae", "info  \\\\xe2\\\\x80\\\\xae\n$"},
        {"\xff\xc3", "info  \\\\xff\\\\xc3\n$"},
        {"gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x9d", "info  gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x9d\n$"},
        {"seen \\x0a", "info  seen \\\\x0a\n$"}, /* made visible before: not twice */
    };
    char line[LINE_ROOM];

    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    for (size_t i = 0; i < ROWS(rows); i++) {
        capture();
        log_info("%s", rows[i].given);
        assert_int_equal(release(line), 1);
        assert_matches(line, rows[i].pattern);
    }
}

/* The one JSON object of a line, which jansson accepts only as valid JSON in valid UTF-8. */
static json_t *read_object(const char *line)
{
    json_error_t error;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        fail_msg("%s in '%s'", error.text, line);
    assert_int_equal(json_object_size(object), 3);
    return object;
}

static const char *member(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void json_line_has_time_level_and_message(void **state)
{
    char line[LINE_ROOM];

    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    capture();
    log_warning("say \"hi\" to C:\\x\n%s", "\xc3\xbc");
    assert_int_equal(release(line), 1);
    assert_matches(line, "^\\{\"time\":\"[0-9T:.-]{23}Z\",\"level\":\"warning\",\"message\":\"");
    assert_int_equal(line[strlen(line) - 1], '\n');

    json_t *object = read_object(line);
    assert_string_equal(member(object, "level"), "warning");
    assert_string_equal(member(object, "message"), "say \"hi\" to C:\\x\\x0a\xc3\xbc");
    json_decref(object);
}

static void json_is_valid_whatever_the_bytes(void **state)
{
    char line[LINE_ROOM];
    char bytes[65];
    uint32_t random = 1;

    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    for (int turn = 0; turn < 2000; turn++) {
        for (size_t i = 0; i + 1 < sizeof bytes; i++) {
            random = random * 1664525 + 1013904223;
            bytes[i] = (char)(1 + (random >> 16) % 255);
        }
        bytes[sizeof bytes - 1] = '\0';
        capture();
        log_info("%s", bytes);
        assert_int_equal(release(line), 1);
        json_decref(read_object(line));
    }
}

static void a_long_message_is_cut_and_stays_one_short_write(void **state)
{
    static const char *const fillers[] = {
        "a", "\\", "\"", "\n", "\xff", "\xc3\xbc", "\xf0\x9f\x90\x9d"};
    char message[4097];
    char line[LINE_ROOM];

    (void)state;
    for (size_t i = 0; i < ROWS(fillers); i++) {
        size_t filler_n = strlen(fillers[i]);
        message[0] = '\0';
        for (size_t n = 0; n + filler_n < sizeof message; n += filler_n)
            memcpy(message + n, fillers[i], filler_n + 1);
        log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
        capture();
        log_info("x%s", message);
        assert_int_equal(release(line), 1);
        assert_true(strlen(line) > 1000 && strlen(line) <= PIPE_BUF);

        json_t *object = read_object(line);
        size_t n = strlen(member(object, "message"));
        assert_true(n <= 1024 && n > 1024 - 8);
        if (filler_n > 1) /* a character is never cut in two */
            assert_null(strstr(member(object, "message"), "\\x"));
        json_decref(object);
    }
}

static void keeps_errno_and_shows_it(void **state)
{
    char line[LINE_ROOM];

    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    capture();
    errno = EMFILE;
    log_info("accept: %m");
    assert_int_equal(errno, EMFILE);
    assert_int_equal(release(line), 1);
    assert_matches(line, "accept: Too many open files\n$");
}

static void a_closed_standard_error_does_no_harm(void **state)
{
    (void)state;
    int saved = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    errno = 0;
    log_error("nobody reads this");
    assert_int_equal(errno, 0);
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    close(saved);
}

static void visible_bytes_can_be_told_from_escapes(void **state)
{
    static const struct {
        const char *given;
        size_t given_n;
        const char *expected;
    } rows[] = {
        {"", 0, ""},
        {"plain", 5, "plain"},
        {"a\0b", 3, "a\\x00b"},
        {"\\x00", 4, "\\\\x00"},
        {"\n", 1, "\\x0a"},
        {"\x7f", 1, "\\x7f"},
        {"\xc3\xbc", 2, "\xc3\xbc"},
        {"\xc3", 1, "\\xc3"},
        {"\xef\xbb\xbf", 3, "\\xef\\xbb\\xbf"},
        {"\xed\xa0\x80", 3, "\\xed\\xa0\\x80"}, /* a surrogate */
    };
    char to[64];

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        assert_ptr_equal(log_visible(to, sizeof to, rows[i].given, rows[i].given_n), to);
        assert_string_equal(to, rows[i].expected);
    }
}

static void visible_is_cut_between_characters(void **state)
{
    static const char *const expected[] = {
        "", "", "", "", "\\x0a", "\\x0a", "\\x0a\xc3\xbc", "\\x0a\xc3\xbcz"};

    (void)state;
    for (size_t room = 1; room <= ROWS(expected); room++) {
        char *to = malloc(room); /* of its own, so that a sanitizer sees its end */
        assert_non_null(to);
        log_visible(to, room, "\n\xc3\xbcz", 4);
        assert_string_equal(to, expected[room - 1]);
        free(to);
    }
}

static void a_valve_opens_once_a_second_and_counts(void **state)
{
    struct log_valve valve = {0};
    unsigned long skipped = 99;

    (void)state;
    assert_true(log_valve_open(&valve, &skipped));
    assert_int_equal(skipped, 0);
    skipped = 99;
    for (int i = 0; i < 3; i++)
        assert_false(log_valve_open(&valve, &skipped));
    assert_int_equal(skipped, 99);

    valve.last_ms -= 1000; /* a second later */
    assert_true(log_valve_open(&valve, &skipped));
    assert_int_equal(skipped, 3);
    assert_false(log_valve_open(&valve, &skipped));
    valve.last_ms -= 1000;
    assert_true(log_valve_open(&valve, &skipped));
    assert_int_equal(skipped, 1);
}

static void lines_that_were_skipped_are_told_if_there_are_any(void **state)
{
    char more[LOG_SKIPPED_BYTES];

    (void)state;
    assert_string_equal(log_skipped(more, 0), "");
    assert_string_equal(log_skipped(more, 3), " (3 more like it)");
    assert_string_equal(log_skipped(more, 18446744073709551615UL),
                        " (18446744073709551615 more like it)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_line_has_time_level_and_message),
        cmocka_unit_test(writes_only_what_the_level_asks_for),
        cmocka_unit_test(a_peer_cannot_forge_a_line_or_command_a_terminal),
        cmocka_unit_test(json_line_has_time_level_and_message),
        cmocka_unit_test(json_is_valid_whatever_the_bytes),
        cmocka_unit_test(a_long_message_is_cut_and_stays_one_short_write),
        cmocka_unit_test(keeps_errno_and_shows_it),
        cmocka_unit_test(a_closed_standard_error_does_no_harm),
        cmocka_unit_test(visible_bytes_can_be_told_from_escapes),
        cmocka_unit_test(visible_is_cut_between_characters),
        cmocka_unit_test(a_valve_opens_once_a_second_and_counts),
        cmocka_unit_test(lines_that_were_skipped_are_told_if_there_are_any),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
