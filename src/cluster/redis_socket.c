/* SPDX-License-Identifier: MIT */
/* The bytes of one connection to a Redis.  See redis_socket.h. */
#include "config.h"
#include "cluster/redis_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/redis_trust.h"

/* ---- opening ---- */

static int tls_begin(struct redis_socket *socket, const char *host, const struct redis_trust *trust)
{
    gnutls_session_t session;
    struct in6_addr address;

    if (gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) != 0)
        return -ENOMEM;
    socket->session = session;
    bool is_address =
        inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
    if (gnutls_set_default_priority(session) != 0 ||
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, trust->credentials) != 0 ||
        (!is_address && gnutls_server_name_set(session, GNUTLS_NAME_DNS, host, strlen(host)) != 0))
        return -ENOMEM;
    gnutls_session_set_verify_cert(session, host, 0);
    gnutls_handshake_set_timeout(session, GNUTLS_INDEFINITE_TIMEOUT); /* the link's deadline */
    gnutls_transport_set_int(session, socket->fd);
    return 0;
}

/* What is small leaves at once; a peer that is gone is noticed by deadlines. */
static int socket_connect(struct redis_socket *socket, const struct addrinfo *address)
{
    int one = 1;

    setsockopt(socket->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(socket->fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS)
        return 0;
    return -errno;
}

int redis_socket_open(struct redis_socket *sock, const struct addrinfo *address, const char *host,
                      const struct redis_trust *trust)
{
    int result;

    *sock = (struct redis_socket){
        .fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (sock->fd < 0)
        return -errno;
    result = trust != NULL ? tls_begin(sock, host, trust) : 0;
    if (result == 0)
        result = socket_connect(sock, address);
    if (result != 0)
        redis_socket_close(sock);
    return result;
}

void redis_socket_close(struct redis_socket *socket)
{
    if (socket->session != NULL)
        gnutls_deinit(socket->session);
    if (socket->fd >= 0)
        close(socket->fd);
    socket->session = NULL;
    socket->fd = -1;
    socket->tls_keeps = false;
}

int redis_socket_connected(const struct redis_socket *socket)
{
    int error = 0;
    socklen_t error_n = sizeof(error);

    if (getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &error, &error_n) != 0)
        return -errno;
    return -error;
}

/* ---- TLS ---- */

/* What GnuTLS says of the certificate, in its words. */
static void explain_certificate(struct redis_socket *socket)
{
    unsigned status = gnutls_session_get_verify_cert_status(socket->session);
    gnutls_datum_t text = {0};

    if (gnutls_certificate_verification_status_print(
            status, gnutls_certificate_type_get(socket->session), &text, 0) != 0)
        return;
    snprintf(socket->why, sizeof(socket->why), "%s", text.data);
    gnutls_free(text.data);
}

static int tls_error(struct redis_socket *socket, ssize_t result)
{
    if (result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED)
        return -EAGAIN;
    if (result == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
        explain_certificate(socket);
    else
        snprintf(socket->why, sizeof(socket->why), "TLS: %s", gnutls_strerror((int)result));
    return -EPROTO;
}

int redis_socket_shake(struct redis_socket *socket)
{
    int result;

    if (socket->session == NULL)
        return 0;
    do
        result = gnutls_handshake(socket->session);
    while (result == GNUTLS_E_INTERRUPTED ||
           (result < 0 && result != GNUTLS_E_AGAIN && gnutls_error_is_fatal(result) == 0));
    return result == 0 ? 0 : tls_error(socket, result);
}

bool redis_socket_shakes_out(const struct redis_socket *socket)
{
    return socket->session != NULL && gnutls_record_get_direction(socket->session) == 1;
}

/* Tickets and keys may come between records: that is no end and no error. */
static ssize_t tls_read(struct redis_socket *socket, char *to, size_t n)
{
    ssize_t result;

    do
        result = gnutls_record_recv(socket->session, to, n);
    while (result < 0 && result != GNUTLS_E_AGAIN && gnutls_error_is_fatal((int)result) == 0);
    if (result == GNUTLS_E_PREMATURE_TERMINATION)
        return 0;
    return result >= 0 ? result : tls_error(socket, result);
}

/* A record that found no room is in the session, and is asked for without its bytes. */
static ssize_t tls_write(struct redis_socket *socket, const char *from, size_t n)
{
    bool again = socket->tls_keeps;
    ssize_t result;

    do
        result = gnutls_record_send(socket->session, again ? NULL : from, again ? 0 : n);
    while (result == GNUTLS_E_INTERRUPTED);
    socket->tls_keeps = result == GNUTLS_E_AGAIN;
    return result >= 0 ? result : tls_error(socket, result);
}

/* ---- bytes ---- */

static ssize_t socket_error(struct redis_socket *socket)
{
    int error = errno;

    if (error != EAGAIN)
        snprintf(socket->why, sizeof(socket->why), "%s", strerror(error));
    return -error;
}

ssize_t redis_socket_read(struct redis_socket *socket, char *to, size_t n)
{
    ssize_t result;

    if (socket->session != NULL)
        return tls_read(socket, to, n);
    do
        result = recv(socket->fd, to, n, 0);
    while (result < 0 && errno == EINTR);
    return result >= 0 ? result : socket_error(socket);
}

ssize_t redis_socket_write(struct redis_socket *socket, const char *from, size_t n)
{
    ssize_t result;

    if (socket->session != NULL)
        return tls_write(socket, from, n);
    do
        result = send(socket->fd, from, n, MSG_NOSIGNAL);
    while (result < 0 && errno == EINTR);
    return result >= 0 ? result : socket_error(socket);
}
