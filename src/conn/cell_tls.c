/* SPDX-License-Identifier: MIT */
/* What is different in a cell whose connections speak TLS.  See cell.h. */
#include "config.h"
#include "conn/cell_internal.h"

#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

gnutls_session_t cell_session(struct MHD_Connection *connection)
{
    return mhd_session(connection);
}

/* The peer's Finished: it has the keys of the session.  The library keeps its own connection in
 * the session's pointer; the one that is meant for a database of sessions is free. */
static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message)
{
    struct cell_seat *seat = gnutls_db_get_ptr(session);
    struct stats *stats = seat->cell->cells->context->stats;

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
    tls_credentials_apply(seat->tls, session, on_finished);
    seat->shakes = true;
    cell_rest_after_run(seat);
}

void *cell_tls_on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    struct cell_seat *seat = cell_seat_of(connection);

    (void)cls;
    if (seat == NULL)
        return NULL;
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
