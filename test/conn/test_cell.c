/* SPDX-License-Identifier: MIT */
/* Cells when the library cannot take a connection, of which one fails here whenever a test says so.
 */
#include "config.h"
#include "conn/cell.h"

#include <setjmp.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "conn/mhd_quirks.h"
#include "history/history_memory.h"

#define PORT 4711

/* In place of the library's: it fails as that does without memory, and so closes the descriptor. */
enum MHD_Result MHD_add_connection(struct MHD_Daemon *daemon, MHD_socket fd,
                                   const struct sockaddr *address, socklen_t address_n)
{
    (void)daemon;
    (void)address;
    (void)address_n;
    close(fd);
    return MHD_NO;
}

/* Whose connection it is; the address stands in it, as in the gate's visitors. */
struct owner {
    struct cell_conn_owner base;
    struct sockaddr_in address;
    size_t gone_n;
};

struct bench {
    struct conf conf;
    struct history *history;
    struct hub *hub;
    struct worker *worker;
    struct streams *streams;
    struct cells *cells;
    size_t closed_n;
    int closed_port;
};

/* As if it was freed, and used again for something else. */
static void on_gone(struct cell_conn_owner *base)
{
    struct owner *owner = (struct owner *)(void *)base;

    memset(&owner->address, 0xA5, sizeof(owner->address));
    owner->gone_n++;
}

static void on_closed(void *arg, const struct sockaddr *address)
{
    struct bench *bench = arg;
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;

    bench->closed_n++;
    bench->closed_port = in->sin_family == AF_INET ? ntohs(in->sin_port) : -1;
}

static void no_tick(void *arg, int64_t now_ms)
{
    (void)arg;
    (void)now_ms;
}

static int build(void **state)
{
    struct history_limits limits = {INT64_MAX / 2, SIZE_MAX, SIZE_MAX, INT64_MAX / 2, SIZE_MAX};
    struct hub_limits hub_limits = {.queue_bytes_max = SIZE_MAX, .queue_age_max_ns = INT64_MAX};
    struct worker_hooks hooks = {.tick = no_tick};
    struct bench *bench = calloc(1, sizeof(*bench));
    struct cell_handler handler = {.arg = bench, .closed = on_closed};

    bench->conf.stream.stall_timeout_ms = 1000;
    bench->history = history_memory_new(&limits);
    bench->hub = hub_new(bench->history, &hub_limits);
    bench->worker = worker_new(0, &bench->conf, bench->hub);
    worker_set_hooks(bench->worker, &hooks);
    bench->streams = streams_new(bench->worker, NULL, NULL);
    struct mhd_quirks quirks = {.sends_past = true, .reuses_buffers = true, .knows_pools = true};
    bench->cells = cells_new(bench->worker, bench->streams, &handler, &quirks);
    *state = bench;
    return bench->cells != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;

    cells_free(bench->cells);
    streams_free(bench->streams);
    worker_free(bench->worker);
    hub_free(bench->hub);
    history_free(bench->history);
    free(bench);
    return 0;
}

static int add(struct bench *bench, enum cell_kind kind, struct owner *owner)
{
    struct cell_conn_owner *base = kind == CELL_STREAM ? NULL : &owner->base;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    close(fds[1]);
    owner->base.gone = on_gone;
    owner->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(PORT)};
    worker_load_add(bench->worker, 1);
    return cells_add(bench->cells, kind, fds[0], (struct sockaddr *)(void *)&owner->address,
                     sizeof(owner->address), base);
}

static void a_connection_that_is_lost_is_counted_off_by_its_own_address(void **state)
{
    struct bench *bench = *state;
    struct owner owner = {.gone_n = 0};

    assert_int_equal(add(bench, CELL_API, &owner), -ENOMEM);
    assert_int_equal(owner.gone_n, 1);
    assert_int_equal(bench->closed_n, 1);
    assert_int_equal(bench->closed_port, PORT);
    assert_int_equal(worker_load(bench->worker), 0);
    assert_int_equal(cells_connections(bench->cells), 0);
}

static void so_is_one_for_a_stream_which_has_no_guest(void **state)
{
    struct bench *bench = *state;
    struct owner owner = {.gone_n = 0};

    assert_int_equal(add(bench, CELL_STREAM, &owner), -ENOMEM);
    assert_int_equal(owner.gone_n, 0);
    assert_int_equal(bench->closed_n, 1);
    assert_int_equal(bench->closed_port, PORT);
    assert_int_equal(worker_load(bench->worker), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_connection_that_is_lost_is_counted_off_by_its_own_address,
                                        build, tear_down),
        cmocka_unit_test_setup_teardown(so_is_one_for_a_stream_which_has_no_guest, build,
                                        tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
