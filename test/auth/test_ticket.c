/* SPDX-License-Identifier: MIT */
/* Sealed tickets: opened as they were made, and no other way. */
#include "config.h"
#include "auth/ticket.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const unsigned char key[TICKET_KEY_BYTES] = {1, 2, 3}, other_key[TICKET_KEY_BYTES] = {1, 2};

static struct ticket some_ticket(const struct grants_pattern *topics, size_t topics_n)
{
    return (struct ticket){
        .id = {7, 8, 9},
        .made_ms = 1000,
        .first_until_ms = 2000,
        .until_ms = 3000,
        .position = 42,
        .key_fingerprint = {5, 6},
        .claims = {.is_set = true, .audience = {1}, .issuer = {2}},
        .public_topics = 2,
        .user = {"anna", 4},
        .topics = {topics, topics_n},
    };
}

static void opens_what_was_sealed(void **state)
{
    static const struct grants_pattern topics[] = {{"orders/*", 8}, {"news", 4}};
    struct ticket ticket = some_ticket(topics, 2), back;
    char text[TICKET_TEXT_ROOM];
    struct ticket_room room;

    (void)state;
    size_t text_n = (size_t)ticket_seal(text, &ticket, key);
    assert_int_equal(text_n, strlen(text));
    assert_true(text_n < 250);
    assert_null(memmem(text, text_n, "anna", 4));
    assert_int_equal(ticket_open(text, text_n, key, &room, &back), 0);
    assert_memory_equal(back.id, ticket.id, TICKET_ID_BYTES);
    assert_memory_equal(back.key_fingerprint, ticket.key_fingerprint, IDENTITY_FINGERPRINT_BYTES);
    assert_memory_equal(&back.claims, &ticket.claims, sizeof(ticket.claims));
    assert_int_equal(back.public_topics, 2);
    assert_int_equal(back.made_ms, 1000);
    assert_int_equal(back.first_until_ms, 2000);
    assert_int_equal(back.until_ms, 3000);
    assert_int_equal(back.position, 42);
    assert_int_equal(back.user.bytes_n, 4);
    assert_memory_equal(back.user.bytes, "anna", 4);
    assert_int_equal(back.topics.patterns_n, 2);
    assert_memory_equal(back.topics.patterns[1].bytes, "news", 4);
    assert_int_equal(ticket_open(text, text_n, other_key, &room, &back), -EBADMSG);
}

static void seals_nobody_and_nothing(void **state)
{
    struct ticket ticket = some_ticket(NULL, 0), back;
    char text[TICKET_TEXT_ROOM], again[TICKET_TEXT_ROOM];
    struct ticket_room room;

    (void)state;
    ticket.user = (struct grants_pattern){NULL, 0};
    size_t text_n = (size_t)ticket_seal(text, &ticket, key);
    assert_int_equal(ticket_open(text, text_n, key, &room, &back), 0);
    assert_null(back.user.bytes);
    assert_int_equal(back.topics.patterns_n, 0);
    ticket_seal(again, &ticket, key);
    assert_string_not_equal(text, again);
}

static void seals_the_largest(void **state)
{
    static char name[TICKET_NAMES_BYTES_MAX];
    struct grants_pattern topics[TICKET_TOPICS_MAX];
    struct ticket ticket = some_ticket(topics, TICKET_TOPICS_MAX), back;
    char text[TICKET_TEXT_ROOM];
    struct ticket_room room;

    (void)state;
    memset(name, 'x', sizeof(name));
    ticket.user = (struct grants_pattern){name, 64};
    for (size_t i = 0; i < TICKET_TOPICS_MAX; i++)
        topics[i] = (struct grants_pattern){name, 60};
    size_t text_n = (size_t)ticket_seal(text, &ticket, key);
    assert_true(text_n < TICKET_TEXT_ROOM);
    assert_int_equal(ticket_open(text, text_n, key, &room, &back), 0);
    assert_int_equal(back.topics.patterns[15].bytes_n, 60);
}

/* One byte more than there is room for is not written, wherever it is. */
static void seals_no_more_than_that(void **state)
{
    static char name[TICKET_NAMES_BYTES_MAX];
    struct grants_pattern topics[TICKET_TOPICS_MAX + 1];
    struct ticket ticket = some_ticket(topics, TICKET_TOPICS_MAX);
    char text[TICKET_TEXT_ROOM];

    (void)state;
    memset(name, 'x', sizeof(name));
    for (size_t i = 0; i <= TICKET_TOPICS_MAX; i++)
        topics[i] = (struct grants_pattern){name, 64};
    ticket.user = (struct grants_pattern){NULL, 0};
    assert_int_not_equal(ticket_seal(text, &ticket, key), 0);
    for (size_t user_n = 1; user_n <= 256; user_n += 51) {
        ticket.user = (struct grants_pattern){name, user_n};
        assert_int_equal(ticket_seal(text, &ticket, key), 0);
    }
    ticket.topics.patterns_n = 1;
    topics[0].bytes_n = 65535;
    assert_int_equal(ticket_seal(text, &ticket, key), 0);
    topics[0].bytes_n = 1;
    ticket.topics.patterns_n = TICKET_TOPICS_MAX + 1;
    assert_int_equal(ticket_seal(text, &ticket, key), 0);
}

static void refuses_every_change(void **state)
{
    static const struct grants_pattern topics[] = {{"a", 1}};
    struct ticket ticket = some_ticket(topics, 1), back;
    char text[TICKET_TEXT_ROOM], changed[TICKET_TEXT_ROOM + 4];
    struct ticket_room room;

    (void)state;
    size_t text_n = (size_t)ticket_seal(text, &ticket, key);
    for (size_t i = 0; i < text_n; i++) {
        strcpy(changed, text);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        assert_int_equal(ticket_open(changed, text_n, key, &room, &back), -EBADMSG);
        assert_int_equal(ticket_open(text, i, key, &room, &back), -EBADMSG);
    }
    strcpy(changed, text);
    strcat(changed, "AAAA");
    assert_int_equal(ticket_open(changed, text_n + 4, key, &room, &back), -EBADMSG);
    memset(changed, 'A', sizeof(changed));
    assert_int_equal(ticket_open(changed, sizeof(changed), key, &room, &back), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_was_sealed), cmocka_unit_test(seals_nobody_and_nothing),
        cmocka_unit_test(seals_the_largest),     cmocka_unit_test(seals_no_more_than_that),
        cmocka_unit_test(refuses_every_change),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
