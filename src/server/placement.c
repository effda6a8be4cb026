/* SPDX-License-Identifier: MIT */
/* A new socket on its way to its worker.  See placement.h. */
#include "config.h"
#include "server/placement.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define PATIENCE_MS 250

/* ---- which worker ---- */

static struct service *least_loaded(struct service_shared *shared)
{
    struct service *best = &shared->services[0];

    for (unsigned i = 1; i < shared->services_n; i++)
        if (worker_load(shared->services[i].worker) < worker_load(best->worker))
            best = &shared->services[i];
    return best;
}

static uint64_t connections_open(const struct service_shared *shared)
{
    int open = 0;

    for (unsigned i = 0; i < shared->services_n; i++)
        open += worker_load(shared->services[i].worker);
    return open > 0 ? (uint64_t)open : 0;
}

struct placement {
    struct service *service;
    int fd;
    struct listener_layers layers;
    socklen_t address_n;
    struct sockaddr_storage address;
};

/* On the worker. */
static void enter_gate(void *arg)
{
    struct placement *placement = arg;
    const struct sockaddr *address = (const struct sockaddr *)(const void *)&placement->address;

    gate_take(placement->service->gate, placement->fd, address, placement->address_n,
              placement->layers);
    free(placement);
}

static bool hand_over(struct placements *placements, int fd, const struct sockaddr *address,
                      socklen_t address_n, struct listener_layers layers)
{
    struct placement *placement = calloc(1, sizeof(*placement));

    if (placement == NULL)
        return false;
    placement->service = least_loaded(placements->shared);
    placement->fd = fd;
    placement->layers = layers;
    placement->address_n = address_n;
    memcpy(&placement->address, address, address_n);
    worker_load_add(placement->service->worker, 1);
    stats_add(placements->stats, STATS_CONNECTIONS_OPEN, 1);
    if (worker_post(placement->service->worker, enter_gate, placement) == 0)
        return true;
    worker_load_add(placement->service->worker, -1);
    stats_add(placements->stats, STATS_CONNECTIONS_OPEN, -1);
    free(placement);
    return false;
}

/* ---- limits ---- */

static bool refuse_socket(struct placements *placements, enum stats_id counter,
                          const struct peer *peer, const char *why)
{
    char text[PEER_TEXT_BYTES];
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    stats_add(placements->stats, counter, 1);
    if (log_valve_open(&placements->valve, &skipped))
        log_warning("a connection from %s was closed: %s%s", peer_text(peer, text), why,
                    log_skipped(more, skipped));
    return false;
}

/* Counts it in when it may. */
static bool may_come(struct placements *placements, const struct peer *peer, bool proxied)
{
    struct client_quota *quota = placements->shared->client_quota;
    uint64_t most = placements->conf->limits.connections;

    if (proxied && !client_quota_trusts(quota, peer))
        return refuse_socket(placements, STATS_PROXY_HEADERS_REFUSED, peer,
                             "it is not in server.trusted_proxies");
    if (most > 0 && connections_open(placements->shared) >= most)
        return refuse_socket(placements, STATS_CONNECTIONS_REFUSED, peer, "limits.connections");
    if (!client_quota_add_connection(quota, peer, placements->conf->limits.connections_per_address))
        return refuse_socket(placements, STATS_CONNECTIONS_REFUSED_ADDRESS, peer,
                             "limits.connections_per_address");
    return true;
}

/* ---- descriptors ---- */

/* On the worker: close what has been of no use for longest.  When there is nothing but newcomers
 * whom nobody has looked at, that is asked again in the next turn. */
static void make_room(void *arg)
{
    struct service *service = arg;

    if (gate_idlest_since_ms(service->gate) != INT64_MAX)
        gate_evict_idlest(service->gate);
    else if (gate_waiting_count(service->gate) > 0 &&
             worker_post(service->worker, make_room, arg) == 0)
        return;
    atomic_fetch_sub(&service->shared->room_asked_n, 1);
}

static int64_t idle_connections(const struct service *service)
{
    const struct stats *stats = service->context->stats;

    return stats_get(stats, STATS_CONNECTIONS_WAITING) +
           stats_get(stats, STATS_CONNECTIONS_RESTING);
}

static void ask_for_room(struct service_shared *shared)
{
    struct service *most = &shared->services[0];

    for (unsigned i = 1; i < shared->services_n; i++)
        if (idle_connections(&shared->services[i]) > idle_connections(most))
            most = &shared->services[i];
    atomic_fetch_add(&shared->room_asked_n, 1);
    if (worker_post(most->worker, make_room, most) != 0)
        atomic_fetch_sub(&shared->room_asked_n, 1); /* the next one asks again */
}

static int count_cells(const struct service_shared *shared)
{
    int64_t cells = 0;

    for (unsigned i = 0; i < shared->services_n; i++)
        cells += stats_get(shared->services[i].context->stats, STATS_CELLS);
    return (int)cells * CELL_DESCRIPTORS;
}

/* What is set aside for cells and in use by them. */
static int count_own_part(const struct service_shared *shared)
{
    int part = shared->fd_budget.cells_end - shared->fd_budget.clients_end;
    int cells = count_cells(shared);

    return cells < part ? cells : part;
}

/* Of the clients' part, what is known of: lingering sockets and copies are not.  See
 * fd_budget.h. */
static int count_in_use(const struct service_shared *shared)
{
    return shared->fd_budget.used + (int)connections_open(shared) + count_cells(shared) -
           count_own_part(shared);
}

static enum listener_room find_room(struct placements *placements, int fd)
{
    const struct fd_budget *budget = &placements->shared->fd_budget;
    int counted = count_in_use(placements->shared);
    int numbered = fd - count_own_part(placements->shared);
    int in_use = numbered > counted ? numbered : counted;
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    placements->uncounted = in_use - counted;
    if (in_use < budget->tight_from)
        placements->tight_since_ms = 0;
    else if (placements->tight_since_ms == 0)
        placements->tight_since_ms = clock_mono_ms();
    if (in_use < budget->crowded_from)
        return LISTENER_ROOM;
    ask_for_room(placements->shared);
    if (log_valve_open(&placements->crowd_valve, &skipped))
        log_warning("out of descriptors: idle connections are closed for new ones%s",
                    log_skipped(more, skipped));
    if (in_use < budget->tight_from)
        return LISTENER_ROOM;
    return in_use < budget->clients_end ? LISTENER_TIGHT : LISTENER_NO_ROOM;
}

bool placement_wants(void *arg)
{
    struct placements *placements = arg;
    struct service_shared *shared = placements->shared;

    if (placements->tight_since_ms == 0)
        return true;
    if (atomic_load(&shared->room_asked_n) > 0)
        return false;
    if (count_in_use(shared) + placements->uncounted < shared->fd_budget.tight_from ||
        clock_mono_ms() - placements->tight_since_ms >= PATIENCE_MS)
        return true;
    ask_for_room(shared);
    return false;
}

enum listener_room placement_take(void *arg, int fd, const struct sockaddr *address,
                                  socklen_t address_n, struct listener_layers layers)
{
    struct placements *placements = arg;
    struct peer peer;

    peer_from_sockaddr(address, &peer);
    if (!may_come(placements, &peer, layers.proxied)) {
        close(fd);
        return LISTENER_ROOM;
    }
    enum listener_room room = find_room(placements, fd);
    if (room != LISTENER_NO_ROOM && hand_over(placements, fd, address, address_n, layers))
        return room;
    stats_add(placements->stats, STATS_CONNECTIONS_SHED, room == LISTENER_NO_ROOM);
    client_quota_drop_connection(placements->shared->client_quota, &peer);
    close(fd);
    return room;
}
