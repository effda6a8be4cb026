/* SPDX-License-Identifier: MIT */
/* What the settings of [cluster] come to, and which of them do not go together. */
#include "cluster/cluster_conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct conf *conf_of(const char *const *assignments)
{
    struct conf *conf = conf_new();
    struct conf_error error;

    assert_non_null(conf);
    for (; *assignments != NULL; assignments++)
        if (conf_set(conf, *assignments, &error) != 0)
            fail_msg("%s", error.text);
    if (conf_read_secrets(conf, &error) != 0)
        fail_msg("%s", error.text);
    return conf;
}

static void settings_become_a_log(void **state)
{
    struct conf *conf = conf_of((const char *const[]){
        "cluster.log=redis://h:1/2", "cluster.user=me", "cluster.password=sesame",
        "cluster.prefix=p", "cluster.node=one", "cluster.promise=replicated", "cluster.replicas=2",
        "cluster.timeout=1s", "cluster.lease=5s", "cluster.log_bytes=1M", "cluster.log_age=1h",
        "cluster.assume=disk", "history.idempotency_window=2h", NULL});
    struct conf_error error;
    struct cluster_conf *cluster = cluster_conf_new(conf, &error);

    (void)state;
    conf_unref(conf); /* it has a reference of its own */
    assert_non_null(cluster);
    assert_string_equal(cluster->log.url->places[0].host, "h");
    assert_int_equal(cluster->log.url->db, 2);
    assert_null(cluster->log.trust);
    assert_string_equal(cluster->log.user, "me");
    assert_string_equal(cluster->log.password, "sesame");
    assert_string_equal(cluster->log.prefix, "p");
    assert_string_equal(cluster->log.node, "one");
    assert_int_equal(cluster->log.promise, HISTORY_REPLICATED);
    assert_int_equal(cluster->log.replicas, 2);
    assert_true(cluster->log.assumes_disk);
    assert_int_equal(cluster->log.timeout_ms, 1000);
    assert_int_equal(cluster->log.lease_ms, 5000);
    assert_int_equal(cluster->log.key_window_ms, 7200000);
    assert_int_equal(cluster->log.log_bytes, 1 << 20);
    assert_int_equal(cluster->log.log_age_ms, 3600000);
    assert_ptr_equal(strstr(cluster->writer, "one."), cluster->writer);
    assert_string_equal(cluster->writer + 4, cluster->incarnation);
    cluster_conf_free(cluster);
    cluster_conf_free(NULL);
}

static void the_password_may_stand_in_the_url(void **state)
{
    struct conf *conf = conf_of((const char *const[]){"cluster.log=redis://me:sesame@h", NULL});
    struct conf_error error;
    struct cluster_conf *cluster = cluster_conf_new(conf, &error);
    struct cluster_conf *other = cluster_conf_new(conf, &error);

    (void)state;
    assert_string_equal(cluster->log.user, "me");
    assert_string_equal(cluster->log.password, "sesame");
    assert_string_not_equal(cluster->writer, other->writer);
    cluster_conf_free(cluster);
    cluster_conf_free(other);
    conf_unref(conf);
}

static void a_node_with_the_longest_name_is_a_writer(void **state)
{
    char node[] = "cluster.node=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    struct conf *conf = conf_of((const char *const[]){"cluster.log=redis://h", node, NULL});
    struct conf_error error;
    struct cluster_conf *cluster = cluster_conf_new(conf, &error);

    (void)state;
    assert_int_equal(strlen(cluster->writer), 64 + 1 + CLUSTER_INCARNATION_BYTES - 1);
    cluster_conf_free(cluster);
    conf_unref(conf);
}

static void what_does_not_go_together_is_refused(void **state)
{
    static const struct {
        const char *assignments[5];
        const char *expected; /* NULL: it is fine */
    } rows[] = {
        {{"cluster.user=me", NULL}, NULL},
        {{"cluster.log=redis://h", NULL}, NULL},
        {{"cluster.log=redis://h", "cluster.password=sesame", NULL}, NULL},
        {{"cluster.log=redis://h:port", NULL}, "cluster.log is malformed: host 1 has a port"},
        {{"cluster.log=redis+sentinel://h", NULL}, "does not end in /NAME"},
        {{"cluster.log=redis://h", "cluster.user=me", NULL},
         "cluster.user is set, but cluster.password is not"},
        {{"cluster.log=redis://:sesame@h", "cluster.password=sesame", NULL},
         "cluster.log has a password, and cluster.password is set too"},
        {{"cluster.log=redis://:sesame@h", "cluster.user=me", NULL},
         "cluster.log has a password, and cluster.user is set too"},
        {{"cluster.log=redis://h", "cluster.ca=/dev/null", NULL}, "is not rediss://"},
        {{"cluster.log=rediss://h", "cluster.ca=/dev/null", NULL},
         "cluster.ca: no certificate to trust in /dev/null"},
    };
    struct conf_error error;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct conf *conf = conf_of(rows[i].assignments);
        int result = cluster_conf_check(conf, &error);

        if ((result == 0) != (rows[i].expected == NULL))
            fail_msg("row %zu: %d", i, result);
        if (result != 0 && strstr(error.text, rows[i].expected) == NULL)
            fail_msg("row %zu: %s", i, error.text);
        if (result != 0)
            assert_null(strstr(error.text, "sesame"));
        conf_unref(conf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_become_a_log),
        cmocka_unit_test(the_password_may_stand_in_the_url),
        cmocka_unit_test(a_node_with_the_longest_name_is_a_writer),
        cmocka_unit_test(what_does_not_go_together_is_refused),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
