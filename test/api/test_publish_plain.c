/* SPDX-License-Identifier: MIT */
/* Whatever is read without the JSON library is what it would have been with it. */
#include "config.h"
#include "api/publish_plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define ROUNDS 200000

static const struct publish_limits limits = {60, 8, NULL, 0, NULL};

static void assert_same_names(const struct message *one, const struct message *other)
{
    assert_int_equal(one->topics_n, other->topics_n);
    assert_int_equal(one->users_n, other->users_n);
    for (size_t i = 0; i < (size_t)one->topics_n + one->users_n; i++) {
        assert_int_equal(one->names[i].bytes_n, other->names[i].bytes_n);
        assert_int_equal(one->names[i].hash, other->names[i].hash);
        assert_memory_equal(one->names[i].bytes, other->names[i].bytes, one->names[i].bytes_n);
    }
}

static void assert_same_message(const struct message *one, const struct message *other)
{
    assert_int_equal(one->kind, other->kind);
    assert_int_equal(one->is_json, other->is_json);
    assert_int_equal(one->bytes, other->bytes);
    assert_int_equal(one->ttl_ms, other->ttl_ms);
    assert_int_equal(one->id_offset, other->id_offset);
    assert_int_equal(one->frame_n, other->frame_n);
    assert_memory_equal(one->frame, other->frame, one->frame_n);
    assert_int_equal(one->key_n, other->key_n);
    if (one->key_n > 0)
        assert_memory_equal(message_digest(one), message_digest(other),
                            MESSAGE_DIGEST_BYTES + one->key_n);
    assert_same_names(one, other);
}

/* Read it both ways, a copy without a byte behind it.  Returns whether it was plain. */
static bool compare(const char *json, size_t json_n, const struct publish_limits *use)
{
    struct publish_body plain, body;
    struct problem problem;
    char *copy = malloc(json_n > 0 ? json_n : 1);

    memcpy(copy, json, json_n);
    bool taken = publish_plain(copy, json_n, use, &plain);
    if (taken) {
        if (!publish_body_json(copy, json_n, use, &body, &problem))
            fail_msg("%.*s: %u %s %s", (int)json_n, json, problem.status, problem.code,
                     problem.detail);
        assert_int_equal(plain.messages_n, body.messages_n);
        assert_int_equal(plain.bytes, body.bytes);
        assert_int_equal(plain.has_keys, body.has_keys);
        assert_int_equal(plain.is_array, body.is_array);
        memset(copy, '#', json_n);
        for (size_t i = 0; i < plain.messages_n; i++)
            assert_same_message(plain.messages[i], body.messages[i]);
        publish_body_free(&plain);
        publish_body_free(&body);
    }
    free(copy);
    return taken;
}

static const char *const good[] = {
    "{\"data\":\"x\"}",
    "{\"topic\":\"orders/42\",\"data\":\"hello\"}",
    " { \"topics\" : \"a\" , \"data\" : \"\" } \n",
    "{\"users\":\"u\",\"data\":12,\"event\":\"paid\",\"ttl\":60,\"retry\":5000}",
    "{\"user\":42,\"data\":true,\"ephemeral\":true}",
    "{\"idempotency_key\":\"k-1\",\"data\":\"x\",\"ephemeral\":false}",
    "{\"data\":\"caf\xc3\xa9\",\"topic\":\"\xe2\x82\xac\",\"event\":\"message\"}",
    "{\"retry\":0,\"data\":false,\"user\":\"u\",\"topic\":\"t\",\"event\":\"e\",\"ttl\":1}",
    "{\"data\":0,\"user\":\"u\",\"idempotency_key\":\"k\",\"ephemeral\":false}",
    "{\"data\":\"12345678901234567890123456789012345678901234567890123456789\"}",
    "[{\"data\":\"x\"}]",
    " [ {\"data\":\"x\",\"topic\":\"a\"} ,\n{\"data\":\"y\",\"user\":7},{\"data\":\"z\"} ]\n",
    "[{\"data\":\"x\",\"idempotency_key\":\"k\"},{\"data\":\"y\",\"idempotency_key\":\"l\"}]",
};

/* Good or not: the library says so. */
static const char *const others[] = {
    "{\"topic\":\"t\"}",
    "{\"data\":null}",
    "{\"data\":\"a\\nb\"}",
    "{\"data\":[1]}",
    "{\"data\":1.10}",
    "{\"data\":\"x\",\"topic\":[\"a\",\"b\"]}",
    "{\"data\":\"x\",\"topic\":\"\"}",
    "{\"data\":\"x\",\"topic\":\"a/*\"}",
    "{\"data\":\"x\",\"topic\":1}",
    "{\"data\":\"x\",\"topic\":\"a\",\"topics\":\"b\"}",
    "{\"data\":\"x\",\"topic\":\"a\",\"topics\":\"a\"}",
    "{\"data\":\"x\",\"user\":\"a\",\"users\":\"b\"}",
    "{\"data\":\"x\",\"user\":true}",
    "{\"data\":\"x\",\"user\":\"\"}",
    "{\"data\":\"x\",\"tpoic\":\"a\"}",
    "{\"data\":\"x\",\"Topic\":\"a\"}",
    "{\"data\":\"x\",\"\":\"a\"}",
    "{\"data\":\"x\",\"event\":\"reset\"}",
    "{\"data\":\"x\",\"event\":\"\"}",
    "{\"data\":\"x\",\"event\":1}",
    "{\"data\":\"x\",\"ttl\":0}",
    "{\"data\":\"x\",\"ttl\":\"1\"}",
    "{\"data\":\"x\",\"ttl\":999999999999999}",
    "{\"data\":\"x\",\"retry\":\"1\"}",
    "{\"data\":\"x\",\"retry\":true}",
    "{\"data\":\"x\",\"ephemeral\":\"true\"}",
    "{\"data\":\"x\",\"ephemeral\":1}",
    "{\"data\":\"x\",\"idempotency_key\":\"\"}",
    "{\"data\":\"x\",\"idempotency_key\":1}",
    "{\"data\":\"x\",\"idempotency_key\":\"k\",\"ephemeral\":true}",
    "{\"data\":\"x\",\"data\":\"y\"}",
    "[]",
    "[{\"data\":\"x\"}",
    "[{\"data\":\"x\"}]]",
    "[{\"data\":\"x\"},]",
    "[{\"data\":\"x\"} {\"data\":\"x\"}]",
    "[[{\"data\":\"x\"}]]",
    "[{\"data\":\"x\"},1]",
    "[{\"data\":\"x\"},{}]",
    "[{\"data\":\"x\"},{\"data\":\"x\",\"topic\":\"\"}]",
    "[{\"data\":\"x\",\"idempotency_key\":\"k\"},{\"data\":\"y\",\"idempotency_key\":\"k\"}]",
    "[{\"data\":\"x\"}]{\"data\":\"x\"}",
    "{\"data\":\"1234567890123456789012345678901234567890123456789012345678901\"}",
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(good); i++)
        if (!compare(good[i], strlen(good[i]), &limits))
            fail_msg("not taken: %s", good[i]);
}

static void test_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(others); i++)
        if (compare(others[i], strlen(others[i]), &limits))
            fail_msg("taken: %s", others[i]);
}

static void test_keys_of_headers_and_scopes(void **state)
{
    static const unsigned char scope[PUBLISH_SCOPE_BYTES] = "somebody";
    struct publish_limits with = limits;

    (void)state;
    with.scope = scope;
    for (size_t i = 0; i < ROWS(good); i++)
        assert_true(compare(good[i], strlen(good[i]), &with));
    with.key = "of-header";
    with.key_n = 9;
    assert_true(compare(good[1], strlen(good[1]), &with));
    assert_false(compare(good[5], strlen(good[5]), &with)); /* a key of its own too */
    assert_false(compare(good[4], strlen(good[4]), &with)); /* ephemeral */
    with.key_n = 0;
    assert_false(compare(good[1], strlen(good[1]), &with));
}

/* Bodies like the good ones, with some bytes changed, put in or left out. */
static size_t disturb(char *to, const char *from, unsigned *seed)
{
    static const char bytes[] =
        "\"\"\"{}[]:,,\\ \t\n0123-.etrufalsnd/*\x7f\x01\xc3\xa9\xed\xa0\x80";
    size_t n = strlen(from);

    memcpy(to, from, n);
    for (int changes = rand_r(seed) % 3; changes >= 0 && n > 0; changes--) {
        size_t at = (size_t)rand_r(seed) % n;
        char byte = bytes[(size_t)rand_r(seed) % sizeof(bytes)];

        switch (rand_r(seed) % 3) {
        case 0:
            to[at] = byte;
            break;
        case 1:
            memmove(to + at + 1, to + at, n++ - at);
            to[at] = byte;
            break;
        case 2:
            memmove(to + at, to + at + 1, --n - at);
            break;
        }
    }
    return n;
}

static void test_disturbed(void **state)
{
    unsigned seed = 7;
    size_t taken = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        char json[256];
        const char *from = rand_r(&seed) % 4 == 0 ? others[(size_t)rand_r(&seed) % ROWS(others)]
                                                  : good[(size_t)rand_r(&seed) % ROWS(good)];
        size_t n = disturb(json, from, &seed);

        taken += compare(json, n, &limits);
    }
    assert_in_range(taken, ROUNDS / 20, ROUNDS * 3 / 4); /* else it tells little */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_keys_of_headers_and_scopes),
        cmocka_unit_test(test_disturbed),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
