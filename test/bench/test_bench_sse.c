/* SPDX-License-Identifier: MIT */
/* Tests of the event reader and its stamps, whole and cut at every place. */
#include "config.h"
#include "bench/bench_sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STAMP_1 "~0000beef-00000002-00000001-00000000-0000000000001000~"
#define STAMP_2 "~0000beef-00000002-00000002-00000001-fedcba9876543210~"

/* What came, as text: the numbers of the stamps, '-' for events without one. */
struct seen {
    char text[64];
};

static void note(void *context, const struct bench_stamp *stamp)
{
    struct seen *seen = context;
    size_t n = strlen(seen->text);
    if (!stamp) {
        strcat(seen->text, "-");
        return;
    }
    assert_int_equal(stamp->run, 0xbeef);
    assert_int_equal(stamp->topic, 2);
    assert_true(stamp->due_ns == (stamp->number == 1 ? 0x1000 : UINT64_C(0xfedcba9876543210)));
    snprintf(seen->text + n, sizeof(seen->text) - n, "%u", stamp->number);
}

static const struct {
    const char *bytes;
    const char *seen;
} cases[] = {
    {"", ""},
    {"data: " STAMP_1 "\n\n", "1"},
    {"data:" STAMP_1 "\r\n\r\n", "1"},
    {"event: x\ndata: " STAMP_1 "xxxx\nid: 7\n\ndata: " STAMP_2 "\n\n", "12"},
    {"data: {\"a\":\"~~\",\"data\":\"" STAMP_2 "\"}\n\n", "2"},
    {"data: first\ndata: " STAMP_1 "\n\n", "1"},
    {"data: " STAMP_1, ""},
    {"data: " STAMP_1 "\n", ""},
    {": comment " STAMP_1 "\n\nid: " STAMP_1 "\n\n", ""},
    {"data: hello\n\n", "-"},
    {"event: checkpoint\ndata: \nid: 7\n\n", ""},
    {"retry: 3000\n\n:\n\ndata: " STAMP_1 "\n\n", "1"},
    {"data: ~0000beef-00000002-00000001-00000000-000000000000100g~\n\n", "-"},
    {"data: ~0000beef-00000002-00000001-00000000-0000000000001000x\n\n", "-"},
    {"data: ~0000BEEF-00000002-00000001-00000000-0000000000001000~\n\n", "-"},
    {"data: ~~0000be" STAMP_2 "\n\n", "2"},
};

static void test_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t bytes_n = strlen(cases[i].bytes);
        for (size_t cut = 0; cut <= bytes_n; cut++) {
            struct bench_sse sse = {0};
            struct seen seen = {""};
            bench_sse_feed(&sse, cases[i].bytes, cut, note, &seen);
            bench_sse_feed(&sse, cases[i].bytes + cut, bytes_n - cut, note, &seen);
            assert_string_equal(seen.text, cases[i].seen);
        }
    }
}

static void test_stamps_come_back(void **state)
{
    (void)state;
    static const struct bench_stamp stamps[] = {
        {0, 0, 0, 0, 0},
        {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX},
        {0x01234567, 0x89abcdef, 0xdeadbeef, 0x10203040, UINT64_C(0x0123456789abcdef)},
    };
    for (size_t i = 0; i < sizeof(stamps) / sizeof(stamps[0]); i++) {
        char text[BENCH_STAMP_BYTES];
        struct bench_stamp found;
        bench_stamp_write(text, &stamps[i]);
        assert_true(bench_stamp_find(text, sizeof(text), &found));
        assert_true(found.run == stamps[i].run && found.topic == stamps[i].topic);
        assert_true(found.number == stamps[i].number && found.answered == stamps[i].answered);
        assert_true(found.due_ns == stamps[i].due_ns);
        assert_false(bench_stamp_find(text, sizeof(text) - 1, &found));
        assert_false(bench_stamp_find(text + 1, sizeof(text) - 1, &found));
    }
}

/* The stamp counts when it lies in what is kept of a cut line, however long the line is. */
static void test_long_lines(void **state)
{
    (void)state;
    struct bench_sse sse = {0};
    struct seen seen = {""};
    bench_sse_feed(&sse, "data: " STAMP_1, 6 + BENCH_STAMP_BYTES, note, &seen);
    for (int i = 0; i < 10000; i++)
        bench_sse_feed(&sse, "xxxxxxxx", 8, note, &seen);
    bench_sse_feed(&sse, "\n\ndata: " STAMP_2 "\n\n", 10 + BENCH_STAMP_BYTES, note, &seen);
    assert_string_equal(seen.text, "12");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_stamps_come_back),
        cmocka_unit_test(test_long_lines),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
