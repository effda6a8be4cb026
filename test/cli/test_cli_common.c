/* SPDX-License-Identifier: MIT */
/* Tests of what the shell tools share: options, numbers, and text that commands no terminal. */
#include "config.h"
#include "cli/cli_common.h"

#include <setjmp.h>
#include <getopt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What the options of a tool of four come to. */
struct read {
    const char *text;
    struct cli_list words;
    uint64_t number;
    uint32_t number32;
    bool flag;
    int status;
    int rest; /* the first argument that is none */
};

static struct read read_words(const char *const *words)
{
    char **argv = (char **)(uintptr_t)words; /* getopt changes the order, not the texts */
    int argc = 0;
    struct read read = {.number = 7};
    const struct cli_option known[] = {
        CLI_TEXT("text", &read.text),
        CLI_WORD("word", &read.words),
        CLI_NUMBER("number", &read.number, 3, 60, "3 to 60"),
        CLI_NUMBER32("small", &read.number32, 1, UINT32_MAX),
        CLI_FLAG("flag", &read.flag),
    };

    while (words[argc] != NULL)
        argc++;
    read.status = cli_read_options("test", "", known, sizeof(known) / sizeof(known[0]), argc, argv);
    read.rest = optind;
    return read;
}

#define READ(...) read_words((const char *const[]){"test", __VA_ARGS__, NULL})

static void test_options_go_where_they_belong(void **state)
{
    (void)state;
    struct read read = READ("--text", "t", "--word=a", "--flag", "--word", "b", "--number", "60",
                            "--small", "4294967295", "operand");

    assert_int_equal(read.status, CLI_FINE);
    assert_string_equal(read.text, "t");
    assert_int_equal(read.words.items_n, 2);
    assert_string_equal(read.words.items[0], "a");
    assert_string_equal(read.words.items[1], "b");
    assert_int_equal(read.number, 60);
    assert_int_equal(read.number32, UINT32_MAX);
    assert_true(read.flag);
    assert_int_equal(read.rest, 11);
    cli_list_clear(&read.words);
}

static void test_what_is_not_given_stays(void **state)
{
    (void)state;
    struct read read = READ("operand");

    assert_int_equal(read.status, CLI_FINE);
    assert_null(read.text);
    assert_int_equal(read.number, 7);
    assert_false(read.flag);
    assert_int_equal(read.rest, 1);
}

static void test_mistakes_are_usage(void **state)
{
    (void)state;
    assert_int_equal(READ("--number", "2").status, CLI_USAGE);
    assert_int_equal(READ("--number", "61").status, CLI_USAGE);
    assert_int_equal(READ("--small", "4294967296").status, CLI_USAGE);
    assert_int_equal(READ("--number").status, CLI_USAGE);
    assert_int_equal(READ("--flag=1").status, CLI_USAGE);
    assert_int_equal(READ("--other").status, CLI_USAGE);
    assert_int_equal(READ("-x").status, CLI_USAGE);
}

static void test_the_first_of_help_and_a_mistake_counts(void **state)
{
    (void)state;
    assert_int_equal(READ("--help", "--other").status, CLI_HELPED);
    assert_int_equal(READ("-h").status, CLI_HELPED);
    assert_int_equal(READ("--other", "--help").status, CLI_USAGE);
}

static void test_numbers_are_digits_in_a_range(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"5", true},   {"05", true},  {"10", true},  {"4", false},
        {"11", false}, {"", false},   {" 5", false}, {"5 ", false},
        {"-5", false}, {"+5", false}, {"5x", false}, {"18446744073709551621", false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t number = 99;

        assert_int_equal(cli_parse_number(cases[i].text, 5, 10, &number), cases[i].good);
        if (!cases[i].good)
            assert_int_equal(number, 99);
    }
}

static void assert_visible(const char *bytes, size_t bytes_n, const char *indent,
                           const char *expected)
{
    char *text;
    size_t text_n;
    FILE *to = open_memstream(&text, &text_n);

    cli_put_visible(to, bytes, bytes_n, indent);
    fclose(to);
    assert_string_equal(text, expected);
    free(text);
}

static void test_no_byte_commands_a_terminal(void **state)
{
    (void)state;
    assert_visible("a\tb", 3, NULL, "a\tb");
    assert_visible("a\nb", 3, NULL, "a^Jb");
    assert_visible("a\nb", 3, "  ", "a\n  b");
    assert_visible("\x1b[2J\x7f\0", 6, NULL, "^[[2J^?^@");
    assert_visible("\xff\xc3", 2, NULL, "<FF><C3>");
    assert_visible("\xc2\x9b", 2, NULL, "<U+009B>");
    assert_visible("gr\xc3\xbc\xc3\x9f", 6, NULL, "gr\xc3\xbc\xc3\x9f");
}

static void test_random_stays_below(void **state)
{
    (void)state;
    assert_int_equal(cli_random(0), 0);
    assert_int_equal(cli_random(1), 0);
    for (int i = 0; i < 100; i++)
        assert_true(cli_random(3) < 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_go_where_they_belong),
        cmocka_unit_test(test_what_is_not_given_stays),
        cmocka_unit_test(test_mistakes_are_usage),
        cmocka_unit_test(test_the_first_of_help_and_a_mistake_counts),
        cmocka_unit_test(test_numbers_are_digits_in_a_range),
        cmocka_unit_test(test_no_byte_commands_a_terminal),
        cmocka_unit_test(test_random_stays_below),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
