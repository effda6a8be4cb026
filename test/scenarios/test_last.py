# SPDX-License-Identifier: MIT
"""The latest N events, then what comes: since=last:N of streams and last=N of GET /api/history
(bugle-wire(7))."""

import threading

import pytest

import wire
import ws


@pytest.fixture(params=["memory", "sqlite"])
def gateway(gateway_factory, request, tmp_path):
    """A gateway of each store, whose rings are short: what is older comes from the history."""
    store = "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/h.db"
    return gateway_factory(settings={"stream.ring_events": 64}, store=store)


def fill(gateway, topic="a", others=700):
    """Events of a topic with many others between.  Returns their data."""
    for i in range(10):
        gateway.push({"topic": topic, "data": f"{topic}{i}"})
        gateway.push([{"topic": "others/" + str(i), "data": "x"}] * (others // 10))
    return [f"{topic}{i}" for i in range(10)]


def test_a_stream_begins_with_the_latest_and_goes_on(gateway):
    told = fill(gateway)
    for number in (1, 3, 10, 1000):
        stream = gateway.stream("a", since=f"last:{number}")
        assert [event.data for event in stream.events(min(number, len(told)))] == told[-number:]
        gateway.push({"topic": "a", "data": f"after {number}"})
        told.append(f"after {number}")
        assert stream.next_event().data == told[-1]
    stream = gateway.stream("none", since="last:5")
    gateway.push({"topic": "none", "data": "first"})
    assert stream.next_event().data == "first"


def test_of_an_empty_history_there_is_nothing(gateway):
    stream = gateway.stream("a", since="last:5")
    first = gateway.push({"topic": "a", "data": "one"})["id"]
    assert stream.next_event().id == first


def test_an_id_counts_before_the_latest(gateway):
    ids = [gateway.push({"topic": "a", "data": str(i)})["id"] for i in range(5)]
    stream = gateway.stream("a", since="last:1", resume=ids[1])
    assert [event.id for event in stream.events(3)] == ids[2:]


def test_patterns_and_users_have_their_latest(gateway):
    gateway.push([{"topic": "orders/1", "data": "1"}, {"topic": "orders/2", "data": "2"},
                  {"user": "ann", "data": "for ann"}, {"user": "bob", "data": "for bob"},
                  {"topic": "x", "data": "x"}])
    fill(gateway)
    stream = gateway.stream("orders/*", user="ann", since="last:2")
    assert [event.data for event in stream.events(2)] == ["2", "for ann"]


def test_nothing_is_lost_or_doubled_while_it_is_searched(gateway):
    fill(gateway)
    stop = threading.Event()
    pushed = []

    def publish():
        while not stop.is_set():
            pushed.append(gateway.push({"topic": "a", "data": "live"})["id"])

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        streams = [gateway.stream("a", since="last:7") for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    end = gateway.push({"topic": "a", "data": "end"})["id"]
    for stream in streams:
        ids = [event.id for event in stream.events_until("end")]
        assert len(ids) >= 6 and ids == sorted(set(ids))
        known = [id for id in ids if id in set(pushed)]
        assert known == pushed[len(pushed) - len(known):]
    assert end not in pushed


def test_history_gives_the_latest_and_where_to_go_on(gateway):
    told = fill(gateway)
    part = gateway.request("GET", "/api/history?topic=a&last=3").json()
    assert [event["data"] for event in part["events"]] == told[-3:]
    assert part["more"] is False and part["reset"] is None
    assert part["next"] == part["newest"]
    gateway.push({"topic": "a", "data": "between"})
    stream = gateway.stream("a", resume=part["next"])
    assert stream.next_event().data == "between"
    part = gateway.request("GET", "/api/history?topic=none&last=1000").json()
    assert (part["events"], part["more"]) == ([], False) and part["next"] == part["newest"]
    part = gateway.request("GET", "/api/history?last=1000").json()
    assert len(part["events"]) == 711 and part["events"][0]["data"] == "a0"


def test_a_websocket_begins_with_the_latest(gateway):
    told = fill(gateway)
    with ws.connect_v1(gateway, "a", since="last:4") as socket:
        assert [socket.next_event()["data"] for _ in range(4)] == told[-4:]
    with ws.connect(gateway, "a", since="last:2") as socket:
        assert [socket.next_text() for _ in range(2)] == told[-2:]


@pytest.mark.parametrize("target", ["/events?since=last:0", "/events?since=last:1001",
                                    "/events?since=last:x", "/api/history?last=0",
                                    "/api/history?last=1001", "/api/history?last="])
def test_how_many_are_allowed_is_told(gateway_factory, target):
    problem = gateway_factory().request("GET", target).problem(400)
    assert problem["code"] in ("invalid_since", "invalid_last")
    assert "from 1 to 1000" in problem["detail"]


def test_last_goes_with_no_other_place(gateway):
    here = gateway.request("GET", "/api/history").json()["next"]
    for more in (f"after={here}", "limit=5"):
        problem = gateway.request("GET", f"/api/history?last=5&{more}").problem(400)
        assert problem["code"] == "invalid_last"
