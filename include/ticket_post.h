/* SPDX-License-Identifier: MIT */
/* POST /api/tickets: a ticket for one EventSource.  See tickets.h for what becomes of it. */
#ifndef BUGLE_TICKET_POST_H
#define BUGLE_TICKET_POST_H

#include "request.h"

int ticket_post_handle(struct request *request);

#endif
