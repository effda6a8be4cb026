/* SPDX-License-Identifier: MIT */
/* Offers of permessage-deflate, good and not (RFC 7692 section 7.1). */
#include "wire/ws_extensions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static bool look(struct ws_offer *offer, const char *line)
{
    size_t n = strlen(line);
    char *copy = malloc(n > 0 ? n : 1); /* so that a sanitizer sees every read past it */

    assert_non_null(copy);
    memcpy(copy, line, n);
    bool is_list = ws_offer_look(offer, (struct span){copy, n});
    free(copy);
    return is_list;
}

static void takes_the_first_that_it_can(void **state)
{
    static const struct {
        const char *line;
        bool is_taken, names_window;
    } rows[] = {
        {"", false, false},
        {" , ,", false, false},
        {"foo", false, false},
        {"foo; permessage-deflate", false, false},
        {"Permessage-Deflate", false, false},
        {"permessage-deflate", true, false},
        {" permessage-deflate ,", true, false},
        {"permessage-deflate;client_max_window_bits", true, false},
        {"permessage-deflate; client_max_window_bits=8", true, false},
        {"permessage-deflate; client_max_window_bits=15", true, false},
        {"permessage-deflate; client_max_window_bits=\"15\"", true, false},
        {"permessage-deflate; client_max_window_bits=\"1\\5\"", true, false},
        {"permessage-deflate ; server_no_context_takeover ; client_no_context_takeover", true,
         false},
        {"permessage-deflate; server_max_window_bits=15", true, true},
        {"permessage-deflate; server_max_window_bits = 15", true, true},
        {"permessage-deflate; server_max_window_bits=15, permessage-deflate", true, true},
        {"permessage-deflate, permessage-deflate; server_max_window_bits=15", true, false},
        /* windows that cannot be, or that are too small for us */
        {"permessage-deflate; server_max_window_bits", false, false},
        {"permessage-deflate; server_max_window_bits=8", false, false},
        {"permessage-deflate; server_max_window_bits=14", false, false},
        {"permessage-deflate; server_max_window_bits=16", false, false},
        {"permessage-deflate; server_max_window_bits=015", false, false},
        {"permessage-deflate; server_max_window_bits=150", false, false},
        {"permessage-deflate; server_max_window_bits=1500", false, false},
        {"permessage-deflate; server_max_window_bits=x", false, false},
        {"permessage-deflate; client_max_window_bits=7", false, false},
        {"permessage-deflate; client_max_window_bits=16", false, false},
        {"permessage-deflate; client_max_window_bits=08", false, false},
        {"permessage-deflate; client_max_window_bits=1x", false, false},
        /* values where none belong */
        {"permessage-deflate; server_no_context_takeover=1", false, false},
        {"permessage-deflate; client_no_context_takeover=\"true\"", false, false},
        /* unknown, repeated */
        {"permessage-deflate; foo", false, false},
        {"permessage-deflate; foo=bar", false, false},
        {"permessage-deflate; client_max_window_bits; client_max_window_bits", false, false},
        {"permessage-deflate; client_max_window_bits; client_max_window_bits=15", false, false},
        {"permessage-deflate; server_max_window_bits=15; server_max_window_bits=15", false, false},
        {"permessage-deflate; server_no_context_takeover; server_no_context_takeover", false,
         false},
        {"permessage-deflate; client_no_context_takeover; client_no_context_takeover", false,
         false},
        /* passed over for the next */
        {"permessage-deflate; foo, foo; bar=\"baz\", permessage-deflate", true, false},
        {"permessage-deflate; server_max_window_bits=9, permessage-deflate; "
         "server_max_window_bits=15",
         true, true},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct ws_offer offer = {0};

        if (!look(&offer, rows[i].line))
            fail_msg("%s", rows[i].line);
        if (offer.is_taken != rows[i].is_taken || offer.names_window != rows[i].names_window)
            fail_msg("%s: %d, %d", rows[i].line, offer.is_taken, offer.names_window);
    }
}

static void refuses_what_is_no_list(void **state)
{
    static const char *const rows[] = {
        ";",
        "a;",
        "a; ;b",
        "permessage-deflate;",
        "permessage-deflate; ",
        "permessage-deflate; , foo",
        "permessage-deflate foo",
        "permessage-deflate=1",
        "a; =1",
        "a; b=",
        "a; b=\"\"",
        "a; b=\"",
        "a; b=\"c",
        "a; b=c\"",
        "a; b=\"c d\"",
        "a; b=\"c,d\"",
        "a; b=\"c;d\"",
        "a; b=\"c\\",
        "a; b=\"\\\"",
        "a; b=c d",
        "a; b==c",
        "a/b",
        "\xC3\xBC",
        "permessage-deflate, a b",
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct ws_offer offer = {0};

        if (look(&offer, rows[i]))
            fail_msg("%s", rows[i]);
    }
}

static void knows_tokens(void **state)
{
    (void)state;
    assert_true(ws_is_token((struct span){"aZ09!#$%&'*+-.^_`|~", 19}));
    assert_false(ws_is_token((struct span){"", 0}));
    for (const char *c = " \t\"(),/:;<=>?@[\\]{}\x7F\x80\xFF"; *c != '\0'; c++)
        assert_false(ws_is_token((struct span){c, 1}));
    assert_false(ws_is_token((struct span){"a\0", 2}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_first_that_it_can),
        cmocka_unit_test(refuses_what_is_no_list),
        cmocka_unit_test(knows_tokens),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
