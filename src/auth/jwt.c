/* SPDX-License-Identifier: MIT */
/* Signed tokens: form, header, signature, times.  See jwt.h; what claims grant is in jwt_claims.c.
 */
#include "config.h"
#include "auth/jwt.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "auth/jwt_claims.h"
#include "base/base64url.h"
#include "base/bytes.h"
#include "base/memory_budget.h"
#include "wire/json_guard.h"

#define HMAC_BYTES_MAX 64
#define SIGNATURE_BYTES_MAX 1024
/* What computes a signature ends the process, or takes a good one for a bad one, when one of its
 * allocations fails (GnuTLS 3.7, GMP 6.2).  So it is not asked before as much is there. */
#define WORK_BYTES 49152
/* Rights are three deep; other claims may be deeper.  As large a tree has no token that somebody
 * made for use: it is all empty arrays. */
#define DEPTH_MAX 32
#define TREE_BYTES_MAX (256 * 1024)
#define SECONDS_MAX 9007199254740992.0 /* 2^53 */
/* As seconds this is the year 5138, as milliseconds 1973. */
#define MILLISECONDS_FROM 1e11

const char *jwt_error_text(enum jwt_error error)
{
    static const char *const texts[] = {
        [JWT_OK] = "is fine",
        [JWT_MALFORMED] = "is neither a key of this gateway nor a signed token",
        [JWT_HEADER] = "has a header that this gateway does not support",
        [JWT_SIGNATURE] = "was not signed with a key of this gateway",
        [JWT_UNKNOWN_KEY] = "was not signed with a key of this gateway",
        [JWT_MILLISECONDS] =
            "has an exp, nbf or iat in milliseconds: they are in seconds since 1970",
        [JWT_EXPIRED] = "has expired",
        [JWT_NOT_YET] = "is not valid yet",
        [JWT_AUDIENCE] = "is not for this gateway: see its aud, and auth.audience",
        [JWT_ISSUER] = "is not from the issuer that auth.issuer names",
        [JWT_CLAIMS] = "has a claim of the wrong form: see exp, nbf, sub, bugle and mercure",
        [JWT_PUT_OFF] = "was not checked: too many forged tokens come from this address",
        [JWT_NO_MEMORY] = "could not be read: the gateway is out of memory",
    };

    return texts[error];
}

/* ---- form ---- */

struct parts {
    const char *header, *claims, *signature;
    size_t header_n, claims_n, signature_n;
    size_t signed_n; /* of header, dot and claims */
};

static bool split(const char *token, size_t token_n, struct parts *parts)
{
    const char *end = token + token_n;
    const char *first = memchr(token, '.', token_n);
    const char *second = first != NULL ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;

    if (second == NULL || memchr(second + 1, '.', (size_t)(end - second - 1)) != NULL)
        return false;
    *parts = (struct parts){
        .header = token,
        .header_n = (size_t)(first - token),
        .claims = first + 1,
        .claims_n = (size_t)(second - first - 1),
        .signature = second + 1,
        .signature_n = (size_t)(end - second - 1),
        .signed_n = (size_t)(second - token),
    };
    return parts->header_n > 0 && parts->claims_n > 0 && parts->signature_n > 0;
}

bool jwt_is_formed(const char *text, size_t text_n)
{
    struct parts parts;

    return split(text, text_n, &parts);
}

enum jwt_error jwt_read_object(const char *text, size_t text_n, struct json_alloc **ret_object)
{
    unsigned char bytes[BASE64URL_BYTES_ROOM(JWT_BYTES_MAX)];
    size_t bytes_n;

    *ret_object = NULL;
    if (text_n > JWT_BYTES_MAX || !base64url_decode(text, text_n, bytes, &bytes_n) ||
        !json_guard_is_small((struct json_span){(const char *)bytes, bytes_n}, DEPTH_MAX,
                             TREE_BYTES_MAX))
        return JWT_MALFORMED;
    struct json_alloc *object;
    int result =
        json_alloc_load((const char *)bytes, bytes_n, JSON_REJECT_DUPLICATES, NULL, &object);
    if (result < 0)
        return result == -ENOMEM ? JWT_NO_MEMORY : JWT_MALFORMED;
    if (json_is_object(object->root)) {
        *ret_object = object;
        return JWT_OK;
    }
    json_alloc_free(object);
    return JWT_MALFORMED;
}

/* ---- header ---- */

/* A media type, in any case, of which "application/" may be left out (RFC 7515 section 4.1.9): of a
 * token (RFC 7519 section 5.1), or of one that an OAuth server gave for access (RFC 9068). */
static bool type_is_known(const json_t *typ)
{
    static const char prefix[] = "application/";
    const char *type = json_is_string(typ) ? json_string_value(typ) : "";

    if (strlen(type) != json_string_length(typ))
        return false;
    if (strncasecmp(type, prefix, strlen(prefix)) == 0)
        type += strlen(prefix);
    return strcasecmp(type, "JWT") == 0 || strcasecmp(type, "at+jwt") == 0;
}

/* Extensions that must be understood are not (RFC 7515 section 4.1.11), the payload must be what
 * was signed (RFC 7797), plain (no `zip`) and no token itself (`cty`). */
static bool header_is_understood(const json_t *header)
{
    static const char *const refused[] = {"crit", "b64", "zip", "cty", "enc"};
    const json_t *typ = json_object_get(header, "typ");

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (json_object_get(header, refused[i]) != NULL)
            return false;
    if (typ != NULL && !type_is_known(typ))
        return false;
    const json_t *kid = json_object_get(header, "kid");
    return kid == NULL || json_is_string(kid);
}

static bool read_algorithm(const json_t *header, enum jwt_algorithm *ret_algorithm)
{
    const json_t *alg = json_object_get(header, "alg");

    return json_is_string(alg) &&
           jwt_algorithm_parse(json_string_value(alg), json_string_length(alg), ret_algorithm);
}

/* ---- signature ---- */

/* These return 0 or more for a good signature, or an error of GnuTLS. */

static int check_hmac(const struct jwt_key *key, const char *text, size_t text_n,
                      const unsigned char *signature)
{
    static const gnutls_mac_algorithm_t macs[] = {[JWT_HS256] = GNUTLS_MAC_SHA256,
                                                  [JWT_HS384] = GNUTLS_MAC_SHA384,
                                                  [JWT_HS512] = GNUTLS_MAC_SHA512};
    unsigned char mac[HMAC_BYTES_MAX];

    int result =
        gnutls_hmac_fast(macs[key->algorithm], key->secret, key->secret_n, text, text_n, mac);

    if (result < 0)
        return result;
    return gnutls_memcmp(mac, signature, key->signature_n) == 0 ? 0 : GNUTLS_E_PK_SIG_VERIFY_FAILED;
}

static int verify_public(const struct jwt_key *key, const char *text, size_t text_n,
                         const gnutls_datum_t *signature)
{
    gnutls_datum_t data = {(unsigned char *)(uintptr_t)text, (unsigned)text_n};

    return gnutls_pubkey_verify_data2(key->public, key->sign, 0, &data, signature);
}

/* A token has r and s one after the other (RFC 7518 section 3.4), GnuTLS wants them in DER. */
static int check_ecdsa(const struct jwt_key *key, const char *text, size_t text_n,
                       unsigned char *signature)
{
    unsigned half = (unsigned)(key->signature_n / 2);
    gnutls_datum_t r = {signature, half}, s = {signature + half, half}, der;
    int result = gnutls_encode_rs_value(&der, &r, &s);

    if (result < 0)
        return result;
    result = verify_public(key, text, text_n, &der);
    gnutls_free(der.data);
    return result;
}

static int check_signature(const struct jwt_key *key, const char *text, size_t text_n,
                           unsigned char *signature, size_t signature_n)
{
    gnutls_datum_t whole = {signature, (unsigned)signature_n};

    if (signature_n != key->signature_n)
        return GNUTLS_E_PK_SIG_VERIFY_FAILED;
    if (key->secret != NULL)
        return check_hmac(key, text, text_n, signature);
    if (!memory_budget_is_at_hand(WORK_BYTES))
        return GNUTLS_E_MEMORY_ERROR;
    if (key->algorithm >= JWT_ES256 && key->algorithm <= JWT_ES512)
        return check_ecdsa(key, text, text_n, signature);
    return verify_public(key, text, text_n, &whole);
}

/* A `kid` rules out keys that have another; a key that has none may have made any. */
static bool kid_fits(const struct jwt_key *key, const char *kid)
{
    return kid == NULL || key->kid == NULL || strcmp(key->kid, kid) == 0;
}

/* The key that made the signature; NULL with `*ret_error` for none. */
static const struct jwt_key *find_signer(const struct jwt_keys *keys, const struct parts *parts,
                                         const json_t *header, enum jwt_error *ret_error)
{
    unsigned char signature[BASE64URL_BYTES_ROOM(SIGNATURE_BYTES_MAX * 2)];
    const char *kid = json_string_value(json_object_get(header, "kid"));
    enum jwt_algorithm algorithm;
    size_t signature_n, fitting_n = 0;

    *ret_error = JWT_SIGNATURE;
    if (!read_algorithm(header, &algorithm))
        return NULL;
    if (parts->signature_n > SIGNATURE_BYTES_MAX * 2 ||
        !base64url_decode(parts->signature, parts->signature_n, signature, &signature_n)) {
        *ret_error = JWT_MALFORMED;
        return NULL;
    }
    for (size_t i = 0; keys != NULL && i < keys->n; i++) {
        const struct jwt_key *key = &keys->list[i];

        if (key->algorithm != algorithm || !kid_fits(key, kid))
            continue;
        int result = check_signature(key, parts->header, parts->signed_n, signature, signature_n);
        if (result >= 0)
            return key;
        if (result == GNUTLS_E_MEMORY_ERROR) {
            *ret_error = JWT_NO_MEMORY;
            return NULL;
        }
        fitting_n++;
    }
    if (fitting_n == 0)
        *ret_error = JWT_UNKNOWN_KEY;
    return NULL;
}

/* ---- times and places ---- */

/* A time in seconds, as milliseconds.  Fractions are allowed (RFC 7519 section 2). */
static enum jwt_error read_time(const json_t *claims, const char *name, int64_t absent,
                                int64_t *ret_ms)
{
    const json_t *value = json_object_get(claims, name);

    *ret_ms = absent;
    if (value == NULL)
        return JWT_OK;
    if (!json_is_number(value))
        return JWT_CLAIMS;
    double seconds = json_number_value(value);
    if (!isfinite(seconds) || seconds < 0 || seconds >= SECONDS_MAX)
        return JWT_CLAIMS;
    if (seconds >= MILLISECONDS_FROM)
        return JWT_MILLISECONDS;
    *ret_ms = (int64_t)(seconds * 1000);
    return JWT_OK;
}

static enum jwt_error jwt_read_times(const json_t *claims, int64_t *ret_exp_ms, int64_t *ret_nbf_ms)
{
    int64_t iat_ms;
    enum jwt_error error = read_time(claims, "exp", IDENTITY_FOREVER, ret_exp_ms);

    if (error == JWT_OK)
        error = read_time(claims, "nbf", 0, ret_nbf_ms);
    return error == JWT_OK ? read_time(claims, "iat", 0, &iat_ms) : error;
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) &&
           bytes_are(json_string_value(value), json_string_length(value), text);
}

/* RFC 7519 section 4.1.3: a token that names an audience is for that one only. */
static bool audience_fits(const json_t *claims, const char *audience)
{
    const json_t *aud = json_object_get(claims, "aud");

    if (audience[0] == '\0')
        return aud == NULL;
    for (size_t i = 0; i < json_array_size(aud); i++)
        if (is_text(json_array_get(aud, i), audience))
            return true;
    return is_text(aud, audience);
}

static enum jwt_error check_claims(const json_t *claims, const struct jwt_rules *rules,
                                   int64_t *ret_exp_ms)
{
    int64_t nbf_ms;
    enum jwt_error error = jwt_read_times(claims, ret_exp_ms, &nbf_ms);

    if (error != JWT_OK)
        return error;
    if (*ret_exp_ms != IDENTITY_FOREVER && rules->now_ms >= *ret_exp_ms + JWT_LEEWAY_MS)
        return JWT_EXPIRED;
    if (nbf_ms > rules->now_ms + JWT_LEEWAY_MS)
        return JWT_NOT_YET;
    if (!audience_fits(claims, rules->audience))
        return JWT_AUDIENCE;
    if (rules->issuer[0] != '\0' && !is_text(json_object_get(claims, "iss"), rules->issuer))
        return JWT_ISSUER;
    return JWT_OK;
}

/* ---- together ---- */

static enum jwt_error verify_claims(const struct jwt_key *key, const struct parts *parts,
                                    const struct jwt_rules *rules, struct identity **ret_identity)
{
    struct json_alloc *claims;
    enum jwt_error error = jwt_read_object(parts->claims, parts->claims_n, &claims);
    int64_t exp_ms;

    if (error != JWT_OK)
        return error == JWT_MALFORMED ? JWT_CLAIMS : error;
    error = check_claims(claims->root, rules, &exp_ms);
    if (error == JWT_OK)
        error = jwt_claims_identity(claims->root, exp_ms, key->mark, rules->audience, ret_identity);
    json_alloc_free(claims);
    return error;
}

enum jwt_error jwt_verify(const struct jwt_keys *keys, const char *token, size_t token_n,
                          const struct jwt_rules *rules, struct identity **ret_identity)
{
    struct parts parts;
    enum jwt_error error;

    if (token_n > JWT_BYTES_MAX || !split(token, token_n, &parts))
        return JWT_MALFORMED;
    struct json_alloc *header;
    error = jwt_read_object(parts.header, parts.header_n, &header);
    if (error != JWT_OK)
        return error;
    const struct jwt_key *key = NULL;
    if (header_is_understood(header->root))
        key = find_signer(keys, &parts, header->root, &error);
    else
        error = JWT_HEADER;
    json_alloc_free(header);
    return key != NULL ? verify_claims(key, &parts, rules, ret_identity) : error;
}
