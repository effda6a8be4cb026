# SPDX-License-Identifier: MIT
"""What streams ask for and events say, made to cost as much as it can: matching stays bounded,
nothing is lost or comes twice, and what patterns hold is counted."""

import json
import random

import pytest

import wire

SEGMENTS_MAX = 512


def wild(rng, segments_n=32, stars_n=4, last="z"):
    """A pattern with wildcards at places of its own."""
    segments = ["a"] * (segments_n - 1) + [last]
    for at in rng.sample(range(segments_n - 1), stars_n):
        segments[at] = "*"
    return "/".join(segments)


def deep_topics():
    return ["/".join(["a"] * 31 + [f"t{i}"]) for i in range(16)]


def segments(count, prefix="s"):
    """Topics that have so many segments together, by eight."""
    return [f"{prefix}{i}/b/c/d/e/f/g/h" for i in range(count // 8)] + ["x"] * (count % 8)


def test_the_topics_of_a_stream_have_so_many_segments_and_no_more(gateway):
    most = [("topic", topic) for topic in segments(SEGMENTS_MAX)]
    assert gateway.request("GET", wire.target_of("/api/history", most)).status == 200
    gateway.stream_many([most])
    more = [("topic", topic) for topic in segments(SEGMENTS_MAX - 8) + ["/".join("abcdefghi")]]
    for path in ("/events", "/api/history"):
        problem = gateway.request("GET", wire.target_of(path, more)).problem(400)
        assert problem["code"] == "too_many_segments"
        assert "513 segments" in problem["detail"] and "512" in problem["detail"]




def test_too_many_shapes_are_refused_and_plain_patterns_never(gateway_factory):
    gateway = gateway_factory(workers=1)
    rng = random.Random(5)
    refused = None
    while refused is None:
        query = [("topic", wild(rng)) for _ in range(3)]
        with wire.Wire(gateway.address) as connection:
            connection.send(gateway.request_bytes("GET", wire.target_of("/events", query)))
            refused = query if connection.read_head().status == 503 else None
        gateway.stream_many([] if refused else [query])
    problem = gateway.request("GET", wire.target_of("/events", refused)).problem(503)
    assert problem["code"] == "too_many_shapes"
    # a browser is told when to come back, which it would not after an error
    with wire.Wire(gateway.address) as connection:
        connection.send(gateway.request_bytes("GET", wire.target_of("/events", refused),
                                              [("Accept", "text/event-stream")]))
        assert connection.read_head().status == 200
        assert b"retry: " in connection.read_to_end()
    for pattern in ("*/*", "a/*/c/*/**", "*/b/c/d/e/*", "/".join("a" * 32)):
        gateway.stream(pattern)
    # what nobody asks for any more is free again
    for stream in gateway.streams:
        stream.close()
    gateway.wait_stat("streams_open", 0)
    gateway.stream_many([refused])


def test_one_user_has_a_share_of_the_shapes_and_others_have_theirs(gateway_factory):
    gateway = gateway_factory(workers=1)
    rng = random.Random(5)
    statuses = []
    for _ in range(40):
        query = [("user", "mallory")] + [("topic", wild(rng)) for _ in range(3)]
        connection = wire.Wire(gateway.address)
        gateway.keep(connection)
        connection.send(gateway.request_bytes("GET", wire.target_of("/events", query)))
        statuses.append(connection.read_head().status)
    assert statuses == [200] * 5 + [429] * 35
    problem = gateway.request("GET", wire.target_of("/events", query)).problem(429)
    assert problem["code"] == "too_many_shapes_of_one"
    for user in ("ada", "bob", "eve"):
        gateway.stream_many([[("user", user)] + [("topic", wild(rng)) for _ in range(16)]])


def test_what_is_costly_to_match_takes_turns_and_loses_nothing(gateway_factory):
    """Three streams make every event dear; the one that listens gets all of them in their order,
    and whoever published finds the events behind the answer."""
    gateway = gateway_factory(workers=1)
    rng = random.Random(1)
    plain = ["*/*/a/a/a/z", "*/a/*/a/a/z", "*/a/a/*/a/z", "a/*/*/a/a/z", "a/*/a/*/a/z", "a/a/*/*/a/z"]
    gateway.stream_many([[("topic", pattern) for pattern in plain]])
    gateway.stream_many([[("topic", wild(rng, last="z"))] for _ in range(3)])
    listener = gateway.stream("**")
    for batch in range(2):
        events = [{"topics": deep_topics(), "data": f"{batch}/{i}"} for i in range(400)]
        answer = gateway.push(events)
        last = answer["ids"][-1] if "ids" in answer else answer[-1]["id"]
        behind = gateway.stream("**", resume=last)
        gateway.push({"topic": "end", "data": f"end{batch}"})
        assert [event.data for event in behind.events_until(f"end{batch}")] == []
        seen = [event.data for event in listener.events_until(f"end{batch}")]
        assert seen == [event["data"] for event in events]


def test_doubles_of_users_and_topics_are_one(gateway):
    """Sixteen streams of one user, each with many patterns, and an event that names the user a
    thousand times."""
    query = [("user", "ada")] + [("topic", f"p/{i}/*") for i in range(48)]
    streams = gateway.stream_many([query] * 16)
    body = [{"users": ["ada"] * 1000, "topics": ["p/47/x", "q"] * 8, "data": str(i)}
            for i in range(10)]
    gateway.push(body)
    gateway.push({"data": "end"})
    for stream in streams:
        assert [event.data for event in stream.events_until("end")] == list("0123456789")
    event = gateway.request("GET", "/api/history?user=ada&topic=q").json()["events"][0]
    assert event["users"] == ["ada"] and event["topics"] == ["p/47/x", "q"], json.dumps(event)


@pytest.mark.skipif(wire.SLOW > 1, reason="a sanitizer has memory and an allocator of its own")
def test_what_patterns_hold_is_counted_and_given_up(gateway_factory):
    """Streams that ask for as much as they may are ended when memory is short, and one that asks
    for little stays."""
    gateway = gateway_factory(workers=1, settings={
        "limits.memory": "64M", "limits.streams_per_address": 2000, "stream.ring_bytes": "16M",
        "history.max_bytes": "16M"})
    small = gateway.stream("small")
    before = gateway.stats()["memory_connections"]
    gateway.stream_many([[("topic", topic) for topic in segments(SEGMENTS_MAX)]])
    wire.wait_until(lambda: gateway.stat("memory_connections") > before + 50000, 5,
                    "the patterns are counted")
    for i in range(1000):
        connection = wire.Wire(gateway.address)
        gateway.keep(connection)
        query = [("topic", topic) for topic in segments(SEGMENTS_MAX, f"{i}-")]
        connection.send(gateway.request_bytes("GET", wire.target_of("/events", query)))
        if connection.read_head().status == 503:
            break

    def opens():
        with wire.Wire(gateway.address) as connection:
            connection.send(gateway.request_bytes("GET", "/events?topic=other"))
            return connection.read_head().status == 200
    wire.wait_until(opens, 5, "another one has room")
    assert gateway.stat("streams_evicted_memory") > 0
    gateway.push({"topic": "small", "data": "still"})
    assert small.next_event().data == "still"
