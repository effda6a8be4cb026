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
    struct cell_kept *kept = gnutls_db_get_ptr(session);
    struct stats *stats = kept->cell->cells->context->stats;

    (void)type;
    (void)when;
    (void)message;
    if (!incoming)
        return 0;
    cell_stay_after_run(kept);
    kept->in_handshake = false;
    stats_add(stats, STATS_TLS_HANDSHAKES, 1);
    stats_add(stats, STATS_TLS_RESUMED, gnutls_session_is_resumed(session) != 0);
    kept->owner->handshake_done(kept->owner);
    return 0;
}

/* While a handshake waits for its peer, the library would run it again and again, so it rests after
 * each step of it.
 *
 * Without memory the session keeps what the library gave it, which has no certificate, and so its
 * handshake fails. */
void cell_tls_begin(struct cell_kept *kept)
{
    gnutls_session_t session = cell_session(kept->waiter.connection);

    gnutls_db_set_ptr(session, kept);
    tls_credentials_apply(kept->tls, session, on_finished);
    kept->in_handshake = true;
    cell_idle_after_run(kept);
}

void *cell_tls_on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    struct cell_kept *kept = cell_kept_of(connection);

    (void)cls;
    if (kept == NULL)
        return NULL;
    free(kept->target);
    kept->target = strdup(target);
    return NULL;
}

char *cell_take_target(struct MHD_Connection *connection)
{
    struct cell_kept *kept = cell_kept_of(connection);
    char *target = kept->target;

    kept->target = NULL;
    return target;
}

bool cell_has_pending(const struct cell_conn_owner *owner)
{
    return gnutls_record_check_pending(cell_session(owner->kept->waiter.connection)) > 0;
}
