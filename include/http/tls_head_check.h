/* SPDX-License-Identifier: MIT */
/*
 * The check of a head that the gate cannot see, inside TLS.  What libmicrohttpd made of it is
 * written down again (mhd_quirks.h), and checked by the rules of http_head.h, as the gate checks
 * heads.
 */
#ifndef BUGLE_TLS_HEAD_CHECK_H
#define BUGLE_TLS_HEAD_CHECK_H

#include "http/request.h"

/* In the first call of a request; worker's thread.  Returns -1 to go on, or, with the request
 * refused, what the handler is to return. */
int tls_head_check(struct request *request, const char *version);

#endif
