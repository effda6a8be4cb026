/* SPDX-License-Identifier: MIT */
/* How the descriptors of the process are divided.  See fd_budget.h. */
#include "config.h"
#include "conn/fd_budget.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

#include "conn/cell.h"

#define FD_BUDGET_UNKNOWN 1024
/* For the gateway's own use: a backup takes four, a reload one. */
#define OWN 16
/* What the gateway opens at the start, with a store, a hand-over and keys, and what a worker opens.
 * And what a few clients need, with their cells, and files that are opened now and then. */
#define FOR_GATEWAY 18
#define FOR_WORKER 7
#define FOR_FEW 16
#define TIGHT_MIN 4
#define TIGHT_MAX 64
#define CROWD_MIN 8
#define CROWD_MAX 256
/* As many numbers as one table of the kernel is made for at the start: 1 MiB of it. */
#define TABLE_MAX 131072

size_t fd_budget_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return FD_BUDGET_UNKNOWN;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur < INT_MAX ? limit.rlim_cur : INT_MAX;
}

void fd_budget_make_table(size_t limit)
{
    int last = (int)(limit < TABLE_MAX ? limit : TABLE_MAX) - 1;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, last);

    if (high >= 0)
        close(high);
    if (fd >= 0)
        close(fd);
}

size_t fd_budget_used(size_t limit)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return limit;
    close(fd);
    return (size_t)fd;
}

size_t fd_budget_needed(size_t used, unsigned workers_n, size_t listeners_n)
{
    return used + FOR_GATEWAY + workers_n * FOR_WORKER + listeners_n + FOR_FEW;
}

static size_t clamp(size_t n, size_t min, size_t max)
{
    return n < min ? min : n > max ? max : n;
}

void fd_budget_part(size_t limit, size_t used, unsigned workers_n, struct fd_budget *ret_budget)
{
    size_t left = limit > used ? limit - used : 0;
    size_t own = clamp(OWN, 0, left / 4);
    /* A new cell is opened when all of its kind are full.  So this many hold all clients, if all
     * are streams, and one more of each kind on each worker.  (When clients come and go there may
     * be more cells, half full: then there is less room for clients.) */
    size_t cells_n = limit / CELL_STREAMS_MAX + workers_n * CELL_KINDS;
    size_t cells = clamp(cells_n * CELL_DESCRIPTORS, 0, left / 4);
    size_t room = left - own - cells;
    size_t tight = clamp(room / 64, TIGHT_MIN, TIGHT_MAX);
    size_t crowd = clamp(room / 32, CROWD_MIN, CROWD_MAX);

    tight = clamp(tight, 0, room / 4);
    crowd = clamp(crowd, 0, room / 4);
    /* Streams leave a tenth, and twice what would make them close other connections. */
    size_t others = clamp(2 * (tight + crowd), 0, room / 2);
    others = clamp(room / 10, others, room);
    *ret_budget = (struct fd_budget){
        .used = (int)(limit - left),
        .crowded_from = (int)(limit - own - cells - tight - crowd),
        .tight_from = (int)(limit - own - cells - tight),
        .clients_end = (int)(limit - own - cells),
        .cells_end = (int)(limit - own),
        .limit = (int)limit,
        .streams_max = room > others ? room - others : 1,
    };
}
