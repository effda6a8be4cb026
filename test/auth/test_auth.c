/* SPDX-License-Identifier: MIT */
/* Credentials against settings: keys and tokens, the cache between, and what a new set changes. */
#include "auth/auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/sign.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define API_KEY "bugle_abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"
#define HEADER "{\"alg\":\"HS256\"}"
#define NOW_MS INT64_C(1800000000000)

static char token[SIGN_ROOM];

static struct conf *conf_of(const char *const *assignments)
{
    struct conf *conf = conf_new();
    struct conf_error error;

    conf_begin_source(conf);
    for (; *assignments != NULL; assignments++)
        if (conf_set(conf, *assignments, &error) != 0)
            fail_msg("%s", error.text);
    return conf;
}

static const char *api_key_setting(void)
{
    static char setting[256];
    static const unsigned char salt[API_KEY_SALT_BYTES] = {1, 2, 3};
    char hash[API_KEY_HASH_ROOM];

    api_key_hash(hash, salt, API_KEY, strlen(API_KEY));
    snprintf(setting, sizeof(setting), "auth.api_key=shop:publish=orders/** admin:%s", hash);
    return setting;
}

static struct conf *usual_conf(void)
{
    return conf_of((const char *const[]){"auth.mode=token", "auth.jwt_key=HS256:" SECRET,
                                         api_key_setting(), NULL});
}

static struct auth_set *set_of(const struct conf *conf)
{
    struct conf_error error;
    struct auth_set *set = auth_set_new(conf, NULL, 0, &error);

    if (set == NULL)
        fail_msg("%s", error.text);
    return set;
}

static void sign(const char *claims)
{
    sign_hmac(token, GNUTLS_MAC_SHA256, SECRET, strlen(SECRET), HEADER, claims);
}

/* The monotonic clock goes with the other one. */
static enum jwt_error identify_as(struct auth *auth, const struct conf *conf, const char *text,
                                  int64_t now_ms, struct identity **ret_identity)
{
    static const struct peer client = {.family = AF_INET, .address = {192, 0, 2, 1}};
    const struct auth_shown shown = {.text = text,
                                     .text_n = strlen(text),
                                     .client = &client,
                                     .wall_ms = now_ms,
                                     .mono_ms = now_ms};

    return auth_identify(auth, conf, &shown, ret_identity);
}

static enum jwt_error identify(struct auth *auth, const struct conf *conf, const char *text,
                               int64_t now_ms)
{
    struct identity *identity = NULL;
    enum jwt_error error = identify_as(auth, conf, text, now_ms, &identity);

    assert_int_equal(identity != NULL, error == JWT_OK);
    identity_unref(identity);
    return error;
}

static void knows_keys_and_tokens(void **state)
{
    struct stats stats = {0};
    struct conf *conf = usual_conf();
    struct auth *auth = auth_new(&stats);

    (void)state;
    sign("{\"sub\":\"anna\"}");
    assert_int_equal(identify(auth, conf, token, NOW_MS), JWT_UNKNOWN_KEY); /* no set yet */
    auth_take(auth, set_of(conf));
    assert_int_equal(identify(auth, conf, token, NOW_MS), JWT_OK);
    assert_int_equal(identify(auth, conf, API_KEY, NOW_MS), JWT_OK);
    assert_int_equal(identify(auth, conf, API_KEY "x", NOW_MS), JWT_MALFORMED);
    assert_int_equal(identify(auth, conf, "", NOW_MS), JWT_MALFORMED);
    auth_free(auth);
    conf_unref(conf);
}

static void verifies_a_token_once(void **state)
{
    struct stats stats = {0};
    struct conf *conf = usual_conf();
    struct auth *auth = auth_new(&stats);

    (void)state;
    auth_take(auth, set_of(conf));
    sign("{\"exp\":1800000010}");
    for (int i = 0; i < 5; i++)
        assert_int_equal(identify(auth, conf, token, NOW_MS), JWT_OK);
    assert_int_equal(stats_get(&stats, STATS_TOKENS_VERIFIED), 1);
    assert_int_equal(stats_get(&stats, STATS_TOKENS_CACHED), 1);
    /* its end holds for what is remembered too */
    assert_int_equal(identify(auth, conf, token, NOW_MS + 39999), JWT_OK);
    assert_int_equal(identify(auth, conf, token, NOW_MS + 40000), JWT_EXPIRED);
    assert_int_equal(stats_get(&stats, STATS_TOKENS_CACHED), 0);
    /* what is no good takes no place of those that are */
    stats_set(&stats, STATS_TOKENS_VERIFIED, 0);
    token[strlen(token) - 3] ^= 1;
    for (int i = 0; i < 3; i++)
        assert_int_equal(identify(auth, conf, token, NOW_MS), JWT_SIGNATURE);
    assert_int_equal(stats_get(&stats, STATS_TOKENS_CACHED), 0);
    /* and is looked at once in a minute */
    assert_int_equal(stats_get(&stats, STATS_TOKENS_VERIFIED), 1);
    assert_int_equal(identify(auth, conf, token, NOW_MS + 60000), JWT_SIGNATURE);
    assert_int_equal(stats_get(&stats, STATS_TOKENS_VERIFIED), 2);
    assert_int_equal(stats_get(&stats, STATS_TOKENS_FORGED), 2);
    auth_free(auth);
    conf_unref(conf);
}

static void a_new_set_forgets_the_old(void **state)
{
    struct stats stats = {0};
    struct conf *conf = usual_conf();
    struct conf *later = conf_of((const char *const[]){
        "auth.mode=token", "auth.jwt_key=HS256:another secret of enough bytes 12", NULL});
    struct auth *auth = auth_new(&stats);
    struct identity *by_token, *by_key;

    (void)state;
    auth_take(auth, set_of(conf));
    sign("{}");
    assert_int_equal(identify_as(auth, conf, token, NOW_MS, &by_token), JWT_OK);
    assert_int_equal(identify_as(auth, conf, API_KEY, NOW_MS, &by_key), JWT_OK);
    auth_take(auth, set_of(conf));
    assert_true(auth_key_is_current(auth, conf, by_token));
    assert_true(auth_key_is_current(auth, conf, by_key));
    auth_take(auth, set_of(later));
    assert_false(auth_key_is_current(auth, conf, by_token));
    assert_false(auth_key_is_current(auth, conf, by_key));
    assert_int_equal(identify(auth, later, token, NOW_MS), JWT_SIGNATURE);
    assert_int_equal(identify(auth, later, API_KEY, NOW_MS), JWT_MALFORMED);
    identity_unref(by_token);
    identity_unref(by_key);
    auth_free(auth);
    conf_unref(conf);
    conf_unref(later);
}

/* A token is for the audience that it was verified by, and of the issuer that it names. */
static void other_settings_may_not_take_a_token(void **state)
{
    struct stats stats = {0};
    struct conf *conf = usual_conf();
    struct auth *auth = auth_new(&stats);
    struct identity *by_token, *by_key;

    (void)state;
    auth_take(auth, set_of(conf));
    sign("{\"iss\":\"https://id\"}");
    assert_int_equal(identify_as(auth, conf, token, NOW_MS, &by_token), JWT_OK);
    assert_int_equal(identify_as(auth, conf, API_KEY, NOW_MS, &by_key), JWT_OK);
    static const struct {
        const char *setting;
        bool takes_token;
    } cases[] = {
        {"auth.issuer=https://id", true},
        {"auth.issuer=https://id2", false},
        {"auth.audience=bugle", false},
        {"auth.audience=", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct conf *other = conf_of((const char *const[]){cases[i].setting, NULL});

        assert_int_equal(auth_key_is_current(auth, other, by_token), cases[i].takes_token);
        assert_true(auth_key_is_current(auth, other, by_key));
        conf_unref(other);
    }
    /* without a new set what was verified is forgotten all the same, and the keys stay */
    auth_take(auth, NULL);
    assert_int_equal(stats_get(&stats, STATS_TOKENS_CACHED), 0);
    assert_int_equal(identify(auth, conf, token, NOW_MS), JWT_OK);
    identity_unref(by_token);
    identity_unref(by_key);
    auth_free(auth);
    conf_unref(conf);
}

static void check(const char *const *assignments, const char *part)
{
    struct conf *conf = conf_of(assignments);
    struct conf_error error = {.text = ""};
    int result = auth_check_conf(conf, &error);

    assert_int_equal(result == 0, part == NULL);
    if (part != NULL && strstr(error.text, part) == NULL)
        fail_msg("%s", error.text);
    assert_null(strstr(error.text, "secretsecret"));
    conf_unref(conf);
}

static void checks_settings(void **state)
{
    (void)state;
    check((const char *const[]){"auth.mode=none", NULL}, NULL);
    check((const char *const[]){"auth.mode=none", "auth.jwt_key=HS256:x", NULL}, NULL);
    check((const char *const[]){"auth.mode=token", NULL}, "there must be a key");
    check((const char *const[]){"auth.mode=token", "auth.jwt_key=HS256:" SECRET, NULL}, NULL);
    check((const char *const[]){"auth.mode=token", "auth.jwks=https://id.example/keys", NULL},
          NULL);
    check((const char *const[]){"auth.mode=token", api_key_setting(), NULL}, NULL);
    check((const char *const[]){"auth.mode=token", "auth.jwt_key=HS256:secretsecret", NULL},
          "auth.jwt_key, item 1: a secret for HS256 must have at least 32 bytes");
    check((const char *const[]){"auth.mode=token", "auth.jwt_key=HS256:" SECRET,
                                "auth.jwt_key=none:secretsecret", NULL},
          "auth.jwt_key, item 2: expected HS256");
    check((const char *const[]){"auth.mode=token", "auth.api_key=a:publish:secretsecret", NULL},
          "auth.api_key: item 1 (a) has no hash");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_keys_and_tokens),
        cmocka_unit_test(verifies_a_token_once),
        cmocka_unit_test(a_new_set_forgets_the_old),
        cmocka_unit_test(other_settings_may_not_take_a_token),
        cmocka_unit_test(checks_settings),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
