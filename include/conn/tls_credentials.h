/* SPDX-License-Identifier: MIT */
/*
 * What a TLS handshake uses: certificates with their keys, priorities, and the key of session
 * tickets.  A set is made from the settings and never changes; a reload makes a new one, and
 * connections that began with the old one hold it until they end.
 */
#ifndef BUGLE_TLS_CREDENTIALS_H
#define BUGLE_TLS_CREDENTIALS_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"

struct tls_credentials;

/*
 * Read the files of tls.certificate and tls.key and check that each pair fits, and tls.priority.
 *
 * before  the set that is to be replaced, whose tickets stay good; NULL: a new key for tickets,
 *         which GnuTLS itself renews from then on
 *
 * A reference for tls_credentials_unref(); NULL with one line for the operator in `ret_error`,
 * which shows nothing of a key.  Blocks for the files; main thread.
 */
struct tls_credentials *tls_credentials_new(const struct conf *conf,
                                            const struct tls_credentials *before,
                                            struct conf_error *ret_error);

/* Counted references; any thread.  tls_credentials_unref() accepts NULL. */
struct tls_credentials *tls_credentials_ref(struct tls_credentials *set);
void tls_credentials_unref(struct tls_credentials *set);

/* Say what works and should not be so: a certificate out of its time, a key that others can read.
 */
void tls_credentials_warn(const struct tls_credentials *set);

/* When the first of its certificates ends, in seconds since 1970. */
int64_t tls_credentials_expires_s(const struct tls_credentials *set);

/* Whether settings can be served from: with tls.listen the files are read and checked.  Returns 0
 * or -EINVAL. */
int tls_credentials_check_conf(const struct conf *conf, struct conf_error *ret_error);

/* Make a session of libmicrohttpd's, before its handshake, use this set, which it borrows as long
 * as it lives.  `hook` hears of both sides' Finished; what it returns below 0 ends the handshake.
 * Returns 0, or -ENOMEM, and then the handshake will fail. */
int tls_credentials_apply(struct tls_credentials *set, gnutls_session_t session,
                          gnutls_handshake_hook_func hook);

/* The first bytes of a connection, as far as they came. */
enum tls_hello {
    TLS_HELLO_MORE,  /* it may become one */
    TLS_HELLO_WHOLE, /* a first record is there */
    TLS_HELLO_HTTP,  /* text: somebody forgot the s of https */
    TLS_HELLO_NONE,
};

/* Look at them; `room_n` is the most that can ever be there, where a record counts as whole. */
enum tls_hello tls_hello_look(const void *bytes, size_t bytes_n, size_t room_n);

#endif
