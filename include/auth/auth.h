/* SPDX-License-Identifier: MIT */
/*
 * From a credential to an identity: API keys, signed tokens, and before them the cache of those
 * that are good (token_cache.h) and the memory of those that are not (forged.h).  One for each
 * worker, and with it a copy of all keys, so that nothing here is shared or locked.
 *
 * The keys come as a set, made on another thread from settings and what was fetched, and replaced
 * as a whole.
 */
#ifndef BUGLE_AUTH_H
#define BUGLE_AUTH_H

#include <stddef.h>

#include "auth/api_key.h"
#include "auth/jwt.h"
#include "auth/ticket_keys.h"
#include "base/peer.h"
#include "base/stats.h"
#include "conf/conf.h"

#define AUTH_ANONYMOUS_MAX 128 /* patterns of auth.anonymous, and of auth.private */

/* The keys that are accepted, as of one moment. */
struct auth_set {
    struct jwt_keys *tokens;
    struct api_keys *api_keys;
    struct ticket_keys tickets;
};

/*
 * Make the set of keys from the settings and the text of a key set.  Reads files; blocks.
 *
 * jwks  borrowed; NULL: there is none (yet)
 * error  given: why not, for the operator
 */
struct auth_set *auth_set_new(const struct conf *conf, const char *jwks, size_t jwks_n,
                              struct conf_error *ret_error);
void auth_set_free(struct auth_set *set); /* accepts NULL */

/* Replace the file names in auth.jwt_key by the contents of the files, so that they are read once.
 * A file that cannot be read stays a name, and auth_check_conf() reports it.  Returns 0 or -ENOMEM.
 * Reads files; blocks. */
int auth_read_files(struct conf *conf);

/* Whether these settings can be served with: for auth.mode=token, whether its keys can be read, and
 * there are any.  Returns 0, -EINVAL or -ENOMEM.  Reads files; blocks. */
int auth_check_conf(const struct conf *conf, struct conf_error *ret_error);

struct auth;

/* Without keys: nothing is accepted until auth_take().  NULL when out of memory. */
struct auth *auth_new(struct stats *stats);
void auth_free(struct auth *auth); /* accepts NULL */

/* Take a set in the place of the old one, unless it is NULL, and forget what was verified before:
 * with other keys, or by other settings. */
void auth_take(struct auth *auth, struct auth_set *set);

/* A credential, the client that sent it, and the time by both clocks. */
struct auth_shown {
    const char *text;
    size_t text_n;
    const struct peer *client;
    int64_t wall_ms;
    int64_t mono_ms;
};

/*
 * Whose credential this is.
 *
 * conf          auth.audience, auth.issuer, auth.cached_tokens, limits.forged_tokens
 * ret_identity  given with JWT_OK: one reference
 *
 * A token past its `exp` is accepted for JWT_LEEWAY_MS more.  With JWT_PUT_OFF it was not looked
 * at; the client may show it again in AUTH_RETRY_S.
 */
#define AUTH_RETRY_S 1
enum jwt_error auth_identify(struct auth *auth, const struct conf *conf,
                             const struct auth_shown *shown, struct identity **ret_identity);

/* The keys of auth.ticket_key; NULL: there are none.  Borrowed until auth_take(). */
const struct ticket_keys *auth_ticket_keys(const struct auth *auth);

/* Whether an identity's credential is still accepted: its key is there, and its claims fit
 * auth.audience and auth.issuer.  Two hashes. */
bool auth_key_is_current(const struct auth *auth, const struct conf *conf,
                         const struct identity *identity);

#endif
