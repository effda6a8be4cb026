/* SPDX-License-Identifier: MIT */
/* The ring of evictions: which it keeps, what it holds, and who may use it at once. */
#include "config.h"
#include "stream/eviction_log.h"

#include <setjmp.h>
#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "event/filter.h"

static struct filter *make_filter(void)
{
    struct message_name topic = {.bytes = "news", .bytes_n = 4};
    struct message_name user = {.bytes = "anna", .bytes_n = 4};

    return filter_new(&topic, 1, &user);
}

static void note(struct eviction_log *evictions, struct filter *filter, uint64_t id)
{
    struct stream_facts facts = {
        .id = id,
        .filter = filter,
        .position = id * 10,
        .last_id_sent = id * 10 - 1,
        .lag_events = 7,
        .lag_bytes = 70,
        .unacknowledged_bytes = 700,
        .age_ms = 5,
    };

    eviction_log_add(evictions, &facts, id % 2 == 0 ? STREAM_END_STALLED : STREAM_END_VANISHED);
}

/* The ids of what is listed, newest first, as text. */
static void assert_lists(struct eviction_log *evictions, size_t max, const char *ids,
                         uint64_t total)
{
    struct eviction *list;
    uint64_t found_total;
    int list_n = eviction_log_list(evictions, max, &list, &found_total);

    assert_int_equal(list_n, strlen(ids));
    for (int i = 0; i < list_n; i++)
        assert_int_equal(list[i].facts.id, ids[i] - '0');
    assert_int_equal(found_total, total);
    free(list);
}

static void keeps_the_latest_newest_first(void **state)
{
    struct eviction_log *evictions = eviction_log_new(3);
    struct filter *filter = make_filter();

    (void)state;
    assert_lists(evictions, 10, "", 0);
    note(evictions, filter, 1);
    assert_lists(evictions, 10, "1", 1);
    note(evictions, filter, 2);
    note(evictions, filter, 3);
    assert_lists(evictions, 10, "321", 3);
    note(evictions, filter, 4);
    assert_lists(evictions, 10, "432", 4);
    for (uint64_t id = 5; id < 10; id++)
        note(evictions, filter, id);
    assert_lists(evictions, 10, "987", 9);
    assert_lists(evictions, 3, "987", 9);
    assert_lists(evictions, 2, "98", 9);
    assert_lists(evictions, 1, "9", 9);
    eviction_log_free(evictions);
    filter_unref(filter);
}

static void keeps_one_if_that_is_all(void **state)
{
    struct eviction_log *evictions = eviction_log_new(1);
    struct filter *filter = make_filter();

    (void)state;
    note(evictions, filter, 1);
    note(evictions, filter, 2);
    assert_lists(evictions, 10, "2", 2);
    eviction_log_free(evictions);
    filter_unref(filter);
    eviction_log_free(NULL);
}

static void tells_what_it_was_told(void **state)
{
    struct eviction_log *evictions = eviction_log_new(2);
    struct filter *filter = make_filter();
    int64_t before_ms = clock_wall_ms();
    struct eviction *list;
    uint64_t total;

    (void)state;
    note(evictions, filter, 3);
    filter_unref(filter); /* the stream is gone, the eviction keeps what it wanted */
    assert_int_equal(eviction_log_list(evictions, 5, &list, &total), 1);
    eviction_log_free(evictions);
    assert_in_range(list->at_ms, before_ms, clock_wall_ms());
    assert_int_equal(list->why, STREAM_END_VANISHED);
    assert_int_equal(list->facts.position, 30);
    assert_int_equal(list->facts.last_id_sent, 29);
    assert_int_equal(list->facts.lag_events, 7);
    assert_int_equal(list->facts.lag_bytes, 70);
    assert_int_equal(list->facts.unacknowledged_bytes, 700);
    assert_string_equal(eviction_user(list).bytes, "anna");
    assert_int_equal(eviction_user(list).bytes_n, 4);
    assert_int_equal(list->topics_n, 1);
    assert_int_equal(list->topics_left_out_n, 0);
    assert_string_equal(eviction_topic(list, 0).bytes, "news");
    assert_int_equal(eviction_topic(list, 0).bytes_n, 4);
    free(list);
}

/* 64 topics of 60 bytes, of which some have room beside a user of 256, and one after a long one. */
static void keeps_the_names_that_have_room(void **state)
{
    struct eviction_log *evictions = eviction_log_new(1);
    char long_name[256], names[64][61];
    struct message_name topics[64], user = {.bytes = long_name, .bytes_n = sizeof(long_name)};
    struct eviction *list;
    uint64_t total;

    (void)state;
    memset(long_name, 'u', sizeof(long_name));
    for (size_t i = 0; i < 64; i++) {
        snprintf(names[i], sizeof(names[i]), "%060zu", i);
        topics[i] = (struct message_name){.bytes = names[i], .bytes_n = 60};
    }
    topics[2] = user;
    struct filter *filter = filter_new(topics, 64, &user);
    note(evictions, filter, 1);
    filter_unref(filter);
    assert_int_equal(eviction_log_list(evictions, 5, &list, &total), 1);
    assert_int_equal(eviction_user(list).bytes_n, 256);
    assert_int_equal(list->topics_n, (EVICTION_TEXT_BYTES - 257) / 61);
    assert_int_equal(list->topics_n + list->topics_left_out_n, 64);
    assert_string_equal(eviction_topic(list, 0).bytes, names[0]);
    assert_string_equal(eviction_topic(list, 1).bytes, names[1]);
    assert_string_equal(eviction_topic(list, 2).bytes, names[3]);
    free(list);
    eviction_log_free(evictions);
}

static void nobody_and_everything_are_empty(void **state)
{
    struct eviction_log *evictions = eviction_log_new(1);
    struct filter *filter = filter_new(NULL, 0, NULL);
    struct eviction *list;
    uint64_t total;

    (void)state;
    note(evictions, filter, 1);
    filter_unref(filter);
    assert_int_equal(eviction_log_list(evictions, 5, &list, &total), 1);
    assert_null(eviction_user(list).bytes);
    assert_int_equal(list->topics_n + list->topics_left_out_n, 0);
    free(list);
    eviction_log_free(evictions);
}

#define THREADS 4
#define NOTES 5000

struct writer {
    struct eviction_log *evictions;
    struct filter *filter;
    pthread_t thread;
};

static void *write_many(void *arg)
{
    struct writer *writer = arg;

    for (uint64_t id = 1; id <= NOTES; id++)
        note(writer->evictions, writer->filter, id);
    return NULL;
}

/* assert(): cmocka's checks have no way back from another thread. */
static void *read_many(void *arg)
{
    struct writer *writer = arg;
    uint64_t total = 0;

    while (total < THREADS * NOTES) {
        struct eviction *list;
        int list_n = eviction_log_list(writer->evictions, 8, &list, &total);

        assert(list_n >= 0 && list_n <= 8);
        for (int i = 0; i < list_n; i++)
            assert(list[i].facts.position == list[i].facts.id * 10 &&
                   strcmp(eviction_topic(&list[i], 0).bytes, "news") == 0);
        free(list);
    }
    return NULL;
}

static void workers_share_it(void **state)
{
    struct eviction_log *evictions = eviction_log_new(8);
    struct filter *filter = make_filter();
    struct writer writers[THREADS + 1];

    (void)state;
    for (size_t i = 0; i <= THREADS; i++) {
        writers[i] = (struct writer){.evictions = evictions, .filter = filter};
        assert_int_equal(pthread_create(&writers[i].thread, NULL,
                                        i < THREADS ? write_many : read_many, &writers[i]),
                         0);
    }
    for (size_t i = 0; i <= THREADS; i++)
        pthread_join(writers[i].thread, NULL);
    eviction_log_free(evictions);
    assert_int_equal(atomic_load(&filter->refs), 1);
    filter_unref(filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_latest_newest_first),
        cmocka_unit_test(keeps_one_if_that_is_all),
        cmocka_unit_test(tells_what_it_was_told),
        cmocka_unit_test(keeps_the_names_that_have_room),
        cmocka_unit_test(nobody_and_everything_are_empty),
        cmocka_unit_test(workers_share_it),
    };

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
