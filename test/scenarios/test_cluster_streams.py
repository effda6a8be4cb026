# SPDX-License-Identifier: MIT
"""Streams of several gateways that share a log, listed and ended at any of them (bugle-wire(7),
OPERATION): what is missing is named, and what a gateway missed it makes up for."""

import contextlib
import itertools
import json
import os
import pathlib
import signal
import socket
import threading
import time

import pytest

import conftest
import redis_server
import wire
from test_clock import HOUR, Clock, shim  # noqa: F401
from test_cluster_start import PASSWORD, node, redis  # noqa: F401
from test_ws_ends import both, ends

pytestmark = pytest.mark.skipif(not redis_server.is_installed(), reason="no redis-server")

FAST = {"cluster.ask_timeout": "300ms"}
SLOW = {"cluster.ask_timeout": "20s"}


def nodes_of(gateway):
    return gateway.request("GET", "/api/stats").json()["cluster"]["nodes"]


def follow(*gateways):
    """Wait until all know of all."""
    names = sorted(chr(ord("a") + i) for i in range(len(gateways)))
    for gateway in gateways:
        wire.wait_until(lambda: sorted(nodes_of(gateway)) == names, 10, "all nodes are known")
    return gateways


@contextlib.contextmanager
def cut_off(server, gateway, name):
    """The log's server lets a node in no more, and then again."""
    server.ask("ACL", "SETUSER", name, "off")
    server.ask("CLIENT", "KILL", "USER", name)
    try:
        wire.wait_until(lambda: gateway.request("GET", "/api/stats").json()["cluster"]["log"]
                        == "down", 10, "it is cut off")
        yield
    finally:
        server.ask("ACL", "SETUSER", name, "on")


def copy(source, target):
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for end in source, target:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def pass_on(listener, port):
    """Connections to a server on another port, until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            near, far = listener.accept()[0], socket.create_connection(("127.0.0.1", port))
            for pair in (near, far), (far, near):
                threading.Thread(target=copy, args=pair, daemon=True).start()


def is_stopped(task):
    return (task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


@contextlib.contextmanager
def stopped(gateway):
    """It hangs, every thread of it."""
    os.kill(gateway.pid, signal.SIGSTOP)
    tasks = pathlib.Path(f"/proc/{gateway.pid}/task")
    try:
        wire.wait_until(lambda: all(map(is_stopped, tasks.iterdir())), 5, "it has stopped")
        yield
    finally:
        os.kill(gateway.pid, signal.SIGCONT)


@pytest.fixture
def two(gateway_factory, redis):  # noqa: F811
    server = redis()

    def start(settings=SLOW, **of_b):
        for name in "ab":
            server.ask("ACL", "SETUSER", name, "on", f">{PASSWORD}", "~*", "&*", "+@all")
        return server, *follow(*(
            node(gateway_factory, server, name,
                 {"cluster.user": name, "cluster.password": PASSWORD, **settings},
                 **(of_b if name == "b" else {}))
            for name in "ab"))

    return start


def now_of(server):
    """Its clock, seconds."""
    seconds, micros = server.ask("TIME")
    return int(seconds) + int(micros) / 1e6


def listed(gateway, query=""):
    response = gateway.request("GET", f"/api/streams{query}")
    assert response.status == 200, response
    return response.json()


def ended(gateway, target):
    response = gateway.request("DELETE", f"/api/streams{target}")
    assert response.status == 200, response
    return response.json()


def test_streams_of_all_are_listed(two):
    """An operator asks one gateway and sees the streams of all, under ids that name theirs."""
    _, a, b = two()
    a.stream("x", user="u")
    a.stream("y")
    b.stream("x", user="v")
    found = listed(b)
    assert (found["total"], found["nodes"], found["missing"]) == (3, 2, [])
    ids = [row["id"] for row in found["streams"]]
    assert [name.split(".")[0] for name in ids] == ["b", "a", "a"]
    assert {row["user"] for row in found["streams"]} == {"u", "v", None}
    assert len(listed(b, "?topic=x")["streams"]) == 2
    assert [row["user"] for row in listed(b, "?user=u")["streams"]] == ["u"]
    assert len(listed(b, "?limit=2")["streams"]) == 2
    local = listed(b, "?local=true")
    assert (local["total"], len(local["streams"]), sorted(local)) == (1, 1, ["streams", "total"])
    assert local["streams"][0]["id"].startswith("b.")


def test_long_lists_come_whole(two):
    """They go from node to node in parts."""
    _, a, b = two()
    count = wire.fewer(600, 300)
    a.stream_many([{"topic": "t" * 200, "user": f"u{i}"} for i in range(count)])
    found = listed(b, "?limit=1000")
    assert (found["total"], found["missing"]) == (count, [])
    assert {row["user"] for row in found["streams"]} == {f"u{i}" for i in range(count)}
    assert len({row["id"] for row in found["streams"]}) == count
    assert len(json.dumps(found)) > 128 << 10


def test_one_stream_is_ended_wherever_it_is(two):
    _, a, b = two()
    stream, other = a.stream("x", user="u"), a.stream("x")
    (row,) = listed(b, "?user=u")["streams"]
    assert ended(b, f"/{row['id']}") == {"ended": 1}
    stream.read_to_end()
    assert stream.end == "final chunk"
    b.request("DELETE", f"/api/streams/{row['id']}").problem(404)
    (row,) = listed(a)["streams"]
    assert ended(a, f"/{row['id'].split('.')[1]}") == {"ended": 1}  # its own, without a name
    other.read_to_end()


@pytest.mark.parametrize("target", ["/x", "/b.", "/.0000000001000000", "/a.b", "/a.0000000000000000",
                                    "/a/0000000001000000", "?user=", "?usr=u", ""])
def test_mistyped_delete_ends_nothing(two, target):
    _, a, b = two()
    a.stream(user="u")
    b.stream(user="u")
    b.request("DELETE", f"/api/streams{target}").problem(400, 404)
    assert listed(a)["total"] == 2


def test_who_is_no_gateway_is_told(two):
    _, a, _ = two()
    problem = a.request("DELETE", "/api/streams/nobody.0000000001000000").problem(503)
    assert problem["code"] == "node_unreachable"


def test_streams_of_a_user_are_ended_on_all(two):
    """And nobody else's."""
    _, a, b = two()
    streams = [a.stream("x", user="u"), a.stream("y", user="u"), b.stream("x", user="u")]
    others = [a.stream("x", user="v"), b.stream()]
    assert ended(b, "?user=u&topic=x") == {"ended": 2, "missing": []}
    assert ended(a, "?user=u") == {"ended": 1, "missing": []}
    for stream in streams:
        stream.read_to_end()
        assert stream.end == "final chunk"
    assert ended(a, "?user=u") == {"ended": 0, "missing": []}
    a.push({"topic": "x", "data": "still"})
    assert [stream.next_event().data for stream in others] == ["still"] * 2


def test_websockets_are_streams_too(two):
    """1000, on whichever gateway."""
    _, a, b = two()
    opened = both(b, "x", user="u")
    assert [row["transport"] for row in listed(a)["streams"]] == ["websocket"] * 2
    assert ended(a, "?user=u") == {"ended": 2, "missing": []}
    for each in opened:
        ends(each, 1000, "deleted", False)


def test_missing_node_is_named_and_makes_up_for_it(two):
    """One gateway hangs: the others wait for it no longer than cluster.ask_timeout and name it.
    When it goes on it ends the streams that were there, and not those that came since."""
    _, a, b = two(FAST)
    old, other = b.stream(user="u"), b.stream(user="v")
    with stopped(b):
        began = time.monotonic()
        found = listed(a)
        assert (found["nodes"], found["missing"], found["total"]) == (1, ["b"], 0)
        assert ended(a, "?user=u") == {"ended": 0, "missing": ["b"]}
        assert time.monotonic() - began < wire.seconds(5)
        problem = a.request("DELETE", "/api/streams/b.00ffffffff000000").problem(504)
        assert problem["code"] == "node_timeout"
    old.read_to_end()
    assert old.end == "final chunk"
    b.push({"data": "x"})
    assert other.next_event().data == "x"
    wire.wait_until(lambda: listed(a)["missing"] == [], 10, "it answers again")
    assert a.stat("node_answers_late") >= 1


@pytest.mark.parametrize("offset_s", [0, HOUR, -HOUR])
def test_order_spares_what_began_after_it(two, shim, tmp_path, offset_s):
    """A gateway cannot reach the log when a user is thrown out and let in again.  What it comes to
    late is not for the streams that the user has opened there since, whatever its clock says."""
    clock = Clock(tmp_path / "clock")
    clock.set(offset_s)
    server, a, b = two(dict(FAST, **{"cluster.timeout": "300ms"}),
                       env={"LD_PRELOAD": str(shim), "CLOCK_SHIM_FILE": str(clock.path)})
    old = b.stream(user="u")
    with cut_off(server, b, "b"):
        assert ended(a, "?user=u") == {"ended": 0, "missing": ["b"]}
        later = now_of(server) + 0.1  # more than what counts as the same moment
        wire.wait_until(lambda: now_of(server) > later, 5, "time passes")
        new = b.stream(user="u")
        assert listed(b)["missing"] == ["a"]
        b.request("DELETE", "/api/streams/a.0000000001000000").problem(503)
    old.read_to_end()
    assert old.end == "final chunk"
    wire.wait_until(lambda: listed(a)["missing"] == [], 10, "it answers again")
    b.push({"data": "x"})
    assert new.next_event().data == "x"


def test_order_reaches_a_gateway_that_began_without_the_log(gateway_factory, redis):  # noqa: F811
    """It serves streams already when the log comes to it for the first time."""
    server = redis()
    a = node(gateway_factory, server, "a", FAST)
    port = conftest.free_port()
    b = gateway_factory(settings={"cluster.log": f"redis://127.0.0.1:{port}", "cluster.node": "b"},
                        start=False)
    b.start(ready=False)
    wire.wait_until(lambda: "cannot be reached" in b.log(), 10, "it begins without")
    wire.wait_until(lambda: b.request("GET", "/healthz").status == 200, 10, "it serves")
    stream = b.stream(user="u")
    later = now_of(server) + 0.1
    wire.wait_until(lambda: now_of(server) > later, 5, "time passes")
    assert ended(a, "?user=u") == {"ended": 0, "missing": []}  # nobody knows of it
    with socket.create_server(("127.0.0.1", port)) as listener:
        threading.Thread(target=pass_on, args=[listener, server.port], daemon=True).start()
        stream.read_to_end()
        assert stream.end == "final chunk"


def test_log_out_of_reach_is_told(two):
    """Nothing was ended then, and whoever asked knows it."""
    server, a, _ = two({"limits.queue_age": "500ms", "cluster.timeout": "300ms", **FAST})
    stream = a.stream(user="u")
    server.stop()
    problem = a.request("DELETE", "/api/streams?user=u").problem(503)
    assert problem["code"] == "log_unreachable"
    found = listed(a)
    assert (found["total"], found["nodes"], found["missing"]) == (1, 1, ["b"])
    assert a.stat("streams_open") == 1
    stream.close()


def test_junk_between_nodes_is_passed_over(two):
    """Anybody who may use the log's server can say anything."""
    server, a, b = two()
    channel = "{bugle}live"
    for junk in (b"", b"hello", b"\x01\0\0\0", b"\x02\0\0\0\x02\0\0\0", os.urandom(4096)):
        assert server.ask("PUBLISH", channel, junk) == 2
    server.ask("PUBLISH", "{bugle}to:a", b"\x01\0\0\0\x02\0\0\0\x01\0\0\0b")
    a.wait_stat("node_messages_unread", 6)
    b.wait_stat("node_messages_unread", 5)
    a.stream()
    assert listed(b)["total"] == 1


def test_killed_node_is_missing_until_its_lease_ends(two):
    server, a, b = two({"cluster.lease": "2s", "cluster.timeout": "1s", **FAST})
    b.stream()
    b.kill()
    assert ended(a, "?user=u") == {"ended": 0, "missing": ["b"]}
    wire.wait_until(lambda: listed(a)["missing"] == [], 10, "its lease has ended")
    problem = a.request("DELETE", "/api/streams/b.0000000001000000").problem(503)
    assert problem["code"] == "node_unreachable"
    assert server.ask("PING") == "PONG"


def test_gateway_that_stops_does_not_wait_for_others(two):
    """A question is under way that nobody answers."""
    _, a, b = two(SLOW)
    with stopped(b):
        connection = a.raw()
        before, looks = a.stat("requests"), itertools.count(1)  # a look is a request too
        connection.send(b"GET /api/streams HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.wait_until(lambda: a.stat("requests") > before + next(looks), 5, "it is asked")
        began = time.monotonic()
        a.signal(signal.SIGTERM)
        assert a.wait() == 0
        assert time.monotonic() - began < wire.seconds(10)
