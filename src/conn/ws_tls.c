/* SPDX-License-Identifier: MIT */
/* Bytes of a WebSocket inside TLS, through the session of the library's connection.  See
 * ws_internal.h. */
#include "config.h"

#include <errno.h>
#include <gnutls/gnutls.h>

#include "conn/ws_internal.h"

/* Of one record (RFC 8446 section 5.1). */
#define RECORD_BYTES 16384

static bool is_for_later(ssize_t result)
{
    return result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED;
}

/*
 * A record that the socket does not take whole stays in the session, which then wants to be called
 * once more.  So that the stream waits for that, its last byte counts as not taken, and stands in
 * front of what comes with the next call.
 *
 * Returns 1 when the record is out, 0, or -1 as ws_tls_send().
 */
static ssize_t send_held(struct ws_conn *conn)
{
    ssize_t result = gnutls_record_send(conn->session, NULL, 0);

    if (is_for_later(result))
        return 0;
    conn->is_held = false;
    return result < 0 ? -1 : 1;
}

/* Returns how much is taken, or -1; all of it, unless a record is held. */
static ssize_t send_part(struct ws_conn *conn, const char *bytes, size_t bytes_n)
{
    size_t done = 0;

    while (done < bytes_n && !conn->is_held) {
        size_t n = bytes_n - done < RECORD_BYTES ? bytes_n - done : RECORD_BYTES;
        ssize_t result = gnutls_record_send(conn->session, bytes + done, n);

        if (is_for_later(result)) {
            conn->is_held = true;
            result = (ssize_t)n - 1;
        }
        if (result < 0)
            return -1;
        done += (size_t)result;
    }
    return (ssize_t)done;
}

ssize_t ws_tls_send(void *connection, const struct iovec *parts, size_t parts_n)
{
    struct ws_conn *conn = connection;
    size_t skip = 0, taken = 0;

    if (conn->is_held) {
        ssize_t result = send_held(conn);

        if (result <= 0)
            return result;
        skip = taken = 1;
    }
    for (size_t i = 0; i < parts_n && !conn->is_held; i++) {
        ssize_t n =
            send_part(conn, (const char *)parts[i].iov_base + skip, parts[i].iov_len - skip);

        if (n < 0)
            return -1;
        taken += (size_t)n;
        skip = 0;
    }
    return (ssize_t)taken;
}

/* A renegotiation is not answered: it ends the connection, as with the library. */
ssize_t ws_tls_receive(struct ws_conn *conn, char *to, size_t room)
{
    ssize_t n;

    do
        n = gnutls_record_recv(conn->session, to, room);
    while (n == GNUTLS_E_INTERRUPTED);
    if (n == GNUTLS_E_AGAIN)
        return -EAGAIN;
    return n > 0 ? n : 0;
}
