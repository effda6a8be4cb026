# SPDX-License-Identifier: MIT
"""What RFC 6455 and RFC 7692 demand of a server, case by case, against a small server that echoes
around the parser (test/wire/ws_echo.c): what a client sends, and the frames that must come back.

Each case is sent whole, in random pieces, and byte by byte where it is short.  After a Close of the
server the socket must end in order, not by a reset.
"""

import os
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import sys
import zlib

import pytest
import wire

BUGLE = pathlib.Path(os.environ.get("BUGLE", "./bugle")).resolve()
TOOLS = BUGLE.parent / "test" / "wire"
SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
MODULES = SOURCE / "build" / "interop" / "node_modules"  # where bootstrap has npm's ws installed

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
MASK = b"\x37\xFA\x21\x3D"
SHORT_BYTES = 400  # what is sent byte by byte

GOOD_HEAD = ("GET /{limit} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


# ---- what a client sends

def frame(opcode, payload=b"", fin=True, rsv=0, mask=MASK, length=None):
    """A frame of a client; `length`: the bytes that tell it, instead of the shortest form."""
    if isinstance(payload, str):
        payload = payload.encode()
    first = (FIN if fin else 0) | rsv | opcode
    masked = 0x80 if mask else 0
    if length is None:
        if len(payload) < 126:
            length = bytes([len(payload)])
        elif len(payload) < 65536:
            length = b"\x7E" + struct.pack(">H", len(payload))
        else:
            length = b"\x7F" + struct.pack(">Q", len(payload))
    head = bytes([first, length[0] | masked]) + length[1:] + (mask or b"")
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + payload


def text(payload="", **more):
    return frame(TEXT, payload, **more)


def parts(*payloads, opcode=TEXT, rsv=0):
    """A message in fragments; bytes that begin with a control frame's opcode in a tuple stand
    between them."""
    sent, first = b"", True
    for i, payload in enumerate(payloads):
        if isinstance(payload, tuple):
            sent += frame(*payload)
            continue
        sent += frame(opcode if first else CONT, payload, fin=i == len(payloads) - 1,
                      rsv=rsv if first else 0)
        first = False
    return sent


def close(code=None, reason=b""):
    return frame(CLOSE, b"" if code is None else struct.pack(">H", code) + reason)


def pack(payload, level=6, window=15, strategy=zlib.Z_DEFAULT_STRATEGY, flush=zlib.Z_SYNC_FLUSH):
    if isinstance(payload, str):
        payload = payload.encode()
    packer = zlib.compressobj(level, zlib.DEFLATED, -window, 8, strategy)
    packed = packer.compress(payload) + packer.flush(flush)
    if flush == zlib.Z_SYNC_FLUSH:
        assert packed.endswith(b"\0\0\xff\xff")
        return packed[:-4]
    return packed + b"\0"


def packed(payload, cuts=(), **more):
    """A compressed message, in fragments that end at `cuts`."""
    sent = pack(payload, **more)
    ends = [0, *cuts, len(sent)]
    return parts(*(sent[a:b] for a, b in zip(ends, ends[1:])), rsv=RSV1)


def raw_packed(payload):
    return text(payload, rsv=RSV1)


# ---- what comes back: tuples of opcode and payload, a Close as (CLOSE, code)

def echo(payload=""):
    return (TEXT, payload.encode() if isinstance(payload, str) else payload)


def pong(payload=b""):
    return (PONG, payload)


def fails(code):
    return (CLOSE, code)


class Client:
    def __init__(self, port, limit, deflates, more=""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=wire.seconds(20))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.kept = b""
        head = GOOD_HEAD.format(limit=limit) + (DEFLATE if deflates else "") + more + "\r\n"
        self.socket.sendall(head.encode())
        self.head = self.read_head()

    def read(self, n):
        while len(self.kept) < n:
            got = self.socket.recv(65536)
            if not got:
                raise EOFError
            self.kept += got
        taken, self.kept = self.kept[:n], self.kept[n:]
        return taken

    def read_head(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        return head.decode()

    def read_frame(self):
        """(opcode, payload); a server's frame must be whole, unmasked and in its shortest form."""
        first, second = self.read(2)
        assert first & FIN and not first & (RSV2 | RSV3) and not second & 0x80
        n = second
        if n == 126:
            n, = struct.unpack(">H", self.read(2))
            assert n > 125
        elif n == 127:
            n, = struct.unpack(">Q", self.read(8))
            assert n > 65535
        payload = self.read(n)
        if first & RSV1:
            assert first & 15 == TEXT and "permessage-deflate" in self.head
            payload = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
        return first & 15, payload

    def read_all(self):
        """What comes up to the server's Close, and then the end of the stream."""
        came = []
        while True:
            try:
                opcode, payload = self.read_frame()
            except EOFError:
                return came
            if opcode == CLOSE:
                assert len(payload) != 1 and len(payload) <= 125
                code = struct.unpack(">H", payload[:2])[0] if payload else None
                payload[2:].decode()
                came.append((CLOSE, code))
                assert not self.kept and self.socket.recv(1) == b"", "more behind a Close"
                return came
            came.append((opcode, payload))


@pytest.fixture(scope="module")
def port():
    with subprocess.Popen([str(TOOLS / "ws_echo")], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        yield int(program.stdout.readline())
        program.terminate()
        _, said = program.communicate()
        assert not said, said.decode(errors="replace")


# ---- the table

CASES = []


def case(name, sent, *want, limit=131072, deflates=False, ends=True):
    """`ends`: the client sends a Close of 1000 behind it, which is answered; not where the server
    is to fail the connection."""
    failed = any(opcode == CLOSE for opcode, _ in want)
    if ends and not failed:
        sent += close(1000)
        want += ((CLOSE, 1000),)
    CASES.append(pytest.param(sent, list(want), limit, deflates, id=name.replace(" ", "-")))


def framing():
    for n in (0, 1, 125, 126, 127, 128, 255, 256, 4095, 4096, 4097, 65535, 65536, 131072):
        case(f"text of {n}", text("*" * n), echo("*" * n))
    for n in (126, 65536):
        case(f"two texts of {n}", text("a" * n) + text("b" * n), echo("a" * n), echo("b" * n))
    for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\1\2\3", b"AAAA"):
        case(f"mask {key.hex()}", text("masked with this", mask=key), echo("masked with this"))
    for n in range(1, 18):
        case(f"mask over {n}", text("0123456789abcdefgh"[:n]), echo("0123456789abcdefgh"[:n]))
    case("NUL in text", text("a\0b"), echo("a\0b"))
    case("many texts", b"".join(text(str(i)) for i in range(200)),
         *(echo(str(i)) for i in range(200)))
    case("binary", frame(BINARY, b"x"), fails(1003))
    case("empty binary", frame(BINARY), fails(1003))
    case("binary in fragments", parts(b"a", b"b", opcode=BINARY), fails(1003))
    case("binary after text", text("a") + frame(BINARY, b"x"), echo("a"), fails(1003))


def masking():
    for opcode, name in ((TEXT, "text"), (CONT, "continuation"), (PING, "ping"), (PONG, "pong"),
                         (CLOSE, "close")):
        case(f"unmasked {name}", frame(opcode, b"" if opcode == CLOSE else b"x", mask=None),
             fails(1002))
    case("unmasked after masked", text("a") + text("b", mask=None) + text("c"), echo("a"),
         fails(1002))
    case("unmasked fragment", parts(b"a", b"")[:-6] + frame(CONT, b"b", mask=None), fails(1002))
    case("unmasked empty text", text("", mask=None), fails(1002))
    case("unmasked text of 126", text("x" * 126, mask=None), fails(1002))


def lengths():
    for n in (0, 1, 125):
        case(f"length {n} in 16 bits", text("x" * n, length=b"\x7E" + struct.pack(">H", n)),
             fails(1002))
    for n in (0, 1, 125, 126, 65535):
        case(f"length {n} in 64 bits", text("x" * n, length=b"\x7F" + struct.pack(">Q", n)),
             fails(1002))
    for n in (1 << 63, (1 << 64) - 1):
        case(f"length {n:x}", text("", length=b"\x7F" + struct.pack(">Q", n)), fails(1002))
    for n in ((1 << 63) - 1, 1 << 32, 1 << 31, 131073):
        case(f"length {n:x} beyond the limit", text("", length=b"\x7F" + struct.pack(">Q", n)),
             fails(1009))
    for opcode in (PING, PONG, CLOSE):
        case(f"control {opcode} with 16 bits", frame(opcode, length=b"\x7E\0\5"), fails(1002))
        case(f"control {opcode} with 64 bits", frame(opcode, length=b"\x7F" + bytes(8)),
             fails(1002))


def control():
    for n in (0, 1, 124, 125):
        payload = bytes(range(n))
        case(f"ping of {n}", frame(PING, payload), pong(payload))
        case(f"pong of {n}", frame(PONG, payload))
    for n in (126, 127, 65536):
        for opcode in (PING, PONG, CLOSE):
            case(f"control {opcode} of {n}", frame(opcode, b"x" * n), fails(1002))
    for opcode in (PING, PONG, CLOSE):
        case(f"control {opcode} in fragments", frame(opcode, b"", fin=False), fails(1002))
        case(f"control {opcode} in fragments inside a text",
             text("a", fin=False) + frame(opcode, b"", fin=False), fails(1002))
    case("ping that is no UTF-8", frame(PING, b"\xff\xfe\0"), pong(b"\xff\xfe\0"))
    case("pong nobody asked for", frame(PONG, b"x") + text("a"), echo("a"))
    case("ten pings", b"".join(frame(PING, bytes([i])) for i in range(10)),
         *(pong(bytes([i])) for i in range(10)))
    case("ping and text", frame(PING, b"p") + text("a") + frame(PING, b"q"), pong(b"p"),
         echo("a"), pong(b"q"))
    case("pong before a bad frame", frame(PING, b"p") + frame(3), pong(b"p"), fails(1002))


def reserved():
    for rsv in range(0x10, 0x80, 0x10):
        for opcode, name in ((TEXT, "text"), (BINARY, "binary"), (PING, "ping"), (PONG, "pong"),
                             (CLOSE, "close")):
            case(f"rsv {rsv >> 4} in {name}", frame(opcode, b"", rsv=rsv), fails(1002))
        case(f"rsv {rsv >> 4} in a continuation",
             text("a", fin=False) + frame(CONT, b"b", rsv=rsv), fails(1002))
        case(f"rsv {rsv >> 4} after a text and a ping",
             text("a") + frame(PING) + text("b", rsv=rsv), echo("a"), pong(), fails(1002))
        if rsv != RSV1:
            case(f"rsv {rsv >> 4} with deflate", text("", rsv=rsv), fails(1002), deflates=True)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        case(f"opcode {opcode}", frame(opcode), fails(1002))
        case(f"opcode {opcode} with payload", frame(opcode, b"x"), fails(1002))
        case(f"opcode {opcode} after a text", text("a") + frame(opcode, b"x") + text("b"),
             echo("a"), fails(1002))
        case(f"opcode {opcode} inside a text", text("a", fin=False) + frame(opcode), fails(1002))


def fragments():
    word = "fragment"
    for i in range(len(word) + 1):
        case(f"two fragments cut at {i}", parts(word[:i], word[i:]), echo(word))
        case(f"ping between fragments cut at {i}", parts(word[:i], (PING, b"p"), word[i:]),
             pong(b"p"), echo(word))
    case("three fragments", parts("a", "b", "c"), echo("abc"))
    case("hundred fragments", parts(*"x" * 100), echo("x" * 100))
    case("large fragments", parts("a" * 65536, "b" * 65536), echo("a" * 65536 + "b" * 65536))
    case("empty first", parts("", "a"), echo("a"))
    case("empty last", parts("a", ""), echo("a"))
    case("empty between", parts("a", "", "b"), echo("ab"))
    case("all empty", parts("", "", ""), echo(""))
    case("64 empty", parts("a", *[""] * 64, "b"), echo("ab"))
    case("65 empty", parts("a", *[""] * 65, "b"), fails(1008))
    case("64 empty twice", parts(*[""] * 64, "b") * 2, echo("b"), echo("b"))
    case("1000 empty", parts("a", *[""] * 1000), fails(1008))
    case("pongs and pings between", parts("a", (PONG, b"x"), (PING, b"y"), (PING, b"z"), "b"),
         pong(b"y"), pong(b"z"), echo("ab"))
    case("close between", parts("a", (CLOSE, b"\x03\xe8"), "b"), (CLOSE, 1000))
    case("stray continuation", frame(CONT, b"a"), fails(1002))
    case("stray first continuation", frame(CONT, b"a", fin=False), fails(1002))
    case("continuation after a whole text", text("a") + frame(CONT, b"b"), echo("a"), fails(1002))
    case("continuation after fragments", parts("a", "b") + frame(CONT, b"c"), echo("ab"),
         fails(1002))
    case("continuation after a ping", frame(PING) + frame(CONT), pong(), fails(1002))
    case("text inside a text", text("a", fin=False) + text("b"), fails(1002))
    case("fragment inside a text", text("a", fin=False) + text("b", fin=False), fails(1002))
    case("binary inside a text", text("a", fin=False) + frame(BINARY, b"b"), fails(1002))
    case("fragments after fragments", parts("a", "b") + parts("c", "d"), echo("ab"), echo("cd"))
    case("text after fragments", parts("a", "b") + text("c"), echo("ab"), echo("c"))


GOOD_UTF8 = ["\u0080", "\u07ff", "\u0800", "\uffff", "\ud7ff", "\ue000", "\ufffd", "\ufffe",
             "\U00010000", "\U0010ffff", "\ufeff", "\u03ba\u1f79\u03c3\u03bc\u03b5",
             "\u2260\u20ac", "\U0001f41d", "a\u0301"]
BAD_UTF8 = {  # what can go on no more: with its last byte
    "continuation": b"\x80", "last continuation": b"\xbf", "two continuations": b"\x80\xbf",
    "C0": b"\xc0", "C1": b"\xc1", "F5": b"\xf5", "F8": b"\xf8", "FE": b"\xfe", "FF": b"\xff",
    "overlong of 2": b"\xc0\xaf", "overlong of 3": b"\xe0\x9f", "overlong of 4": b"\xf0\x8f",
    "first surrogate": b"\xed\xa0", "last surrogate": b"\xed\xbf", "beyond 10FFFF": b"\xf4\x90",
    "lead after lead": b"\xc3\xc3", "ASCII after a lead of 2": b"\xc3a",
    "ASCII after a lead of 3": b"\xe2a", "ASCII after two of 3": b"\xe2\x82a",
    "ASCII after three of 4": b"\xf0\x9f\x90a", "lead after two of 3": b"\xe2\x82\xc3",
}
CUT_UTF8 = [b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f", b"\xf0\x9f\x90"]


def utf8():
    for good in GOOD_UTF8:
        name = "-".join(f"{ord(c):x}" for c in good)
        payload = good.encode()
        case(f"utf8 {name}", text(payload), echo(payload))
        for i in range(1, len(payload)):
            case(f"utf8 {name} cut at {i}", parts(payload[:i], payload[i:]), echo(payload))
            case(f"utf8 {name} cut at {i} with a ping",
                 parts(payload[:i], (PING, b"\x80"), payload[i:]), pong(b"\x80"), echo(payload))
        case(f"utf8 {name} in single bytes",
             parts(*(payload[i:i + 1] for i in range(len(payload)))), echo(payload))
    for name, bad in BAD_UTF8.items():
        case(f"bad utf8 {name}", text(b"ok" + bad), fails(1007))
        # before the message is complete: nothing follows
        case(f"bad utf8 {name} in a first fragment", text(bad, fin=False), fails(1007))
        case(f"bad utf8 {name} in a frame that is not complete",
             text(b"ok" + bad + b"never sent")[:-10], fails(1007))
        for i in range(1, len(bad)):
            case(f"bad utf8 {name} cut at {i}",
                 text(bad[:i], fin=False) + frame(CONT, bad[i:], fin=False), fails(1007))
    for cut in CUT_UTF8:
        case(f"utf8 that ends in {cut.hex()}", text(b"x" + cut), fails(1007))
        case(f"utf8 that ends in {cut.hex()} in fragments", parts(b"x", cut), fails(1007))
        case(f"utf8 that ends in {cut.hex()} and an empty one", parts(cut, b""), fails(1007))
        case(f"utf8 {cut.hex()} then a new character", parts(cut, b"\xc3\xbc"), fails(1007))
    case("good text after good text", text("\u20ac") + text(b"\xff"), echo("\u20ac"), fails(1007))
    case("state begins anew", parts("\u20ac", "") + text("\u20ac"), echo("\u20ac"), echo("\u20ac"))


def closes():
    case("close without code", close(), (CLOSE, None))
    case("close of one byte", frame(CLOSE, b"\x03"), fails(1002))
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000,
                 3999, 4000, 4401, 4999):
        case(f"close {code}", close(code), (CLOSE, code))
    for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535):
        case(f"close {code}", close(code), fails(1002))
        case(f"close {code} with a reason", close(code, b"why"), fails(1002))
    case("close with a reason", close(1000, "good bye, \u20ac".encode()), (CLOSE, 1000))
    case("close with the longest reason", close(1000, b"x" * 123), (CLOSE, 1000))
    case("close with a reason too long", close(1000, b"x" * 124), fails(1002))
    for bad in (b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"):
        case(f"close with bad reason {bad.hex()}", close(1000, bad), fails(1007))
    case("text after close", close(1000) + text("a"), (CLOSE, 1000))
    case("ping after close", close(1000) + frame(PING), (CLOSE, 1000))
    case("close after close", close(1001) + close(1000), (CLOSE, 1001))
    case("bad frame after close", close(1000) + frame(3), (CLOSE, 1000))
    case("much after close", close(1000) + text("x" * 100000), (CLOSE, 1000))
    case("much after a bad frame", frame(3) + text("x" * 100000), fails(1002))
    case("text then close", text("a") + close(1000), echo("a"), (CLOSE, 1000))


def limits():
    for n in (99, 100):
        case(f"limit text of {n}", text("x" * n), echo("x" * n), limit=100)
        case(f"limit fragments of {n}", parts("x" * 50, "x" * (n - 50)), echo("x" * n), limit=100)
    for n in (101, 126, 65536):
        case(f"limit text of {n}", text("x" * n), fails(1009), limit=100)
    case("limit by the head alone", text("x" * 101)[:2], fails(1009), limit=100)
    case("limit by a head of 16 bits", text("x" * 200)[:4], fails(1009), limit=100)
    case("limit by a head of 64 bits", text("x" * 70000)[:10], fails(1009), limit=100)
    case("limit of fragments", parts("x" * 50, "x" * 51), fails(1009), limit=100)
    case("limit of fragments by the head", parts("x" * 50, "x" * 51)[:58], fails(1009), limit=100)
    case("limit of many fragments", parts(*"x" * 101), fails(1009), limit=100)
    case("limit with pings between", parts("x" * 60, (PING, b"p" * 125), "x" * 40),
         pong(b"p" * 125), echo("x" * 100), limit=100)
    case("limit begins anew", text("x" * 100) * 3, *[echo("x" * 100)] * 3, limit=100)
    case("limit in bytes not characters", text("\u20ac" * 34), fails(1009), limit=100)
    case("limit and bad text", text(b"\xff" * 101), fails(1009), limit=100)


HELLO = bytes.fromhex("f248cdc9c90700")


def deflate():
    def zcase(name, sent, *want, **more):
        case(f"deflate {name}", sent, *want, deflates=True, **more)

    zcase("plain text", text("Hello"), echo("Hello"))
    zcase("RFC example", raw_packed(HELLO), echo("Hello"))
    zcase("RFC example twice", raw_packed(HELLO) * 2, echo("Hello"), echo("Hello"))
    zcase("RFC stored block", raw_packed(bytes.fromhex("000500faff48656c6c6f00")), echo("Hello"))
    zcase("RFC last block", raw_packed(bytes.fromhex("f348cdc9c9070000")), echo("Hello"))
    zcase("RFC two blocks", raw_packed(bytes.fromhex("f248050000 00ffffcac9c90700")),
          echo("Hello"))
    zcase("RFC empty", raw_packed(b"\0"), echo(""))
    zcase("no byte at all", raw_packed(b""), echo(""))
    zcase("empty fixed block", raw_packed(b"\x02\0"), echo(""))
    zcase("last block and no more", raw_packed(bytes.fromhex("f348cdc9c90700")), echo("Hello"))
    zcase("two last blocks", raw_packed(bytes.fromhex("f348cdc9c90700") * 2), echo("HelloHello"))
    for i in range(len(HELLO) + 1):
        zcase(f"fragments cut at {i}", parts(HELLO[:i], HELLO[i:], rsv=RSV1), echo("Hello"))
        zcase(f"ping between fragments cut at {i}",
              parts(HELLO[:i], (PING, b"p"), HELLO[i:], rsv=RSV1), pong(b"p"), echo("Hello"))
    for level in range(10):
        zcase(f"level {level}", packed("some text, some more text" * 20, level=level),
              echo("some text, some more text" * 20))
    for window in range(9, 16):
        zcase(f"window {window}", packed("some text, some more text" * 200, window=window),
              echo("some text, some more text" * 200))
    for strategy in (zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED, zlib.Z_FILTERED):
        zcase(f"strategy {strategy}", packed("some text, some more" * 20, strategy=strategy),
              echo("some text, some more" * 20))
    for n in (1, 16, 1000, 4096, 65536, 131072):
        zcase(f"text of {n}", packed("*" * n), echo("*" * n))
    zcase("finished", packed("some text " * 30, flush=zlib.Z_FINISH), echo("some text " * 30))
    zcase("plain between", raw_packed(HELLO) + text("plain") + raw_packed(HELLO), echo("Hello"),
          echo("plain"), echo("Hello"))
    zcase("control frames are not compressed", frame(PING, HELLO), pong(HELLO))
    for opcode in (PING, PONG, CLOSE):
        zcase(f"rsv in control {opcode}", frame(opcode, b"", rsv=RSV1), fails(1002))
    zcase("rsv in a continuation", text(HELLO[:3], fin=False, rsv=RSV1) +
          frame(CONT, HELLO[3:], rsv=RSV1), fails(1002))
    zcase("rsv in the continuation of plain text", text("a", fin=False) +
          frame(CONT, HELLO, rsv=RSV1), fails(1002))
    zcase("compressed binary", frame(BINARY, HELLO, rsv=RSV1), fails(1003))
    zcase("no deflate", raw_packed(b"\x07"), fails(1007))
    zcase("bad stored length", raw_packed(bytes.fromhex("0005000000") + b"Hello"), fails(1007))
    zcase("cut", raw_packed(HELLO[:4]), fails(1007))
    zcase("cut in a stored block", raw_packed(bytes.fromhex("000500faff4865")), fails(1007))
    zcase("text of before is gone", raw_packed(HELLO) + raw_packed(b"\xf2\0\x11\0\0"),
          echo("Hello"), fails(1007))
    zcase("tail that was not taken off", raw_packed(HELLO + b"\0\0\xff\xff"), fails(1007))
    for name, bad in BAD_UTF8.items():
        zcase(f"bad utf8 {name}", packed(b"ok" + bad), fails(1007))
    zcase("bad utf8 in a first fragment", parts(pack(b"\xff" * 10), b"never", rsv=RSV1)[:-11],
          fails(1007))
    for good in GOOD_UTF8[:10]:
        data = pack(good)
        zcase(f"utf8 {ord(good):x}", packed(good), echo(good))
        for i in range(1, len(data)):
            zcase(f"utf8 {ord(good):x} cut at {i}", packed(good, cuts=[i]), echo(good))
    zcase("limit", packed("x" * 100), echo("x" * 100), limit=100)
    zcase("limit and one", packed("x" * 101), fails(1009), limit=100)
    zcase("bomb", packed("x" * 10_000_000), fails(1009))
    zcase("bomb in fragments", packed("x" * 10_000_000, cuts=[100, 5000]), fails(1009))
    zcase("small bomb", packed("x" * 131073), fails(1009))
    zcase("empty blocks without end", raw_packed(b"\0\0\0\xff\xff" * 40), fails(1009), limit=100)
    zcase("stored text of the limit", packed("x" * 100, level=0), echo("x" * 100), limit=100)
    zcase("plain beyond the limit", text("x" * 101), fails(1009), limit=100)
    case("rsv without deflate", raw_packed(HELLO), fails(1002))


for group in (framing, masking, lengths, control, reserved, fragments, utf8, closes, limits,
              deflate):
    group()


def pieces_of(sent, how):
    if how == "whole":
        return [sent]
    if how == "bytes":
        return [sent[i:i + 1] for i in range(len(sent))]
    draw, cuts = random.Random(len(sent)), [0]
    while cuts[-1] < len(sent):
        cuts.append(min(len(sent), cuts[-1] + draw.choice((1, 2, 7, 100, 5000, 50000))))
    return [sent[a:b] for a, b in zip(cuts, cuts[1:])]


@pytest.mark.parametrize("sent, want, limit, deflates", CASES)
def test_case(port, sent, want, limit, deflates):
    for how in ("whole", "pieces", "bytes"):
        if how == "bytes" and len(sent) > SHORT_BYTES:
            continue
        client = Client(port, limit, deflates)
        with client.socket:
            for piece in pieces_of(sent, how):
                client.socket.sendall(piece)
            assert client.read_all() == want, how


def test_there_are_enough_cases():
    names = [case.id for case in CASES]
    assert len(set(names)) == len(names) >= 400


@pytest.mark.parametrize("offer, agreed", [
    ("permessage-deflate", "permessage-deflate"),
    ("permessage-deflate; client_max_window_bits=10", "permessage-deflate"),
    ("permessage-deflate; server_max_window_bits=15", "server_max_window_bits=15"),
    ("permessage-deflate; server_max_window_bits=9", None),
    ("permessage-deflate; server_max_window_bits=9, permessage-deflate", "permessage-deflate"),
    ("permessage-deflate; unknown", None),
    ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
    ("x-webkit-deflate-frame", None),
])
def test_what_is_agreed(port, offer, agreed):
    client = Client(port, 100, False, f"Sec-WebSocket-Extensions: {offer}\r\n")
    with client.socket:
        line, = [line for line in client.head.split("\r\n") if "Extensions" in line] or [""]
        assert (agreed in line) if agreed else not line
        if agreed:
            assert "server_no_context_takeover; client_no_context_takeover" in line
        client.socket.sendall((raw_packed(HELLO) if agreed else text("Hello")) + close(1000))
        assert client.read_all() == [echo("Hello"), (CLOSE, 1000)]


@pytest.mark.skipif(not (MODULES / "ws").exists() or not shutil.which("node"),
                    reason="./bootstrap packages test")
def test_others_read_the_same():
    """A piece of `make wsfuzz`."""
    pytest.importorskip("wsproto")
    done = subprocess.run([sys.executable, str(SOURCE / "test" / "wire" / "ws_differ.py"),
                           "--told", str(TOOLS / "ws_told"), "--modules", str(MODULES),
                           "--cases", "1000", "--seed", "20"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
