/* SPDX-License-Identifier: MIT */
/* Whom to believe inside TLS.  See redis_trust.h. */
#include "config.h"
#include "cluster/redis_trust.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "conf/conf.h"

struct redis_trust *redis_trust_new(const char *file, struct conf_error *ret_error)
{
    struct redis_trust *trust = calloc(1, sizeof(*trust));
    bool is_file = file != NULL && file[0] != '\0';
    int n;

    if (trust == NULL || gnutls_certificate_allocate_credentials(&trust->credentials) != 0) {
        free(trust);
        conf_refuse(ret_error, -ENOMEM, "out of memory");
        return NULL;
    }
    n = is_file
            ? gnutls_certificate_set_x509_trust_file(trust->credentials, file, GNUTLS_X509_FMT_PEM)
            : gnutls_certificate_set_x509_system_trust(trust->credentials);
    if (n > 0)
        return trust;
    conf_refuse(ret_error, -EINVAL, "cluster.ca: no certificate to trust in %s: %s",
                is_file ? file : "the system's store (Debian: ca-certificates)",
                n < 0 ? gnutls_strerror(n) : "it is empty");
    redis_trust_free(trust);
    return NULL;
}

void redis_trust_free(struct redis_trust *trust)
{
    if (trust == NULL)
        return;
    gnutls_certificate_free_credentials(trust->credentials);
    free(trust);
}
