/* SPDX-License-Identifier: MIT */
/* Secrets in files, keys of tickets, and a node's name. */
#include "conf/conf.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eFF"
#define BASE64URL "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8"

static char path[] = "test_conf_secret.XXXXXX";

static int make_file(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const char *bytes, size_t bytes_n)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, bytes_n, file), bytes_n);
    assert_int_equal(fclose(file), 0);
}

/* With a log, and a setting; "@" is the test's file. */
static struct conf *conf_of(const char *setting, const char *value)
{
    struct conf *conf = conf_new();
    struct conf_error error;
    char text[512];

    assert_non_null(conf);
    snprintf(text, sizeof(text), "%s=%s%s", setting, value, strcmp(value, "@") == 0 ? path : "");
    if (conf_set(conf, "cluster.log=redis://h", &error) != 0 || conf_set(conf, text, &error) != 0)
        fail_msg("%s", error.text);
    return conf;
}

static void keys_of_tickets_are_hex_or_base64url(void **state)
{
    static const char *const wrong[] = {"",
                                        "00",
                                        HEX "00",
                                        "g" HEX,
                                        BASE64URL "A",
                                        BASE64URL "=",
                                        "+AECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8",
                                        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv9"};
    unsigned char one[CONF_TICKET_KEY_BYTES], other[CONF_TICKET_KEY_BYTES];

    (void)state;
    assert_true(conf_ticket_key(HEX, one));
    assert_true(conf_ticket_key(BASE64URL, other));
    assert_memory_equal(one, other, sizeof(one));
    assert_int_equal(one[30], 30);
    assert_int_equal(one[31], 255);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        if (conf_ticket_key(wrong[i], one))
            fail_msg("%s is taken", wrong[i]);
}

static void a_file_stands_for_its_line(void **state)
{
    static const char *const lines[] = {"sesame", "sesame\n", "sesame\r\n"};
    struct conf_error error;

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        struct conf *conf = conf_of("cluster.password", "@");

        write_file(lines[i], strlen(lines[i]));
        assert_int_equal(conf_read_secrets(conf, &error), 0);
        assert_string_equal(conf->cluster.password, "sesame");
        conf_unref(conf);
    }
    struct conf *conf = conf_of("cluster.password", "open");
    assert_int_equal(conf_read_secrets(conf, &error), 0);
    assert_string_equal(conf->cluster.password, "open");
    conf_unref(conf);
    conf = conf_of("auth.ticket_key", "@");
    write_file(HEX "\n", strlen(HEX "\n"));
    assert_int_equal(conf_read_secrets(conf, &error), 0);
    assert_string_equal(conf->auth.ticket_key.items[0], HEX);
    conf_unref(conf);
}

/* Without the log nothing of it is asked for. */
static void a_file_is_left_alone_without_a_log(void **state)
{
    struct conf *conf = conf_of("cluster.password", "@");
    struct conf_error error;

    (void)state;
    write_file("", 0);
    assert_int_equal(conf_set(conf, "cluster.log=", &error), 0);
    assert_int_equal(conf_read_secrets(conf, &error), 0);
    assert_string_equal(conf->cluster.node, "");
    conf_unref(conf);
}

static void a_file_that_will_not_do_is_named(void **state)
{
    static const struct {
        const char *setting, *bytes;
        size_t bytes_n;
        const char *expected;
    } rows[] = {
        {"cluster.password", "", 0, " is empty"},
        {"cluster.password", "\n", 1, " is empty"},
        {"cluster.password", "one\ntwo\n", 8, "more than one line, or bytes that are no text"},
        {"cluster.password", "one\0two", 7, "more than one line, or bytes that are no text"},
        {"auth.ticket_key", "sesame", 6, "item 1: the file does not have 32 bytes in hex"},
    };
    struct conf_error error;
    char large[5000];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct conf *conf = conf_of(rows[i].setting, "@");

        write_file(rows[i].bytes, rows[i].bytes_n);
        assert_int_equal(conf_read_secrets(conf, &error), -EINVAL);
        assert_ptr_equal(strstr(error.text, rows[i].setting), error.text);
        if (strstr(error.text, rows[i].expected) == NULL)
            fail_msg("%s", error.text);
        conf_unref(conf);
    }
    memset(large, 'x', sizeof(large));
    write_file(large, sizeof(large));
    struct conf *conf = conf_of("cluster.password", "@");
    assert_int_equal(conf_read_secrets(conf, &error), -EINVAL);
    assert_non_null(strstr(error.text, path));
    conf_unref(conf);
    conf = conf_of("cluster.password", "@/nowhere/");
    assert_int_equal(conf_read_secrets(conf, &error), -EINVAL);
    assert_non_null(strstr(error.text, "cannot be read: "));
    conf_unref(conf);
}

static void a_node_has_the_name_of_its_host(void **state)
{
    struct conf *conf = conf_of("cluster.node", "");
    struct conf_error error;
    char host[256] = "";

    (void)state;
    gethostname(host, sizeof(host) - 1);
    assert_int_equal(conf_read_secrets(conf, &error), 0);
    assert_int_equal(conf->cluster.node[0], host[0]);
    assert_in_range(strlen(conf->cluster.node), 1, CONF_NODE_BYTES - 1);
    assert_int_equal(conf_set(conf, "cluster.node=one", &error), 0);
    assert_int_equal(conf_read_secrets(conf, &error), 0);
    assert_string_equal(conf->cluster.node, "one");
    conf_unref(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_tickets_are_hex_or_base64url),
        cmocka_unit_test(a_file_stands_for_its_line),
        cmocka_unit_test(a_file_is_left_alone_without_a_log),
        cmocka_unit_test(a_file_that_will_not_do_is_named),
        cmocka_unit_test(a_node_has_the_name_of_its_host),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
