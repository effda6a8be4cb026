/* SPDX-License-Identifier: MIT */
/* What the gateway may use of the machine: descriptors, memory, cores. */
#include "config.h"

#include <event2/event.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>

#include "api/node_service.h"
#include "auth/ticket_table.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/memory_budget.h"
#include "server/server_internal.h"

#define MEMORY_LOOK_MS 250
/* From here on malloc() takes memory from the kernel for each piece, and so gives it back at once.
 * Fixed, since it would rise to 32 MiB by itself, and bodies and large events would be kept. */
#define MMAP_FROM_BYTES 65536

/* ---- descriptors ---- */

int server_check_descriptors(const struct server *server, size_t limit)
{
    const struct conf *conf = server->conf;
    unsigned workers_n = server_count_workers(conf);
    size_t needed = fd_budget_needed(fd_budget_used(limit), workers_n,
                                     conf->server.listen.items_n + conf->tls.listen.items_n);
    char why[256];

    if (limit >= needed)
        return 0;
    snprintf(why, sizeof(why),
             "the limit on open files (RLIMIT_NOFILE) is %zu, and with server.workers=%u at "
             "least %zu are needed: raise it (ulimit -n, LimitNOFILE= of systemd)%s",
             limit, workers_n, needed, workers_n > 1 ? ", or set server.workers lower" : "");
    return server_fail(why);
}

void server_part_descriptors(struct server *server, size_t limit)
{
    struct service_shared *shared = &server->shared;
    size_t wanted = server->conf->limits.streams;

    fd_budget_part(limit, fd_budget_used(limit), shared->services_n, &shared->fd_budget);
    shared->streams_max = shared->fd_budget.streams_max;
    if (wanted > 0 && wanted < shared->streams_max)
        shared->streams_max = wanted;
    for (unsigned i = 0; i < shared->services_n; i++) {
        cells_set_fd_end(shared->services[i].cells, shared->fd_budget.cells_end);
        ws_conns_set_fd_end(shared->services[i].ws_conns, shared->fd_budget.cells_end);
    }
}

/* ---- cores ---- */

unsigned server_count_workers(const struct conf *conf)
{
    cpu_set_t cores;

    if (conf->server.workers > 0)
        return (unsigned)conf->server.workers;
    if (sched_getaffinity(0, sizeof(cores), &cores) != 0)
        return 1;
    return (unsigned)CPU_COUNT(&cores);
}

/* ---- memory ---- */

static void on_memory_look(evutil_socket_t fd, short what, void *arg)
{
    struct server *server = arg;

    (void)fd;
    (void)what;
    memory_budget_tick(server->memory, &server->stats);
    stats_set(&server->stats, STATS_LOG_LINES_DROPPED, (int64_t)log_dropped());
    if (server->shared.ticket_table != NULL)
        stats_set(&server->stats, STATS_TICKETS_USED,
                  (int64_t)ticket_table_count(server->shared.ticket_table, clock_wall_ms()));
    if (server->shared.nodes != NULL)
        node_service_look(server->shared.nodes);
}

int server_build_memory(struct server *server)
{
    const struct conf *conf = server->conf;
    uint64_t limit = conf_memory_bytes(conf), group = machine_cgroup_bytes("");
    struct timeval look = {.tv_usec = MEMORY_LOOK_MS * 1000};

    if (limit > group)
        log_warning(
            "limits.memory is more than the %llu bytes of the control group: the kernel may "
            "kill the gateway before",
            (unsigned long long)group);
    mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES);
    server->memory = memory_budget_new(limit, conf_shared_bytes(conf));
    server->memory_timer = event_new(server->base, -1, EV_PERSIST, on_memory_look, server);
    if (server->memory == NULL || server->memory_timer == NULL ||
        event_add(server->memory_timer, &look) != 0)
        return server_fail("out of memory");
    return 0;
}
