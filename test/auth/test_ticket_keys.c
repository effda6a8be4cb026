/* SPDX-License-Identifier: MIT */
/* Keys of tickets: from settings, or of the gateway's own. */
#include "auth/ticket_keys.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"
#define OTHER "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8"

static const struct ticket ticket = {.id = {1}, .until_ms = 9, .user = {"anna", 4}};

static void keys_of(struct ticket_keys *keys, const char *list)
{
    struct conf *conf = conf_new();
    struct conf_error error;

    assert_int_equal(conf_set_as(conf, "test", "auth.ticket_key", list, &error), 0);
    assert_int_equal(ticket_keys_from_conf(keys, conf), 0);
    conf_unref(conf);
}

/* What a gateway with one list seals, another opens with its list. */
static int pass_on(const char *from, const char *to)
{
    struct ticket_keys sealing, opening;
    char text[TICKET_TEXT_ROOM];
    struct ticket_room room;
    struct ticket came;

    keys_of(&sealing, from);
    keys_of(&opening, to);
    ssize_t n = ticket_seal(text, &ticket, sealing.keys[0]);
    assert_true(n > 0);
    int result = ticket_keys_open(&opening, text, (size_t)n, &room, &came);
    if (result == 0)
        assert_memory_equal(came.user.bytes, "anna", 4);
    return result;
}

static void the_first_seals_and_all_open(void **state)
{
    struct ticket_keys keys;

    (void)state;
    keys_of(&keys, HEX);
    assert_int_equal(keys.n, 1);
    for (unsigned i = 0; i < TICKET_KEY_BYTES; i++)
        assert_int_equal(keys.keys[0][i], i);
    assert_int_equal(pass_on(HEX, HEX), 0);
    assert_int_equal(pass_on(HEX, HEX "," OTHER), 0);
    assert_int_equal(pass_on(HEX "," OTHER, OTHER "," HEX), 0);
    assert_int_equal(pass_on(OTHER "," HEX, HEX "," OTHER), 0);
    assert_int_equal(pass_on(OTHER "," HEX, HEX), -EBADMSG);
    assert_int_equal(pass_on(HEX, OTHER), -EBADMSG);
}

static void there_are_few(void **state)
{
    struct conf *conf = conf_new();
    struct conf_error error;
    struct ticket_keys keys;

    (void)state;
    assert_int_equal(ticket_keys_from_conf(&keys, conf), 0);
    assert_int_equal(keys.n, 0);
    assert_int_equal(
        conf_set_as(conf, "test", "auth.ticket_key", HEX "," HEX "," HEX "," HEX "," OTHER, &error),
        0);
    assert_int_equal(ticket_keys_from_conf(&keys, conf), -EINVAL);
    conf_unref(conf);
}

static void the_key_is_kept_beside_the_store(void **state)
{
    char folder[] = "/tmp/test_tickets.XXXXXX", history[64], path[64];
    unsigned char first[TICKET_KEY_BYTES], second[TICKET_KEY_BYTES];
    struct conf_error error;
    struct stat facts;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(history, sizeof(history), "%s/h.db", folder);
    snprintf(path, sizeof(path), "%s/h.db.tickets", folder);
    assert_int_equal(ticket_keys_read_own(history, first, &error), 0);
    assert_int_equal(ticket_keys_read_own(history, second, &error), 0);
    assert_memory_equal(first, second, TICKET_KEY_BYTES);
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);
    /* a bad one is replaced, and kept for whoever wants to know */
    for (int cut = 0; cut < 2; cut++) {
        assert_int_equal(truncate(path, cut), 0);
        assert_int_equal(truncate(path, cut == 0 ? 31 : TICKET_KEY_BYTES), 0);
        assert_int_equal(ticket_keys_read_own(history, second, &error), 0);
        assert_memory_not_equal(first, second, TICKET_KEY_BYTES);
        assert_int_equal(ticket_keys_read_own(history, first, &error), 0);
        assert_memory_equal(first, second, TICKET_KEY_BYTES);
    }
    unlink(path);
    /* one that cannot be read is told */
    assert_int_equal(symlink(path, path), 0);
    assert_int_not_equal(ticket_keys_read_own(history, second, &error), 0);
    assert_non_null(strstr(error.text, path));
    unlink(path);
    strcat(path, ".bad");
    unlink(path);
    rmdir(folder);
    assert_int_equal(ticket_keys_read_own(NULL, first, &error), 0);
    assert_int_equal(ticket_keys_read_own(NULL, second, &error), 0);
    assert_memory_not_equal(first, second, TICKET_KEY_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_seals_and_all_open),
        cmocka_unit_test(there_are_few),
        cmocka_unit_test(the_key_is_kept_beside_the_store),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
