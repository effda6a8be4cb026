#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""limits.memory under clients that want the gateway to hold much.

One gateway, where possible in a control group of its own with twice limits.memory, which it then
finds by itself.  Three attacks one after the other, while healthy streams read and a publisher
publishes, and a look after each whether memory comes back:

  stalled   streams that stop reading inside events of 64 KiB to 1 MiB, each few another event
  replays   streams that all begin with the oldest event, and read slowly or not at all
  bodies    connections that send a body of 1 MiB each, slowly

Throughout: resident memory stays below the limit and its slack, nothing is killed, healthy streams
lose nothing that was acknowledged and are never ended, and every publish has an answer, 201 or a
503 that says when to try again.  Prints counts; the exit status is 0 if all of that held.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import random
import re
import resource
import selectors
import shutil
import socket
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / each) for each in ("scenarios", "support"))]

import wire  # noqa: E402
from conftest import Gateway  # noqa: E402

MIB = 1 << 20
NUMBER = re.compile(rb"\ndata: n=(\d+);")
SAMPLE_S = 0.02
BODY_BYTES = MIB
PIECE_BYTES = 16384


# ---- a control group ----

class Group:
    """A memory control group below our own, of version 1 or 2; `path` is None where there is none
    to be had."""

    def __init__(self, limit):
        self.path = None
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "" or "memory" in controllers.split(","):
                version = 2 if controllers == "" else 1
                mount = "/sys/fs/cgroup" + ("" if version == 2 else "/memory")
                self._try(pathlib.Path(mount + group), version, limit)
            if self.path:
                return

    def _try(self, above, version, limit):
        path = above / f"bugle-memory-{os.getpid()}"
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        try:
            path.mkdir()
            (path / name).write_text(str(limit))
            self.path, self.version = path, version
        except OSError:
            with contextlib.suppress(OSError):
                path.rmdir()

    def wrap(self, command):
        if not self.path:
            return command
        return ["/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.path),
                *command]

    def kills(self):
        """How often the kernel killed something in the group."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        for line in (self.path / name).read_text().splitlines():
            if line.split()[0] == "oom_kill":
                return int(line.split()[1])
        return 0

    def remove(self):
        if self.path:
            with contextlib.suppress(OSError):
                self.path.rmdir()


# ---- watching ----

class Watch(threading.Thread):
    """Resident memory, many times a second; the kernel's own high-water mark is the last word."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, False

    def field(self, name):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) * 1024

    def run(self):
        with contextlib.suppress(FileNotFoundError, TypeError, ProcessLookupError):
            while not self.over:
                self.peak = max(self.peak, self.field("VmRSS"))
                time.sleep(SAMPLE_S)

    def take_peak(self):
        peak, self.peak = self.peak, 0
        return peak


class Publisher:
    """Publishes numbered events on connections that it keeps, and counts the answers."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.lock = threading.Lock()
        self.local = threading.local()
        self.answers = collections.Counter()
        self.acknowledged = set()
        self.healthy = set()  # of them, those that healthy streams asked for
        self.faults = []
        self.next = 0

    def number(self):
        with self.lock:
            self.next += 1
            return self.next

    def publish(self, topics, size):
        number = self.number()
        text = f"n={number};".encode()
        body = text + b"x" * (size - len(text))
        target = wire.target_of("/api/push", [("topic", topic) for topic in topics])
        data = self.gateway.request_bytes("POST", target, [("Content-Type", "text/plain")], body)
        response = self._exchange(data)
        with self.lock:
            self.answers[response.status if response else "no answer"] += 1
            if response and response.status == 201:
                self.acknowledged.add(number)
                if "healthy" in topics:
                    self.healthy.add(number)
            elif not response or response.status != 503 or not response.head.get("Retry-After"):
                self.faults.append(response)

    def _exchange(self, data):
        for _ in range(2):
            connection = getattr(self.local, "connection", None)
            fresh = connection is None
            try:
                if fresh:
                    connection = self.local.connection = self.gateway.raw(timeout=20)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.send(data)  # a refusal may come before the end of the body
                response = connection.read_response()
                if "close" in response.head.words("Connection"):
                    self._drop()
                return response
            except (OSError, AssertionError, TimeoutError) as fault:
                self._drop()
                if fresh:
                    print(f"  publish: {fault!r}"[:300])
                    return None
        return None

    def _drop(self):
        if getattr(self.local, "connection", None):
            self.local.connection.close()
        self.local.connection = None


class Healthy(threading.Thread):
    """Streams that read all they are sent; of each the numbers in their order."""

    def __init__(self, gateway, count):
        super().__init__(daemon=True)
        self.streams = gateway.stream_many([{"topic": "healthy"} for _ in range(count)])
        self.seen = [[] for _ in self.streams]
        self.tails = [b""] * count
        self.over = False
        self.ended = 0

    def run(self):
        with selectors.DefaultSelector() as selector:
            for at, stream in enumerate(self.streams):
                selector.register(stream.wire.socket, selectors.EVENT_READ, at)
            while not self.over:
                for key, _ in selector.select(0.2):
                    if not self._read(key.data):
                        selector.unregister(key.fileobj)
                        self.ended += 1

    def _read(self, at):
        stream = self.streams[at]
        stream.pump(5)
        fresh = self.tails[at] + bytes(stream.payload)
        stream.payload.clear()
        last = 0
        for match in NUMBER.finditer(fresh):
            self.seen[at].append(int(match[1]))
            last = match.end()
        self.tails[at] = fresh[max(last, len(fresh) - 40):]
        return stream.end is None


# ---- the attacks ----

def connect_all(address, requests, receive_buffer=None):
    """Sockets on which a request was sent each, and nothing read."""
    sockets = []
    for request in requests:
        one = socket.socket()
        if receive_buffer:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        with contextlib.suppress(OSError):
            one.settimeout(5)
            one.connect(address)
            one.sendall(request)
        sockets.append(one)
    return sockets


def close_all(sockets):
    for one in sockets:
        one.close()


def stalled(run):
    """Groups of few streams, each with events of its own to stop inside."""
    groups = max(1, run.args.clients // 2)
    requests = [run.gateway.request_bytes("GET", f"/events?topic=stalled/{i % groups}")
                for i in range(run.args.clients)]
    sockets = connect_all(run.gateway.address, requests, 4096)
    opened = run.stats()["streams_open"]
    for i in range(run.args.events):
        topics = [f"stalled/{(i * 4 + j) % groups}" for j in range(4)]
        size = random.choice([65536, 131072, 262144, 524288, 1048576])
        run.publisher.publish(topics, size)
        run.pace(run.args.event_ms / 1000)
    evicted = run.stats()["streams_evicted_memory"]
    close_all(sockets)
    return f"{opened} streams, {run.args.events} large events, {evicted} evicted"


def replays(run):
    """Everybody begins with the oldest event; a third reads slowly, the others not at all."""
    for i in range(run.args.events // 4):
        run.publisher.publish(["past"], 262144)
    requests = [run.gateway.request_bytes("GET", "/events?topic=past&since=earliest",
                                          [("Accept", "text/event-stream")])
                for _ in range(run.args.replays)]
    sockets = connect_all(run.gateway.address, requests, 4096)
    heads = collections.Counter()
    for one in sockets:
        one.settimeout(10)
        with contextlib.suppress(OSError):
            heads[one.recv(12, socket.MSG_PEEK)] += 1
    until = time.monotonic() + run.args.seconds
    while time.monotonic() < until:
        for one in sockets[::3]:
            one.setblocking(False)
            with contextlib.suppress(OSError):
                one.recv(2048)
        run.publisher.publish(["past"], 65536)
        run.pace(0.05)
    refused = run.stats()["replays_refused_memory"]
    close_all(sockets)
    run.check(set(heads) <= {b"HTTP/1.1 200", b""}, f"a replay was answered {dict(heads)}")
    return f"{run.args.replays} streams, {heads[b'HTTP/1.1 200']} answered, {refused} turned away"


def bodies(run):
    """A body each, a piece at a time; who is refused must be told so in a whole answer."""
    head = (f"POST /api/push?topic=body HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {BODY_BYTES}\r\n\r\n").encode()
    sockets = connect_all(run.gateway.address, [head] * run.args.bodies)
    live, answers = set(sockets), collections.Counter()
    until = time.monotonic() + run.args.seconds
    while live and time.monotonic() < until:
        for one in list(live):
            one.setblocking(False)
            try:
                answer = one.recv(4096)
                answers[answer[9:12].decode() or "closed"] += 1
                live.discard(one)
                if answer.startswith(b"HTTP/1.1 503") and b"Retry-After: " not in answer:
                    run.check(False, f"a 503 without Retry-After: {answer[:300]!r}")
            except BlockingIOError:
                with contextlib.suppress(OSError):
                    one.send(b"y" * PIECE_BYTES)
            except OSError:
                answers["reset"] += 1
                live.discard(one)
        run.pace(0.2)
    held = run.stats()["memory_bodies"]
    close_all(sockets)
    run.check(not set(answers) - {"201", "503", "408", "reset", "closed"},
              f"odd answers {answers}")
    run.check(answers["reset"] <= len(sockets) // 20, f"{answers['reset']} were reset")
    return f"{len(sockets)} bodies, {held} bytes of them held at the end, answers {dict(answers)}"


# ---- the whole ----

class Run:
    def __init__(self, args, folder):
        self.args = args
        self.faults = []
        self.group = Group(2 * args.limit * MIB)
        settings = {"limits.event_bytes": "2M", "limits.body_bytes": "2M",
                    "stream.stall_timeout": "60s"}
        if not self.group.path:
            settings["limits.memory"] = f"{args.limit}M"
        self.gateway = Gateway(folder, settings, store=args.store.replace("FOLDER", str(folder)))
        self.gateway.command = self.group.wrap(self.gateway.command)
        self.gateway.start()
        self.watch = Watch(self.gateway.pid)
        self.publisher = Publisher(self.gateway)
        self.healthy = Healthy(self.gateway, args.healthy)
        # what rings and a store in memory may keep by their defaults
        self.shared = args.limit * MIB / 4 * (2 if args.store == "memory:" else 1)
        self.shared = min(self.shared, (96 if args.store == "memory:" else 32) * MIB)
        self.small_over = False
        self.small = threading.Thread(target=self._publish_small, daemon=True)

    def check(self, good, what):
        if not good:
            self.faults.append(what)
            print(f"  FAULT: {what}")

    def pace(self, seconds):
        time.sleep(seconds)

    def _publish_small(self):
        while not self.small_over:
            self.publisher.publish(["healthy"], 1024)
            time.sleep(0.02)

    def stats(self):
        """The figures, also while new connections are turned away."""
        found = []

        def look():
            response = self.gateway.request("GET", "/api/stats")
            found.append(response)
            return response.status == 200
        wire.wait_until(look, 20, "the figures are told")
        return found[-1].json()

    def phase(self, attack):
        before = collections.Counter(self.publisher.answers)
        self.watch.take_peak()
        said = attack(self)
        peak = self.watch.take_peak()
        limit = self.args.limit * MIB
        print(f"{attack.__name__}: {said}")
        print(f"  resident at most {peak / MIB:.1f} MiB of {self.args.limit}, "
              f"publishes {dict(self.publisher.answers - before)}")
        self.check(peak <= limit * (1 + self.args.slack / 100),
                   f"{attack.__name__}: {peak} bytes were resident")
        self.recover(attack)

    def recover(self, attack):
        """Nothing is refused any more, and what was held is given back."""
        def is_fine():
            stats = self.stats()
            self.last = stats
            return (stats["streams_open"] == self.args.healthy
                    and stats["memory_used"] < stats["memory_limit"] * 0.9
                    and stats["memory_bodies"] == stats["memory_answers"] == 0
                    and stats["memory_events"] < self.shared * 1.1 + MIB)
        began = time.monotonic()
        try:
            wire.wait_until(is_fine, 30, "memory is fine again")
        except AssertionError:
            self.check(False, f"{attack.__name__}: no recovery: {self.last}")
            return
        self.publisher.publish(["healthy"], 65536)
        with self.gateway.raw() as one:
            one.send(self.gateway.request_bytes("GET", "/events?topic=healthy&since=earliest",
                                                [("Accept", "text/event-stream")]))
            self.check(b"\n:" in one.receive() + one.receive(), "a replay is refused afterwards")
        print(f"  fine again after {time.monotonic() - began:.1f} s, "
              f"{self.last['memory_resident'] / MIB:.1f} MiB resident "
              f"({self.watch.field('RssAnon') / MIB:.1f} anonymous), "
              f"{self.last['memory_used'] / MIB:.1f} used, "
              f"{self.last['memory_events'] / MIB:.1f} of events")

    def go(self):
        self.watch.start()
        self.healthy.start()
        self.small.start()
        stats = self.gateway.stats()
        print(f"limits.memory {stats['memory_limit'] / MIB:.0f} MiB, "
              f"{'control group of version %d' % self.group.version if self.group.path else 'no control group'}, "
              f"{stats['memory_resident'] / MIB:.1f} MiB resident at rest")
        self.check(stats["memory_limit"] == self.args.limit * MIB,
                   f"the gateway took {stats['memory_limit']} for its limit")
        for attack in (stalled, replays, bodies):
            if attack.__name__ in self.args.attacks:
                self.phase(attack)
        self.small_over = True
        self.small.join()
        self.finish()

    def finish(self):
        self.healthy_catch_up()
        lost = doubled = reordered = 0
        for seen in self.healthy.seen:
            mine = set(seen)
            lost += len(self.publisher.healthy - mine)
            doubled += len(seen) - len(mine)
            reordered += seen != self.healthy.seen[0]  # two publish at once: any order, but one
        stats = self.gateway.stats()
        peak = self.watch.field("VmHWM")
        self.watch.over = True
        self.healthy.over = True
        kills = self.group.kills() if self.group.path else 0
        print(f"healthy: {len(self.healthy.seen)} streams, {len(self.publisher.healthy)} events each, "
              f"{lost} lost, {doubled} doubled, {reordered} reordered, {self.healthy.ended} ended")
        print(f"publishes: {dict(self.publisher.answers)}, {len(self.publisher.faults)} without "
              f"a clean answer; {len(self.publisher.acknowledged)} acknowledged")
        print(f"memory: {peak / MIB:.1f} MiB at most "
              f"({100 * peak / (self.args.limit * MIB):.1f} % of the limit), {kills} kills; "
              + ", ".join(f"{name} {stats[name]}" for name in (
                  "streams_evicted_memory", "streams_refused_memory", "replays_refused_memory",
                  "publishes_refused_memory", "answers_refused_memory",
                  "connections_refused_memory", "pages_dropped", "memory_trims")))
        self.check(lost == doubled == reordered == self.healthy.ended == 0, "a healthy stream suffered")
        self.check(not self.publisher.faults, f"publishes: {self.publisher.faults[:3]}")
        self.check(self.publisher.answers[201] > 0, "nothing was published")
        self.check(kills == 0, f"{kills} kills")
        self.check(peak <= self.args.limit * MIB * (1 + self.args.slack / 100), f"peak {peak}")

    def healthy_catch_up(self):
        """The last event, and all before it, must reach every healthy stream."""
        for _ in range(100):
            before = len(self.publisher.acknowledged)
            self.publisher.publish(["healthy"], 1024)
            if len(self.publisher.acknowledged) > before:
                break
            time.sleep(0.1)
        last = max(self.publisher.acknowledged)
        with contextlib.suppress(AssertionError):
            wire.wait_until(lambda: all(seen and seen[-1] == last for seen in self.healthy.seen),
                            20, "the last event everywhere")

    def close(self):
        try:
            self.gateway.finish()
        finally:
            self.group.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, default=128, help="limits.memory in MiB")
    parser.add_argument("--slack", type=float, default=5, help="per cent beyond it")
    parser.add_argument("--clients", type=int, default=5000, help="stalled streams")
    parser.add_argument("--events", type=int, default=1200, help="large events")
    parser.add_argument("--event-ms", type=float, default=25, help="between two of them")
    parser.add_argument("--replays", type=int, default=2000)
    parser.add_argument("--bodies", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20, help="of replays, of bodies")
    parser.add_argument("--healthy", type=int, default=50)
    parser.add_argument("--attacks", default="stalled,replays,bodies")
    parser.add_argument("--store", default="sqlite:FOLDER/h.db")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    random.seed(args.seed)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bugle-memory-"))
    run = Run(args, folder)
    try:
        run.go()
    except BaseException:
        print(run.gateway.log()[-3000:], file=sys.stderr)
        raise
    finally:
        run.close()
        shutil.rmtree(folder, ignore_errors=True)
    print("FAILED" if run.faults else "passed")
    return 1 if run.faults else 0


if __name__ == "__main__":
    sys.exit(main())
