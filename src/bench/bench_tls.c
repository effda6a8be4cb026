/* SPDX-License-Identifier: MIT */
/* TLS for the load tool. */
#include "config.h"
#include "bench/bench_tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>

struct bench_tls {
    gnutls_certificate_credentials_t credentials;
};

struct bench_tls *bench_tls_new(void)
{
    struct bench_tls *tls = calloc(1, sizeof(*tls));

    if (tls != NULL && gnutls_certificate_allocate_credentials(&tls->credentials) == 0)
        return tls;
    free(tls);
    return NULL;
}

void bench_tls_free(struct bench_tls *tls)
{
    if (tls == NULL)
        return;
    gnutls_certificate_free_credentials(tls->credentials);
    free(tls);
}

gnutls_session_t bench_tls_session(struct bench_tls *tls, int fd)
{
    gnutls_session_t session;

    if (gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) != 0)
        return NULL;
    if (gnutls_set_default_priority(session) != 0 ||
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->credentials) != 0) {
        gnutls_deinit(session);
        return NULL;
    }
    gnutls_transport_set_int(session, fd);
    return session;
}

void bench_tls_end(gnutls_session_t session)
{
    if (session != NULL)
        gnutls_deinit(session);
}

static bool bench_tls_is_to_wait(ssize_t result)
{
    return result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED;
}

int bench_tls_handshake(gnutls_session_t session)
{
    int result;

    do
        result = gnutls_handshake(session);
    while (result < 0 && !bench_tls_is_to_wait(result) && !gnutls_error_is_fatal(result));
    if (bench_tls_is_to_wait(result))
        return -EAGAIN;
    return result == 0 ? 0 : -EPROTO;
}

static ssize_t bench_tls_result(ssize_t result)
{
    if (result >= 0)
        return result;
    errno = bench_tls_is_to_wait(result) ? EAGAIN : EPROTO;
    return -1;
}

ssize_t bench_tls_send(gnutls_session_t session, const void *bytes, size_t bytes_n)
{
    return bench_tls_result(gnutls_record_send(session, bytes, bytes_n));
}

static bool bench_tls_has_more(gnutls_session_t session)
{
    int n = 0;

    return ioctl(gnutls_transport_get_int(session), FIONREAD, &n) == 0 && n > 0;
}

/* The library is also to be called again when it took a record that is not ours, such as a ticket;
 * no edge would tell of what stands behind that.  An end without the closing alert is one too. */
ssize_t bench_tls_recv(gnutls_session_t session, void *to, size_t to_n)
{
    ssize_t result;

    do
        result = gnutls_record_recv(session, to, to_n);
    while (bench_tls_is_to_wait(result) && bench_tls_has_more(session));
    return result == GNUTLS_E_PREMATURE_TERMINATION ? 0 : bench_tls_result(result);
}
