# SPDX-License-Identifier: MIT
"""Streams with envelope=json: each event as a `message` that says which event it is, live and from
the history, and to nobody who else gets it (bugle-wire(7), "In an envelope")."""

import json

import pytest

import wire

MEMBERS = {"id", "event", "topics", "data", "published"}
EVENTS = [
    {"topic": "a", "event": "paid", "data": {"n": 1.5, "s": "\u00e9"}},
    {"topics": ["a", "b"], "data": "a\nb"},
    {"topic": "a", "data": "\U0001f600 x ", "retry": 5000},
    {"data": ""},
    {"topic": "a", "data": None},
    {"topic": "a", "data": [1, "two"]},
    {"topic": "a", "data": "7"},
    {"topic": "a", "data": 7},
    {"topic": "a", "data": "x" * 60000},
]


@pytest.fixture(params=["memory", "sqlite"])
def gateway(gateway_factory, request, tmp_path):
    """A gateway of each store, whose rings are short: what is older comes from the history."""
    store = "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/h.db"
    return gateway_factory(settings={"stream.ring_events": 64}, store=store)


def open_stream(gateway, *topics, user=None, since=None, **options):
    query = {name: value for name, value in (("user", user), ("since", since)) if value}
    return gateway.stream(*topics, envelope="json", **query, **options)


def opened(event):
    """What stands in an envelope, whose frame is as promised."""
    assert event.name == "message"
    assert event.raw.count(b"data: ") == 1, "one line"
    inner = json.loads(event.data)
    assert MEMBERS <= set(inner) <= MEMBERS | {"users"}, inner
    assert inner["id"] == event.id
    return inner


def said(event):
    """What the publisher said."""
    topics = event.get("topics", [event["topic"]] if "topic" in event else [])
    return event.get("event", "message"), topics, event["data"]


def test_an_envelope_has_what_was_published_live_and_later(gateway):
    live = open_stream(gateway, "a")
    ids = [gateway.push(event)["id"] for event in EVENTS]
    first = [live.next_event() for _ in EVENTS]
    assert [event.id for event in first] == ids
    inners = [opened(event) for event in first]
    assert [(inner["event"], inner["topics"], inner["data"]) for inner in inners] == \
        [said(event) for event in EVENTS]
    assert [type(inner["data"]) for inner in inners] == [type(event["data"]) for event in EVENTS]
    gateway.push([{"topic": "z", "data": "others"}] * 70)
    later = open_stream(gateway, "a", since="earliest")
    assert [later.next_event().raw for _ in EVENTS] == [event.raw for event in first]
    resumed = open_stream(gateway, "a", resume=ids[4])
    assert [event.id for event in resumed.events(4)] == ids[5:]
    told = gateway.request("GET", "/api/history?topic=a").json()["events"]
    assert [inner["published"] for inner in inners] == [event["published"] for event in told]


def test_what_is_the_gateways_own_comes_as_ever(gateway):
    stream = open_stream(gateway, "a", resume="0" * 12 + "-0000000000000009")
    event = stream.next_event()
    assert event.name == "reset" and json.loads(event.data)["reason"] == "epoch"
    bare = gateway.stream("a")
    gateway.push({"topic": "a", "data": "gone", "ephemeral": True})
    event = stream.next_event()
    assert (event.id, json.loads(event.data)["id"]) == (bare.next_event().id, None)


def test_nobody_learns_who_else_gets_an_event(gateway):
    users = [f"user-{i}" for i in range(40)]
    streams = {user: open_stream(gateway, user=user) for user in users}
    gateway.push({"users": users + ["someone"], "data": "for all"})
    gateway.push({"user": users[7], "data": "for one"})
    gateway.push({"users": [users[7], users[8]], "data": "y" * 60000})
    gateway.push({"data": "end"})
    ids = set()
    for user, stream in streams.items():
        got = [opened(stream.next_event())]
        while got[-1]["data"] != "end":
            got.append(opened(stream.next_event()))
        assert [inner["data"][:7] for inner in got] == \
            ["for all"] + ["for one"] * (user == users[7]) + \
            ["yyyyyyy"] * (user in users[7:9]) + ["end"]
        assert all(inner["users"] == [user] for inner in got[:-1])
        assert "users" not in got[-1]
        ids.add(got[0]["id"])
    assert len(ids) == 1
    again = open_stream(gateway, user=users[8], since="earliest")
    assert [opened(again.next_event()).get("users") for _ in range(3)] == [[users[8]]] * 2 + [None]


@pytest.mark.parametrize("value", ["xml", "", "JSON"])
def test_there_is_one_kind_of_envelope(gateway_factory, value):
    answer = gateway_factory().request("GET", f"/events?topic=a&envelope={value}")
    problem = answer.problem(400)
    assert problem["code"] == "invalid_envelope" and "must be json" in problem["detail"]
