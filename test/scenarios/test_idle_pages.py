# SPDX-License-Identifier: MIT
"""Streams that asked with a large head give its memory back while they are idle, and work as any
other: with events and heartbeats, when they end in whatever way, and for the next who connects."""

import platform
import struct

import pytest

import conftest
import wire

COOKIES = {"1.5K": 1500, "15K": 15000, "many": 0}
HEARTBEAT_S = 3
PAGE_BYTES = 4096
POOL_PAGES_LEAST = 7

untouchable = pytest.mark.skipif(
    wire.SLOW > 1 or platform.machine() != "x86_64",
    reason="a sanitizer has an allocator and a handler of its own; fault codes are of x86-64")


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A library that ends a program which reads what it has given back."""
    return conftest.build_shim(tmp_path_factory.mktemp("shim"), "pages_shim")


class Pages:
    """How many pages a gateway gave back."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(PAGE_BYTES))

    @property
    def given(self):
        return struct.unpack_from("@N", self.path.read_bytes())[0]


@pytest.fixture(params=["plain", pytest.param("untouchable", marks=untouchable)])
def watched(request, gateway_factory, tmp_path):
    """A gateway, and what it gave back: None where nobody looks."""
    settings = {"stream.stall_timeout": f"{wire.seconds(1):g}s"}
    if request.param == "plain":
        return gateway_factory(workers=1, settings=settings), None
    pages = Pages(tmp_path / "pages")
    shim_path = request.getfixturevalue("shim")
    env = {"LD_PRELOAD": str(shim_path), "PAGES_SHIM_FILE": str(pages.path)}
    return gateway_factory(workers=1, settings=settings, env=env), pages


def cookie(name):
    size = COOKIES[name]
    if size:
        return ("Cookie", "session=" + "x" * size)
    return ("Cookie", "; ".join(f"k{i:03}=" + "v" * 20 for i in range(80)))


def open_one(gateway, name, *topics, **options):
    return gateway.stream(*topics, headers=[cookie(name)], heartbeat=str(HEARTBEAT_S), **options)


def until_all_rest(gateway, pages, streams_n):
    """Until every stream is idle and has given its pages back."""
    gateway.wait_stat("streams_open", streams_n)
    if pages is not None:
        wire.wait_until(lambda: pages.given >= streams_n * POOL_PAGES_LEAST,
                        what=f"{streams_n} pools given back, not {pages.given} pages")


@pytest.mark.parametrize("name", COOKIES)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_stream_that_gave_its_head_back_gets_events_and_heartbeats(watched, name, version):
    gateway, pages = watched
    streams = [open_one(gateway, name, f"t{i}", version=version) for i in range(3)]
    until_all_rest(gateway, pages, len(streams))
    for size in (1, 3000, 60_000, 1):
        for i, stream in enumerate(streams):
            gateway.push({"topic": f"t{i}", "data": "d" * size})
            assert stream.next_event().data == "d" * size
    before = pages.given if pages else 0
    for stream in streams:
        assert isinstance(stream.next_item(), wire.Comment), "a heartbeat"
    if pages is not None and version == "1.1":
        assert pages.given == before, "chunks that a stream sends by itself touch no page"
    elif pages is not None:
        wire.wait_until(lambda: pages.given >= before + len(streams),
                        what="what events and a heartbeat touched is given back")
    for i, stream in enumerate(streams):
        gateway.push({"topic": f"t{i}", "data": "after"})
        assert stream.next_event().data == "after"


@pytest.mark.parametrize("name", COOKIES)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_event_at_a_stream_that_is_not_at_rest_gives_nothing_back(watched, name, version):
    """The pages that events use are kept from one to the next."""
    gateway, pages = watched
    if pages is None:
        pytest.skip("nobody looks")
    stream = gateway.stream("a", headers=[cookie(name)], heartbeat="60", version=version)
    until_all_rest(gateway, pages, 1)
    before = pages.given
    for _ in range(20):
        gateway.push({"topic": "a", "data": "x" * 20_000})
        assert stream.next_event().data
    assert pages.given == before


@pytest.mark.parametrize("name", COOKIES)
def test_a_stream_that_gave_its_head_back_ends_as_any_other(watched, name):
    """By its client, in order and not; by DELETE; for stalling; by a stop of the gateway.  Its
    memory serves the next one."""
    gateway, pages = watched
    for _ in range(3):
        left, cut, deleted, stalled, drained = (
            open_one(gateway, name, topic, receive_buffer=4096, user=topic)
            for topic in ("left", "cut", "deleted", "stalled", "drained"))
        until_all_rest(gateway, pages, 5)
        left.close()
        cut.wire.reset()
        gateway.wait_stat("streams_open", 3)
        assert gateway.request("DELETE", "/api/streams?user=deleted").status == 200
        while deleted.end is None:
            deleted.pump()
        assert deleted.end == "final chunk"
        for _ in range(12):
            gateway.push({"topic": "stalled", "data": "s" * 60_000})
        gateway.wait_stat("streams_open", 1, timeout=30)
        drained.close()
        gateway.wait_stat("streams_open", 0)
    assert gateway.stat("streams_stalled") == 3
    last = open_one(gateway, name, "drained")
    until_all_rest(gateway, pages, 1)
    gateway.signal()
    while last.end is None:
        last.pump()
    assert last.end == "closed"
    assert gateway.wait() == 0
