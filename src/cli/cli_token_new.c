/* SPDX-License-Identifier: MIT */
/* `bugle token new` and `hash`: keys. */
#include "config.h"

#include "cli/cli_token.h"

#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/api_key.h"
#include "auth/jwt_keys.h"
#include "base/base64url.h"

#define TOOL CLI_TOKEN_TOOL
#define KEY_PREFIX "bugle_"
#define KEY_BYTES 32
#define SECRET_BYTES 64
#define RSA_BITS 3072

static void draw_key(void *to, size_t bytes_n)
{
    if (gnutls_rnd(GNUTLS_RND_KEY, to, bytes_n) < 0)
        abort();
}

/* ---- API keys ---- */

/* The item that a name and rights make, checked as the gateway would. */
static int print_item(const struct cli_token *token, const char *hash)
{
    char why[API_KEY_WHY_BYTES];
    char *item = cli_format("%s:%s:%s", token->name, token->rights, hash);
    struct api_keys *keys = api_keys_new(&item, 1, why);
    int status = CLI_FINE;

    if (keys == NULL)
        status = cli_misused(TOOL, "--name and --rights: the %s", why);
    else if (strchr(item, ',') != NULL)
        status = cli_misused(TOOL, "a setting cannot hold a pattern with a comma");
    else
        printf("api_key = %s\n", item);
    api_keys_free(keys);
    free(item);
    return status;
}

static int print_hash(const struct cli_token *token, const char *key)
{
    unsigned char salt[API_KEY_SALT_BYTES];
    char hash[API_KEY_HASH_ROOM];

    draw_key(salt, sizeof(salt));
    api_key_hash(hash, salt, key, strlen(key));
    if (token->name != NULL)
        return print_item(token, hash);
    puts(hash);
    return CLI_FINE;
}

static int token_check_names(const struct cli_token *token)
{
    if ((token->name == NULL) != (token->rights == NULL))
        return cli_misused(TOOL, "--name and --rights go together");
    return CLI_FINE;
}

int cli_token_hash(const struct cli_token *token)
{
    char key[API_KEY_BYTES_MAX + 3];
    int status = token_check_names(token);

    if (status != CLI_FINE)
        return status;
    size_t key_n = fread(key, 1, sizeof(key) - 1, stdin);
    key[key_n] = '\0';
    key[strcspn(key, "\r\n")] = '\0';
    if (strlen(key) < API_KEY_BYTES_MIN || strlen(key) > API_KEY_BYTES_MAX)
        return cli_fail(TOOL, "a key must have %d to %d characters; `bugle token new` draws one",
                        API_KEY_BYTES_MIN, API_KEY_BYTES_MAX);
    status = print_hash(token, key);
    explicit_bzero(key, sizeof(key));
    return status;
}

static int new_api_key(const struct cli_token *token)
{
    unsigned char bytes[KEY_BYTES];
    char key[sizeof(KEY_PREFIX) + BASE64URL_TEXT_ROOM(KEY_BYTES)] = KEY_PREFIX;

    draw_key(bytes, sizeof(bytes));
    base64url_encode(key + strlen(KEY_PREFIX), bytes, sizeof(bytes));
    puts(key);
    return print_hash(token, key);
}

/* ---- keys that sign ---- */

static int new_secret(enum jwt_algorithm algorithm)
{
    unsigned char bytes[SECRET_BYTES];
    char text[BASE64URL_TEXT_ROOM(SECRET_BYTES)];

    draw_key(bytes, sizeof(bytes));
    base64url_encode(text, bytes, sizeof(bytes));
    printf("jwt_key = %s:%s\n", jwt_algorithm_text(algorithm), text);
    return CLI_FINE;
}

/* Never over a file that is there: it may be the only key. */
static int token_write_file(const char *path, mode_t mode, const gnutls_datum_t *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

    if (fd < 0)
        return cli_fail(TOOL, "%s: %m", path);
    bool good = write(fd, text->data, text->size) == (ssize_t)text->size && fsync(fd) == 0;
    int status = good ? CLI_FINE : cli_fail(TOOL, "%s cannot be written: %m", path);
    close(fd);
    return status;
}

static int write_public(const char *out, gnutls_privkey_t key)
{
    char *path = cli_format("%s.pub", out);
    gnutls_pubkey_t public;
    gnutls_datum_t pem;
    int status = CLI_FAILED;

    if (gnutls_pubkey_init(&public) < 0)
        cli_need(NULL);
    if (gnutls_pubkey_import_privkey(public, key, 0, 0) >= 0 &&
        gnutls_pubkey_export2(public, GNUTLS_X509_FMT_PEM, &pem) >= 0) {
        status = token_write_file(path, 0644, &pem);
        gnutls_free(pem.data);
    }
    gnutls_pubkey_deinit(public);
    free(path);
    return status;
}

static int write_pair(const char *out, gnutls_privkey_t key)
{
    gnutls_x509_privkey_t private;
    gnutls_datum_t pem;
    int status = CLI_FAILED;

    if (gnutls_privkey_export_x509(key, &private) < 0)
        return cli_fail(TOOL, "the key cannot be written as PEM");
    if (gnutls_x509_privkey_export2_pkcs8(private, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN,
                                          &pem) >= 0) {
        status = token_write_file(out, 0600, &pem);
        explicit_bzero(pem.data, pem.size);
        gnutls_free(pem.data);
    }
    gnutls_x509_privkey_deinit(private);
    return status == CLI_FINE ? write_public(out, key) : status;
}

static gnutls_privkey_t token_generate(enum jwt_algorithm algorithm)
{
    gnutls_pk_algorithm_t kind = GNUTLS_PK_RSA;
    unsigned bits = RSA_BITS;
    gnutls_privkey_t key;

    if (algorithm >= JWT_ES256 && algorithm <= JWT_ES512) {
        static const gnutls_ecc_curve_t curves[] = {
            GNUTLS_ECC_CURVE_SECP256R1, GNUTLS_ECC_CURVE_SECP384R1, GNUTLS_ECC_CURVE_SECP521R1};

        kind = GNUTLS_PK_ECDSA;
        bits = GNUTLS_CURVE_TO_BITS(curves[algorithm - JWT_ES256]);
    } else if (algorithm == JWT_EDDSA) {
        kind = GNUTLS_PK_EDDSA_ED25519;
        bits = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED25519);
    }
    if (gnutls_privkey_init(&key) < 0 || gnutls_privkey_generate(key, kind, bits, 0) < 0)
        cli_need(NULL);
    return key;
}

static int new_signing_key(const struct cli_token *token)
{
    enum jwt_algorithm algorithm;

    if (!jwt_algorithm_parse(token->alg, strlen(token->alg), &algorithm))
        return cli_misused(TOOL, "there is no algorithm %s", token->alg);
    if (algorithm <= JWT_HS512)
        return new_secret(algorithm);
    if (token->out == NULL)
        return cli_misused(TOOL, "--out must name a file for the private key");
    gnutls_privkey_t key = token_generate(algorithm);
    int status = write_pair(token->out, key);
    gnutls_privkey_deinit(key);
    if (status == CLI_FINE)
        printf("jwt_key = %s:@%s.pub\n", token->alg, token->out);
    return status;
}

int cli_token_new(const struct cli_token *token)
{
    int status = token_check_names(token);

    if (status != CLI_FINE)
        return status;
    return token->alg != NULL ? new_signing_key(token) : new_api_key(token);
}
