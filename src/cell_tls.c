/* SPDX-License-Identifier: MIT */
/* What is different in a cell whose connections speak TLS.  See cell.h. */
#include "config.h"
#include "cell_internal.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

gnutls_session_t cell_session(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

    return info != NULL ? info->tls_session : NULL;
}

/* The peer's Finished: it has the keys of the session.  The library keeps its own connection in
 * the session's pointer; the one that is meant for a database of sessions is free. */
static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message)
{
    struct cell_seat *seat = gnutls_db_get_ptr(session);
    struct stats *stats = worker_stats(seat->cell->cells->worker);

    (void)type;
    (void)when;
    (void)message;
    if (!incoming)
        return 0;
    cell_stay_after_run(seat);
    seat->shakes = false;
    stats_add(stats, STATS_TLS_HANDSHAKES, 1);
    stats_add(stats, STATS_TLS_RESUMED, gnutls_session_is_resumed(session) != 0);
    seat->guest->greeted(seat->guest);
    return 0;
}

/* While a handshake waits for its peer, the library would run it again and again, so it rests after
 * each step of it.
 *
 * Without memory the session keeps what the library gave it, which has no certificate, and so its
 * handshake fails. */
void cell_tls_begin(struct cell_seat *seat)
{
    gnutls_session_t session = cell_session(seat->waiter.connection);

    gnutls_db_set_ptr(session, seat);
    tls_set_apply(seat->tls, session, on_finished);
    seat->shakes = true;
    cell_rest_after_run(seat);
}

/* The library asks for a certificate to begin with.  Sessions have their credentials from
 * cell_tls_begin(). */
static int no_certificate(gnutls_session_t session, const gnutls_datum_t *authorities,
                          int authorities_n, const gnutls_pk_algorithm_t *algorithms,
                          int algorithms_n, gnutls_pcert_st **ret_certificates,
                          unsigned *ret_certificates_n, gnutls_privkey_t *ret_key)
{
    (void)session;
    (void)authorities;
    (void)authorities_n;
    (void)algorithms;
    (void)algorithms_n;
    (void)ret_certificates;
    (void)ret_certificates_n;
    (void)ret_key;
    return -1;
}

/* What comes later is taken apart and unescaped in its place. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    struct cell_seat *seat = cell_seat_of(connection);

    (void)cls;
    free(seat->target);
    seat->target = strdup(target);
    return NULL;
}

char *cell_take_target(struct MHD_Connection *connection)
{
    struct cell_seat *seat = cell_seat_of(connection);
    char *target = seat->target;

    seat->target = NULL;
    return target;
}

bool cell_has_pending(const struct cell_guest *guest)
{
    return gnutls_record_check_pending(cell_session(guest->seat->waiter.connection)) > 0;
}

/* Without MHD_USE_TURBO, with which it would not tell the peer that the session ends. */
struct MHD_Daemon *cell_tls_start(struct cell *cell, size_t pool_bytes, unsigned timeout_s,
                                  MHD_AccessHandlerCallback request,
                                  MHD_RequestCompletedCallback completed,
                                  MHD_NotifyConnectionCallback connected)
{
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET |
                                MHD_USE_TLS,
                            0, NULL, NULL, request, cell,                     /**/
                            MHD_OPTION_CONNECTION_LIMIT, cell_room(CELL_TLS), /**/
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool_bytes,   /**/
                            MHD_OPTION_CONNECTION_TIMEOUT, timeout_s,         /**/
                            MHD_OPTION_URI_LOG_CALLBACK, on_target, NULL,     /**/
                            MHD_OPTION_HTTPS_CERT_CALLBACK, no_certificate,   /**/
                            MHD_OPTION_NOTIFY_COMPLETED, completed, cell,     /**/
                            MHD_OPTION_NOTIFY_CONNECTION, connected, cell, MHD_OPTION_END);
}
