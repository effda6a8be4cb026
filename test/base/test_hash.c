/* SPDX-License-Identifier: MIT */
/* Equal bytes have equal hashes, others have others. */
#include "config.h"
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define BYTES 256

static void hashes_by_content(void **state)
{
    char one[BYTES], other[BYTES];

    (void)state;
    memset(one, 'x', sizeof(one));
    memset(other, 'x', sizeof(other));
    for (size_t n = 1; n <= BYTES; n++) {
        assert_true(hash_bytes(one, n) == hash_bytes(other, n));
        assert_true(hash_bytes(one, n) != hash_bytes(one, n - 1));
        other[n - 1] = 'y';
        assert_true(hash_bytes(one, n) != hash_bytes(other, n));
        other[n - 1] = 'x';
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hashes_by_content)};

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
