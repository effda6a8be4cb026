/* SPDX-License-Identifier: MIT */
/* Entries of the shared log: what is written comes back, and nothing else is an entry. */
#include "config.h"
#include "cluster/log_entry.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "../support/make.h"

#define EPOCH "abcdefghijkl"
#define HEAD EPOCH " 7 1234 node-1.x 3"

static const struct log_entry_head plain_head = {
    .epoch = EPOCH, .writer = "node-1.x", .first = 7, .at_ms = 1234, .seq = 3};

/* Bytes as a log would give them; `body` is the test's. */
static struct shared_log_entry entry_of(const char *head, uint64_t last, const char *body, size_t n)
{
    return (struct shared_log_entry){
        .last = last, .head = head, .head_n = strlen(head), .body = body, .body_n = n};
}

static char *body_of(struct message *const *events, size_t events_n, size_t *ret_n)
{
    char *body;

    *ret_n = log_entry_body_bytes(events, events_n);
    body = malloc(*ret_n);
    assert_non_null(body);
    log_entry_write_body(body, events, events_n);
    return body;
}

static void writes_a_head_and_reads_it(void **state)
{
    struct log_entry_head head;
    char text[LOG_ENTRY_HEAD_BYTES];

    (void)state;
    assert_int_equal(log_entry_write_head(text, &plain_head), strlen(HEAD));
    assert_string_equal(text, HEAD);
    assert_int_equal(log_entry_read_head(text, strlen(text), &head), LOG_ENTRY_FINE);
    assert_string_equal(head.epoch, EPOCH);
    assert_string_equal(head.writer, "node-1.x");
    assert_int_equal(head.first, 7);
    assert_int_equal(head.at_ms, 1234);
    assert_int_equal(head.seq, 3);
}

static void the_longest_head_has_room(void **state)
{
    struct log_entry_head head = {.epoch = EPOCH,
                                  .first = SHARED_LOG_POSITION_MAX,
                                  .at_ms = SHARED_LOG_POSITION_MAX,
                                  .seq = SHARED_LOG_POSITION_MAX},
                          back;
    char text[LOG_ENTRY_HEAD_BYTES];

    (void)state;
    memset(head.writer, 'w', sizeof(head.writer) - 1);
    size_t n = log_entry_write_head(text, &head);
    assert_true(n < sizeof(text));
    assert_int_equal(log_entry_read_head(text, n, &back), LOG_ENTRY_FINE);
    assert_string_equal(back.writer, head.writer);
    assert_int_equal(back.seq, SHARED_LOG_POSITION_MAX);
}

static void refuses_heads_that_nobody_writes(void **state)
{
    const char *const heads[] = {
        "",
        EPOCH,
        EPOCH " 7 1234 w",
        EPOCH " 7 1234 w ",
        EPOCH " 7 1234 w 3 ",
        EPOCH " 7 1234 w 3 4",
        EPOCH " 7 1234  3",
        EPOCH "  7 1234 w 3",
        " " EPOCH " 7 1234 w 3",
        EPOCH " 0 1234 w 3",
        EPOCH " 07 1234 w 3",
        EPOCH " 7 1234 w 0",
        EPOCH " +7 1234 w 3",
        EPOCH " 7 -1234 w 3",
        EPOCH " 7\t1234 w 3",
        EPOCH " 7 1234 w* 3",
        EPOCH " 9007199254740992 1234 w 3",
        EPOCH " 99999999999999999999 1234 w 3",
        EPOCH " 999999999999999999999 1234 w 3",
        "abcdefghijk 7 1234 w 3",
        "abcdefghijklm 7 1234 w 3",
        "Abcdefghijkl 7 1234 w 3",
    };
    struct log_entry_head head;

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        assert_int_equal(log_entry_read_head(heads[i], strlen(heads[i]), &head), LOG_ENTRY_DAMAGED);
}

static void events_come_back_sealed(void **state)
{
    struct message *events[] = {make_message(.topics = "a b", .data = "one\ntwo", .ttl_ms = 50),
                                make_message(.users = "ada", .key = "k", .is_json = true)};
    size_t n;
    char *body = body_of(events, 2, &n);
    struct shared_log_entry from = entry_of(HEAD, 8, body, n);
    struct log_entry entry;

    (void)state;
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_FINE);
    assert_int_equal(entry.events_n, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct message *back = entry.events[i];

        message_seal(events[i], EPOCH, 7 + i, 1234);
        assert_int_equal(back->position, 7 + i);
        assert_int_equal(back->published_ms, 1234);
        assert_int_equal(back->ttl_ms, events[i]->ttl_ms);
        assert_int_equal(back->is_json, events[i]->is_json);
        assert_int_equal(back->frame_n, events[i]->frame_n);
        assert_memory_equal(back->frame, events[i]->frame, back->frame_n);
        assert_int_equal(back->key_n, events[i]->key_n);
        message_unref(events[i]);
    }
    assert_memory_equal(message_key(entry.events[1]), "k", 1);
    log_entry_clear(&entry);
    free(body);
}

static void ephemeral_events_take_no_position(void **state)
{
    static const uint8_t kinds[] = {MESSAGE_EPHEMERAL, MESSAGE_STORED, MESSAGE_EPHEMERAL,
                                    MESSAGE_EPHEMERAL, MESSAGE_STORED, MESSAGE_EPHEMERAL};
    static const uint64_t positions[] = {6, 7, 7, 7, 8, 8};
    struct message *events[6];
    size_t n;

    (void)state;
    for (size_t i = 0; i < 6; i++)
        events[i] = make_message(.topics = "a", .kind = kinds[i], .data = "plain");
    char *body = body_of(events, 6, &n);
    struct shared_log_entry from = entry_of(HEAD, 8, body, n);
    struct log_entry entry;
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_FINE);
    assert_int_equal(entry.events_n, 6);
    assert_int_equal(entry.stored_n, 2);
    assert_null(entry.order);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(entry.events[i]->kind, kinds[i]);
        assert_int_equal(entry.events[i]->position, positions[i]);
        assert_int_equal(entry.events[i]->published_ms, 1234);
        message_unref(events[i]);
    }
    log_entry_clear(&entry);
    free(body);
}

static void an_order_comes_back(void **state)
{
    static const char order[] = "any bytes\0\xff also these";
    size_t n = log_entry_order_bytes(sizeof(order));
    char *body = malloc(n);
    struct shared_log_entry from = entry_of(HEAD, 6, body, n);
    struct log_entry entry;

    (void)state;
    log_entry_write_order(body, order, sizeof(order));
    from.sub = 1;
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_FINE);
    assert_int_equal(entry.events_n, 0);
    assert_int_equal(entry.order_n, sizeof(order));
    assert_memory_equal(entry.order, order, sizeof(order));
    assert_int_equal(entry.head.first, 7);
    log_entry_clear(&entry);
    /* its name is that of events, or of another place */
    from.sub = 0;
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_DAMAGED);
    from.sub = 1;
    from.last = 7;
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_DAMAGED);
    from.last = 5;
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_DAMAGED);
    free(body);
}

static void an_order_has_its_bounds(void **state)
{
    static char order[SHARED_LOG_ORDER_BYTES_MAX];
    size_t n = log_entry_order_bytes(sizeof(order));
    char *body = calloc(1, n + 1);
    struct shared_log_entry from = entry_of(HEAD, 6, body, n);
    struct log_entry entry;

    (void)state;
    from.sub = UINT64_MAX;
    log_entry_write_order(body, order, sizeof(order));
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_FINE);
    assert_int_equal(entry.order_n, sizeof(order));
    log_entry_clear(&entry);
    from.body_n++;
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_DAMAGED);
    from.body_n = log_entry_order_bytes(1);
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_FINE);
    log_entry_clear(&entry);
    from.body_n--;
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_DAMAGED);
    free(body);
}

static void events_have_no_name_of_an_order(void **state)
{
    struct message *event = make_message(.topics = "a");
    size_t n;
    char *body = body_of(&event, 1, &n);
    struct shared_log_entry from = entry_of(HEAD, 7, body, n);
    struct log_entry entry;

    (void)state;
    from.sub = 1;
    assert_int_equal(log_entry_read(&from, &entry), LOG_ENTRY_DAMAGED);
    message_unref(event);
    free(body);
}

static enum log_entry_result result_of(const char *head, uint64_t last, const char *body, size_t n)
{
    struct shared_log_entry from = entry_of(head, last, body, n);
    struct log_entry entry;
    enum log_entry_result result = log_entry_read(&from, &entry);

    if (result == LOG_ENTRY_FINE)
        log_entry_clear(&entry);
    return result;
}

static void refuses_an_entry_that_is_not_whole(void **state)
{
    struct message *events[] = {make_message(.topics = "a"), make_message(.users = "ada")};
    size_t n;
    char *body = body_of(events, 2, &n), *longer = calloc(1, n + 1);

    (void)state;
    memcpy(longer, body, n);
    assert_int_equal(result_of(HEAD, 8, body, n), LOG_ENTRY_FINE);
    assert_int_equal(result_of(HEAD, 7, body, n), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_of(HEAD, 9, body, n), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_of(EPOCH " 7 1234 w", 8, body, n), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_of(HEAD, 8, longer, n + 1), LOG_ENTRY_DAMAGED);
    for (size_t i = 0; i < n; i++) {
        char *part = malloc(i > 0 ? i : 1); /* exact, for the sanitizer */

        memcpy(part, body, i);
        assert_int_equal(result_of(HEAD, 8, part, i), LOG_ENTRY_DAMAGED);
        free(part);
    }
    free(longer);
    free(body);
    message_unref(events[0]);
    message_unref(events[1]);
}

static void tells_a_later_format_from_damage(void **state)
{
    const uint32_t later[] = {LOG_ENTRY_FORMAT + 1, 1, 0};

    (void)state;
    assert_int_equal(result_of(HEAD, 7, (const char *)later, sizeof(later)),
                     LOG_ENTRY_FORMAT_UNKNOWN);
    assert_int_equal(result_of(HEAD, 7, (const char *)later, 3), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_of(HEAD " ", 7, (const char *)later, sizeof(later)), LOG_ENTRY_DAMAGED);
}

static void refuses_claims_without_bytes(void **state)
{
    const uint32_t many[] = {LOG_ENTRY_FORMAT, 0x3fffffff, 0}, none[] = {LOG_ENTRY_FORMAT, 0},
                   large[] = {LOG_ENTRY_FORMAT, 1, UINT32_MAX};

    (void)state;
    assert_int_equal(result_of(HEAD, 0x3fffffff + 6, (const char *)many, sizeof(many)),
                     LOG_ENTRY_DAMAGED);
    assert_int_equal(result_of(HEAD, 6, (const char *)none, sizeof(none)), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_of(HEAD, 7, (const char *)large, sizeof(large)), LOG_ENTRY_DAMAGED);
}

/* One event, with some bytes of its frame changed. */
static enum log_entry_result result_with(const char *from, const char *to)
{
    struct message *event = make_message(.topics = "a", .data = "data");
    size_t n;
    char *body = body_of(&event, 1, &n), *at;
    enum log_entry_result result;

    at = memmem(body, n, from, strlen(from));
    assert_non_null(at);
    memcpy(at, to, strlen(to));
    result = result_of(HEAD, 7, body, n);
    message_unref(event);
    free(body);
    return result;
}

static void refuses_frames_that_nobody_wrote(void **state)
{
    (void)state;
    assert_int_equal(result_with("data: data", "data: other"), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_with("data: data", "data: atad"), LOG_ENTRY_FINE);
    assert_int_equal(result_with("data: data", "dada: data"), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_with("data: data\n", "data: data "), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_with("data: data\nid: ", "data: dat\nid:  "), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_with("id: 0", "id: 1"), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_with("id: 00", "id: 0\n"), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_with("id: ", "ip: "), LOG_ENTRY_DAMAGED);
    assert_int_equal(result_with("0\n\n", "00\n"), LOG_ENTRY_DAMAGED);
}

static void refuses_events_with_a_place_of_their_own(void **state)
{
    struct message *sealed = make_sealed(MESSAGE_STORED, 7);
    struct message *ephemeral = make_message(.kind = MESSAGE_EPHEMERAL);
    struct message *const events[] = {sealed, ephemeral};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint32_t image_n = (uint32_t)message_image_bytes(events[i]);
        const uint32_t numbers[] = {LOG_ENTRY_FORMAT, 1, image_n};
        char *body = malloc(sizeof(numbers) + image_n);

        memcpy(body, numbers, sizeof(numbers));
        message_write_image(body + sizeof(numbers), events[i]);
        assert_int_equal(result_of(HEAD, 7, body, sizeof(numbers) + image_n), LOG_ENTRY_DAMAGED);
        free(body);
        message_unref(events[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_a_head_and_reads_it),
        cmocka_unit_test(the_longest_head_has_room),
        cmocka_unit_test(refuses_heads_that_nobody_writes),
        cmocka_unit_test(events_come_back_sealed),
        cmocka_unit_test(ephemeral_events_take_no_position),
        cmocka_unit_test(an_order_comes_back),
        cmocka_unit_test(an_order_has_its_bounds),
        cmocka_unit_test(events_have_no_name_of_an_order),
        cmocka_unit_test(refuses_an_entry_that_is_not_whole),
        cmocka_unit_test(tells_a_later_format_from_damage),
        cmocka_unit_test(refuses_claims_without_bytes),
        cmocka_unit_test(refuses_frames_that_nobody_wrote),
        cmocka_unit_test(refuses_events_with_a_place_of_their_own),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
