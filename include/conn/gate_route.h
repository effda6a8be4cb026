/* SPDX-License-Identifier: MIT */
/*
 * Where a request goes: which kind of cell, and so which size of the library's pool, its head
 * needs. Pure functions of a head that http_head_check() found good.  Any thread.
 */
#ifndef BUGLE_GATE_ROUTE_H
#define BUGLE_GATE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/memory_budget.h"
#include "conn/cell.h"

/* Whether the library's largest pool has room for such a head and an answer. */
bool gate_route_has_room(const struct http_head *head);
/* What a 431 says when it has not: "The request ...". */
#define GATE_ROUTE_NO_ROOM "head has more fields and cookies than there is room for"

/* The kind of cell for the request.  `level` of the memory budget: no larger pools for speed alone
 * when memory is short. */
enum cell_kind gate_route(const struct http_head *head, enum memory_budget_level level);

/* A kind of cell whose connections become streams: one request, and no next one. */
bool gate_route_is_stream(enum cell_kind kind);

/* Whether a connection in a cell of kind `now` can stay there for a request that needs `kind`.  A
 * large pool is given up when memory is short. */
bool gate_route_fits(enum cell_kind now, enum cell_kind kind, enum memory_budget_level level);

/*
 * Whether the connection must end with this request, because the library may read what comes behind
 * it together with it, and that would not be checked.
 *
 * text  the `text_n` bytes that have arrived, beginning with the head
 */
bool gate_route_is_last(const struct http_head *head, const char *text, size_t text_n);

#endif
