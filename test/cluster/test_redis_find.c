/* SPDX-License-Identifier: MIT */
/* Which server is the master: what sentinels say, late, wrongly or differently. */
#include "config.h"
#include "cluster/redis_find.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "fake_redis.h"
#include "real_redis.h"

#define PATIENCE_MS 20000
#define SENTINELS_N 3

/* What one sentinel says. */
struct says {
    const char *password;
    bool is_known; /* to this connection */
    unsigned port; /* of the master; 0: it knows none */
    unsigned epoch;
    unsigned asked_n;
};

struct rig {
    struct event_base *base;
    struct redis_url url;
    struct redis_find *find;
    struct fake_redis fakes[SENTINELS_N];
    struct says says[SENTINELS_N];
    unsigned found_n;
    struct redis_place found;
    unsigned lost_n;
    char why[256];
};

static void say_master(struct fake_client *client, const redisReply *command)
{
    struct says *says = client->fake->arg;
    char text[256], port[8], epoch[16];

    snprintf(port, sizeof(port), "%u", says->port);
    snprintf(epoch, sizeof(epoch), "%u", says->epoch);
    if (fake_is(command, "AUTH")) {
        says->is_known = strcmp(command->element[1]->str, says->password) == 0;
        fake_say(client, says->is_known ? "+OK\r\n" : "-WRONGPASS no\r\n");
    } else if (says->password != NULL && !says->is_known) {
        fake_say(client, "-NOAUTH Authentication required.\r\n");
    } else if (fake_is(command, "PING")) {
        fake_say(client, "+PONG\r\n");
    } else if (says->port == 0) {
        says->asked_n++;
        fake_say(client, strcasecmp(command->element[1]->str, "MASTER") == 0
                             ? "-ERR No such master with that name\r\n"
                             : "*-1\r\n");
    } else if (strcasecmp(command->element[1]->str, "MASTER") == 0) {
        says->asked_n++;
        snprintf(text, sizeof(text),
                 "*4\r\n$4\r\nname\r\n$1\r\nm\r\n$12\r\nconfig-epoch\r\n$%zu\r\n%s\r\n",
                 strlen(epoch), epoch);
        fake_say(client, text);
    } else {
        snprintf(text, sizeof(text), "*2\r\n$8\r\n10.0.0.1\r\n$%zu\r\n%s\r\n", strlen(port), port);
        fake_say(client, text);
    }
}

static void found(void *arg, const struct redis_place *place)
{
    struct rig *rig = arg;

    rig->found_n++;
    rig->found = *place;
}

static void lost(void *arg, const char *why)
{
    struct rig *rig = arg;

    rig->lost_n++;
    snprintf(rig->why, sizeof(rig->why), "%s", why);
}

static void rig_begin(struct rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    rig->base = event_base_new();
    rig->url.is_sentinel = true;
    rig->url.places_n = SENTINELS_N;
    strcpy(rig->url.master, "m");
    for (size_t i = 0; i < SENTINELS_N; i++) {
        fake_redis_begin(&rig->fakes[i], rig->base, say_master, &rig->says[i]);
        rig->url.places[i] = rig->fakes[i].place;
        rig->says[i] = (struct says){.port = 7000, .epoch = 1};
    }
}

static void rig_ask(struct rig *rig)
{
    struct redis_find_conf conf = {
        .url = &rig->url, .password = "pw", .timeout_ms = PATIENCE_MS, .lost = lost};

    rig->find = redis_find_new(rig->base, &conf, found, rig);
    redis_find_again(rig->find);
}

static void wait_for(struct rig *rig, const unsigned *count, unsigned wanted)
{
    int64_t until_ms = clock_mono_ms() + PATIENCE_MS;

    while (*count < wanted && clock_mono_ms() < until_ms)
        event_base_loop(rig->base, EVLOOP_ONCE);
    assert_true(*count >= wanted);
}

static void rig_end(struct rig *rig)
{
    redis_find_free(rig->find);
    for (size_t i = 0; i < SENTINELS_N; i++)
        fake_redis_end(&rig->fakes[i]);
    event_base_free(rig->base);
}

static void the_named_server_is_tried_again(void **state)
{
    struct redis_place moved = {"10.0.0.9", 1};
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig.url.is_sentinel = false;
    rig_ask(&rig);
    assert_int_equal(rig.found_n, 0);
    wait_for(&rig, &rig.found_n, 1);
    assert_true(redis_place_equal(&rig.found, &rig.url.places[0]));
    redis_find_moved(rig.find, &moved);
    redis_find_again(rig.find);
    wait_for(&rig, &rig.found_n, 2);
    assert_true(redis_place_equal(&rig.found, &moved));
    redis_find_again(rig.find); /* it came to nothing */
    wait_for(&rig, &rig.found_n, 3);
    assert_true(redis_place_equal(&rig.found, &rig.url.places[0]));
    rig_end(&rig);
}

static void errors_that_follow_each_other_wait(void **state)
{
    int64_t begin_ms = clock_mono_ms();
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig.url.is_sentinel = false;
    rig_ask(&rig);
    for (unsigned n = 1; n <= 3; n++) {
        wait_for(&rig, &rig.found_n, n);
        redis_find_again(rig.find);
    }
    wait_for(&rig, &rig.found_n, 4);
    assert_true(clock_mono_ms() - begin_ms >= 700); /* 0, 0.1, 0.2, 0.4 s */
    redis_find_works(rig.find);
    redis_find_again(rig.find);
    wait_for(&rig, &rig.found_n, 5);
    rig_end(&rig);
}

static void a_new_master_is_told_unasked(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig_ask(&rig);
    wait_for(&rig, &rig.found_n, 1);
    assert_int_equal(rig.found.port, 7000);
    redis_find_works(rig.find);
    /* one has seen a failover, and the others have not */
    rig.says[2].port = 7001;
    rig.says[2].epoch = 2;
    wait_for(&rig, &rig.found_n, 2);
    assert_int_equal(rig.found.port, 7001);
    /* as long as it answers, the former master does not come back */
    unsigned asked_n = rig.says[0].asked_n;
    wait_for(&rig, &rig.says[0].asked_n, asked_n + 2);
    assert_int_equal(rig.found_n, 2);
    rig_end(&rig);
}

static void sentinels_may_be_down_or_know_nothing(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig.says[0].port = 0;
    event_del(rig.fakes[1].acceptable);
    close(rig.fakes[1].fd);
    rig.fakes[1].fd = -1;
    rig_ask(&rig);
    wait_for(&rig, &rig.found_n, 1);
    assert_int_equal(rig.found.port, 7000);
    rig_end(&rig);
}

static void nobody_knows_and_it_is_said(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    for (size_t i = 0; i < SENTINELS_N; i++)
        rig.says[i].port = 0;
    rig_ask(&rig);
    for (size_t i = 0; i < SENTINELS_N; i++)
        wait_for(&rig, &rig.says[i].asked_n, 4);
    assert_int_equal(rig.found_n, 0);
    wait_for(&rig, &rig.lost_n, 2);
    assert_non_null(strstr(rig.why, "knows no master named m"));
    for (size_t i = 0; i < SENTINELS_N; i++)
        rig.says[i].port = 7000;
    wait_for(&rig, &rig.found_n, 1);
    rig.lost_n = 0;
    for (size_t i = 0; i < SENTINELS_N; i++)
        rig.says[i].port = 0;
    rig.says[0].port = 7001; /* one is enough */
    redis_find_again(rig.find);
    wait_for(&rig, &rig.found_n, 2);
    assert_int_equal(rig.lost_n, 0);
    rig_end(&rig);
}

static void sentinels_may_want_the_password(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    for (size_t i = 0; i < SENTINELS_N; i++)
        rig.says[i].password = "pw";
    rig_ask(&rig);
    wait_for(&rig, &rig.found_n, 1);
    assert_int_equal(rig.found.port, 7000);
    rig_end(&rig);
}

static void a_real_sentinel_answers(void **state)
{
    struct real_redis redis, sentinel;
    char config[128];
    struct rig rig;

    (void)state;
    if (!real_redis_is_installed())
        skip();
    real_redis_begin(&redis, "");
    snprintf(config, sizeof(config), "sentinel monitor m 127.0.0.1 %u 1", redis.place.port);
    real_redis_begin(&sentinel, config);
    rig_begin(&rig);
    rig.url.places_n = 1;
    rig.url.places[0] = sentinel.place;
    rig_ask(&rig);
    wait_for(&rig, &rig.found_n, 1);
    assert_true(redis_place_equal(&rig.found, &redis.place));
    rig_end(&rig);
    real_redis_end(&sentinel);
    real_redis_end(&redis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_named_server_is_tried_again),
        cmocka_unit_test(errors_that_follow_each_other_wait),
        cmocka_unit_test(a_new_master_is_told_unasked),
        cmocka_unit_test(sentinels_may_be_down_or_know_nothing),
        cmocka_unit_test(nobody_knows_and_it_is_said),
        cmocka_unit_test(sentinels_may_want_the_password),
        cmocka_unit_test(a_real_sentinel_answers),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
