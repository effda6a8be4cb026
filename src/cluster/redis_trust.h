/* SPDX-License-Identifier: MIT */
/*
 * Whom to believe inside TLS, for rediss://.
 */
#ifndef BUGLE_REDIS_TRUST_H
#define BUGLE_REDIS_TRUST_H

#include <gnutls/gnutls.h>

struct conf_error;

struct redis_trust {
    gnutls_certificate_credentials_t credentials;
};

/*
 * The certificates of a file, or of the system when `file` is NULL or empty.  Gives; NULL with a
 * line for the operator.  Reads files: not on a loop that serves.  Any thread may use it, and
 * connections borrow it.
 */
struct redis_trust *redis_trust_new(const char *file, struct conf_error *ret_error);
void redis_trust_free(struct redis_trust *trust); /* accepts NULL */

#endif
