# SPDX-License-Identifier: MIT
"""A wall clock that is set while the gateway runs: forward a day, back an hour."""

import os

import pytest

import conftest
import wire

HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A library that moves the wall clock of a program by what a file says."""
    return conftest.build_shim(tmp_path_factory.mktemp("shim"), "clock_shim")


class Clock:
    """The wall clock of a gateway, as seconds from the true one."""

    def __init__(self, path):
        self.path = path
        self.set(0)

    def set(self, offset_s):
        fresh = self.path.with_suffix(".new")
        fresh.write_text(str(offset_s))
        fresh.replace(self.path)


@pytest.fixture(params=["memory", "sqlite"])
def clocked(request, gateway_factory, shim, tmp_path):
    """A gateway that keeps events for a week, and its clock."""
    clock = Clock(tmp_path / "clock")
    store = "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/h.db"
    gateway = gateway_factory(
        store=store, settings={"history.max_age": "7d"},
        env={"LD_PRELOAD": str(shim), "CLOCK_SHIM_FILE": str(clock.path)})
    return gateway, clock


def push(gateway, data, **fields):
    return gateway.push({"topic": "a", "data": data, **fields})["id"]


def replay(gateway, **query):
    """The data of the events a stream begins with."""
    stream = gateway.stream("a", "end", **query)
    gateway.push({"topic": "end", "data": "end", "ephemeral": True})
    return [event.data for event in stream.events_until("end")]


def published(gateway):
    response = gateway.request("GET", "/api/history")
    assert response.status == 200, response
    return {event["data"]: event["published"] for event in response.json()["events"]}


def test_clock_that_jumps_changes_neither_order_nor_streams(clocked):
    gateway, clock = clocked
    live, slow = gateway.stream("a"), gateway.stream("quiet", "a")
    ids = []
    for data, offset_s in [("early", -2 * HOUR), ("ahead", DAY), ("behind", -HOUR), ("now", 0)]:
        clock.set(offset_s)
        ids.append(push(gateway, data))
    assert ids == sorted(set(ids))
    seen = [live.next_event() for _ in ids]
    assert [event.id for event in seen] == ids
    days = [time[:10] for time in published(gateway).values()]
    assert days[1] > days[3], "the clock was set"

    # a position is one whatever the clock says
    assert replay(gateway, resume=ids[0]) == ["ahead", "behind", "now"]
    assert replay(gateway, resume=ids[1]) == ["behind", "now"]
    assert replay(gateway, since="earliest") == ["early", "ahead", "behind", "now"]

    # a time is one too: rather too much than too little
    assert replay(gateway, since="10m") == ["ahead", "behind", "now"]
    assert replay(gateway, since="3h") == ["early", "ahead", "behind", "now"]
    clock.set(DAY)
    assert replay(gateway, since="1h") == ["ahead", "behind", "now"]
    clock.set(DAY + 2 * HOUR)
    assert replay(gateway, since="1h") == []

    # streams live by the other clock
    ids.append(push(gateway, "last"))
    assert live.next_event().id == ids[-1]
    assert [event.id for event in slow.events(len(ids))] == ids
    stats = gateway.stats()
    ended = {name: stats[name] for name in
             ("streams_stalled", "streams_ended", "streams_failed", "resets", "heartbeats")}
    assert set(ended.values()) == {0}, ended
    assert stats["heads_timed_out"] == stats["bodies_timed_out"] == 0


def test_ttl_and_age_follow_the_clock_as_it_is(clocked):
    gateway, clock = clocked
    first = push(gateway, "first")
    clock.set(-HOUR)
    push(gateway, "behind", ttl=1800)
    assert replay(gateway, since="earliest") == ["first", "behind"]
    clock.set(DAY)
    push(gateway, "ahead", ttl=1800)
    assert replay(gateway, since="earliest") == ["first", "ahead"]
    clock.set(0)
    push(gateway, "now")
    assert replay(gateway, since="earliest") == ["first", "ahead", "now"]
    assert set(published(gateway)) == {"first", "ahead", "now"}
    assert gateway.stat("resets") == 0

    # a week after the first two; the one from ahead has a day left, and keeps what is behind it
    clock.set(7 * DAY + 60)
    gateway.wait_stat("history_events", 2)
    clock.set(0)
    last = push(gateway, "last")
    reset, *rest = gateway.stream("a", resume=first).events(4)
    assert (reset.name, reset.json()["reason"]) == ("reset", "expired")
    assert [event.data for event in rest] == ["ahead", "now", "last"]
    clock.set(9 * DAY)
    gateway.wait_stat("history_events", 0)
    clock.set(0)
    assert push(gateway, "after") > last
    event = gateway.stream("a", resume=first).next_event()
    assert (event.name, event.json()["reason"]) == ("reset", "expired")


def test_restart_with_the_clock_set_back_goes_on(gateway_factory, shim, tmp_path):
    clock = Clock(tmp_path / "clock")
    gateway = gateway_factory(
        store=f"sqlite:{tmp_path}/h.db",
        env={"LD_PRELOAD": str(shim), "CLOCK_SHIM_FILE": str(clock.path)})
    ids = [push(gateway, "before")]
    gateway.stop()
    clock.set(-HOUR)
    gateway.start()
    ids.append(push(gateway, "after"))
    assert ids == sorted(set(ids))
    stream = gateway.stream("a", resume=ids[0])
    assert stream.next_event().data == "after"
    assert replay(gateway, since="10m") == ["before", "after"]
    wire.check_id(ids[1])


def test_waiting_for_files_does_not_look_at_the_wall_clock(gateway_factory, shim, tmp_path):
    """Which is often set while a machine starts.  The settings come a little late here."""
    clock = Clock(tmp_path / "clock")
    clock.set(-HOUR)
    path = tmp_path / "bugle.conf"
    os.mkfifo(path)
    gateway = gateway_factory(
        start=False, args=["--config", str(path)],
        env={"LD_PRELOAD": str(shim), "CLOCK_SHIM_FILE": str(clock.path)}).start(ready=False)
    with conftest.open_fifo(path) as settings:
        settings.write("[stream]\nretry = 7s\n")
    gateway.wait_log(conftest.READY_LINE, 10)
    push(gateway, "it serves")
