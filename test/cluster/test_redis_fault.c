/* SPDX-License-Identifier: MIT */
/* Classes of errors, in the words of Redis 6.2, 7.0, 7.2 and Valkey. */
#include "cluster/redis_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void errors_have_classes(void **state)
{
    static const struct {
        const char *text;
        enum redis_fault fault;
    } table[] = {
        {"READONLY You can't write against a read only replica.", REDIS_READONLY},
        {"LOADING Redis is loading the dataset in memory", REDIS_LOADING},
        {"MASTERDOWN Link with MASTER is down", REDIS_MASTERDOWN},
        {"CLUSTERDOWN Hash slot not served", REDIS_CLUSTERDOWN},
        {"TRYAGAIN Multiple keys request during rehashing of slot", REDIS_CLUSTERDOWN},
        {"MOVED 3999 127.0.0.1:6381", REDIS_MOVED},
        {"BUSY Redis is busy running a script.", REDIS_BUSY},
        {"OOM command not allowed when used memory > 'maxmemory'. script: ab, on "
         "@user_script:14.",
         REDIS_OOM},
        {"ERR Error running script (call to f_ab): @user_script:14: @user_script: 14: -OOM "
         "command not allowed when used memory > 'maxmemory'.",
         REDIS_OOM},
        {"ERR Error running script (call to f_ab): @user_script:14: -READONLY You can't write",
         REDIS_READONLY},
        {"MISCONF Redis is configured to save RDB snapshots, but", REDIS_MISCONF},
        {"NOREPLICAS Not enough good replicas to write.", REDIS_NOREPLICAS},
        {"UNBLOCKED force unblock from blocking operation, instance state changed",
         REDIS_UNBLOCKED},
        {"NOAUTH Authentication required.", REDIS_NOAUTH},
        {"WRONGPASS invalid username-password pair or user is disabled.", REDIS_WRONGPASS},
        {"ERR AUTH <password> called without any password configured", REDIS_WRONGPASS},
        {"NOPERM this user has no permissions to run the 'xadd' command", REDIS_NOPERM},
        {"ERR Error running script (call to f_1): @user_script:1: The user executing the script "
         "can't run this command or subcommand",
         REDIS_NOPERM},
        {"NOSCRIPT No matching script. Please use EVAL.", REDIS_NOSCRIPT},
        {"WRONGTYPE Operation against a key holding the wrong kind of value", REDIS_WRONGTYPE},
        {"ERR unknown command 'CONFIG', with args beginning with:", REDIS_UNKNOWN},
        {"ERR max number of clients reached", REDIS_ERROR},
        {"OOMPH", REDIS_ERROR},
        {"", REDIS_ERROR},
        {"script: -", REDIS_ERROR},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        enum redis_fault fault = redis_fault_of(table[i].text, strlen(table[i].text));

        if (fault != table[i].fault)
            fail_msg("%s: %s", table[i].text, redis_fault_text(fault));
        assert_false(redis_fault_is_end(fault));
    }
}

static void classes_say_what_to_do(void **state)
{
    (void)state;
    for (int fault = REDIS_FINE; fault <= REDIS_ERROR; fault++)
        assert_non_null(redis_fault_text((enum redis_fault)fault));
    assert_true(redis_fault_is_end(REDIS_TIMEOUT));
    assert_true(redis_fault_is_elsewhere(REDIS_TIMEOUT));
    assert_true(redis_fault_is_elsewhere(REDIS_READONLY));
    assert_true(redis_fault_is_elsewhere(REDIS_UNBLOCKED));
    assert_false(redis_fault_is_elsewhere(REDIS_OOM));
    assert_false(redis_fault_is_elsewhere(REDIS_FINE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_have_classes),
        cmocka_unit_test(classes_say_what_to_do),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
