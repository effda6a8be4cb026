# SPDX-License-Identifier: MIT
"""Coming back to another gateway than the one before (bugle-wire(7), Resuming): one that is behind,
cut off, or has another history than the client; and what such a gateway says of itself.  Two nodes
at a real Redis."""

import contextlib
import signal
import time

import pytest

import conftest
import redis_server
import wire
import ws
from cut_proxy import CutProxy
from test_handover import leaves, make, take_over  # noqa: F401

QUICK = {"cluster.timeout": "500ms", "limits.queue_age": "300ms"}

pytestmark = pytest.mark.skipif(not redis_server.is_installed(), reason="no redis-server")


class Pair:
    """Two nodes: `a` is at the log, `b` by a wire that can be cut."""

    def __init__(self, redis, proxy, make):
        self.redis = redis
        self.proxy = proxy
        self.a = make("a", redis.port)
        self.b = make("b", proxy.port)

    def cut(self):
        """From now on `b` gets nothing of the log, and knows it."""
        self.proxy.cut()
        wire.wait_until(lambda: self.b.stats()["cluster"]["log"] == "down", 20, "b is cut off")

    def mend(self):
        self.proxy.mend()
        self.wait_follows()

    def wait_follows(self):
        wire.wait_until(lambda: self.b.stats()["cluster"]["log"] == "following", 20, "b follows")


@pytest.fixture
def server(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        redis = redis_server.RedisServer(tmp_path_factory.mktemp("redis"), conftest.free_port())
        stack.callback(redis.stop)
        yield redis.start()


@pytest.fixture
def make_node(gateway_factory):
    def make(name, port, settings=None, **options):
        return gateway_factory(settings={
            **QUICK, "cluster.log": f"redis://127.0.0.1:{port}", "cluster.node": name,
            **(settings or {})}, **options)

    return make


@pytest.fixture
def pair(server, make_node):
    proxy = CutProxy(conftest.free_port(), server.port)
    yield Pair(server, proxy, make_node)
    proxy.close()


def data_of(events):
    return [event.data for event in events]


def assert_waits(gateway, streams_n=1):
    """There is a stream, and nothing for it yet."""
    wire.wait_until(lambda: gateway.stat("streams_awaiting_log") == streams_n, 5, "it waits")


def assert_goes_on(gateway):
    wire.wait_until(lambda: gateway.stat("streams_awaiting_log") == 0, 10, "it goes on")


def assert_nothing_came(stream):
    with contextlib.suppress(TimeoutError):
        stream.pump(0.2)
    assert stream.body == b"" and stream.checkpoints() == 0


def test_id_of_a_node_that_is_ahead_is_no_reset(pair):
    """The gateway gets to it, and the client gets what is behind it, once."""
    live = pair.b.stream()
    first = pair.a.push({"data": "first"})["id"]
    assert live.next_event().id == first
    pair.cut()
    ids = pair.a.push([{"data": "second"}, {"data": "third"}])["ids"]
    stream = pair.b.stream(resume=ids[1])
    assert_waits(pair.b)
    assert_nothing_came(stream)
    told = [each for each in pair.b.request("GET", "/api/streams").json()["streams"]
            if each["position"] is None]
    assert len(told) == 1 and told[0]["last_id"] is None
    pair.mend()
    assert_goes_on(pair.b)
    fourth = pair.a.push({"data": "fourth"})["id"]
    assert data_of(live.events(3)) == ["second", "third", "fourth"]
    event = stream.next_event()
    assert (event.data, event.id) == ("fourth", fourth)
    assert pair.b.stat("resets") == 0


def test_node_that_was_stopped_meanwhile(pair):
    """Its process, for some time: it wakes up behind all others, and does not know it."""
    pair.a.push({"data": "first"})
    pair.b.signal(signal.SIGSTOP)
    ids = pair.a.push([{"data": str(i)} for i in range(500)])["ids"]
    pair.b.signal(signal.SIGCONT)
    stream = pair.b.stream(resume=ids[-1])
    other = pair.b.stream(resume=ids[-3])
    pair.a.push({"data": "end"})
    assert data_of(other.events(3)) == ["498", "499", "end"]
    assert stream.next_event().data == "end"
    assert pair.b.stat("resets") == 0


def test_id_that_no_node_has_given_is_told(pair):
    """Once the log was asked; where that cannot be, the stream waits."""
    first = pair.a.push({"data": "first"})["id"]
    strangers = {"epoch": "neverheardof-0000000000000001",
                 "unknown": first[:13] + "0000000000000099"}
    for reason, last in strangers.items():
        stream = pair.b.stream(resume=last)
        event = stream.next_event()
        assert event.name == "reset" and event.json()["reason"] == reason
        assert event.id == first
    pair.cut()
    streams = [pair.b.stream(resume=last) for last in strangers.values()]
    assert_waits(pair.b, 2)
    for stream in streams:
        assert_nothing_came(stream)
    pair.mend()
    for stream, reason in zip(streams, strangers):
        event = stream.next_event()
        assert event.name == "reset" and event.json()["reason"] == reason
    pair.a.push({"data": "second"})
    assert all(stream.next_event().data == "second" for stream in streams)


def test_id_of_a_lost_future_is_told(pair):
    """The log and the only node that had it are gone."""
    first = pair.a.push({"data": "first"})["id"]
    live = pair.b.stream(resume=first)
    pair.cut()
    lost = pair.a.push([{"data": "lost"}, {"data": "lost"}])["ids"]
    stream = pair.b.stream(resume=lost[1])
    assert_waits(pair.b)
    pair.a.kill()
    pair.redis.stop()
    pair.redis.start()
    pair.mend()
    event = stream.next_event()
    assert event.name == "reset" and event.json()["reason"] == "epoch"
    assert event.id.endswith("-0000000000000001") and event.json()["newest"][:12] != first[:12]
    second = pair.b.push({"data": "second"})["id"]
    assert (stream.next_event().id, live.next_event().id) == (second, second)
    assert pair.b.stat("resets") == 1


def test_epoch_that_a_node_has_not_heard_of_is_waited_for(pair):
    """The log begins a term while one node is cut off; a client comes from the other."""
    pair.a.push({"data": "first"})
    pair.cut()
    pair.redis.stop()
    pair.redis.start()
    second = wire.wait_until(
        lambda: (response := pair.a.post({"data": "second"})).status == 201 and response.json(),
        20, "a publishes")["id"]
    stream = pair.b.stream(resume=second)
    assert_waits(pair.b)
    pair.mend()
    pair.a.push({"data": "third"})
    assert stream.next_event().data == "third"
    assert pair.b.stat("resets") == 0


def test_websocket_waits_too(pair):
    pair.a.push({"data": "first"})
    pair.cut()
    second = pair.a.push({"data": "second"})["id"]
    with ws.connect_v1(pair.b, last_event_id=second) as client:
        assert client.hello["id"] is None
        assert_waits(pair.b)
        pair.mend()
        third = pair.a.push({"data": "third"})["id"]
        assert client.next_event()["id"] == third


def test_listing_of_what_a_node_does_not_have_yet(pair):
    """It is asked again, and then there is nothing missing."""
    pair.a.push({"data": "first"})
    pair.cut()
    second = pair.a.push({"data": "second"})["id"]
    target = f"/api/history?after={second}"
    response = pair.b.request("GET", target)
    assert response.problem(503)["code"] == "behind"
    assert response.head.get("Retry-After") == "1"
    pair.mend()
    pair.a.push({"data": "third"})
    response = wire.wait_until(lambda: (it := pair.b.request("GET", target)).status == 200 and it,
                               5, "the listing")
    listing = response.json()
    assert listing["reset"] is None
    assert [event["data"] for event in listing["events"]] in ([], ["third"])
    stranger = "neverheardof-0000000000000001"
    listing = pair.b.request("GET", f"/api/history?after={stranger}").json()
    assert listing["reset"]["reason"] == "epoch"


def test_later_id_counts_also_where_it_is_not_known_yet(pair):
    """The one of a page's first load stays in its URL."""
    first = pair.a.push({"data": "first"})["id"]
    pair.cut()
    second = pair.a.push({"data": "second"})["id"]
    stream = pair.b.stream(resume=second, last_event_id=first)
    assert_waits(pair.b)
    pair.mend()
    pair.a.push({"data": "third"})
    assert stream.next_event().data == "third"


# what a node says of itself


def test_node_says_how_it_stands(pair):
    pair.a.push({"data": "first"})
    stats = pair.a.stats()
    newest = stats["newest"]
    for gateway in pair.a, pair.b:
        wire.wait_until(lambda: gateway.stats()["cluster"]["nodes"] == ["a", "b"], 5, "both")
        wire.wait_until(lambda: gateway.stats()["cluster"]["head"] == newest, 5, "the log's word")
    assert pair.a.stats()["cluster"] == {
        "node": "a", "nodes": ["a", "b"], "epoch": newest[:12], "head": newest, "behind_ms": 0,
        "log": "following", "why": None, "promise": "memory"}
    assert stats["durability"] == "memory"
    pair.cut()
    cluster = pair.b.stats()["cluster"]
    assert cluster["log"] == "down" and cluster["why"] and cluster["head"] == newest
    assert pair.b.request("GET", "/readyz").problem(503)["code"] == "not_ready"
    assert pair.b.request("GET", "/readyz?streams").json() == {"status": "ready"}
    assert pair.a.request("GET", "/readyz").status == 200
    pair.mend()
    wire.wait_until(lambda: pair.b.request("GET", "/readyz").status == 200, 5, "b is ready")
    wire.wait_until(lambda: pair.b.stats()["cluster"]["behind_ms"] == 0, 5, "b has it all")


def test_gateway_alone_has_no_cluster(gateway):
    assert "cluster" not in gateway.stats()
    assert gateway.request("GET", "/readyz?streams").json() == {"status": "ready"}


@pytest.mark.parametrize("way", ["killed", "stopped"])
def test_publisher_is_told_that_the_log_is_out_of_reach(pair, way):
    """Not that the gateway is overloaded; and streams stand."""
    stream = pair.a.stream()
    pair.a.push({"data": "first"})
    if way == "killed":
        pair.redis.stop()
    else:
        pair.redis.process.send_signal(signal.SIGSTOP)
    wire.wait_until(lambda: pair.a.stats()["cluster"]["log"] == "down", 20, "the log is gone")
    assert pair.a.request("GET", "/readyz").status == 503
    for body in ({"data": "x"}, {"data": "y"}):
        begun = time.monotonic()
        response = pair.a.post(body)
        assert response.problem(503)["code"] == "log_unreachable"
        assert 1 <= int(response.head.get("Retry-After")) <= 5
        assert time.monotonic() - begun < wire.seconds(3)
    assert pair.a.stat("publishes_log_unreachable") >= 2
    if way == "killed":
        pair.redis.start()
    else:
        pair.redis.process.send_signal(signal.SIGCONT)
    wire.wait_until(lambda: pair.a.post({"data": "second"}).status == 201, 20, "a publishes")
    assert data_of(stream.events(2)) == ["first", "second"]
    assert pair.a.stat("resets") == 0


# copies


def test_backup_of_one_node_starts_another(server, make_node, tmp_path):
    """It has the ids of the log and no epoch of its own."""
    a = make_node("a", server.port, store=f"sqlite:{tmp_path}/a.db")
    ids = a.push([{"data": "first"}, {"data": "second"}])["ids"]
    copy = a.request_once("POST", "/api/backup")
    assert copy.status == 200
    third = a.push({"data": "third"})["id"]
    (tmp_path / "b.db").write_bytes(copy.body)
    b = make_node("b", server.port, store=f"sqlite:{tmp_path}/b.db")
    stream = b.stream(resume=ids[0])
    assert [(event.data, event.id) for event in stream.events(2)] == [
        ("second", ids[1]), ("third", third)]
    live = a.stream()
    fourth = b.push({"data": "fourth"})["id"]
    assert fourth[:12] == ids[0][:12]
    assert live.next_event().id == stream.next_event().id == fourth
    assert b.stat("resets") == a.stat("resets") == 0


def test_backup_that_starts_without_the_log_joins_it_later(server, make_node, tmp_path):
    proxy = CutProxy(conftest.free_port(), server.port)
    a = make_node("a", server.port, store=f"sqlite:{tmp_path}/a.db")
    ids = a.push([{"data": "first"}, {"data": "second"}])["ids"]
    copy = a.request_once("POST", "/api/backup")
    (tmp_path / "b.db").write_bytes(copy.body)
    third = a.push({"data": "third"})["id"]
    proxy.cut()
    b = make_node("b", proxy.port, store=f"sqlite:{tmp_path}/b.db", start=False)
    b.start(ready=False)
    b.wait_log(" is ready: ", 10)
    early = b.stream(resume=ids[0])
    late = b.stream(resume=third)
    assert early.next_event().id[12:] == ids[1][12:]
    fresh = b.stream()
    assert_waits(b)
    proxy.mend()
    wire.wait_until(lambda: b.request("GET", "/readyz").status == 200, 20, "b is ready")
    fourth = a.push({"data": "fourth"})["id"]
    assert [event.id for event in early.events(2)] == [third, fourth]
    assert [event.id for event in fresh.events(2)] == [third, fourth]
    assert late.next_event().id == fourth
    assert b.stat("resets") == 0
    proxy.close()


# a hand-over


def test_handover_beside_a_log(server, make, make_node):  # noqa: F811
    """What the old process' clients still publish is in the order of the log, under the epoch that it
    has then."""
    a = make(settings={**QUICK, "cluster.log": server.url, "cluster.node": "a",
                       "drain.window": "2s"})
    b = make_node("b", server.port)
    at_b = b.stream()
    request = a.request_bytes("POST", "/api/push?topic=t", [("Content-Type", "text/plain")], b"x")
    with a.raw() as kept, a.raw() as later:
        for connection in kept, later:
            connection.send(request)
            assert connection.read_response().status == 201
        a._drop_control()
        old = take_over(a)
        kept.send(request)
        answer = kept.read_response()
        assert answer.status == 201, answer
        last = answer.json()["id"]
        assert [event.id for event in at_b.events(3)][2] == last
        before = last[:12]
        server.stop()  # the log is gone, and each node has all of it
        server.start()
        wire.wait_until(lambda: a.stats()["cluster"]["log"] == "following"
                        and a.stats()["newest"][:12] != before, 20, "a term begins")
        later.send(request)
        answer = later.read_response()
        assert answer.status == 201, answer
        newest = answer.json()["id"]
        assert newest[:12] == a.stats()["newest"][:12] and newest[13:] == "0000000000000004"
    leaves(old, a)
    assert b.stream(resume=last).next_event().id == newest
    assert at_b.next_event().id == newest
    assert a.stat("resets") == b.stat("resets") == 0
