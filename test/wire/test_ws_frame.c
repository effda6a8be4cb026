/* SPDX-License-Identifier: MIT */
/* Heads at the borders of each form of a length, and Close frames that fit. */
#include "wire/ws_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/utf8.h"

static void writes_each_form_of_a_length(void **state)
{
    static const struct {
        size_t payload_n, head_n;
        const char *head;
    } rows[] = {
        {0, 2, "\x81\x00"},
        {1, 2, "\x81\x01"},
        {125, 2, "\x81\x7D"},
        {126, 4, "\x81\x7E\x00\x7E"},
        {127, 4, "\x81\x7E\x00\x7F"},
        {0x1234, 4, "\x81\x7E\x12\x34"},
        {65535, 4, "\x81\x7E\xFF\xFF"},
        {65536, 10, "\x81\x7F\x00\x00\x00\x00\x00\x01\x00\x00"},
        {0x12345678, 10, "\x81\x7F\x00\x00\x00\x00\x12\x34\x56\x78"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char head[WS_FRAME_HEAD_MAX];

        assert_int_equal(ws_frame_put_head(head, WS_TEXT, false, rows[i].payload_n),
                         rows[i].head_n);
        assert_memory_equal(head, rows[i].head, rows[i].head_n);
        ws_frame_put_head(head, WS_TEXT, true, rows[i].payload_n);
        assert_int_equal((unsigned char)head[0], 0xC1);
        assert_memory_equal(head + 1, rows[i].head + 1, rows[i].head_n - 1);
    }
}

static void writes_control_frames(void **state)
{
    char frame[WS_CONTROL_FRAME_MAX], payload[WS_CONTROL_PAYLOAD_MAX];

    (void)state;
    assert_int_equal(ws_frame_put_control(frame, WS_PONG, NULL, 0), 2);
    assert_memory_equal(frame, "\x8A\x00", 2);
    assert_int_equal(ws_frame_put_control(frame, WS_PING, "abc", 3), 5);
    assert_memory_equal(frame,
                        "\x89\x03"
                        "abc",
                        5);
    memset(payload, 'x', sizeof payload);
    assert_int_equal(ws_frame_put_control(frame, WS_PONG, payload, sizeof payload), 127);
    assert_memory_equal(frame, "\x8A\x7D", 2);
    assert_memory_equal(frame + 2, payload, sizeof payload);
}

static void writes_a_close_with_and_without_reason(void **state)
{
    char frame[WS_CONTROL_FRAME_MAX];

    (void)state;
    assert_int_equal(ws_frame_put_close(frame, WS_CLOSE_NO_CODE, "unsaid"), 2);
    assert_memory_equal(frame, "\x88\x00", 2);
    assert_int_equal(ws_frame_put_close(frame, WS_CLOSE_NORMAL, NULL), 4);
    assert_memory_equal(frame, "\x88\x02\x03\xE8", 4);
    assert_int_equal(ws_frame_put_close(frame, WS_CLOSE_TOKEN, ""), 4);
    assert_memory_equal(frame, "\x88\x02\x11\x31", 4);
    assert_int_equal(ws_frame_put_close(frame, WS_CLOSE_GOING_AWAY, "stop"), 8);
    assert_memory_equal(frame, "\x88\x06\x03\xE9stop", 8);
}

/* A character of each length at each place around the cut. */
static void cuts_a_reason_between_characters(void **state)
{
    static const char *const characters[] = {"x", "\xC3\xBC", "\xE2\x82\xAC", "\xF0\x9F\x90\x9D"};

    (void)state;
    for (size_t kind = 0; kind < 4; kind++)
        for (size_t before = 100; before < 130; before++) {
            char frame[WS_CONTROL_FRAME_MAX], reason[200];
            size_t character_n = strlen(characters[kind]);

            memset(reason, '.', before);
            for (size_t i = 0; i < 10; i++)
                memcpy(reason + before + i * character_n, characters[kind], character_n + 1);
            size_t frame_n = ws_frame_put_close(frame, WS_CLOSE_POLICY, reason);
            size_t want_n = before + 10 * character_n;
            if (want_n > WS_CLOSE_REASON_MAX)
                want_n = before >= WS_CLOSE_REASON_MAX
                             ? WS_CLOSE_REASON_MAX
                             : before + (WS_CLOSE_REASON_MAX - before) / character_n * character_n;
            assert_int_equal(frame_n, 4 + want_n);
            assert_int_equal(frame[1], 2 + want_n);
            assert_memory_equal(frame + 4, reason, want_n);
            assert_true(utf8_valid(frame + 4, want_n, NULL));
        }
}

static void knows_the_codes_that_may_be_sent(void **state)
{
    (void)state;
    for (unsigned code = 0; code <= UINT16_MAX; code++) {
        bool good =
            (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
            (code >= 3000 && code <= 4999);

        if (ws_close_code_is_sendable(code) != good)
            fail_msg("%u", code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_each_form_of_a_length),
        cmocka_unit_test(writes_control_frames),
        cmocka_unit_test(writes_a_close_with_and_without_reason),
        cmocka_unit_test(cuts_a_reason_between_characters),
        cmocka_unit_test(knows_the_codes_that_may_be_sent),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
