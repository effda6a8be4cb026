# SPDX-License-Identifier: MIT
"""POST /api/push: what is taken, what is refused and how, and that nothing is half done
(bugle-wire(7))."""

import json
import os
import signal
import threading

import pytest

import conftest
import wire

BEGIN = b'{"topic":"a","data":'


def assert_nothing_was_stored(gateway, stream, published):
    """After refusals: the stream, which listens to everything, sees only what comes next."""
    sentinel = gateway.push({"data": "sentinel"})["id"]
    event = stream.next_event()
    assert (event.id, event.data) == (sentinel, "sentinel"), event
    assert gateway.stat("events_published") == published + 1
    replay = gateway.stream(since="earliest")
    assert [event.data for event in replay.events_until("sentinel")] == []


# the answer


def test_answer_names_the_id_that_the_stream_shows(gateway):
    """A backend keeps the id of what it published, to find it again in a stream."""
    stream = gateway.stream("a")
    response = gateway.post({"topic": "a", "data": "x"})
    answer = response.json()
    assert (response.status, response.head.get("Content-Type").split(";")[0]) == (
        201, "application/json")
    assert set(answer) == {"id", "durability", "duplicate"}
    assert (answer["durability"], answer["duplicate"]) == (conftest.usual_durability(), False)
    wire.check_id(answer["id"])
    assert stream.next_event().id == answer["id"]


def test_answer_to_an_array_has_an_id_for_each(gateway):
    """A batch is one commit: its ids stand in the order of its events."""
    stream = gateway.stream("a")
    answer = gateway.push([{"topic": "a", "data": i} for i in range(1000)])
    assert set(answer) == {"ids", "duplicates", "durability"}
    assert answer["durability"] == conftest.usual_durability()
    assert isinstance(answer["duplicates"], list) and not any(answer["duplicates"])
    assert len(answer["ids"]) == 1000
    events = stream.events(1000)
    assert [event.id for event in events] == answer["ids"]
    assert [event.data for event in events] == [str(i) for i in range(1000)]


def test_array_of_one_is_answered_as_an_array(gateway):
    """A program that collects events must not be surprised when there was only one."""
    assert len(gateway.push([{"data": 1}])["ids"]) == 1


def test_ids_sort_as_text_in_the_order_of_publishing(gateway):
    """A consumer compares ids as strings to tell which came first, past any power of ten too."""
    ids = [gateway.push({"data": i})["id"] for i in range(12)]
    ids += gateway.push([{"data": i} for i in range(1000)])["ids"]
    ids += [gateway.push({"data": i})["id"] for i in range(12)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert len({event_id.rpartition("-")[0] for event_id in ids}) == 1


def test_ids_grow_on_each_connection_and_are_never_given_twice(gateway):
    """Publishers on many connections to both workers share one order."""
    given = [[] for _ in range(4)]

    def publish(ids):
        with gateway.raw() as connection:
            for i in range(wire.fewer(200, 20)):
                connection.send(gateway.request_bytes(
                    "POST", "/api/push?topic=a", [("Content-Type", "text/plain")], b"%d" % i))
                ids.append(connection.read_response().json()["id"])

    publishers = [threading.Thread(target=publish, args=(ids,)) for ids in given]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    assert all(ids == sorted(ids) for ids in given)
    everything = [event_id for ids in given for event_id in ids]
    assert len(everything) == 4 * wire.fewer(200, 20)
    assert len(set(everything)) == len(everything)


def test_ephemeral_event_is_sent_but_not_stored(gateway):
    """Typing notices and the like: whoever listens gets them, nobody later does."""
    stream = gateway.stream("a")
    answer = gateway.push({"topic": "a", "data": "x", "ephemeral": True})
    assert answer["id"] is None
    assert answer["durability"] == "none"
    event = stream.next_event()
    assert (event.data, event.id) == ("x", None)
    assert gateway.stat("events_ephemeral") == 1
    assert gateway.stat("events_published") == 0


def test_ephemeral_false_is_a_stored_event(gateway):
    """A program that always writes the member means what it writes."""
    assert gateway.push({"data": "x", "ephemeral": False})["id"] is not None


def test_ephemeral_event_in_an_array_has_no_id_there(gateway):
    """A batch may mix both kinds; the order is kept for who listens."""
    stream = gateway.stream()
    ids = gateway.push([{"data": 1}, {"data": 2, "ephemeral": True}, {"data": 3}])["ids"]
    assert ids[1] is None and ids[0] < ids[2]
    assert [(event.data, event.id) for event in stream.events(3)] == [
        ("1", ids[0]), ("2", None), ("3", ids[2])]


def test_requests_of_one_connection_are_answered_one_by_one(gateway):
    """A publisher keeps its connection for all it has to say."""
    stream = gateway.stream("a")
    ids = []
    with gateway.raw() as connection:
        for i in range(20):
            connection.send(gateway.request_bytes(
                "POST", "/api/push?topic=a", [("Content-Type", "text/plain")], b"%d" % i))
            ids.append(connection.read_response().json()["id"])
    assert [(event.id, event.data) for event in stream.events(20)] == [
        (event_id, str(i)) for i, event_id in enumerate(ids)]


# data


AS_WRITTEN = [
    ("1.10", "1.10"),
    ("1E2", "1E2"),
    ("1e+2", "1e+2"),
    ("-0", "-0"),
    ("-0.0", "-0.0"),
    ("12345678901234567890", "12345678901234567890"),
    ("-98765432109876543210", "-98765432109876543210"),
    ("3.14159265358979323846264338327950288", "3.14159265358979323846264338327950288"),
    ("true", "true"),
    ("null", "null"),
    ("[]", "[]"),
    (" [ ] ", "[]"),
    ("{}", "{}"),
    ("\t{ \r\n}\n", "{}"),
    ('{ "a" : 1.10 , "b" : [ 1 , 2 ,\n3 ] }', '{"a":1.10,"b":[1,2,3]}'),
    ('{"s": " x , : \\" [ y "}', '{"s":" x , : \\" [ y "}'),
    (r'["\u00e9","\/","\n","\"","\\","é"]', r'["\u00e9","\/","\n","\"","\\","é"]'),
    ('{"b":1,"a":2}', '{"b":1,"a":2}'),
    ('{"data":{"data": [ {"data" : 1 } ]}}', '{"data":{"data":[{"data":1}]}}'),
    (r'"\u00e9\/\"\\\u0041"', 'é/"\\A'),
    (r'"\ud83d\ude00"', "😀"),
    (r'"\t\b\f"', "\t\b\f"),
    ('"1.10"', "1.10"),
    ('""', ""),
    ("[" * 60 + "]" * 60, "[" * 60 + "]" * 60),
]


@pytest.mark.parametrize("batch", [False, True])
def test_data_is_sent_as_it_was_written(gateway, batch):
    """A price of 1.10, an account number of 20 digits, an escaped slash: JSON libraries change
    them on the way through.  White space between tokens is all that goes."""
    stream = gateway.stream()
    for written, expected in AS_WRITTEN:
        body = f' {{ "topic" : "a" ,\n"data" : {written} , "event" : "message" }} '
        gateway.push((f" [ {body} ] " if batch else body).encode())
        assert stream.next_event().data == expected, written


def test_data_is_found_wherever_it_stands(gateway):
    """Members come in any order, and the name may be written with escapes."""
    stream = gateway.stream()
    bodies = [
        r'{"topic":"data","data":1.0}',
        r'{"data":1.0,"topic":"a\",\"data\":2"}',
        r'{"topics":["{\"data\":3}"],"data":1.0}',
        r'{"d\u0061ta":1.0}',
    ]
    for body in bodies:
        gateway.push(body.encode())
        assert stream.next_event().data == "1.0", body


@pytest.mark.parametrize("number", ["1e400", "9" * 400, "1e-400", "0." + "1" * 400])
def test_number_out_of_reach_is_sent_unchanged_or_refused(gateway, number):
    """No machine number holds these.  They may be refused; they may not arrive as something
    else."""
    stream = gateway.stream()
    status = gateway.post(BEGIN + number.encode() + b"}").status
    assert status in (201, 400, 422)
    gateway.push({"data": "end"})
    assert [event.data for event in stream.events_until("end")] == [number] * (status == 201)


# the text form


def test_plain_curl_publishes(gateway):
    """`curl -d hello '…/api/push?topic=news'` is the first thing that anyone tries."""
    stream = gateway.stream("news")
    gateway.push(b"hello", content_type="application/x-www-form-urlencoded",
                 query={"topic": "news"})
    assert stream.next_event().data == "hello"


def test_text_form_takes_every_field_from_the_query(gateway):
    """What JSON can say, the query can."""
    stream = gateway.stream("a/b", user="u 1")
    fields = {"topic": "a/b", "user": "u 1", "event": "größe", "retry": "4000", "ttl": "60"}
    answer = gateway.push_text('{"not": "json', **fields)
    assert stream.next_event().raw == (
        'retry: 4000\nevent: größe\ndata: {"not": "json\nid: ' + answer["id"] + "\n\n").encode()
    assert gateway.push_text("x", topic="a/b", ephemeral="true")["id"] is None
    assert stream.next_event().id is None


def test_text_form_takes_several_topics_and_users(gateway):
    """A field that may be a list is repeated."""
    streams = [gateway.stream("a"), gateway.stream("b"), gateway.stream("b", user="v")]
    gateway.push_text("x", topic=["a", "b"])
    gateway.push_text("y", user=["u", "v"])
    gateway.push_text("end")
    seen = [[event.data for event in stream.events_until("end")] for stream in streams]
    assert seen == [["x"], ["x"], ["x", "y"]]


def test_text_form_of_json_is_data_like_any_other(gateway):
    """What is sent as JSON is read as JSON, under all its names, and nothing else is."""
    stream = gateway.stream()
    body = b'{"data": 1}'
    for kind in ("text/plain", "application/x-ndjson", "application/octet-stream", None):
        gateway.push(body, content_type=kind, query={"topic": "a"})
        assert stream.next_event().data == '{"data": 1}', kind
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/json;x=y",
                 "application/ld+json", "application/vnd.api+json; ext=x", "text/json"):
        gateway.push(body, content_type=kind)
        assert stream.next_event().data == "1", kind


def test_empty_text_body_is_empty_data(gateway):
    """No bytes are data too: the event is dispatched with an empty string."""
    stream = gateway.stream()
    gateway.push_text(b"")
    assert stream.next_event().data == ""


@pytest.mark.parametrize("query", [
    {"topik": "a"}, {"data": "x"}, {"topic": ""}, {"user": ""}, {"topic": "a*"},
    {"topic": "a", "topics": "b"}, {"user": "a", "users": "b"}, {"event": "reset"},
    {"retry": "soon"}, {"ttl": "soon"}, {"ephemeral": "maybe"}, {"retry": "nan"}, {"ttl": "nan"},
    {"ttl": "inf"}, {"retry": "0x1000"}, {"retry": ""}, {"ttl": "-1"}, {"ttl": "5s"},
    [("topic", "a"), ("topic", "")], {"topic": "$bugle/x"}, {"event": "a\nb"},
    [("event", "a"), ("event", "b")], [("ephemeral", "true"), ("ephemeral", "false")],
])
def test_text_form_refuses_what_json_would(gateway, query):
    """A mistyped parameter must not turn a message to one user into one to everybody."""
    stream = gateway.stream()
    problem = gateway.post(b"x", content_type="text/plain", query=query).problem(400, 422)
    assert problem["code"] != "no_recipients", problem
    assert_nothing_was_stored(gateway, stream, 0)


SLIPS = [
    (b'{"topic":"orders/42","user":"anna","data":"x"}', "looks_like_json"),
    (b'\xef\xbb\xbf\r\n {"data":"x"}', "looks_like_json"),
    (b'[{"user":"anna","data":"x"}]', "looks_like_json"),
    (b'{"user":"anna","data":"x"}\n{"user":"berta","data":"y"}\n', "looks_like_json"),
    (b'{"data":"' + b"x" * 20000 + b'","user":"anna"}', "looks_like_json"),
    (b"topic=orders/42&user=anna&data=x", "looks_like_form"),
]


@pytest.mark.parametrize("kind", [
    None, "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded",
    "application/octet-stream", "application/x-ndjson", "json",
])
def test_a_forgotten_content_type_is_no_broadcast(gateway, kind):
    """`curl -d '{"user":"anna",…}'` and fetch() with a string: an event for one, as it stands
    there, and never one for all, whether or not somebody says broadcast."""
    stream = gateway.stream()
    for body, code in SLIPS:
        for query in ({}, {"event": "e"}, {"broadcast": "true"}):
            problem = gateway.post(body, content_type=kind, query=query).problem(415)
            assert problem["code"] == code and "application/json" in problem["detail"], problem
    assert_nothing_was_stored(gateway, stream, 0)


def test_two_content_types_are_none(gateway):
    """The second may be the one that was meant."""
    stream = gateway.stream()
    body = b'{"user":"anna","data":"x"}'
    kinds = [("Content-Type", "text/plain"), ("Content-Type", "application/json")]
    gateway.request_once("POST", "/api/push?topic=a", kinds, body).problem(400)
    assert_nothing_was_stored(gateway, stream, 0)


def test_a_text_says_for_whom_it_is(gateway):
    """A text without a topic and a user goes to every stream, and so only when that is said."""
    stream = gateway.stream()
    for query in ({}, {"event": "e"}, {"broadcast": "false"}, {"ephemeral": "true"}):
        problem = gateway.post(b"x", content_type="text/plain", query=query).problem(422)
        assert problem["code"] == "no_recipients" and "broadcast=true" in problem["detail"], problem
    for query in ({"broadcast": "yes"}, {"broadcast": "true", "topic": "a"}):
        problem = gateway.post(b"x", content_type="text/plain", query=query).problem(422)
        assert problem["pointer"] == "/broadcast", problem
    assert_nothing_was_stored(gateway, stream, 0)
    gateway.push(b"to all", content_type=None, query={"broadcast": "true"})
    gateway.push({"data": "to all in JSON"})
    assert [event.data for event in stream.events(2)] == ["to all", "to all in JSON"]


@pytest.mark.parametrize("query", [
    "topic=%ff", "topic=a%c3", "user=%ed%a0%80", "event=%c0%af", "topic=%00", "topic=a%0ab",
    "topic=a%E2%80%8Bb",
])
def test_text_form_refuses_bytes_that_no_name_may_have(gateway, query):
    """What is no UTF-8, or is but cannot be seen, is no name."""
    stream = gateway.stream()
    response = gateway.request("POST", "/api/push?" + query, [("Content-Type", "text/plain")], b"x")
    assert response.problem(400, 422)["code"] != "no_recipients"
    assert_nothing_was_stored(gateway, stream, 0)


# malformed bodies


MALFORMED = [
    b"",
    b" ",
    b"{",
    b'{"data":1',
    b'{"data":1} x',
    b'{"data":1}{"data":2}',
    b'{"data":1,}',
    b"{'data':1}",
    b'{"data":01}',
    b'{"data":.5}',
    b'{"data":+1}',
    b'{"data":NaN}',
    b'{"data":Infinity}',
    b'{"data":tru}',
    b'{"data":"a\nb"}',
    b'{"data":"a\tb"}',
    b'{"data":"\\x41"}',
    b'{"data":"\\ud800"}',
    b'{"data":"\\udc00\\ud800"}',
    b'{"data":"open}',
    b'\xef\xbb\xbf{"data":1}',
    b'{"data":1/*x*/}',
    b'[{"data":1},]',
    b'[{"data":1}',
    b'{"data":\0}',
    b'{"data":1}\0',
    b"data=1",
]
BAD_UTF8 = [b"\xff", b"\xc3", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
            b"\x80", b"\xf0\x9f\x98"]
FIELDS_WITH_TEXT = [
    b'{"data":"%s"}',
    b'{"data":["%s"]}',
    b'{"data":{"%s":1}}',
    b'{"data":1,"topic":"%s"}',
    b'{"data":1,"topics":["a","%s"]}',
    b'{"data":1,"user":"%s"}',
    b'{"data":1,"users":["%s"]}',
    b'{"data":1,"event":"%s"}',
    b'{"data":1,"idempotency_key":"%s"}',
    b'{"data":1,"%s":1}',
    b'[{"data":1},{"data":"%s"}]',
    b"%s",
]


def assert_places(problem, body):
    """A JSON mistake says where it is: line and column from 1."""
    assert isinstance(problem.get("line"), int) and problem["line"] >= 1, (body, problem)
    assert isinstance(problem.get("column"), int) and problem["column"] >= 0, (body, problem)
    assert problem["line"] <= body.count(b"\n") + 1, (body, problem)


def test_malformed_json_is_refused_with_its_place(gateway):
    """A person reads the answer and finds the comma."""
    stream = gateway.stream()
    for body in MALFORMED:
        assert_places(gateway.post(body).problem(400), body)
    assert gateway.stat("publishes_refused") == len(MALFORMED)
    assert_nothing_was_stored(gateway, stream, 0)


def test_place_of_a_mistake_is_the_right_one(gateway):
    """The line is counted in line feeds, the column in that line."""
    problem = gateway.post(b'{\n  "topic": "a",\n  "data": oops\n}\n').problem(400)
    assert problem["line"] == 3
    assert 9 <= problem["column"] <= 16, problem


def test_invalid_utf8_is_refused_in_every_field(gateway):
    """A client drops a stream with broken text, so none may get in, wherever it stands."""
    stream = gateway.stream()
    for form in FIELDS_WITH_TEXT:
        for bad in BAD_UTF8:
            body = form % (b"x" + bad)
            assert_places(gateway.post(body).problem(400), body)
    assert_nothing_was_stored(gateway, stream, 0)


def test_invalid_utf8_in_a_text_body_is_refused(gateway):
    """The same bytes, in the form without JSON."""
    stream = gateway.stream()
    for bad in BAD_UTF8:
        for body in (bad, b"x" * 1000 + bad, bad + b"x"):
            gateway.post(body, content_type="text/plain", query={"topic": "a"}).problem(400)
    assert_nothing_was_stored(gateway, stream, 0)


@pytest.mark.parametrize("body", [
    b'{"data":1,"data":2}',
    b'{"data":1,"topic":"a","topic":"b"}',
    b'{"data":1,"topic":"a","t\\u006fpic":"b"}',
    b'[{"data":1},{"data":1,"user":"a","user":"b"}]',
])
def test_doubled_member_is_refused(gateway, body):
    """Two parsers may each take another one of the two, so neither is taken."""
    stream = gateway.stream()
    gateway.post(body).problem(400)
    assert_nothing_was_stored(gateway, stream, 0)


@pytest.mark.parametrize("depth", [66, 5000, 400000])
@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused(gateway, depth, opening, closing):
    """A few kilobytes of brackets must not exhaust anybody's stack, here or at the clients."""
    depth = min(depth, 1000000 // len(opening + closing))
    stream = gateway.stream()
    gateway.post(BEGIN + opening * depth + b"1" + closing * depth + b"}").problem(400, 422)
    gateway.post(BEGIN + opening * depth).problem(400, 422)
    assert_nothing_was_stored(gateway, stream, 0)


# right JSON, wrong content


WRONG = [
    # an address that says nothing must never mean everybody
    {"topik": "a"}, {"Topic": "a"}, {"to": "a"}, {"channel": "a"}, {"": "a"},
    {"topic": []}, {"topics": []}, {"topic": None}, {"topics": None}, {"topic": ""},
    {"topics": [""]}, {"topics": ["a", ""]}, {"topics": ["a", None]}, {"topic": 5}, {"topic": 1.5},
    {"topic": True}, {"topic": {}}, {"topic": {"name": "a"}}, {"topics": [["a"]]}, {"topics": [5]},
    {"topics": {}}, {"topic": "a", "topics": ["b"]}, {"topic": "a", "topics": []},
    {"user": []}, {"users": []}, {"user": None}, {"users": None}, {"user": ""}, {"users": [""]},
    {"users": ["a", None]}, {"user": 1.5}, {"user": True}, {"user": False}, {"user": {}},
    {"users": [["a"]]}, {"users": {}}, {"user": "a", "users": ["b"]}, {"users": ["a", ""]},
    {"topic": "a", "user": None}, {"topic": "a", "user": ""}, {"topic": None, "user": "a"},
    {"topic": "", "user": "a"}, {"topic": "a", "users": []}, {"topic": "a", "usr": "b"},
    # names that no event may have
    {"topic": "*"}, {"topic": "a/*"}, {"topic": "**"}, {"topic": "a*b"}, {"topics": ["a", "b/**"]},
    {"topic": "$bugle/x"}, {"topic": "$bugle/"}, {"topic": "x" * 257}, {"topic": "ä" * 129},
    {"topic": "/" * 32}, {"topic": "a\nb"}, {"topic": "a\x7f"},
    {"topic": "a\x85"}, {"topic": "a\u200bb"}, {"topic": "a\u202eb"}, {"topic": "\ufeffa"},
    {"topic": "a\u2066b"}, {"user": "x" * 257}, {"user": "a\nb"}, {"user": "a\u200fb"},
    {"topics": ["t"] * 17}, {"topics": [f"t{i}" for i in range(17)]},
    {"users": [f"u{i}" for i in range(1001)]},
    # event names
    {"event": "reset"}, {"event": "checkpoint"}, {"event": "expired"}, {"event": "open"},
    {"event": "error"},
    {"event": "ping"}, {"event": "close"}, {"event": "a\nb"}, {"event": "a\rb"},
    {"event": " a"}, {"event": "x" * 129}, {"event": "a\u200bb"},
    {"event": 5}, {"event": ["a"]}, {"event": {}}, {"event": "a\ndata: y\n\ndata: z"},
    # numbers and flags
    {"retry": "5000"}, {"retry": 1.5}, {"retry": True}, {"retry": None}, {"retry": [5000]},
    {"ttl": "60"}, {"ttl": True}, {"ttl": [60]}, {"ttl": -1},
    {"ephemeral": "true"}, {"ephemeral": 1}, {"ephemeral": []},
    # contradictions
    {"ephemeral": True, "idempotency_key": "k"},
    {"id": "1"},
]


def test_wrong_content_is_refused_and_reaches_nobody(gateway):
    """The worst that a gateway can do with a typing mistake is to tell everybody.  Each of these
    is a 422, and a stream that listens to everything sees none of them."""
    stream = gateway.stream()
    listed = gateway.stream("a", "b", user="a")
    for wrong in WRONG:
        for body in ({"data": "secret", **wrong}, {**wrong, "data": "secret"}):
            problem = gateway.post(body).problem(422)
            assert points(problem), (wrong, problem)
    assert gateway.stat("publishes_refused") == 2 * len(WRONG)
    assert_nothing_was_stored(gateway, stream, 0)
    assert listed.events_until("sentinel") == []


@pytest.mark.parametrize("field", ["topic", "user", "event"])
def test_nul_in_a_name_is_refused(gateway, field):
    """A C program would take what stands before it for the whole name."""
    stream = gateway.stream()
    gateway.post({"data": 1, field: "a\0b"}).problem(400, 422)
    gateway.post({"data": 1, field + "\0": "a"}).problem(400, 422)
    assert_nothing_was_stored(gateway, stream, 0)


def points(problem, at="/"):
    """Whether some member is a JSON pointer into the field that is wrong."""
    prose = {"detail", "title", "type", "instance"}
    values = [value for name, value in problem.items() if name not in prose]
    return any(isinstance(value, str) and value.startswith(at) for value in values)


def test_missing_data_is_refused(gateway):
    """An event without data would never be dispatched by any client."""
    stream = gateway.stream()
    for body in ({}, {"topic": "a"}, {"Data": 1}, {"topic": "a", "event": "x"}):
        gateway.post(body).problem(422)
    assert_nothing_was_stored(gateway, stream, 0)


@pytest.mark.parametrize("body", [b"5", b'"x"', b"null", b"true", b"[]", b"[5]", b"[[]]",
                                  b'[{"data":1},null]', b'[[{"data":1}]]'])
def test_body_that_is_no_event_is_refused(gateway, body):
    """Valid JSON, but neither an event nor an array of events."""
    stream = gateway.stream()
    gateway.post(body).problem(400, 422)
    assert_nothing_was_stored(gateway, stream, 0)


@pytest.mark.parametrize("place", [0, 1, 499])
def test_one_wrong_event_refuses_its_whole_array(gateway, place):
    """All or nothing: a publisher that gets an error knows that nothing of it went out."""
    stream = gateway.stream()
    events = [{"topic": "a", "data": i} for i in range(500)]
    events[place] = {"topic": "a*", "data": 1}
    problem = gateway.post(events).problem(422)
    assert points(problem, f"/{place}"), problem
    events[place] = {"topic": "a", "data": 1, "ephemeral": True, "x": 1}
    gateway.post(events).problem(422)
    assert_nothing_was_stored(gateway, stream, 0)


def test_limits_of_counts_are_exact(gateway):
    """The last one that fits is taken, the next one is not."""
    stream = gateway.stream()
    users = [f"u{i}" for i in range(1000)]
    fits = [
        [{"data": i} for i in range(1000)],
        {"data": 1, "topics": [f"t{i}" for i in range(16)]},
        {"data": 1, "users": users},
        [{"data": i, "users": users} for i in range(10)],
        {"data": 1, "topic": "x" * 256},
        {"data": 1, "topic": "/" * 31},
        {"data": 1, "user": "ä" * 128},
        {"data": 1, "event": "ä" * 64},
    ]
    for body in fits:
        gateway.push(body)
    published = gateway.stat("events_published")
    gateway.post([{"data": i} for i in range(1001)]).problem(413, 422)
    gateway.post([{"data": i, "users": users} for i in range(10)]
                 + [{"data": 1, "user": "one more"}]).problem(413, 422)
    assert gateway.stat("events_published") == published
    gateway.push({"data": "end"})
    seen = stream.events_until("end")
    assert len(seen) == 1000 + 4, len(seen)


def test_event_larger_than_its_limit_is_refused(gateway):
    """64 KiB is the default; an array is refused when one of its events is larger."""
    stream = gateway.stream()
    gateway.push({"data": "x" * 64000})
    assert len(stream.next_event().data) == 64000
    for body in ({"data": "x" * 70000}, {"data": ["x" * 70000]},
                 [{"data": 1}, {"data": "x" * 70000}]):
        gateway.post(body).problem(413, 422)
    gateway.post(b"x" * 70000, content_type="text/plain", query={"topic": "a"}).problem(413)
    gateway.push({"data": "end"})
    assert stream.events_until("end") == []


# bodies that are too large, or of a kind that nobody reads


def test_too_large_a_body_is_refused_before_it_is_sent(gateway):
    """Content-Length is enough to know: the answer does not wait for a single byte of the body."""
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes("POST", "/api/push?topic=a", [
            ("Content-Type", "text/plain"), ("Content-Length", str(100 << 20))]))
        connection.read_response().problem(413)
    assert gateway.stat("events_published") == 0


def send_all(connection, pieces, outcome):
    """What a client does that looks for an answer only when it has sent everything."""
    try:
        for piece in pieces:
            connection.send(piece)
        outcome.append("sent")
    except OSError as error:
        outcome.append(type(error).__name__)


@pytest.mark.parametrize("chunked", [False, True])
def test_client_that_is_still_sending_can_read_its_413(gateway, chunked):
    """Closing a socket that has unread bytes resets it, and the reset destroys the answer on its
    way.  So whoever still sends must be read for a while, or it sees a broken pipe and retries."""
    size, piece = 8 << 20, b"x" * 65536
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(size))
    head = gateway.request_bytes("POST", "/api/push?topic=a",
                                 [("Content-Type", "text/plain"), framing])
    if chunked:
        piece = b"%x\r\n%s\r\n" % (len(piece), piece)
    for _ in range(5):
        with gateway.raw() as connection:
            outcome = []
            sender = threading.Thread(
                target=send_all, args=(connection, [head] + [piece] * (size >> 16), outcome))
            sender.start()
            response = connection.read_response()
            response.problem(413)
            connection.read_to_end()
            sender.join()
    assert gateway.stat("events_published") == 0


def test_client_that_reads_only_after_sending_can_read_its_413(gateway):
    """Simple clients write the whole request and only then look; a body somewhat over the limit
    is the usual mistake."""
    size = (1 << 20) + 300000
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes("POST", "/api/push?topic=a", [
            ("Content-Type", "text/plain"), ("Content-Length", str(size))]))
        outcome = []
        send_all(connection, [b"x" * 65536] * (size >> 16) + [b"x" * (size & 65535)], outcome)
        assert outcome == ["sent"]
        connection.read_response().problem(413)


def test_chunked_body_within_the_limit_is_taken(gateway):
    """A publisher that streams its body does not know its length."""
    stream = gateway.stream("a")
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes("POST", "/api/push?topic=a", [
            ("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")]))
        for piece in (b"5\r\nhello\r\n", b"1\r\n \r\n", b"5\r\nworld\r\n"):
            connection.send(piece)
        connection.send(b"0\r\n\r\n")
        assert connection.read_response().status == 201
    assert stream.next_event().data == "hello world"


def test_body_byte_by_byte_is_taken(gateway):
    """However a body is cut on its way, it is the same body."""
    stream = gateway.stream("a")
    request = gateway.request_bytes("POST", "/api/push", [("Content-Type", "application/json")],
                                    '{"topic":"a","data":"grüße"}'.encode())
    with gateway.raw() as connection:
        for i in range(len(request)):
            connection.send(request[i:i + 1])
        assert connection.read_response().status == 201
    assert stream.next_event().data == "grüße"


@pytest.mark.parametrize("headers", [
    [("Content-Type", "multipart/form-data; boundary=x")],
    [("Content-Type", "multipart/mixed")],
    [("Content-Type", "Multipart/Form-Data; boundary=x")],
    [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")],
    [("Content-Type", "application/json"), ("Content-Encoding", "br")],
])
def test_body_that_would_need_unpacking_is_refused(gateway, headers):
    """A form upload or a compressed body would be published as the bytes that it is packed in."""
    stream = gateway.stream()
    gateway.request("POST", "/api/push?topic=a", headers, b'{"data":1}').problem(415)
    assert_nothing_was_stored(gateway, stream, 0)


def test_expect_100_continue_is_answered_before_the_body(gateway):
    """curl waits for it a second before it sends a large body."""
    stream = gateway.stream("a")
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes("POST", "/api/push?topic=a", [
            ("Content-Type", "text/plain"), ("Content-Length", "5"), ("Expect", "100-continue")]))
        assert connection.read_head().raw.startswith(b"HTTP/1.1 100 ")
        connection.send(b"hello")
        assert connection.read_response().status == 201
    assert stream.next_event().data == "hello"


def test_expect_100_continue_is_refused_when_the_body_is_too_large(gateway):
    """That is what the question is for."""
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes("POST", "/api/push?topic=a", [
            ("Content-Type", "text/plain"), ("Content-Length", "5000000"),
            ("Expect", "100-continue")]))
        head = connection.read_head()
        assert head.status == 413, head.raw


# the address itself


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(gateway, method):
    """The answer names the one that is right."""
    body = b"{}" if method in ("PUT", "PATCH") else None
    response = gateway.request(method, "/api/push", body=body)
    response.problem(405)
    assert "post" in response.head.words("Allow"), response.head.raw


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/pus", "/api/push/", "/api/push/x",
                                  "/API/PUSH", "/api//push"])
def test_unknown_addresses_are_not_found(gateway, path):
    """A mistyped path is an error that a program can read."""
    body = b'{"data":1}'
    gateway.request("POST", path, [("Content-Type", "application/json")], body).problem(404)
    gateway.request("GET", path).problem(404)
    assert gateway.stat("events_published") == 0


def test_connection_survives_a_refusal_of_content(gateway):
    """A publisher that made one mistake goes on with the same connection."""
    body = b'{"data":1,"x":1}'
    with gateway.raw() as connection:
        for _ in range(3):
            connection.send(gateway.request_bytes(
                "POST", "/api/push", [("Content-Type", "application/json")], body))
            connection.read_response().problem(422)
        connection.send(gateway.request_bytes(
            "POST", "/api/push", [("Content-Type", "application/json")], b'{"data":1}'))
        assert connection.read_response().status == 201


def test_refusal_shows_what_was_sent_only_in_a_safe_form(gateway):
    """An error repeats a part of what was wrong; it must stay valid JSON whatever that was."""
    for name in ("<script>alert(1)</script>", "\u202e\x1b[31m", '"\\', "x" * 10000):
        response = gateway.post({"data": 1, name: 1})
        response.problem(422)
        assert json.loads(response.body)["status"] == 422


@pytest.mark.gateway(workers=1)
def test_bodies_that_come_at_once_are_read_beside_the_loop(gateway):
    """Each is small, all of them in one turn would keep the loop."""
    body = json.dumps([{"topic": "many", "data": "\u00e4" * 20}] * 25).encode()
    assert 3000 < len(body) < 4096, len(body)
    publishers = [wire.Wire(gateway.address) for _ in range(100)]
    for publisher in publishers:  # the first request of a connection waits for its turn
        publisher.send(gateway.request_bytes("GET", "/readyz"))
        assert publisher.read_response().status == 200
    os.kill(gateway.pid, signal.SIGSTOP)
    for publisher in publishers:
        publisher.send(gateway.request_bytes(
            "POST", "/api/push", [("Content-Type", "application/json")], body))
    os.kill(gateway.pid, signal.SIGCONT)
    for publisher in publishers:
        assert publisher.read_response().status in (201, 503)
        publisher.close()
    assert gateway.stat("publishes_aside") > 0
