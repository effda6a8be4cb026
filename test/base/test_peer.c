/* SPDX-License-Identifier: MIT */
/* Addresses as text, and what the kernel tells about real sockets on the loopback. */
#include "config.h"
#include "base/peer.h"

#include <setjmp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static struct peer peer_of(const char *address, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct peer peer;

    memset(&peer, 0xAA, sizeof(peer));
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
        peer_from_sockaddr((struct sockaddr *)&v4, &peer);
    else if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1)
        peer_from_sockaddr((struct sockaddr *)&v6, &peer);
    else
        fail_msg("%s is no address", address);
    return peer;
}

static void reads_and_writes_addresses(void **state)
{
    static const struct {
        const char *address;
        uint16_t port;
        uint16_t family;
        const char *text;
        bool loopback;
    } cases[] = {
        {"192.0.2.1", 4711, AF_INET, "192.0.2.1:4711", false},
        {"127.0.0.1", 1, AF_INET, "127.0.0.1:1", true},
        {"127.255.0.9", 65535, AF_INET, "127.255.0.9:65535", true},
        {"126.0.0.1", 80, AF_INET, "126.0.0.1:80", false},
        {"0.0.0.0", 80, AF_INET, "0.0.0.0:80", false},
        {"2001:db8::1", 4711, AF_INET6, "[2001:db8::1]:4711", false},
        {"::1", 8080, AF_INET6, "[::1]:8080", true},
        {"::2", 8080, AF_INET6, "[::2]:8080", false},
        {"::", 8080, AF_INET6, "[::]:8080", false},
        {"::ffff:127.0.0.1", 9, AF_INET, "127.0.0.1:9", true},
        {"::ffff:192.0.2.1", 9, AF_INET, "192.0.2.1:9", false},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, AF_INET6,
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", false},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct peer peer = peer_of(cases[i].address, cases[i].port);
        char text[PEER_TEXT_BYTES];

        assert_int_equal(peer.family, cases[i].family);
        assert_int_equal(peer.port, cases[i].port);
        assert_ptr_equal(peer_text(&peer, text), text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(peer_is_loopback(&peer), cases[i].loopback);
    }
}

static void the_same_address_is_the_same_bytes(void **state)
{
    struct peer plain = peer_of("192.0.2.1", 7), mapped = peer_of("::ffff:192.0.2.1", 7);

    (void)state;
    assert_memory_equal(&plain, &mapped, sizeof(plain));
}

static void a_unix_socket_has_no_address(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/some/path"};
    const struct sockaddr *cases[] = {(struct sockaddr *)&address, NULL};

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        char text[PEER_TEXT_BYTES];
        struct peer peer;

        memset(&peer, 0xAA, sizeof(peer));
        peer_from_sockaddr(cases[i], &peer);
        assert_int_equal(peer.family, 0);
        assert_string_equal(peer_text(&peer, text), "unix");
        assert_true(peer_is_loopback(&peer));
    }
}

/* ---- sockets ---- */

struct pair {
    int ours, theirs;
};

static struct pair tcp_pair(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t address_n = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct pair pair = {.theirs = socket(AF_INET, SOCK_STREAM, 0)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &address_n), 0);
    assert_int_equal(connect(pair.theirs, (struct sockaddr *)&address, address_n), 0);
    pair.ours = accept(listener, NULL, NULL);
    assert_true(pair.ours >= 0);
    close(listener);
    return pair;
}

static struct pair unix_pair(void)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    return (struct pair){fds[0], fds[1]};
}

/* Close what a test has not closed itself. */
static void close_pair(struct pair pair)
{
    if (pair.ours >= 0)
        close(pair.ours);
    if (pair.theirs >= 0)
        close(pair.theirs);
}

static void wait_for(int fd, short events)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};

    assert_int_equal(poll(&poll_fd, 1, 10000), 1);
}

static struct tcp_progress flow_of(int fd)
{
    struct tcp_progress flow;

    memset(&flow, 0xAA, sizeof(flow));
    assert_int_equal(tcp_progress(fd, &flow), 0);
    return flow;
}

/* Until the kernel takes no more. */
static size_t fill(int fd)
{
    char bytes[4096] = {0};
    size_t sum = 0;
    ssize_t n;

    while ((n = send(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        sum += (size_t)n;
    assert_int_equal(errno, EAGAIN);
    return sum;
}

static void says_nothing_is_outstanding_once_a_tcp_peer_has_it(void **state)
{
    struct pair pair = tcp_pair();
    char bytes[1000] = {0};

    (void)state;
    assert_int_equal(flow_of(pair.ours).outstanding, 0);
    assert_int_equal(send(pair.ours, bytes, sizeof(bytes), 0), sizeof(bytes));
    assert_int_equal(recv(pair.theirs, bytes, sizeof(bytes), MSG_WAITALL), sizeof(bytes));
    while (flow_of(pair.ours).outstanding > 0) /* the ACK may be a moment late */
        ;
    struct tcp_progress flow = flow_of(pair.ours);
    assert_int_equal(flow.acknowledged, 0); /* not asked for */
    assert_false(flow.unanswered);
    close_pair(pair);
}

static void counts_what_a_tcp_peer_acknowledged(void **state)
{
    struct pair pair = tcp_pair();
    char bytes[65536];

    (void)state;
    size_t sum = fill(pair.ours);
    struct tcp_progress before, after;
    do
        before = flow_of(pair.ours);
    while (before.acknowledged == 0);
    assert_true(before.outstanding > 0);
    assert_true(before.outstanding + (uint64_t)before.acknowledged <= sum + 1);
    while (recv(pair.theirs, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    do
        after = flow_of(pair.ours);
    while (after.outstanding > 0 && after.acknowledged == before.acknowledged);
    assert_true(after.outstanding == 0 || after.acknowledged > before.acknowledged);
    close_pair(pair);
}

/* It is in no hurry, but its kernel answers: that is no peer who vanished. */
static void a_tcp_peer_that_does_not_read_answers(void **state)
{
    struct pair pair = tcp_pair();

    (void)state;
    fill(pair.ours);
    for (int i = 0; i < 30; i++) {
        struct tcp_progress flow = flow_of(pair.ours);

        assert_true(flow.outstanding > 0);
        assert_false(flow.unanswered);
        assert_true(flow.silent_ms < 2000);
        usleep(20000);
    }
    close_pair(pair);
}

static void tells_what_a_unix_peer_left_unread(void **state)
{
    struct pair pair = unix_pair();
    char bytes[1000] = {0};

    (void)state;
    assert_int_equal(flow_of(pair.ours).outstanding, 0);
    assert_int_equal(send(pair.ours, bytes, 100, 0), 100);
    assert_int_equal(send(pair.ours, bytes, 100, 0), 100);
    struct tcp_progress full = flow_of(pair.ours);
    assert_true(full.outstanding >= 200);
    assert_int_equal(full.acknowledged, -(int64_t)full.outstanding);
    assert_int_equal(recv(pair.theirs, bytes, 100, 0), 100);
    struct tcp_progress less = flow_of(pair.ours);
    assert_true(less.acknowledged > full.acknowledged && less.outstanding > 0);
    assert_int_equal(less.silent_ms, 0);
    assert_false(less.unanswered);
    assert_int_equal(recv(pair.theirs, bytes, 100, 0), 100);
    assert_int_equal(flow_of(pair.ours).outstanding, 0);
    close_pair(pair);
}

static void says_so_when_it_is_no_socket(void **state)
{
    struct tcp_progress flow = {.outstanding = 77};

    (void)state;
    assert_int_equal(tcp_progress(-1, &flow), -EBADF);
    assert_int_equal(flow.outstanding, 77);
}

static void tells_what_became_of_a_tcp_peer(void **state)
{
    struct pair pair = tcp_pair();
    char byte = 'x';

    (void)state;
    assert_int_equal(peer_probe(pair.ours), PEER_THERE);
    assert_int_equal(send(pair.theirs, &byte, 1, 0), 1);
    wait_for(pair.ours, POLLIN);
    assert_int_equal(peer_probe(pair.ours), PEER_THERE);
    assert_int_equal(recv(pair.ours, &byte, 1, 0), 1);
    assert_int_equal(shutdown(pair.theirs, SHUT_WR), 0);
    wait_for(pair.ours, POLLRDHUP);
    assert_int_equal(peer_probe(pair.ours), PEER_HALF_CLOSED);
    assert_int_equal(send(pair.ours, &byte, 1, 0), 1);
    wait_for(pair.theirs, POLLIN);
    /* closing with a byte unread resets the connection */
    close(pair.theirs);
    pair.theirs = -1;
    wait_for(pair.ours, POLLERR);
    assert_int_equal(peer_probe(pair.ours), PEER_GONE);
    close_pair(pair);
}

static void tells_what_became_of_a_unix_peer(void **state)
{
    struct pair pair = unix_pair();

    (void)state;
    assert_int_equal(peer_probe(pair.ours), PEER_THERE);
    assert_int_equal(shutdown(pair.theirs, SHUT_WR), 0);
    assert_int_equal(peer_probe(pair.ours), PEER_HALF_CLOSED);
    close(pair.theirs);
    pair.theirs = -1;
    assert_int_equal(peer_probe(pair.ours), PEER_GONE);
    close_pair(pair);
    assert_int_equal(peer_probe(pair.ours), PEER_GONE); /* no longer open */
}

/* A reset, with bytes still waiting to be sent, and the descriptor stays its owner's. */
static void aborts_with_a_reset(void **state)
{
    struct pair pair = tcp_pair();
    static char bytes[65536];
    ssize_t sent;

    (void)state;
    do
        sent = send(pair.ours, bytes, sizeof(bytes), MSG_DONTWAIT);
    while (sent > 0);
    assert_int_equal(errno, EAGAIN);
    peer_abort(pair.ours);
    assert_int_equal(fcntl(pair.ours, F_GETFD), 0);
    assert_int_equal(close(pair.ours), 0);
    pair.ours = -1;
    wait_for(pair.theirs, POLLERR);
    for (sent = 1; sent > 0;)
        sent = recv(pair.theirs, bytes, sizeof(bytes), 0);
    assert_int_equal(sent, -1);
    assert_int_equal(errno, ECONNRESET);
    close_pair(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_addresses),
        cmocka_unit_test(the_same_address_is_the_same_bytes),
        cmocka_unit_test(a_unix_socket_has_no_address),
        cmocka_unit_test(says_nothing_is_outstanding_once_a_tcp_peer_has_it),
        cmocka_unit_test(counts_what_a_tcp_peer_acknowledged),
        cmocka_unit_test(a_tcp_peer_that_does_not_read_answers),
        cmocka_unit_test(tells_what_a_unix_peer_left_unread),
        cmocka_unit_test(says_so_when_it_is_no_socket),
        cmocka_unit_test(tells_what_became_of_a_tcp_peer),
        cmocka_unit_test(tells_what_became_of_a_unix_peer),
        cmocka_unit_test(aborts_with_a_reset),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
