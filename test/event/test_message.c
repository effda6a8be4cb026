/* SPDX-License-Identifier: MIT */
/* What an event holds, how it is sealed, and who keeps it alive. */
#include "event/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "base/hash.h"

#define EPOCH "abcdefghijkl"
#define ID_UNSEALED "00000000000000000000000000000"

static void assert_frame(const struct message *message, const char *frame)
{
    assert_int_equal(message->frame_n, strlen(frame));
    assert_memory_equal(message->frame, frame, strlen(frame));
}

static void assert_name(const struct message_name *name, const char *text)
{
    assert_int_equal(name->bytes_n, strlen(text));
    assert_memory_equal(name->bytes, text, strlen(text));
    assert_true(name->hash == hash_bytes(text, strlen(text)));
}

static void holds_copies_of_all_it_was_given(void **state)
{
    char topic[] = "orders/1", user[] = "ada", data[] = "one\ntwo", name[] = "placed";
    struct message_name topics[] = {{.bytes = topic, .bytes_n = 8}, {.bytes = "x", .bytes_n = 1}};
    struct message_name users[] = {{.bytes = user, .bytes_n = 3}};
    struct message_draft draft = {
        .fields = {.name = name, .name_n = 6, .data = data, .data_n = 7, .retry_ms = 2000},
        .topics = topics,
        .topics_n = 2,
        .users = users,
        .users_n = 1,
        .ttl_ms = 5000,
        .kind = MESSAGE_EPHEMERAL,
    };

    (void)state;
    struct message *message = message_new(&draft);
    assert_non_null(message);
    memset(topic, '-', sizeof(topic));
    memset(user, '-', sizeof(user));
    memset(data, '-', sizeof(data));
    memset(name, '-', sizeof(name));
    assert_int_equal(message->topics_n, 2);
    assert_int_equal(message->users_n, 1);
    assert_name(&message_topics(message)[0], "orders/1");
    assert_name(&message_topics(message)[1], "x");
    assert_name(&message_users(message)[0], "ada");
    assert_int_equal(message->ttl_ms, 5000);
    assert_int_equal(message->kind, MESSAGE_EPHEMERAL);
    assert_frame(message, "retry: 2000\nevent: placed\ndata: one\ndata: two\n\n");
    message_unref(message);
}

static void says_what_it_costs(void **state)
{
    struct message *small = make_message(.data = "");
    struct message *large = make_message(.topics = "four fife", .users = "u", .data = "12345");

    (void)state;
    assert_int_equal(small->bytes, sizeof(struct message) + small->frame_n);
    assert_int_equal(large->bytes - small->bytes, 3 * sizeof(struct message_name) + 4 + 4 + 1 + 5);
    message_unref(small);
    message_unref(large);
}

static void seals_its_place_into_the_frame(void **state)
{
    struct message *message = make_message(.data = "x");

    (void)state;
    assert_int_not_equal(message->id_offset, UINT32_MAX);
    message_seal(message, EPOCH, 4711, 123456);
    assert_int_equal(message->position, 4711);
    assert_int_equal(message->published_ms, 123456);
    assert_frame(message, "data: x\nid: " EPOCH "-0000000000004711\n\n");
    assert_memory_equal(message->frame + message->id_offset, EPOCH "-0000000000004711",
                        SSE_ID_BYTES);
    message_unref(message);
}

static void writes_the_longest_position(void **state)
{
    struct message *message = make_message(.data = "x");

    (void)state;
    message_seal(message, EPOCH, SSE_POSITION_MAX, 1);
    assert_frame(message, "data: x\nid: " EPOCH "-9999999999999999\n\n");
    message_unref(message);
}

static void gives_no_id_to_an_ephemeral_event(void **state)
{
    struct message *message = make_message(.data = "x", .kind = MESSAGE_EPHEMERAL);

    (void)state;
    assert_int_equal(message->id_offset, UINT32_MAX);
    message_seal(message, EPOCH, 7, 99);
    assert_int_equal(message->position, 7);
    assert_int_equal(message->published_ms, 99);
    assert_frame(message, "data: x\n\n");
    message_unref(message);
}

static void asks_for_an_id_whatever_the_draft_says(void **state)
{
    struct message_draft draft = {
        .fields = {.data = "x", .data_n = 1, .with_id = true},
        .kind = MESSAGE_EPHEMERAL,
    };
    struct message *message = message_new(&draft);

    (void)state;
    assert_frame(message, "data: x\n\n");
    message_unref(message);
    draft.fields.with_id = false;
    draft.kind = MESSAGE_STORED;
    message = message_new(&draft);
    assert_int_equal(message->frame_n, strlen("data: x\nid: \n\n") + SSE_ID_BYTES);
    message_unref(message);
}

static void carries_finished_bytes(void **state)
{
    char frame[] = ": hello\n";
    struct message *message = message_new_control(frame, 8);

    (void)state;
    frame[2] = 'X';
    assert_int_equal(message->kind, MESSAGE_CONTROL);
    assert_frame(message, ": hello\n");
    assert_int_equal(message->id_offset, UINT32_MAX);
    assert_int_equal(message->topics_n + message->users_n, 0);
    assert_int_equal(message->bytes, sizeof(struct message) + 8);
    message_unref(message);
}

static void lives_as_long_as_somebody_holds_it(void **state)
{
    struct message *message = make_message(.data = "x");

    (void)state;
    assert_ptr_equal(message_ref(message), message);
    message_ref(message);
    assert_int_equal(message->refs, 3);
    message_unref(message);
    message_unref(message);
    assert_int_equal(message->refs, 1);
    assert_frame(message, "data: x\nid: " ID_UNSEALED "\n\n");
    message_unref(message);
    message_unref(NULL);
}

static void expires_when_its_time_has_passed(void **state)
{
    static const struct {
        int64_t ttl_ms, published_ms, now_ms;
        bool expired;
    } cases[] = {
        {0, 1000, INT64_MAX, false}, {1, 1000, 1000, false},  {1, 1000, 1001, true},
        {500, 1000, 1499, false},    {500, 1000, 1500, true}, {500, 1000, 1501, true},
        {500, 1000, 900, false}, /* the clock was set back */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct message *message = make_message(.ttl_ms = cases[i].ttl_ms);

        message_seal(message, EPOCH, 1, cases[i].published_ms);
        assert_int_equal(message_expired(message, cases[i].now_ms), cases[i].expired);
        message_unref(message);
    }
}

/* What a store gives back is, byte for byte, what was live. */
static void comes_back_from_what_a_store_keeps(void **state)
{
    static const char *const data[] = {"", "x", "a\nb\n", "id: 1", "\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
        struct message *live = make_message(.topics = "a b/c", .users = "ada", .data = data[i],
                                            .ttl_ms = 9, .is_json = i % 2 == 1);
        size_t body_n = message_body_bytes(live);
        char *body = malloc(body_n + 1);

        memcpy(body, live->frame, body_n); /* as it is before it has an id */
        message_seal(live, EPOCH, 9876543210 + i, 77);
        assert_int_equal(message_body_bytes(live), body_n);
        struct message_record record = {
            .body = body,
            .body_n = body_n,
            .topics = message_topics(live),
            .topics_n = 2,
            .users = message_users(live),
            .users_n = 1,
            .position = live->position,
            .published_ms = live->published_ms,
            .ttl_ms = live->ttl_ms,
            .is_json = live->is_json,
        };
        struct message *again = message_restore(&record, EPOCH);
        free(body);
        assert_int_equal(again->refs, 1);
        assert_int_equal(again->kind, MESSAGE_STORED);
        assert_int_equal(again->position, live->position);
        assert_int_equal(again->published_ms, 77);
        assert_int_equal(again->ttl_ms, 9);
        assert_int_equal(again->is_json, i % 2 == 1);
        assert_int_equal(again->id_offset, live->id_offset);
        assert_int_equal(again->bytes, live->bytes);
        assert_int_equal(again->frame_n, live->frame_n);
        assert_memory_equal(again->frame, live->frame, live->frame_n);
        assert_int_equal(again->topics_n, 2);
        assert_int_equal(again->users_n, 1);
        assert_name(&message_topics(again)[1], "b/c");
        message_unref(live);
        assert_name(&message_users(again)[0], "ada"); /* a copy */
        message_unref(again);
    }
}

/* What comes of an image, or NULL; from a copy of just its size, so that a byte too many is found.
 */
static struct message *read_image_of(const struct message *message, size_t image_n)
{
    size_t whole_n = message_image_bytes(message);
    char *whole = malloc(whole_n), *image = malloc(image_n + 1);

    message_write_image(whole, message);
    memcpy(image, whole, image_n < whole_n ? image_n : whole_n);
    image[image_n] = '\0';
    char *tight = malloc(image_n > 0 ? image_n : 1);
    memcpy(tight, image, image_n);
    struct message *again = message_read_image(tight, image_n);
    free(whole);
    free(image);
    free(tight);
    return again;
}

static void comes_back_from_its_image(void **state)
{
    struct message *messages[] = {
        make_message(.topics = "a b/c", .users = "ada bob", .ttl_ms = 9, .key = "once"),
        make_message(.topics = "a", .kind = MESSAGE_EPHEMERAL),
        make_message(.data = "1", .is_json = true, .key = "once"),
        make_message(.data = "1", .is_json = true, .kind = MESSAGE_EPHEMERAL),
        make_sealed(MESSAGE_STORED, 42),
        make_sealed(MESSAGE_EPHEMERAL, 42),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct message *live = messages[i];
        size_t image_n = message_image_bytes(live);
        struct message *again = read_image_of(live, image_n);

        assert_non_null(again);
        assert_int_equal(again->refs, 1);
        assert_int_equal(again->kind, live->kind);
        assert_int_equal(again->is_json, live->is_json);
        assert_int_equal(again->position, live->position);
        assert_int_equal(again->published_ms, live->published_ms);
        assert_int_equal(again->ttl_ms, live->ttl_ms);
        assert_int_equal(again->id_offset, live->id_offset);
        assert_int_equal(again->bytes, live->bytes);
        assert_int_equal(again->frame_n, live->frame_n);
        assert_memory_equal(again->frame, live->frame, live->frame_n);
        assert_int_equal(again->topics_n, live->topics_n);
        assert_int_equal(again->users_n, live->users_n);
        for (size_t j = 0; j < (size_t)live->topics_n + live->users_n; j++) {
            assert_int_equal(again->names[j].hash, live->names[j].hash);
            assert_int_equal(again->names[j].bytes_n, live->names[j].bytes_n);
            assert_memory_equal(again->names[j].bytes, live->names[j].bytes,
                                live->names[j].bytes_n);
        }
        assert_int_equal(again->key_n, live->key_n);
        if (live->key_n > 0)
            assert_memory_equal(message_digest(again), message_digest(live),
                                MESSAGE_DIGEST_BYTES + live->key_n);
        message_unref(again);
        for (size_t n = 0; n <= image_n + 1; n++)
            if (n != image_n)
                assert_null(read_image_of(live, n));
        message_unref(live);
    }
}

/* The image of a version that did not know what the data is: the byte that says it was a hole. */
static struct message *read_old_image_of(const struct message *message)
{
    size_t image_n = message_image_bytes(message);
    char *image = malloc(image_n);

    message_write_image(image, message);
    image[1] = 0;
    struct message *again = message_read_image(image, image_n);
    free(image);
    assert_non_null(again);
    return again;
}

static bool have_same_digest(const struct message *one, const struct message *other)
{
    bool same = message_has_digest(one, message_digest(other), MESSAGE_DIGEST_BYTES);

    assert_int_equal(message_has_digest(other, message_digest(one), MESSAGE_DIGEST_BYTES), same);
    return same;
}

static void tells_json_from_text_of_the_same_bytes(void **state)
{
    struct message *text = make_message(.data = "1", .key = "k");
    struct message *json = make_message(.data = "1", .key = "k", .is_json = true);
    struct message *other = make_message(.data = "2", .key = "k", .is_json = true);
    struct message *again = make_message(.data = "1", .key = "l", .is_json = true);
    struct message *old = read_old_image_of(json);

    (void)state;
    assert_true(json->is_json);
    assert_false(text->is_json);
    assert_true(have_same_digest(json, again));
    assert_false(have_same_digest(json, text));
    assert_false(have_same_digest(json, other));
    assert_true(message_has_digest(json, message_digest(text), MESSAGE_DIGEST_BYTES_MIN));
    assert_false(message_has_digest(json, message_digest(text), MESSAGE_DIGEST_BYTES_MIN - 1));
    assert_false(message_has_digest(json, message_digest(json), MESSAGE_DIGEST_BYTES + 1));
    /* it may have been either */
    assert_false(old->is_json);
    assert_memory_equal(message_key(old), "k", 1);
    assert_true(have_same_digest(old, text));
    assert_true(have_same_digest(old, json));
    assert_false(have_same_digest(old, other));
    struct message *const all[] = {text, json, other, again, old};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        message_unref(all[i]);
}

/* Its id has its place within the frame. */
static void message_seal_or_skip(struct message *message)
{
    if (message->published_ms == 0)
        message_seal(message, EPOCH, 1, 1);
}

/* Any one byte changed gives an event that is whole, or none. */
static void bears_images_that_are_none(void **state)
{
    struct message *live = make_message(.topics = "a b", .users = "ada", .key = "once");
    size_t image_n = message_image_bytes(live);
    char *image = malloc(image_n);

    (void)state;
    for (size_t at = 0; at < image_n; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            message_write_image(image, live);
            image[at] = (char)(image[at] ^ (1 << bit));
            struct message *again = message_read_image(image, image_n);
            if (again != NULL && again->id_offset != UINT32_MAX)
                message_seal_or_skip(again);
            message_unref(again);
        }
    free(image);
    message_unref(live);
}

/* Whoever handles names counts on their being what a publisher may give. */
static void refuses_images_with_names_of_nobody(void **state)
{
    static char slashes[40], many[300];
    const char *const names[] = {slashes, many, "a/*"};

    (void)state;
    memset(slashes, '/', sizeof(slashes) - 1);
    memset(many, 'x', sizeof(many) - 1);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct message *live = make_message(.topics = names[i], .data = "d");
        size_t image_n = message_image_bytes(live);
        char *image = malloc(image_n);

        message_write_image(image, live);
        assert_null(message_read_image(image, image_n));
        free(image);
        message_unref(live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_copies_of_all_it_was_given),
        cmocka_unit_test(says_what_it_costs),
        cmocka_unit_test(seals_its_place_into_the_frame),
        cmocka_unit_test(writes_the_longest_position),
        cmocka_unit_test(gives_no_id_to_an_ephemeral_event),
        cmocka_unit_test(asks_for_an_id_whatever_the_draft_says),
        cmocka_unit_test(carries_finished_bytes),
        cmocka_unit_test(lives_as_long_as_somebody_holds_it),
        cmocka_unit_test(expires_when_its_time_has_passed),
        cmocka_unit_test(comes_back_from_what_a_store_keeps),
        cmocka_unit_test(comes_back_from_its_image),
        cmocka_unit_test(tells_json_from_text_of_the_same_bytes),
        cmocka_unit_test(bears_images_that_are_none),
        cmocka_unit_test(refuses_images_with_names_of_nobody),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
