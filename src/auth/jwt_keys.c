/* SPDX-License-Identifier: MIT */
/* Keys that sign tokens.  See jwt_keys.h. */
#include "config.h"
#include "auth/jwt_keys.h"

#include <errno.h>
#include <jansson.h>
#include <rhonabwy.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file_read.h"
#include "wire/json_alloc.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define PKCS1_BYTES_MAX (2 * RSA_BITS_MAX / 8)
#define ED448_SIGNATURE_BYTES 114
#define ED25519_SIGNATURE_BYTES 64

/* What an algorithm asks of its key. */
static const struct algorithm {
    const char *name;
    gnutls_pk_algorithm_t
        kind;           /* GNUTLS_PK_UNKNOWN: a secret; EDDSA_ED25519 stands for Ed448 too */
    unsigned bits;      /* of the curve */
    size_t signature_n; /* or of the secret at least; 0: the key says */
    gnutls_sign_algorithm_t sign;
} algorithms[JWT_ALGORITHMS] = {
    [JWT_HS256] = {"HS256", GNUTLS_PK_UNKNOWN, 0, 32, GNUTLS_SIGN_UNKNOWN},
    [JWT_HS384] = {"HS384", GNUTLS_PK_UNKNOWN, 0, 48, GNUTLS_SIGN_UNKNOWN},
    [JWT_HS512] = {"HS512", GNUTLS_PK_UNKNOWN, 0, 64, GNUTLS_SIGN_UNKNOWN},
    [JWT_RS256] = {"RS256", GNUTLS_PK_RSA, 0, 0, GNUTLS_SIGN_RSA_SHA256},
    [JWT_RS384] = {"RS384", GNUTLS_PK_RSA, 0, 0, GNUTLS_SIGN_RSA_SHA384},
    [JWT_RS512] = {"RS512", GNUTLS_PK_RSA, 0, 0, GNUTLS_SIGN_RSA_SHA512},
    [JWT_ES256] = {"ES256", GNUTLS_PK_ECDSA, 256, 64, GNUTLS_SIGN_ECDSA_SHA256},
    [JWT_ES384] = {"ES384", GNUTLS_PK_ECDSA, 384, 96, GNUTLS_SIGN_ECDSA_SHA384},
    [JWT_ES512] = {"ES512", GNUTLS_PK_ECDSA, 528, 132, GNUTLS_SIGN_ECDSA_SHA512},
    [JWT_EDDSA] = {"EdDSA", GNUTLS_PK_EDDSA_ED25519, 0, 0, GNUTLS_SIGN_UNKNOWN},
};

static int __attribute__((format(printf, 2, 3))) refuse(char *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, JWT_KEY_WHY_BYTES, format, args);
    va_end(args);
    return -EINVAL;
}

const char *jwt_algorithm_text(enum jwt_algorithm algorithm)
{
    return algorithms[algorithm].name;
}

bool jwt_algorithm_parse(const char *text, size_t text_n, enum jwt_algorithm *ret_algorithm)
{
    for (int i = 0; i < JWT_ALGORITHMS; i++) {
        if (bytes_are(text, text_n, algorithms[i].name)) {
            *ret_algorithm = (enum jwt_algorithm)i;
            return true;
        }
    }
    return false;
}

/* ---- the set ---- */

struct jwt_keys *jwt_keys_new(void)
{
    return calloc(1, sizeof(struct jwt_keys));
}

static void clear_key(struct jwt_key *key)
{
    if (key->public != NULL)
        gnutls_pubkey_deinit(key->public);
    if (key->secret != NULL)
        explicit_bzero(key->secret, key->secret_n);
    free(key->secret);
    free(key->kid);
}

void jwt_keys_free(struct jwt_keys *keys)
{
    if (keys == NULL)
        return;
    for (size_t i = 0; i < keys->n; i++)
        clear_key(&keys->list[i]);
    free(keys);
}

bool jwt_keys_have(const struct jwt_keys *keys,
                   const unsigned char mark[IDENTITY_FINGERPRINT_BYTES])
{
    for (size_t i = 0; i < keys->n; i++)
        if (memcmp(keys->list[i].mark, mark, IDENTITY_FINGERPRINT_BYTES) == 0)
            return true;
    return false;
}

static void mark_key(struct jwt_key *key, const void *bytes, size_t bytes_n)
{
    const char *name = algorithms[key->algorithm].name;
    struct identity_piece pieces[] = {{name, strlen(name)}, {bytes, bytes_n}};

    identity_fingerprint(key->mark, pieces, 2);
}

/* Takes what the key holds, also when it fails. */
static int add_key(struct jwt_keys *keys, struct jwt_key *key, const char *kid, char *why)
{
    int result = 0;

    if (keys->n == JWT_KEYS_MAX)
        result = refuse(why, "there are more than %d keys", JWT_KEYS_MAX);
    else if (kid != NULL && (key->kid = strdup(kid)) == NULL)
        result = -ENOMEM;
    if (result == 0)
        keys->list[keys->n++] = *key;
    else
        clear_key(key);
    return result;
}

/* ---- secrets ---- */

/* Somebody's public key as a secret is the oldest of all forgeries: everybody has it. */
static bool looks_public(const char *text, size_t text_n)
{
    return memmem(text, text_n, "-----BEGIN", 10) != NULL ||
           memmem(text, text_n, "\"kty\"", 5) != NULL || memmem(text, text_n, "ssh-", 4) == text;
}

static int add_secret(struct jwt_keys *keys, enum jwt_algorithm algorithm, const char *text,
                      size_t text_n, char *why)
{
    const struct algorithm *needs = &algorithms[algorithm];
    struct jwt_key key = {.algorithm = algorithm, .signature_n = needs->signature_n};

    if (looks_public(text, text_n))
        return refuse(why, "%s needs a secret, and this is a key of another kind", needs->name);
    if (text_n < needs->signature_n)
        return refuse(why, "a secret for %s must have at least %zu bytes, and this has %zu",
                      needs->name, needs->signature_n, text_n);
    key.secret = malloc(text_n);
    if (key.secret == NULL)
        return -ENOMEM;
    memcpy(key.secret, text, text_n);
    key.secret_n = text_n;
    mark_key(&key, text, text_n);
    return add_key(keys, &key, NULL, why);
}

/* ---- public keys ---- */

static int check_kind(const struct algorithm *needs, int kind, unsigned bits, char *why)
{
    if (needs->kind == GNUTLS_PK_EDDSA_ED25519 && kind == GNUTLS_PK_EDDSA_ED448)
        return 0;
    if (kind != (int)needs->kind)
        return refuse(why, "the key is not of the kind that %s takes", needs->name);
    if (kind == GNUTLS_PK_RSA && (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX))
        return refuse(why, "an RSA key must have %d to %d bits, and this has %u", RSA_BITS_MIN,
                      RSA_BITS_MAX, bits);
    if (kind == GNUTLS_PK_ECDSA && bits != needs->bits)
        return refuse(why, "the key is not on the curve of %s", needs->name);
    return 0;
}

static int mark_public(struct jwt_key *key)
{
    gnutls_datum_t der;

    if (gnutls_pubkey_export2(key->public, GNUTLS_X509_FMT_DER, &der) < 0)
        return -ENOMEM;
    mark_key(key, der.data, der.size);
    gnutls_free(der.data);
    return 0;
}

/* Takes the public key. */
static int add_public(struct jwt_keys *keys, enum jwt_algorithm algorithm, gnutls_pubkey_t public,
                      const char *kid, char *why)
{
    const struct algorithm *needs = &algorithms[algorithm];
    struct jwt_key key = {.algorithm = algorithm, .public = public};
    unsigned bits = 0;
    int kind = gnutls_pubkey_get_pk_algorithm(public, &bits);
    int result = check_kind(needs, kind, bits, why);

    key.sign = needs->sign;
    key.signature_n = kind == GNUTLS_PK_RSA ? (bits + 7) / 8 : needs->signature_n;
    if (kind == GNUTLS_PK_EDDSA_ED25519) {
        key.sign = GNUTLS_SIGN_EDDSA_ED25519;
        key.signature_n = ED25519_SIGNATURE_BYTES;
    } else if (kind == GNUTLS_PK_EDDSA_ED448) {
        key.sign = GNUTLS_SIGN_EDDSA_ED448;
        key.signature_n = ED448_SIGNATURE_BYTES;
    }
    if (result == 0)
        result = mark_public(&key);
    if (result == 0)
        return add_key(keys, &key, kid, why);
    clear_key(&key);
    return result;
}

/* A number of bytes as DER has it (X.690 8.1.3), behind a tag.  Returns how many it takes. */
static size_t jwt_keys_put_length(unsigned char *to, unsigned char tag, size_t n)
{
    size_t digits_n = n < 128 ? 0 : n < 256 ? 1 : 2;

    to[0] = tag;
    to[1] = (unsigned char)(digits_n == 0 ? n : 0x80 + digits_n);
    for (size_t i = 0; i < digits_n; i++)
        to[2 + i] = (unsigned char)(n >> 8 * (digits_n - 1 - i));
    return 2 + digits_n;
}

/* PKCS#1 (RFC 8017 A.1.1) is the number and exponent alone.  The library wants to be told that they
 * are of RSA, and so they are put into a SubjectPublicKeyInfo (RFC 5280 section 4.1). */
static int import_pkcs1(gnutls_pubkey_t public, const gnutls_datum_t *pem)
{
    static const unsigned char rsa[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                        0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};
    unsigned char whole[PKCS1_BYTES_MAX + 32], bits[8];
    gnutls_datum_t inner = {NULL, 0}, outer = {whole, 0};
    int result = gnutls_pem_base64_decode2("RSA PUBLIC KEY", pem, &inner);

    if (result < 0 || inner.size > PKCS1_BYTES_MAX) {
        gnutls_free(inner.data);
        return result < 0 ? result : GNUTLS_E_PARSING_ERROR;
    }
    size_t bits_n = jwt_keys_put_length(bits, 0x03, inner.size + 1);
    size_t n = jwt_keys_put_length(whole, 0x30, sizeof(rsa) + bits_n + 1 + inner.size);
    memcpy(whole + n, rsa, sizeof(rsa));
    memcpy(whole + n + sizeof(rsa), bits, bits_n);
    n += sizeof(rsa) + bits_n;
    whole[n++] = 0; /* no bits unused */
    memcpy(whole + n, inner.data, inner.size);
    outer.size = (unsigned)(n + inner.size);
    gnutls_free(inner.data);
    return gnutls_pubkey_import(public, &outer, GNUTLS_X509_FMT_DER);
}

/* The first of a file.  The key counts and nothing else: who signed the certificate is not checked,
 * or until when it holds. */
static int import_certificate(gnutls_pubkey_t public, const gnutls_datum_t *pem)
{
    gnutls_x509_crt_t certificate;
    int result = gnutls_x509_crt_init(&certificate);

    if (result < 0)
        return result;
    result = gnutls_x509_crt_import(certificate, pem, GNUTLS_X509_FMT_PEM);
    if (result >= 0)
        result = gnutls_pubkey_import_x509(public, certificate, 0);
    gnutls_x509_crt_deinit(certificate);
    return result;
}

static bool has_line(const gnutls_datum_t *pem, const char *line)
{
    return memmem(pem->data, pem->size, line, strlen(line)) != NULL;
}

static int import_pem(gnutls_pubkey_t public, const gnutls_datum_t *pem)
{
    if (has_line(pem, "-----BEGIN RSA PUBLIC KEY-----"))
        return import_pkcs1(public, pem);
    if (has_line(pem, "-----BEGIN CERTIFICATE-----"))
        return import_certificate(public, pem);
    return gnutls_pubkey_import(public, pem, GNUTLS_X509_FMT_PEM);
}

static int add_pem(struct jwt_keys *keys, enum jwt_algorithm algorithm, const char *text,
                   size_t text_n, char *why)
{
    gnutls_datum_t pem = {(unsigned char *)(uintptr_t)text, (unsigned)text_n};
    gnutls_pubkey_t public;

    if (memmem(text, text_n, "PRIVATE KEY", 11) != NULL)
        return refuse(why, "this is a private key; the gateway needs the public one");
    if (gnutls_pubkey_init(&public) < 0)
        return -ENOMEM;
    if (import_pem(public, &pem) < 0) {
        gnutls_pubkey_deinit(public);
        return refuse(why, "this is neither a public key nor a certificate in PEM");
    }
    return add_public(keys, algorithm, public, NULL, why);
}

/* ---- JWK (RFC 7517) ---- */

/* Only what makes the public key: whatever else stands there, such as a certificate or the address
 * of one, is not even shown to the library. */
static json_t *bare_jwk(const json_t *jwk)
{
    static const char *const members[] = {"kty", "n", "e", "crv", "x", "y"};
    json_t *bare = json_object();

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        json_t *member = json_object_get(jwk, members[i]);

        if (json_is_string(member))
            json_object_set(bare, members[i], member);
    }
    return bare;
}

static gnutls_pubkey_t import_jwk(const json_t *jwk)
{
    json_t *bare = bare_jwk(jwk);
    gnutls_pubkey_t public = NULL;
    jwk_t *key = NULL;

    if (bare != NULL && r_jwk_init(&key) == RHN_OK && r_jwk_import_from_json_t(key, bare) == RHN_OK)
    public = r_jwk_export_to_gnutls_pubkey(key, R_FLAG_IGNORE_REMOTE);
    r_jwk_free(key);
    json_decref(bare);
    return public;
}

static const char *text_of(const json_t *jwk, const char *name)
{
    const char *text = json_string_value(json_object_get(jwk, name));

    return text != NULL ? text : "";
}

/* What a key without `alg` is for. */
static const char *usual_algorithm(const json_t *jwk)
{
    static const struct {
        const char *kty, *crv, *algorithm;
    } usual[] = {
        {"RSA", "", "RS256"},     {"EC", "P-256", "ES256"},    {"EC", "P-384", "ES384"},
        {"EC", "P-521", "ES512"}, {"OKP", "Ed25519", "EdDSA"}, {"OKP", "Ed448", "EdDSA"},
    };

    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
        if (strcmp(text_of(jwk, "kty"), usual[i].kty) == 0 &&
            strcmp(text_of(jwk, "crv"), usual[i].crv) == 0)
            return usual[i].algorithm;
    return "";
}

/* Whether it says of itself that it is for verifying, or says nothing. */
static bool is_for_verifying(const json_t *jwk)
{
    const json_t *use = json_object_get(jwk, "use"), *ops = json_object_get(jwk, "key_ops");

    if (use != NULL && strcmp(text_of(jwk, "use"), "sig") != 0)
        return false;
    for (size_t i = 0; i < json_array_size(ops); i++) {
        const char *op = json_string_value(json_array_get(ops, i));

        if (op != NULL && strcmp(op, "verify") == 0)
            return true;
    }
    return ops == NULL;
}

/* The algorithm that a JWK is good for here; false for none. */
static bool algorithm_of(const json_t *jwk, enum jwt_algorithm *ret_algorithm)
{
    const json_t *alg = json_object_get(jwk, "alg");
    const char *name = alg != NULL ? text_of(jwk, "alg") : usual_algorithm(jwk);

    return json_is_object(jwk) && strcmp(text_of(jwk, "kty"), "oct") != 0 &&
           is_for_verifying(jwk) && jwt_algorithm_parse(name, strlen(name), ret_algorithm) &&
           algorithms[*ret_algorithm].kind != GNUTLS_PK_UNKNOWN;
}

static int add_jwk(struct jwt_keys *keys, enum jwt_algorithm algorithm, const json_t *jwk,
                   char *why)
{
    gnutls_pubkey_t public = import_jwk(jwk);

    if (public == NULL)
        return refuse(why, "a key in it cannot be read");
    return add_public(keys, algorithm, public, json_string_value(json_object_get(jwk, "kid")), why);
}

static int add_one_jwk(struct jwt_keys *keys, enum jwt_algorithm algorithm, const char *text,
                       size_t text_n, char *why)
{
    struct json_alloc *parsed;
    enum jwt_algorithm its = algorithm;
    int result = json_alloc_load(text, text_n, JSON_REJECT_DUPLICATES, NULL, &parsed);

    if (result == -ENOMEM)
        return result;
    const json_t *jwk = parsed != NULL ? parsed->root : NULL;
    if (!json_is_object(jwk))
        result = refuse(why, "this is neither PEM nor a JWK");
    else if (json_object_get(jwk, "d") != NULL)
        result = refuse(why, "this is a private key; the gateway needs the public one");
    else if (json_object_get(jwk, "alg") != NULL && (!algorithm_of(jwk, &its) || its != algorithm))
        result = refuse(why, "the key says that it is not for %s", algorithms[algorithm].name);
    else
        result = add_jwk(keys, algorithm, jwk, why);
    json_alloc_free(parsed);
    return result;
}

int jwt_keys_add_set(struct jwt_keys *keys, const char *text, size_t text_n,
                     char why[JWT_KEY_WHY_BYTES])
{
    struct json_alloc *parsed;
    size_t before_n = keys->n;
    int result = json_alloc_load(text, text_n, JSON_REJECT_DUPLICATES, NULL, &parsed);

    if (result == -ENOMEM)
        return result;
    const json_t *list = parsed != NULL ? json_object_get(parsed->root, "keys") : NULL;
    result = json_is_array(list) ? 0 : refuse(why, "this is no JSON with an array \"keys\"");

    for (size_t i = 0; result != -ENOMEM && i < json_array_size(list); i++) {
        const json_t *jwk = json_array_get(list, i);
        enum jwt_algorithm algorithm;

        if (algorithm_of(jwk, &algorithm))
            result = add_jwk(keys, algorithm, jwk, why);
    }
    if (result != -ENOMEM && json_is_array(list) && keys->n > before_n)
        result = 0; /* one that cannot be used does not spoil the others */
    else if (result == 0)
        result = refuse(why, "no key in it can verify a token here");
    json_alloc_free(parsed);
    return result;
}

/* ---- items of the settings ---- */

static int add_text(struct jwt_keys *keys, enum jwt_algorithm algorithm, const char *text,
                    size_t text_n, char *why)
{
    if (algorithms[algorithm].kind == GNUTLS_PK_UNKNOWN)
        return add_secret(keys, algorithm, text, text_n, why);
    if (memmem(text, text_n, "-----BEGIN", 10) != NULL)
        return add_pem(keys, algorithm, text, text_n, why);
    return add_one_jwk(keys, algorithm, text, text_n, why);
}

static int add_file(struct jwt_keys *keys, enum jwt_algorithm algorithm, const char *path,
                    char *why)
{
    char *text;
    size_t text_n;
    int result = file_read(path, JWT_KEY_TEXT_MAX, &text, &text_n);

    if (result == -ENOMEM)
        return result;
    if (result == -EFBIG)
        return refuse(why, "its file has more than 64 KiB");
    if (result != 0)
        return refuse(why, "its file: %s", file_read_text(result));
    if (text_n > 0 && text[text_n - 1] == '\n')
        text_n--;
    result = add_text(keys, algorithm, text, text_n, why);
    explicit_bzero(text, text_n);
    free(text);
    return result;
}

int jwt_keys_add_item(struct jwt_keys *keys, const char *item, char why[JWT_KEY_WHY_BYTES])
{
    const char *colon = strchr(item, ':');
    enum jwt_algorithm algorithm;

    if (colon == NULL || !jwt_algorithm_parse(item, (size_t)(colon - item), &algorithm))
        return refuse(why, "expected HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384, ES512 "
                           "or EdDSA before a colon");
    if (colon[1] == '@')
        return add_file(keys, algorithm, colon + 2, why);
    return add_text(keys, algorithm, colon + 1, strlen(colon + 1), why);
}
