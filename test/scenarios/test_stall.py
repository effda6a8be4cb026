# SPDX-License-Identifier: MIT
"""Streams whose clients take nothing, take little, are stopped or vanish: who is evicted, when and
why, and that nobody else notices.  The programs of test/load run here for some seconds each;
`make stalltest` runs them at length."""

import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

import wire
from conftest import program_path

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "load"
RUN_SECONDS = 100
SETTINGS = {"stream.stall_timeout": "2s", "stream.heartbeat": "60s"}
TINY = 1  # the smallest receive buffer that the kernel allows, some 2 KB


def assert_passes(name, *arguments):
    """Its exit status must be 0, and what it printed is the reason why not."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *map(str, arguments)],
        env=dict(os.environ, BUGLE=program_path()), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=wire.seconds(RUN_SECONDS), check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-10000:]


def evictions(gateway, query=()):
    response = gateway.request("GET", wire.target_of("/api/evictions", query))
    assert response.status == 200, response
    return response.json()


def push_bulk(gateway, topic, count, size=5000):
    return gateway.push([{"topic": topic, "data": "x" * size} for _ in range(count)])["ids"]


# the shows, short


@pytest.mark.long
def test_stalled_clients_beside_healthy_ones():
    """Evicted no sooner than the time after they last took something; the healthy lose nothing."""
    assert_passes("stalled", "--stalled", wire.fewer(300, 50), "--healthy", wire.fewer(30, 10),
                  "--seconds", 6, "--warmup", 2, "--stall-timeout", 3, "--only", "with",
                  "--slack", wire.seconds(4))


@pytest.mark.long
def test_stopped_clients_go_on():
    assert_passes("stopped", "--clients", wire.fewer(100, 30), "--stop", 2, "--stall-timeout", 8,
                  "--rate", 100)


@pytest.mark.long
def test_slow_clients_keep_everything():
    """At 300 bytes a second libmicrohttpd sends something every 27 s, and the kernel takes as long
    for a segment: neither may count that as nothing for 14 s."""
    assert_passes("slow", "--clients", 3, "--rates", 1024, 300, "--seconds", 16,
                  "--stall-timeout", 4)


@pytest.mark.long
def test_vanished_clients_are_reaped():
    assert_passes("vanished", "--clients", wire.fewer(200, 40), "--heartbeat", 3,
                  "--vanish-timeout", 2, "--idle", 1, "--slack", wire.seconds(4))


# what an operator sees


@pytest.mark.gateway(settings=SETTINGS, workers=1)
def test_eviction_is_listed(gateway):
    """Who it was, why, and how far behind."""
    assert evictions(gateway) == {"evictions": [], "total": 0}
    stream = gateway.stream("bulk", "b/*", user="anna", receive_buffer=4096)
    ids = push_bulk(gateway, "bulk", 100)
    begun = time.time()
    identity = gateway.the_stream()["id"]
    gateway.wait_stat("streams_stalled", 1, 12)
    found = evictions(gateway)
    (entry,) = found["evictions"]
    assert found["total"] == 1
    assert (entry["id"], entry["why"], entry["user"]) == (identity, "stalled", "anna")
    assert set(entry["topics"]) == {"bulk", "b/*"}
    host, port = stream.wire.socket.getsockname()
    assert entry["address"] == f"{host}:{port}"
    assert entry["last_id"] in ids and entry["position"] in ids
    assert entry["lag_events"] == len(ids) - 1 - ids.index(entry["position"])
    assert entry["lag_bytes"] > entry["lag_events"] * 5000
    assert entry["unacknowledged_bytes"] > 0 and entry["bytes_sent"] > 0
    assert entry["events_sent"] == ids.index(entry["last_id"]) + 1
    assert entry["age_ms"] >= 2000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["at"]), entry
    assert begun - 1 < time.mktime(time.strptime(entry["at"][:19], "%Y-%m-%dT%H:%M:%S")) \
        - time.timezone
    gateway.wait_log("evicted: stalled")


@pytest.mark.long
@pytest.mark.gateway(settings={**SETTINGS, "limits.evictions": 3}, workers=2)
def test_latest_evictions_are_kept(gateway):
    """Newest first, so many and no more; the total counts all."""
    for user in "abcd":
        gateway.stream("bulk", user=user, receive_buffer=4096)
        push_bulk(gateway, "bulk", 30)
        wire.wait_until(lambda: evictions(gateway)["total"] == "abcd".index(user) + 1, 12,
                        f"{user} is evicted")
    found = evictions(gateway)
    assert [entry["user"] for entry in found["evictions"]] == ["d", "c", "b"]
    assert [entry["user"] for entry in evictions(gateway, {"limit": 2})["evictions"]] == ["d", "c"]
    gateway.request("GET", "/api/evictions?limit=0").problem(400)
    gateway.request("POST", "/api/evictions", body=b"").problem(405)


@pytest.mark.gateway(settings=SETTINGS)
def test_ends_that_are_no_evictions_are_not_listed(gateway):
    gateway.stream("a").close()
    gateway.stream("a", user="u")
    gateway.wait_stat("streams_left", 1)
    assert gateway.request("DELETE", "/api/streams?user=u").json() == {"ended": 1}
    gateway.wait_stat("streams_ended", 1)
    assert evictions(gateway)["total"] == 0


# who is evicted, and who is not


@pytest.mark.gateway(settings=SETTINGS)
def test_evicted_client_resumes_by_its_id(gateway):
    """What it had taken stays good, and the rest comes from the history: nothing twice, nothing
    lost."""
    stream = gateway.stream("bulk", receive_buffer=16384)
    ids = push_bulk(gateway, "bulk", 60)
    first = stream.events(3)
    gateway.wait_stat("streams_stalled", 1, 12)
    while stream.end is None:
        stream.pump()
    raw = bytes(stream.payload)
    whole = raw[:raw.rindex(b"\n\n") + 2]
    had = re.findall(rb"^id: (\S+)$", whole, re.MULTILINE)
    had = [each.decode() for each in had if each.decode() in ids]
    assert had == ids[:len(had)] and len(had) >= len(first)
    ids += push_bulk(gateway, "bulk", 3)
    again = gateway.stream("bulk", resume=had[-1])
    assert [event.id for event in again.events(len(ids) - len(had))] == ids[len(had):]
    assert gateway.stat("resets") == 0


@pytest.mark.gateway(settings=SETTINGS)
def test_what_waits_in_the_kernel_of_an_idle_stream_is_seen(gateway):
    """All was sent as far as the gateway goes, but the client takes none of it."""
    gateway.stream("a", receive_buffer=TINY)
    push_bulk(gateway, "a", 2, 4000)
    wire.wait_until(lambda: gateway.the_stream()["state"] == "idle", 5, "all is sent")
    assert gateway.the_stream()["unacknowledged_bytes"] > 0
    gateway.wait_stat("streams_stalled", 1, 12)
    assert evictions(gateway)["evictions"][0]["lag_events"] == 0


@pytest.mark.gateway(settings={**SETTINGS, "stream.stall_timeout": "1s"})
def test_time_without_events_is_no_stall(gateway):
    """What counts is the time since there was something to take."""
    stream = gateway.stream("a")
    until = time.monotonic() + 3
    wire.wait_until(lambda: time.monotonic() > until, 5, "three quiet seconds")
    ids = [gateway.push({"topic": "a", "data": "x" * 1000})["id"] for _ in range(5)]
    assert [event.id for event in stream.events(5)] == ids
    wire.wait_until(lambda: gateway.the_stream()["unacknowledged_bytes"] == 0, 5, "all is taken")
    assert gateway.stat("streams_stalled") == 0


@pytest.mark.gateway(settings=SETTINGS)
def test_farewell_that_is_not_read_does_not_hold_the_stream(gateway):
    """It was ended by DELETE, and its client takes not even that."""
    before = gateway.sockets()
    gateway.stream("bulk", receive_buffer=4096)
    push_bulk(gateway, "bulk", 100)
    wire.wait_until(lambda: gateway.the_stream()["state"] == "draining", 5, "it is blocked")
    gateway.request("DELETE", f"/api/streams/{gateway.the_stream()['id']}")
    gateway.wait_stat("streams_ended", 1, 12)
    wire.wait_until(lambda: gateway.sockets() <= before + 1, 5, "its socket is given back")
    stats = gateway.stats()
    assert (stats["streams_stalled"], stats["streams_open"]) == (0, 0)


@pytest.mark.gateway(settings={**SETTINGS, "history.max_events": 100, "stream.ring_events": 64,
                               "stream.stall_timeout": "5s"}, store="memory:")
def test_slow_client_behind_retention_is_told_and_goes_on(gateway):
    """It reads a little all the time while its next event is forgotten: a reset, and the rest."""
    stream = gateway.stream("bulk", receive_buffer=4096)
    ids = []
    while len(ids) < 600:
        ids += push_bulk(gateway, "bulk", 20, 1000)
        stream.pump(size=1024)
    gateway.wait_stat("history_events", 100)
    got = [stream.next_event(20)]
    while got[-1].id != ids[-1]:
        got.append(stream.next_event(20))
    assert "reset" in [event.name for event in got]
    due = 0
    for event in got:
        if event.name == "reset":
            assert event.json()["reason"] == "expired"
            due = ids.index(event.id) + 1
        else:
            assert event.id == ids[due]
            due += 1
    assert (gateway.stat("streams_stalled"), gateway.stat("streams_open")) == (0, 1)


def test_peers_on_a_unix_socket_stall_too(gateway_factory, tmp_path):
    path = str(tmp_path / "s")
    gateway = gateway_factory(settings=SETTINGS, listen=[f"unix:{path}"])
    gateway.keep(wire.open_stream(path, "/events?topic=bulk"))
    healthy = gateway.keep(wire.open_stream(path, "/events?topic=bulk"))
    ids = push_bulk(gateway, "bulk", 100)
    assert [event.id for event in healthy.events(len(ids), 30)] == ids
    gateway.wait_stat("streams_stalled", 1, 12)
    assert evictions(gateway)["evictions"][0]["address"] == "unix"
    gateway.push({"topic": "bulk", "data": "end"})
    assert healthy.next_event().data == "end"
