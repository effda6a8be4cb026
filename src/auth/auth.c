/* SPDX-License-Identifier: MIT */
/* Credentials.  See auth.h. */
#include "config.h"
#include "auth/auth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/forged.h"
#include "auth/jwt_keys.h"
#include "base/file_read.h"

struct auth {
    struct auth_set *set;
    struct token_cache *cache;
    struct forged *forged;
    struct stats *stats;
};

/* ---- sets ---- */

static int auth_refuse(struct conf_error *ret_error, const char *setting, size_t place,
                       const char *why)
{
    if (place > 0)
        snprintf(ret_error->text, sizeof(ret_error->text), "%s, item %zu: %s", setting, place, why);
    else
        snprintf(ret_error->text, sizeof(ret_error->text), "%s: %s", setting, why);
    return -EINVAL;
}

static int auth_read_items(struct auth_set *set, const struct conf *conf,
                           struct conf_error *ret_error)
{
    const struct conf_list *items = &conf->auth.jwt_key;
    char why[JWT_KEY_WHY_BYTES];

    for (size_t i = 0; i < items->items_n; i++) {
        snprintf(why, sizeof(why), "out of memory");
        if (jwt_keys_add_item(set->tokens, items->items[i], why) != 0)
            return auth_refuse(ret_error, "auth.jwt_key", i + 1, why);
    }
    return 0;
}

static int auth_read_set(struct auth_set *set, const struct conf *conf, const char *jwks,
                         size_t jwks_n, struct conf_error *ret_error)
{
    char why[JWT_KEY_WHY_BYTES > API_KEY_WHY_BYTES ? JWT_KEY_WHY_BYTES : API_KEY_WHY_BYTES];

    set->tokens = jwt_keys_new();
    if (set->tokens == NULL)
        return auth_refuse(ret_error, "auth.jwt_key", 0, "out of memory");
    if (auth_read_items(set, conf, ret_error) != 0)
        return -EINVAL;
    if (jwks != NULL && jwt_keys_add_set(set->tokens, jwks, jwks_n, why) != 0)
        return auth_refuse(ret_error, "auth.jwks", 0, why);
    if (ticket_keys_from_conf(&set->tickets, conf) != 0)
        return auth_refuse(
            ret_error, "auth.ticket_key", 0,
            "there are more than 4 keys: one, and while another takes its place two");
    set->api_keys = api_keys_new(conf->auth.api_key.items, conf->auth.api_key.items_n, why);
    return set->api_keys != NULL ? 0 : auth_refuse(ret_error, "auth.api_key", 0, why);
}

struct auth_set *auth_set_new(const struct conf *conf, const char *jwks, size_t jwks_n,
                              struct conf_error *ret_error)
{
    struct auth_set *set = calloc(1, sizeof(*set));

    if (set == NULL) {
        auth_refuse(ret_error, "auth.jwt_key", 0, "out of memory");
        return NULL;
    }
    if (auth_read_set(set, conf, jwks, jwks_n, ret_error) == 0)
        return set;
    auth_set_free(set);
    return NULL;
}

void auth_set_free(struct auth_set *set)
{
    if (set == NULL)
        return;
    jwt_keys_free(set->tokens);
    api_keys_free(set->api_keys);
    explicit_bzero(&set->tickets, sizeof(set->tickets));
    free(set);
}

/* A text of its own would begin with the '@' of a name, or end at a NUL: then it stays in its file.
 */
static bool auth_can_stand_inside(const char *text, size_t text_n)
{
    return text_n > 0 && text[0] != '@' && memchr(text, '\0', text_n) == NULL;
}

static int auth_read_item(char **item)
{
    char *at = strstr(*item, ":@"), *text, *whole = NULL;
    size_t text_n;

    if (at == NULL || at != strchr(*item, ':') ||
        file_read(at + 2, JWT_KEY_TEXT_MAX, &text, &text_n) != 0)
        return 0;
    if (auth_can_stand_inside(text, text_n) &&
        asprintf(&whole, "%.*s%s", (int)(at + 1 - *item), *item, text) < 0)
        whole = NULL;
    int result = whole != NULL || !auth_can_stand_inside(text, text_n) ? 0 : -ENOMEM;
    if (whole != NULL) {
        whole[strlen(whole) - (text[text_n - 1] == '\n')] = '\0';
        free(*item);
        *item = whole;
    }
    explicit_bzero(text, text_n);
    free(text);
    return result;
}

int auth_read_files(struct conf *conf)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < conf->auth.jwt_key.items_n; i++)
        result = auth_read_item(&conf->auth.jwt_key.items[i]);
    return result;
}

int auth_check_conf(const struct conf *conf, struct conf_error *ret_error)
{
    if (conf->auth.mode != CONF_AUTH_TOKEN)
        return 0;
    struct auth_set *set = auth_set_new(conf, NULL, 0, ret_error);
    if (set == NULL)
        return -EINVAL;
    bool has_keys = set->tokens->n > 0 || set->api_keys->n > 0 || conf->auth.jwks[0] != '\0';
    auth_set_free(set);
    if (conf->auth.anonymous.items_n > AUTH_ANONYMOUS_MAX)
        return auth_refuse(ret_error, "auth.anonymous", 0, "there are more than 128 patterns");
    if (conf->auth.private.items_n > AUTH_ANONYMOUS_MAX)
        return auth_refuse(ret_error, "auth.private", 0, "there are more than 128 patterns");
    if (has_keys)
        return 0;
    return auth_refuse(ret_error, "auth.mode", 0,
                       "with token there must be a key: auth.jwt_key, auth.jwks or auth.api_key");
}

/* ---- one worker's ---- */

struct auth *auth_new(struct stats *stats)
{
    struct auth *auth = calloc(1, sizeof(*auth));

    if (auth == NULL)
        return NULL;
    auth->stats = stats;
    auth->cache = token_cache_new(0);
    auth->forged = forged_new();
    if (auth->cache != NULL && auth->forged != NULL)
        return auth;
    auth_free(auth);
    return NULL;
}

void auth_free(struct auth *auth)
{
    if (auth == NULL)
        return;
    if (auth->cache != NULL)
        token_cache_free(auth->cache);
    forged_free(auth->forged);
    auth_set_free(auth->set);
    free(auth);
}

static void auth_count_cached(const struct auth *auth)
{
    stats_set(auth->stats, STATS_TOKENS_CACHED, (int64_t)token_cache_count(auth->cache));
}

void auth_take(struct auth *auth, struct auth_set *set)
{
    if (set != NULL) {
        auth_set_free(auth->set);
        auth->set = set;
    }
    token_cache_clear(auth->cache);
    forged_forget_tokens(auth->forged);
    auth_count_cached(auth);
}

/* A cached token is as good as on the day it was verified, but for the time. */
static enum jwt_error auth_use_cached(struct auth *auth, const unsigned char *digest,
                                      struct identity *identity, int64_t now_ms,
                                      struct identity **ret_identity)
{
    if (identity->until_ms != IDENTITY_FOREVER && now_ms >= identity->until_ms + JWT_LEEWAY_MS) {
        token_cache_drop(auth->cache, digest);
        auth_count_cached(auth);
        return JWT_EXPIRED;
    }
    *ret_identity = identity_ref(identity);
    return JWT_OK;
}

/* Whether what is wrong now is wrong a minute later too, and it cost a signature to find out. */
static bool auth_is_final(enum jwt_error error)
{
    return error == JWT_SIGNATURE || error == JWT_MILLISECONDS || error == JWT_EXPIRED ||
           error == JWT_AUDIENCE || error == JWT_ISSUER || error == JWT_CLAIMS;
}

/* A signature is looked at, if the client's address has not shown too many that were forged. */
static enum jwt_error auth_verify_token(struct auth *auth, const struct conf *conf,
                                        const struct auth_shown *shown, const unsigned char *digest,
                                        struct identity **ret_identity)
{
    const struct jwt_rules rules = {
        .audience = conf->auth.audience, .issuer = conf->auth.issuer, .now_ms = shown->wall_ms};
    uint64_t per_second = conf->limits.forged_tokens;
    int64_t now_ms = shown->mono_ms;

    if (jwt_is_formed(shown->text, shown->text_n) &&
        !forged_may_look(auth->forged, digest, shown->client, per_second, now_ms)) {
        stats_add(auth->stats, STATS_TOKENS_PUT_OFF, 1);
        return JWT_PUT_OFF;
    }
    stats_add(auth->stats, STATS_TOKENS_VERIFIED, 1);
    enum jwt_error error =
        jwt_verify(auth->set->tokens, shown->text, shown->text_n, &rules, ret_identity);
    stats_add(auth->stats, STATS_TOKENS_FORGED, error == JWT_SIGNATURE);
    if (auth_is_final(error))
        forged_note(auth->forged, digest, shown->client, per_second, error, now_ms);
    return error;
}

/* An API key is looked for first: that costs a hash, and a signature a hundred times as much. */
static enum jwt_error auth_verify(struct auth *auth, const struct conf *conf,
                                  const struct auth_shown *shown, const unsigned char *digest,
                                  struct identity **ret_identity)
{
    if (auth->set == NULL)
        return JWT_UNKNOWN_KEY;
    *ret_identity = api_keys_find(auth->set->api_keys, shown->text, shown->text_n);
    if (*ret_identity != NULL)
        return JWT_OK;
    return auth_verify_token(auth, conf, shown, digest, ret_identity);
}

enum jwt_error auth_identify(struct auth *auth, const struct conf *conf,
                             const struct auth_shown *shown, struct identity **ret_identity)
{
    unsigned char digest[TOKEN_CACHE_DIGEST_BYTES];

    if (shown->text_n == 0 || shown->text_n > JWT_BYTES_MAX)
        return JWT_MALFORMED;
    token_cache_digest(digest, shown->text, shown->text_n);
    struct identity *cached = token_cache_find(auth->cache, digest);
    if (cached != NULL)
        return auth_use_cached(auth, digest, cached, shown->wall_ms, ret_identity);
    enum jwt_error error = forged_find(auth->forged, digest, shown->mono_ms);
    if (error == JWT_OK)
        error = auth_verify(auth, conf, shown, digest, ret_identity);
    if (error != JWT_OK)
        return error;
    token_cache_resize(auth->cache, conf->auth.cached_tokens);
    token_cache_put(auth->cache, digest, *ret_identity);
    auth_count_cached(auth);
    return JWT_OK;
}

bool auth_key_is_current(const struct auth *auth, const struct conf *conf,
                         const struct identity *identity)
{
    if (auth->set == NULL ||
        !identity_claims_fit(&identity->claims, conf->auth.audience, conf->auth.issuer))
        return false;
    if (identity->kind == IDENTITY_API_KEY)
        return api_keys_have(auth->set->api_keys, identity->key_fingerprint);
    return jwt_keys_have(auth->set->tokens, identity->key_fingerprint) ||
           (identity->kind == IDENTITY_TICKET &&
            api_keys_have(auth->set->api_keys, identity->key_fingerprint));
}

const struct ticket_keys *auth_ticket_keys(const struct auth *auth)
{
    return auth->set != NULL && auth->set->tickets.n > 0 ? &auth->set->tickets : NULL;
}
