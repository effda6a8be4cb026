# SPDX-License-Identifier: MIT
"""Who gets what: topics, patterns, users and broadcasts (bugle-wire(7))."""

import itertools
import re

import pytest

import wire

PATTERNS = [
    "a", "b", "A", "a/b", "a/", "/a", "/", "a//b", "a/b/c", "*", "**", "a/*", "*/b", "*/*", "a/**",
    "*/**", "a/*/c", "*/b/*", "a/b/**", "a//*", "a/*/b", "/*", "/**", "//**", "*/*/*/*", "*/a",
    "a/*/*/**", "https://example.org/books/1", "https://example.org/**", "https://*/books/*",
    "grün/ß", "*/ß", "a b", "a+b", "a%2Fb", "a,b", "a?b", "a#b", "a&b", "$bugle", "$bugleX/a",
    "$x/*",
]
TOPICS = [
    "a", "b", "A", "aa", "a/b", "a/", "/a", "/", "//", "a//b", "a/b/c", "a/b/c/d", "a/x/c", "b/a",
    "https://example.org/books/1", "https://example.org/books/2", "https://example.org", "grün/ß",
    "a b", "a+b", "a%2Fb", "a,b", "a?b", "a#b", "a&b", "$bugle", "$bugleX/a", "$x/y", "x/y/z",
    "x" * 256, "/".join("s" * 32),
]


def covers(pattern, topic):
    """The rule of the contract once more, written as a regular expression."""
    parts = []
    for segment in pattern.split("/"):
        parts.append({"*": "[^/]*", "**": ".*"}.get(segment, re.escape(segment)))
    return re.fullmatch("/".join(parts), topic, re.DOTALL) is not None


def data_until_end(streams):
    """What each stream got before the broadcast that ends it."""
    return [[event.data for event in stream.events_until("end")] for stream in streams]


def test_pattern_takes_exactly_the_topics_that_it_covers(gateway):
    """`*` is one segment, `**` at the end one or more; empty segments count, so URLs are topics;
    bytes are compared as they are.  Every pattern meets every topic."""
    streams = gateway.stream_many([{"topic": pattern} for pattern in PATTERNS])
    for topic in TOPICS:
        gateway.push({"topic": topic, "data": topic})
    gateway.push({"data": "end"})
    for pattern, seen in zip(PATTERNS, data_until_end(streams)):
        assert seen == [topic for topic in TOPICS if covers(pattern, topic)], pattern


def test_replay_follows_the_same_rule_as_live(gateway):
    """What a client would have seen live is what it finds when it comes back."""
    for topic in TOPICS:
        gateway.push({"topic": topic, "data": topic})
    gateway.push({"data": "end"})
    streams = gateway.stream_many([{"topic": pattern, "since": "earliest"} for pattern in PATTERNS])
    for pattern, seen in zip(PATTERNS, data_until_end(streams)):
        assert seen == [topic for topic in TOPICS if covers(pattern, topic)], pattern


def test_a_stream_without_topics_hears_everything(gateway):
    """`curl -N …/events` shows the newcomer whatever happens."""
    stream = gateway.stream()
    for topic in TOPICS:
        gateway.push({"topic": topic, "data": topic})
    assert [event.data for event in stream.events(len(TOPICS))] == TOPICS


def test_broadcast_reaches_every_stream(gateway):
    """An event with neither topic nor user is for everybody, whatever they asked for."""
    streams = gateway.stream_many([
        {}, {"topic": "a"}, {"topic": "x/**"}, {"user": "u"}, {"topic": "a", "user": "u"}])
    gateway.push({"data": "all"})
    assert [stream.next_event().data for stream in streams] == ["all"] * 5


def test_event_with_several_topics_comes_at_most_once(gateway):
    """However many of its topics meet however many patterns: one event, one arrival."""
    streams = gateway.stream_many([
        {},
        {"topic": ["a", "a", "a"]},
        {"topic": ["a", "*", "**", "b"]},
        {"topic": ["a/*", "*/b", "a/b", "a/**", "**"]},
        {"topic": ["none", "b"]},
        {"topic": "none"},
    ])
    gateway.push({"topics": ["a", "b", "a/b"], "data": "1"})
    gateway.push({"topics": ["a", "a"], "data": "2"})
    gateway.push({"data": "end"})
    assert data_until_end(streams) == [["1", "2"], ["1", "2"], ["1", "2"], ["1", "2"], ["1"], []]


ADDRESSES = [dict(itertools.chain(*parts)) for parts in itertools.product(
    [(), [("topic", "a")], [("topics", ["a", "b"])]],
    [(), [("user", "u")], [("users", ["u", "v"])]])]
LISTENERS = [dict(itertools.chain(*parts)) for parts in itertools.product(
    [(), [("topic", "a")], [("topic", "b")], [("topic", ["b", "c"])], [("topic", "c")]],
    [(), [("user", "u")], [("user", "v")], [("user", "w")]])]


def is_for(address, listener):
    """The rule of the contract for topics and users together."""
    topics = {address["topic"]} if "topic" in address else set(address.get("topics", ()))
    users = {address["user"]} if "user" in address else set(address.get("users", ()))
    wanted = set(listener.get("topic", ()))
    topics_meet = not topics or not wanted or topics & wanted
    return bool(topics_meet and (not users or listener.get("user") in users))


def test_topics_and_users_narrow_each_other(gateway):
    """Topic and user together mean both; a user alone means all of that user's streams; a stream
    that is nobody's never sees what is for somebody."""
    streams = gateway.stream_many(LISTENERS)
    for number, address in enumerate(ADDRESSES):
        gateway.push({"data": number, **address})
    gateway.push({"data": "end"})
    for listener, seen in zip(LISTENERS, data_until_end(streams)):
        expected = [str(number) for number, address in enumerate(ADDRESSES)
                    if is_for(address, listener)]
        assert seen == expected, listener


def test_replay_to_users_follows_the_same_rule(gateway):
    """A private event must not be found by another user who asks for the past."""
    for number, address in enumerate(ADDRESSES):
        gateway.push({"data": number, **address})
    gateway.push({"data": "end"})
    streams = gateway.stream_many([{**listener, "since": "earliest"} for listener in LISTENERS])
    for listener, seen in zip(LISTENERS, data_until_end(streams)):
        expected = [str(number) for number, address in enumerate(ADDRESSES)
                    if is_for(address, listener)]
        assert seen == expected, listener


def test_user_may_be_a_number(gateway):
    """Databases number their users: 42 and "42" are the same one, and 4 is another."""
    streams = gateway.stream_many([{"user": user} for user in ("42", "4", "042", "42.0")])
    gateway.push(b'{"data":"a","user":42}')
    gateway.push(b'{"data":"b","users":[42,7]}')
    gateway.push(b'{"data":"c","user":"42"}')
    gateway.push({"data": "end"})
    assert data_until_end(streams) == [["a", "b", "c"], [], [], []]


def test_large_user_number_is_not_rounded_to_somebody_else(gateway):
    """2^53 + 1 is where JavaScript begins to confuse users; a gateway must not."""
    users = ["9007199254740992", "9007199254740993", "9223372036854775807",
             "12345678901234567890", "12345678901234567891"]
    streams = gateway.stream_many([{"user": user} for user in users])
    taken = []
    for user in users:
        body = '{"data":"%s","user":%s}' % (user, user)
        response = gateway.post(body.encode())
        assert response.status in (201, 422, 400), response
        if response.status == 201:
            taken.append(user)
    assert taken[:3] == users[:3]
    gateway.push({"data": "end"})
    assert data_until_end(streams) == [[user] if user in taken else [] for user in users]


def test_user_may_hold_what_a_pattern_would(gateway):
    """A user is a name and nothing else: its slashes and stars have no meaning."""
    users = ["*", "**", "a/b", "a/*", "mail+tag@example.org", "{x}", "$bugle/x", "größe"]
    streams = gateway.stream_many([{"user": user} for user in users])
    for user in users:
        gateway.push({"user": user, "data": user})
    gateway.push({"data": "end"})
    assert data_until_end(streams) == [[user] for user in users]


def test_all_streams_of_a_user_get_what_is_for_the_user(gateway):
    """Three tabs and a telephone are one person."""
    streams = gateway.stream_many([{"user": "u", "topic": f"t{i}"} for i in range(12)])
    other = gateway.stream(user="v")
    gateway.push({"user": "u", "data": "x"})
    gateway.push({"data": "end"})
    assert data_until_end([*streams, other]) == [["x"]] * 12 + [[]]


def test_targeted_event_reaches_exactly_its_streams(gateway):
    """Two hundred streams of two hundred topics, each addressed once: nobody reads another's."""
    count = wire.fewer(200, 20)
    streams = gateway.stream_many([{"topic": f"t/{i}"} for i in range(count)])
    for i in range(count):
        gateway.push({"topic": f"t/{i}", "data": f"for {i}"})
    gateway.push({"data": "end"})
    assert data_until_end(streams) == [[f"for {i}"] for i in range(count)]
    wire.wait_until(lambda: gateway.stat("events_delivered") == 2 * count, 5, "all are counted")


def test_streams_that_left_are_forgotten(gateway):
    """The index of who listens shrinks as it grew: what was subscribed before does not matter."""
    for _ in range(5):
        streams = gateway.stream_many([{"topic": ["a", "*", "a/**"], "user": "u"}] * 10)
        for stream in streams:
            stream.close()
        gateway.wait_stat("streams_open", 0)
    stream = gateway.stream("a/b", user="u")
    gateway.push({"topic": "a/b", "user": "u", "data": "x"})
    gateway.push({"data": "end"})
    assert data_until_end([stream]) == [["x"]]


# what may be asked for


def test_sixty_four_topics_fit_and_not_one_more(gateway):
    """A dashboard names what it shows; each of its names counts."""
    names = [f"t{i}" for i in range(64)]
    stream = gateway.stream(*names)
    for name in (*names, "t64"):
        gateway.push({"topic": name, "data": name})
    gateway.push({"data": "end"})
    assert data_until_end([stream]) == [names]
    response = gateway.request("GET", wire.target_of("/events", {"topic": [*names, "t64"]}))
    assert response.status == 400, response


def test_topics_is_another_name_for_topic(gateway):
    """People remember one or the other; both together add up."""
    target = "/events?topics=a&topic=b&topics=c/*"
    stream = gateway.keep(wire.open_stream(gateway.address, target))
    for topic in ("a", "b", "c", "c/d", "e"):
        gateway.push({"topic": topic, "data": topic})
    gateway.push({"data": "end"})
    assert data_until_end([stream]) == [["a", "b", "c/d"]]


def test_topics_are_decoded_from_the_url(gateway):
    """encodeURIComponent turns the slash of a topic and every letter beyond ASCII into bytes."""
    target = "/events?topic=a%2Fb&topic=%67r%C3%BCn&topic=%2a%2fx"
    stream = gateway.keep(wire.open_stream(gateway.address, target))
    for topic in ("a/b", "grün", "q/x", "a%2Fb"):
        gateway.push({"topic": topic, "data": topic})
    gateway.push({"data": "end"})
    assert data_until_end([stream]) == [["a/b", "grün", "q/x"]]


NOT_TO_BE_ASKED_FOR = [
    "topic=", "topic", "topic=a&topic=", "topics=", "topic=a&topics=",
    "topic=a*", "topic=*a", "topic=**/a", "topic=a/**/b", "topic=***", "topic=a/b*",
    "topic=*/*/*/*/*", "topic=*/*/*/*/**", "topic=" + "x" * 257, "topic=" + "/" * 32,
    "topic=$bugle/ready", "topic=$bugle/", "topic=$bugle/**", "topic=$bugle/*", "topic=%24bugle/x",
    "topic=a%00b", "topic=a%0ab", "topic=a%7f", "topic=%c2%85", "topic=%e2%80%8b",
    "topic=%ef%bb%bfa", "topic=%ff", "topic=%c0%af", "topic=%ed%a0%80",
    "user=" + "x" * 257, "user=a%0ab", "user=%ff", "user=a%00",
]


def test_what_no_event_can_be_called_cannot_be_asked_for(gateway):
    """A mistyped subscription would be silent for ever, so it is refused."""
    for query in NOT_TO_BE_ASKED_FOR:
        response = gateway.request_once("GET", "/events?" + query, [("Accept", "*/*")])
        assert response.status == 400, (query, response)
        assert b"<html" not in response.body.lower(), response
    assert gateway.stat("streams_opened") == 0


@pytest.mark.parametrize("pattern", ["**", "*/**", "*/*"])
def test_wildcards_do_not_reach_the_names_of_the_gateway(gateway, pattern):
    """The gateway tests itself on topics of its own; nobody else sees that."""
    stream = gateway.stream(pattern)
    for _ in range(5):
        assert gateway.request("GET", "/readyz").status == 200
    gateway.push({"data": "end"})
    assert data_until_end([stream]) == [[]]
