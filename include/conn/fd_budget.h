/* SPDX-License-Identifier: MIT */
/*
 * How the descriptors of the process are divided.
 *
 * The kernel gives the lowest free number to a new descriptor.  So its number says that at least so
 * many are in use, and numbers beyond the clients' part certainly belong to the gateway itself. But
 * a low number may be a gap that was just left, so whether it is getting crowded is also decided by
 * counting connections.  What cells need is set aside behind the clients' part; open cells already
 * have theirs, which may be low numbers, so a client's number may be higher by as much.  Cells
 * beyond that part count as clients.
 *
 *   0 ...              the gateway's own, opened at the start, and clients
 *   `crowded_from`     the same, but for each new connection the longest idle one is closed
 *   `tight_from`       the same, and accepting waits a moment for that after each new connection
 *   `clients_end`      no clients: new cells, which serve the clients that are there
 *   `cells_end`        the store, backups, settings
 *   `limit`            the process's limit
 *
 * A descriptor of a client beyond its part, and beyond what cells have of it, is closed at once.
 */
#ifndef BUGLE_FD_BUDGET_H
#define BUGLE_FD_BUDGET_H

#include <stddef.h>

struct fd_budget {
    int used; /* at the start */
    int crowded_from;
    int tight_from;
    int clients_end;
    int cells_end;
    int limit;
    size_t streams_max; /* nine tenths of the clients' part, and below `crowded_from` */
};

/* Raise the process's limit as far as it may be raised.  Returns the limit. */
size_t fd_budget_raise(void);

/* Have the kernel make its table of descriptors for `limit` of them now, while there is one thread.
 * It grows by doubling, and a process with threads waits for all processors then (5 to 15 ms each
 * time, in accept()), so that a crowd would stop the stream of events seven times.  Main thread,
 * before any other is begun.  Where it fails the table grows later. */
void fd_budget_make_table(size_t limit);

/* How many are in use now, at the least.  Main thread, at the start. */
size_t fd_budget_used(size_t limit);

/* How many the gateway needs to serve at all: a few clients at a time, a backup and a reload.
 * `used` is how many are in use before it opens anything. */
size_t fd_budget_needed(size_t used, unsigned workers_n, size_t listeners_n);

/* Divide them.  With a limit of less than a few dozen beyond what is used, the parts shrink. */
void fd_budget_part(size_t limit, size_t used, unsigned workers_n, struct fd_budget *ret_budget);

#endif
