/* SPDX-License-Identifier: MIT */
/* Where the shared log is: what is read, and what is refused in which words. */
#include "cluster/redis_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "conf/conf.h"

/* The whole of a URL as one line, to compare. */
static const char *shown(const struct redis_url *url, char to[2048])
{
    char place[REDIS_PLACE_TEXT_BYTES];
    int n = snprintf(to, 2048, "%s%s db=%u user=%s password=%s master=%s", url->is_tls ? "tls" : "",
                     url->is_sentinel ? "sentinel" : "", url->db, url->user, url->password,
                     url->master);

    for (size_t i = 0; i < url->places_n; i++)
        n += snprintf(to + n, (size_t)(2048 - n), " %s", redis_place_text(&url->places[i], place));
    return to;
}

static void urls_are_read(void **state)
{
    static const char *const table[][2] = {
        {"redis://h", " db=0 user= password= master= h:6379"},
        {"redis://h/", " db=0 user= password= master= h:6379"},
        {"redis://127.0.0.1:1/7", " db=7 user= password= master= 127.0.0.1:1"},
        {"redis://[::1]", " db=0 user= password= master= [::1]:6379"},
        {"redis://[::1]:65535/0", " db=0 user= password= master= [::1]:65535"},
        {"redis://:secret@h", " db=0 user= password=secret master= h:6379"},
        {"redis://me:se%3acret@h", " db=0 user=me password=se:cret master= h:6379"},
        {"redis://me:a@b/c@h/2", " db=2 user=me password=a@b/c master= h:6379"},
        {"redis://m%65:%41%7e@h", " db=0 user=me password=A~ master= h:6379"},
        {"rediss://redis.example.org:6380", "tls db=0 user= password= master= "
                                            "redis.example.org:6380"},
        {"redis+sentinel://a,b:2,[::1]:3/my%20one",
         "sentinel db=0 user= password= master=my one a:26379 b:2 [::1]:3"},
        {"redis+sentinel://:x@a/m", "sentinel db=0 user= password=x master=m a:26379"},
    };
    struct conf_error error;
    struct redis_url url;
    char text[2048];

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        assert_int_equal(redis_url_parse(table[i][0], &url, &error), 0);
        assert_string_equal(shown(&url, text), table[i][1]);
    }
}

static void what_is_wrong_is_said(void **state)
{
    static const char *const table[][2] = {
        {"", "another scheme"},
        {"h:6379", "another scheme"},
        {"http://h", "another scheme"},
        {"REDIS://h", "another scheme"},
        {"redis://", "host 1 is missing"},
        {"redis://:7", "host 1 is missing"},
        {"redis://h:0", "host 1 has a port that is no number"},
        {"redis://h:65536", "host 1 has a port that is no number"},
        {"redis://h:1x", "host 1 has a port that is no number"},
        {"redis://h:", "host 1 has a port that is no number"},
        {"redis://h h", "has a character that no name has"},
        {"redis://::1:6379", "IPv6 address without brackets"},
        {"redis://[::1", "a bracket that is not closed"},
        {"redis://[::1]6379", "something between the bracket and the port"},
        {"redis://[h]:1", "is no IPv6 address"},
        {"redis://a,b", "several hosts, which only redis+sentinel"},
        {"redis://h/x", "behind the slash that is no number"},
        {"redis://h/65536", "behind the slash that is no number"},
        {"redis://secret@h", "no colon between user and password"},
        {"redis://me:@h", "an empty password"},
        {"redis://me:secret%0@h", "a password that is too long or has a bad %XX"},
        {"redis://me:secret%00@h", "a password that is too long or has a bad %XX"},
        {"redis://m%zz:secret@h", "a user that is too long or has a bad %XX"},
        {"redis+sentinel://a,b", "does not end in /NAME"},
        {"redis+sentinel://a/", "does not end in /NAME"},
        {"redis+sentinel://a/m/n", "has a slash"},
        {"redis+sentinel://a,,b/m", "host 2 is missing"},
        {"redis+sentinel://1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7/m", "more than 16 hosts"},
    };
    struct conf_error error;
    struct redis_url url;

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        assert_int_not_equal(redis_url_parse(table[i][0], &url, &error), 0);
        if (strstr(error.text, table[i][1]) == NULL)
            fail_msg("%s: %s", table[i][0], error.text);
        assert_null(strstr(error.text, "secret"));
        assert_non_null(strstr(error.text, "cluster.log"));
    }
}

static void long_names_do_not_fit(void **state)
{
    static char host[400] = "redis://", password[1200] = "redis://:";
    struct conf_error error;
    struct redis_url url;

    (void)state;
    memset(host + strlen(host), 'h', 255);
    assert_int_equal(redis_url_parse(host, &url, &error), 0);
    host[strlen(host)] = 'h';
    assert_int_not_equal(redis_url_parse(host, &url, &error), 0);
    memset(password + strlen(password), 'p', 512);
    strcat(password, "@h");
    assert_int_not_equal(redis_url_parse(password, &url, &error), 0);
}

/* As MOVED has it: with a port. */
static void a_place_of_a_server_is_read(void **state)
{
    struct redis_place place, same;

    (void)state;
    assert_null(redis_place_parse("10.0.0.7:7001", 13, 0, &place));
    assert_string_equal(place.host, "10.0.0.7");
    assert_int_equal(place.port, 7001);
    assert_null(redis_place_parse("10.0.0.7:7001", 13, 0, &same));
    assert_true(redis_place_equal(&place, &same));
    assert_non_null(redis_place_parse("10.0.0.7", 8, 0, &place));
    assert_non_null(redis_place_parse("a\0b:1", 5, 0, &place));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_read),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(long_names_do_not_fit),
        cmocka_unit_test(a_place_of_a_server_is_read),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
