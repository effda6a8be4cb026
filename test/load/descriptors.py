#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A gateway with few descriptors, and more connections than it can have.

Crowds of four kinds, one after the other: connections that say nothing; that send half a head and
no more; that rest after a request; and that ask for streams.  While a crowd is there, streams that
were open before must go on, publishing over new connections must work, and the process must neither
spin nor fill its log; and when the crowd has gone, everything must be as before within a second.
With --comeback the connections that are closed are opened again at once, for as long as it lasts;
what that costs is printed, and not judged: each of them is work that somebody asked for.
"""

import argparse
import contextlib
import pathlib
import selectors
import socket
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / each) for each in ("scenarios", "support"))]

import wire  # noqa: E402
from conftest import Gateway  # noqa: E402

STREAMS = 20
PUBLISHES_A_SECOND = 20
CPU_MOST = 0.05
BACK_SECONDS = 1.0
LINES_A_SECOND = 1.0
KINDS = ("silent", "half", "resting", "streams")


class Crowd(threading.Thread):
    """Connections of one kind, kept open, and opened again if so wished."""

    def __init__(self, gateway, kind, count, comeback):
        super().__init__(daemon=True)
        self.gateway, self.kind, self.comeback = gateway, kind, comeback
        self.request = {
            "silent": b"",
            "half": b"GET /healthz HTTP/1.1\r\nHost",
            "resting": gateway.request_bytes("GET", "/healthz"),
            "streams": gateway.request_bytes("GET", "/events?topic=crowd"),
        }[kind]
        self.closed = 0
        self.opened = 0
        self.over = threading.Event()
        self.selector = selectors.DefaultSelector()
        for _ in range(count):
            self.open()

    def open(self):
        each = socket.socket()
        each.setblocking(False)
        each.connect_ex(self.gateway.address)
        self.opened += 1
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.request else 0)
        self.selector.register(each, events)

    def serve(self, each, events):
        if events & selectors.EVENT_WRITE:
            self.selector.modify(each, selectors.EVENT_READ)
            with contextlib.suppress(OSError):
                each.send(self.request)
        if not events & selectors.EVENT_READ:
            return
        with contextlib.suppress(BlockingIOError):
            with contextlib.suppress(ConnectionError):
                if each.recv(65536):
                    return
            self.selector.unregister(each)
            each.close()
            self.closed += 1
            if self.comeback:
                self.open()

    def run(self):
        while not self.over.is_set():
            for key, events in self.selector.select(0.05):
                self.serve(key.fileobj, events)

    def leave(self):
        self.over.set()
        self.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()


def publish(gateway, data):
    """Over a connection of its own.  Whether it was published, and how long that took."""
    began = time.monotonic()
    try:
        answer = gateway.request_once("POST", "/api/push?topic=a", [("Content-Type", "text/plain")],
                                      data.encode())
        done = answer.status == 201
    except (ConnectionError, AssertionError, TimeoutError):
        done = False
    return done, time.monotonic() - began


def serves(gateway):
    with contextlib.suppress(ConnectionError, AssertionError, TimeoutError):
        return gateway.request_once("GET", "/healthz").status == 200
    return False


class Trial:
    """One crowd, and what came of it."""

    def __init__(self, gateway, kind, options):
        self.gateway, self.kind, self.options = gateway, kind, options
        self.faults = []
        self.tries, self.latencies = 0, []

    def expect(self, fact, what):
        if not fact:
            self.faults.append(f"{self.kind}: {what}")

    def publish_for(self, seconds, streams):
        """Publish over new connections; each must be taken, at the first try, and be delivered."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            data = f"{self.kind} {self.tries}"
            done, took = publish(self.gateway, data)
            self.tries += 1
            if done:
                self.latencies.append(took)
                for stream in streams:
                    self.expect(stream.next_event().data == data, "a stream missed an event")
            time.sleep(1 / PUBLISHES_A_SECOND)

    def run(self, streams):
        gateway, options = self.gateway, self.options
        before = gateway.stats()
        lines = len(gateway.log().splitlines())
        crowd = Crowd(gateway, self.kind, options.connects, options.comeback)
        crowd.start()
        first = time.monotonic()
        self.publish_for(0.5, streams)  # while it rushes in
        cpu, began = gateway.cpu_seconds(), time.monotonic()
        self.publish_for(options.seconds, streams)
        share = (gateway.cpu_seconds() - cpu) / (time.monotonic() - began)
        full = len(gateway.descriptors())
        lines = len(gateway.log().splitlines()) - lines
        lasted = time.monotonic() - first
        crowd.leave()
        gone = time.monotonic()
        while not serves(gateway) and time.monotonic() < gone + 10:
            pass
        back = time.monotonic() - gone
        after = gateway.stats()
        counted = {name: after[name] - before[name] for name in (
            "connections_accepted", "connections_shed", "connections_crowded_out",
            "streams_refused", "accept_pauses")}
        self.judge(share, lines, lasted, back, full)
        self.tell(share, lines, back, full, crowd, counted)

    def judge(self, share, lines, lasted, back, full):
        slow = wire.SLOW
        self.expect(len(self.latencies) >= self.tries * 0.98,
                    f"only {len(self.latencies)} of {self.tries} publishes were taken")
        self.expect(share <= CPU_MOST * slow or self.options.no_figures or self.options.comeback,
                    f"{share:.1%} of a core")
        self.expect(lines <= (lasted + 1) * LINES_A_SECOND * 3, f"{lines} lines in {lasted:.0f} s")
        self.expect(back <= BACK_SECONDS * slow or self.options.no_figures,
                    f"{back:.2f} s until it served again")
        self.expect(full < self.options.descriptors, f"{full} descriptors are all there are")

    def tell(self, share, lines, back, full, crowd, counted):
        worst = max(self.latencies, default=float("nan"))
        print(f"{self.kind:8} {crowd.opened:6} opened {crowd.closed:6} closed  {full:4} descriptors"
              f"  {len(self.latencies):4}/{self.tries} published, worst {worst * 1000:4.0f} ms"
              f"  {share:5.1%} of a core  {lines:2} lines  back in {back * 1000:3.0f} ms  "
              + " ".join(f"{name}={count}" for name, count in counted.items()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--descriptors", type=int, default=256)
    parser.add_argument("--connects", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10, help="of each crowd")
    parser.add_argument("--comeback", action="store_true")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--no-figures", action="store_true",
                        help="no fault for CPU and times, which a busy machine spoils")
    options = parser.parse_args()
    faults = []
    with tempfile.TemporaryDirectory(prefix="bugle-descriptors-") as folder:
        folder = pathlib.Path(folder)
        gateway = Gateway(folder, nofile=options.descriptors, store=f"sqlite:{folder}/history.db")
        gateway.start()
        try:
            streams = [gateway.stream("a") for _ in range(STREAMS)]
            for kind in options.kinds.split(","):
                trial = Trial(gateway, kind, options)
                trial.run(streams)
                faults += trial.faults
            publish(gateway, "last")
            for stream in streams:
                assert stream.next_event().data == "last"
        finally:
            gateway.finish()
    for fault in faults:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
