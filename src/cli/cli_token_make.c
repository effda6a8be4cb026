/* SPDX-License-Identifier: MIT */
/* `bugle token make` and `inspect`: signed tokens. */
#include "config.h"

#include "cli/cli_token.h"

#include <gnutls/gnutls.h>
#include <jansson.h>
#include <rhonabwy.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auth/jwt.h"
#include "base/clock.h"
#include "event/topic.h"

#define TOOL CLI_TOKEN_TOOL

/* ---- make ---- */

static json_t *patterns_json(const struct cli_list *patterns, int *ret_status)
{
    json_t *list = cli_need(json_array());

    for (size_t i = 0; i < patterns->items_n; i++) {
        const char *pattern = patterns->items[i];
        enum topic_error error = topic_check_pattern(pattern, strlen(pattern));

        if (error != TOPIC_OK)
            *ret_status =
                cli_misused(TOOL, "the pattern \"%s\" %s", pattern, topic_error_text(error));
        json_array_append_new(list, json_string(pattern));
    }
    return list;
}

static json_t *rights_json(const struct cli_token *token, int *ret_status)
{
    json_t *rights = cli_need(json_object());

    if (token->publish.items_n > 0)
        json_object_set_new(rights, "publish", patterns_json(&token->publish, ret_status));
    if (token->subscribe.items_n > 0)
        json_object_set_new(rights, "subscribe", patterns_json(&token->subscribe, ret_status));
    if (token->admin)
        json_object_set_new(rights, "admin", json_true());
    if (token->ticket)
        json_object_set_new(rights, "ticket", json_true());
    return rights;
}

static void token_set_text(json_t *claims, const char *name, const char *text)
{
    if (text != NULL)
        json_object_set_new(claims, name, json_string(text));
}

static json_t *claims_json(const struct cli_token *token, int *ret_status)
{
    json_t *claims = cli_need(json_object()), *rights = rights_json(token, ret_status);
    int64_t now_ms = clock_wall_ms();

    token_set_text(claims, "sub", token->user);
    token_set_text(claims, "iss", token->issuer);
    token_set_text(claims, "aud", token->audience);
    json_object_set_new(claims, "iat", json_integer(now_ms / 1000));
    json_object_set_new(claims, "exp", json_integer((now_ms + (int64_t)token->ttl_ms) / 1000));
    json_object_set_new(claims, "bugle", rights);
    return claims;
}

/* A file's text, for free(); NULL when it cannot be read, which has been told. */
static char *read_key_file(const char *path, size_t *ret_n)
{
    FILE *file = fopen(path, "re");
    char *text = cli_need(malloc(JWT_KEY_TEXT_MAX + 1));

    if (file == NULL) {
        cli_fail(TOOL, "%s: %m", path);
        free(text);
        return NULL;
    }
    *ret_n = fread(text, 1, JWT_KEY_TEXT_MAX, file);
    text[*ret_n] = '\0';
    fclose(file);
    if (*ret_n > 0 && text[*ret_n - 1] == '\n')
        text[--*ret_n] = '\0';
    return text;
}

static int import_key(jwk_t *jwk, enum jwt_algorithm algorithm, const char *text, size_t text_n)
{
    const unsigned char *bytes = (const unsigned char *)text;

    if (algorithm <= JWT_HS512)
        return r_jwk_import_from_symmetric_key(jwk, bytes, text_n);
    if (text[0] == '{')
        return r_jwk_import_from_json_str(jwk, text);
    return r_jwk_import_from_pem_der(jwk, R_X509_TYPE_PRIVKEY, R_FORMAT_PEM, bytes, text_n);
}

/* A secret has to be one that the gateway would take. */
static int check_secret(enum jwt_algorithm algorithm, const char *item)
{
    struct jwt_keys *keys;
    char why[JWT_KEY_WHY_BYTES];

    if (algorithm > JWT_HS512)
        return CLI_FINE;
    keys = cli_need(jwt_keys_new());
    int result = jwt_keys_add_item(keys, item, why);
    jwt_keys_free(keys);
    return result == 0 ? CLI_FINE : cli_fail(TOOL, "--key: %s", why);
}

static int print_signed(const struct cli_token *token, enum jwt_algorithm algorithm, jwk_t *jwk,
                        json_t *claims)
{
    jwt_t *jwt = NULL;
    char *text = NULL;

    if (r_jwt_init(&jwt) == RHN_OK &&
        r_jwt_set_sign_alg(jwt, r_str_to_jwa_alg(jwt_algorithm_text(algorithm))) == RHN_OK &&
        (token->kid == NULL || r_jwt_set_header_str_value(jwt, "kid", token->kid) == RHN_OK) &&
        r_jwt_set_full_claims_json_t(jwt, claims) == RHN_OK)
        text = r_jwt_serialize_signed(jwt, jwk, R_FLAG_IGNORE_REMOTE);
    if (text != NULL)
        puts(text);
    r_free(text);
    r_jwt_free(jwt);
    return text != NULL
               ? CLI_FINE
               : cli_fail(TOOL, "the key cannot sign with %s", jwt_algorithm_text(algorithm));
}

static int token_sign(const struct cli_token *token, enum jwt_algorithm algorithm, const char *key,
                      json_t *claims)
{
    size_t text_n = strlen(key);
    char *text = key[0] == '@' ? read_key_file(key + 1, &text_n) : cli_need(strdup(key));
    jwk_t *jwk = NULL;
    int status = CLI_FAILED;

    if (text == NULL)
        return CLI_FAILED;
    if (r_jwk_init(&jwk) != RHN_OK || import_key(jwk, algorithm, text, text_n) != RHN_OK)
        cli_fail(TOOL, "the key cannot be read: %s takes a %s", jwt_algorithm_text(algorithm),
                 algorithm <= JWT_HS512 ? "secret" : "private key in PEM");
    else
        status = print_signed(token, algorithm, jwk, claims);
    r_jwk_free(jwk);
    explicit_bzero(text, text_n);
    free(text);
    return status;
}

int cli_token_make(const struct cli_token *token)
{
    enum jwt_algorithm algorithm;
    int status = CLI_FINE;

    if (token->keys.items_n != 1)
        return cli_misused(TOOL, "make needs one --key to sign with");
    const char *item = token->keys.items[0], *colon = strchr(item, ':');
    if (colon == NULL || !jwt_algorithm_parse(item, (size_t)(colon - item), &algorithm))
        return cli_misused(TOOL, "--key must be ALG:SECRET or ALG:@FILE, and ALG one of HS256, "
                                 "RS256, ES256 with their like for 384 and 512, or EdDSA");
    if (token->user != NULL && topic_check_user(token->user, strlen(token->user)) != TOPIC_OK)
        return cli_misused(TOOL, "--user cannot be a user");
    json_t *claims = claims_json(token, &status);
    if (status == CLI_FINE)
        status = check_secret(algorithm, item);
    if (status == CLI_FINE)
        status = token_sign(token, algorithm, colon + 1, claims);
    json_decref(claims);
    return status;
}

/* ---- inspect ---- */

static void print_json(const char *title, json_t *json)
{
    char *text = cli_need(json_dumps(json, JSON_INDENT(2)));

    printf("%s ", title);
    cli_put_visible(stdout, text, strlen(text), "");
    putchar('\n');
    free(text);
}

static void print_time(const json_t *claims, const char *name, const char *sentence)
{
    const json_t *value = json_object_get(claims, name);
    time_t seconds = (time_t)json_integer_value(value);
    char text[64];
    struct tm parts;

    if (json_is_integer(value) && gmtime_r(&seconds, &parts) != NULL &&
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts) > 0)
        printf("%s %s\n", sentence, text);
}

static int print_parts(const char *text)
{
    size_t header_n = strcspn(text, "."), rest_n = strlen(text) - header_n;
    struct json_alloc *header, *claims = NULL;

    jwt_read_object(text, header_n, &header);
    if (rest_n > 1)
        jwt_read_object(text + header_n + 1, strcspn(text + header_n + 1, "."), &claims);
    if (header != NULL && claims != NULL) {
        print_json("header", header->root);
        print_json("claims", claims->root);
        print_time(claims->root, "nbf", "holds from");
        print_time(claims->root, "exp", "holds until");
    }
    int status = header != NULL && claims != NULL ? CLI_FINE : CLI_FAILED;
    json_alloc_free(header);
    json_alloc_free(claims);
    return status == CLI_FINE ? status : cli_fail(TOOL, "this is no signed token");
}

static int token_verify(const struct cli_token *token, const char *text)
{
    struct jwt_keys *keys = cli_need(jwt_keys_new());
    const struct jwt_rules rules = {.audience = token->audience != NULL ? token->audience : "",
                                    .issuer = token->issuer != NULL ? token->issuer : "",
                                    .now_ms = clock_wall_ms()};
    struct identity *identity = NULL;
    char why[JWT_KEY_WHY_BYTES];
    int status = CLI_FINE;

    for (size_t i = 0; status == CLI_FINE && i < token->keys.items_n; i++)
        if (jwt_keys_add_item(keys, token->keys.items[i], why) != 0)
            status = cli_fail(TOOL, "--key: %s", why);
    if (status == CLI_FINE) {
        enum jwt_error error = jwt_verify(keys, text, strlen(text), &rules, &identity);

        status = error == JWT_OK ? CLI_FINE : cli_fail(TOOL, "the token %s", jwt_error_text(error));
        if (error == JWT_OK)
            puts("the token holds");
    }
    identity_unref(identity);
    jwt_keys_free(keys);
    return status;
}

int cli_token_inspect(const struct cli_token *token)
{
    char text[JWT_BYTES_MAX * 2 + 2];
    size_t text_n = fread(text, 1, sizeof(text) - 1, stdin);

    text[text_n] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    int status = print_parts(text);
    if (status != CLI_FINE || token->keys.items_n == 0)
        return status;
    return token_verify(token, text);
}
