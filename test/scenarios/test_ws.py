# SPDX-License-Identifier: MIT
"""The handshake of a WebSocket, who is let in, and the raw way of talking (bugle-wire(7),
WEBSOCKET)."""

import base64
import contextlib
import json
import re

import pytest

import wire
import ws
from test_origin import FOREIGN, LOOPBACK
from test_tickets import ticket_of
from tokens import ADMIN, API_KEY, SETTINGS, api_key_item, bearer, stats, token

guarded = pytest.mark.gateway(settings=SETTINGS)


def is_served(gateway):
    """The gateway goes on after what it refused."""
    with ws.connect(gateway, "served") as good:
        gateway.push({"topic": "served", "data": "x"})
        assert good.next_text() == "x"
    gateway.wait_stat("websockets_open", 0)


# ---- the first sentence ----


def test_hello_reaches_everybody(gateway):
    """new WebSocket(), onmessage, send() and a broadcast; streams of both kinds hear it."""
    news = ws.connect(gateway, "news")
    all_ = ws.connect(gateway)
    events = gateway.stream("other")
    news.text("hello")
    assert news.next_text() == all_.next_text() == events.next_event().data == "hello"
    gateway.push({"topic": "news", "data": "2nd"})
    assert news.next_text() == all_.next_text() == "2nd"
    assert gateway.stat("websockets_open") == 2


# ---- forms of the handshake ----


GOOD = {
    "plain": ([], None),
    "any case": ([("Upgrade", "WebSocket"), ("Connection", "upgrade")], None),
    "lists": ([("Upgrade", "h2c, websocket"), ("Connection", "keep-alive, Upgrade")], None),
    "lines": ([("Upgrade", "h2c"), ("Upgrade", "websocket"), ("Connection", "keep-alive"),
               ("Connection", "Upgrade")], None),
    "blanks": ([("Upgrade", " websocket\t"), ("Connection", ",  , Upgrade ,")], None),
    "raw": ([("Sec-WebSocket-Protocol", "bugle.raw")], "bugle.raw"),
    "v1": ([("Sec-WebSocket-Protocol", "bugle.v1")], "bugle.v1"),
    "first of two": ([("Sec-WebSocket-Protocol", "bugle.raw, bugle.v1")], "bugle.raw"),
    "behind an unknown one": ([("Sec-WebSocket-Protocol", "mqtt,bugle.v1")], "bugle.v1"),
    "protocols in lines": ([("Sec-WebSocket-Protocol", "mqtt"),
                            ("Sec-WebSocket-Protocol", "bugle.v1")], "bugle.v1"),
    "unknown extension": ([("Sec-WebSocket-Extensions", "x-frobnicate; a=1; b=\"c\"")], None),
    "no compression unless it is on": ([ws.OFFER], None),
    "a length of nothing": ([("Content-Length", "0")], None),
    "Accept is not asked": ([("Accept", "text/html")], None),
}


def test_good_handshakes(gateway):
    """What clients and proxies write, in any of the ways in which they may."""
    for name, (headers, protocol) in GOOD.items():
        with wire.Wire(gateway.address) as connection:
            connection.send(ws.handshake(headers=headers))
            head = connection.read_head()
            assert head.status == 101, (name, head.raw)
            opened = ws.Socket(connection, head)
            assert (opened.protocol, opened.deflates) == (protocol, False), (name, head.raw)
    gateway.wait_stat("websockets_open", 0)
    assert gateway.stat("websockets_opened") == len(GOOD)


BAD = {
    "no upgrade": ([("Upgrade", None)], 426, "upgrade_required"),
    "another upgrade": ([("Upgrade", "h2c")], 426, "upgrade_required"),
    "a longer word": ([("Upgrade", "websockets")], 426, "upgrade_required"),
    "connection alone": ([("Connection", "keep-alive")], 426, "upgrade_required"),
    "no connection": ([("Connection", None)], 426, "upgrade_required"),
    "version 8": ([("Sec-WebSocket-Version", "8")], 426, "unsupported_version"),
    "version 130": ([("Sec-WebSocket-Version", "130")], 426, "unsupported_version"),
    "no key": ([("Sec-WebSocket-Key", None)], 400, "invalid_handshake"),
    "an empty key": ([("Sec-WebSocket-Key", "")], 400, "invalid_handshake"),
    "two keys": ([("Sec-WebSocket-Key", ws.KEY)] * 2, 400, "invalid_handshake"),
    "15 bytes": ([("Sec-WebSocket-Key", base64.b64encode(b"x" * 15).decode())], 400,
                 "invalid_handshake"),
    "17 bytes": ([("Sec-WebSocket-Key", base64.b64encode(b"x" * 17).decode())], 400,
                 "invalid_handshake"),
    "18 bytes": ([("Sec-WebSocket-Key", base64.b64encode(b"x" * 18).decode())], 400,
                 "invalid_handshake"),
    "no padding": ([("Sec-WebSocket-Key", ws.KEY[:-2])], 400, "invalid_handshake"),
    "no base64": ([("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j-Q==")], 400, "invalid_handshake"),
    "a key and more": ([("Sec-WebSocket-Key", ws.KEY + ", x")], 400, "invalid_handshake"),
    "a body": ([("Content-Length", "1")], 400, "invalid_handshake"),
    "an unknown protocol": ([("Sec-WebSocket-Protocol", "mqtt")], 400, "unknown_protocol"),
    "protocols in another case": ([("Sec-WebSocket-Protocol", "Bugle.V1")], 400,
                                  "unknown_protocol"),
    "a token alone": ([("Sec-WebSocket-Protocol", "bearer.abc")], 400, "unknown_protocol"),
    "a token and an unknown one": ([("Sec-WebSocket-Protocol", "bearer.abc, mqtt")], 400,
                                   "unknown_protocol"),
    "two tokens": ([("Sec-WebSocket-Protocol", "bugle.v1, bearer.a, bearer.b")], 400,
                   "invalid_handshake"),
    "a protocol with a blank": ([("Sec-WebSocket-Protocol", "bugle v1")], 400, "invalid_handshake"),
}


def test_bad_handshakes(gateway):
    """Each header wrong in each way: a status and a code that say so, whoever asks."""
    for name, (headers, status, code) in BAD.items():
        body = b"x" if name == "a body" else b""
        for more in ([], [("Origin", gateway.url)]):
            answer = ws.refused(gateway, headers=headers + more, more=body)
            assert (answer.status, answer.json()["code"]) == (status, code), (name, answer)
            answer.problem(status)
            assert len(answer.json()["detail"]) > 15, (name, answer)
            if code == "upgrade_required":
                assert answer.head.get("Upgrade") == "websocket", (name, answer.head.raw)
            if code == "unsupported_version":
                assert answer.head.get("Sec-WebSocket-Version") == "13", (name, answer.head.raw)
    for headers in ([("Sec-WebSocket-Version", None)], [("Sec-WebSocket-Version", "13, 8")],
                    [("Sec-WebSocket-Version", "13")] * 2):
        assert ws.refused(gateway, headers=headers).status in (400, 426), headers
    assert gateway.stat("websockets_opened") == 0
    assert gateway.stat("websockets_refused") >= len(BAD)
    is_served(gateway)


def test_other_methods_and_versions(gateway):
    for method in ("POST", "PUT", "DELETE"):
        answer = ws.refused(gateway, method=method)
        assert answer.problem(405)["code"] == "method_not_allowed"
        assert answer.head.words("Allow") >= {"get"}
    assert ws.refused(gateway, version="1.0").problem(426)["code"] == "upgrade_required"
    assert ws.refused(gateway, method="HEAD").status in (400, 405, 426)
    plain = gateway.request_once("GET", "/ws?topic=a")
    assert plain.problem(426)["code"] == "upgrade_required"
    is_served(gateway)


def test_early_bytes_are_refused(gateway):
    """A client sends nothing before the 101; what comes with the head is not lost in silence."""
    for early in (ws.frame("early"), b"x", b"GET /healthz HTTP/1.1\r\n\r\n"):
        answer = ws.refused(gateway, more=early)
        assert answer.problem(400)["code"] == "invalid_handshake"
    assert gateway.stat("events_published") == 0
    is_served(gateway)


def test_handshake_comes_in_pieces(gateway):
    """A byte at a time, as any head; and as the second request of a connection."""
    with wire.Wire(gateway.address) as connection:
        connection.send(gateway.request_bytes("GET", "/healthz"))
        assert connection.read_response().status == 200
        for piece in ws.in_pieces(ws.handshake("/ws?topic=a")):
            connection.send(piece)
        opened = ws.Socket(connection, connection.read_head())
        gateway.push({"topic": "a", "data": "x"})
        assert opened.next_text() == "x"


QUERIES = [
    ("topic=", "invalid_topic"), ("topic=a*b", "invalid_topic"), ("topc=a", "unknown_parameter"),
    ("heartbeat=x", "invalid_heartbeat"), ("since=whenever", "invalid_since"),
    ("anonymous=perhaps", "invalid_anonymous"), ("publish=", "invalid_topic"),
    ("publish=a/*", "invalid_topic"), ("publish=%24bugle/x", "invalid_topic"),
    ("&".join(["topic=a"] + [f"topic={i}" for i in range(64)]), "too_many_topics"),
    ("&".join(f"publish={i}" for i in range(17)), "too_many_topics"),
]


def test_mistakes_in_the_query(gateway):
    """They are those of /events, and a status for browsers too: a mistake of who wrote the page."""
    for query, code in QUERIES:
        for headers in ([], [("Origin", gateway.url)]):
            answer = ws.refused(gateway, f"/ws?{query}", headers=headers)
            assert answer.problem(400)["code"] == code, (query, answer)
    answer = ws.refused(gateway, "/ws?publish=a", ws.V1)
    assert answer.problem(400)["code"] == "invalid_value"


# ---- who is let in ----


def test_origins(gateway):
    """Any page in any tab can open a WebSocket to 127.0.0.1, and no preflight asks first."""
    for origin in FOREIGN:
        answer = ws.refused(gateway, headers=[("Origin", origin)])
        assert answer.problem(403)["code"] == "foreign_origin", origin
    for origin in (gateway.url, *LOOPBACK):
        ws.connect(gateway, "a", headers=[("Origin", origin)]).close()
    name = f"evil.example:{gateway.port}"
    answer = ws.refused(gateway, headers=[("Origin", f"http://{name}")], host=name)
    assert answer.problem(421)["code"] == "misdirected"
    assert gateway.stat("websockets_opened") == 1 + len(LOOPBACK)


@pytest.mark.gateway(settings={**SETTINGS, "auth.origins": "https://app.example"})
def test_foreign_origin_with_a_token(gateway):
    """Not even then."""
    headers = [*bearer(ADMIN), ("Origin", "https://evil.example")]
    assert ws.refused(gateway, headers=headers).problem(403)["code"] == "foreign_origin"
    ws.connect(gateway, headers=[*bearer(ADMIN), ("Origin", "https://app.example")])


def publish(gateway, event):
    answer = gateway.post(event, headers=bearer(ADMIN))
    assert answer.status == 201, answer
    return answer.json()["id"]


@pytest.mark.gateway(settings={
    **SETTINGS, "auth.cookie": "bugle", "auth.query_token": "on",
    "auth.api_key": api_key_item("shop", "publish=** subscribe=** admin"),
    "auth.origins": "https://app.example"})
def test_credentials(gateway):
    """A header, a subprotocol, a ticket, a parameter, a cookie: the stream is that user's."""
    anna = token("anna", subscribe=["chat/*"])
    ticket = ticket_of(gateway, {"user": "anna", "topics": ["chat/*"]})
    page = [("Origin", "https://app.example")]
    opened = [
        ws.connect(gateway, "chat/1", headers=bearer(anna)),
        ws.connect(gateway, "chat/1", protocol=f"bugle.raw, bearer.{anna}"),
        ws.connect(gateway, "chat/1", protocol=f"bearer.{anna},bugle.raw", headers=page),
        ws.connect(gateway, "chat/1", ticket=ticket),
        ws.connect(gateway, "chat/1", access_token=anna),
        ws.connect(gateway, "chat/1", headers=[("Cookie", f"a=b; bugle={anna}"), *page]),
        ws.connect(gateway, headers=[("Cookie", f"bugle={anna}")]),
    ]
    publish(gateway, {"topic": "chat/1", "user": "berta", "data": "for berta"})
    publish(gateway, {"topic": "chat/1", "user": "anna", "data": "for anna"})
    for number, each in enumerate(opened):
        assert each.next_text() == "for anna", number
        assert b"bearer" not in each.head.raw
    with ws.connect(gateway, protocol=f"bugle.raw, bearer.{API_KEY}") as shop:
        publish(gateway, {"topic": "chat/2", "data": "all"})
        assert shop.next_text() == "all"
    log = gateway.log()
    for secret in (anna, ticket, API_KEY):
        assert secret not in log and secret[-20:] not in log


@pytest.mark.gateway(settings={**SETTINGS, "auth.cookie": "bugle"})
def test_first_credential_counts(gateway):
    """A bad one is never passed over for a good one behind it."""
    anna, bad = token("anna", subscribe=["chat/*"]), token("anna", ttl=-100)
    for headers, protocol in (
            ([*bearer(bad), ("Cookie", f"bugle={anna}")], f"bugle.raw, bearer.{anna}"),
            ([("Cookie", f"bugle={anna}")], f"bugle.raw, bearer.{bad}"),
            ([("Cookie", f"bugle={bad}")], None)):
        answer = ws.refused(gateway, "/ws?topic=chat/1", protocol, headers)
        assert answer.problem(401)["code"] == "invalid_token"
        assert bad[-20:] not in answer.body.decode() + answer.head.raw.decode()


def as_page(gateway, target, protocol=None, headers=()):
    """What a page learns: the code and reason with which its WebSocket closes at once, and what
    came before."""
    with wire.Wire(gateway.address) as connection:
        connection.send(ws.handshake(target, protocol, [("Origin", gateway.url), *headers],
                                     host=f"127.0.0.1:{gateway.port}"))
        opened = ws.Socket(connection, connection.read_head())
        code, reason = opened.next_close()
        opened.say_close(code)
        assert opened.end() == b"" and connection.end == "closed"
        return code, ws.word_of(reason), opened.last_texts


@guarded
def test_who_may_not(gateway):
    """A program gets the status of /events; a browser, which shows none, a Close with the code."""
    anna = token("anna", subscribe=["chat/*"], publish=["chat/1"])
    bad = token("anna", ttl=-100)
    cases = [
        ("/ws?topic=a", "bugle.v1", 401, "no_credentials", 4401),
        ("/ws?topic=a", f"bugle.v1, bearer.{bad}", 401, "invalid_token", 4401),
        ("/ws?topic=a&ticket=abc", "bugle.v1", 401, "invalid_token", 4401),
        ("/ws?topic=orders/1", f"bugle.v1,bearer.{anna}", 403, "missing_right", 4403),
        ("/ws?topic=chat/1&user=berta", f"bugle.v1,bearer.{anna}", 403, "foreign_user", 4403),
        ("/ws?topic=chat/1&publish=chat/2", f"bugle.raw,bearer.{anna}", 403, "missing_right", 4403),
    ]
    for target, protocol, status, word, code in cases:
        answer = ws.refused(gateway, target, protocol)
        assert answer.problem(status)["code"] == word, (target, answer)
        if status == 401:
            assert answer.head.get("WWW-Authenticate"), answer.head.raw
        assert as_page(gateway, target, protocol)[:2] == (code, (word, None)), target
    assert stats(gateway)["websockets_open"] == 0
    assert stats(gateway)["websockets_refused"] == 2 * len(cases)


@pytest.mark.gateway(settings={**SETTINGS, "auth.anonymous": "public/**"})
def test_anonymous(gateway):
    nobody = ws.connect(gateway, "public/1")
    publish(gateway, {"topic": "public/1", "data": "x"})
    assert nobody.next_text() == "x"
    assert ws.refused(gateway, "/ws?topic=public/1&anonymous=no").problem(401)
    nobody.text("may not publish")
    assert ws.word_of(nobody.finish(4401)) == ("no_credentials", None)


@pytest.mark.gateway(settings={"limits.streams": "2", "limits.streams_per_user": "1"}, workers=1)
def test_limits(gateway):
    """At a limit a page is told when to come back, in either way of talking."""
    ws.connect(gateway, "a", user="anna")
    answer = ws.refused(gateway, "/ws?topic=a&user=anna")
    assert answer.problem(429)["code"] == "too_many_streams_of_user"
    assert 30 <= int(answer.head.get("Retry-After")) <= 61
    gateway.stream("a")
    answer = ws.refused(gateway, "/ws?topic=a")
    assert answer.problem(503)["code"] == "too_many_streams"
    code, (word, retry), texts = as_page(gateway, "/ws?topic=a")
    assert (code, word, texts) == (1013, "too_many_streams", []) and 30000 <= retry <= 61000
    code, (word, retry), texts = as_page(gateway, "/ws?topic=a&user=anna", ws.V1)
    assert (code, word) == (1013, "too_many_streams_of_user") and 30000 <= retry <= 61000
    (bye,) = (ws.check_message(json.loads(text)) for text in texts)
    assert bye == {"type": "bye", "code": word, "retry_ms": retry}
    gateway.request_once("GET", "/events", [("Accept", "*/*")]).problem(503)


@pytest.mark.gateway(settings={"limits.streams_per_address": "2",
                               "server.trusted_proxies": "127.0.0.1"}, workers=1)
def test_limit_of_an_address(gateway):
    """WebSockets and event streams of one address count together."""
    one = [("X-Forwarded-For", "192.0.2.1")]
    ws.connect(gateway, "a", headers=one)
    gateway.stream("a", headers=one)
    answer = ws.refused(gateway, "/ws?topic=a", headers=one)
    assert answer.problem(429)["code"] == "too_many_streams_of_address"
    ws.connect(gateway, "a", headers=[("X-Forwarded-For", "192.0.2.2")])
    entry = gateway.request("GET", "/api/streams").json()["streams"]
    assert {each["address"] for each in entry} == {"192.0.2.1", "192.0.2.2"}


# ---- raw ----


def test_data_is_what_an_event_source_gives(gateway):
    """Line ends, JSON as written, names, an empty text, other alphabets, large ones."""
    opened = ws.connect(gateway, "a")
    events = gateway.stream("a")
    for data in ("one", "a\nb", "a\r\nb\rc", "\n", " x ", "Größe 😀 \u2028", "x" * 60000):
        gateway.push_text(data, topic="a")
    gateway.push_text("", topic="a")
    body = (b'[{"topic":"a","data":{"total": 19.90, "n": [1, 2]}},'
            b'{"topic":"a","event":"named","data":"in a name"},'
            b'{"topic":"a","data":null},{"topic":"a","data":"passing","ephemeral":true}]')
    gateway.push(body)
    wanted = [event.data for event in events.events(12)]
    assert opened.texts(12) == wanted
    assert wanted[8:] == ['{"total":19.90,"n":[1,2]}', "in a name", "null", "passing"]


def test_text_is_published_to_its_topics(gateway):
    """Byte for byte, to all topics of publish=, in their order."""
    events = gateway.stream("a/1")
    other = gateway.stream("b")
    nothing = gateway.stream("c", user="anna")
    opened = ws.connect(gateway, "b", publish=["a/1", "b"])
    texts = ["1st", '{"topic":"c","data":1}', "two\r\nlines", "", "Größe 😀", "x" * 60000]
    for text in texts:
        opened.text(text)
    wanted = [text.replace("\r\n", "\n") for text in texts]
    assert [event.data for event in events.events(6)] == wanted
    assert [event.data for event in other.events(6)] == wanted
    assert opened.texts(6) == wanted
    (first, *_) = gateway.request("GET", "/api/history").json()["events"]
    assert set(first["topics"]) == {"a/1", "b"}
    assert (first["users"], first["event"]) == ([], "message")
    gateway.push({"topic": "c", "data": "end"})
    assert nothing.next_event().data == "end"
    assert gateway.stat("websocket_messages") == 6


def test_messages_in_one_segment_are_all_published_in_order(gateway):
    """A client does not wait: what stands behind the message under way is read when its turn
    comes, the Close too."""
    opened = ws.connect(gateway, "none", publish="a")
    events = gateway.stream("a")
    data = b"".join(ws.frame(f"{i}") for i in range(50))
    opened.send(data + ws.frame(ws.close_payload(1000, "done"), ws.CLOSE))
    assert [event.data for event in events.events(50)] == [f"{i}" for i in range(50)]
    assert opened.finish(1000, answer=False) in ("", "done")


@guarded
def test_right_to_publish(gateway):
    """publish= is asked for at the handshake; without it a text goes to everybody, if it may."""
    writer = ws.connect(gateway, "chat/1", publish=["chat/1"], headers=bearer(
        token("anna", subscribe=["chat/*"], publish=["chat/*"])))
    everybody = ws.connect(gateway, headers=bearer(ADMIN))
    writer.text("one")
    assert writer.next_text() == everybody.next_text() == "one"
    everybody.text("all")
    assert writer.next_text() == everybody.next_text() == "all"
    narrow = ws.connect(gateway, "chat/1", headers=bearer(
        token("anna", subscribe=["chat/*"], publish=["chat/*"])))
    narrow.text("to everybody")
    assert ws.word_of(narrow.finish(4403)) == ("missing_right", None)
    publish(gateway, {"topic": "chat/1", "data": "end"})
    assert writer.next_text() == "end"


@pytest.mark.gateway(settings={"websocket.publish": "off"})
def test_publishing_off(gateway):
    answer = ws.refused(gateway, "/ws?topic=a&publish=a")
    assert answer.problem(403)["code"] == "publishing_off"
    opened = ws.connect(gateway, "a")
    gateway.push({"topic": "a", "data": "x"})
    assert opened.next_text() == "x"
    opened.text("hello")
    assert ws.word_of(opened.finish(4403)) == ("publishing_off", None)
    assert gateway.stat("events_published") == 1


def test_what_cannot_be_published_ends_a_raw_one(gateway):
    """There is no answer that could say so, and silence would lose an event."""
    stream = gateway.stream("a")
    opened = ws.connect(gateway, "a", publish="a")
    opened.send(ws.frame("x" * 70000) + ws.frame("behind it"))
    assert ws.word_of(opened.finish(1009))[0] == "event_too_large"
    gateway.push({"topic": "a", "data": "end"})
    assert stream.next_event().data == "end"


def test_ping_as_text(gateway):
    """With ping=text it is answered; without, it is an event as any other."""
    asks = ws.connect(gateway, "a", publish="a", ping="text")
    asks.text("ping")
    assert asks.next_text() == "pong"
    says = ws.connect(gateway, "a", publish="a")
    says.text("ping")
    assert says.next_text() == asks.next_text() == "ping"
    asks.text("pings")
    assert says.next_text() == asks.next_text() == "pings"
    assert gateway.stat("events_published") == 2


def test_begin_in_the_past(gateway):
    """By an id or a time, without a gap; what is lost is not told in this way of talking."""
    ids = gateway.push([{"topic": "a", "data": i} for i in range(1000)])["ids"]
    with ws.connect(gateway, "a", last_event_id=ids[499]) as late:
        gateway.push({"topic": "a", "data": "live"})
        assert late.texts(501) == [*map(str, range(500, 1000)), "live"]
    with ws.connect(gateway, "a", since="earliest") as early:
        assert early.texts(1001) == [*map(str, range(1000)), "live"]
    with ws.connect(gateway, "a", headers=[("Last-Event-ID", ids[-1])]) as header:
        assert header.next_text() == "live"
    with ws.connect(gateway, "a", last_event_id="nonsense") as lost:
        gateway.push({"topic": "a", "data": "next"})
        assert lost.next_text() == "next"


def test_listed_like_any_stream(gateway):
    """An operator sees it, and which kind it is."""
    opened = ws.connect(gateway, "a", "b/*", user="anna")
    gateway.stream("c")
    entry = gateway.the_stream(user="anna")
    host, port = opened.wire.socket.getsockname()
    assert (entry["address"], entry["topics"]) == (f"{host}:{port}", ["a", "b/*"])
    kinds = {each["transport"] for each in
             gateway.request("GET", "/api/streams").json()["streams"]}
    assert len(kinds) == 2 and entry["transport"] in kinds
    gateway.push({"topic": "a", "data": "x"})
    opened.next_text()
    wire.wait_until(lambda: gateway.the_stream(user="anna")["events_sent"] == 1)
    assert gateway.the_stream(user="anna")["bytes_sent"] > 0


def test_large_heads_and_many_come_and_go(gateway):
    """15 KB of cookies, and a thousand that leave nothing behind, in whatever way they go."""
    before = gateway.sockets()
    fat = ws.connect(gateway, "a", headers=[("Cookie", "x=" + "y" * 15000)])
    for number in range(wire.fewer(300, 60)):
        opened = ws.connect(gateway, "a")
        if number % 3 == 0:
            opened.say_close()
            opened.finish(1000, answer=False)
        elif number % 3 == 1:
            opened.wire.reset()
        opened.close()
        gateway.streams.remove(opened)
    gateway.push({"topic": "a", "data": "x"})
    assert fat.next_text() == "x"
    gateway.wait_stat("websockets_open", 1)
    gateway.wait_stat("streams_open", 1)
    with contextlib.suppress(AssertionError):
        wire.wait_until(lambda: gateway.sockets() <= before + 1, 5)
    gateway._drop_control()
    wire.wait_until(lambda: gateway.sockets() <= before + 1, 5, "sockets are given back")
    assert not re.search(r"bearer\.", gateway.log())
