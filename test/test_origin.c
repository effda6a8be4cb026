/* SPDX-License-Identifier: MIT */
/* Which web pages may talk to the gateway. */
#include "origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static void compares_the_whole_origin(void **state)
{
    static const struct {
        const char *origin;
        enum origin_verdict verdict;
    } cases[] = {
        {NULL, ORIGIN_ABSENT},
        {"https://app.example", ORIGIN_LISTED},
        {"http://intra.example:8000", ORIGIN_LISTED},
        {"null", ORIGIN_FOREIGN},
        {"", ORIGIN_FOREIGN},
        {"http://app.example", ORIGIN_FOREIGN},
        {"https://app.example:443", ORIGIN_FOREIGN},
        {"https://app.example/", ORIGIN_FOREIGN},
        {"https://app.example.evil.example", ORIGIN_FOREIGN},
        {"https://app.exampl", ORIGIN_FOREIGN},
        {"https://evil.app.example", ORIGIN_FOREIGN},
        {"HTTPS://app.example", ORIGIN_FOREIGN},
        {"https://App.example", ORIGIN_FOREIGN},
        {" https://app.example", ORIGIN_FOREIGN},
        {"https://app.example https://evil.example", ORIGIN_FOREIGN},
        {"http://intra.example", ORIGIN_FOREIGN},
        {"http://localhost", ORIGIN_FOREIGN},
        {"loopback", ORIGIN_FOREIGN},
    };
    char *items[] = {(char[]){"https://app.example"}, (char[]){"http://intra.example:8000"}};
    struct conf_list list = {.items = items, .items_n = ROWS(items)};

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        if (origin_check(cases[i].origin, &list) != cases[i].verdict)
            fail_msg("%s", cases[i].origin);
}

static void knows_loopback_origins_of_any_port(void **state)
{
    static const struct {
        const char *origin;
        enum origin_verdict verdict;
    } cases[] = {
        {NULL, ORIGIN_ABSENT},
        {"http://localhost", ORIGIN_LISTED},
        {"https://localhost", ORIGIN_LISTED},
        {"http://localhost:1", ORIGIN_LISTED},
        {"http://localhost:3000", ORIGIN_LISTED},
        {"http://localhost:65535", ORIGIN_LISTED},
        {"http://127.0.0.1", ORIGIN_LISTED},
        {"http://127.0.0.1:8080", ORIGIN_LISTED},
        {"https://127.255.255.254:8080", ORIGIN_LISTED},
        {"http://[::1]", ORIGIN_LISTED},
        {"http://[::1]:8080", ORIGIN_LISTED},
        {"http://localhost:0", ORIGIN_FOREIGN},
        {"http://localhost:65536", ORIGIN_FOREIGN},
        {"http://localhost:123456", ORIGIN_FOREIGN},
        {"http://localhost:", ORIGIN_FOREIGN},
        {"http://localhost:80x", ORIGIN_FOREIGN},
        {"http://localhost:-1", ORIGIN_FOREIGN},
        {"http://localhost:80:80", ORIGIN_FOREIGN},
        {"http://localhost/", ORIGIN_FOREIGN},
        {"http://localhost.evil.example", ORIGIN_FOREIGN},
        {"http://evil.example", ORIGIN_FOREIGN},
        {"http://evil-localhost", ORIGIN_FOREIGN},
        {"http://user@localhost", ORIGIN_FOREIGN},
        {"http://localhost@evil.example", ORIGIN_FOREIGN},
        {"http://LOCALHOST", ORIGIN_FOREIGN},
        {"http://127.0.0.1.evil.example", ORIGIN_FOREIGN},
        {"http://127.1", ORIGIN_FOREIGN},
        {"http://128.0.0.1", ORIGIN_FOREIGN},
        {"http://10.0.0.1", ORIGIN_FOREIGN},
        {"http://0.0.0.0", ORIGIN_FOREIGN},
        {"http://2130706433", ORIGIN_FOREIGN},
        {"http://[::2]", ORIGIN_FOREIGN},
        {"http://[::1", ORIGIN_FOREIGN},
        {"http://[::1]x", ORIGIN_FOREIGN},
        {"http://[::1]:", ORIGIN_FOREIGN},
        {"http://::1", ORIGIN_FOREIGN},
        {"http://", ORIGIN_FOREIGN},
        {"http://[", ORIGIN_FOREIGN},
        {"http:/localhost", ORIGIN_FOREIGN},
        {"ftp://localhost", ORIGIN_FOREIGN},
        {"chrome-extension://localhost", ORIGIN_FOREIGN},
        {"localhost", ORIGIN_FOREIGN},
        {"loopback", ORIGIN_FOREIGN},
        {"null", ORIGIN_FOREIGN},
        {"", ORIGIN_FOREIGN},
        {"http://"
         "0123456789012345678901234567890123456789012345678901234567890123456789",
         ORIGIN_FOREIGN},
    };
    char *items[] = {(char[]){"loopback"}};
    struct conf_list list = {.items = items, .items_n = ROWS(items)};

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        if (origin_check(cases[i].origin, &list) != cases[i].verdict)
            fail_msg("%s", cases[i].origin);
}

static void any_item_of_the_list_will_do(void **state)
{
    char *items[] = {(char[]){"https://a.example"}, (char[]){"loopback"},
                     (char[]){"https://b.example"}};
    struct conf_list list = {.items = items, .items_n = ROWS(items)};

    (void)state;
    assert_int_equal(origin_check("https://a.example", &list), ORIGIN_LISTED);
    assert_int_equal(origin_check("http://localhost:9", &list), ORIGIN_LISTED);
    assert_int_equal(origin_check("https://b.example", &list), ORIGIN_LISTED);
    assert_int_equal(origin_check("https://c.example", &list), ORIGIN_FOREIGN);
}

static void an_empty_list_knows_nobody(void **state)
{
    struct conf_list list = {.items_n = 0};

    (void)state;
    assert_int_equal(origin_check(NULL, &list), ORIGIN_ABSENT);
    assert_int_equal(origin_check("http://localhost", &list), ORIGIN_FOREIGN);
}

static void serves_by_name(void **state)
{
    char name[] = "www.example.org", with_port[] = "api.example.org:8443", v6[] = "[2001:db8::1]";
    char word[] = "loopback", *names[] = {name, with_port, v6}, *words[] = {word};
    const struct conf_list listed = {.items = names, .items_n = 3};
    const struct conf_list loopback = {.items = words, .items_n = 1};
    static const struct {
        const char *host;
        bool by_list, by_word;
    } cases[] = {
        {NULL, true, true},
        {"", false, false},
        {"www.example.org", true, false},
        {"WWW.Example.ORG", true, false},
        {"www.example.org:8080", true, false},
        {"www.example.org:", false, false},
        {"www.example.org:0", false, false},
        {"www.example.org:65536", false, false},
        {"www.example.org:80a", false, false},
        {"www.example.org.", false, false},
        {"example.org", false, false},
        {"evil.www.example.org", false, false},
        {"www.example.org.evil.example", false, false},
        {"api.example.org:8443", true, false},
        {"API.example.org:8443", true, false},
        {"api.example.org", false, false},
        {"api.example.org:844", false, false},
        {"[2001:db8::1]", true, false},
        {"[2001:DB8::1]:80", true, false},
        {"[2001:db8::2]", false, false},
        {"localhost", false, true},
        {"localhost:8080", false, true},
        {"LOCALHOST:8080", false, true},
        {"localhost.", false, false},
        {"localhost.evil.example", false, false},
        {"127.0.0.1", false, true},
        {"127.0.0.1:8080", false, true},
        {"127.1.2.3", false, true},
        {"127.0.0.1.evil.example", false, false},
        {"127.1", false, false},
        {"0177.0.0.1", false, false},
        {"2130706433", false, false},
        {"0.0.0.0", false, false},
        {"[::1]", false, true},
        {"[::1]:8080", false, true},
        {"[::1", false, false},
        {"[::1]x", false, false},
        {"::1", false, false},
        {"loopback", false, false},
        {"evil.example", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (origin_host_is_served(cases[i].host, &listed) != cases[i].by_list ||
            origin_host_is_served(cases[i].host, &loopback) != cases[i].by_word)
            fail_msg("%s", cases[i].host != NULL ? cases[i].host : "no Host");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_by_name),
        cmocka_unit_test(compares_the_whole_origin),
        cmocka_unit_test(knows_loopback_origins_of_any_port),
        cmocka_unit_test(any_item_of_the_list_will_do),
        cmocka_unit_test(an_empty_list_knows_nobody),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
