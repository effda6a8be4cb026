# SPDX-License-Identifier: MIT
"""Tickets of several gateways that share a log: good at all of them, for one stream at a time."""

import os
import re
import signal
import time

import pytest

import redis_server
import wire
import ws
from test_cluster_start import PASSWORD, node, redis  # noqa: F401
from test_handover import leaves, make, take_over  # noqa: F401
from test_tickets import place_of, push, refused, ticket_of
from test_tls import Secure, pairs  # noqa: F401
from test_ws import as_page
from test_ws_tls import secure_connect
from tokens import ADMIN, SETTINGS, Key, bearer, stats, token
from wire import request_bytes, wait_until

pytestmark = pytest.mark.skipif(not redis_server.is_installed(), reason="no redis-server")

KEY = "07" * 32
OTHER = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8"


def follows(gateway):
    return stats(gateway)["cluster"]["log"] == "following"


@pytest.fixture
def two(gateway_factory, redis):  # noqa: F811
    """Start a log and two gateways at it."""
    server = redis()

    def start(settings=None, **options):
        settings = {**SETTINGS, "auth.ticket_key": KEY, "cluster.password": PASSWORD,
                    **(settings or {})}
        for name in "ab":
            server.ask("ACL", "SETUSER", name, "on", f">{PASSWORD}", "~*", "&*", "+@all")
        gateways = [node(gateway_factory, server, name, {**settings, "cluster.user": name},
                         **options) for name in "ab"]
        for gateway in gateways:
            wait_until(lambda: follows(gateway), 10, "the log is followed")
        return server, *gateways

    return start


def used(server):
    """What the log keeps of each used ticket."""
    names = ("node", "told", "fights")
    return [dict(zip(names, server.ask("HMGET", key, *names)))
            for key in server.ask("KEYS", "{bugle}t:*")]


def live(server):
    return [one["node"] for one in used(server) if one["node"]]


def streams_of(gateway):
    return gateway.request("GET", "/api/streams?local=true", bearer(ADMIN)).json()["streams"]


def test_a_ticket_is_good_at_another_gateway(two):
    server, a, b = two()
    ticket = ticket_of(a, {"user": "anna", "topics": ["x"]})
    stream = b.stream(ticket=ticket)
    place = place_of(stream)
    for gateway in (a, b):
        refused(gateway, ticket)
        refused(gateway, ticket, place[:12] + "-9999999999999999")
    last = push(a, {"data": "1", "topic": "x"})
    assert stream.next_event().data == "1"
    stream.close()
    wait_until(lambda: live(server) == [], what="the end is told")
    assert used(server)[0]["told"] == str(int(last[13:]))
    push(b, {"data": "2", "topic": "x"})
    stream = a.stream(ticket=ticket, resume=last)
    assert stream.next_event().data == "2"
    assert live(server) == ["a"]


def test_the_newer_use_ends_the_older_elsewhere(two):
    """And the page that was taken over from does not come back without an id."""
    _, a, b = two()
    ticket = ticket_of(a, {"user": "anna", "topics": ["x"]})
    older = a.stream(ticket=ticket)
    place = place_of(older)
    newer = b.stream(ticket=ticket, resume=place)
    older.read_to_end()
    assert older.end == "final chunk"
    push(a, {"data": "1", "topic": "x"})
    assert newer.next_event().data == "1"
    assert (stats(a)["streams_replaced"], stats(b)["streams_replaced"]) == (1, 0)
    a.wait_log("its ticket opened another stream")
    refused(a, ticket)
    again = b.stream(ticket=ticket, resume=place)  # at the same gateway
    newer.read_to_end()
    assert again.next_event().data == "1"


def test_uses_at_once_are_one_stream(two):
    """Whatever they show, and whichever gateway and worker they come to."""
    server, a, b = two(workers=2)
    for round_ in range(6):
        ticket = ticket_of(a, {"user": f"u{round_}"})
        last = []
        if round_ % 2 == 1:
            with b.stream(ticket=ticket) as stream:
                last = [("Last-Event-ID", place_of(stream))]
            wait_until(lambda: live(server) == [], what="the end of the first stream")
        wires = [(a, b)[i % 2].raw() for i in range(8)]
        for connection in wires:
            connection.send(request_bytes("GET", f"/events?ticket={ticket}", last))
        assert {connection.read_head().status for connection in wires} <= {200, 401}
        wait_until(lambda: len(streams_of(a)) + len(streams_of(b)) == 1, what="one stream")
        assert len(live(server)) == 1
        for connection in wires:
            connection.close()
        wait_until(lambda: live(server) == [], what="the end of all")


def test_a_ticket_that_is_fought_over_is_revoked_at_both(two):
    _, a, b = two()
    ticket = ticket_of(a, {"user": "anna"})
    stream = a.stream(ticket=ticket)
    place = place_of(stream)
    for turn in range(5):
        stream, older = (b, a)[turn % 2].stream(ticket=ticket, resume=place), stream
        older.read_to_end()
        time.sleep(0.2)
    refused(a, ticket, place)
    stream.read_to_end()
    refused(b, ticket, place)


def test_a_page_may_open_its_stream_twice(two):
    server, a, b = two()
    ticket = ticket_of(a, {"user": "anna"})
    with a.stream(ticket=ticket):
        refused(b, ticket)
    wait_until(lambda: live(server) == [], what="the end of the first stream")
    b.stream(ticket=ticket)


def test_what_is_forgotten_for_newer_ones_the_log_forgets(two):
    server, a, b = two({"limits.tickets_per_user": 2})
    anna = token("anna", subscribe=["x"])
    first = ticket_of(a, {"topics": ["x"], "ttl": 1}, anna)
    with a.stream(ticket=first) as stream:
        place = place_of(stream)
    wait_until(lambda: live(server) == [], what="the end of the first stream")
    time.sleep(1)  # its ttl
    for _ in range(2):
        a.stream(ticket=ticket_of(a, {"topics": ["x"]}, anna))
    assert stats(a)["tickets_forgotten"] == 1
    wait_until(lambda: len(used(server)) == 2, what="it is forgotten")
    refused(b, first, place)
    # no more than that of one gateway
    more = ticket_of(a, {"topics": ["x"]}, anna)
    assert a.request_once("GET", f"/events?ticket={more}").problem(429)["code"] \
        == "too_many_tickets_of_user"
    b.stream(ticket=more)


def test_refused_uses_leave_nothing(two):
    """Nor do they make a gateway forget others."""
    _, a, b = two({"limits.tickets_per_user": 1})
    ticket = ticket_of(a, {"user": "anna"})
    a.stream(ticket=ticket)
    for _ in range(3):
        refused(b, ticket)
    wait_until(lambda: stats(b)["tickets_used"] == 0, what="the count of used tickets")
    b.stream(ticket=ticket_of(a, {"user": "anna"}))


# without the log


def expect_retry(gateway, ticket, last=None):
    """An EventSource takes every answer but a 200 for final."""
    more = [("Last-Event-ID", last)] if last else []
    with gateway.raw() as connection:
        connection.send(request_bytes("GET", f"/events?ticket={ticket}",
                                      [("Accept", "text/event-stream"), *more]))
        assert connection.read_head().status == 200
        delay = re.search(rb"retry: ([0-9]+)\n", connection.read_to_end())
    assert 4000 <= int(delay[1]) <= 13000
    response = gateway.request_once("GET", f"/events?ticket={ticket}", more)
    assert response.problem(503)["code"] == "log_unreachable"
    assert 4 <= int(response.head.get("Retry-After")) <= 12
    code, (word, retry), _ = as_page(gateway, f"/ws?ticket={ticket}")
    assert (code, word) == (1013, "log_unreachable") and 4000 <= retry <= 13000


def test_without_the_log_clients_come_back_later(two):
    server, a, b = two({"cluster.timeout": "500ms", "cluster.lease": "1s"})
    fresh, other, ticket = (ticket_of(a, {"user": "anna", "topics": ["x"]}) for _ in range(3))
    stream = a.stream(ticket=ticket)
    place = place_of(stream)
    # it has to be found out, and may do later what it was asked: so not for the one that is live
    server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    expect_retry(b, other)
    assert time.monotonic() - began < wire.seconds(10)
    server.process.send_signal(signal.SIGCONT)
    server.stop()
    wait_until(lambda: not follows(a) and not follows(b), 10, "it is noticed")
    expect_retry(a, fresh)
    expect_retry(b, ticket, place)
    assert len(streams_of(a)) == 1 and not streams_of(b)
    server.start()
    for name in "ab":
        server.ask("ACL", "SETUSER", name, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    wait_until(lambda: follows(a) and follows(b), 10, "the log is followed")
    # it has lost what it knew, but for the stream that is live
    wait_until(lambda: live(server) == ["a"], what="the live stream's ticket is known again")
    refused(b, ticket)
    push(b, {"data": "1", "topic": "x"})
    assert stream.next_event().data == "1"
    newer = b.stream(ticket=ticket, resume=place)
    stream.read_to_end()
    assert newer.next_event().data == "1"
    b.stream(ticket=fresh)


def test_a_gateway_that_was_cut_off_hears_of_it_afterwards(two):
    """Its stream is taken over meanwhile."""
    server, a, b = two({"cluster.timeout": "500ms", "cluster.lease": "1s"})
    ticket = ticket_of(a, {"user": "anna", "topics": ["x"]})
    stream = a.stream(ticket=ticket)
    place = place_of(stream)
    os.kill(a.pid, signal.SIGSTOP)
    try:
        server.ask("CLIENT", "KILL", "USER", "a")
        newer = b.stream(ticket=ticket, resume=place)
    finally:
        os.kill(a.pid, signal.SIGCONT)
    stream.read_to_end()
    push(b, {"data": "1", "topic": "x"})
    assert newer.next_event().data == "1"


def test_a_killed_gateway_s_streams_go_on_elsewhere(two):
    _, a, b = two()
    ticket = ticket_of(a, {"user": "anna", "topics": ["x"]})
    place = place_of(a.stream(ticket=ticket))
    a.kill()
    push(b, {"data": "1", "topic": "x"})
    assert b.stream(ticket=ticket, resume=place).next_event().data == "1"


def test_clients_that_leave_while_the_log_is_asked_leave_nothing(two):
    server, a, _ = two()
    tickets = [ticket_of(a, {"user": "anna"}) for _ in range(4)]
    server.process.send_signal(signal.SIGSTOP)
    for ticket in tickets:
        with a.raw() as connection:
            connection.send(request_bytes("GET", f"/events?ticket={ticket}"))
            time.sleep(0.05)
    server.process.send_signal(signal.SIGCONT)
    wait_until(lambda: len(used(server)) == 4 and live(server) == [], what="all are over")
    assert not streams_of(a)
    for ticket in tickets:  # within five seconds, as a page that was opened twice
        a.stream(ticket=ticket)


def test_streams_go_on_at_the_process_that_takes_over(make, redis):  # noqa: F811
    server = redis()
    gateway = make(settings={**SETTINGS, "auth.ticket_key": KEY, "cluster.log": server.url,
                             "cluster.node": "a"})
    wait_until(lambda: follows(gateway), 10, "the log is followed")
    ticket = ticket_of(gateway, {"user": "anna", "topics": ["x"]})
    stream = gateway.stream(ticket=ticket)
    place = place_of(stream)
    gateway._drop_control()
    old = take_over(gateway)
    stream.read_to_end()
    leaves(old, gateway)
    wait_until(lambda: follows(gateway), 10, "the log is followed")
    newer = gateway.stream(ticket=ticket, resume=place)
    push(gateway, {"data": "1", "topic": "x"})
    assert newer.next_event().data == "1"
    refused(gateway, ticket)


def test_a_stop_does_not_wait_for_the_log(two):
    """What was asked is refused then, as at a limit."""
    server, a, _ = two({"cluster.timeout": "60s", "cluster.answer_timeout": "60s",
                        "cluster.lease": "120s", "drain.window": "1s"})
    tickets = [ticket_of(a, {"user": "anna"}) for _ in range(2)]
    server.process.send_signal(signal.SIGSTOP)
    wires = [a.raw() for _ in tickets]
    for connection, ticket in zip(wires, tickets):
        connection.send(request_bytes("GET", f"/events?ticket={ticket}"))
    wires[1].close()
    time.sleep(0.3)
    a.stop()
    assert wires[0].read_response().problem(503)["code"] == "log_unreachable"
    wires[0].close()


# WebSockets


def test_websockets_come_with_tickets_too(two):
    server, a, b = two()
    ticket = ticket_of(a, {"user": "anna", "topics": ["x"]})
    with ws.connect_v1(b, ticket=ticket, headers=[("Origin", b.url)]) as socket:
        place = socket.hello["id"]
        push(a, {"data": "1", "topic": "x"})
        assert socket.next_event()["data"] == "1"
        newer = a.stream(ticket=ticket, resume=place)
        assert socket.next_close()[0] == 4409
    assert newer.next_event().data == "1"
    assert ws.refused(b, f"/ws?ticket={ticket}").problem(401)["code"] == "invalid_token"
    code, (word, _), _ = as_page(b, f"/ws?ticket={ticket}")
    assert (code, word) == (4401, "invalid_token")
    assert live(server) == ["a"]


def test_inside_tls_too(gateway_factory, redis, pairs):  # noqa: F811
    """There a request that waits is the library's, and stays it."""
    server = redis()
    secure = Secure(gateway_factory, pairs[0], {
        **SETTINGS, "auth.ticket_key": KEY, "cluster.log": server.url, "cluster.node": "a"})
    plain = secure.plain
    wait_until(lambda: follows(plain), 10, "the log is followed")
    ticket = ticket_of(plain, {"user": "anna", "topics": ["x"]})
    stream = secure.stream(ticket=ticket)
    place = place_of(stream)
    socket = secure_connect(secure, protocol=ws.V1, ticket=ticket, last_event_id=place)
    assert socket.next_json()["type"] == "hello"
    stream.read_to_end()
    push(plain, {"data": "1", "topic": "x"})
    assert socket.next_event()["data"] == "1"
    newer = secure.stream(ticket=ticket, resume=place)
    assert socket.next_close()[0] == 4409
    assert newer.next_event().data == "1"
    response = secure.request("GET", f"/events?ticket={ticket}")
    assert response.problem(401)["code"] == "invalid_token"
    server.stop()
    wait_until(lambda: not follows(plain), 10, "it is noticed")
    response = secure.request("GET", f"/events?ticket={ticket_of(plain, {'user': 'anna'})}")
    assert response.problem(503)["code"] == "log_unreachable"


# keys


def test_a_key_takes_the_place_of_another(gateway_factory, redis, tmp_path):  # noqa: F811
    """Tickets that were made before stay good until the old key goes; and streams go on."""
    server = redis()
    paths = {name: tmp_path / f"{name}.conf" for name in "ab"}
    times = {"a": 0, "b": 0}

    def write(name, keys):
        paths[name].write_text(f"[auth]\nmode = token\njwt_key = {Key('HS256').setting(None)}\n"
                               f"ticket_key = {keys}\n[cluster]\nlog = {server.url}\n"
                               f"node = {name}\n")

    def reload(gateway, name, keys):
        write(name, keys)
        gateway.signal(signal.SIGHUP)
        times[name] += 1
        wait_until(lambda: gateway.log().count("settings reloaded") == times[name],
                   what="the reload")

    for name in "ab":
        write(name, KEY)
    a, b = (gateway_factory(args=["--config", str(path)]) for path in paths.values())
    wait_until(lambda: follows(a) and follows(b), 10, "the log is followed")
    old = [ticket_of(a, {"user": "anna"}) for _ in range(3)]
    stream = a.stream(ticket=old[0])
    for gateway, name in ((a, "a"), (b, "b")):
        reload(gateway, name, f"{KEY}, {OTHER}")
    reload(a, "a", f"{OTHER}, {KEY}")
    b.stream(ticket=ticket_of(a, {"user": "anna"}))
    a.stream(ticket=ticket_of(b, {"user": "anna"}))
    reload(b, "b", f"{OTHER}, {KEY}")
    b.stream(ticket=old[1])
    for gateway, name in ((a, "a"), (b, "b")):
        reload(gateway, name, OTHER)
        response = gateway.request_once("GET", f"/events?ticket={old[2]}")
        assert response.problem(401)["detail"] == "This gateway did not make the ticket."
    write("a", "")  # and one there must be
    a.signal(signal.SIGHUP)
    a.wait_log("reload refused")
    push(b, {"data": "1", "user": "anna"})
    assert stream.next_event().data == "1"


def test_a_ticket_of_others_is_a_stranger_s(two, gateway_factory):
    _, a, _ = two()
    other = gateway_factory(settings={**SETTINGS, "auth.ticket_key": OTHER})
    response = a.request_once("GET", f"/events?ticket={ticket_of(other, {'user': 'anna'})}")
    assert response.problem(401)["detail"] == "This gateway did not make the ticket."


def test_without_a_log_a_key_of_the_settings_outlives_the_store(gateway_factory):
    gateway = gateway_factory(settings={**SETTINGS, "auth.ticket_key": KEY})
    ticket = ticket_of(gateway, {"user": "anna"})
    gateway.kill()
    gateway.start()
    gateway.stream(ticket=ticket)
    refused(gateway, ticket)
