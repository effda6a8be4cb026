/* SPDX-License-Identifier: MIT */
/* Numbers and bytes in a row: what was packed is unpacked, and what is cut short is noticed. */
#include "handover/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct pack pack_some(void)
{
    struct pack pack = {0};

    pack_u32(&pack, 7);
    pack_u64(&pack, UINT64_MAX - 1);
    pack_text(&pack, "words");
    memcpy(pack_room(&pack, 1000), (char[1000]){"\1"}, 1000);
    pack_text(&pack, "");
    assert_false(pack.failed);
    return pack;
}

static bool unpack_some(struct unpack unpack)
{
    size_t n;
    bool sound = unpack_u32(&unpack) == 7;

    sound &= unpack_u64(&unpack) == UINT64_MAX - 1;
    char *text = unpack_text(&unpack);
    sound &= text != NULL && strcmp(text, "words") == 0;
    const char *bytes = unpack_bytes(&unpack, &n);
    sound &= bytes != NULL && n == 1000 && bytes[0] == 1 && bytes[999] == 0;
    char *empty = unpack_text(&unpack);
    sound &= empty != NULL && empty[0] == '\0';
    free(text);
    free(empty);
    return unpack_is_done(&unpack) && sound;
}

static void gives_back_what_was_packed(void **state)
{
    struct pack pack = pack_some();

    (void)state;
    assert_true(unpack_some((struct unpack){.at = pack.bytes, .left = pack.n}));
    pack_clear(&pack);
    assert_int_equal(pack.n, 0);
}

static void notices_what_is_cut_short_or_too_long(void **state)
{
    struct pack pack = pack_some();

    (void)state;
    for (size_t n = 0; n < pack.n; n++) {
        char *tight = malloc(n > 0 ? n : 1);

        memcpy(tight, pack.bytes, n);
        assert_false(unpack_some((struct unpack){.at = tight, .left = n}));
        free(tight);
    }
    pack_u32(&pack, 0);
    assert_false(unpack_some((struct unpack){.at = pack.bytes, .left = pack.n}));
    pack_clear(&pack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_what_was_packed),
        cmocka_unit_test(notices_what_is_cut_short_or_too_long),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
