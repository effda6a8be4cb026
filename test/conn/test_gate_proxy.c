/* SPDX-License-Identifier: MIT */
/* Connections behind a proxy that names its client in a PROXY header. */
#include "config.h"
#include "gate_fixture.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define PROXY_LINE "PROXY TCP4 192.0.2.9 198.51.100.1 4711 80\r\n"

static struct pair taken_proxied(struct bench *bench, const char *text)
{
    struct sockaddr address = {.sa_family = AF_UNIX};
    struct pair pair = connected(bench, text);

    gate_take(bench->gate, pair.ours, &address, sizeof(address),
              (struct listener_layers){.proxied = true});
    turn(bench); /* it is watched from now on */
    turn(bench);
    return pair;
}

static void a_proxy_header_is_gone_and_the_client_has_its_address(void **state)
{
    struct bench *bench = build();
    struct pair pair = taken_proxied(bench, PROXY_LINE GOOD_HEAD);
    char peer_is[PEER_TEXT_BYTES], text[100] = "";
    struct peer peer;

    (void)state;
    assert_admitted(bench, pair, CELL_STREAM);
    assert_int_equal(recv(pair.ours, text, sizeof(text), 0), strlen(GOOD_HEAD));
    assert_string_equal(text, GOOD_HEAD);
    peer_from_sockaddr((struct sockaddr *)&bench->cells.address, &peer);
    assert_string_equal(peer_text(&peer, peer_is), "192.0.2.9:4711");
    client_quota_drop_connection(bench->client_quota, &peer);
    close_pair(pair);
    tear_down(bench);
}

static void a_proxy_header_and_a_head_may_come_byte_by_byte(void **state)
{
    static const char all[] = PROXY_LINE GOOD_HEAD;
    struct bench *bench = build();
    struct pair pair = taken_proxied(bench, "");

    (void)state;
    for (size_t i = 0; i + 1 < sizeof(all); i++) {
        assert_int_equal(bench->cells.calls_n, 0);
        assert_int_equal(gate_waiting_count(bench->gate), 1);
        assert_int_equal(send(pair.theirs, &all[i], 1, 0), 1);
        turn(bench);
    }
    assert_admitted(bench, pair, CELL_STREAM);
    close_pair(pair);
    tear_down(bench);
}

static void without_a_proxy_header_nothing_is_answered(void **state)
{
    static const char *const cases[] = {GOOD_HEAD, "PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n" GOOD_HEAD,
                                        "\r\n" GOOD_HEAD, "PROXX"};

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct bench *bench = build();
        struct pair pair = taken_proxied(bench, cases[i]);

        assert_dropped(bench, pair);
        assert_int_equal(stat_of(bench, STATS_PROXY_HEADERS_REFUSED), 1);
        assert_int_equal(stat_of(bench, STATS_RESPONSES_4XX), 0);
        tear_down(bench);
    }
}

static void a_proxy_header_has_the_deadline_of_the_head(void **state)
{
    struct bench *bench = build();
    struct pair slow = taken_proxied(bench, "PROXY TCP4");
    int64_t now_ms = clock_mono_ms();

    (void)state;
    gate_tick(bench->gate, now_ms + 9000);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    gate_tick(bench->gate, now_ms + 10001);
    assert_dropped(bench, slow);
    assert_int_equal(stat_of(bench, STATS_PROXY_HEADERS_REFUSED), 1);
    tear_down(bench);
}

static void clients_behind_a_proxy_count_by_their_own_address(void **state)
{
    struct bench *bench = build();
    struct pair first, second;
    struct peer client = {.address = {192, 0, 2, 9}, .family = AF_INET};

    (void)state;
    bench->conf.limits.connections_per_address = 1;
    first = taken_proxied(bench, PROXY_LINE);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    second = taken_proxied(bench, PROXY_LINE);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    assert_false(is_open(second.ours));
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_REFUSED_ADDRESS), 1);
    close(first.theirs);
    turn(bench);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_true(client_quota_add_connection(bench->client_quota, &client, 1));
    close(second.theirs);
    tear_down(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proxy_header_is_gone_and_the_client_has_its_address),
        cmocka_unit_test(a_proxy_header_and_a_head_may_come_byte_by_byte),
        cmocka_unit_test(without_a_proxy_header_nothing_is_answered),
        cmocka_unit_test(a_proxy_header_has_the_deadline_of_the_head),
        cmocka_unit_test(clients_behind_a_proxy_count_by_their_own_address),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
