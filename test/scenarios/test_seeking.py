# SPDX-License-Identifier: MIT
"""Little in much: readers of whom a long stretch of the history is for somebody else."""

import concurrent.futures
import contextlib
import threading
import time

import pytest

import wire

# What makes looking slow without many events: topics of many segments, against patterns of as many
# segments as a reader may ask for, which differ only at their ends.
DEEP = "a/" * 20
TOPICS = [DEEP + str(i) for i in range(16)]
PATTERNS = ["*/" + DEEP[2:] + f"x{i}" for i in range(24)]
ALIEN = 500
AHEAD = 6000
SETTINGS = {"limits.url_bytes": "16K", "history.max_bytes": "1G"}
WANTED = "a/" + DEEP[2:] + "x23"


@pytest.fixture(params=["memory", "sqlite", "ring"])
def gateway(request, gateway_factory, tmp_path):
    """Stores that are read page by page, and a ring that has it all."""
    ring = {} if request.param == "ring" else {"stream.ring_events": "64"}
    store = f"sqlite:{tmp_path}/h.db" if request.param == "sqlite" else "memory:"
    return gateway_factory(store=store, settings={**SETTINGS, **ring})


def push_alien(gateway):
    """Events for others; the last id."""
    return gateway.push([{"topics": TOPICS, "data": "x"}] * ALIEN)["ids"][-1]


def list_all(gateway):
    """The parts of a listing of what the patterns find."""
    query, parts = [("topic", pattern) for pattern in PATTERNS], []
    while not parts or parts[-1]["more"]:
        after = [("after", parts[-1]["next"])] if parts else []
        response = gateway.request_once("GET", wire.target_of("/api/history", query + after))
        assert response.status == 200, response
        parts.append(response.json())
    return parts


@contextlib.contextmanager
def much_ahead(gateway):
    """As long as it lasts, the only stream has at least so much before it that is for others."""
    done = threading.Event()

    def publish():
        while not done.wait(0.02):
            streams = gateway.request_once("GET", "/api/streams").json()["streams"]
            if streams and all(stream["lag_events"] < AHEAD for stream in streams):
                push_alien(gateway)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        publisher = pool.submit(publish)
        try:
            yield
        finally:
            done.set()
        publisher.result()


def seek(gateway, count, **how):
    """Open a stream that finds nothing for so long that it gets some places, and leave; the
    places."""
    begun = time.monotonic()
    stream = gateway.stream(*PATTERNS, **how)
    found = []
    while len(found) < count:
        item = stream.next_item(60)
        if isinstance(item, wire.Event):
            assert (item.name, item.data) == ("checkpoint", ""), item
            found.append(item.id)
    assert count <= time.monotonic() - begun + 1, "at most one a second"
    stream.close()
    gateway.wait_stat("streams_open", 0)
    return found


def test_place_survives_a_reconnect_among_events_for_others(gateway):
    """Whoever is cut again and again while it looks through much must get to the end of it."""
    for _ in range(AHEAD // ALIEN + 1):
        push_alien(gateway)
    with much_ahead(gateway):
        places = seek(gateway, 2, since="earliest")
        places += seek(gateway, 1, resume=places[-1])
    assert places == sorted(set(places)), "each is farther on"
    wanted = gateway.push({"topic": WANTED, "data": "wanted"})["id"]
    assert places[-1] < wanted
    stream = gateway.stream(*PATTERNS, resume=places[-1])
    assert stream.next_event(60).id == wanted
    assert gateway.stat("resets") == 0


def test_listing_stops_when_its_time_is_up_and_goes_on_from_there(gateway):
    parts = []
    while len(parts) < 2:
        push_alien(gateway)
        parts = list_all(gateway)
    wanted = gateway.push({"topic": WANTED, "data": "wanted"})["id"]
    parts = list_all(gateway)
    places = [part["next"] for part in parts]
    assert places == sorted(set(places))
    assert places[-1] == wanted
    assert [event["id"] for part in parts for event in part["events"]] == [wanted]
    assert all(part["reset"] is None for part in parts)
