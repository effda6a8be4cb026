# SPDX-License-Identifier: MIT
"""Chunks that a stream sends past libmicrohttpd: what of them does not fit into the socket comes
later, whole and before anything else, whatever happens meanwhile; and who has no chunks gets none."""

import pytest

import conftest
import wire

SETTINGS = {"stream.stall_timeout": "60s", "stream.heartbeat": "60s"}
ENOUGH = 20_000  # events that fill any socket


@pytest.fixture
def gateway(gateway_factory):
    return gateway_factory(workers=1, settings=SETTINGS)


def data_of(i, size):
    return f"{i:06}" + "x" * (size - 6)


def push_one(gateway, topic, i, size):
    gateway.push({"topic": topic, "data": data_of(i, size)})


def fill_socket(gateway, topic, size):
    """Events one by one to a client that reads none, until one does not fit.  Returns how many."""
    for i in range(ENOUGH):
        push_one(gateway, topic, i, size)
        if i % 50 == 49 and gateway.the_stream(topic=topic)["state"] != "idle":
            return i + 1
    raise AssertionError("the socket takes everything")


def assert_next(stream, numbers, size):
    for i in numbers:
        assert stream.next_event().data == data_of(i, size)


@pytest.mark.parametrize("size", [20, 700, 1400, 5000, 60_000])
def test_what_did_not_fit_comes_first_and_whole(gateway, size):
    """More than once: behind it the library goes on, and then the stream by itself again."""
    stream = gateway.stream("a", receive_buffer=4096)
    first = 0
    for _ in range(3):
        wire.wait_until(lambda: gateway.the_stream(topic="a")["state"] == "idle",
                        what="all is sent")
        count = fill_socket(gateway, "a", size)
        for i in range(count, count + 20):
            push_one(gateway, "a", i, size)
        assert gateway.the_stream(topic="a")["state"] == "draining"
        assert_next(stream, range(count + 20), size)
        first += count + 20
    assert gateway.the_stream(topic="a")["events_sent"] == first


def test_an_end_in_order_comes_behind_it(gateway):
    stream = gateway.stream("a", receive_buffer=4096, user="u")
    count = fill_socket(gateway, "a", 1400)
    assert gateway.request("DELETE", "/api/streams?user=u").json() == {"ended": 1}
    assert gateway.the_stream(topic="a")["state"] == "closing"
    got = [event.data for event in stream.read_to_end()]
    assert stream.end == "final chunk"
    assert got == [data_of(i, 1400) for i in range(len(got))], "in order and whole"
    assert 0 < len(got) <= count
    gateway.wait_stat("streams_open", 0)


@pytest.mark.parametrize("deleted", [False, True])
def test_a_client_that_leaves_with_some_of_it_unsent(gateway, deleted):
    stream = gateway.stream("a", receive_buffer=4096, user="u")
    fill_socket(gateway, "a", 1400)
    if deleted:
        assert gateway.request("DELETE", "/api/streams?user=u").json() == {"ended": 1}
    stream.wire.reset()
    gateway.wait_stat("streams_open", 0)


def test_a_client_that_takes_no_more_is_evicted(gateway_factory):
    gateway = gateway_factory(workers=1, settings={"stream.stall_timeout": "2s"})
    gateway.stream("a", receive_buffer=4096)
    healthy = gateway.stream("b")
    fill_socket(gateway, "a", 1400)
    gateway.wait_stat("streams_stalled", 1, timeout=20)
    gateway.wait_stat("streams_open", 1)
    push_one(gateway, "b", 0, 20)
    assert_next(healthy, [0], 20)


def test_a_stop_waits_for_it_no_longer_than_for_others(gateway):
    gateway.stream("a", receive_buffer=4096)
    fill_socket(gateway, "a", 1400)
    gateway.signal()
    assert gateway.wait() == 0


@pytest.mark.parametrize("version, headers", [
    ("1.1", []), ("1.1", [("Connection", "close")]), ("1.0", []),
    ("1.0", [("Connection", "keep-alive")])])
def test_who_has_no_chunks_gets_none(gateway, version, headers):
    stream = gateway.stream("a", version=version, headers=headers)
    coding = stream.head.get("Transfer-Encoding")
    assert coding == ("chunked" if version == "1.1" else None)
    for i in range(3):
        push_one(gateway, "a", i, 300)
        assert_next(stream, [i], 300)


def test_who_is_turned_away_is_closed_behind_a_slow_one(gateway_factory):
    """Both are in one daemon of the library, which has the slow one's chunk at hand and looks at the
    one that is over only behind it."""
    gateway = gateway_factory(workers=1, settings=SETTINGS | {"limits.streams": "1"})
    gateway.stream("a", receive_buffer=4096)
    fill_socket(gateway, "a", 1400)
    gateway.push([{"topic": "a", "data": "x" * 60_000} for _ in range(15)])
    gateway.streams[0].events(5)  # the library has it from here on
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes(
            "GET", "/events?topic=a", [("Accept", "text/event-stream")]))
        assert connection.read_head().status == 200
        assert b"retry: " in connection.read_to_end()


@pytest.fixture(scope="module")
def part_shim(tmp_path_factory):
    return conftest.build_shim(tmp_path_factory.mktemp("shim"), "part_shim")


@pytest.mark.skipif(wire.SLOW > 1, reason="a sanitizer wants to be loaded first")
@pytest.mark.parametrize("most", [1, 3, 40, 5000])
def test_a_socket_that_takes_parts_gets_every_byte_once(gateway_factory, part_shim, most):
    """Frames of every size around the room for a chunk, and several at once."""
    gateway = gateway_factory(workers=1, settings=SETTINGS, env={
        "LD_PRELOAD": str(part_shim), "PART_SHIM_BYTES": str(most)})
    stream = gateway.stream("a", user="u")
    sizes = [6, 100, *range(2000, 3600, 37), 4096, 10_000, 65_536] if most > 1 else [6, 3000, 5000]
    for i, size in enumerate(sizes):
        push_one(gateway, "a", i, size)
    gateway.push([{"topic": "a", "data": data_of(i, size)} for i, size in enumerate(sizes)])
    for _ in range(2):
        for i, size in enumerate(sizes):
            assert stream.next_event().data == data_of(i, size)
    assert gateway.request("DELETE", "/api/streams?user=u").json() == {"ended": 1}
    assert stream.read_to_end() == []
    assert stream.end == "final chunk"


@pytest.mark.parametrize("size", [100, 5000])
def test_replay_is_sent_whole_whatever_the_client_takes(gateway, size):
    for i in range(200):
        push_one(gateway, "a", i, size)
    stream = gateway.stream("a", since="earliest", receive_buffer=4096)
    assert_next(stream, range(200), size)
    push_one(gateway, "a", 200, size)
    assert_next(stream, [200], size)


def test_an_end_in_order_comes_behind_a_large_one(gateway):
    stream = gateway.stream("a", receive_buffer=4096, user="u")
    count = fill_socket(gateway, "a", 60_000)
    assert gateway.request("DELETE", "/api/streams?user=u").json() == {"ended": 1}
    got = [event.data for event in stream.read_to_end()]
    assert stream.end == "final chunk"
    assert got == [data_of(i, 60_000) for i in range(len(got))], "in order and whole"
    assert 0 < len(got) <= count


def test_a_client_that_half_closed_gets_the_rest_of_a_large_one(gateway):
    stream = gateway.stream("a", receive_buffer=4096)
    count = fill_socket(gateway, "a", 60_000)
    stream.wire.socket.shutdown(1)
    assert_next(stream, range(count), 60_000)
