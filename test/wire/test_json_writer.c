/* SPDX-License-Identifier: MIT */
/* JSON put together: what it says, byte for byte, and what happens without room or memory. */
#include "wire/json_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Allocations that succeed before one fails; negative: all succeed. */
static int left_n = -1;

void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

void *__wrap_realloc(void *old, size_t bytes)
{
    if (left_n == 0)
        return NULL;
    left_n -= left_n > 0;
    return __real_realloc(old, bytes);
}

static void assert_written(const struct json_writer *writer, const char *text)
{
    assert_false(writer->failed);
    assert_int_equal(writer->n, strlen(text));
    assert_memory_equal(writer->bytes, text, writer->n);
}

static void writes_what_it_is_given(void **state)
{
    struct json_writer writer;
    size_t n = 0;

    (void)state;
    json_writer_init(&writer);
    json_writer_text(&writer, "{\"a\":");
    json_writer_number(&writer, INT64_MIN);
    json_writer_raw(&writer, ",\"b\":xx", 5); /* and no more of it */
    json_writer_string(&writer, "c\0d", 3);
    json_writer_raw(&writer, NULL, 0);
    json_writer_text(&writer, "}");
    assert_written(&writer, "{\"a\":-9223372036854775808,\"b\":\"c\\u0000d\"}");
    char *text = json_writer_take(&writer, &n);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(text, "{\"a\":-9", 7);
    free(text);
    assert_int_equal(writer.n, 0);
    json_writer_clear(&writer);
}

static void escapes_what_may_not_stand_in_a_string(void **state)
{
    static const struct {
        const char *text, *want;
        size_t n;
    } rows[] = {
        {"", "\"\"", 0},
        {"plain / caf\xc3\xa9 \x7f \xe2\x80\xa8", "\"plain / caf\xc3\xa9 \x7f \xe2\x80\xa8\"", 19},
        {"\"", "\"\\\"\"", 1},
        {"a\\b", "\"a\\\\b\"", 3},
        {"\n\r\t\b\f", "\"\\n\\r\\t\\b\\f\"", 5},
        {"\x01\x1f\x0b", "\"\\u0001\\u001f\\u000b\"", 3},
        {"\0", "\"\\u0000\"", 1},
        {" x ", "\" x \"", 3},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *copy = malloc(rows[i].n + 1); /* just its size, so that a byte too many is found */
        struct json_writer writer;

        memcpy(copy, rows[i].text, rows[i].n);
        json_writer_init(&writer);
        json_writer_string(&writer, copy, rows[i].n);
        assert_written(&writer, rows[i].want);
        json_writer_clear(&writer);
        free(copy);
    }
}

static void grows_as_far_as_need_be(void **state)
{
    struct json_writer writer;

    (void)state;
    json_writer_init(&writer);
    for (int i = 0; i < 60000; i++)
        json_writer_string(&writer, "\x02y", 2);
    assert_false(writer.failed);
    assert_int_equal(writer.n, 60000 * strlen("\"\\u0002y\""));
    assert_memory_equal(writer.bytes + writer.n - 9, "\"\\u0002y\"", 9);
    json_writer_clear(&writer);
}

static void takes_an_empty_text_too(void **state)
{
    struct json_writer writer;
    size_t n = 1;

    (void)state;
    json_writer_init(&writer);
    char *text = json_writer_take(&writer, &n);
    assert_non_null(text);
    assert_int_equal(n, 0);
    free(text);
}

static void stays_within_a_buffer_of_the_callers(void **state)
{
    (void)state;
    for (size_t room = 0; room <= 12; room++) {
        char *to = malloc(room + 1);
        struct json_writer writer;

        to[room] = '#';
        json_writer_init_fixed(&writer, to, room);
        json_writer_string(&writer, "a\nb", 3);
        json_writer_number(&writer, 17);
        assert_int_equal(writer.failed, room < 8);
        assert_true(writer.n <= room);
        assert_int_equal(to[room], '#');
        if (!writer.failed)
            assert_written(&writer, "\"a\\nb\"17");
        json_writer_clear(&writer);
        assert_int_equal(writer.n, 0);
        json_writer_text(&writer, "");
        assert_false(writer.failed);
        free(to);
    }
}

static void says_when_memory_ran_out(void **state)
{
    bool failed = true;

    (void)state;
    for (int nth = 0; failed; nth++) {
        struct json_writer writer;
        size_t n = 77;

        left_n = nth;
        json_writer_init(&writer);
        for (int i = 0; i < 2000; i++)
            json_writer_string(&writer, "\"", 1);
        char *text = json_writer_take(&writer, &n);
        left_n = -1;
        failed = text == NULL;
        assert_int_equal(n, failed ? 77 : 8000);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_it_is_given),
        cmocka_unit_test(escapes_what_may_not_stand_in_a_string),
        cmocka_unit_test(grows_as_far_as_need_be),
        cmocka_unit_test(takes_an_empty_text_too),
        cmocka_unit_test(stays_within_a_buffer_of_the_callers),
        cmocka_unit_test(says_when_memory_ran_out),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
