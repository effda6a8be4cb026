# SPDX-License-Identifier: MIT
"""No request gets in inside another one.

Every case is some bytes that two readers of HTTP could part in two ways, with a publish of the
topic `hidden` in the part that is in doubt.  Each is sent as the first and as the second request of
a connection, to the gateway itself and through nginx, HAProxy and Caddy, which refuse that topic
when they see the request for it.  So whatever is published there has been smuggled past somebody.
"""

import collections
import re
import selectors
import threading
import time

import pytest

import fronts
import wire

STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
QUIET_SECONDS = 1.5
PRELUDE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

TARGET = b"/api/push?topic=seen"
LINE = b"POST " + TARGET + b" HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"


def hidden(label):
    """The request that must never be one; its data tells the case."""
    data = label.encode()
    return (b"POST /api/push?topic=hidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
            % (len(data), data))


def post(head, body, line=LINE, host=HOST):
    return line + host + head + b"\r\n" + body


def with_length(form):
    """The hidden request as a body, its length written in some way."""
    return lambda h: post(form.replace(b"%d", b"%d" % len(h)), h)


def chunked(body, head=b"Transfer-Encoding: chunked\r\n"):
    return lambda h: post(head, body + h)


def small_chunk(h):
    """All of the hidden request as one chunk."""
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(h), h)


END = b"0\r\n\r\n"
REFUSED = {400}
CODING = {501}
ONE = {201}
WAITS = set()

# name, bytes of a hidden request, what the gateway itself may answer (one answer, and no other)
CASES = [
    # two lengths
    ("two lengths, equal", with_length(b"Content-Length: %d\r\nContent-Length: %d\r\n"), REFUSED),
    ("two lengths, 0 last", with_length(b"Content-Length: %d\r\nContent-Length: 0\r\n"), REFUSED),
    ("two lengths, 0 first", with_length(b"Content-Length: 0\r\nContent-Length: %d\r\n"), REFUSED),
    ("length and coding", chunked(END, b"Content-Length: 300\r\nTransfer-Encoding: chunked\r\n"),
     REFUSED),
    ("coding and length", chunked(END, b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
     REFUSED),
    ("coding, length 0", chunked(b"", b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
     REFUSED),
    # a length that is none
    ("length list, equal", with_length(b"Content-Length: %d, %d\r\n"), REFUSED),
    ("length list, 0 first", with_length(b"Content-Length: 0, %d\r\n"), REFUSED),
    ("length list, 0 last", with_length(b"Content-Length: %d,0\r\n"), REFUSED),
    ("length +", with_length(b"Content-Length: +%d\r\n"), REFUSED),
    ("length -", with_length(b"Content-Length: -%d\r\n"), REFUSED),
    ("length 0x", lambda h: post(b"Content-Length: 0x%x\r\n" % len(h), h), REFUSED),
    ("length with a blank in it", with_length(b"Content-Length: 0 %d\r\n"), REFUSED),
    ("length empty", with_length(b"Content-Length:\r\n"), REFUSED),
    ("length with _", with_length(b"Content-Length: 0_%d\r\n"), REFUSED),
    ("length with a point", with_length(b"Content-Length: %d.0\r\n"), REFUSED),
    ("length beyond 64 bits", with_length(b"Content-Length: 18446744073709551616\r\n"), REFUSED),
    ("length beyond 63 bits", with_length(b"Content-Length: 9223372036854775808\r\n"), REFUSED),
    # a length that only some see
    ("blank before the colon", with_length(b"Content-Length : %d\r\n"), REFUSED),
    ("tab before the colon", with_length(b"Content-Length\t: %d\r\n"), REFUSED),
    ("blank before the name", with_length(b" Content-Length: %d\r\n"), REFUSED),
    ("folded behind another", with_length(b"X: y\r\n Content-Length: %d\r\n"), REFUSED),
    ("folded value", with_length(b"Content-Length:\r\n %d\r\n"), REFUSED),
    ("LF within a value", with_length(b"X: y\nContent-Length: %d\r\n"), REFUSED),
    ("CR within a value", with_length(b"X: y\rContent-Length: %d\r\n"), REFUSED),
    ("NUL within a value", with_length(b"X: y\0\r\nContent-Length: %d\r\n"), REFUSED),
    ("NUL within a name", with_length(b"Content-Len\0gth: %d\r\n"), REFUSED),
    ("name that is no token", with_length(b"(Content-Length): %d\r\n"), REFUSED),
    ("no name", with_length(b": %d\r\n"), REFUSED),
    ("no colon", with_length(b"Content-Length %d\r\n"), REFUSED),
    ("named by Connection", with_length(b"Content-Length: %d\r\nConnection: content-length\r\n"),
     ONE),
    # a coding that only some see
    ("coding, blank before colon", chunked(END, b"Transfer-Encoding : chunked\r\n"), REFUSED),
    ("coding folded", chunked(END, b"Transfer-Encoding:\r\n chunked\r\n"), CODING),
    ("coding xchunked", chunked(END, b"Transfer-Encoding: xchunked\r\n"), CODING),
    ("coding gzip, chunked", chunked(END, b"Transfer-Encoding: gzip, chunked\r\n"), CODING),
    ("coding chunked, identity", chunked(END, b"Transfer-Encoding: chunked, identity\r\n"), CODING),
    ("coding chunked, chunked", chunked(END, b"Transfer-Encoding: chunked, chunked\r\n"), CODING),
    ("coding identity", chunked(b"", b"Transfer-Encoding: identity\r\n"), CODING),
    ("coding empty", chunked(b"", b"Transfer-Encoding:\r\n"), CODING),
    ("coding in quotes", chunked(END, b"Transfer-Encoding: \"chunked\"\r\n"), CODING),
    ("coding with a parameter", chunked(END, b"Transfer-Encoding: chunked;q=1\r\n"), CODING),
    ("coding behind VT", chunked(END, b"Transfer-Encoding: \x0bchunked\r\n"), REFUSED),
    ("coding behind NEL", chunked(END, b"Transfer-Encoding: \x85chunked\r\n"), CODING),
    ("coding twice", chunked(END, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
     REFUSED),
    ("coding twice, identity", chunked(
        END, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), {400, 501}),
    ("coding with HTTP/1.0", lambda h: post(
        b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", END + h,
        b"POST " + TARGET + b" HTTP/1.0\r\n"), REFUSED),
    # lines
    ("LF everywhere", lambda h: post(b"Content-Length: 0\r\n", b"").replace(b"\r", b"") + h,
     REFUSED),
    ("LF ends the head", lambda h: LINE + HOST + b"Content-Length: 0\r\n\n" + h, REFUSED),
    ("CR CR LF ends the head", lambda h: LINE + HOST + b"Content-Length: 0\r\n\r\r\n" + h, REFUSED),
    ("two blanks in the line", lambda h: post(
        b"Content-Length: 0\r\n", h, b"POST  " + TARGET + b" HTTP/1.1\r\n"), REFUSED),
    ("no version", lambda h: b"GET /healthz\r\n" + h, REFUSED),
    ("version 1.2", lambda h: post(b"", h, b"GET /healthz HTTP/1.2\r\n"), {505}),
    ("version 2.0", lambda h: post(b"", h, b"GET /healthz HTTP/2.0\r\n"), {505}),
    ("version 1.10", lambda h: post(b"", h, b"GET /healthz HTTP/1.10\r\n"), REFUSED),
    ("lower-case http", lambda h: post(b"", h, b"GET /healthz http/1.1\r\n"), REFUSED),
    # fields of which there can be one
    ("two hosts", lambda h: post(b"Host: back\r\nContent-Length: 0\r\n", h), REFUSED),
    ("no host", lambda h: post(b"Content-Length: 0\r\n", h, host=b""), REFUSED),
    ("host with a path", lambda h: post(b"Content-Length: 0\r\n", h, host=b"Host: a/b\r\n"), REFUSED),
    ("absolute, other host", lambda h: post(
        b"Content-Length: 0\r\n", h, b"POST http://back" + TARGET + b" HTTP/1.1\r\n"), REFUSED),
    ("two Authorization", with_length(
        b"Authorization: a\r\nAuthorization: b\r\nContent-Length: %d\r\n"), REFUSED),
    ("two Last-Event-ID", with_length(
        b"Last-Event-ID: a\r\nLast-Event-ID: b\r\nContent-Length: %d\r\n"), REFUSED),
    # bodies where there are none
    ("GET with a body", lambda h: post(
        b"Content-Length: %d\r\n" % len(h), h, b"GET /healthz HTTP/1.1\r\n"), {413}),
    ("HEAD with a body", lambda h: post(
        b"Content-Length: %d\r\n" % len(h), h, b"HEAD /healthz HTTP/1.1\r\n"), {413}),
    ("OPTIONS with a body", lambda h: post(
        b"Content-Length: %d\r\n" % len(h), h, b"OPTIONS * HTTP/1.1\r\n"), {204}),
    ("body on the page", lambda h: post(
        b"Transfer-Encoding: chunked\r\n", small_chunk(h), b"GET / HTTP/1.1\r\n"), {413}),
    # chunks
    ("chunk 0x", chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    ("chunk +", chunked(b"+5\r\nhello\r\n0\r\n\r\n"), {400}),
    ("chunk -", chunked(b"-5\r\nhello\r\n0\r\n\r\n"), {400}),
    ("chunk with a blank", chunked(b"5 \r\nhello\r\n0\r\n\r\n"), {400}),
    ("chunk without size", chunked(b"\r\nhello\r\n0\r\n\r\n"), {400}),
    ("chunk beyond 64 bits", chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), {400, 413}),
    ("chunk -1 of 64 bits", chunked(b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), WAITS),
    ("chunk too long by 2", chunked(b"5\r\nhelloXX0\r\n\r\n"), {400}),
    ("chunks end in LF", chunked(b"5\nhello\n0\n\n"), {201, 400}),
    ("chunk with a LF extension", chunked(b"5;a\nhello\r\n0\r\n\r\n"), {201, 400}),
    # libmicrohttpd 1.0.1 takes the line feed behind an extension for data, and refuses the rest
    ("chunk with an extension", chunked(b"5;a=\"b\"\r\nhello\r\n0\r\n\r\n"), {201, 400}),
    ("last chunk 000", chunked(b"5\r\nhello\r\n000\r\n\r\n"), ONE),
    ("trailer with a length", chunked(b"5\r\nhello\r\n0\r\nContent-Length: 300\r\n\r\n"), ONE),
    ("trailer with a coding", chunked(
        b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"), ONE),
    # one after the other
    ("plainly behind a body", lambda h: post(b"Content-Length: 5\r\n", b"hello" + h), ONE),
    ("plainly behind chunks", chunked(b"5\r\nhello\r\n0\r\n\r\n"), ONE),
    ("behind a line end", lambda h: post(b"Content-Length: 5\r\n", b"hello\r\n" + h), ONE),
    ("upgrade to h2c", with_length(
        b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        b"Content-Length: %d\r\n"), ONE),
    ("100-continue, too large", lambda h: post(
        b"Expect: 100-continue\r\nContent-Length: 9000000\r\n", h), {413}),
    # other protocols
    ("preface of HTTP/2", lambda h: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h, REFUSED),
    ("a TLS hello", lambda h: bytes.fromhex("160301010001000100fc0303") + b"\0" * 40 + h, REFUSED),
    ("PROXY protocol", lambda h: b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n" + h, REFUSED),
]


class Attempt:
    """One case on one connection."""

    def __init__(self, address, case, way):
        self.name, self.make, self.wanted = case
        self.label = f"{way}: {self.name}"
        self.wire = wire.Wire(address)
        self.answer = bytearray()
        self.ended = False

    def send(self):
        self.wire.socket.setblocking(False)
        self.try_io(lambda: self.wire.socket.send(self.make(hidden(self.label))))

    def read(self):
        data = self.try_io(lambda: self.wire.socket.recv(65536))
        self.answer += data or b""
        self.ended = self.ended or data == b""

    def try_io(self, action):
        try:
            return action()
        except BlockingIOError:
            return None
        except OSError:
            self.ended = True
            return None

    def statuses(self):
        return [int(status) for status in STATUS.findall(self.answer)]

    def says(self):
        text = " ".join(map(str, self.statuses()))
        return (text or "-") + ("" if self.ended else "…")

    def successes(self):
        return [status for status in self.statuses() if 200 <= status < 300]


def read_all(attempts):
    """Until all have ended, or nothing has come for a while."""
    with selectors.DefaultSelector() as selector:
        for attempt in attempts:
            selector.register(attempt.wire.socket, selectors.EVENT_READ, attempt)
        last = time.monotonic()
        while selector.get_map() and time.monotonic() - last < wire.seconds(QUIET_SECONDS):
            for key, _ in selector.select(0.1):
                key.data.read()
                last = time.monotonic()
                if key.data.ended:
                    selector.unregister(key.fileobj)


def try_all(address, way, is_second):
    attempts = [Attempt(address, case, way) for case in CASES]
    for attempt in attempts if is_second else ():
        attempt.wire.send(PRELUDE)
        assert attempt.wire.read_response().json() == {"status": "ok"}, attempt.label
    for attempt in attempts:
        attempt.send()
    read_all(attempts)
    for attempt in attempts:
        attempt.wire.close()
    return attempts


def look_for_victims(address, way, count):
    """Whoever comes next on the connections of a proxy gets the answer to what it asked."""
    for i in range(count):
        with wire.Wire(address) as connection:
            topic = f"victim-{i}"
            connection.send(wire.request_bytes("GET", f"/api/history?topic={topic}&limit=1"))
            response = connection.read_response()
            assert response.status == 200 and response.json()["events"] == [], (way, response)
            connection.send(wire.request_bytes("GET", "/healthz"))
            assert connection.read_response().json() == {"status": "ok"}, way


def run_ways(gateway, folder, names):
    """All cases in all ways, side by side.  The attempts by way."""
    tried, failures = {}, []

    def run_at(name, address):
        for is_second in (False, True):
            way = f"{name} {'2nd' if is_second else '1st'}"
            tried[way] = try_all(address, way, is_second)
            look_for_victims(address, way, 8)

    def run(name):
        try:
            if name == "direct":
                run_at(name, gateway.address)
            else:
                with fronts.front(name, gateway.port, folder) as port:
                    run_at(name, ("127.0.0.1", port))
        except BaseException as failure:  # shown by the test, which is another thread
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("direct", *names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return tried


def show(tried):
    """The table of cases and ways; an ellipsis is a connection that stayed open."""
    ways = sorted(tried, key=lambda way: (not way.startswith("direct"), way))
    print(f"{'':28}" + "".join(f"{way:14}" for way in ways))
    for i, case in enumerate(CASES):
        print(f"{case[0]:28}" + "".join(f"{tried[way][i].says():14}" for way in ways))
    counts = collections.Counter(attempt.says() for way in ways for attempt in tried[way])
    print(f"{len(CASES)} cases, {len(ways)} ways, {sum(counts.values())} attempts: "
          + ", ".join(f"{count} x {says}" for says, count in counts.most_common()))


def published(gateway, topic):
    response = gateway.request("GET", f"/api/history?topic={topic}&limit=1000")
    return [event["data"] for event in response.json()["events"]]


def judge(gateway, tried):
    smuggled = published(gateway, "hidden")
    assert not smuggled, f"{len(smuggled)} requests came in inside others: {smuggled}"
    for way, attempts in tried.items():
        for attempt in attempts:
            assert len(attempt.successes()) <= 1, (attempt.label, attempt.says())
            if way.startswith("direct"):
                assert len(attempt.statuses()) == bool(attempt.wanted), (attempt.label,
                                                                         attempt.says())
                assert set(attempt.statuses()) <= attempt.wanted, (attempt.label, attempt.says())
                assert attempt.ended or attempt.wanted in (ONE, WAITS), f"{attempt.label}: open"


@pytest.mark.gateway(settings={"stream.stall_timeout": "10s"})
def test_nothing_is_smuggled_in(gateway, tmp_path, capsys):
    """Directly and behind each proxy, as first and as second request."""
    tried = run_ways(gateway, tmp_path, fronts.FRONTS)
    with capsys.disabled():
        print()
        show(tried)
    judge(gateway, tried)
    by_gate = sum(case[2] in (REFUSED, CODING) and not case[0].startswith("chunk ")
                  for case in CASES)
    assert gateway.stat("heads_refused") >= 2 * by_gate


def test_the_check_is_not_blind(gateway):
    """What is published behind a proxy's back would be found: here is one that nobody hides."""
    with gateway.raw() as connection:
        connection.send(hidden("in the open"))
        assert connection.read_response().status == 201
    assert published(gateway, "hidden") == ["in the open"]


def test_a_request_behind_another_is_not_answered(gateway):
    """A client that does not wait for its answer is told that the connection ends with it, gets
    that answer, and may come again."""
    first = wire.request_bytes("POST", "/api/push?topic=a", body=b"one")
    second = wire.request_bytes("POST", "/api/push?topic=a", body=b"two")
    with gateway.raw() as connection:
        connection.send(first + second)
        response = connection.read_response()
        assert response.status == 201
        assert "close" in response.head.words("Connection")
        assert connection.read_to_end() == b"" and connection.end == "closed"
    with gateway.raw() as connection:
        connection.send(first + b"\r\n")  # as some clients end a body
        assert "close" not in connection.read_response().head.words("Connection")
        connection.send(second)
        assert connection.read_response().status == 201
    assert published(gateway, "a") == ["one", "one", "two"]


PARTS = [b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ", LINE + b"X: ", LINE + HOST + b"X: y\r\n z"]


def begin_and_overrun(gateway, overrun):
    """A connection whose first body and what follows it came together, after its head: the library
    has read both.  Its first answer has been read."""
    connection = gateway.raw()
    connection.send(post(b"Content-Length: 5\r\nExpect: 100-continue\r\n", b""))
    assert connection.read_head().status == 100
    connection.send(b"hello" + overrun)
    assert connection.read_response().status == 201
    return connection


def test_a_request_that_the_library_has_read_already_is_not_answered(gateway):
    """It came before anybody could look at it."""
    with begin_and_overrun(gateway, hidden("overrun")) as connection:
        assert connection.read_to_end() == b"" and connection.end == "closed"
    assert published(gateway, "hidden") == []
    assert gateway.stat("requests_unseen") == 1


@pytest.mark.parametrize("part", PARTS)
def test_the_rest_of_a_head_is_not_taken_for_a_head(gateway, part):
    """The library has the beginning of one; what comes then looks like a request by itself."""
    with begin_and_overrun(gateway, part) as connection:
        connection.send(hidden("rest"))
        response = connection.read_response()
        assert response.status == 400
        if response.head.get("Content-Type") == "application/problem+json":  # else the library's own
            assert response.json()["code"] == "bad_framing"
        assert connection.read_to_end() == b""
    assert published(gateway, "hidden") == []


def test_a_request_in_chunks_is_the_last_of_its_connection(gateway):
    """Where such a body ends is the library's word alone, and 0.9.75 is lenient."""
    for body, statuses in ((b"5\nhello\n0\n\n", {201, 400}), (b"5\r\nhello\r\n0\r\n\r\n", {201})):
        with gateway.raw() as connection:
            connection.send(post(b"Transfer-Encoding: chunked\r\n", body))
            response = connection.read_response()
            assert response.status in statuses and "close" in response.head.words("Connection")
            try:
                connection.send(hidden("later"))
            except OSError:
                pass
            assert connection.read_to_end() == b""
    assert published(gateway, "hidden") == []
