# SPDX-License-Identifier: MIT
"""GET /api/history: stored events as JSON, a part at a time (bugle-wire(7))."""

import concurrent.futures
import contextlib
import datetime
import json
import re
import threading
import time

import pytest

import wire

STORES = ["memory", "sqlite"]
EVENT_MEMBERS = {"id", "topics", "users", "event", "data", "published"}
EPOCH_OF_OTHERS = "0" * 12


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    """The setting of a store, each in turn."""
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/h.db"


@pytest.fixture
def gateway(gateway_factory, store):
    return gateway_factory(store=store)


def ask(gateway, *topics, **query):
    """Any answer."""
    pairs = [("topic", topic) for topic in topics] + list(query.items())
    return gateway.request("GET", wire.target_of("/api/history", pairs))


def part_of(response):
    """The JSON of a 200, its shape checked."""
    assert response.status == 200, response
    assert response.head.get("Content-Type") == "application/json"
    assert response.head.get("Cache-Control") == "no-store"
    part = response.json()
    assert set(part) == {"events", "next", "more", "oldest", "newest", "reset"}, part
    wire.check_id(part["next"])
    ids = [event["id"] for event in part["events"]]
    assert ids == sorted(set(ids)), "each once, oldest first"
    assert all(id <= part["next"] for id in ids)
    for event in part["events"]:
        wire.check_id(event["id"])
        assert EVENT_MEMBERS <= set(event) <= EVENT_MEMBERS | {"retry", "ttl", "json"}, event
    return part


def history(gateway, *topics, **query):
    return part_of(ask(gateway, *topics, **query))


def data_of(part):
    return [event["data"] for event in part["events"]]


def page_through(gateway, *topics, after=None, **query):
    """The parts until there is no more."""
    parts = []
    while not parts or parts[-1]["more"]:
        place = {"after": after} if after else {}
        parts.append(history(gateway, *topics, **place, **query))
        after = parts[-1]["next"]
    return parts


def events_of(parts):
    return [event for part in parts for event in part["events"]]


def push_numbers(gateway, count, first=0, **fields):
    numbers = range(first, first + count)
    return gateway.push([{"data": str(i), **fields} for i in numbers])["ids"]


def place(id, position):
    """Another place in the epoch of an id."""
    return f"{id.partition('-')[0]}-{position:016}"


def test_data_is_a_string_and_says_whether_it_was_json(gateway):
    values = ["x", "1", 1, -1.50, None, True, {"a": [1, {}]}, ["x"], "{}"]
    gateway.push([{"data": value} for value in values])
    gateway.push_text('{"a":1}', topic="a")
    events = history(gateway)["events"]
    assert all(isinstance(event["data"], str) for event in events)
    assert [json.loads(event["data"]) if event.get("json") else event["data"]
            for event in events] == values + ['{"a":1}']


# paging


def test_pages_of_a_hundred_have_every_event_once(gateway, store):
    ids = []
    for first in range(0, 2500, 500):
        ids += push_numbers(gateway, 500, first, topic=f"t/{first}")
    parts = page_through(gateway, limit=100)
    sizes = [len(part["events"]) for part in parts]
    if store == "memory:":
        assert sizes == [100] * 25
    assert max(sizes) == 100, "a page from the disk may end early on a busy machine"
    assert [part["more"] for part in parts] == [True] * (len(parts) - 1) + [False]
    assert [event["id"] for event in events_of(parts)] == ids
    assert [event["data"] for event in events_of(parts)] == [str(i) for i in range(2500)]
    assert all(part["reset"] is None for part in parts)
    assert {(part["oldest"], part["newest"]) for part in parts} == {(ids[0], ids[-1])}
    assert [event["id"] for event in events_of(page_through(gateway, limit=1000))] == ids
    assert len(history(gateway)["events"]) == 100


def test_next_is_a_place_in_any_case(gateway):
    """A poller always gives back what it got, from the empty history on."""
    empty = history(gateway)
    assert (empty["events"], empty["more"], empty["reset"]) == ([], False, None)
    assert (empty["oldest"], empty["newest"]) == (None, None)
    assert history(gateway, after=empty["next"]) == empty
    ids = push_numbers(gateway, 3, topic="a")
    first = history(gateway, "a", after=empty["next"])
    assert (data_of(first), first["next"]) == (["0", "1", "2"], ids[2])
    push_numbers(gateway, 3, topic="b")
    quiet = history(gateway, "a", after=first["next"])
    assert (quiet["events"], quiet["more"], quiet["reset"]) == ([], False, None)
    assert quiet["next"] == quiet["newest"], "what is not for the poller is behind it"
    gateway.push({"topic": "a", "data": "x"})
    assert data_of(history(gateway, "a", after=quiet["next"])) == ["x"]


def test_more_is_only_said_where_there_is_more(gateway):
    push_numbers(gateway, 4, topic="a")
    push_numbers(gateway, 4, topic="b")
    assert history(gateway, "a", limit=3)["more"] is True
    assert history(gateway, "a", limit=4)["more"] is False
    assert history(gateway, "b", limit=4)["more"] is False
    assert history(gateway, limit=7)["more"] is True


def test_poller_sees_every_event_once_while_others_publish(gateway):
    done, published = threading.Event(), []

    def publish():
        while not done.is_set():
            published.extend(push_numbers(gateway, 20, len(published), topic="a"))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        publisher = pool.submit(publish)
        seen, after = [], None
        try:
            while len(seen) < wire.fewer(2000, 200):
                query = {"after": after} if after else {}
                part = part_of(gateway.request_once(
                    "GET", wire.target_of("/api/history", [("topic", "a"), ("limit", 70),
                                                           *query.items()])))
                seen += part["events"]
                after = part["next"]
        finally:
            done.set()
        publisher.result()
    seen += events_of(page_through(gateway, "a", after=after))
    assert [event["id"] for event in seen] == published
    assert [event["data"] for event in seen] == [str(i) for i in range(len(published))]


def test_trimming_is_told_and_what_is_left_comes_once(gateway_factory, store):
    """A history that forgets faster than it is read: whatever is missing stands before a part that
    says `expired`."""
    gateway = gateway_factory(store=store, settings={"history.max_events": "100"})
    done, published = threading.Event(), []

    def publish():
        while not done.is_set():
            published.extend(push_numbers(gateway, 30, len(published)))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        publisher = pool.submit(publish)
        parts, after = [], place(history(gateway)["next"], 0)

        def ask():
            return part_of(gateway.request_once(
                "GET", wire.target_of("/api/history", {"limit": 10, "after": after})))

        def has_lost_something():
            return ask()["reset"] is not None

        try:
            for _ in range(5):
                wire.wait_until(has_lost_something, 20)
                for _ in range(2):
                    parts.append(ask())
                    after = parts[-1]["next"]
        finally:
            done.set()
        publisher.result()
    parts += page_through(gateway, after=after)
    expected = 0
    for part in parts:
        ids = [event["id"] for event in part["events"]]
        if part["reset"]:
            assert part["reset"]["reason"] == "expired"
            skipped = sum(id <= part["reset"]["id"] for id in published)
            assert skipped > expected, "there was a loss"
            expected = skipped
        assert ids == published[expected:expected + len(ids)]
        expected += len(ids)
    assert expected == len(published)


# what is asked for


def test_same_rule_as_for_streams(gateway):
    gateway.push([
        {"data": "all"}, {"topic": "a", "data": "a"}, {"user": "ada", "data": "ada"},
        {"topics": ["b", "a/b"], "users": ["ada", "bob"], "data": "both"},
        {"topic": "a", "data": "live only", "ephemeral": True}, {"topic": "b", "data": "b"}])
    for topics, user in [((), None), (("a",), None), (("a",), "ada"), (("a/*",), "bob"),
                         (("*",), "ada"), (("*",), "eve"), (("a", "b"), "bob"), (("**",), "ada")]:
        query = {"user": user} if user else {}
        part = history(gateway, *topics, **query)
        stream = gateway.stream(*topics, since="earliest", **query)
        replay = [stream.next_event() for _ in part["events"]]
        assert [(event.id, event.data) for event in replay] == [
            (event["id"], event["data"]) for event in part["events"]], (topics, user)
        gateway.push({"data": "end", "ephemeral": True})
        assert stream.next_event().data == "end", "the replay had more"
    assert data_of(history(gateway, "a", user="ada")) == ["all", "a", "ada"]
    assert data_of(history(gateway, "*", user="ada")) == ["all", "a", "ada", "both", "b"]
    assert data_of(history(gateway)) == ["all", "a", "b"]


def test_topics_may_be_named_in_either_way(gateway):
    push_numbers(gateway, 1, topic="a")
    push_numbers(gateway, 1, 1, topic="b")
    push_numbers(gateway, 1, 2, topic="c")
    response = gateway.request("GET", "/api/history?topics=a&topic=c&cb=x")
    assert data_of(part_of(response)) == ["0", "2"]


def test_nobody_learns_who_else_got_it(gateway):
    gateway.push([{"users": ["ada", "bob"], "data": "x"}, {"data": "y"}])
    assert [event["users"] for event in history(gateway, user="bob")["events"]] == [["bob"], []]
    for query in {}, {"user": "eve"}:
        response = ask(gateway, **query)
        assert data_of(part_of(response)) == ["y"]
        assert b"ada" not in response.body and b"bob" not in response.body


def test_event_past_its_ttl_is_left_out(gateway):
    start = gateway.push({"data": "start"})["id"]
    gateway.push([{"data": "short", "ttl": 1.5}, {"data": "long", "ttl": 3600}, {"data": "kept"}])
    (short, *_) = history(gateway, after=start)["events"]
    if short["data"] == "short":
        assert short["ttl"] == 1.5
    wire.wait_until(lambda: "short" not in data_of(history(gateway)), 5, "its time is over")
    part = history(gateway, after=start)
    assert data_of(part) == ["long", "kept"]
    assert [event.get("ttl") for event in part["events"]] == [3600, None]
    assert part["reset"] is None


# what is shown


@pytest.mark.parametrize("data", [
    "", " ", "x", "a\nb", "\n", "\n\na\n", "data: x\n\nid: y", "\"quoted\" \\ back/slash",
    "tab\tbell\a\x01\x7f", "ünïcödé \u2028 🐝", "\ufeff", "x" * 60000, "\n" * 3000,
])
def test_data_is_what_was_published(gateway_factory, data):
    gateway = gateway_factory()
    gateway.push({"data": data})
    gateway.push_text(data)
    assert data_of(history(gateway)) == [data, data]


def test_every_end_of_a_line_is_a_line_feed(gateway):
    """As clients of a stream see it."""
    gateway.push({"data": "a\r\nb\rc\nd\r"})
    stream = gateway.stream(since="earliest")
    assert data_of(history(gateway)) == ["a\nb\nc\nd\n"] == [stream.next_event().data]


def test_json_data_is_the_text_that_was_written(gateway):
    """Numbers too: the data is a string, for the reader to parse."""
    body = b'{"data": {"total": 1.10, "n": 12345678901234567890, "e": 1E+2, "s": "\\u00e9"}}'
    gateway.push(body)
    gateway.push(b'{"data": 1.10}')
    gateway.push(b'{"data": null}')
    assert data_of(history(gateway)) == [
        '{"total":1.10,"n":12345678901234567890,"e":1E+2,"s":"\\u00e9"}', "1.10", "null"]


def test_fields_are_those_of_the_publish(gateway):
    before = datetime.datetime.now(datetime.timezone.utc)
    ids = gateway.push([
        {"topics": ["b", "a\"\\/é"], "event": "paid", "data": "x", "retry": 5000, "ttl": 60},
        {"data": "x"}])["ids"]
    after = datetime.datetime.now(datetime.timezone.utc)
    first, second = history(gateway)["events"]
    for event in first, second:
        published = event.pop("published")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", published)
        at = datetime.datetime.strptime(published, "%Y-%m-%dT%H:%M:%S.%f%z")
        slack = datetime.timedelta(milliseconds=1)
        assert before - slack <= at <= after + slack
    assert first == {"id": ids[0], "topics": ["b", "a\"\\/é"], "users": [], "event": "paid",
                     "data": "x", "retry": 5000, "ttl": 60}
    assert second == {"id": ids[1], "topics": [], "users": [], "event": "message", "data": "x"}


def test_head_has_the_head_alone(gateway):
    gateway.push({"data": "x"})
    head, response = gateway.request("HEAD", "/api/history"), ask(gateway)
    assert (head.status, head.body) == (200, b"")
    assert head.head.get("Content-Length") == str(len(response.body))
    assert gateway.request("POST", "/api/history", body=b"").status == 405


# resets


def assert_goes_on(gateway, part, reason, position):
    assert part["reset"] == {"reason": reason, "id": position}
    push_numbers(gateway, 1, 777)
    part = page_through(gateway, after=part["next"])[-1]
    assert data_of(part)[-1] == "777"
    assert part["reset"] is None


def test_expired_goes_on_with_the_oldest(gateway_factory, store):
    gateway = gateway_factory(store=store, settings={"history.max_events": "10"})
    ids = push_numbers(gateway, 30)
    gateway.wait_stat("history_events", 10)
    part = history(gateway, after=ids[3])
    assert [event["id"] for event in part["events"]] == ids[20:]
    assert part["oldest"] == ids[20]
    assert history(gateway, after=ids[19])["reset"] is None, "nothing after it is gone"
    assert history(gateway)["reset"] is None, "from the oldest there is nothing to lose"
    assert_goes_on(gateway, part, "expired", ids[19])


def test_unknown_goes_on_with_what_comes_next(gateway):
    ids = push_numbers(gateway, 3)
    part = history(gateway, after=place(ids[0], 4))
    assert (part["events"], part["next"]) == ([], ids[2])
    assert_goes_on(gateway, part, "unknown", ids[2])


def test_other_epoch_goes_on_with_what_comes_next(gateway):
    ids = push_numbers(gateway, 3)
    part = history(gateway, after=f"{EPOCH_OF_OTHERS}-{1:016}")
    assert (part["events"], part["next"]) == ([], ids[2])
    assert_goes_on(gateway, part, "epoch", ids[2])


def test_damage_is_told_once_where_it_is(gateway_factory, tmp_path):
    gateway = gateway_factory(store=f"sqlite:{tmp_path}/h.db")
    ids = gateway.push([{"topic": "a", "data": f"number {i:03}"} for i in range(600)])["ids"]
    gateway.stop()
    path = tmp_path / "h.db"
    content = path.read_bytes()
    assert content.count(b"number 300") == 1
    path.write_bytes(content.replace(b"number 300", b"number 333"))
    gateway.start()
    for limit in 1000, 70, 1:
        parts = page_through(gateway, "a", limit=limit)
        (at,) = [i for i, part in enumerate(parts) if part["reset"]]
        assert parts[at]["reset"] == {"reason": "damaged", "id": parts[at]["next"]}
        seen = [event["id"] for event in events_of(parts)]
        before = [event["id"] for event in events_of(parts[:at + 1])]
        lost = [id for id in ids if id not in seen]
        assert ids[300] in lost and len(lost) < 100
        assert seen == [id for id in ids if id not in lost]
        assert before == [id for id in ids if id < lost[0]]
        assert lost[-1] <= parts[at]["next"] < ids[ids.index(lost[-1]) + 1]


def test_memory_forgets_with_a_restart_and_the_disk_does_not(gateway_factory, store):
    gateway = gateway_factory(store=store)
    ids = push_numbers(gateway, 3)
    gateway.stop()
    gateway.start()
    part = history(gateway, after=ids[0])
    if store == "memory:":
        assert part["reset"]["reason"] == "epoch"
    else:
        assert (data_of(part), part["reset"]) == (["1", "2"], None)


# what makes no sense


@pytest.mark.parametrize("query, code", [
    ("topic=", "invalid_topic"), ("topic=a%00", "invalid_topic"), ("topic=**/x", "invalid_topic"),
    ("user=", "invalid_topic"), ("&".join(["topic=a"] * 65), "too_many_topics"),
    ("limit=0", "invalid_limit"), ("limit=1001", "invalid_limit"), ("limit=", "invalid_limit"),
    ("limit=-1", "invalid_limit"), ("limit=1e2", "invalid_limit"), ("limit=+1", "invalid_limit"),
    ("limit=99999999999999999999", "invalid_limit"), ("limit=1%00", "invalid_limit"),
    ("after=", "invalid_position"), ("after=5", "invalid_position"), ("after", "invalid_position"),
    (f"after={'0' * 12}-{'0' * 15}", "invalid_position"),
    (f"after={'0' * 12}-{'0' * 16}%00", "invalid_position"),
    (f"after={'A' * 12}-{'0' * 16}", "invalid_position"),
])
def test_mistakes_are_told(gateway_factory, query, code):
    gateway = gateway_factory()
    problem = gateway.request("GET", f"/api/history?{query}").problem(400)
    assert problem["code"] == code
    assert len(history(gateway, *["a"] * 64)["events"]) == 0


# bounds


def fill(gateway, count=70):
    """More than a socket takes at once."""
    for _ in range(count):
        gateway.push_text("x" * 60000, topic="large")


def test_size_ends_an_answer(gateway_factory, tmp_path):
    gateway = gateway_factory(store=f"sqlite:{tmp_path}/h.db")
    fill(gateway, 40)
    parts = page_through(gateway, limit=1000)
    assert len(events_of(parts)) == 40
    assert len(parts) >= 3 and parts[0]["more"]
    assert all(len(json.dumps(part)) < (1 << 20) + 130000 for part in parts)


def test_too_many_at_once_are_refused_and_counted(gateway_factory):
    """An answer that nobody takes holds its place; streams, publishing and the rest go on."""
    gateway = gateway_factory(settings={"limits.history_requests": "2"})
    fill(gateway)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(gateway.raw(receive_buffer=4096))
            connection.send(gateway.request_bytes("GET", "/api/history?limit=1000"))
        gateway.wait_stat("history_requests", 2)
        response = ask(gateway)
        assert response.problem(503)["code"] == "overloaded"
        assert 1 <= int(response.head.get("Retry-After")) <= 5
        assert gateway.stat("history_shed") == 1
        stream = gateway.stream("large", since="earliest")
        gateway.push({"topic": "large", "data": "end"})
        assert len(stream.events_until("end", 30)) == 70
    gateway.wait_stat("history_requests", 0)
    assert len(history(gateway)["events"]) > 0


def test_clients_that_leave_give_their_places_back(gateway_factory, store):
    gateway = gateway_factory(store=store, settings={"limits.history_requests": "1000"})
    for i in range(0, 5000, 500):
        push_numbers(gateway, 500, i, topic="a/b/c")
    for i in range(wire.fewer(200, 40)):
        connection = gateway.raw()
        connection.send(gateway.request_bytes("GET", "/api/history?limit=1000&topic=*/*/c"))
        if i % 2:
            connection.reset()
        else:
            connection.close()
    gateway.wait_stat("history_requests", 0, 20)
    # a part may be shorter than its limit on a machine that is slow
    assert len(events_of(page_through(gateway, limit=1000))) == 5000


def test_stop_in_the_middle_leaves_no_half_answer(gateway_factory, store):
    gateway = gateway_factory(store=store)
    for i in range(0, 5000, 500):
        push_numbers(gateway, 500, i, topic="a/b/c")
    taken = []

    def read():
        with contextlib.suppress(OSError, ConnectionError):
            after = place(history_id, 0)
            while True:
                with gateway.raw() as connection:
                    target = wire.target_of("/api/history", {"after": after, "limit": 1000})
                    connection.send(gateway.request_bytes("GET", target))
                    try:
                        response = connection.read_response()
                    except AssertionError:
                        assert not connection.buffer, "half an answer"
                        return
                    part = part_of(response)
                    taken.append(part)
                    after = part["next"] if part["more"] else place(history_id, 0)

    history_id = history(gateway)["next"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(8)]
        wire.wait_until(lambda: len(taken) > 16, 20, "they read")
        begun = time.monotonic()
        gateway.signal()
        assert gateway.wait() == 0
        assert time.monotonic() - begun < wire.seconds(8)
        for reader in readers:
            reader.result()
    assert "leaving without them" not in gateway.log()
