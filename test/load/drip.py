#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Slow heads, slow bodies and noise, beside clients that behave.

    make driptest DRIP_ARGS='--sockets 1000'

5,000 sockets send an endless head, one byte a second: all must be closed within limits.header_timeout
and a tick, and none may cost more than 2 KB of the gateway's memory.  As many slow bodies as there
is room for: closed at their least rate.  Random openings: answered or closed, and the gateway goes
on.  Meanwhile events are published and read at a steady rate; their latency is told for each part.
"""

import argparse
import json
import os
import pathlib
import random
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / each) for each in ("scenarios", "support")]

import wire  # noqa: E402
from conftest import Gateway, program_path  # noqa: E402

TICK_SECONDS = 0.25
# How late a close may be seen by one Python program that drips on thousands of sockets.
LATE_SECONDS = 1.0
BYTES_MAX = 2048
HEAD = b"GET /" + b"x" * 1000 + b" HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 4000
BODY_HEAD = (b"POST /api/push?topic=slow HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
             b"Content-Length: 20000\r\n\r\n")


class Drip:
    """A socket that sends a byte a second until it is closed."""

    def __init__(self, address, opening, rest):
        self.socket = socket.socket()
        self.socket.connect(address)
        self.socket.setblocking(False)
        self.begun = time.monotonic()
        self.rest = rest
        self.sent = 0
        self.answer = b""
        self.closed_after = None
        if opening:
            self.socket.send(opening)

    def drip(self):
        try:
            self.socket.send(self.rest[self.sent % len(self.rest):][:1])
            self.sent += 1
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def read(self):
        try:
            data = self.socket.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.answer += data
        if not data:
            self.close()

    def close(self):
        if self.closed_after is None:
            self.closed_after = time.monotonic() - self.begun
            self.socket.close()


def drip_all(drips, until, at_peak=lambda: None):
    """A byte a second on each, evenly spread, until all are closed or the time is over."""
    with selectors.DefaultSelector() as selector:
        for drip in drips:
            selector.register(drip.socket, selectors.EVENT_READ, drip)
        turn, next_turn, peaked = 0, time.monotonic(), False
        while time.monotonic() < until and any(d.closed_after is None for d in drips):
            for key, _ in selector.select(max(0, min(0.1, next_turn - time.monotonic()))):
                number = key.fd
                key.data.read()
                if key.data.closed_after is not None:
                    selector.unregister(number)
            if time.monotonic() < next_turn:
                continue
            for drip in drips[turn % 10::10]:
                if drip.closed_after is None:
                    number = drip.socket.fileno()
                    drip.drip()
                    if drip.closed_after is not None:
                        selector.unregister(number)
            turn, next_turn = turn + 1, max(next_turn + 0.1, time.monotonic())
            if turn >= 20 and not peaked:
                peaked = True
                at_peak()


def resident(gateway):
    """Bytes of memory that it has."""
    with open(f"/proc/{gateway.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


class Healthy:
    """Streams and a publisher that behave: `bugle bench` in the background."""

    def __init__(self, gateway, seconds):
        self.process = subprocess.Popen(
            [program_path(), "bench", "--stream-url", gateway.url + "/events?topic={topic}",
             "--publish-url", gateway.url + "/api/push", "--streams", "100", "--topics", "10",
             "--rate", "100", "--seconds", str(seconds), "--json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def finish(self, what):
        """Nothing was lost; the latency in milliseconds."""
        out, _ = self.process.communicate(timeout=wire.seconds(120))
        report = json.loads(out)
        deliveries, latency = report["deliveries"], report["latency"]
        print(f"  healthy clients {what}: {deliveries['received']} events, {deliveries['lost']} lost,"
              f" p50 {latency['p50_us'] / 1000:.2f} ms, p99 {latency['p99_us'] / 1000:.2f} ms")
        assert self.process.returncode == 0 and deliveries["lost"] == 0, report
        return latency["p99_us"] / 1000


def heads(gateway, count):
    """Slow heads: when they were closed, and what each cost."""
    timeout = 10
    with_clients = resident(gateway)
    peak = []
    drips = [Drip(gateway.address, b"", HEAD) for _ in range(count)]
    drip_all(drips, time.monotonic() + wire.seconds(timeout + 20),
             lambda: peak.append(resident(gateway)))
    after = [drip.closed_after for drip in drips]
    still_open = sum(seconds is None for seconds in after)
    answered = sum(drip.answer.startswith(b"HTTP/1.1 408 ") for drip in drips)
    each = (max(peak, default=with_clients) - with_clients) / count
    assert still_open == 0, f"{still_open} of {count} slow heads still open"
    print(f"  {count} slow heads: closed after {min(after):.2f} to {max(after):.2f} s,"
          f" {answered} answered 408, {sum(d.sent for d in drips)} bytes dripped,"
          f" {each:.0f} bytes of memory each")
    assert min(after) > timeout - LATE_SECONDS, "closed too early"
    assert max(after) < timeout + TICK_SECONDS + wire.seconds(LATE_SECONDS), "closed too late"
    # who sends a byte in the moment of the close may lose the answer: there is no room to linger
    # for thousands
    assert answered >= 0.9 * count, f"{count - answered} had no answer"
    if wire.SLOW == 1 and count >= 1000:  # fewer say nothing, and a sanitizer has memory of its own
        assert each <= BYTES_MAX, f"{each:.0f} bytes each"
    return drips


def bodies(gateway, count):
    """Slow bodies: the least rate ends them long before limits.body_timeout."""
    drips = [Drip(gateway.address, BODY_HEAD, b"z") for _ in range(count)]
    drip_all(drips, time.monotonic() + wire.seconds(30))
    after = [drip.closed_after for drip in drips]
    assert None not in after, f"{after.count(None)} of {count} slow bodies still open"
    answered = sum(drip.answer.startswith(b"HTTP/1.1 408 ") for drip in drips)
    print(f"  {count} slow bodies: closed after {min(after):.2f} to {max(after):.2f} s,"
          f" {answered} answered 408")
    assert answered >= 0.9 * count and max(after) < wire.seconds(8)


def noise_of(source):
    """Bytes that somebody sends who wants something else, or harm."""
    kind = source.randrange(5)
    if kind == 0:
        return bytes.fromhex("1603010200010001fc0303") + source.randbytes(200)
    if kind == 1:
        return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + source.randbytes(50)
    if kind == 2:
        return source.randbytes(source.randrange(1, 500))
    request = bytearray(wire.request_bytes("POST", "/api/push?topic=noise", body=b"hello"))
    for _ in range(source.randrange(1, 6)):
        request[source.randrange(len(request))] = source.randrange(256)
    return bytes(request)


def noise(gateway, count, seed):
    """Random openings, each on a connection of its own: no answer but an error, or what a request
    that survived its damage gets; and the gateway is there afterwards."""
    source = random.Random(seed)
    statuses = {}
    for _ in range(count):
        with wire.Wire(gateway.address) as connection:
            try:
                connection.send(noise_of(source))
                connection.half_close()
                answer = connection.read_to_end()
            except OSError:
                answer = b""
        status = answer[9:12].decode("ascii", "replace") or "closed"
        assert answer == b"" or answer.startswith(b"HTTP/1."), answer[:100]
        statuses[status] = statuses.get(status, 0) + 1
    print(f"  {count} random openings: " + ", ".join(f"{n} x {s}" for s, n in sorted(
        statuses.items(), key=lambda item: -item[1])))
    assert gateway.request("GET", "/healthz").status == 200


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--sockets", type=int, default=5000, help="slow heads (5000)")
    parser.add_argument("--bodies", type=int, default=1000, help="slow bodies (1000)")
    parser.add_argument("--noise", type=int, default=20000, help="random openings (20000)")
    parser.add_argument("--seed", type=int, default=1, help="of the noise (1)")
    parser.add_argument("--healthy", type=int, default=14, metavar="S",
                        help="seconds of the clients that behave, 0 for none (14)")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="bugle-drip-") as folder:
        gateway = Gateway(pathlib.Path(folder), workers=1)
        gateway.start()
        try:
            run(gateway, options)
        finally:
            gateway.finish()
    return 0


def run(gateway, options):
    seconds = options.healthy
    alone = Healthy(gateway, seconds).finish("alone") if seconds else 0
    beside = Healthy(gateway, seconds) if seconds else None
    if beside:
        gateway.wait_stat("streams_open", 100, 20)
    before = gateway.stat("heads_timed_out")
    heads(gateway, options.sockets)
    assert gateway.stat("heads_timed_out") - before == options.sockets
    if beside:
        p99 = beside.finish("beside slow heads")
        print(f"  their p99 is {p99 / alone:.2f} times that without")
    before = gateway.stat("bodies_too_slow")
    bodies(gateway, options.bodies)
    assert gateway.stat("bodies_too_slow") - before == options.bodies
    noise(gateway, options.noise, options.seed)
    print(f"all was closed and counted; the gateway has {resident(gateway) // 1024} KiB")


if __name__ == "__main__":
    os.environ.setdefault("BUGLE", str(HERE.parent.parent / "bugle"))
    sys.exit(main())
