#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Restarts by hand-over under load: each gateway takes over from the one before it, while clients
connect and publish at a steady rate, over kept connections and over fresh ones, and subscribers
follow by their last id.

Every request must be answered, every publish stored, and every subscriber see every event of its
topics once and in order.  Prints what was counted, and the longest time without a publish answered
around each restart; exits with 1 if anything was refused, reset, failed or lost.

  restarts.py [--restarts N] [--pause SECONDS] [--connects PER_SECOND] [--publishes PER_SECOND]
              [--signal]    by SIGUSR2 to the running one, instead of a start with --takeover
"""

import argparse
import collections
import contextlib
import errno
import os
import pathlib
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOPICS = 8
KEPT = 40
CALLS_MAX = 4000
BEHIND_MAX = 50  # slots
SLOTS_PER_SECOND = 200
ANSWER_SECONDS = 15
SETTLE_SECONDS = 3
END = b"\r\n\r\n"


class Counts(collections.Counter):
    """What went wrong, and how often; with a few examples."""

    def __init__(self):
        super().__init__()
        self.examples = []

    def wrong(self, kind, detail):
        self[kind] += 1
        if len(self.examples) < 20:
            self.examples.append(f"{kind}: {detail}")


class Call:
    """One request on a connection, kept or its own."""

    def __init__(self, load, request, kind, kept, connection=None):
        self.load = load
        self.kind = kind
        self.kept = kept
        self.answer = b""
        self.outgoing = request
        self.began = time.monotonic()
        self.fresh = connection is None
        self.socket = connection
        if self.fresh:
            self.socket = socket.socket()
            self.socket.setblocking(False)
            code = self.socket.connect_ex(load.address)
            load.counts["connects"] += 1
            if code not in (0, errno.EINPROGRESS):
                load.over(self, "refused", os.strerror(code))
                return
        load.calls[self.socket.fileno()] = self
        if not self._send():
            load.epoll.register(self.socket, select.EPOLLOUT)

    def _send(self):
        """Whether all is sent, and the answer awaited."""
        try:
            sent = self.socket.send(self.outgoing)
        except (BlockingIOError, OSError) as error:
            if isinstance(error, BlockingIOError) or error.errno == errno.ENOTCONN:
                return False
            self.load.calls.pop(self.socket.fileno(), None)
            self.load.over(self, self._kind_of(error), error)
            return True
        self.outgoing = self.outgoing[sent:]
        if self.outgoing:
            return False
        with contextlib.suppress(FileExistsError):
            self.load.epoll.register(self.socket, select.EPOLLIN)
            return True
        self.load.epoll.modify(self.socket, select.EPOLLIN)
        return True

    def _kind_of(self, error):
        return "refused" if error.errno == errno.ECONNREFUSED else "reset before the reply"

    def ready(self, mask):
        if self.outgoing:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._end(self._kind_of(OSError(code, "")), os.strerror(code))
            else:
                self._send()
            return
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(self._kind_of(error), error)
            return
        self.answer += data
        if not data:
            whole = self.load.is_whole(self)
            kind = "" if whole else "cut reply" if self.answer else "reset before the reply"
            self._end(kind, f"the end after {len(self.answer)} bytes of {self.kind}")
        elif self.load.is_whole(self):
            self._end("", "")

    def _end(self, wrong, detail):
        self.load.epoll.unregister(self.socket)
        self.load.calls.pop(self.socket.fileno())
        self.load.over(self, wrong, detail)


class Subscriber:
    """A stream that comes again by its last id at once, and keeps what it saw."""

    def __init__(self, load, topics):
        self.load = load
        self.topics = topics
        self.last = None
        self.seen = []
        self.socket = None
        self.resumes = -1
        self.connect()

    def connect(self):
        query = "&".join(f"topic={topic}" for topic in self.topics)
        since = f"Last-Event-ID: {self.last}\r\n" if self.last else ""
        self.buffer = b""
        self.in_body = False
        self.resumes += 1
        self.socket = socket.socket()
        try:
            self.socket.connect(self.load.address)
            self.socket.sendall(f"GET /events?{query} HTTP/1.0\r\nHost: 127.0.0.1\r\n{since}\r\n".encode())
        except OSError as error:
            self.load.counts.wrong("refused", f"a subscriber: {error}")
            self.socket.close()
            self.load.later.append((time.monotonic() + 0.1, self.connect))
            return
        self.socket.setblocking(False)
        self.load.calls[self.socket.fileno()] = self
        self.load.epoll.register(self.socket, select.EPOLLIN)

    def ready(self, _):
        try:
            data = self.socket.recv(262144)
        except BlockingIOError:
            return
        except OSError as error:
            self.load.counts.wrong("streams reset", error)
            data = b""
        if not data:
            self.load.epoll.unregister(self.socket)
            self.load.calls.pop(self.socket.fileno())
            self.socket.close()
            self.connect()
            return
        self.buffer += data
        if not self.in_body:
            head, found, rest = self.buffer.partition(END)
            if not found:
                return
            if b" 200 " not in head:
                self.load.counts.wrong("failed", f"a subscriber: {head[:80]}")
            self.in_body, self.buffer = True, rest
        *frames, self.buffer = self.buffer.split(b"\n\n")
        for frame in frames:
            self._take(frame)

    def _take(self, frame):
        if b"event: reset" in frame:
            self.load.counts.wrong("gaps", frame)
        at = frame.rfind(b"\nid: ")
        if at < 0:
            return
        event_id = frame[at + 5:].decode()
        if b"event: checkpoint" not in frame:
            if self.last and event_id <= self.last:
                self.load.counts.wrong("out of order", f"{event_id} after {self.last}")
            self.seen.append(event_id)
        self.last = event_id

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.close()


class Load:
    def __init__(self, address, connects, publishes):
        self.address = address
        self.rates = {"stream": max(0, connects - publishes // 2), "publish": publishes}
        self.owed = dict.fromkeys(self.rates, 0.0)
        self.epoll = select.epoll()
        self.calls = {}
        self.counts = Counts()
        self.idle = []
        self.acked = [[] for _ in range(TOPICS)]
        self.ack_times = []
        self.latency_max = 0
        self.later = []
        self.subscribers = []
        self.begun = time.monotonic()
        self.slots = 0
        self.number = 0

    # requests

    def request_of_publish(self, topic, kept):
        self.number += 1
        body = f"{self.number} ".encode() + b"x" * 80
        connection = "" if kept else "Connection: close\r\n"
        return (f"POST /api/push?topic=t{topic} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n"
                f"Content-Length: {len(body)}\r\n{connection}\r\n").encode() + body

    def publish(self):
        if len(self.calls) > CALLS_MAX:
            self.counts.wrong("failed", "not sent: too many others wait for their answer")
            return
        topic = random.randrange(TOPICS)
        kept = self.number % 2 == 0
        connection = self.idle.pop(0) if kept and len(self.idle) >= KEPT // 2 else None
        kept = kept and (connection is not None or len(self.idle) < KEPT)
        Call(self, self.request_of_publish(topic, kept), topic, kept, connection)

    def visit(self):
        """A stream that leaves again once it has begun."""
        if len(self.calls) > CALLS_MAX:
            return
        Call(self, b"GET /events?topic=nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "stream", False)

    def is_whole(self, call):
        head, found, rest = call.answer.partition(END)
        if not found:
            return False
        if call.kind == "stream":
            return b"retry: " in rest
        at = head.find(b"Content-Length: ")
        return at > 0 and len(rest) >= int(head[at + 16:].split(b"\r\n", 1)[0])

    def over(self, call, wrong, detail):
        now = time.monotonic()
        if wrong:
            self.counts.wrong(wrong, f"{call.kind} {'kept' if call.kept else 'fresh'}: {detail}")
            call.socket.close()
            return
        if call.kind == "stream":
            self.counts["visits"] += 1
            self.counts.wrong("failed", call.answer[:80]) if b" 200 " not in call.answer[:16] else 0
        else:
            self.answered(call, now)
        if call.kept and b"\r\nConnection: close\r\n" not in call.answer:
            self.idle.append(call.socket)
        else:
            call.socket.close()

    def answered(self, call, now):
        if b" 201 " not in call.answer[:16]:
            self.counts.wrong("failed", call.answer[:300])
            return
        self.counts["published, kept" if not call.fresh else "published, fresh"] += 1
        at = call.answer.find(b'"id":"') + 6
        self.acked[call.kind].append(call.answer[at:call.answer.find(b'"', at)].decode())
        self.ack_times.append(now)
        self.latency_max = max(self.latency_max, now - call.began)

    # the loop

    def turn(self, works=True):
        now = time.monotonic()
        due = int((now - self.begun) * SLOTS_PER_SECOND)
        if works and due - self.slots > BEHIND_MAX:  # this program was held up, and does not catch up
            self.counts["slots left out"] += due - BEHIND_MAX - self.slots
            self.slots = due - BEHIND_MAX
        while works and self.slots < due:
            self.slots += 1
            for kind, do in (("publish", self.publish), ("stream", self.visit)):
                self.owed[kind] += self.rates[kind] / SLOTS_PER_SECOND
                while self.owed[kind] >= 1:
                    self.owed[kind] -= 1
                    do()
        for when, call in [each for each in self.later if each[0] <= now]:
            self.later.remove((when, call))
            call()
        for fd, mask in self.epoll.poll(0.002, 256):
            call = self.calls.get(fd)
            if call:
                call.ready(mask)

    def run(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn()

    def settle(self):
        """No more requests: wait for the answers, and for what was acknowledged to arrive."""
        until = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < until:
            self.turn(works=False)
            open_calls = [call for call in self.calls.values() if isinstance(call, Call)]
            if not open_calls and not any(self.missing(each) for each in self.subscribers):
                break
        for call in [call for call in self.calls.values() if isinstance(call, Call)]:
            self.counts.wrong("never answered", f"{call.kind}, {len(call.answer)} bytes came")

    def missing(self, subscriber):
        expected = set()
        for topic in subscriber.topics:
            expected.update(self.acked[int(topic[1:])])
        return expected - set(subscriber.seen)


class Gateways:
    """One gateway after the other."""

    def __init__(self, program, folder, by_signal):
        self.folder = pathlib.Path(folder)
        self.by_signal = by_signal
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()
        self.command = [
            program, "serve", "--listen", f"127.0.0.1:{self.address[1]}", "--workers", "2",
            "--store", f"sqlite:{folder}/history.db", "--www", "",
            "--set", f"server.handover={folder}/handover.sock", "--set", "drain.window=1s",
            "--set", "history.disk_reserve=0"]
        self.log = open(self.folder / "log", "ab")
        self.env = {name: value for name, value in os.environ.items() if name[:5] != "BUGLE"}
        self.processes = []
        self.start()
        self.wait_ready(1)

    def start(self, *more):
        self.processes.append(subprocess.Popen(
            [*self.command, *more], stdin=subprocess.DEVNULL, stderr=self.log, env=self.env))

    def lines(self, text):
        return (self.folder / "log").read_text().count(text)

    def wait_ready(self, count, turn=lambda: time.sleep(0.01)):
        until = time.monotonic() + 20
        while self.lines(" is ready:") < count:
            assert time.monotonic() < until, (self.folder / "log").read_text()[-3000:]
            turn()

    def replace(self, turn):
        ready = self.lines(" is ready:") + 1
        if self.by_signal:
            os.kill(self.current(), signal.SIGUSR2)
        else:
            self.start("--takeover")
        self.wait_ready(ready, turn)

    def current(self):
        """The last process that the log calls an heir, or the first one."""
        words = [line.split("process ")[1].split()[0]
                 for line in (self.folder / "log").read_text().splitlines()
                 if "serves from here on" in line]
        return int(words[-1]) if words else self.processes[0].pid

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.current(), signal.SIGTERM)
        codes = []
        for process in self.processes:
            try:
                codes.append(process.wait(30))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append("killed: it did not leave")
        self.log.close()
        return [code for code in codes if code != 0]


    def kill(self):
        """Whatever is left, when the test itself failed."""
        for pid in {self.current(), *(each.pid for each in self.processes if each.poll() is None)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def pause_around(ack_times, begun, ended):
    """The longest time without an answer to a publish in a span."""
    times = [begun, *(each for each in ack_times if begun <= each <= ended), ended]
    return max(after - before for before, after in zip(times, times[1:]))


def run(arguments, program, folder):
    gateways = Gateways(program, folder, arguments.signal)
    try:
        return run_under_load(arguments, gateways)
    except BaseException:
        gateways.kill()
        raise


def run_under_load(arguments, gateways):
    load = Load(gateways.address, arguments.connects, arguments.publishes)
    load.subscribers = [Subscriber(load, [f"t{i}"]) for i in range(TOPICS)]
    load.subscribers.append(Subscriber(load, [f"t{i}" for i in range(TOPICS)]))
    until = time.monotonic() + 1
    while time.monotonic() < until:
        load.turn(works=False)  # streams begin before the first event
    load.begun = time.monotonic()
    load.run(1)
    pauses = []
    for _ in range(arguments.restarts):
        begun = time.monotonic()
        gateways.replace(load.turn)
        load.run(arguments.pause)
        pauses.append(pause_around(load.ack_times, begun, time.monotonic()))
    seconds = time.monotonic() - load.begun
    load.settle()
    lost = sum(len(load.missing(each)) for each in load.subscribers)
    load.counts["gaps"] += lost
    resumes = sum(each.resumes for each in load.subscribers)
    for each in load.subscribers:
        each.close()
    for connection in load.idle:
        connection.close()
    bad_codes = gateways.stop()
    return report(arguments, load, seconds, pauses, resumes, bad_codes)


def report(arguments, load, seconds, pauses, resumes, bad_codes):
    counts = load.counts
    published = counts["published, kept"] + counts["published, fresh"]
    print(f"{arguments.restarts} restarts in {seconds:.0f} s: {counts['connects']} connects"
          f" ({counts['connects'] / seconds:.0f}/s), {published} publishes"
          f" ({published / seconds:.0f}/s, {counts['published, kept']} of them over kept"
          f" connections), {counts['visits']} streams begun, {resumes} resumes by id,"
          f" {sum(len(each.seen) for each in load.subscribers)} events seen")
    wrong = ["refused", "reset before the reply", "cut reply", "failed", "never answered",
             "streams reset", "out of order", "gaps"]
    print(", ".join(f"{kind}: {counts[kind]}" for kind in wrong)
          + f", exit statuses other than 0: {len(bad_codes)} {bad_codes or ''}")
    pauses.sort()
    if pauses:
        print("longest time without a publish answered around a restart:"
              f" median {pauses[len(pauses) // 2] * 1000:.0f} ms, worst {pauses[-1] * 1000:.0f} ms;"
              f" slowest publish of all {load.latency_max * 1000:.0f} ms")
    if counts["slots left out"]:
        print("this program itself was held up: it left out"
              f" {counts['slots left out'] / SLOTS_PER_SECOND:.1f} s of load")
    for example in counts.examples:
        print("  " + example)
    return 1 if any(counts[kind] for kind in wrong) or bad_codes else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--pause", type=float, default=0.7)
    parser.add_argument("--connects", type=int, default=1000)
    parser.add_argument("--publishes", type=int, default=1000)
    parser.add_argument("--signal", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the folder with log and store")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    program = os.environ.get("BUGLE") or shutil.which("bugle")
    folder = tempfile.mkdtemp(prefix="bugle-restarts.")
    try:
        return run(arguments, program, folder)
    finally:
        if arguments.keep:
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
