# SPDX-License-Identifier: MIT
"""How the gateway leaves, and comes back (bugle-wire(7))."""

import contextlib
import re
import threading
import time

import pytest

import wire


def fill_blocked_reader(gateway):
    """A stream whose reader takes nothing while megabytes wait for it."""
    stream = gateway.stream("bulk", receive_buffer=4096)
    for _ in range(100):
        gateway.push(b"x" * 60000, content_type="text/plain", query={"topic": "bulk"})
    return stream


def test_streams_end_between_events_with_a_retry_and_no_final_chunk(gateway):
    """On SIGTERM every stream gets a new `retry:` and then ends in a way that makes every client
    reconnect: after a whole event, without the chunk that would say "that was all"."""
    streams = gateway.stream_many([{"topic": "a"}] * 20)
    ids = [gateway.push({"topic": "a", "data": "x" * 1000 + str(i)})["id"] for i in range(50)]
    gateway.wait_stat("events_delivered", 20 * 50)
    gateway.signal()
    for stream in streams:
        items = stream.read_to_end()
        assert stream.end == "closed", stream.end
        assert isinstance(items[-1], wire.Retry), items[-1]
        assert [item.id for item in items if isinstance(item, wire.Event)] == ids
    assert gateway.wait() == 0


def test_http_1_0_stream_ends_in_the_same_way(gateway):
    """Without chunks there is nothing but the end of the connection, after a whole event."""
    stream = gateway.stream("a", version="1.0")
    gateway.push({"topic": "a", "data": "x"})
    gateway.signal()
    items = stream.read_to_end()
    assert isinstance(items[-1], wire.Retry), items
    assert gateway.wait() == 0


@pytest.mark.gateway(settings={"drain.window": "2s"})
def test_streams_do_not_all_end_at_once(gateway):
    """A thousand clients that come back in one moment would knock the next gateway over, so the
    ends are spread over the window and the delays are spread too."""
    streams = gateway.stream_many([{"topic": "a"}] * 40)
    gateway.signal()
    ends = []
    wire.pump_until(streams, lambda stream: stream.end and not ends.append(time.monotonic()))
    delays = {stream.read_to_end()[-1].ms for stream in streams}
    assert len(delays) > 10, delays
    assert max(ends) - min(ends) > 0.4, "all streams ended at once"
    assert gateway.wait() == 0


def test_events_of_the_last_moment_are_sent_before_the_end(gateway):
    """Events were acknowledged right before SIGTERM: everybody who listens and reads sees all of
    them before the end."""
    streams = gateway.stream_many([{"topic": "a"}] * 10)
    ids = gateway.push([{"topic": "a", "data": i} for i in range(500)])["ids"]
    gateway.signal()
    for stream in streams:
        items = stream.read_to_end()
        seen = [item.id for item in items if isinstance(item, wire.Event)]
        assert [id for id in seen if id in ids] == ids
    assert gateway.wait() == 0


@pytest.mark.gateway(settings={"drain.window": "1s"})
def test_client_that_never_reads_cannot_hold_the_process(gateway):
    """Its socket is full: neither the rest of its event nor a `retry:` can be sent.  It is cut
    off when the window is over."""
    fill_blocked_reader(gateway)
    begun = time.monotonic()
    gateway.signal()
    assert gateway.wait(6) == 0
    assert time.monotonic() - begun < wire.seconds(6)


@pytest.mark.gateway(settings={"drain.window": "1s", "limits.header_timeout": "30s",
                               "limits.body_timeout": "30s"})
def test_half_requests_cannot_hold_the_process(gateway):
    """Connections that are idle, or in the midst of a head or a body, when SIGTERM comes."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(gateway.raw()) for _ in range(6)]
        wires[1].send(b"GET /hea")
        wires[2].send(gateway.request_bytes("GET", "/healthz"))
        assert wires[2].read_response().status == 200
        wires[3].send(gateway.request_bytes("GET", "/healthz"))
        assert wires[3].read_response().status == 200
        wires[3].send(b"GET /hea")
        wires[4].send(gateway.request_bytes("POST", "/api/push", [("Content-Length", "100")]))
        wires[5].send(gateway.request_bytes("POST", "/api/push", [("Content-Length", "9")]) + b"x")
        gateway.signal()
        assert gateway.wait(8) == 0


@pytest.mark.gateway(settings={"drain.window": "30s"})
def test_second_signal_leaves_at_once(gateway):
    """An operator who is in a hurry says so."""
    blocked = fill_blocked_reader(gateway)
    other = gateway.stream("a")
    gateway.signal()
    begun = time.monotonic()

    def is_draining():
        with contextlib.suppress(ConnectionError, AssertionError):
            return gateway.request_once("GET", "/readyz").status != 200
        return True

    wire.wait_until(is_draining, 5, "the first signal has been seen")
    assert gateway.process.poll() is None, "there was nobody to wait for"
    gateway.signal()
    assert gateway.wait(3) == 0
    assert time.monotonic() - begun < wire.seconds(8)
    while other.end is None:
        other.pump()
    blocked.close()


@pytest.mark.gateway(settings={"drain.window": "3s"})
def test_publish_under_way_is_answered(gateway):
    """The head was taken, the body is still to come when SIGTERM arrives.  The publisher gets a
    whole answer: it was stored, or it was not and may be sent again."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(gateway.raw()) for _ in range(10)]
        for connection in wires:
            connection.send(gateway.request_bytes("POST", "/api/push?topic=a", [
                ("Content-Type", "text/plain"), ("Content-Length", "5"),
                ("Expect", "100-continue")]))
            assert connection.read_head().status == 100
        gateway.signal()
        for connection in wires:
            connection.send(b"hello")
        for connection in wires:
            response = connection.read_response()
            if response.status == 201:
                wire.check_id(response.json()["id"])
            else:
                response.problem(503)
                assert int(response.head.get("Retry-After")) > 0, response.head.raw
    assert gateway.wait() == 0


def test_every_publish_has_a_whole_answer_or_none(gateway):
    """Publishers go on while SIGTERM arrives.  Each answer that begins is whole; a connection
    that ends does so instead of an answer, never within one."""
    answered, broken = [], []

    def publish():
        try:
            with gateway.raw() as connection:
                while True:
                    connection.send(gateway.request_bytes(
                        "POST", "/api/push?topic=a", [("Content-Type", "text/plain")], b"x"))
                    connection.buffer += connection.receive()
                    if not connection.buffer:
                        return
                    response = connection.read_response()
                    assert response.status in (201, 503), response
                    answered.append(response.status)
                    if "close" in response.head.words("Connection"):
                        return
        except ConnectionError:
            return
        except BaseException as error:
            broken.append(error)

    publishers = [threading.Thread(target=publish) for _ in range(8)]
    for publisher in publishers:
        publisher.start()
    wire.wait_until(lambda: len(answered) > 200, 20, "publishing goes on")
    gateway.signal()
    assert gateway.wait() == 0
    for publisher in publishers:
        publisher.join()
    assert not broken, broken


def test_idle_gateway_leaves_at_once(gateway):
    """Nobody is there to wait for."""
    begun = time.monotonic()
    gateway.stop()
    assert time.monotonic() - begun < wire.seconds(1.5)


def test_gateway_comes_back_on_the_same_port(gateway):
    """A restart under an open page: the old sockets linger in the kernel, the port is usable."""
    for turn in range(3):
        stream = gateway.stream("a")
        gateway.push({"topic": "a", "data": turn})
        assert stream.next_event().data == str(turn)
        gateway.stop()
        gateway.start()
    assert gateway.stat("events_published") == 0


def test_stop_in_a_crowd_is_clean(gateway):
    """Streams, publishers and newcomers all at once when SIGTERM comes, some of them leaving by
    themselves.  Every stream ends at the end of an item and the process is gone in time."""
    gateway.stream_many([{"topic": "a"}] * wire.fewer(300, 60))
    done = threading.Event()

    def come_and_go():
        while not done.is_set():
            with contextlib.suppress(OSError, AssertionError):
                with wire.open_stream(gateway.address, "/events?topic=a") as visitor:
                    visitor.next_item(0.05)

    def publish():
        while not done.is_set():
            with contextlib.suppress(OSError, AssertionError):
                gateway.request_once("POST", "/api/push?topic=a",
                                     [("Content-Type", "text/plain")], b"x" * 500)

    threads = [threading.Thread(target=target) for target in (come_and_go, publish, publish)]
    for thread in threads:
        thread.start()
    try:
        wire.wait_until(lambda: gateway.stat("events_published") > 50, 20, "publishing goes on")
        gateway.signal()
        wire.pump_until(gateway.streams, lambda stream: stream.end)
        assert gateway.wait() == 0
    finally:
        done.set()
        for thread in threads:
            thread.join()
    for stream in gateway.streams:
        items = stream.read_to_end()
        assert items and re.search(rb"\n(?:retry: [0-9]+\n)$", bytes(stream.payload)), items[-1:]


@pytest.mark.gateway(settings={"drain.window": "0s", "limits.body_timeout": "30s"})
def test_publishes_at_the_very_end_are_answered_or_cut(gateway):
    """An upload that does not go on holds the gateway until its patience is over, and just then
    publishers on connections they had kept send more.  An answer of the last moment must find its
    connection: stopping the library beneath a waiting one would abort the process."""
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(gateway.raw())
        held.send(gateway.request_bytes("POST", "/api/push", [("Content-Length", "9")]) + b"x")
        kept = [stack.enter_context(gateway.raw()) for _ in range(wire.fewer(1500, 500))]
        for connection in kept:
            connection.send(gateway.request_bytes("GET", "/healthz"))
        for connection in kept:
            assert connection.read_response().status == 200
        request = gateway.request_bytes(
            "POST", "/api/push?topic=a", [("Content-Type", "text/plain")], b"x")
        begun = time.monotonic()
        gateway.signal()
        with contextlib.suppress(ConnectionError):
            for i, connection in enumerate(kept):
                while time.monotonic() - begun < 1.47 + i * 0.06 / len(kept):
                    pass
                connection.send(request)
        assert gateway.wait() == 0, gateway.log()
    assert "did not end in time" not in gateway.log()


@pytest.mark.gateway(workers=1, settings={"drain.window": "500ms"})
def test_streams_that_seek_through_the_past_do_not_hold_up_the_end(gateway):
    """Each has much to compare with all of the ring, and nothing to be found there."""
    topics = ["/".join(["a"] * 31 + [str(i)]) for i in range(16)]
    for _ in range(4):
        gateway.push([{"topics": topics, "data": "x"}] * 800)
    query = [("since", "earliest")] + [("topic", "/".join(["*"] + ["a"] * 29 + [str(i), "**"]))
                                       for i in range(16)]
    streams = []
    for _ in range(100):
        streams.append(wire.Wire(gateway.address))
        streams[-1].send(gateway.request_bytes("GET", wire.target_of("/events", query)))
    for stream in streams:
        assert stream.read_head().status == 200
    gateway.signal()
    assert gateway.wait() == 0
    assert "did not end in time" not in gateway.log()
