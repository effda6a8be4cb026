/* SPDX-License-Identifier: MIT */
/* A connection inside TLS to a real server: whom it believes, and large commands. */
#include "config.h"
#include "cluster/redis_socket.h"

#include <setjmp.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "cluster/redis_link.h"
#include "cluster/redis_trust.h"
#include "conf/conf.h"
#include "real_redis.h"

#define PATIENCE_MS 20000

struct rig {
    struct real_redis redis;
    char folder[64];
    char file[128]; /* the certificate, which is its own issuer */
    struct event_base *base;
    struct redis_link *link;
    struct redis_link_conf conf;
    bool is_up, is_answered;
    enum redis_fault down;
    char why[256];
    size_t answer_n;
};

static void up(void *arg)
{
    ((struct rig *)arg)->is_up = true;
}

static void down(void *arg, enum redis_fault fault, const char *why)
{
    struct rig *rig = arg;

    rig->down = fault;
    snprintf(rig->why, sizeof(rig->why), "%s", why);
}

static void answered(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct rig *rig = arg;

    assert_int_equal(fault, REDIS_FINE);
    rig->is_answered = true;
    rig->answer_n = (size_t)reply->len;
}

static int rig_begin(void **state)
{
    static struct rig rig;
    char command[1024], config[1024];

    *state = NULL;
    if (!real_redis_is_installed() || access("/usr/bin/openssl", X_OK) != 0)
        return 0;
    strcpy(rig.folder, "/tmp/bugle-tls-XXXXXX");
    if (mkdtemp(rig.folder) == NULL)
        return -1;
    snprintf(rig.file, sizeof(rig.file), "%s/cert.pem", rig.folder);
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
             "-keyout %s/key.pem -out %s -subj /CN=localhost "
             "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null",
             rig.folder, rig.file);
    if (system(command) != 0)
        return -1;
    snprintf(config, sizeof(config),
             "tls-cert-file %s\ntls-key-file %s/key.pem\ntls-auth-clients no\n", rig.file,
             rig.folder);
    real_redis_begin(&rig.redis, config);
    *state = &rig;
    return 0;
}

static int rig_end(void **state)
{
    struct rig *rig = *state;

    if (rig == NULL)
        return 0;
    real_redis_end(&rig->redis);
    return nftw(rig->folder, real_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static void rig_open(struct rig *rig, const char *host, const char *file)
{
    struct redis_link_hooks hooks = {.up = up, .down = down, .arg = rig};
    struct redis_place place = rig->redis.place;
    struct conf_error error;

    snprintf(place.host, sizeof(place.host), "%s", host);
    rig->base = event_base_new();
    rig->conf = (struct redis_link_conf){.trust = redis_trust_new(file, &error),
                                         .wants_master = true,
                                         .timeout_ms = PATIENCE_MS,
                                         .reply_bytes_max = 16 << 20};
    if (rig->conf.trust == NULL)
        fail_msg("%s", error.text);
    rig->is_up = rig->is_answered = false;
    rig->down = REDIS_FINE;
    rig->link = redis_link_new(rig->base, &rig->conf, &hooks);
    redis_link_open(rig->link, &place);
    while (!rig->is_up && rig->down == REDIS_FINE)
        event_base_loop(rig->base, EVLOOP_ONCE);
}

static void rig_close(struct rig *rig)
{
    redis_link_free(rig->link);
    redis_trust_free((struct redis_trust *)(uintptr_t)rig->conf.trust);
    event_base_free(rig->base);
}

static void large_commands_and_answers_pass(void **state)
{
    static char body[5 << 20];
    const char *words[] = {"SET", "a", body};
    size_t bytes[] = {3, 1, sizeof(body)};
    struct rig *rig = *state;

    if (rig == NULL)
        skip();
    rig_open(rig, "localhost", rig->file);
    assert_true(rig->is_up);
    assert_int_equal(redis_link_send(rig->link, 3, words, bytes, PATIENCE_MS, answered, rig), 0);
    assert_int_equal(redis_link_ask(rig->link, PATIENCE_MS, answered, rig, "GET a"), 0);
    while (redis_link_waiting(rig->link) > 0)
        event_base_loop(rig->base, EVLOOP_ONCE);
    assert_int_equal(rig->answer_n, sizeof(body));
    rig_close(rig);
    rig_open(rig, "127.0.0.1", rig->file); /* an address is in the certificate too */
    assert_true(rig->is_up);
    rig_close(rig);
}

static void strangers_are_not_believed(void **state)
{
    struct rig *rig = *state;

    if (rig == NULL)
        skip();
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) == 0) {
        rig_open(rig, "localhost", NULL); /* of an unknown issuer */
        assert_int_equal(rig->down, REDIS_UNTRUSTED);
        rig_close(rig);
    }
    rig_open(rig, "127.0.0.2", rig->file); /* of another host */
    assert_true(rig->down == REDIS_UNTRUSTED || rig->down == REDIS_REFUSED);
    rig_close(rig);
}

static void a_plain_server_is_no_partner(void **state)
{
    struct rig *rig = *state;
    struct real_redis plain;

    if (rig == NULL)
        skip();
    real_redis_begin(&plain, "");
    rig->redis.place.port = plain.place.port;
    rig_open(rig, "localhost", rig->file);
    assert_false(rig->is_up);
    rig_close(rig);
    real_redis_end(&plain);
}

static void there_must_be_somebody_to_trust(void **state)
{
    struct conf_error error;

    (void)state;
    assert_null(redis_trust_new("/dev/null", &error));
    assert_non_null(strstr(error.text, "no certificate to trust in /dev/null"));
    assert_null(redis_trust_new("/nowhere/at/all", &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_commands_and_answers_pass),
        cmocka_unit_test(strangers_are_not_believed),
        cmocka_unit_test(a_plain_server_is_no_partner),
        cmocka_unit_test(there_must_be_somebody_to_trust),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, rig_begin, rig_end);
}
