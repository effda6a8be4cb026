# SPDX-License-Identifier: MIT
"""What stands on the wire, to the byte (bugle-wire(7))."""

import json
import re
import threading

import pytest

import wire

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-cache, private, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Origin",
    "Connection": "close",
}
LARGE = {"limits.event_bytes": "2M", "limits.body_bytes": "2M"}


def frame(lines, event_id, before=b""):
    """An event's bytes as the contract has them."""
    data = b"".join(b"data: " + line + b"\n" for line in lines)
    return before + data + b"id: " + event_id.encode() + b"\n\n"


# the head


def test_head_of_a_stream_is_exact(gateway):
    """A browser, a proxy and a cache each look for one of these fields; none may be missing,
    doubled or spelled in another way, and nothing may invite a cache or a compressor."""
    head = gateway.stream("news").head
    assert (head.version, head.status) == ("1.1", 200)
    assert {name: head.get(name) for name in HEADERS} == HEADERS
    assert head.get("Transfer-Encoding") == "chunked"
    extra = head.names() - {name.lower() for name in HEADERS} - {"transfer-encoding", "date"}
    assert not extra, f"more than was promised: {extra}"


def test_stream_opens_at_once_with_a_comment_and_a_retry(gateway):
    """`open` fires in a browser when the head comes, and some proxies hold the head back until a
    first byte of the body comes, so both leave before there is any event."""
    with gateway.raw(timeout=2) as connection:
        connection.send(gateway.request_bytes("GET", "/events"))
        stream = wire.Stream(connection, connection.read_head())
        assert all(isinstance(item, wire.Comment) for item in stream.greet())
        assert re.match(rb":[^\n]*\nretry: [0-9]+\n", bytes(stream.payload)), stream.payload
        assert stream.body == b""


def test_retry_is_spread_so_that_clients_do_not_return_at_once(gateway):
    """A thousand clients that lose their gateway in the same moment must not all come back in the
    same moment."""
    delays = [stream.retry for stream in gateway.stream_many([{}] * 40)]
    assert all(2000 <= delay <= 6000 for delay in delays), delays
    assert len(set(delays)) > 10, delays


def test_padding_sends_a_two_kilobyte_comment_first(gateway):
    """Some boxes on the way hold the first bytes of an answer until they have enough of them."""
    padded = gateway.stream(padding="true").opening
    assert sum(len(comment.text) for comment in padded) >= 2000, padded
    plain = gateway.stream().opening
    assert sum(len(comment.text) for comment in plain) < 200, plain


@pytest.mark.parametrize("accept", [
    None, "*/*", "text/event-stream", "Text/Event-Stream", "text/event-stream;q=0.9",
    "text/html, */*;q=0.1", "application/json,text/event-stream", "text/html , text/event-stream",
])
def test_stream_is_given_to_whoever_accepts_one(gateway, accept):
    """EventSource, curl and a bare socket name what they accept in different ways."""
    gateway.stream(headers=[("Accept", accept)])


@pytest.mark.parametrize("accept", ["text/html", "application/json", "image/*, text/html;q=0.5"])
def test_stream_is_not_given_to_who_cannot_take_it(gateway, accept):
    """A browser that navigates to /events is told so and does not load for ever."""
    response = gateway.request("GET", "/events", [("Accept", accept)])
    assert response.status == 406, response
    assert b"<html" not in response.body.lower(), response
    assert gateway.stat("streams_opened") == 0


def test_head_request_has_the_head_and_not_a_byte_more(gateway):
    """HEAD tells what GET would; libmicrohttpd 0.9.75 would send a stray last chunk after it,
    which the next request on the connection would take for its answer."""
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes("HEAD", "/events?topic=a", [("Connection", "close")]))
        head = connection.read_head()
        assert head.status == 200
        expected = {name: value for name, value in HEADERS.items() if name != "Connection"}
        assert {name: head.get(name) for name in expected} == expected
        assert connection.read_to_end() == b""
        assert connection.end == "closed"
    assert gateway.stat("streams_open") == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused_and_told_which_are_not(gateway, method):
    """A mistaken publisher posts to /events: it learns what that address is for."""
    body = b"" if method in ("POST", "PUT", "PATCH") else None
    response = gateway.request(method, "/events", body=body)
    assert response.status == 405, response
    assert {"get", "head", "options"} <= response.head.words("Allow"), response.head.raw
    assert "post" not in response.head.words("Allow"), response.head.raw


def test_parameters_that_others_add_are_ignored(gateway):
    """Cache busters and analytics add parameters of their own to every URL."""
    stream = gateway.stream("news", _="1700000000", utm_source="x", cb="1", v="2")
    gateway.push({"topic": "news", "data": "here"})
    assert stream.next_event().data == "here"
    assert gateway.request("GET", "/api/history?topic=news&_=1&").status == 200


UNKNOWN = [
    ("topcs=orders/42", "topic"), ("Topic=a", "topic"), ("channel=a", "topic"),
    ("topic[x]=a", "topic"), ("usr=anna", "user"), ("users=anna", "user"), ("%54opic=a", "topic"),
    ("topic%00=a", ""), ("=orders/42", ""), ("topic=a&user_id=anna", "user"), ("zzzzzzz", ""),
]


@pytest.mark.parametrize("query, meant", UNKNOWN)
def test_mistyped_parameter_is_told_and_not_ignored(gateway, query, meant):
    """Ignored, it would give everything to who asked for little."""
    for path in ("/events", "/api/history"):
        for method in ("GET", "HEAD"):
            response = gateway.request_once(method, f"{path}?{query}")
            assert response.status == 400, response
        problem = gateway.request_once("GET", f"{path}?{query}").problem(400)
        assert problem["code"] == "unknown_parameter", problem
        assert not meant or f'did you mean "{meant}' in problem["detail"], problem
    assert gateway.stat("streams_opened") == 0


def test_parameters_that_stand_twice(gateway):
    """Which of the two counts would be a guess."""
    for query in ("user=anna&user=berta", "since=1h&since=2h", "user[]=anna&user=berta"):
        problem = gateway.request_once("GET", f"/events?{query}").problem(400)
        assert problem["code"] == "repeated_parameter", problem
    assert gateway.stat("streams_opened") == 0


@pytest.mark.parametrize("query", [
    "topic[]=a&topic[]=b", "topic[0]=a&topic[1]=b", "topic%5B%5D=a&topics%5b0%5d=b",
    "%74opic=a&topi%63=b", "topic[]=a&topic=b&user[]=anna&user=anna",
])
def test_lists_as_frameworks_write_them(gateway, query):
    """PHP, jQuery and qs write a list with brackets; a name may be encoded as anything may."""
    stream = gateway.keep(wire.open_stream(gateway.address, f"/events?{query}"))
    for topic in "abc":
        gateway.push({"topic": topic, "data": topic})
    gateway.push({"data": "end"})
    assert [event.data for event in stream.events_until("end")] == ["a", "b"]
    listed = gateway.request("GET", f"/api/history?{query}").json()["events"]
    assert [event["data"] for event in listed] == ["a", "b", "end"]


# the fields of an event


FIELDS = [
    ({}, b""),
    ({"event": "message"}, b""),
    ({"event": "order"}, b"event: order\n"),
    ({"event": "größer:als ☃"}, "event: größer:als ☃\n".encode()),
    ({"event": "n" * 128}, b"event: " + b"n" * 128 + b"\n"),
    ({"retry": 5000}, b"retry: 5000\n"),
    ({"retry": 5000, "event": "order"}, b"retry: 5000\nevent: order\n"),
    ({"event": "message", "retry": 1000}, b"retry: 1000\n"),
    ({"retry": 0}, b"retry: 1000\n"),
    ({"retry": 1}, b"retry: 1000\n"),
    ({"retry": 3600000}, b"retry: 3600000\n"),
    ({"retry": 3600001}, b"retry: 3600000\n"),
    ({"retry": 99999999999}, b"retry: 3600000\n"),
    ({"topic": "a", "user": "u", "ttl": 60, "event": "order"}, b"event: order\n"),
]


def test_fields_stand_in_their_order_and_only_when_they_say_something(gateway):
    """Some clients move their position as soon as they read the id line, so it is the last one;
    delays below a second or above an hour make clients reconnect in a loop, so they are clamped."""
    stream = gateway.stream(user="u")
    for fields, before in FIELDS:
        event_id = gateway.push({"data": "x", **fields})["id"]
        assert stream.next_event().raw == frame([b"x"], event_id, before), fields


def test_ephemeral_event_has_no_id_line(gateway):
    """Without an id the client's position stays where it was, as an event that cannot be
    replayed must leave it."""
    stream = gateway.stream()
    gateway.push({"data": "x", "event": "typing", "retry": 2000, "ephemeral": True})
    assert stream.next_event().raw == b"retry: 2000\nevent: typing\ndata: x\n\n"


LINES = [
    ("", [""]),
    (" ", [" "]),
    (" x", [" x"]),
    ("  x ", ["  x "]),
    (":x", [":x"]),
    ("data: x", ["data: x"]),
    ("a\nb", ["a", "b"]),
    ("a\rb", ["a", "b"]),
    ("a\r\nb", ["a", "b"]),
    ("a\n\rb", ["a", "", "b"]),
    ("a\r\rb", ["a", "", "b"]),
    ("a\r\n\nb\r", ["a", "", "b", ""]),
    ("a\n", ["a", ""]),
    ("a\r\n", ["a", ""]),
    ("\n", ["", ""]),
    ("\r", ["", ""]),
    ("\r\n", ["", ""]),
    ("\n\n", ["", "", ""]),
    ("\na", ["", "a"]),
    ("a\n b\n  c", ["a", " b", "  c"]),
    ("a\n\nid: 5\nevent: x\n\ndata: y", ["a", "", "id: 5", "event: x", "", "data: y"]),
    ("\ufeffx", ["\ufeffx"]),
    ("a\u2028b\u2029c\u0085d\x0be\x0cf", ["a\u2028b\u2029c\u0085d\x0be\x0cf"]),
    ("\t\x01\x1b[31m\x7f", ["\t\x01\x1b[31m\x7f"]),
    ("grüße 😀 \U0010ffff", ["grüße 😀 \U0010ffff"]),
    ("x" * 60000, ["x" * 60000]),
]


@pytest.mark.parametrize("form", ["text", "json", "json escaped"])
def test_each_line_of_the_data_is_one_data_line(gateway, form):
    """Whatever a publisher sends, a client must dispatch exactly one event with it: CRLF, CR and
    LF each end a line, nothing else does, and no line can pass for a field."""
    stream = gateway.stream()
    for data, lines in LINES:
        if form == "text":
            event_id = gateway.push_text(data)["id"]
        else:
            body = json.dumps({"data": data}, ensure_ascii=form == "json escaped").encode()
            event_id = gateway.push(body)["id"]
        expected = frame([line.encode() for line in lines], event_id)
        assert stream.next_event().raw == expected, repr(data)[:80]


def test_first_event_may_begin_with_a_byte_order_mark(gateway):
    """A mark at the very start of a stream would be taken off by the client; it cannot stand
    there, since the comment comes first."""
    stream = gateway.stream()
    gateway.push_text("\ufeff")
    assert stream.next_event().data == "\ufeff"


def test_text_body_may_hold_nul(gateway):
    """NUL is a legal character of data, and a text body is sent byte for byte."""
    stream = gateway.stream()
    event_id = gateway.push_text(b"a\0b\n\0")["id"]
    assert stream.next_event().raw == frame([b"a\0b", b"\0"], event_id)


def test_nul_in_json_is_delivered_or_refused_but_never_cuts_the_data(gateway):
    """A C program sees the end of a string where a publisher wrote \\u0000."""
    stream = gateway.stream()
    response = gateway.post(b'{"data":"a\\u0000b"}')
    assert response.status in (201, 400, 422), response
    gateway.push({"data": "end"})
    assert [event.data for event in stream.events_until("end")] in ([], ["a\0b"])


# sizes


@pytest.mark.gateway(settings=LARGE)
@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("lines", [1, 1000])
def test_a_mebibyte_arrives_whole(gateway, form, lines):
    """An operator raised the limits: an event many times larger than any buffer on its way is
    still one event, for a reader that is fast and for one that is not."""
    line = "0123456789abc€" * ((1 << 20) // lines // 16 - 1)
    data = "\n".join([line] * lines)
    data += "z" * ((1 << 20) - len(data.encode()))
    assert len(data.encode()) == 1 << 20
    streams = [gateway.stream("big"), gateway.stream("big", receive_buffer=32768)]
    push = gateway.push_text if form == "text" else lambda text, **to: gateway.push(
        json.dumps({"data": text, **to}, ensure_ascii=False).encode())
    event_id = push(data, topic="big")["id"]
    after = gateway.push({"topic": "big", "data": "after"})["id"]
    expected = frame(data.encode().split(b"\n"), event_id) + frame([b"after"], after)
    wire.pump_until(streams, lambda stream: stream.payload.endswith(expected[-64:]))
    for stream in streams:
        assert stream.body == expected


def test_http_1_0_reader_gets_a_large_event_without_chunks(gateway):
    """An old proxy asks with HTTP/1.0: the stream is not chunked and ends with the connection."""
    stream = gateway.stream("big", version="1.0")
    assert stream.head.get("Transfer-Encoding") is None, stream.head.raw
    assert stream.head.get("Content-Length") is None, stream.head.raw
    assert stream.head.get("Content-Type") == "text/event-stream; charset=utf-8"
    data = "".join(chr(97 + i % 26) for i in range(60 * 1024))
    event_id = gateway.push({"topic": "big", "data": data})["id"]
    small = gateway.push({"topic": "big", "data": "small"})["id"]
    assert stream.next_event().raw == frame([data.encode()], event_id)
    assert stream.next_event().raw == frame([b"small"], small)


def test_events_of_a_batch_come_in_one_chunk(gateway):
    """Ten events published together to an idle stream leave in one piece, not in ten."""
    stream = gateway.stream("a")
    gateway.push({"topic": "a", "data": "first"})
    assert stream.next_event().data == "first"
    before = len(stream.coding.sizes)
    gateway.push([{"topic": "a", "data": str(i)} for i in range(10)])
    assert [event.data for event in stream.events(10)] == [str(i) for i in range(10)]
    assert len(stream.coding.sizes) == before + 1, stream.coding.sizes


# heartbeats


def test_silence_is_broken_by_a_comment_line(gateway):
    """A proxy cuts what is silent for too long.  A comment ends with a single LF: a blank line
    after it makes some clients dispatch an empty message.  `heartbeat=1` is clamped to 3."""
    stream = gateway.stream("quiet", heartbeat=1)
    assert isinstance(stream.next_item(6, besides=["checkpoint"]), wire.Comment)
    assert re.fullmatch(rb":[^\n]*\n", stream.body), stream.body
    wire.wait_until(lambda: gateway.stat("heartbeats") >= 1, 5, "the heartbeat is counted")


def test_heartbeat_can_be_an_event_that_scripts_see(gateway):
    """Comments are invisible to EventSource; a page that wants to know about silence asks for
    `ping` events, which carry no id and so leave the position alone."""
    stream = gateway.stream("quiet", heartbeat=3, ping="event")
    ping = stream.next_item(6, besides=["checkpoint"])
    assert ping.raw in (b"event: ping\ndata: \n\n", b"event: ping\ndata:\n\n"), ping


@pytest.mark.gateway(workers=1)
def test_heartbeats_go_on_when_daemons_come_and_go(gateway):
    """When streams are due is noted by daemon, side by side: when one stops, the last takes its
    place, and the next one that starts the place of that."""
    crowd = gateway.stream_many([{"topic": "quiet", "heartbeat": "3"}] * 100)
    daemons = gateway.stat("cells")
    for stream in crowd[:80]:
        stream.close()
    wire.wait_until(lambda: gateway.stat("cells") < daemons, what="one of them is stopped")
    later = gateway.stream_many([{"topic": "quiet", "heartbeat": "3"}] * 100)
    assert gateway.stat("cells") >= daemons
    for stream in crowd[80:] + later:
        for _ in range(2):
            assert isinstance(stream.next_item(6, besides=["checkpoint"]), wire.Comment)


# cross-origin


def test_preflight_names_all_that_clients_send(gateway):
    """Clients built on fetch send Last-Event-ID and Cache-Control themselves; a preflight that
    forgets one of them breaks every reconnect."""
    response = gateway.request("OPTIONS", "/events", [
        ("Origin", "http://localhost:3000"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "cache-control,last-event-id"),
    ])
    head = response.head
    assert response.status in (200, 204), response
    assert head.get("Access-Control-Allow-Origin") == "http://localhost:3000", head.raw
    assert "get" in head.words("Access-Control-Allow-Methods"), head.raw
    assert {"authorization", "cache-control", "last-event-id", "content-type",
            "idempotency-key"} <= head.words("Access-Control-Allow-Headers"), head.raw
    assert int(head.get("Access-Control-Max-Age")) > 0, head.raw
    assert "origin" in head.words("Vary"), head.raw


# publishers and readers at once


def test_stream_stays_whole_while_many_publish(gateway):
    """Four publishers, events of every shape, one reader: every frame parses and none is lost."""
    stream = gateway.stream()
    shapes = [data for data, _ in LINES if len(data) < 1000]

    def publish(number):
        with gateway.raw() as connection:
            for i, data in enumerate(shapes * 3):
                body = json.dumps({"data": data, "event": f"p{number}-{i}"}).encode()
                connection.send(gateway.request_bytes(
                    "POST", "/api/push", [("Content-Type", "application/json")], body))
                assert connection.read_response().status == 201

    publishers = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for publisher in publishers:
        publisher.start()
    events = stream.events(4 * 3 * len(shapes), 30)
    for publisher in publishers:
        publisher.join()
    names = [event.name for event in events]
    assert len(set(names)) == len(names)
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))
