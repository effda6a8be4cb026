/* SPDX-License-Identifier: MIT */
/* What a connection needs of redis_trust.h. */
#ifndef BUGLE_REDIS_TRUST_INTERNAL_H
#define BUGLE_REDIS_TRUST_INTERNAL_H

#include <gnutls/gnutls.h>

struct redis_trust {
    gnutls_certificate_credentials_t credentials;
};

#endif
