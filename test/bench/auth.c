/* SPDX-License-Identifier: MIT */
/*
 * What a credential costs, in microseconds of CPU: a signature of each kind, a token that was seen
 * before, an API key among many, and tokens that are refused.  `make authbench` prints it.
 */
#include "auth/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../support/sign.h"

#define SECRET "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CLAIMS                                                                                     \
    "{\"sub\":\"anna\",\"exp\":4000000000,\"bugle\":{\"publish\":[\"chat/42\"],"                   \
    "\"subscribe\":[\"chat/*\",\"orders/**\"]}}"
#define ROUNDS 5
#define NOW_MS INT64_C(1800000000000)

static char token[SIGN_ROOM];

static double cpu_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Print the median of some rounds of `call`, which must return `expected`. */
static void measure(const char *name, double bar_us, int calls_n, int (*call)(void *arg), void *arg,
                    int expected)
{
    double rounds[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        double began_us = cpu_us();

        for (int j = 0; j < calls_n; j++)
            if (call(arg) != expected) {
                fprintf(stderr, "%s: another answer than expected\n", name);
                exit(1);
            }
        rounds[i] = (cpu_us() - began_us) / calls_n;
    }
    qsort(rounds, ROUNDS, sizeof(double), by_size);
    printf("%-28s %9.2f", name, rounds[ROUNDS / 2]);
    if (bar_us > 0)
        printf("  of %.0f%s", bar_us, rounds[ROUNDS / 2] > bar_us ? ": too slow" : "");
    putchar('\n');
}

static int verify(void *arg)
{
    const struct jwt_rules rules = {.audience = "", .issuer = "", .now_ms = NOW_MS};
    struct identity *identity = NULL;
    int error = jwt_verify(arg, token, strlen(token), &rules, &identity);

    identity_unref(identity);
    return error;
}

static struct jwt_keys *keys_of(const char *name, const char *text)
{
    struct jwt_keys *keys = jwt_keys_new();
    char item[8192], why[JWT_KEY_WHY_BYTES];

    snprintf(item, sizeof(item), "%s:%s", name, text);
    if (jwt_keys_add_item(keys, item, why) != 0) {
        fprintf(stderr, "%s: %s\n", name, why);
        exit(1);
    }
    return keys;
}

static void measure_pair(const char *name, double bar_us, gnutls_pk_algorithm_t kind, unsigned bits,
                         gnutls_sign_algorithm_t sign, size_t coordinate_n)
{
    gnutls_privkey_t key = sign_new_key(kind, bits);
    char *pem = sign_public_pem(key), header[64];
    struct jwt_keys *keys = keys_of(name, pem);

    snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\"}", name);
    sign_private(token, key, sign, coordinate_n, header, CLAIMS);
    measure(name, bar_us, 1000, verify, keys, JWT_OK);
    jwt_keys_free(keys);
    gnutls_privkey_deinit(key);
    free(pem);
}

/* ---- the whole way, with the cache ---- */

struct whole {
    struct conf *conf;
    struct auth *auth;
    const char *text;
};

static int identify(void *arg)
{
    struct whole *whole = arg;
    struct identity *identity = NULL;
    static const struct peer client;
    const struct auth_shown shown = {.text = whole->text,
                                     .text_n = strlen(whole->text),
                                     .client = &client,
                                     .wall_ms = NOW_MS,
                                     .mono_ms = NOW_MS};
    int error = auth_identify(whole->auth, whole->conf, &shown, &identity);

    identity_unref(identity);
    return error;
}

static void add_api_keys(struct conf *conf, unsigned keys_n)
{
    unsigned char salt[API_KEY_SALT_BYTES] = {0};
    char hash[API_KEY_HASH_ROOM], setting[256], key[64];
    struct conf_error error;

    for (unsigned i = 0; i < keys_n; i++) {
        salt[0] = (unsigned char)i;
        snprintf(key, sizeof(key), "bugle_abcdefghijklmnopqrstuvwxyz01234567%u", i);
        api_key_hash(hash, salt, key, strlen(key));
        snprintf(setting, sizeof(setting), "auth.api_key=key%u:publish:%s", i, hash);
        conf_set(conf, setting, &error);
    }
}

static void measure_whole(void)
{
    struct stats stats = {0};
    struct conf_error error;
    struct whole whole = {.conf = conf_new(), .auth = auth_new(&stats)};

    conf_begin_source(whole.conf);
    conf_set(whole.conf, "auth.jwt_key=HS256:" SECRET, &error);
    add_api_keys(whole.conf, 100);
    auth_take(whole.auth, auth_set_new(whole.conf, NULL, 0, &error));
    sign_hmac(token, GNUTLS_MAC_SHA256, SECRET, strlen(SECRET), "{\"alg\":\"HS256\"}", CLAIMS);
    whole.text = token;
    measure("a token seen before", 5, 50000, identify, &whole, JWT_OK);
    whole.text = "bugle_abcdefghijklmnopqrstuvwxyz0123456799";
    measure("an API key seen before", 5, 50000, identify, &whole, JWT_OK);
    conf_set(whole.conf, "auth.cached_tokens=0", &error);
    auth_take(whole.auth, auth_set_new(whole.conf, NULL, 0, &error));
    measure("one of 100 API keys", 0, 5000, identify, &whole, JWT_OK);
    whole.text = "bugle_of_nobody_at_all_abcdefghijklmnopqrst";
    measure("a key of nobody, of 100", 0, 5000, identify, &whole, JWT_MALFORMED);
    auth_free(whole.auth);
    conf_unref(whole.conf);
}

int main(void)
{
    struct jwt_keys *keys = keys_of("HS256", SECRET);

    puts("CPU a credential, us");
    sign_hmac(token, GNUTLS_MAC_SHA256, SECRET, strlen(SECRET), "{\"alg\":\"HS256\"}", CLAIMS);
    measure("HS256", 30, 20000, verify, keys, JWT_OK);
    token[strlen(token) - 5] ^= 1;
    measure("HS256, forged", 0, 20000, verify, keys, JWT_SIGNATURE);
    jwt_keys_free(keys);
    measure_pair("RS256", 80, GNUTLS_PK_RSA, 2048, GNUTLS_SIGN_RSA_SHA256, 0);
    measure_pair("ES256", 250, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1),
                 GNUTLS_SIGN_ECDSA_SHA256, 32);
    measure_pair("ES384", 0, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1),
                 GNUTLS_SIGN_ECDSA_SHA384, 48);
    measure_pair("ES512", 0, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP521R1),
                 GNUTLS_SIGN_ECDSA_SHA512, 66);
    measure_pair("EdDSA", 150, GNUTLS_PK_EDDSA_ED25519, 256, GNUTLS_SIGN_EDDSA_ED25519, 0);
    measure_whole();
    return 0;
}
