# SPDX-License-Identifier: MIT
"""A WebSocket as exact bytes, for the scenario tests: the client may send anything, and what the
gateway sends is parsed strictly (RFC 6455), with an AssertionError for what bugle-wire(7) does not
allow."""

import base64
import dataclasses
import hashlib
import json
import os
import struct
import time
import zlib

import wire

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MORE, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
V1 = "bugle.v1"
RAW = "bugle.raw"
OFFER = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def head_fields(protocol=None, headers=(), key=KEY, version="13"):
    """The fields of a handshake.  Those of `headers` take the place of the same ones; a value that
    is None leaves one out, and a name may be there more than once."""
    given = {name.lower() for name, _ in headers}
    usual = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", key),
             ("Sec-WebSocket-Version", version), ("Sec-WebSocket-Protocol", protocol)]
    return [pair for pair in usual if pair[0].lower() not in given] + list(headers)


def handshake(target="/ws", protocol=None, headers=(), host="127.0.0.1", method="GET",
              version="1.1"):
    """The request; see head_fields()."""
    return wire.request_bytes(method, target, head_fields(protocol, headers), version=version,
                              host=host)


def masked(payload, mask):
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


def frame(payload=b"", opcode=TEXT, first=None, mask=True, length=None):
    """The bytes of a client's frame.  `first` is the whole first byte, `length` is 0, 2 or 8: the
    bytes of a longer form of the length."""
    payload = payload.encode() if isinstance(payload, str) else payload
    size = len(payload)
    form = length if length is not None else 0 if size < 126 else 2 if size < 65536 else 8
    head = bytes([FIN | opcode if first is None else first,
                  (0x80 if mask else 0) | {0: size, 2: 126, 8: 127}[form]])
    head += size.to_bytes(form, "big") if form else b""
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + masked(payload, key)


def close_payload(code=None, reason=""):
    reason = reason.encode() if isinstance(reason, str) else reason
    return b"" if code is None else struct.pack(">H", code) + reason


@dataclasses.dataclass(frozen=True)
class Frame:
    first: int
    payload: bytes

    @property
    def opcode(self):
        return self.first & 15


class Socket:
    """A WebSocket past its handshake.  Pings are answered when they are read."""

    def __init__(self, connection, head, protocol=None, key=KEY):
        self.wire = connection
        self.head = head
        assert head.status == 101, head.raw
        assert head.get("Upgrade") == "websocket", head.raw
        assert head.words("Connection") == {"upgrade"}, head.raw
        assert head.get("Sec-WebSocket-Accept") == accept_of(key), head.raw
        assert head.get("Content-Length") is None, head.raw
        self.protocol = head.get("Sec-WebSocket-Protocol")
        self.deflates = head.get("Sec-WebSocket-Extensions") is not None
        self.controls = []
        self.answers = True
        self.ends = {"closed"}
        self.fragments = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Of the socket, without a word."""
        self.wire.close()

    # ---- sending ----

    def send(self, data):
        self.wire.send(data)

    def text(self, text):
        self.send(frame(text))

    def json(self, **members):
        """A message of bugle.v1."""
        self.text(json.dumps({"ref": 0, **members}))

    def say_close(self, code=1000, reason=""):
        self.send(frame(close_payload(code, reason), CLOSE))

    # ---- receiving ----

    def _need(self, size, deadline):
        while len(self.wire.buffer) < size:
            left = deadline - time.monotonic()
            assert left > 0, f"no frame came in time; so far {bytes(self.wire.buffer[:200])!r}"
            try:
                data = self.wire.receive(timeout=left)
            except TimeoutError:
                continue
            assert data, f"{self.wire.end} while waiting for a frame: {bytes(self.wire.buffer)!r}"
            self.wire.buffer += data

    def next_frame(self, timeout=10):
        """The next frame of any kind."""
        deadline = time.monotonic() + wire.seconds(timeout)
        self._need(2, deadline)
        first, second = self.wire.buffer[:2]
        assert second < 0x80, f"a masked frame of the gateway: {bytes(self.wire.buffer[:20])!r}"
        at, size = 2, second
        if second > 125:
            at += 2 if second == 126 else 8
            self._need(at, deadline)
            size = int.from_bytes(self.wire.buffer[2:at], "big")
            assert size > (125 if second == 126 else 65535), f"{size} in a longer form"
        self._need(at + size, deadline)
        return self._check(Frame(first, self.wire.take(at + size)[at:]))

    def _check(self, found):
        assert not found.first & (RSV2 | RSV3), found
        assert not found.first & RSV1 or (self.deflates and found.opcode == TEXT), found
        assert found.first & FIN, f"the gateway does not fragment: {found}"
        assert found.opcode in (TEXT, CLOSE, PING, PONG), found
        assert found.opcode < 8 or len(found.payload) <= 125, found
        return found

    def next_text(self, timeout=10):
        """The next message.  What came in between is kept in `controls`."""
        deadline = time.monotonic() + wire.seconds(timeout)
        while True:
            found = self.next_frame(max(0.001, deadline - time.monotonic()) / wire.SLOW)
            if found.opcode == TEXT:
                return self._text_of(found)
            assert found.opcode != CLOSE, f"closed while a text was due: {found.payload!r}"
            self._take_control(found)

    def _text_of(self, found):
        payload = found.payload
        if found.first & RSV1:
            payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        return payload.decode()

    def _take_control(self, found):
        self.controls.append(found)
        if found.opcode == PING and self.answers:
            self.send(frame(found.payload, PONG))

    def texts(self, count, timeout=10):
        return [self.next_text(timeout) for _ in range(count)]

    def next_json(self, timeout=10):
        """The next message of bugle.v1, its form checked."""
        return check_message(json.loads(self.next_text(timeout)))

    def next_of(self, *types, timeout=10):
        """The next message of one of these types; checkpoints and pings pass by, others must not
        come."""
        while True:
            message = self.next_json(timeout)
            if message["type"] in types:
                return message
            assert message["type"] in ("checkpoint", "ping"), f"wanted {types}, came {message}"

    def next_event(self, timeout=10):
        return self.next_of("event", timeout=timeout)

    def ask(self, **members):
        """Send a message and return its answer; events that come before it are kept."""
        self.json(**members)
        kinds = {"publish": "ack", "ping": "pong"}.get(members.get("type"), "subscribed")
        while True:
            message = self.next_json()
            if message["type"] in (kinds, "error"):
                return message
            assert message["type"] in ("event", "checkpoint", "ping"), message
            self.early = [*getattr(self, "early", []), message]

    def next_close(self, timeout=10):
        """(code, reason) of the Close that comes now, messages of any kind left out and kept in
        `last_texts`; then answer it, and the connection must end without more."""
        deadline = time.monotonic() + wire.seconds(timeout)
        self.last_texts = []
        while (found := self.next_frame(
                max(0.001, deadline - time.monotonic()) / wire.SLOW)).opcode != CLOSE:
            if found.opcode == TEXT:
                self.last_texts.append(self._text_of(found))
            else:
                self.controls.append(found)
        payload = found.payload
        assert len(payload) != 1, payload
        code = int.from_bytes(payload[:2], "big") if payload else None
        return code, payload[2:].decode()

    def end(self, timeout=10):
        """What comes until the gateway ends the connection, in whatever way."""
        self.wire.timeout = wire.seconds(timeout)
        return self.wire.read_to_end()

    def finish(self, *codes, answer=True, timeout=10):
        """The gateway closes with one of these codes; answered, the connection ends in order.
        Returns the reason."""
        code, reason = self.next_close(timeout)
        assert code in codes, (code, reason)
        if answer:
            try:
                self.say_close(code if code is not None else 1000)
            except OSError:
                pass
        rest = self.end(timeout)
        assert rest == b"", f"after the Close came {rest!r}"
        assert self.wire.end in self.ends, self.wire.end
        return reason


MEMBERS = {
    "hello": ({"id", "heartbeat", "retry_ms"}, set()),
    "event": ({"topics", "data"}, {"id", "event"}),
    "reset": ({"reason", "oldest", "newest", "id"}, set()),
    "checkpoint": ({"id"}, set()),
    "ping": (set(), set()),
    "pong": ({"ref"}, set()),
    "subscribed": ({"ref", "topics", "id"}, set()),
    "ack": ({"ref", "durability"}, {"id", "ids", "duplicate", "duplicates"}),
    "error": ({"status", "code", "detail"}, {"ref", "pointer"}),
    "bye": ({"code"}, {"retry_ms"}),
}


def check_message(message):
    """A message has the members that bugle-wire(7) names, and no others."""
    must, may = MEMBERS[message["type"]]
    members = set(message) - {"type"}
    assert must <= members <= must | may, message
    if message.get("id") is not None:
        wire.check_id(message["id"])
    if message["type"] == "ack":
        assert ("id" in message) == ("duplicate" in message) != ("ids" in message), message
        assert ("ids" in message) == ("duplicates" in message), message
    return message


def word_of(reason):
    """The word of a reason, and the milliseconds after which to come back, or None."""
    word, _, rest = reason.partition(" ")
    assert not rest or rest.startswith("retry_ms="), reason
    return word, int(rest[9:]) if rest else None


def target_of(topics=(), publish=(), **query):
    pairs = [("topic", topic) for topic in topics] + [("publish", topic) for topic in publish]
    return wire.target_of("/ws", pairs + list(query.items()))


def connect(gateway, *topics, protocol=None, headers=(), publish=(), receive_buffer=None,
            through=None, **query):
    """A WebSocket of a gateway, open.  `through` is another connection to use."""
    connection = through or wire.Wire(gateway.address, receive_buffer)
    try:
        connection.send(handshake(target_of(topics, publish, **query), protocol, headers,
                                  host=f"127.0.0.1:{gateway.port}"))
        opened = Socket(connection, connection.read_head())
    except BaseException:
        connection.close()
        raise
    wanted = (protocol or "").split(",")
    wanted = [word.strip() for word in wanted if word.strip() in (V1, RAW)]
    assert opened.protocol == (wanted[0] if wanted else None), opened.head.raw
    return gateway.keep(opened)


def connect_v1(gateway, *topics, **options):
    """The same in bugle.v1, past its hello."""
    opened = connect(gateway, *topics, protocol=options.pop("protocol", V1), **options)
    opened.hello = opened.next_json()
    assert opened.hello["type"] == "hello", opened.hello
    return opened


def refused(gateway, target="/ws", protocol=None, headers=(), method="GET", version="1.1",
            more=b"", host=None):
    """The answer to a handshake that is refused with a status."""
    with wire.Wire(gateway.address) as connection:
        connection.send(handshake(target, protocol, headers, method=method, version=version,
                                  host=host or f"127.0.0.1:{gateway.port}") + more)
        return connection.read_response(method)


def in_pieces(data, size=1):
    return [data[at:at + size] for at in range(0, len(data), size)]
