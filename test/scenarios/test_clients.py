# SPDX-License-Identifier: MIT
"""Clients that vanish, stall, dawdle or send nonsense, and a gateway out of descriptors."""

import contextlib
import random
import re
import socket
import threading
import time

import pytest

import wire
from conftest import free_port

STALL = {"stream.stall_timeout": "2s", "stream.heartbeat": "60s"}


def cpu_share(gateway, span=1.0):
    """CPU seconds used in a second of wall clock."""
    used, begun = gateway.cpu_seconds(), time.monotonic()
    wire.wait_until(lambda: time.monotonic() - begun >= span, span + 5, "a second has passed")
    return (gateway.cpu_seconds() - used) / (time.monotonic() - begun)


def push_bulk(gateway, topic, count, size=32000):
    """Publish more than any socket buffer holds."""
    body = b"x" * size
    return [gateway.push(body, content_type="text/plain", query={"topic": topic})["id"]
            for _ in range(count)]


# clients that go


def test_half_closed_reader_keeps_receiving(gateway):
    """Some clients send FIN after their request (`nc -N`, some proxies) and read on.  A FIN alone
    does not say that nobody reads."""
    stream = gateway.stream("a")
    stream.wire.half_close()
    for i in range(5):
        gateway.push({"topic": "a", "data": i})
        assert stream.next_event().data == str(i)
    stats = gateway.stats()
    assert (stats["streams_open"], stats["streams_left"]) == (1, 0)
    assert cpu_share(gateway) < 0.1


def test_closed_stream_is_noticed_without_an_event(gateway):
    """A browser tab is closed.  The stream is gone soon after, though nothing was published that
    would have failed to be sent."""
    before = gateway.sockets()
    streams = gateway.stream_many([{"topic": "a"}] * 20)
    assert gateway.stat("streams_open") == 20
    for stream in streams:
        stream.close()
    gateway.wait_stat("streams_open", 0)
    gateway.wait_stat("streams_left", 20)
    wire.wait_until(lambda: gateway.sockets() <= before, 5, "sockets are given back")


def test_reset_while_idle_ends_the_stream_and_burns_no_cpu(gateway):
    """A RST on a suspended connection is a classic way to make an event loop spin: the error is
    reported for ever to nobody.  The streams must go and the process must sleep."""
    before = gateway.sockets()
    idle = gateway.stream_many([{"topic": "a"}] * 10)
    gone = gateway.stream_many([{"topic": "a"}] * 20)
    for stream in gone:
        stream.wire.reset()
    gateway.wait_stat("streams_open", 10)
    wire.wait_until(lambda: gateway.sockets() <= before + 10, 5, "sockets are given back")
    assert cpu_share(gateway) < 0.1
    gateway.push({"topic": "a", "data": "x"})
    assert [stream.next_event().data for stream in idle] == ["x"] * 10


def test_idle_streams_burn_no_cpu(gateway):
    """Two hundred quiet streams cost memory and nothing else, whoever half-closed or sent more
    bytes than a request has."""
    streams = gateway.stream_many([{"topic": "a"}] * 200)
    for stream in streams[:20]:
        stream.wire.half_close()
    for stream in streams[20:40]:
        stream.wire.send(b"GET /events HTTP/1.1\r\n")
    gateway.push({"topic": "a", "data": "x"})
    assert {stream.next_event().data for stream in streams} == {"x"}
    assert cpu_share(gateway) < 0.15


def test_client_that_leaves_while_an_event_is_sent_takes_nothing_with_it(gateway):
    """Half of a large event is in its socket when it resets; the next reader gets all of it."""
    before = gateway.sockets()
    stay = gateway.stream("a")
    for _ in range(5):
        leaver = gateway.stream("a", receive_buffer=4096)
        push_bulk(gateway, "a", 5, 60000)
        assert leaver.pump() > 0
        leaver.wire.reset()
    wire.wait_until(lambda: gateway.stat("streams_open") == 1, 10, "the leavers are gone")
    assert all(len(event.data) == 60000 for event in stay.events(25))
    wire.wait_until(lambda: gateway.sockets() <= before + 1, 5, "sockets are given back")


# clients that do not read


@pytest.mark.gateway(settings=STALL)
def test_client_that_never_reads_is_evicted(gateway):
    """Its buffers are full and it takes nothing for two seconds: it is cut off, counted, and
    leaves no descriptor behind.  Those that read notice nothing."""
    before = gateway.sockets()
    stalled = [gateway.stream("bulk", receive_buffer=4096) for _ in range(5)]
    healthy = gateway.stream("bulk")
    idle = gateway.stream("quiet")
    blocked = time.monotonic()  # at the soonest
    ids = push_bulk(gateway, "bulk", wire.fewer(300, 150))
    assert [event.id for event in healthy.events(len(ids), 30)] == ids
    gateway.wait_stat("streams_stalled", 5, 12)
    assert time.monotonic() - blocked > 1, "evicted before the time was over"
    stats = gateway.stats()
    assert (stats["streams_open"], stats["streams_left"]) == (2, 0), stats
    wire.wait_until(lambda: gateway.sockets() <= before + 2, 5, "sockets are given back")
    gateway.push({"data": "end"})
    assert healthy.next_event().data == "end"
    assert idle.next_event().data == "end"
    for stream in stalled:
        while stream.end is None:
            stream.pump()
        assert stream.end in ("reset", "closed"), stream.end


@pytest.mark.long
@pytest.mark.gateway(settings={**STALL, "stream.stall_timeout": "6s"})
def test_client_that_reads_slowly_is_not_evicted(gateway):
    """Slow is not dead: whoever takes some bytes within the time keeps the stream, however far
    behind, and gets everything in the end.  Four kilobytes a second empty a buffer so slowly that
    only the acknowledgements of the kernel tell: twelve kilobytes at once, then nothing for three
    seconds."""
    stream = gateway.stream("bulk", receive_buffer=8192)
    ids = push_bulk(gateway, "bulk", wire.fewer(300, 150))
    until = time.monotonic() + 10
    while time.monotonic() < until:
        pause = time.monotonic() + 0.25
        stream.pump(size=1024)
        wire.wait_until(lambda: time.monotonic() >= pause, 5, "a slow client's pause is over")
    assert gateway.stat("streams_stalled") == 0
    assert len(stream.payload) < 200000, "this reader was not slow"
    wire.pump_until([stream], lambda s: s.payload.endswith(f"id: {ids[-1]}\n\n".encode()))
    assert [event.id for event in stream.events(len(ids))] == ids
    assert gateway.stat("streams_open") == 1


@pytest.mark.gateway(settings=STALL)
def test_publisher_that_does_not_read_its_answers_harms_nobody(gateway):
    """A client pipelines requests and never reads an answer: others are served."""
    with gateway.raw(receive_buffer=4096) as connection:
        connection.socket.settimeout(0.2)
        request = gateway.request_bytes("GET", "/api/stats")
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(wire.fewer(4000, 500)):
                connection.send(request)
        stream = gateway.stream("a")
        gateway.push({"topic": "a", "data": "x"})
        assert stream.next_event().data == "x"
        assert cpu_share(gateway) < 0.2


# clients that are slow to say what they want


def read_refusal(connection):
    """What a connection without a complete request gets: 408 and the end, or only the end."""
    data = connection.read_to_end()
    assert data == b"" or data.startswith(b"HTTP/1.1 408 "), data


@pytest.mark.gateway(settings={"limits.header_timeout": "1s"})
def test_slow_head_dies_at_an_absolute_deadline(gateway):
    """One byte at a time would hold a connection for ever if each byte began a new wait."""
    before = gateway.sockets()
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(gateway.raw())
        half = stack.enter_context(gateway.raw())
        half.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        slow = stack.enter_context(gateway.raw())
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in gateway.request_bytes("GET", "/" + "x" * 2000):
                slow.send(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    if slow.receive(timeout=0.1):
                        break
                if slow.end:
                    break
        lasted = time.monotonic() - begun
        assert 0.5 < lasted < wire.seconds(5), f"the head was waited for {lasted:.1f} s"
        read_refusal(half)
        read_refusal(silent)
    assert gateway.stat("heads_timed_out") >= 3
    wire.wait_until(lambda: gateway.sockets() <= before, 5, "sockets are given back")


@pytest.mark.gateway(settings={"limits.body_timeout": "1s"})
def test_slow_body_dies_at_an_absolute_deadline(gateway):
    """The same for a body that comes byte by byte, or stops, or never begins."""
    head = gateway.request_bytes("POST", "/api/push?topic=a", [
        ("Content-Type", "text/plain"), ("Content-Length", "1000")])
    with gateway.raw() as none, gateway.raw() as stopped, gateway.raw() as slow:
        none.send(head)
        stopped.send(head + b"x")
        slow.send(head)
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while not slow.end and time.monotonic() - begun < wire.seconds(6):
                slow.send(b"x")
                with contextlib.suppress(TimeoutError):
                    if slow.receive(timeout=0.05):
                        break
        assert time.monotonic() - begun < wire.seconds(6)
        read_refusal(stopped)
        read_refusal(none)
    assert gateway.stat("bodies_timed_out") >= 3
    assert gateway.stat("events_published") == 0


@pytest.mark.gateway(settings={"limits.header_timeout": "1s", "limits.body_timeout": "1s"})
def test_deadlines_of_requests_do_not_end_streams(gateway):
    """A stream is a request that never ends; its head was in time."""
    stream = gateway.stream("a")
    begun = time.monotonic()
    wire.wait_until(lambda: time.monotonic() - begun > 2.5, 5, "both deadlines have passed")
    gateway.push({"topic": "a", "data": "x"})
    assert stream.next_event().data == "x"


# clients that send nonsense


OPENINGS = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),  # a TLS hello
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\0" * 100,
    b"\n" * 100,
    b"\xff" * 100,
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"G\0ET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"get / http/1.1\r\nhost: x\r\n\r\n",
    b"GET events HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"<policy-file-request/>\0",
    b"HELO example.org\r\n\r\n",
    b"POST /api/push HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/push HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
]


def test_nonsense_is_refused_and_harms_nobody(gateway):
    """Scanners, wrong protocols and noise: an error or a closed door, at once and for good."""
    stream = gateway.stream("a")
    noise = random.Random(1)
    openings = OPENINGS + [noise.randbytes(noise.randrange(1, 4000)) + b"\r\n\r\n"
                           for _ in range(wire.fewer(100, 20))]
    for opening in openings:
        with gateway.raw() as connection:
            connection.send(opening)
            connection.half_close()
            answer = connection.read_to_end()
            assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), (
                opening[:80], answer[:200])
    gateway.push({"topic": "a", "data": "x"})
    assert stream.next_event().data == "x"
    assert gateway.stat("events_published") == 1


SMUGGLED = b"POST /api/push?topic=smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
FRAMINGS = [
    b"Content-Length: 0\r\nContent-Length: %d",
    b"Content-Length: %d\r\nContent-Length: 0",
    b"Content-Length: 0, %d",
    b"Content-Length: +%d",
    b"Content-Length: %d,",
    b"Content-Length: 0x%x",
    b"Content-Length : %d",
    b"Content-Length:\r\n %d",
    b"Content-Length: 0\r\n\tX: %d",
    b"X-A: b\r\n Content-Length: %d",
    b"Content-Length: %d\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: %d",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nX: %d",
    b"Transfer-Encoding: xchunked\r\nX: %d",
    b"Transfer-Encoding: gzip, chunked\r\nX: %d",
    b"Transfer-Encoding: chunked, identity\r\nX: %d",
    b"Transfer-Encoding : chunked\r\nX: %d",
    b"Transfer-Encoding: \x0bchunked\r\nX: %d",
    b"Content-Length: %d\nTransfer-Encoding: chunked",
    b"Content-Length: 0\nX: %d",
    b"X: a\0b\r\nContent-Length: %d",
    b"X: a\rContent-Length: %d",
    b": x\r\nContent-Length: %d",
]


def test_request_that_can_be_read_in_two_ways_is_refused(gateway):
    """A proxy in front reads one length, the gateway another, and the difference becomes a
    request of its own in somebody else's name.  Such heads get an error and the end, and what
    follows them is never looked at."""
    for framing in FRAMINGS:
        head = (b"POST /api/push?topic=a HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                + framing % len(SMUGGLED) + b"\r\n\r\n")
        for body in (SMUGGLED, b"0\r\n\r\n" + SMUGGLED):
            with gateway.raw() as connection:
                connection.send(head + body)
                answer = connection.read_to_end()
            assert answer.count(b"HTTP/1.1 ") <= 1, (framing, answer)
            assert answer == b"" or answer[9:12] in (b"400", b"501"), (framing, answer)
    assert gateway.stat("events_published") == 0
    assert gateway.stat("heads_refused") == 2 * len(FRAMINGS)


def test_heads_that_are_too_large_are_told_so(gateway):
    """A cookie jar that has grown, a URL that a program made: the answer says which it was."""
    cases = [
        (("POST", "/api/push?topic=" + "x" * 100000), (), (414, 431)),
        (("POST", "/api/push"), [("Cookie", "x" * 60000)], (431,)),
        (("POST", "/api/push"), [(f"X-{i}", "y") for i in range(1000)], (431,)),
    ]
    for (method, target), headers, statuses in cases:
        with gateway.raw() as connection:
            with contextlib.suppress(ConnectionError):
                connection.send(gateway.request_bytes(method, target, headers, b""))
            response = connection.read_response()
            response.problem(*statuses)
            connection.read_to_end()
    assert gateway.request("GET", "/healthz").status == 200


# no descriptors left


def flood(gateway, count, request):
    """Open many connections at once; those that cannot be had are left out."""
    wires = []
    for _ in range(count):
        each = socket.socket()
        each.setblocking(False)
        each.connect_ex(gateway.address)
        wires.append(each)
    if request:
        for each in wires:
            with contextlib.suppress(OSError):
                each.settimeout(wire.seconds(1))
                each.send(request)
    return wires


def answers(gateway):
    """Whether a new connection is served, rather than shed."""
    with contextlib.suppress(ConnectionError, AssertionError):
        return gateway.request_once("GET", "/healthz").status == 200


@pytest.mark.parametrize("what", ["streams", "silent"])
def test_gateway_out_of_descriptors_sleeps_serves_and_recovers(gateway_factory, what):
    """More clients come than there are descriptors.  Those that were there are served, publishing
    goes on, the process does not spin on accept(), and when the crowd has gone all is well."""
    gateway = gateway_factory(nofile=160)
    before = gateway.sockets()
    stream = gateway.stream("a")
    gateway.push({"topic": "a", "data": "before"})
    assert stream.next_event().data == "before"
    request = gateway.request_bytes("GET", "/events?topic=a") if what == "streams" else None
    alone_n = len(gateway.descriptors())
    crowd = flood(gateway, 400, request)
    try:
        wire.wait_until(lambda: len(gateway.descriptors()) > alone_n + 40, 10,
                        "the crowd has come in")
        assert cpu_share(gateway) < 0.25
        for i in range(5):
            gateway.push({"topic": "a", "data": i})
            assert stream.next_event().data == str(i)
        if what == "streams":
            answer = gateway.request_once(
                "POST", "/api/push?topic=a", [("Content-Type", "text/plain")], b"new connection")
            assert answer.status == 201, answer
            assert stream.next_event().data == "new connection"
        assert len(gateway.log().splitlines()) < 100, "a line for each client in the log"
    finally:
        for each in crowd:
            each.close()
    wire.wait_until(lambda: gateway.sockets() <= before + 1, 15, "sockets are given back")
    wire.wait_until(lambda: answers(gateway), 3, "new connections are served again")
    with gateway.stream("a") as late:
        gateway.push({"topic": "a", "data": "after"})
        assert late.next_event().data == "after"
    assert stream.next_event().data == "after"


def test_gateway_out_of_descriptors_stops_with_several_listeners(gateway_factory):
    """Clients wait at the second door, and there is no descriptor to let them in, when SIGTERM
    comes and the first door is closed already."""
    port = free_port()
    gateway = gateway_factory(nofile=60, listen=[f"127.0.0.1:{port}"])
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            each = stack.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        wire.wait_until(lambda: "out of descriptors" in gateway.log(), 5, "it is full")
        gateway.signal()
        assert gateway.wait() == 0, gateway.log()


def test_streams_that_do_not_fit_are_told_to_come_back_later(gateway_factory):
    """An error would stop an EventSource for good: at the limit it gets a 200, a long retry and
    the end.  Other clients get an error that they understand."""
    gateway = gateway_factory(settings={"limits.streams": "10"}, workers=1)
    gateway.stream_many([{"topic": "a"}] * 10)
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes(
            "GET", "/events?topic=a", [("Accept", "text/event-stream")]))
        head = connection.read_head()
        kind = head.get("Content-Type")
        assert (head.status, kind) == (200, "text/event-stream; charset=utf-8"), head.raw
        coding = wire.Dechunker()
        body = bytes(coding.feed(connection.read_to_end()))
        delay = re.fullmatch(rb"retry: ([0-9]+)\n\n", body)  # undici heeds none without the blank line
        assert delay and 30000 <= int(delay[1]) <= 60000, body
        assert not coding.ended, "fetch-event-source takes a clean end for the last"
    response = gateway.request_once("GET", "/events?topic=a", [("Accept", "*/*")])
    assert response.status in (429, 503), response
    assert int(response.head.get("Retry-After")) > 0, response.head.raw
    stats = gateway.stats()
    assert (stats["streams_open"], stats["streams_refused"]) == (10, 2), stats


def test_many_short_connections_leave_nothing_behind(gateway):
    """Health checks come every second for years."""
    before = gateway.sockets()

    def check():
        for _ in range(wire.fewer(300, 50)):
            assert gateway.request_once("GET", "/healthz").status == 200

    checkers = [threading.Thread(target=check) for _ in range(4)]
    for checker in checkers:
        checker.start()
    for checker in checkers:
        checker.join()
    wire.wait_until(lambda: gateway.sockets() <= before, 5, "sockets are given back")
    assert cpu_share(gateway) < 0.1
