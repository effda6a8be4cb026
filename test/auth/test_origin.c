/* SPDX-License-Identifier: MIT */
/* Which web pages may talk to the gateway. */
#include "auth/origin.h"

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

/* Whatever the bytes are, the value of a whole line or nothing. */
static void finds_an_origin_in_what_is_no_head(void **state)
{
    static const struct {
        const char *text;
        const char *origin; /* NULL: none */
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n\r\n", "http://a"},
        {"GET / HTTP/9\r\norigin:\t http://a \t\r\nx", "http://a"},
        {"\n\nOrigin:http://a\nOrigin: http://b\n", "http://a"},
        {"GET / HTTP/1.1\r\nOrigin: http://a", NULL},
        {"GET / HTTP/1.1\r\nOrigin: \r\n", NULL},
        {"GET / HTTP/1.1\r\nOrigin:\n", NULL},
        {"GET / HTTP/1.1\r\nX-Origin: http://a\r\n", NULL},
        {"Origin: http://a\r\n", NULL}, /* the request line */
        {"", NULL},
        {"\n", NULL},
    };
    char room[ORIGIN_BYTES_MAX], text[ORIGIN_BYTES_MAX + 20];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *found = origin_find(cases[i].text, strlen(cases[i].text), room);

        if (cases[i].origin == NULL)
            assert_null(found);
        else
            assert_string_equal(found, cases[i].origin);
    }
    memset(text, 'x', sizeof(text));
    memcpy(text, "\nOrigin:", 8);
    text[8 + ORIGIN_BYTES_MAX] = '\n';
    assert_null(origin_find(text, 9 + ORIGIN_BYTES_MAX, room));
    text[7 + ORIGIN_BYTES_MAX] = '\n';
    assert_int_equal(strlen(origin_find(text, 8 + ORIGIN_BYTES_MAX, room)), ORIGIN_BYTES_MAX - 1);
}

static void writes_lines_that_have_room(void **state)
{
    char lines[ORIGIN_LINES_BYTES], origin[ORIGIN_BYTES_MAX + 1] = "";

    (void)state;
    origin_write_lines(lines, NULL, true);
    assert_string_equal(lines, "Vary: Origin\r\n");
    origin_write_lines(lines, "http://a", false);
    assert_string_equal(lines, "Vary: Origin\r\nAccess-Control-Allow-Origin: http://a\r\n"
                               "Access-Control-Expose-Headers: Retry-After\r\n");
    memset(origin, 'x', ORIGIN_BYTES_MAX - 1);
    origin_write_lines(lines, origin, true);
    assert_non_null(strstr(lines, "Allow-Credentials: true\r\n"));
    assert_string_equal(lines + strlen(lines) - 13, "Retry-After\r\n");
    origin[ORIGIN_BYTES_MAX - 1] = 'x';
    origin_write_lines(lines, origin, true);
    assert_string_equal(lines, "Vary: Origin\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_by_name),
        cmocka_unit_test(compares_the_whole_origin),
        cmocka_unit_test(knows_loopback_origins_of_any_port),
        cmocka_unit_test(any_item_of_the_list_will_do),
        cmocka_unit_test(an_empty_list_knows_nobody),
        cmocka_unit_test(finds_an_origin_in_what_is_no_head),
        cmocka_unit_test(writes_lines_that_have_room),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
