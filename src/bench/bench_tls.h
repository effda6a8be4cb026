/* SPDX-License-Identifier: MIT */
/*
 * TLS for the streams of the load tool, over sockets that do not block.  It trusts every server,
 * and resumes nothing.  One thread.
 */
#ifndef BUGLE_BENCH_TLS_H
#define BUGLE_BENCH_TLS_H

#include <stddef.h>
#include <sys/types.h>

struct bench_tls; /* what all sessions share */
struct gnutls_session_int;

/* NULL when out of memory. */
struct bench_tls *bench_tls_new(void);
void bench_tls_free(struct bench_tls *tls); /* after all sessions; accepts NULL */

/* A session on a connected socket, which it borrows.  NULL when out of memory. */
struct gnutls_session_int *bench_tls_session(struct bench_tls *tls, int fd);
void bench_tls_end(struct gnutls_session_int *session); /* sends nothing; accepts NULL */

/* Go on with the handshake.  Returns 0 when it is done, -EAGAIN, or -EPROTO when it failed. */
int bench_tls_handshake(struct gnutls_session_int *session);

/* As send() and recv(), with their errors; EPROTO for what is wrong inside TLS. */
ssize_t bench_tls_send(struct gnutls_session_int *session, const void *bytes, size_t bytes_n);
ssize_t bench_tls_recv(struct gnutls_session_int *session, void *to, size_t to_n);

#endif
