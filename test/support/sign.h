/* SPDX-License-Identifier: MIT */
/* Tokens for tests, made by GnuTLS and by hand, so that they can be wrong in any way. */
#ifndef BUGLE_SIGN_H
#define BUGLE_SIGN_H

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64url.h"

#define SIGN_ROOM 16384

/* Header and claims as they are, "." between, into `to`. */
static inline size_t sign_input(char *to, const char *header, const char *claims)
{
    size_t n = base64url_encode(to, header, strlen(header));

    to[n++] = '.';
    return n + base64url_encode(to + n, claims, strlen(claims));
}

static inline void sign_append(char *to, const void *signature, size_t signature_n)
{
    strcat(to, ".");
    base64url_encode(to + strlen(to), signature, signature_n);
}

static inline void sign_hmac(char *to, gnutls_mac_algorithm_t mac, const void *secret,
                             size_t secret_n, const char *header, const char *claims)
{
    unsigned char signature[64];
    size_t n = sign_input(to, header, claims);

    if (gnutls_hmac_fast(mac, secret, secret_n, to, n, signature) < 0)
        abort();
    sign_append(to, signature, gnutls_hmac_get_len(mac));
}

static inline gnutls_privkey_t sign_new_key(gnutls_pk_algorithm_t kind, unsigned bits)
{
    gnutls_privkey_t key;

    if (gnutls_privkey_init(&key) < 0 || gnutls_privkey_generate(key, kind, bits, 0) < 0)
        abort();
    return key;
}

/* The public half in PEM, for free(). */
static inline char *sign_public_pem(gnutls_privkey_t key)
{
    gnutls_pubkey_t public;
    gnutls_datum_t pem;

    if (gnutls_pubkey_init(&public) < 0 || gnutls_pubkey_import_privkey(public, key, 0, 0) < 0 ||
        gnutls_pubkey_export2(public, GNUTLS_X509_FMT_PEM, &pem) < 0)
        abort();
    char *text = strndup((const char *)pem.data, pem.size);
    gnutls_free(pem.data);
    gnutls_pubkey_deinit(public);
    return text;
}

/* `coordinate_n` is the length of r and of s in an ECDSA signature; 0 for other kinds. */
static inline void sign_private(char *to, gnutls_privkey_t key, gnutls_sign_algorithm_t algorithm,
                                size_t coordinate_n, const char *header, const char *claims)
{
    gnutls_datum_t signature, r, s, data = {(unsigned char *)to, 0};
    unsigned char both[256] = {0};

    data.size = (unsigned)sign_input(to, header, claims);
    if (gnutls_privkey_sign_data2(key, algorithm, 0, &data, &signature) < 0)
        abort();
    if (coordinate_n == 0) {
        sign_append(to, signature.data, signature.size);
        gnutls_free(signature.data);
        return;
    }
    if (gnutls_decode_rs_value(&signature, &r, &s) < 0)
        abort();
    /* DER may put a zero before a number, or leave zeros out */
    for (size_t i = 0; i < r.size && i < coordinate_n; i++)
        both[coordinate_n - 1 - i] = r.data[r.size - 1 - i];
    for (size_t i = 0; i < s.size && i < coordinate_n; i++)
        both[2 * coordinate_n - 1 - i] = s.data[s.size - 1 - i];
    sign_append(to, both, 2 * coordinate_n);
    gnutls_free(r.data);
    gnutls_free(s.data);
    gnutls_free(signature.data);
}

#endif
