/* SPDX-License-Identifier: MIT */
/* POST /api/tickets: a ticket for one EventSource.  See ticket_table.h for what becomes of it. */
#ifndef BUGLE_TICKET_POST_H
#define BUGLE_TICKET_POST_H

#include "http/request.h"

/* What the body may have.  1,024 bytes of names, all written as \u0041 is, take 6 KiB; the rest is
 * for the quotes around 16 of them, the names of fields, and white space. */
#define TICKET_POST_BODY_BYTES 8192

int ticket_post_handle(struct request *request);

#endif
