/* SPDX-License-Identifier: MIT */
/* Certificates, keys, priorities and the ticket key.  See tls_credentials.h. */
#include "config.h"
#include "conn/tls_credentials.h"

#include <ctype.h>
#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file_read.h"
#include "base/log.h"

#define FILE_BYTES_MAX ((size_t)1 << 20)
#define RECORD_HEAD_BYTES 5
/* A record of plain text, which a hello is, has no more. */
#define RECORD_BYTES_MAX 16384
#define RECORD_HANDSHAKE 22
#define HANDSHAKE_CLIENT_HELLO 1

struct pair {
    char *certificate_path;
    char *key_path;
    time_t begins_s;
    time_t expires_s;
    bool key_is_open; /* to others on this machine */
};

struct tls_credentials {
    _Atomic unsigned refs;
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority;
    gnutls_datum_t ticket_key;
    size_t pairs_n;
    struct pair pairs[];
};

/* ---- files ---- */

/* "tls.key FILE: why".  `why` is ours or GnuTLS's, never of the file. */
static int refuse_file(struct conf_error *ret_error, const char *setting, const char *path,
                       const char *why)
{
    return conf_refuse(ret_error, -EINVAL, "%s %s: %s", setting, path, why);
}

static void drop_text(gnutls_datum_t *text)
{
    if (text->data != NULL)
        explicit_bzero(text->data, text->size);
    gnutls_free(text->data);
    text->data = NULL;
}

static int read_text(const char *setting, const char *path, gnutls_datum_t *ret_text,
                     struct conf_error *ret_error)
{
    char *text;
    size_t text_n;
    int result = file_read(path, FILE_BYTES_MAX, &text, &text_n);

    if (result != 0)
        return refuse_file(ret_error, setting, path, file_read_text(result));
    *ret_text = (gnutls_datum_t){.data = (unsigned char *)text, .size = (unsigned)text_n};
    return 0;
}

static void free_list(gnutls_x509_crt_t *list, unsigned list_n)
{
    for (unsigned i = 0; i < list_n; i++)
        gnutls_x509_crt_deinit(list[i]);
    gnutls_free(list);
}

/* The first certificate of a chain is the gateway's own. */
static int read_times(struct pair *pair, const gnutls_datum_t *text, struct conf_error *ret_error)
{
    gnutls_x509_crt_t *list = NULL;
    unsigned list_n = 0;
    int result = gnutls_x509_crt_list_import2(&list, &list_n, text, GNUTLS_X509_FMT_PEM, 0);

    if (result < 0 || list_n == 0)
        return refuse_file(ret_error, "tls.certificate", pair->certificate_path,
                           "there is no certificate in PEM form in it");
    pair->begins_s = gnutls_x509_crt_get_activation_time(list[0]);
    pair->expires_s = gnutls_x509_crt_get_expiration_time(list[0]);
    free_list(list, list_n);
    return 0;
}

static int check_key(const struct pair *pair, const gnutls_datum_t *text,
                     struct conf_error *ret_error)
{
    gnutls_privkey_t key;
    int result = gnutls_privkey_init(&key);

    if (result != GNUTLS_E_SUCCESS)
        return refuse_file(ret_error, "tls.key", pair->key_path, gnutls_strerror(result));
    result = gnutls_privkey_import_x509_raw(key, text, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_privkey_deinit(key);
    if (result == GNUTLS_E_SUCCESS)
        return 0;
    return refuse_file(ret_error, "tls.key", pair->key_path,
                       result == GNUTLS_E_DECRYPTION_FAILED
                           ? "the key is encrypted, and the gateway cannot ask for its password"
                           : "there is no private key in PEM form in it");
}

static int add_pair(struct tls_credentials *set, const struct pair *pair,
                    const gnutls_datum_t *certificate, const gnutls_datum_t *key,
                    struct conf_error *ret_error)
{
    int result = gnutls_certificate_set_x509_key_mem2(set->credentials, certificate, key,
                                                      GNUTLS_X509_FMT_PEM, NULL, 0);

    if (result >= 0)
        return 0;
    if (result == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
        return conf_refuse(ret_error, -EINVAL, "tls.key %s is not the key of the certificate in %s",
                           pair->key_path, pair->certificate_path);
    return refuse_file(ret_error, "tls.certificate", pair->certificate_path,
                       gnutls_strerror(result));
}

static bool is_open_to_others(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && (info.st_mode & (S_IROTH | S_IWOTH)) != 0;
}

static int read_pair(struct tls_credentials *set, const char *certificate_path,
                     const char *key_path, struct conf_error *ret_error)
{
    struct pair *pair = &set->pairs[set->pairs_n++];
    gnutls_datum_t certificate = {0}, key = {0};

    pair->certificate_path = strdup(certificate_path);
    pair->key_path = strdup(key_path);
    if (pair->certificate_path == NULL || pair->key_path == NULL)
        return refuse_file(ret_error, "tls.certificate", certificate_path, "out of memory");
    pair->key_is_open = is_open_to_others(key_path);
    int result = read_text("tls.certificate", certificate_path, &certificate, ret_error);
    if (result == 0)
        result = read_text("tls.key", key_path, &key, ret_error);
    if (result == 0)
        result = read_times(pair, &certificate, ret_error);
    if (result == 0)
        result = check_key(pair, &key, ret_error);
    if (result == 0)
        result = add_pair(set, pair, &certificate, &key, ret_error);
    drop_text(&certificate);
    drop_text(&key);
    return result;
}

/* ---- priorities ---- */

static bool has_old_version(gnutls_priority_t priority)
{
    const unsigned *versions;
    int versions_n = gnutls_priority_protocol_list(priority, &versions);

    for (int i = 0; i < versions_n; i++)
        if (versions[i] != GNUTLS_TLS1_2 && versions[i] != GNUTLS_TLS1_3)
            return true;
    return versions_n <= 0;
}

static int read_priority(struct tls_credentials *set, const char *text,
                         struct conf_error *ret_error)
{
    const char *wrong = text;
    int result = gnutls_priority_init(&set->priority, text, &wrong);

    if (result != GNUTLS_E_SUCCESS) {
        set->priority = NULL;
        return conf_refuse(ret_error, -EINVAL,
                           "tls.priority: GnuTLS does not understand it from \"%.60s\" on", wrong);
    }
    if (!has_old_version(set->priority))
        return 0;
    return conf_refuse(ret_error, -EINVAL,
                       "tls.priority allows other versions than TLS 1.2 and 1.3: write "
                       "-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2 into it");
}

/* ---- sets ---- */

static int copy_ticket_key(struct tls_credentials *set, const struct tls_credentials *before)
{
    if (before == NULL)
        return gnutls_session_ticket_key_generate(&set->ticket_key);
    set->ticket_key.data = gnutls_malloc(before->ticket_key.size);
    if (set->ticket_key.data == NULL)
        return GNUTLS_E_MEMORY_ERROR;
    set->ticket_key.size = before->ticket_key.size;
    memcpy(set->ticket_key.data, before->ticket_key.data, before->ticket_key.size);
    return GNUTLS_E_SUCCESS;
}

static int fill_set(struct tls_credentials *set, const struct conf *conf,
                    const struct tls_credentials *before, struct conf_error *ret_error)
{
    const struct conf_list *certificates = &conf->tls.certificate, *keys = &conf->tls.key;

    if (gnutls_certificate_allocate_credentials(&set->credentials) != GNUTLS_E_SUCCESS ||
        copy_ticket_key(set, before) != GNUTLS_E_SUCCESS)
        return conf_refuse(ret_error, -ENOMEM, "TLS: out of memory");
    int result = read_priority(set, conf->tls.priority, ret_error);
    for (size_t i = 0; result == 0 && i < certificates->items_n; i++)
        result = read_pair(set, certificates->items[i], keys->items[i], ret_error);
    return result;
}

struct tls_credentials *tls_credentials_new(const struct conf *conf,
                                            const struct tls_credentials *before,
                                            struct conf_error *ret_error)
{
    size_t pairs_n = conf->tls.certificate.items_n;
    struct tls_credentials *set;

    if (pairs_n == 0 || pairs_n != conf->tls.key.items_n) {
        conf_refuse(ret_error, -EINVAL,
                    "TLS needs tls.certificate, and a tls.key for each of its files");
        return NULL;
    }
    set = calloc(1, sizeof(*set) + pairs_n * sizeof(set->pairs[0]));
    if (set == NULL) {
        conf_refuse(ret_error, -ENOMEM, "TLS: out of memory");
        return NULL;
    }
    set->refs = 1;
    if (fill_set(set, conf, before, ret_error) == 0)
        return set;
    tls_credentials_unref(set);
    return NULL;
}

struct tls_credentials *tls_credentials_ref(struct tls_credentials *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void tls_credentials_unref(struct tls_credentials *set)
{
    if (set == NULL || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (set->credentials != NULL)
        gnutls_certificate_free_credentials(set->credentials);
    if (set->priority != NULL)
        gnutls_priority_deinit(set->priority);
    drop_text(&set->ticket_key);
    for (size_t i = 0; i < set->pairs_n; i++) {
        free(set->pairs[i].certificate_path);
        free(set->pairs[i].key_path);
    }
    free(set);
}

static void warn_of_time(const struct pair *pair, const char *what, time_t when)
{
    struct tm parts;
    char text[32];

    gmtime_r(&when, &parts);
    strftime(text, sizeof(text), "%Y-%m-%d", &parts);
    log_warning("tls.certificate %s: %s on %s, so clients will refuse it", pair->certificate_path,
                what, text);
}

void tls_credentials_warn(const struct tls_credentials *set)
{
    time_t now_s = time(NULL);

    for (size_t i = 0; i < set->pairs_n; i++) {
        const struct pair *pair = &set->pairs[i];

        if (pair->expires_s <= now_s)
            warn_of_time(pair, "it expired", pair->expires_s);
        else if (pair->begins_s > now_s)
            warn_of_time(pair, "it begins to be valid", pair->begins_s);
        if (pair->key_is_open)
            log_warning("tls.key %s: every user of this machine can read or change it: chmod o=",
                        pair->key_path);
    }
}

int64_t tls_credentials_expires_s(const struct tls_credentials *set)
{
    time_t first_s = set->pairs[0].expires_s;

    for (size_t i = 1; i < set->pairs_n; i++)
        if (set->pairs[i].expires_s < first_s)
            first_s = set->pairs[i].expires_s;
    return first_s;
}

int tls_credentials_check_conf(const struct conf *conf, struct conf_error *ret_error)
{
    struct tls_credentials *set;

    if (conf->tls.listen.items_n == 0)
        return 0;
    set = tls_credentials_new(conf, NULL, ret_error);
    if (set == NULL)
        return -EINVAL;
    tls_credentials_unref(set);
    return 0;
}

/* ---- a session ---- */

int tls_credentials_apply(struct tls_credentials *set, gnutls_session_t session,
                          gnutls_handshake_hook_func hook)
{
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST, hook);
    if (gnutls_priority_set(session, set->priority) != GNUTLS_E_SUCCESS ||
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, set->credentials) !=
            GNUTLS_E_SUCCESS ||
        gnutls_session_ticket_enable_server(session, &set->ticket_key) != GNUTLS_E_SUCCESS)
        return -ENOMEM;
    return 0;
}

/* ---- the first bytes ---- */

enum tls_hello tls_hello_look(const void *bytes, size_t bytes_n, size_t room_n)
{
    const unsigned char *at = bytes;

    if (bytes_n == 0)
        return TLS_HELLO_MORE;
    if (at[0] != RECORD_HANDSHAKE)
        return isalpha(at[0]) ? TLS_HELLO_HTTP : TLS_HELLO_NONE;
    if (bytes_n > 1 && at[1] != 3)
        return TLS_HELLO_NONE;
    if (bytes_n > RECORD_HEAD_BYTES && at[RECORD_HEAD_BYTES] != HANDSHAKE_CLIENT_HELLO)
        return TLS_HELLO_NONE;
    if (bytes_n < RECORD_HEAD_BYTES)
        return TLS_HELLO_MORE;
    size_t record_n = (size_t)at[3] << 8 | at[4];
    if (record_n == 0 || record_n > RECORD_BYTES_MAX)
        return TLS_HELLO_NONE;
    record_n += RECORD_HEAD_BYTES;
    return bytes_n >= (record_n < room_n ? record_n : room_n) ? TLS_HELLO_WHOLE : TLS_HELLO_MORE;
}
