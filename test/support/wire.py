# SPDX-License-Identifier: MIT
"""HTTP and Server-Sent Events as exact bytes, for the scenario tests.

Client libraries forgive, and what they forgive a test cannot see.  So the tests talk over plain
sockets: what is sent is what the test wrote, and what arrives is parsed here, strictly, with an
AssertionError for every byte that the wire contract does not allow.
"""

import contextlib
import dataclasses
import json
import os
import re
import selectors
import socket
import struct
import time
import urllib.parse

SLOW = float(os.environ.get("BUGLE_TEST_SLOW", "1"))

ID_FORM = re.compile(r"[0-9A-Za-z]+-[0-9]+")
ID_BYTES_MAX = 40
CHECKPOINT = re.compile(rb"^event: checkpoint\ndata: ?\nid: [^\n]+\n\n", re.MULTILINE)
PROBLEM_MEMBERS = {"type": str, "title": str, "status": int, "detail": str, "code": str}


def seconds(number):
    """A time limit, longer where a sanitizer slows everything down."""
    return number * SLOW


def fewer(number, least=1):
    """A size that may shrink where a sanitizer slows everything down."""
    return max(least, int(number / SLOW))


def wait_until(predicate, timeout=5, what="the fact waited for"):
    """Poll until `predicate()` is true and return its value."""
    deadline = time.monotonic() + seconds(timeout)
    pause = 0.002
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f"not true within {seconds(timeout)} s: {what}"
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def target_of(path, query=()):
    """A request target; `query` is a dict or pairs, a list value repeats its name."""
    pairs = query.items() if hasattr(query, "items") else query
    encoded = urllib.parse.urlencode(list(pairs), doseq=True, quote_via=urllib.parse.quote, safe="")
    return path + "?" + encoded if encoded else path


def request_bytes(method, target, headers=(), body=None, version="1.1", host="127.0.0.1"):
    """A request.  `Host` and `Content-Length` are added unless given; None leaves a header out."""
    pairs = list(headers.items() if hasattr(headers, "items") else headers)
    names = {name.lower() for name, _ in pairs}
    if "host" not in names:
        pairs.insert(0, ("Host", host))
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        pairs.append(("Content-Length", str(len(body))))
    head = [f"{method} {target} HTTP/{version}"]
    head += [f"{name}: {value}" for name, value in pairs if value is not None]
    return "\r\n".join(head + ["", ""]).encode("utf-8", "surrogateescape") + (body or b"")


class Head:
    """The status line and the fields of an answer, in the order in which they came."""

    def __init__(self, raw):
        self.raw = bytes(raw)
        assert self.raw.endswith(b"\r\n\r\n"), self.raw
        lines = self.raw[:-4].split(b"\r\n")
        match = re.fullmatch(rb"HTTP/(1\.[01]) ([1-9][0-9]{2}) ([\x20-\x7e]*)", lines[0])
        assert match, f"not a status line: {lines[0]!r}"
        self.version = match[1].decode()
        self.status = int(match[2])
        self.fields = [self._field(line) for line in lines[1:]]

    @staticmethod
    def _field(line):
        match = re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e]*?)[ \t]*", line)
        assert match, f"not a header line: {line!r}"
        return match[1].decode(), match[2].decode()

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name):
        """The value of a field that may come once, or None."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def names(self):
        return {key.lower() for key, _ in self.fields}

    def words(self, name):
        """A comma separated field as a set of lower-case words."""
        return {word.strip().lower() for value in self.all(name) for word in value.split(",")}


class Dechunker:
    """Undo `Transfer-Encoding: chunked` piece by piece; anything but the plain form is an error."""

    def __init__(self):
        self.pending = bytearray()
        self.sizes = []
        self.ended = False

    def feed(self, data):
        assert not (data and self.ended), f"bytes after the final chunk: {bytes(data)!r}"
        self.pending += data
        payload = bytearray()
        at = 0
        while not self.ended:
            line_end = self.pending.find(b"\r\n", at)
            if line_end < 0:
                assert len(self.pending) - at < 18, f"no chunk size: {bytes(self.pending[at:])!r}"
                break
            line = bytes(self.pending[at:line_end])
            assert re.fullmatch(rb"[0-9A-Fa-f]{1,16}", line), f"not a chunk size: {line!r}"
            size, start = int(line, 16), line_end + 2
            if len(self.pending) < start + size + 2:
                break
            closing = bytes(self.pending[start + size:start + size + 2])
            assert closing == b"\r\n", f"chunk of {size} bytes closed by {closing!r}"
            payload += self.pending[start:start + size]
            self.sizes.append(size)
            self.ended = size == 0
            at = start + size + 2
        del self.pending[:at]
        assert not (self.ended and self.pending), f"stray bytes: {bytes(self.pending)!r}"
        return payload


class Identity:
    """A body that ends with the connection, as HTTP/1.0 has it."""

    pending = b""
    ended = False

    @staticmethod
    def feed(data):
        return data


@dataclasses.dataclass(frozen=True)
class Comment:
    text: str


@dataclasses.dataclass(frozen=True)
class Retry:
    ms: int


@dataclasses.dataclass(frozen=True)
class Event:
    """What a client would dispatch, and the very bytes that made it so."""

    name: str
    data: str
    id: str
    retry: int
    raw: bytes

    def json(self):
        return json.loads(self.data)


class SseParser:
    """The gateway's dialect of Server-Sent Events, and nothing else.

    Line feeds only, fields as `name: value` in the order retry, event, data, id, one blank line
    after an event and after nothing else.  The first `retry:` of a stream stands alone; later
    ones cannot be told from an event's own until the next line comes.
    """

    FIELDS = {b"retry": 0, b"event": 1, b"data": 2, b"id": 3}

    def __init__(self):
        self.pending = bytearray()
        self.block = []
        self.greeted = False

    def feed(self, data):
        self.pending += data
        if b"\n" not in data:
            return []
        *lines, rest = bytes(self.pending).split(b"\n")
        self.pending = bytearray(rest)
        return [item for line in lines for item in self._line(line)]

    def finish(self):
        """The stream ended: what is left must be whole."""
        assert not self.pending, f"cut inside a line: {bytes(self.pending)!r}"
        return self._lone_retry()

    def _line(self, line):
        assert b"\r" not in line, f"a carriage return on the wire: {line!r}"
        if line == b"":
            return [self._dispatch()]
        if line.startswith(b":"):
            return self._lone_retry() + [Comment(line[1:].decode())]
        name, value = self._field(line)
        last = self.block[-1][0] if self.block else None
        in_order = last is None or self.FIELDS[name] > self.FIELDS[last] or name == b"data" == last
        assert in_order, f"{name} after {self.block}"
        self.block.append((name, value, line))
        if name == b"retry" and not self.greeted:
            self.greeted = True
            return self._lone_retry()
        return []

    def _field(self, line):
        name, colon, value = line.partition(b": ")
        if line == b"data:":
            name, colon = b"data", b":"
        assert colon and name in self.FIELDS, f"not a field of ours: {line!r}"
        assert name == b"data" or value, f"a field without value: {line!r}"
        return name, value

    def _lone_retry(self):
        if not self.block:
            return []
        assert len(self.block) == 1 and self.block[0][0] == b"retry", f"cut event: {self.block}"
        ms = self._milliseconds(self.block.pop()[1])
        return [Retry(ms)]

    @staticmethod
    def _milliseconds(value):
        assert re.fullmatch(rb"[0-9]+", value), f"not a retry: {value!r}"
        assert 1000 <= int(value) <= 3600000, f"retry out of bounds: {value!r}"
        return int(value)

    def _dispatch(self):
        block, self.block = self.block, []
        values = {name: value for name, value, _ in block}
        assert b"data" in values, f"a blank line that ends no event: {block}"
        raw = b"".join(line + b"\n" for _, _, line in block) + b"\n"
        data = b"\n".join(value for name, value, _ in block if name == b"data")
        event_id = values[b"id"].decode("ascii") if b"id" in values else None
        if event_id is not None:
            check_id(event_id)
        retry = self._milliseconds(values[b"retry"]) if b"retry" in values else None
        name = values.get(b"event", b"message").decode()
        return Event(name, data.decode(), event_id, retry, raw)


def check_id(event_id):
    """An id as bugle-wire(7) has it: `<epoch>-<position>`, at most 40 bytes."""
    assert isinstance(event_id, str), event_id
    assert ID_FORM.fullmatch(event_id) and len(event_id) <= ID_BYTES_MAX, f"bad id: {event_id!r}"


class Response:
    def __init__(self, head, body):
        self.head = head
        self.status = head.status
        self.body = bytes(body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"

    def json(self):
        return json.loads(self.body)

    def problem(self, *statuses):
        """The problem+json of an error, its shape checked, its status one of `statuses`."""
        assert self.status in statuses, f"wanted {statuses}, got {self}"
        kind = (self.head.get("Content-Type") or "").split(";")[0]
        assert kind == "application/problem+json", f"{kind!r} {self}"
        problem = self.json()
        for name, form in PROBLEM_MEMBERS.items():
            assert isinstance(problem.get(name), form), f"{name} of {problem}"
            assert problem[name] != "", f"{name} is empty in {problem}"
        assert problem["status"] == self.status, problem
        return problem


class Wire:
    """One connection: bytes out, bytes in, each wait with an end."""

    def __init__(self, address, receive_buffer=None, timeout=10):
        self.timeout = seconds(timeout)
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        if not isinstance(address, str) and ":" in address[0]:
            family = socket.AF_INET6
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(self.timeout)
        try:
            self.socket.connect(address)
            if family != socket.AF_UNIX:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self.socket.close()
            raise
        self.buffer = bytearray()
        self.end = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, size=65536, timeout=None):
        """Read once; b"" when the peer ended, with `end` telling how."""
        self.socket.settimeout(self.timeout if timeout is None else timeout)
        try:
            data = self.socket.recv(size)
        except ConnectionError:
            self.end = "reset"
            return b""
        finally:
            with contextlib.suppress(OSError):
                self.socket.settimeout(self.timeout)
        if not data:
            self.end = "closed"
        return data

    def fill(self, what):
        data = self.receive()
        assert data, f"{self.end} while waiting for {what}; so far {bytes(self.buffer[:300])!r}"
        self.buffer += data

    def take(self, size):
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def read_head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.fill("a head")
        return Head(self.take(self.buffer.index(b"\r\n\r\n") + 4))

    def read_response(self, method="GET"):
        """One whole answer, interim ones such as 100 left out."""
        head = self.read_head()
        while 100 <= head.status < 200:
            head = self.read_head()
        return Response(head, self._read_body(head, method))

    def _read_body(self, head, method):
        if method == "HEAD" or head.status in (204, 304):
            return b""
        if head.get("Transfer-Encoding") is not None:
            return self._read_chunks()
        length = head.get("Content-Length")
        if length is None:
            return self.read_to_end()
        while len(self.buffer) < int(length):
            self.fill("a body")
        return self.take(int(length))

    def _read_chunks(self):
        dechunker, body = Dechunker(), bytearray()
        while True:
            body += dechunker.feed(self.take(len(self.buffer)))
            if dechunker.ended:
                return body
            self.fill("a chunk")

    def read_to_end(self):
        """All bytes until the peer ends the connection, in whatever way."""
        while data := self.receive():
            self.buffer += data
        return self.take(len(self.buffer))

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Vanish with a RST instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


class Stream:
    """GET /events after its head: collects the payload, parses it when asked."""

    HOUSEKEEPING = {"checkpoint", "ping"}

    def __init__(self, wire, head):
        assert head.status == 200, head.raw
        self.wire = wire
        self.head = head
        chunked = head.get("Transfer-Encoding") == "chunked"
        self.coding = Dechunker() if chunked else Identity()
        self.payload = bytearray()
        self.parser = SseParser()
        self.parsed = 0
        self.items = []
        self.end = None
        self.begin = None
        self._take(wire.take(len(wire.buffer)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.wire.close()

    def _take(self, data):
        self.payload += self.coding.feed(data)
        if self.coding.ended:
            self.end = "final chunk"

    def pump(self, timeout=None, size=65536):
        """Read once.  Afterwards `end` is set if the stream ended: "final chunk", "closed" (ended
        without it) or "reset"."""
        data = self.wire.receive(size, timeout)
        if data:
            self._take(data)
        elif self.end is None:
            self.end = self.wire.end
        return len(data)

    def _parse(self):
        fresh = bytes(self.payload[self.parsed:])
        self.parsed = len(self.payload)
        self.items += self.parser.feed(fresh)

    def greet(self):
        """Read the comments and the `retry:` that open a stream, and return the comments."""
        opening = []
        while not opening or not isinstance(opening[-1], Retry):
            opening.append(self.next_item())
            assert isinstance(opening[-1], (Comment, Retry)), opening
        assert isinstance(opening[0], Comment), opening
        self.retry = opening[-1].ms
        self.begin = self.payload.index(b"\nretry: ") + len(f"\nretry: {self.retry}\n")
        return opening[:-1]

    @property
    def body(self):
        """Everything after the opening but checkpoints, which may stand anywhere; undecoded."""
        return CHECKPOINT.sub(b"", bytes(self.payload[self.begin:]))

    def checkpoints(self):
        """How many of them came so far, a cut one included."""
        return self.payload.count(b"\nevent: checkpoint\n")

    def next_item(self, timeout=10, besides=()):
        """The next comment, retry or event, but for events of the names `besides`."""
        deadline = time.monotonic() + seconds(timeout)
        self._parse()
        while not self.items:
            assert self.end is None, f"the stream ended ({self.end}) while an event was due"
            try:
                self.pump(max(0.001, deadline - time.monotonic()))
            except TimeoutError:
                raise AssertionError(f"nothing came within {seconds(timeout)} s") from None
            self._parse()
        item = self.items.pop(0)
        if getattr(item, "name", None) in besides:
            return self.next_item(max(0.001, deadline - time.monotonic()) / SLOW, besides)
        return item

    def next_event(self, timeout=10):
        """The next event of a publisher, or a reset: comments, checkpoints and pings pass by."""
        while not isinstance(item := self.next_item(timeout, self.HOUSEKEEPING), Event):
            pass
        return item

    def events(self, count, timeout=10):
        return [self.next_event(timeout) for _ in range(count)]

    def events_until(self, data, timeout=10):
        """The events before the one whose data is `data`."""
        found = []
        while (event := self.next_event(timeout)).data != data:
            found.append(event)
        return found

    def read_to_end(self):
        """The items until the stream ends, which it must do at the end of an item; checkpoints
        and pings left out."""
        while self.end is None:
            self.pump()
        if self.end == "final chunk":
            self.wire.read_to_end()
        self._parse()
        assert not self.coding.pending, f"cut inside a chunk: {bytes(self.coding.pending)!r}"
        self.items += self.parser.finish()
        items, self.items = self.items, []
        return [item for item in items if getattr(item, "name", "") not in self.HOUSEKEEPING]


def open_stream(address, target="/events", headers=(), version="1.1", receive_buffer=None):
    """A stream past its opening: from here on it must receive what is published."""
    wire = Wire(address, receive_buffer)
    wire.send(request_bytes("GET", target, headers, version=version))
    stream = Stream(wire, wire.read_head())
    stream.opening = stream.greet()
    return stream


def open_streams(address, targets, receive_buffer=None):
    """Many streams at a time."""
    streams = []
    for start in range(0, len(targets), 200):
        wires = [Wire(address, receive_buffer) for _ in targets[start:start + 200]]
        for wire, target in zip(wires, targets[start:]):
            wire.send(request_bytes("GET", target))
        for wire in wires:
            streams.append(Stream(wire, wire.read_head()))
            streams[-1].opening = streams[-1].greet()
    return streams


def pump_until(streams, done, timeout=60, size=65536):
    """Read many streams at once until `done(stream)` holds for each."""
    deadline = time.monotonic() + seconds(timeout)
    waiting = [stream for stream in streams if not done(stream)]
    with selectors.DefaultSelector() as selector:
        for stream in waiting:
            selector.register(stream.wire.socket, selectors.EVENT_READ, stream)
        while selector.get_map():
            left = deadline - time.monotonic()
            assert left > 0, f"{len(selector.get_map())} of {len(streams)} streams are not done"
            for key, _ in selector.select(min(left, 1)):
                key.data.pump(size=size)
                if done(key.data) or key.data.end:
                    selector.unregister(key.fileobj)
    for stream in waiting:
        assert done(stream), f"a stream ended early: {stream.end}"
