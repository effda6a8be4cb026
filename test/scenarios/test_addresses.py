# SPDX-License-Identifier: MIT
"""Limits by address and by user, and who is at the other end behind proxies.  Clients with
addresses of their own are in a network namespace, since those on a loopback address do not count.
"""

import contextlib
import ctypes
import re
import socket
import subprocess
import threading
import time

import pytest

import wire
from conftest import free_port

CLONE_NEWNET = 0x40000000
ADDRESSES = ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "2001:db8:0:1::1/128",
             "2001:db8:0:1::2/128", "2001:db8:0:2::1/128"]
BEHIND = {"server.trusted_proxies": "127.0.0.1, 203.0.113.0/24"}
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def forwarded(*hops):
    return [("X-Forwarded-For", hop) for hop in hops]


def ask(gateway, headers=(), target="/events?topic=a", accept="text/event-stream", wire_of=None):
    """GET /events; the connection and its head, or nothing when it was closed without an answer."""
    connection = (wire_of or gateway.raw)()
    connection.send(gateway.request_bytes("GET", target, [("Accept", accept), *headers]))
    return connection, connection.read_head()


def assert_shed(gateway, headers=(), target="/events?topic=a", code="too_many_streams_of_address"):
    """At its limit an EventSource gets a 200, a long retry and the end, others a 429."""
    connection, head = ask(gateway, headers, target)
    with connection:
        kind = head.get("Content-Type")
        assert (head.status, kind) == (200, "text/event-stream; charset=utf-8"), head.raw
        body = connection.read_to_end()
        delay = re.search(rb"retry: ([0-9]+)\n", body)
        assert delay and 30000 <= int(delay[1]) <= 60000, body
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes("GET", target, headers))
        response = connection.read_response()
    assert response.problem(429)["code"] == code, response
    assert 30 <= int(response.head.get("Retry-After")) <= 60, response.head.raw


def open_as(gateway, *hops, topic="a", **query):
    return gateway.stream(topic, headers=forwarded(*hops), **query)


def addresses(gateway):
    streams = gateway.request("GET", "/api/streams").json()["streams"]
    return sorted(stream["address"] for stream in streams)


# streams behind proxies


@pytest.mark.gateway(settings={**BEHIND, "limits.streams_per_address": "3"}, workers=2)
def test_an_address_has_exactly_so_many_streams(gateway):
    """Over both workers, and the place is free again however a stream ended."""
    streams = [open_as(gateway, "198.51.100.7") for _ in range(3)]
    assert_shed(gateway, forwarded("198.51.100.7"))
    open_as(gateway, "198.51.100.8")
    gateway.stream("a")  # without the header it is the proxy itself, who does not count

    streams.pop().close()
    gateway.wait_stat("streams_open", 4)
    open_as(gateway, "198.51.100.7")
    assert_shed(gateway, forwarded("198.51.100.7"))

    listed = gateway.request("GET", "/api/streams").json()["streams"]
    ours = next(each["id"] for each in listed if each["address"] == "198.51.100.7")
    assert gateway.request("DELETE", f"/api/streams/{ours}").json() == {"ended": 1}
    gateway.wait_stat("streams_open", 4)
    open_as(gateway, "198.51.100.7")
    assert_shed(gateway, forwarded("198.51.100.7"))
    stats = gateway.stats()
    assert stats["streams_refused_address"] == 6 and stats["streams_refused"] == 6, stats
    assert gateway.log().count("was refused: limits.streams_per_address") < 6


@pytest.mark.gateway(settings={**BEHIND, "limits.streams_per_address": "1",
                               "stream.stall_timeout": "1s"}, workers=1)
def test_the_place_of_an_evicted_stream_is_free(gateway):
    stalled = gateway.keep(wire.open_stream(
        gateway.address, "/events?topic=a", forwarded("198.51.100.7"), receive_buffer=4096))
    assert_shed(gateway, forwarded("198.51.100.7"))
    wire.wait_until(
        lambda: gateway.push([{"topic": "a", "data": "x" * 60000}] * 4)
        and gateway.stat("streams_stalled") == 1, 20, "the stream that does not read is evicted")
    gateway.wait_stat("streams_open", 0)
    open_as(gateway, "198.51.100.7")
    stalled.close()


@pytest.mark.gateway(settings={**BEHIND, "limits.streams_per_address": "2"})
def test_an_ipv6_address_counts_as_its_first_half(gateway):
    open_as(gateway, "2001:db8:0:1::1")
    open_as(gateway, "[2001:db8:0:1:ffff::2]:4711")
    assert_shed(gateway, forwarded("2001:db8:0:1::3"))
    open_as(gateway, "2001:db8:0:2::1")
    assert addresses(gateway) == ["2001:db8:0:1::1", "2001:db8:0:2::1",
                                  "[2001:db8:0:1:ffff::2]:4711"]


@pytest.mark.gateway(settings={**BEHIND, "limits.streams_per_address": "2"})
def test_the_client_is_the_first_from_the_right_who_is_no_proxy(gateway):
    """What clients write themselves stands left of that, and helps them nothing."""
    open_as(gateway, "10.9.9.9, 198.51.100.7")
    open_as(gateway, "127.0.0.1", "198.51.100.7, 203.0.113.5")
    assert_shed(gateway, forwarded("10.8.8.8, 198.51.100.7"))
    assert_shed(gateway, forwarded("127.0.0.1, 198.51.100.7, 203.0.113.9"))
    assert addresses(gateway) == ["198.51.100.7", "198.51.100.7"]


@pytest.mark.gateway(settings={**BEHIND, "limits.streams_per_address": "2"})
def test_clients_whom_nobody_knows_count_as_one(gateway):
    """And nothing of what they write is shown or logged."""
    open_as(gateway, "unknown")
    open_as(gateway, '198.51.100.7, <b>\\x1b[31m" forged')
    assert_shed(gateway, forwarded("198.51.100.7:99999"))
    assert addresses(gateway) == ["unknown", "unknown"]
    assert "forged" not in gateway.log() and "99999" not in gateway.log()


@pytest.mark.gateway(settings={"limits.streams_per_address": "1"})
def test_without_trust_headers_say_nothing(gateway):
    for _ in range(3):
        open_as(gateway, "198.51.100.7")
    assert all(re.fullmatch(r"127\.0\.0\.1:[0-9]+", each) for each in addresses(gateway))


@pytest.mark.gateway(settings={**BEHIND, "server.forwarded_header": "forwarded",
                               "limits.streams_per_address": "1"})
def test_one_header_is_read_and_the_other_is_not(gateway):
    """A proxy that writes Forwarded passes X-Forwarded-For on as the client sent it."""
    gateway.stream("a", headers=[("Forwarded", 'for="198.51.100.7:4711";proto=https'),
                                 ("X-Forwarded-For", "127.0.0.1")])
    assert_shed(gateway, [("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=198.51.100.7")])
    gateway.stream("a", headers=[("Forwarded", 'for=127.0.0.1;x="'), ("X-Forwarded-For", "::1")])
    assert_shed(gateway, [("Forwarded", 'for=", for=127.0.0.1')])
    assert addresses(gateway) == ["198.51.100.7:4711", "unknown"]


# users


@pytest.mark.gateway(settings={**BEHIND, "limits.streams_per_user": "3"}, workers=2)
def test_a_user_has_exactly_so_many_streams(gateway):
    """Wherever from, on a loopback address too; streams without a user are not counted."""
    streams = [open_as(gateway, f"198.51.100.{i}", user="ann") for i in range(2)]
    streams.append(gateway.stream("a", user="ann"))
    assert_shed(gateway, target="/events?topic=a&user=ann", code="too_many_streams_of_user")
    assert_shed(gateway, forwarded("198.51.100.9"), "/events?user=ann", "too_many_streams_of_user")
    gateway.stream("a", user="bob")
    gateway.stream_many([{"topic": "a"}] * 5)
    streams.pop().close()
    gateway.wait_stat("streams_open", 8)
    gateway.stream("a", user="ann")
    assert_shed(gateway, target="/events?user=ann", code="too_many_streams_of_user")
    assert gateway.stat("streams_refused_user") == 6


def test_limits_take_effect_with_a_reload(gateway_factory, tmp_path):
    path = tmp_path / "bugle.conf"
    path.write_text("[limits]\nstreams_per_user = 1\n")
    gateway = gateway_factory(args=["--config", str(path)])
    gateway.stream("a", user="ann")
    assert_shed(gateway, target="/events?user=ann", code="too_many_streams_of_user")
    path.write_text("[limits]\nstreams_per_user = 2\n")
    gateway.signal(1)
    wire.wait_until(lambda: "settings reloaded" in gateway.log(), 5, "it has reloaded")
    gateway.stream("a", user="ann")
    assert_shed(gateway, target="/events?user=ann", code="too_many_streams_of_user")


# the PROXY protocol


@pytest.fixture
def proxied(gateway_factory):
    """A gateway with a second listener for the PROXY protocol, and how to connect to it."""

    def make(**settings):
        port = free_port()
        address = f"127.0.0.1:{port}"
        gateway = gateway_factory(listen=[address], settings={
            **BEHIND, "server.proxy_protocol": address, **settings})

        def connect(header):
            connection = wire.Wire(("127.0.0.1", port))
            connection.send(header)
            return connection

        return gateway, connect

    return make


def line(source, port=4711):
    return f"PROXY TCP{6 if ':' in source else 4} {source} {source} {port} 80\r\n".encode()


def test_the_proxy_protocol_names_the_client(proxied):
    """Both versions, and a request of a connection's own behind each; a header of HTTP is believed
    only when the client that is named is a proxy itself."""
    gateway, connect = proxied()
    v2 = V2 + b"\x21\x11\0\x10" + bytes([198, 51, 100, 8, 127, 0, 0, 1, 1, 2, 0, 80]) + b"\4\0\1x"
    cases = [
        (line("198.51.100.7"), (), "198.51.100.7:4711"),
        (line("2001:db8::7"), (), "[2001:db8::7]:4711"),
        (v2, (), "198.51.100.8:258"),
        (line("198.51.100.9"), forwarded("127.0.0.1"), "198.51.100.9:4711"),
        (line("203.0.113.1"), forwarded("198.51.100.10"), "198.51.100.10"),
        (b"PROXY UNKNOWN\r\n", forwarded("198.51.100.11"), "unknown"),
    ]
    for header, headers, expected in cases:
        connection, head = ask(gateway, headers, wire_of=lambda header=header: connect(header))
        stream = gateway.keep(wire.Stream(connection, head))
        stream.greet()
        assert addresses(gateway) == [expected]
        stream.close()
        gateway.wait_stat("streams_open", 0)
    with connect(V2 + b"\x20\0\0\0") as connection:
        connection.send(gateway.request_bytes("GET", "/healthz"))
        assert connection.read_response().status == 200
    assert gateway.request("GET", "/healthz").status == 200  # the other listener needs none


@pytest.mark.parametrize("opening", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PROXY TCP4 1 2 3 4\r\n", V2 + b"\x31", b"\x16\x03\x01",
    b"PROXY " + b"x" * 120])
def test_without_a_sound_header_the_connection_is_closed(proxied, opening):
    gateway, connect = proxied()
    with connect(opening) as connection:
        with contextlib.suppress(ConnectionError):
            assert connection.read_to_end() == b""
    gateway.wait_stat("proxy_headers_refused", 1)
    gateway.wait_stat("connections_waiting", 0)


def test_the_header_may_come_slowly_but_not_for_ever(proxied):
    gateway, connect = proxied(**{"limits.header_timeout": "1500ms"})
    request = gateway.request_bytes("GET", "/healthz", [("Connection", "close")])
    with connect(b"PRO") as slow, connect(b"PROXY TCP4 198.") as stuck:
        slow.send(line("198.51.100.7")[3:20])
        gateway.wait_stat("connections_waiting", 2)
        slow.send(line("198.51.100.7")[20:] + request[:7])
        slow.send(request[7:])
        assert slow.read_response().status == 200
        assert stuck.read_to_end() == b""
    gateway.wait_stat("heads_timed_out", 1)
    gateway.wait_stat("proxy_headers_refused", 1)


def test_connections_behind_the_proxy_protocol_count_by_client(proxied):
    """Exact, also for those that say nothing more, or die in the gate."""
    gateway, connect = proxied(**{"limits.connections_per_address": "3"})
    silent = [connect(line("198.51.100.7", port)) for port in range(2)]
    gateway.wait_stat("connections_waiting", 2)
    connection, head = ask(gateway, wire_of=lambda: connect(line("198.51.100.7", 9)))
    stream = gateway.keep(wire.Stream(connection, head))
    stream.greet()
    for port in range(20, 23):
        with connect(line("198.51.100.7", port)) as refused:
            with contextlib.suppress(ConnectionError):
                assert refused.read_to_end() == b""
    gateway.wait_stat("connections_refused_address", 3)
    with connect(line("198.51.100.8")) as other:
        other.send(gateway.request_bytes("GET", "/healthz"))
        assert other.read_response().status == 200
    for each in [silent.pop(), stream]:
        each.close()
    gateway.wait_stat("streams_open", 0)
    gateway.wait_stat("connections_waiting", 1)
    for _ in range(5):  # one after the other, each in the place of the one before
        with connect(line("198.51.100.7")) as connection:
            connection.send(gateway.request_bytes("GET", "/healthz"))
            assert connection.read_response().status == 200
        gateway.wait_stat("connections_open", 2)
    assert gateway.stat("connections_refused_address") == 3
    silent.pop().close()


def test_the_proxy_protocol_needs_proxies(bugle):
    for settings, word in [
            (["server.proxy_protocol=127.0.0.1:8080"], "server.trusted_proxies"),
            (["server.proxy_protocol=127.0.0.1:1", "server.trusted_proxies=127.0.0.1"],
             "expected an item of server.listen"),
            (["server.trusted_proxies=127.0.0.1/33"], "expected ADDR, ADDR/BITS or unix")]:
        done = bugle("check-config", *[word for each in settings for word in ("--set", each)])
        assert done.returncode == 1 and word in done.stderr, done


# connections of all, and how fast they come


def end_of(connection):
    """What it gets besides being closed."""
    with contextlib.suppress(ConnectionError):
        return connection.read_to_end()
    return b""


@pytest.mark.gateway(settings={"limits.connections": "5"})
def test_there_are_exactly_so_many_connections(gateway):
    gateway.stats()  # on a connection that is kept
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(gateway.raw()) for _ in range(4)]
        gateway.wait_stat("connections_open", 5)
        for _ in range(3):
            assert end_of(stack.enter_context(gateway.raw())) == b""
        gateway.wait_stat("connections_refused", 3)
        held.pop().close()
        gateway.wait_stat("connections_open", 4)
        held.append(stack.enter_context(gateway.raw()))
        gateway.wait_stat("connections_open", 5)
        assert end_of(stack.enter_context(gateway.raw())) == b""
    assert gateway.log().count("was closed: limits.connections (") < 4


@pytest.mark.gateway(settings={"limits.accept_rate": "40"})
def test_who_comes_too_fast_waits_and_is_served(gateway):
    before = gateway.stat("connections_accepted")
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(gateway.raw()) for _ in range(60)]
        for each in crowd:
            each.send(gateway.request_bytes("GET", "/healthz"))
        for each in crowd:
            assert each.read_response().status == 200
        took = time.monotonic() - began
    stats = gateway.stats()
    assert stats["connections_accepted"] == before + 60, stats
    assert stats["accept_waits"] > 0 and stats["connections_shed"] == 0, stats
    assert took >= (60 - 4 - 1) / 40, took  # a tenth of a second's worth at once


# clients with addresses of their own


@pytest.fixture
def apart(gateway_factory):
    """Run something with a gateway in a network namespace whose only interface has ADDRESSES."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter():
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for address in ADDRESSES:
            nodad = ["nodad"] if ":" in address else []
            subprocess.run(["ip", "addr", "add", address, "dev", "lo", *nodad], check=True)

    def run(body, **settings):
        outcome = []

        def call():
            try:
                enter()
                gateway = gateway_factory(
                    listen=["192.0.2.1:8080", "[2001:db8:0:1::1]:8080"],
                    settings={"auth.mode": "none", **settings})
                body(gateway)
            except BaseException as error:  # the test's, on its own thread
                outcome.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        if outcome and isinstance(outcome[0], (PermissionError, FileNotFoundError)):
            pytest.skip(f"no namespaces here: {outcome[0]}")
        if outcome and isinstance(outcome[0], OSError) and outcome[0].errno in (1, 22, 38):
            pytest.skip(f"no namespaces here: {outcome[0]}")
        if outcome:
            raise outcome[0]

    yield run


class Direct(wire.Wire):
    """A connection from an address of one's own."""

    def __init__(self, source):
        v6 = ":" in source
        ours = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
        ours.settimeout(wire.seconds(10))
        ours.bind((source, 0))
        ours.connect(("2001:db8:0:1::1" if v6 else "192.0.2.1", 8080))
        self.socket, self.timeout = ours, wire.seconds(10)
        self.buffer, self.end = bytearray(), None


def serves(gateway, source):
    """Whether a connection from there is served, rather than closed."""
    with contextlib.suppress(ConnectionError, AssertionError):
        with Direct(source) as connection:
            connection.send(gateway.request_bytes("GET", "/healthz"))
            return connection.read_response().status == 200
    return False


def test_an_address_has_exactly_so_many_connections(apart):
    """Over both workers, whatever they do or fail to do."""

    def body(gateway):
        held = [Direct("192.0.2.2") for _ in range(3)]
        held[0].send(gateway.request_bytes("GET", "/events?topic=a"))
        held[1].send(gateway.request_bytes("GET", "/healthz"))
        assert held[0].read_head().status == 200
        assert held[1].read_response().status == 200
        gateway.wait_stat("connections_open", 4)
        for _ in range(20):
            assert not serves(gateway, "192.0.2.2")
        assert serves(gateway, "192.0.2.3")
        assert gateway.stat("connections_refused_address") == 20
        assert gateway.log().count("was closed: limits.connections_per_address") < 10
        for _ in range(3):  # a stream, a resting one, one that never said a word
            held.pop(0).close()
            wire.wait_until(lambda: serves(gateway, "192.0.2.2"), 5, "the place is free")
            gateway.wait_stat("connections_open", 3)
            held.append(Direct("192.0.2.2"))
            gateway.wait_stat("connections_open", 4)
            assert not serves(gateway, "192.0.2.2")
        with contextlib.ExitStack() as stack:
            for _ in range(10):  # those do not count
                local = stack.enter_context(gateway.raw())
                local.send(gateway.request_bytes("GET", "/healthz"))
                assert local.read_response().status == 200

    apart(body, **{"limits.connections_per_address": "3"})


def test_ipv6_connections_count_by_their_first_half(apart):
    def body(gateway):
        held = [Direct("2001:db8:0:1::1"), Direct("2001:db8:0:1::2")]
        gateway.wait_stat("connections_open", 3)
        assert not serves(gateway, "2001:db8:0:1::2")
        assert serves(gateway, "2001:db8:0:2::1")
        for each in held:
            each.close()

    apart(body, **{"limits.connections_per_address": "2"})


def test_strangers_cannot_speak_for_others(apart):
    """Neither in a header nor in the PROXY protocol, if they are no listed proxies."""

    def body(gateway):
        for source, spoken in [("192.0.2.2", "192.0.2.2:"), ("192.0.2.3", "198.51.100.7")]:
            with Direct(source) as connection:
                connection.send(gateway.request_bytes(
                    "GET", "/events?topic=a", forwarded("198.51.100.7")))
                assert connection.read_head().status == 200
                (shown,) = addresses(gateway)
                assert shown.startswith(spoken), shown
            gateway.wait_stat("streams_open", 0)
        with Direct("2001:db8:0:1::2") as stranger:
            stranger.send(line("198.51.100.7") + gateway.request_bytes("GET", "/healthz"))
            assert end_of(stranger) == b""
        gateway.wait_stat("proxy_headers_refused", 1)

    apart(body, **{"server.trusted_proxies": "192.0.2.3",
                   "server.proxy_protocol": "[2001:db8:0:1::1]:8080"})
