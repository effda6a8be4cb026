#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The parser of WebSockets beside two others: the receiver of npm's ws and python3-wsproto read the
same bytes, and must read the same from them.

    make wsfuzz WSFUZZ_ARGS='--cases 100000 --seed 7'

The bytes are frames of a client, most of them good, with faults of every kind between.  Where ours
differs on purpose, or where one of the others does not look, `excused` says so.  The first case
that differs is shown, and its seed.
"""

import argparse
import random
import struct
import subprocess
import sys
import time
import zlib

from wsproto import extensions, frame_protocol

ROUND = 2000
LIMIT = 1500
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
TEXTS = ["", "a", "Hello", "\u00e9", "\u20ac uro", "\U0001f41d bee", "x" * 125, "y" * 126,
         "z" * 300, "\u03ba\u1f79\u03c3\u03bc\u03b5 " * 20, "\0", "\ufeff", "w" * 1500, "v" * 1501]
BAD_TEXTS = [b"\x80", b"\xc0\xaf", b"ok\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"cut \xe2\x82",
             b"\xf0\x9f\x90", b"\xc3\xc3", b"a" * 200 + b"\xfe"]
CODES = [0, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013,
         1014, 1015, 1016, 2000, 2999, 3000, 4000, 4999, 5000, 65535]


# ---- what a client sends

class Case:
    """Bytes of a client.  Faults are rare, so that what comes behind many good frames is read."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.seed = seed
        self.deflates = self.draw.random() < 0.5
        self.is_inside = False
        self.is_damaged = False  # somewhere, perhaps in the compressed bytes of a message
        self.is_mixed = False  # a control frame stands between compressed fragments
        self.bytes = b""
        for _ in range(self.draw.choice((1, 2, 3, 5, 8, 20))):
            self.add()
        if self.chance(0.05):
            self.flip()
        if self.chance(0.1):
            self.bytes = self.bytes[:self.draw.randrange(len(self.bytes) + 1)]
            self.is_damaged = True
        # who has not failed tells so by what it reads of these
        for i in range(3):
            self.bytes += self.frame(PING, b"end %d" % i, mend=True)
        self.bytes += bytes(16)  # a head that is not masked

    def go_on(self):
        """More of it, for who has to see more of a head before judging."""
        self.bytes += bytes(16)
        return self

    def chance(self, share):
        return self.draw.random() < share

    def flip(self):
        at = self.draw.randrange(max(1, len(self.bytes)))
        self.bytes = self.bytes[:at] + bytes([self.draw.randrange(256)]) + self.bytes[at + 1:]
        self.is_damaged = True

    def frame(self, opcode, payload, fin=True, rsv=0, mend=False):
        fault = None if mend else self.draw.choice(("rsv", "mask", "length", "opcode", "fin")) \
            if self.chance(0.02) else None
        n, extra = len(payload), b""
        if fault == "length":  # it may take what follows into a message
            self.is_damaged = True
            form = self.draw.choice((126, 127))
            extra = struct.pack(">H" if form == 126 else ">Q",
                                self.draw.choice((n, 0, 125, 126, 65535)) if form == 126 else
                                self.draw.choice((n, 65535, 65536, 1 << 31, (1 << 53) - 1, 1 << 53,
                                                  (1 << 63) - 1, 1 << 63)))
        else:
            form = n if n < 126 else 126 if n < 65536 else 127
            extra = b"" if n < 126 else struct.pack(">H" if n < 65536 else ">Q", n)
        if fault in ("opcode", "fin"):  # a message may have other frames behind it then
            self.is_mixed = True
        if fault == "opcode":
            opcode = self.draw.randrange(16)
        if fault == "rsv":
            rsv = self.draw.randrange(8) << 4
        if fault == "fin":
            fin = not fin
        mask = self.draw.randbytes(4)
        is_masked = fault != "mask"
        head = bytes([(fin << 7) | rsv | opcode, is_masked << 7 | form]) + extra
        if not is_masked:
            return head + payload
        return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    def payload(self):
        if self.chance(0.06):
            return self.draw.choice(BAD_TEXTS)
        return "".join(self.draw.choices(TEXTS[:-2], k=self.draw.choice((1, 1, 2, 3)))).encode() \
            if self.chance(0.97) else self.draw.choice(TEXTS).encode()

    def control(self):
        kind = self.draw.random()
        if kind < 0.03:
            payload = b"" if self.chance(0.1) else struct.pack(">H", self.draw.choice(CODES))
            payload += self.draw.choice((b"", b"why", "\u20ac".encode(), b"\xff", b"\xe2\x82"))
            return self.frame(CLOSE, payload[:1] if self.chance(0.1) else payload)
        n = self.draw.choice((0, 1, 4, 125)) if not self.chance(0.02) else 126
        return self.frame(PING if kind < 0.6 else PONG, self.draw.randbytes(n))

    def add(self):
        if self.chance(0.3):
            self.bytes += self.control()
            return
        if self.chance(0.01):
            self.bytes += self.frame(CONT, b"stray")
            return
        self.message()

    def pack(self, payload):
        packer = zlib.compressobj(self.draw.randrange(10), zlib.DEFLATED,
                                  -self.draw.randrange(9, 16), self.draw.randrange(1, 10))
        packed = (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
        if packed and self.chance(0.03):
            self.is_damaged = True
            at = self.draw.randrange(len(packed))
            packed = packed[:at] + (b"" if self.chance(0.3) else self.draw.randbytes(3))
        return packed

    def message(self):
        payload, rsv = self.payload(), 0
        if self.deflates and self.chance(0.6):
            payload, rsv = self.pack(payload), 0x40
        pieces = self.draw.choice((1, 1, 1, 2, 3, 5)) if not self.chance(0.005) else 70
        cuts = sorted(self.draw.randrange(len(payload) + 1) for _ in range(pieces - 1))
        ends = [0, *cuts, len(payload)]
        opcode = BINARY if self.chance(0.01) else TEXT
        for i, (begin, end) in enumerate(zip(ends, ends[1:])):
            is_last = i == pieces - 1
            self.bytes += self.frame(CONT if i else opcode, payload[begin:end], is_last,
                                     0 if i else rsv)
            if not is_last and self.chance(0.1):
                self.bytes += self.control()
                self.is_mixed |= rsv != 0

    def record(self):
        return struct.pack(">BII", self.deflates, LIMIT, len(self.bytes)) + self.bytes


# ---- what three make of it: lists of (kind, ...)

def split(line):
    return [tuple(word.split(":")) for word in line.split()]


def told_by(command, cases):
    done = subprocess.run(command, input=b"".join(case.record() for case in cases), check=True,
                          stdout=subprocess.PIPE)
    lines = done.stdout.decode().split("\n")
    assert len(lines) == len(cases) + 1, f"{command[0]}: {len(lines)} lines"
    return [split(line) for line in lines[:-1]]


def wsproto_frames(case):
    """The frames, or the pieces of frames, that wsproto reads; then what it fails with."""
    used = []
    if case.deflates:
        deflate = extensions.PerMessageDeflate(client_no_context_takeover=True,
                                               server_no_context_takeover=True)
        deflate.accept("permessage-deflate; client_no_context_takeover; server_no_context_takeover")
        used = [deflate]
    protocol = frame_protocol.FrameProtocol(client=False, extensions=used)
    protocol.receive_bytes(case.bytes)
    try:
        yield from protocol.received_frames()
    except frame_protocol.ParseFailed as failure:
        yield failure


def told_by_wsproto(case):
    said, message = [], b""
    for frame in wsproto_frames(case):
        if isinstance(frame, frame_protocol.ParseFailed):
            said.append(("failed", str(int(frame.code)), str(frame)))
        elif frame.opcode == CLOSE:
            code, reason = frame.payload
            said.append(("close", str(int(code)), (reason or "").encode().hex()))
            break
        elif frame.opcode in (PING, PONG):
            said.append(("ping" if frame.opcode == PING else "pong", bytes(frame.payload).hex()))
        else:
            is_text = frame.opcode == TEXT
            message += frame.payload.encode() if is_text else bytes(frame.payload)
            if frame.message_finished:
                said.append(("text" if is_text else "binary", message.hex()))
                message = b""
    return said


# ---- comparing

def excused(who, case, ours, theirs):
    """Why it is no fault that they differ in what stands behind what they have in common; None
    if it is one."""
    rest = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b),
                min(len(ours), len(theirs)))
    our, their = ours[rest:rest + 1], theirs[rest:rest + 1]
    our, their = (our or [("nothing", "")])[0], (their or [("nothing", "")])[0]
    why = our[2] if our[0] == "failed" else ""
    if our[0] == their[0] == "failed" and our[1] == their[1]:
        return "the same"
    if our[0] == "failed" and our[1] in ("1003", "1008"):
        return "binary and empty fragments are our own rules"
    if why == "The_compressed_text_is_not_whole.":
        return "neither looks whether compressed text is whole"
    if who == "wsproto":
        if why.startswith("The_message_is_larger"):
            return "wsproto knows no limit"
        if why == "The_text_is_not_UTF-8." and theirs[-1][0] in ("failed", "close") and not any(
                event[0] == "text" for event in theirs[rest:]):
            return "Python judges a surrogate with its last byte"
        if their[0] == "failed" and why in ("The_frame_begins_a_message_inside_another.",
                                            "The_frame_continues_no_message."):
            return "wsproto reads a payload before it looks whose it is"
        if case.is_mixed:
            return "wsproto forgets at a control frame that a message is compressed"
        if their[2:] == ("CLOSE with unknown reserved code",) and (
                our[:2] == ("close", "1014") or our[:2] == ("failed", "1007")):
            return "wsproto does not know this code"
    if who == "ws":
        if why.startswith("The_length_of_the_frame"):
            return "ws takes lengths in any form, and up to 53 bits"
        if why in ("The_text_is_not_UTF-8.", "The_compressed_text_is_damaged.") and not any(
                event[0] == "text" for event in theirs[rest:]):
            return "ws judges when a frame or text is complete"
        if case.deflates and their[:2] == ("failed", "1009"):
            return "ws counts compressed bytes against the limit"
    if case.is_damaged and case.deflates:
        return "what follows a last block is read by us alone"
    return None


def read_all(cases, options):
    return {"ours": told_by([options.told], cases),
            "ws": told_by(["node", options.js, options.modules], cases),
            "wsproto": [told_by_wsproto(case) for case in cases]}


def compare(who, case, ours, theirs):
    """Why they may differ, or None."""
    return "the same" if ours == theirs else excused(who, case, ours, theirs)


def show(case, said):
    print(f"seed {case.seed}, deflate {case.deflates}: {case.bytes.hex()}")
    for name, events in said.items():
        print(f"  {name}:", *(":".join(event)[:60] for event in events))


def differ(cases, options, tally):
    """Count what was read; returns whether somebody differed."""
    said = read_all(cases, options)
    for i, case in enumerate(cases):
        for event in said["ours"][i]:
            tally[event[0] + (" " + event[1] if event[0] == "failed" else "")] += 1
        for who in ("ws", "wsproto"):
            reason = compare(who, case, said["ours"][i], said[who][i])
            if reason is None:
                more = {name: lists[0] for name, lists in read_all([case.go_on()],
                                                                   options).items()}
                reason = compare(who, case, more["ours"], more[who])
            if reason is None:
                show(case, more)
                return True
            tally["~ " + who + ": " + reason] += 1
    return False


class Tally(dict):
    def __missing__(self, key):
        return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--cases", type=int, default=100_000, help="how many (100000)")
    parser.add_argument("--seed", type=int, help="of the first case (drawn)")
    parser.add_argument("--told", default="test/wire/ws_told", help="the program ws_told")
    parser.add_argument("--js", default=__file__.replace("ws_differ.py", "ws_told.js"))
    parser.add_argument("--modules", default="build/interop/node_modules",
                        help="where npm has installed ws")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    tally, begun = Tally(), time.monotonic()
    for first in range(0, options.cases, ROUND):
        n = min(ROUND, options.cases - first)
        if differ([Case(seed + first + i) for i in range(n)], options, tally):
            return 1
    for name in sorted(tally):
        print(f"{tally[name]:9} {name}")
    print(f"{options.cases} cases from seed {seed} on, {time.monotonic() - begun:.0f} s: no one"
          " differs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
