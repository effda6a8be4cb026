/* SPDX-License-Identifier: MIT */
/*
 * The ring against a plain list: what it holds, where a reader begins, and what it counts.
 */
#include "stream/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"

#define LOTS ((size_t)1 << 40)

/* Add an event and let go of it: the ring holds its own reference. */
static uint64_t add(struct ring *ring, enum message_kind kind, uint64_t position)
{
    struct message *message = make_sealed(kind, position);
    uint64_t sequence = ring_append(ring, message);

    message_unref(message);
    return sequence;
}

static uint64_t add_stored(struct ring *ring, uint64_t position)
{
    return add(ring, MESSAGE_STORED, position);
}

static void assert_held(const struct ring *ring, uint64_t tail, uint64_t head)
{
    assert_int_equal(ring_tail(ring), tail);
    assert_int_equal(ring_head(ring), head);
}

static void begins_empty_at_the_place_it_is_given(void **state)
{
    struct ring *ring = ring_new(10, LOTS, 77);

    (void)state;
    assert_held(ring, 0, 0);
    assert_int_equal(ring_head_position(ring), 77);
    assert_int_equal(ring_tail_position(ring), 77);
    assert_int_equal(ring_seek(ring, 0), 0);
    assert_int_equal(ring_seek(ring, UINT64_MAX), 0);
    assert_int_equal(ring_frame_bytes_from(ring, 0), 0);
    assert_int_equal(ring_bytes(ring), 0);
    ring_free(ring);
    ring_free(NULL);
}

static void counts_sequence_numbers_and_lends_what_it_holds(void **state)
{
    struct ring *ring = ring_new(10, LOTS, 0);
    struct message *message = make_sealed(MESSAGE_STORED, 1);

    (void)state;
    assert_int_equal(ring_append(ring, message), 0);
    assert_int_equal(message->refs, 2);
    assert_ptr_equal(ring_at(ring, 0), message);
    assert_int_equal(message->refs, 2);
    assert_int_equal(add_stored(ring, 2), 1);
    assert_int_equal(add_stored(ring, 3), 2);
    assert_held(ring, 0, 3);
    ring_free(ring);
    assert_int_equal(message->refs, 1);
    message_unref(message);
}

static void holds_so_many_events_and_drops_the_oldest(void **state)
{
    struct ring *ring = ring_new(3, LOTS, 10);

    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        add_stored(ring, 11 + i);
    assert_held(ring, 0, 3);
    assert_int_equal(ring_tail_position(ring), 10);
    add_stored(ring, 14);
    assert_held(ring, 1, 4);
    assert_int_equal(ring_tail_position(ring), 11);
    assert_int_equal(ring_head_position(ring), 14);
    assert_int_equal(ring_at(ring, 1)->position, 12);
    assert_int_equal(ring_at(ring, 3)->position, 14);
    ring_free(ring);
}

static void holds_at_least_the_newest(void **state)
{
    static const struct {
        size_t events_max, bytes_max;
    } cases[] = {{0, LOTS}, {1, LOTS}, {10, 0}, {10, 1}, {0, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ring *ring = ring_new(cases[i].events_max, cases[i].bytes_max, 0);

        for (uint64_t position = 1; position <= 5; position++) {
            add_stored(ring, position);
            assert_held(ring, position - 1, position);
            assert_int_equal(ring_tail_position(ring), position - 1);
            assert_int_equal(ring_seek(ring, position - 1), position - 1);
        }
        ring_free(ring);
    }
}

static void is_bounded_by_bytes_to_the_byte(void **state)
{
    struct message *sample = make_sealed(MESSAGE_STORED, 1);
    size_t each = sample->bytes;
    struct ring *exact = ring_new(100, 3 * each, 0);
    struct ring *short_by_one = ring_new(100, 3 * each - 1, 0);

    (void)state;
    for (uint64_t position = 1; position <= 5; position++) {
        add_stored(exact, position);
        add_stored(short_by_one, position);
    }
    assert_held(exact, 2, 5);
    assert_int_equal(ring_bytes(exact), 3 * each);
    assert_held(short_by_one, 3, 5);
    assert_int_equal(ring_bytes(short_by_one), 2 * each);
    ring_free(exact);
    ring_free(short_by_one);
    message_unref(sample);
}

static void a_large_event_makes_room_for_itself(void **state)
{
    struct message *small = make_sealed(MESSAGE_STORED, 1), *large;
    struct ring *ring = ring_new(100, 4 * (size_t)small->bytes, 0);
    char *data = calloc(1, 3 * (size_t)small->bytes);

    (void)state;
    memset(data, 'x', 3 * (size_t)small->bytes - 1);
    large = make_message(.data = data);
    message_seal(large, "abcdefghijkl", 5, 1);
    for (uint64_t position = 1; position <= 4; position++)
        add_stored(ring, position);
    assert_held(ring, 0, 4);
    ring_append(ring, large);
    assert_int_equal(ring_head(ring), 5);
    assert_int_equal(ring_bytes(ring), large->bytes + (4 - ring_tail(ring)) * small->bytes);
    assert_true(ring_bytes(ring) <= 4 * (size_t)small->bytes || ring_tail(ring) == 4);
    add_stored(ring, 6);
    assert_true(ring_tail(ring) >= 4);
    ring_free(ring);
    free(data);
    message_unref(small);
    message_unref(large);
}

/* The slots double as it grows, also when the oldest is not in the first. */
static void grows_without_losing_or_mixing_events(void **state)
{
    struct ring *ring = ring_new(1000, LOTS, 0);

    (void)state;
    for (uint64_t position = 1; position <= 1000; position++) {
        assert_int_equal(add_stored(ring, position), position - 1);
        assert_held(ring, 0, position);
        assert_int_equal(ring_at(ring, 0)->position, 1);
        assert_int_equal(ring_at(ring, position / 2)->position, position / 2 + 1);
        assert_int_equal(ring_at(ring, position - 1)->position, position);
    }
    for (uint64_t position = 1001; position <= 3000; position++) {
        add_stored(ring, position);
        assert_held(ring, position - 1000, position);
        assert_int_equal(ring_at(ring, position - 1000)->position, position - 999);
        assert_int_equal(ring_at(ring, position - 1)->position, position);
    }
    ring_free(ring);
}

static void grows_with_the_oldest_in_the_middle_of_the_slots(void **state)
{
    struct message *small = make_sealed(MESSAGE_STORED, 1);
    struct ring *ring = ring_new(1000, 60 * (size_t)small->bytes, 0);
    struct ring *wide = ring_new(100, LOTS, 0);

    (void)state;
    /* 60 fit: the slots are never all used, and the oldest goes around them */
    for (uint64_t position = 1; position <= 500; position++)
        add_stored(ring, position);
    assert_held(ring, 440, 500);
    for (uint64_t sequence = 440; sequence < 500; sequence++)
        assert_int_equal(ring_at(ring, sequence)->position, sequence + 1);
    /* 100 is no power of two: the slots grow once and then the oldest goes around */
    for (uint64_t position = 1; position <= 500; position++)
        add_stored(wide, position);
    assert_held(wide, 400, 500);
    for (uint64_t sequence = 400; sequence < 500; sequence++)
        assert_int_equal(ring_at(wide, sequence)->position, sequence + 1);
    ring_free(ring);
    ring_free(wide);
    message_unref(small);
}

/* Large events first keep the ring short; then small ones let it grow from the middle. */
static void grows_after_it_has_gone_around(void **state)
{
    char data[8001];
    struct ring *ring = ring_new(1000, 40 * 8300, 0);

    (void)state;
    memset(data, 'x', sizeof(data) - 1);
    data[sizeof(data) - 1] = '\0';
    for (uint64_t position = 1; position <= 100; position++) {
        struct message *large = make_message(.data = data);

        message_seal(large, "abcdefghijkl", position, 1);
        ring_append(ring, large);
        message_unref(large);
    }
    assert_true(ring_tail(ring) % 64 != 0);
    for (uint64_t position = 101; position <= 400; position++)
        add_stored(ring, position);
    assert_true(ring_head(ring) - ring_tail(ring) > 64);
    for (uint64_t sequence = ring_tail(ring); sequence < ring_head(ring); sequence++)
        assert_int_equal(ring_at(ring, sequence)->position, sequence + 1);
    ring_free(ring);
}

static void finds_the_first_event_beyond_a_position(void **state)
{
    /* stored 3, two ephemeral after it, stored 4, stored 9, one ephemeral after that */
    static const struct {
        enum message_kind kind;
        uint64_t position;
    } events[] = {
        {MESSAGE_EPHEMERAL, 2}, {MESSAGE_STORED, 3}, {MESSAGE_EPHEMERAL, 3}, {MESSAGE_EPHEMERAL, 3},
        {MESSAGE_STORED, 4},    {MESSAGE_STORED, 9}, {MESSAGE_EPHEMERAL, 9},
    };
    static const struct {
        uint64_t position, sequence;
    } cases[] = {{0, 0}, {1, 0}, {2, 1}, {3, 4}, {4, 5}, {5, 5}, {8, 5}, {9, 7}, {10, 7}};
    struct ring *ring = ring_new(10, LOTS, 2);

    (void)state;
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        add(ring, events[i].kind, events[i].position);
    assert_int_equal(ring_tail_position(ring), 2);
    assert_int_equal(ring_head_position(ring), 9);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(ring_seek(ring, cases[i].position), cases[i].sequence);
    ring_free(ring);
}

/* Whoever has seen up to the tail's position misses no stored event that was dropped. */
static void the_tail_position_covers_what_was_dropped(void **state)
{
    struct ring *ring = ring_new(2, LOTS, 5);

    (void)state;
    add(ring, MESSAGE_EPHEMERAL, 5);
    add_stored(ring, 6);
    assert_int_equal(ring_tail_position(ring), 5);
    add(ring, MESSAGE_EPHEMERAL, 6); /* drops the first ephemeral one */
    assert_int_equal(ring_tail_position(ring), 5);
    assert_int_equal(ring_seek(ring, 5), 1);
    add(ring, MESSAGE_EPHEMERAL, 6); /* drops 6 */
    assert_int_equal(ring_tail_position(ring), 6);
    add_stored(ring, 7);
    assert_int_equal(ring_tail_position(ring), 6);
    add_stored(ring, 8);
    assert_int_equal(ring_tail_position(ring), 6);
    add_stored(ring, 9);
    assert_int_equal(ring_tail_position(ring), 7);
    ring_free(ring);
}

static void counts_the_bytes_from_a_place_to_the_head(void **state)
{
    struct ring *ring = ring_new(3, LOTS, 0);
    uint64_t frame[5];

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        static const char *const data[] = {"", "1", "22", "333", "4444"};
        struct message *message = make_message(.data = data[i]);

        message_seal(message, "abcdefghijkl", i + 1, 1);
        frame[i] = message->frame_n;
        ring_append(ring, message);
        message_unref(message);
    }
    assert_held(ring, 2, 5);
    assert_int_equal(ring_frame_bytes_from(ring, 4), frame[4]);
    assert_int_equal(ring_frame_bytes_from(ring, 3), frame[3] + frame[4]);
    assert_int_equal(ring_frame_bytes_from(ring, 2), frame[2] + frame[3] + frame[4]);
    assert_int_equal(ring_frame_bytes_from(ring, 0), frame[2] + frame[3] + frame[4]);
    assert_int_equal(ring_frame_bytes_from(ring, 5), 0);
    assert_int_equal(ring_frame_bytes_from(ring, 6), 0);
    ring_free(ring);
}

/* Random events and bounds, with every answer worked out from a plain list. */
static void agrees_with_a_plain_list(void **state)
{
    enum { EVENTS = 700 };
    struct message *all[EVENTS];

    (void)state;
    srandom(20);
    for (int round = 0; round < 20; round++) {
        size_t events_max = (size_t)(1 + random() % 300);
        size_t bytes_max = round % 2 ? LOTS : (size_t)(1 + random() % 40000);
        struct ring *ring = ring_new(events_max, bytes_max, 0);
        uint64_t position = 0, tail = 0;
        size_t bytes = 0;

        for (uint64_t i = 0; i < EVENTS; i++) {
            bool stored = random() % 3 > 0;

            position += stored ? (uint64_t)(1 + random() % 3) : 0;
            all[i] = make_sealed(stored ? MESSAGE_STORED : MESSAGE_EPHEMERAL, position);
            ring_append(ring, all[i]);
            bytes += all[i]->bytes;
            for (; tail < i && (i + 1 - tail > events_max || bytes > bytes_max); tail++)
                bytes -= all[tail]->bytes;
            assert_held(ring, tail, i + 1);
            assert_int_equal(ring_bytes(ring), bytes);

            uint64_t after = (uint64_t)random() % (position + 2), expected = tail;
            while (expected <= i && all[expected]->position <= after)
                expected++;
            assert_int_equal(ring_seek(ring, after), expected);
            assert_int_equal(ring_tail_position(ring), tail > 0 ? all[tail - 1]->position : 0);
        }
        for (uint64_t sequence = tail; sequence < EVENTS; sequence++)
            assert_ptr_equal(ring_at(ring, sequence), all[sequence]);
        ring_free(ring);
        for (size_t i = 0; i < EVENTS; i++) {
            assert_int_equal(all[i]->refs, 1);
            message_unref(all[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_empty_at_the_place_it_is_given),
        cmocka_unit_test(counts_sequence_numbers_and_lends_what_it_holds),
        cmocka_unit_test(holds_so_many_events_and_drops_the_oldest),
        cmocka_unit_test(holds_at_least_the_newest),
        cmocka_unit_test(is_bounded_by_bytes_to_the_byte),
        cmocka_unit_test(a_large_event_makes_room_for_itself),
        cmocka_unit_test(grows_without_losing_or_mixing_events),
        cmocka_unit_test(grows_with_the_oldest_in_the_middle_of_the_slots),
        cmocka_unit_test(grows_after_it_has_gone_around),
        cmocka_unit_test(finds_the_first_event_beyond_a_position),
        cmocka_unit_test(the_tail_position_covers_what_was_dropped),
        cmocka_unit_test(counts_the_bytes_from_a_place_to_the_head),
        cmocka_unit_test(agrees_with_a_plain_list),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
