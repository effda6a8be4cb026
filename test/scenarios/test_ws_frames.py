# SPDX-License-Identifier: MIT
"""What a WebSocket client may send and what not: frames by the byte, slow ones, many, large ones,
and clients that read nothing (bugle-wire(7), WEBSOCKET)."""

import contextlib
import random
import time
import zlib

import pytest

import wire
import ws
from test_clients import cpu_share, push_bulk
from ws import BINARY, CLOSE, FIN, MORE, PING, PONG, RSV1, RSV2, RSV3, TEXT, frame

SURROGATE = b"\xed\xa0\x80"
OVERLONG = b"\xc0\xaf"

# what is sent, and the code of the Close that follows
FAULTS = {
    "unmasked": (frame("x", mask=False), 1002),
    "unmasked ping": (frame("x", PING, mask=False), 1002),
    "RSV1": (frame("x", first=FIN | RSV1 | TEXT), 1002),
    "RSV2": (frame("x", first=FIN | RSV2 | TEXT), 1002),
    "RSV3": (frame("x", first=FIN | RSV3 | TEXT), 1002),
    "RSV1 of a ping": (frame("x", first=FIN | RSV1 | PING), 1002),
    "opcode 3": (frame("x", 3), 1002),
    "opcode 7": (frame("x", 7), 1002),
    "opcode 11": (frame("x", 11), 1002),
    "opcode 15": (frame("x", 15), 1002),
    "split ping": (frame("x", first=PING), 1002),
    "split close": (frame(first=CLOSE), 1002),
    "long ping": (frame(b"x" * 126, PING), 1002),
    "long close": (frame(ws.close_payload(1000, "x" * 124), CLOSE), 1002),
    "stray continuation": (frame("x", MORE), 1002),
    "stray fragment": (frame("x", first=MORE), 1002),
    "text within a text": (frame("x", first=TEXT) + frame("y", TEXT), 1002),
    "2 bytes for 1": (frame("x", length=2), 1002),
    "2 bytes for 125": (frame("x" * 125, length=2), 1002),
    "8 bytes for 1": (frame("x", length=8), 1002),
    "8 bytes for 126": (frame("x" * 126, length=8), 1002),
    "a negative length": (b"\x81\xff" + b"\xff" * 8 + b"mask", 1002),
    "close of one byte": (frame(b"\x03", CLOSE), 1002),
    "close 999": (frame(ws.close_payload(999), CLOSE), 1002),
    "close 1004": (frame(ws.close_payload(1004), CLOSE), 1002),
    "close 1005": (frame(ws.close_payload(1005), CLOSE), 1002),
    "close 1006": (frame(ws.close_payload(1006), CLOSE), 1002),
    "close 1015": (frame(ws.close_payload(1015), CLOSE), 1002),
    "close 5000": (frame(ws.close_payload(5000), CLOSE), 1002),
    "binary": (frame(b"x", BINARY), 1003),
    "empty binary": (frame(b"", BINARY), 1003),
    "no UTF-8": (frame(b"\xff"), 1007),
    "overlong": (frame(OVERLONG), 1007),
    "surrogate": (frame(SURROGATE), 1007),
    "beyond Unicode": (frame(b"\xf4\x90\x80\x80"), 1007),
    "cut at the end": (frame("€".encode()[:2]), 1007),
    "cut in fragments": (frame(b"\xe2", first=TEXT) + frame(b"\x82", first=MORE)
                         + frame(b"x", MORE), 1007),
    "found before the end": (frame(b"\xff", first=TEXT), 1007),
    "reason without UTF-8": (frame(ws.close_payload(1000, b"\xff"), CLOSE), 1007),
    "too large": (frame(b"x" * 131073), 1009),
    "its head is enough": (b"\x81\xff" + (1 << 40).to_bytes(8, "big") + b"mask", 1009),
    "too large in fragments": (frame(b"x" * 100000, first=TEXT) + frame(b"x" * 40000, MORE), 1009),
    "65 empty fragments": (frame(b"", first=TEXT) + frame(b"", first=MORE) * 64, 1008),
}


@pytest.fixture
def quick(gateway_factory):
    """No limit of the rate is in the way."""
    return gateway_factory(settings={"limits.message_rate": "0"})


@pytest.mark.parametrize("protocol", [None, ws.V1])
def test_faults_end_it_with_a_code(quick, protocol):
    """Each of them: no event, a Close that says why, and its end in order; what stands behind is
    dropped; others notice nothing."""
    stream = quick.stream()
    for name, (data, code) in FAULTS.items():
        opened = ws.connect(quick, "a", protocol=protocol)
        with contextlib.suppress(ConnectionError):
            opened.send(data + frame("behind"))
        try:
            reason = opened.finish(code)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        assert reason and reason.isprintable(), (name, reason)
        assert not any('"bye"' in text for text in opened.last_texts), name
        opened.close()
    quick.push({"data": "end"})
    assert stream.next_event().data == "end"
    assert quick.stat("websocket_errors") == len(FAULTS)
    assert quick.stat("websockets_open") == 0


def test_one_byte_at_a_time(quick):
    """Heads, masks, lengths of all forms, characters and controls, cut everywhere."""
    stream = quick.stream("a")
    texts = ["x", "€😀", "y" * 126, "", "z" * 300]
    opened = ws.connect(quick, "none", publish="a")
    data = b"".join(frame(text) + frame(f"{i}", PING) for i, text in enumerate(texts))
    first, second, third = ws.in_pieces("€".encode())
    data += frame(first, first=TEXT) + frame(b"in it", PING) + frame(second, first=MORE)
    data += frame(b"", first=MORE) + frame(third, MORE)
    for piece in ws.in_pieces(data):
        opened.send(piece)
    assert [event.data for event in stream.events(6)] == [*texts, "€"]
    pongs = []
    while not pongs or pongs[-1] != b"in it":
        found = opened.next_frame()
        pongs += [found.payload] if found.opcode == PONG else []
    assert pongs[0] == b"0"
    opened.say_close(4999, "bye")
    assert opened.finish(4999, answer=False) in ("", "bye")


def test_random_pieces(quick):
    """Frames of all sizes, fragments with pings between them, in segments cut anywhere."""
    stream = quick.stream("a")
    opened = ws.connect(quick, "none", publish="a")
    rng = random.Random(20)
    texts, data = [], b""
    for number in range(200):
        text = f"{number} " + "ä€😀x" * rng.choice((0, 1, 20, 40, 2000))
        raw = text.encode()
        texts.append(text)
        cuts = sorted(rng.randrange(len(raw) + 1) for _ in range(rng.randrange(4)))
        parts = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)])]
        for at, part in enumerate(parts):
            last = at == len(parts) - 1
            data += frame(part, first=(FIN if last else 0) | (MORE if at else TEXT))
            data += frame(b"p", rng.choice((PING, PONG))) if rng.random() < 0.2 else b""
    at = 0
    while at < len(data):
        size = rng.choice((1, 2, 3, 7, 100, 4096, 70000))
        opened.send(data[at:at + size])
        at += size
    assert [event.data for event in stream.events(200, 30)] == texts


def test_largest_message(quick):
    """Up to the byte; that it is too large for an event is said after it was read."""
    opened = ws.connect_v1(quick, "a")
    form = '{"type":"publish","ref":1,"events":{"topic":"b","data":1%s}}'
    opened.text(form % (" " * (131072 - len(form) + 2)))
    assert opened.next_of("ack")["ref"] == 1
    opened.json(type="publish", events={"topic": "a", "data": "x" * 70000})
    assert opened.next_of("error")["code"] == "event_too_large"
    for text in (" " * 65537, '{"type":"publish"%s,"ref":1,"events":{"data":1}}' % (" " * 1000)):
        opened.text(text)
        assert opened.next_of("error")["code"] == "message_too_large"
    opened.text(form % (" " * (131073 - len(form) + 2)))
    opened.finish(1009)


def test_pings(quick):
    """Answered with their payload; of many that come at once at least the last; a pong that nobody
    asked for is fine."""
    opened = ws.connect(quick, "a")
    for payload in (b"", b"x" * 125, b"\x00\xff"):
        opened.send(frame(payload, PING))
        assert opened.next_frame() == ws.Frame(FIN | PONG, payload)
    opened.send(frame(b"unasked", PONG))
    opened.send(b"".join(frame(f"{i}", PING) for i in range(500)))
    payloads = [opened.next_frame().payload]
    while payloads[-1] != b"499":
        payloads.append(opened.next_frame().payload)
    assert payloads == sorted(payloads, key=int), payloads
    quick.push({"topic": "a", "data": "x"})
    assert opened.next_text() == "x"


def test_ping_flood_of_a_client_that_reads_nothing(quick):
    """Its pongs do not pile up in the gateway, and others are served."""
    opened = ws.connect(quick, "a", receive_buffer=4096)
    opened.wire.socket.settimeout(1)
    used = quick.stat("memory_used")
    with contextlib.suppress(OSError):
        for _ in range(wire.fewer(200, 50)):
            opened.send(frame(b"x" * 125, PING) * 1000)
    assert quick.stat("memory_used") < used + 10000000
    with ws.connect(quick, "a") as other:
        quick.push({"topic": "a", "data": "x"})
        assert other.next_text() == "x"


@pytest.mark.gateway(settings={"limits.message_rate": "20"})
def test_rate(gateway):
    """Twice as many at once are fine, and as many a second; more end it."""
    calm = ws.connect(gateway, "none", publish="a")
    stream = gateway.stream("a")
    calm.send(b"".join(frame(f"{i}") for i in range(35)))
    assert len(stream.events(35)) == 35
    for kind, protocol in ((frame("x"), None), (frame(b"", PING), None),
                           (frame('{"type":"pong"}'), ws.V1)):
        hasty = ws.connect(gateway, "none", protocol=protocol)
        with contextlib.suppress(ConnectionError):
            hasty.send(kind * 500)
        hasty.finish(1008)
    time.sleep(0.3)  # what fills the bucket is the time itself
    calm.text("still here")
    assert stream.next_event().data in ("x", "still here")


@pytest.mark.gateway(settings={"limits.body_timeout": "1s"})
def test_drip(gateway):
    """A message that has begun must end in time, however it drips; a silent client may be so."""
    quiet = ws.connect(gateway, "a")
    inside = ws.connect(gateway, "a")
    inside.send(frame("half a frame")[:-3])
    fragment = ws.connect(gateway, "a")
    fragment.send(frame("half a message", first=TEXT))
    head = ws.connect(gateway, "a")
    head.send(b"\x81")
    drip = ws.connect(gateway, "a")
    begun = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in ws.in_pieces(frame("x" * 1000)):
            drip.send(byte)
            if drip.wire.receive(1, 0.05) or drip.wire.end:
                break
    assert time.monotonic() - begun < wire.seconds(5)
    for each in (inside, fragment, head):
        each.finish(1008)
    quiet.text("hello")
    assert quiet.next_text() == "hello"


def deflated(data):
    """A message of permessage-deflate, without the tail that is left out."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    out = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
    return out[:-4]


DEFLATE = {"websocket.deflate": "on", "limits.message_rate": "0"}
OFFERS = [
    ("permessage-deflate", True),
    ("permessage-deflate; client_max_window_bits", True),
    ("permessage-deflate; client_max_window_bits=10", True),
    ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", True),
    ("permessage-deflate; server_max_window_bits=15", True),
    ("permessage-deflate; server_max_window_bits=10", False),
    ("permessage-deflate; server_max_window_bits=10, permessage-deflate", True),
    ("permessage-deflate; frobnicate", False),
    ("permessage-deflate; client_max_window_bits; client_max_window_bits", False),
    ("permessage-deflate; server_max_window_bits=16", False),
    ("permessage-deflate; server_no_context_takeover=1", False),
    ("x-webkit-deflate-frame", False),
    ("x-other; a=\"b\", permessage-deflate", True),
]


@pytest.mark.gateway(settings=DEFLATE)
def test_compression_is_agreed(gateway):
    for offer, agreed in OFFERS:
        with ws.connect(gateway, "a", headers=[("Sec-WebSocket-Extensions", offer)]) as opened:
            assert opened.deflates == agreed, (offer, opened.head.raw)
            if agreed:
                words = opened.head.get("Sec-WebSocket-Extensions").replace(" ", "").split(";")
                assert words[0] == "permessage-deflate"
                assert set(words) >= {"server_no_context_takeover", "client_no_context_takeover"}
    for offer in ("; ;", "permessage-deflate; =", "a b"):
        answer = ws.refused(gateway, headers=[("Sec-WebSocket-Extensions", offer)])
        assert answer.problem(400)["code"] == "invalid_handshake", offer


@pytest.mark.gateway(settings=DEFLATE)
def test_compressed_messages(gateway):
    """Large ones are, small ones are not, and both kinds of client hear the same."""
    opened = ws.connect(gateway, "a", headers=[ws.OFFER], publish="b")
    plain = ws.connect(gateway, "a", "b")
    small, large = "x" * 100, "abcdefgh" * 1000
    noise = bytes(random.Random(1).randrange(32, 127) for _ in range(600)).decode()
    for data in (small, large, noise, large):
        gateway.push_text(data, topic="a")
    for data, packed in ((small, False), (large, True), (noise, None), (large, True)):
        found = opened.next_frame()
        assert packed in (None, bool(found.first & RSV1)), found.payload[:20]
        assert opened._text_of(found) == data
    assert plain.texts(4) == [small, large, noise, large]
    for data in ("", "short", large, "€" * 20000):
        opened.send(frame(deflated(data.encode()), first=FIN | RSV1 | TEXT))
        assert plain.next_text() == data
    part = deflated(b"in fragments" * 100)
    opened.send(frame(part[:7], first=RSV1 | TEXT) + frame(b"", PING) + frame(part[7:], MORE))
    assert plain.next_text() == "in fragments" * 100
    opened.text("plain all the same")
    assert plain.next_text() == "plain all the same"


@pytest.mark.gateway(settings=DEFLATE)
def test_bombs_and_damage(gateway):
    """A few bytes that would be gigabytes, and what is no deflate at all."""
    bomb = deflated(b"x" * (50 << 20))
    assert len(bomb) < 60000
    used = gateway.stat("memory_used")
    for data, code in ((bomb, 1009), (deflated(b"x" * 131073), 1009), (b"\xff" * 20, 1007),
                       (deflated(b"\xff\xfe"), 1007), (deflated("€".encode()[:2]), 1007)):
        opened = ws.connect(gateway, "a", headers=[ws.OFFER])
        opened.send(frame(data, first=FIN | RSV1 | TEXT))
        opened.finish(code)
    for first in (FIN | RSV1 | PING, FIN | RSV2 | TEXT):
        opened = ws.connect(gateway, "a", headers=[ws.OFFER])
        opened.send(frame(b"x", first=first))
        opened.finish(1002)
    opened = ws.connect(gateway, "a", headers=[ws.OFFER])
    opened.send(frame(b"x", first=RSV1 | TEXT) + frame(b"x", first=FIN | RSV1 | MORE))
    opened.finish(1002)
    assert gateway.stat("events_published") == 0
    assert gateway.stat("memory_used") < used + 10000000


# ---- those that do not read, or go ----


STALL = {"stream.stall_timeout": "2s", "stream.heartbeat": "60s", "limits.message_rate": "0"}


@pytest.mark.gateway(settings=STALL)
def test_stalled(gateway):
    """As a stream: cut off and listed; those that read lose nothing."""
    stalled = [ws.connect(gateway, "bulk", receive_buffer=4096, protocol=protocol)
               for protocol in (None, ws.V1, None)]
    healthy = ws.connect(gateway, "bulk")
    for _ in range(wire.fewer(30, 15)):
        push_bulk(gateway, "bulk", 10)
        assert healthy.texts(10, 30) == ["x" * 32000] * 10
    gateway.wait_stat("streams_stalled", 3, 12)
    assert gateway.stat("websockets_open") == 1
    for opened in stalled:
        opened.end()
        assert opened.wire.end == "reset"
    listed = gateway.request("GET", "/api/evictions").json()["evictions"]
    assert {each["why"] for each in listed} == {"stalled"}


@pytest.mark.long
@pytest.mark.gateway(settings={**STALL, "stream.stall_timeout": "6s"})
def test_slow_reader_keeps_everything(gateway):
    opened = ws.connect(gateway, "bulk", receive_buffer=8192)
    ids = push_bulk(gateway, "bulk", wire.fewer(150, 80))
    until = time.monotonic() + 8
    while time.monotonic() < until:
        opened.wire.buffer += opened.wire.receive(1024)
        time.sleep(0.2)
    assert gateway.stat("streams_stalled") == 0
    assert opened.texts(len(ids), 30) == ["x" * 32000] * len(ids)


@pytest.mark.gateway(settings=STALL)
def test_client_that_publishes_and_reads_nothing(gateway):
    """Answers do not pile up either: what it sends is not read any more."""
    opened = ws.connect(gateway, "none", protocol=ws.V1, receive_buffer=4096)
    used = gateway.stat("memory_used")
    opened.wire.socket.settimeout(0.5)
    with contextlib.suppress(OSError):
        for _ in range(wire.fewer(3000, 500)):
            opened.send(frame('{"type":"ping","ref":"' + "x" * 60 + '"}') * 10)
    assert gateway.stat("memory_used") < used + 10000000
    stream = gateway.stream("a")
    gateway.push({"topic": "a", "data": "x"})
    assert stream.next_event().data == "x"


@pytest.mark.gateway(settings={"stream.heartbeat": "3s", "stream.vanish_timeout": "2s"})
def test_heartbeats(gateway):
    """A Pong that nobody need answer, or a message that a page can see; other frames are life."""
    opened = ws.connect(gateway, "a")
    seen = ws.connect_v1(gateway, "a", ping="event")
    begun = time.monotonic()
    assert opened.next_frame().opcode == PONG
    assert 1 < time.monotonic() - begun < wire.seconds(5)
    assert seen.hello["heartbeat"] == 3
    while (message := seen.next_json())["type"] == "checkpoint":
        pass
    assert message == {"type": "ping"}
    gateway.push({"topic": "a", "data": "x"})
    assert opened.next_text() == "x"


@pytest.mark.long
@pytest.mark.gateway(settings={"stream.heartbeat": "3s", "stream.vanish_timeout": "2s"})
def test_client_that_answers_no_ping_has_vanished(gateway):
    """Its machine acknowledges, so only the silence of the client itself tells; one that answers
    stays.  Every fourth heartbeat is a ping."""
    mute = ws.connect(gateway, "a", heartbeat=3)
    alive = ws.connect(gateway, "a", heartbeat=3)
    kinds = []
    begun = time.monotonic()
    mute.wire.socket.setblocking(True)
    while mute.wire.end is None and time.monotonic() - begun < wire.seconds(40):
        with contextlib.suppress(TimeoutError):
            mute.wire.receive(timeout=0.05)
        with contextlib.suppress(TimeoutError, AssertionError):
            found = alive.next_frame(0.05)
            kinds.append(found.opcode)
            alive._take_control(found)
    lasted = time.monotonic() - begun
    assert mute.wire.end in ("reset", "closed") and not mute.wire.buffer
    assert 12 < lasted < wire.seconds(36), lasted
    assert kinds.index(PING) == 3 and set(kinds) == {PING, PONG}, kinds
    # the figures of its worker follow the end of the socket
    gateway.wait_stat("streams_vanished", 1)
    gateway.wait_stat("websockets_open", 1)


@pytest.mark.parametrize("how", ["reset", "half_close", "close"])
def test_client_that_goes_without_a_word(gateway, how):
    """Its end is noticed at once, also in the midst of a frame and with a text on its way."""
    opened = [ws.connect(gateway, "a", publish="b", protocol=None) for _ in range(9)]
    stream = gateway.stream("b")
    for number, each in enumerate(opened):
        if number % 3 == 1:
            each.send(frame("half")[:5])
        elif number % 3 == 2:
            each.text("whole")
    if how == "half_close":
        assert [event.data for event in stream.events(3)] == ["whole"] * 3
    for each in opened:
        getattr(each.wire, how)()
    gateway.wait_stat("websockets_open", 0)
    gateway.wait_stat("streams_left", 9)
    if how == "half_close":
        for each in opened:
            each.end()
    assert cpu_share(gateway) < 0.1
    gateway.push({"topic": "b", "data": "end"})
    stream.events_until("end")


def test_close_is_answered_behind_what_was_sent(gateway):
    """A client's Close: the events before it are published, the event under way is whole, and the
    answer has its code."""
    for code in (1000, 1001, 3000, 4999, None):
        opened = ws.connect(gateway, "none", publish="a")
        stream = gateway.stream("a")
        opened.send(frame("last words") + frame(ws.close_payload(code), CLOSE) + frame("behind"))
        assert stream.next_event().data == "last words"
        assert opened.finish(code, answer=False) == ""
        stream.close()
    gateway.wait_stat("websockets_open", 0)
    assert gateway.stat("websocket_errors") == 0
    assert gateway.stat("events_published") == 5


def test_idle_ones_burn_no_cpu(gateway):
    """A hundred quiet ones, half of them in the midst of a frame."""
    opened = [ws.connect(gateway, "a") for _ in range(100)]
    for each in opened[:50]:
        each.send(frame("x" * 100)[:20])
    assert cpu_share(gateway) < 0.1
    gateway.push({"topic": "a", "data": "x"})
    assert [each.next_text() for each in opened] == ["x"] * 100
