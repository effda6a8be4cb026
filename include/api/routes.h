/* SPDX-License-Identifier: MIT */
/*
 * Method and path to handler: what the cells call for every request (cell.h).  Here stand the
 * rules that hold for all of them: framing, Origin, body bounds, 404 and 405.
 */
#ifndef BUGLE_ROUTES_H
#define BUGLE_ROUTES_H

#include "conn/cell.h"

struct service;

/* The handler for a worker's cells; borrows the service. */
struct cell_handler routes_handler(struct service *service);

#endif
