/* SPDX-License-Identifier: MIT */
/* Which servers can be the shared log, and in which words the others are refused. */
#include "config.h"
#include "cluster/cluster_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "cluster/redis_link.h"
#include "fake_redis.h"
#include "real_redis.h"

#define PATIENCE_MS 20000

struct asked {
    struct event_base *base;
    struct redis_link *link;
    struct redis_link_conf conf;
    struct cluster_check_conf wanted;
    bool is_up, is_done;
    enum redis_fault down;
    enum cluster_verdict verdict;
    char line[512];
};

static void up(void *arg)
{
    ((struct asked *)arg)->is_up = true;
}

static void down(void *arg, enum redis_fault fault, const char *why)
{
    (void)why;
    ((struct asked *)arg)->down = fault;
}

static void checked(void *arg, enum cluster_verdict verdict, const char *line)
{
    struct asked *asked = arg;

    asked->is_done = true;
    asked->verdict = verdict;
    snprintf(asked->line, sizeof(asked->line), "%s", line);
}

static void asked_begin(struct asked *asked)
{
    memset(asked, 0, sizeof(*asked));
    asked->base = event_base_new();
    asked->conf = (struct redis_link_conf){
        .wants_master = true, .timeout_ms = PATIENCE_MS, .reply_bytes_max = 1 << 16};
    asked->wanted = (struct cluster_check_conf){.prefix = "bugle",
                                                .node = "one",
                                                .promise = HISTORY_MEMORY,
                                                .timeout_ms = PATIENCE_MS,
                                                .lease_ms = 2000};
}

/* Ask the server at a place, and leave the answer. */
static void ask_at(struct asked *asked, const struct redis_place *place)
{
    struct redis_link_hooks hooks = {.up = up, .down = down, .arg = asked};
    struct cluster_check *check = NULL;

    asked->is_done = asked->is_up = false;
    asked->down = REDIS_FINE;
    asked->line[0] = '\0';
    asked->link = redis_link_new(asked->base, &asked->conf, &hooks);
    redis_link_open(asked->link, place);
    while (!asked->is_up && asked->down == REDIS_FINE)
        event_base_loop(asked->base, EVLOOP_ONCE);
    if (asked->is_up)
        check = cluster_check_begin(asked->base, asked->link, &asked->wanted, checked, asked);
    while (check != NULL && !asked->is_done)
        event_base_loop(asked->base, EVLOOP_ONCE);
    redis_link_free(asked->link);
    cluster_check_free(check);
}

static void expect_real(struct asked *asked, struct real_redis *redis, const char *line)
{
    ask_at(asked, &redis->place);
    if (strstr(asked->line, line) == NULL || (line[0] == '\0') != (asked->line[0] == '\0'))
        fail_msg("\"%s\" is not in \"%s\"", line, asked->line);
    assert_int_equal(asked->verdict, line[0] == '\0' ? CLUSTER_GOOD : CLUSTER_REFUSED);
}

/* Each case with a server of its own: `config` is what it is started with. */
static void expect_with(const char *config, const struct cluster_check_conf *wanted,
                        const char *line)
{
    struct real_redis redis;
    struct asked asked;

    real_redis_begin(&redis, config);
    asked_begin(&asked);
    if (wanted != NULL)
        asked.wanted = *wanted;
    expect_real(&asked, &redis, line);
    event_base_free(asked.base);
    real_redis_end(&redis);
}

static void need_redis(void)
{
    if (!real_redis_is_installed())
        skip();
}

static void a_plain_server_will_do(void **state)
{
    (void)state;
    need_redis();
    expect_with("", NULL, "");
    expect_with("maxmemory-policy volatile-lru", NULL, "");
}

static void a_server_that_forgets_is_refused(void **state)
{
    (void)state;
    need_redis();
    expect_with("maxmemory-policy allkeys-lru", NULL, "set it to noeviction");
}

static void a_promise_is_checked(void **state)
{
    struct cluster_check_conf disk = {.prefix = "p",
                                      .node = "one",
                                      .promise = HISTORY_DISK,
                                      .timeout_ms = PATIENCE_MS,
                                      .lease_ms = 2000};
    struct cluster_check_conf replicated = disk;

    (void)state;
    need_redis();
    expect_with("", &disk, "set appendonly yes and appendfsync always");
    expect_with("appendonly yes\nappendfsync everysec", &disk, "appendfsync everysec: set it to");
    expect_with("appendonly yes\nappendfsync always", &disk, "");
    expect_with("appendonly yes\nrename-command CONFIG \"\"", &disk, "cluster.assume=disk");
    disk.assumes_disk = true;
    expect_with("appendonly yes\nrename-command CONFIG \"\"", &disk, "");
    replicated.promise = HISTORY_REPLICATED;
    replicated.replicas = 1;
    expect_with("", &replicated, ""); /* the replica may come */
}

static void rights_are_checked(void **state)
{
    struct real_redis redis;
    struct asked asked;

    (void)state;
    need_redis();
    real_redis_begin(&redis,
                     "user least on >pw ~{bugle}* &{bugle}* -@all +auth +role +ping +select +eval "
                     "+evalsha +del +set +get +mget +pttl +type +pexpire +hset +hincrby +hget "
                     "+hmget +hgetall +hdel +rpush +lrange +lset +ltrim +xadd +xrange +xread "
                     "+xtrim +info +time +publish +subscribe\n"
                     "user less on >pw ~{bugle}* &{bugle}* +@all -xadd -hset\n"
                     "user keyless on >pw ~other* &{bugle}* +@all\n"
                     "user mute on >pw ~{bugle}* &other +@all\n"
                     "user scriptless on >pw ~{bugle}* &* +@all -eval\n"
                     "user default off\n");
    asked_begin(&asked);
    asked.conf.password = "pw";
    asked.conf.user = "least";
    expect_real(&asked, &redis, "");
    asked.conf.user = "less";
    expect_real(&asked, &redis, "must be allowed HSET");
    assert_non_null(strstr(asked.line, "XADD"));
    asked.conf.user = "keyless";
    expect_real(&asked, &redis, "must be allowed the keys ~{bugle}*");
    asked.conf.user = "mute";
    expect_real(&asked, &redis, "must be allowed PUBLISH");
    asked.conf.user = "scriptless";
    expect_real(&asked, &redis, "must be allowed EVAL");
    asked.conf.password = "wrong";
    ask_at(&asked, &redis.place);
    assert_int_equal(asked.down, REDIS_WRONGPASS);
    asked.conf.password = NULL;
    ask_at(&asked, &redis.place);
    assert_int_equal(asked.down, REDIS_NOAUTH);
    event_base_free(asked.base);
    real_redis_end(&redis);
}

static void keys_of_others_are_seen(void **state)
{
    struct real_redis redis;
    struct asked asked;

    (void)state;
    need_redis();
    real_redis_begin(&redis, "");
    asked_begin(&asked);
    real_tell(&redis, NULL, 0, "SET {bugle}terms x");
    expect_real(&asked, &redis, "key {bugle}terms in cluster.log is a string, not a list");
    real_tell(&redis, NULL, 0, "DEL {bugle}terms");
    expect_real(&asked, &redis, "");
    event_base_free(asked.base);
    real_redis_end(&redis);
}

static void on_renew(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    real_tell(arg, NULL, 0, "SET {bugle}n:one other PX 2000");
}

static void a_name_that_is_in_use_is_refused(void **state)
{
    struct timeval often = {.tv_usec = 100000};
    struct real_redis redis;
    struct asked asked;

    (void)state;
    need_redis();
    real_redis_begin(&redis, "");
    asked_begin(&asked);
    /* what is left of a process that died */
    real_tell(&redis, NULL, 0, "SET {bugle}n:one other PX 60000");
    expect_real(&asked, &redis, "");
    struct event *renew = event_new(asked.base, -1, EV_PERSIST, on_renew, &redis);
    event_add(renew, &often);
    expect_real(&asked, &redis, "another process renews the lease of cluster.node=one");
    asked.wanted.incarnation = "other";
    expect_real(&asked, &redis, "");
    event_free(renew);
    event_base_free(asked.base);
    real_redis_end(&redis);
}

/* A command of a process that died was long on its way: one is no sign of life. */
static void one_renewal_is_no_process(void **state)
{
    struct timeval later = {.tv_usec = 300000};
    struct real_redis redis;
    struct asked asked;

    (void)state;
    need_redis();
    real_redis_begin(&redis, "");
    asked_begin(&asked);
    real_tell(&redis, NULL, 0, "SET {bugle}n:one other PX 60000");
    struct event *renew = event_new(asked.base, -1, 0, on_renew, &redis);
    event_add(renew, &later);
    expect_real(&asked, &redis, "");
    event_free(renew);
    event_base_free(asked.base);
    real_redis_end(&redis);
}

static void on_busy(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    usleep(300000);
}

/* After the first look at the lease this process is busy, and finds its answers late. */
static void a_late_answer_is_no_renewal(void **state)
{
    struct timeval soon = {.tv_usec = 100000};
    struct real_redis redis;
    struct asked asked;

    (void)state;
    need_redis();
    real_redis_begin(&redis, "");
    asked_begin(&asked);
    real_tell(&redis, NULL, 0, "SET {bugle}n:one other PX 60000");
    struct event *busy = event_new(asked.base, -1, EV_PERSIST, on_busy, NULL);
    event_add(busy, &soon);
    expect_real(&asked, &redis, "");
    event_free(busy);
    event_base_free(asked.base);
    real_redis_end(&redis);
}

static void say_old(struct fake_client *client, const redisReply *command)
{
    const char *words = client->fake->arg;

    fake_say(client, fake_is(command, "ROLE") ? "*1\r\n$6\r\nmaster\r\n" : words);
}

static void expect_fake(const char *words, enum cluster_verdict verdict, const char *line)
{
    struct fake_redis fake;
    struct asked asked;
    char said[256];

    snprintf(said, sizeof(said), "%s", words);
    asked_begin(&asked);
    fake_redis_begin(&fake, asked.base, say_old, said);
    ask_at(&asked, &fake.place);
    assert_int_equal(asked.verdict, verdict);
    if (strstr(asked.line, line) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", line, asked.line);
    fake_redis_end(&fake);
    event_base_free(asked.base);
}

static void other_servers_are_no_harm(void **state)
{
    (void)state;
    expect_fake("$21\r\nredis_version:6.0.16\n\r\n", CLUSTER_REFUSED,
                "is Redis 6.0.16: it must be");
    expect_fake("$5\r\nhello\r\n", CLUSTER_REFUSED, "does not say its version");
    expect_fake("*-1\r\n", CLUSTER_REFUSED, "does not say its version");
    expect_fake("-LOADING it is\r\n", CLUSTER_CUT_OFF, "LOADING");
    expect_fake("?\r\n", CLUSTER_CUT_OFF, "not the protocol");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_server_will_do),
        cmocka_unit_test(a_server_that_forgets_is_refused),
        cmocka_unit_test(a_promise_is_checked),
        cmocka_unit_test(rights_are_checked),
        cmocka_unit_test(keys_of_others_are_seen),
        cmocka_unit_test(a_name_that_is_in_use_is_refused),
        cmocka_unit_test(one_renewal_is_no_process),
        cmocka_unit_test(a_late_answer_is_no_renewal),
        cmocka_unit_test(other_servers_are_no_harm),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
