# SPDX-License-Identifier: MIT
"""One row against one server, or against several at once: start it, aim `bugle bench` at it, and
bring back the JSON."""

import collections
import contextlib
import json
import pathlib
import resource
import signal
import statistics
import subprocess
import sys
import time
import urllib.request

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent / "support")]
from urgent import first_to_run  # noqa: E402

SEARCH_STEPS = 5
PRIVATE_RATE = 50
LIVE_RATE = 400
TURN_SECONDS = 1
HELD_SECONDS = 600


def raise_descriptors():
    """For the servers and the load tool, which inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Bench:
    """A run of the load tool.  `begun` is called once, when the phase of that name begins."""

    def __init__(self, server, load_cpu, options, extra="", first=()):
        self.command = [
            *first, "taskset", "-c", load_cpu, str(server.tools.bugle), "bench", "--json",
            "--progress", "--server-pid", ",".join(map(str, server.pids())),
            *server.addressed(options, extra), *map(str, options)]
        self.last_words = collections.deque(maxlen=5)

    def start(self):
        return subprocess.Popen(self.command, stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, begun=None, phase="measuring"):
        process = self.start()
        with process:
            try:
                report = self.follow(process, begun, phase)
            finally:
                process.kill()
        return self.parsed(report)

    @contextlib.contextmanager
    def holding(self):
        """Have it measure within the context.  Gives what ends it and brings its report, None when
        it ended before or anything went wrong."""
        process = self.start()
        with process:
            try:
                self.begins(process)
                yield lambda: self.let_go(process)
            finally:
                process.kill()

    def let_go(self, process):
        held = process.poll() is None
        process.send_signal(signal.SIGINT)  # it reports then; nothing, to one that is over
        report = self.parsed(process.communicate()[0])
        return report if held and report and report["good"] else None

    def begins(self, process, phase="measuring"):
        """Read up to the beginning of a phase, or to the end if there is none."""
        for line in process.stderr:
            self.last_words.append(line)
            if f" {phase} " in line:
                return True
        return False

    def follow(self, process, begun, phase):
        if self.begins(process, phase) and begun:
            begun()
        self.last_words.extend(process.stderr)
        return process.stdout.read()

    def parsed(self, report):
        if report:
            return json.loads(report)
        print("".join(self.last_words), file=sys.stderr, end="")
        return None


def plain(server, load_cpu, options, _load):
    return Bench(server, load_cpu, options).run()


def fastest(server, load_cpu, options, load):
    """Publishers that wait for their answers hold a server back that delivers before it answers.
    One that answers first and then loses is searched for the highest rate it can keep up with."""
    options = [*options, "--drain", 2]
    full = Bench(server, load_cpu, options).run()
    if full is None:
        return None
    expected = full["deliveries"]["expected"]
    full["unbridled"] = {"deliveries_per_s": full["window"]["deliveries_per_s"],
                         "lost_percent": 100 * full["deliveries"]["lost"] / max(expected, 1)}
    if full["good"]:
        return full
    low, high, best = 0, full["window"]["events_per_s"], None
    for _ in range(SEARCH_STEPS):
        rate = (low + high) / 2
        held = Bench(server, load_cpu, [*options, "--rate", f"{rate:.2f}"]).run()
        if held and held["good"]:
            low, best = rate, held
        else:
            high = rate
    if best:
        best["unbridled"] = full["unbridled"]
    return best


def private(server, load_cpu, options, load):
    """A second tool publishes to a stream of its own while the first one's crowd is served.  It
    goes before the first one on their core: what is measured is the server."""
    found = []
    ours = ["--streams", 1, "--rate", PRIVATE_RATE, "--settle", 0, "--seconds",
            load.seconds]
    second = Bench(server, load_cpu, ours, extra="7", first=first_to_run())
    options = [*options, "--seconds", load.seconds + 4]
    crowd = Bench(server, load_cpu, options).run(lambda: found.append(second.run()))
    if not (crowd and found and found[0]):
        return None
    return {**found[0], "crowd": crowd}


def storm(server, load_cpu, options, load):
    """A second tool publishes to a stream of its own for as long as the first one connects, and
    goes before it on their core.  It ends before the first one looks at the server's memory, which
    holds the server up."""
    found = []
    ours = ["--streams", 1, "--rate", LIVE_RATE, "--settle", 0.5, "--warmup", 0, "--seconds",
            HELD_SECONDS]
    live = Bench(server, load_cpu, ours, extra="7", first=first_to_run())
    with live.holding() as let_go:
        result = Bench(server, load_cpu, options).run(
            lambda: found.append(let_go()), "settling")
    if not (result and found and found[0]):
        return None
    return {**result, "live": found[0]}


def spread(server, _load_cpu, options, load):
    """A broadcast, and while it goes on the gateway is asked which streams it has: the highest
    byte of a stream's id is its worker.  The load runs on all cores that the server has: on one of
    them it would stand beside the second worker and never beside a single one, and the difference
    would be the load's."""
    counts = collections.Counter()

    def ask():
        url = f"http://127.0.0.1:{server.port}/api/streams?limit={load.some}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            for stream in json.load(answer)["streams"]:
                counts[int(stream["id"], 16) >> 56] += 1

    result = Bench(server, server.cpus, options).run(ask)
    if result and counts:
        result["spread"] = {"streams": dict(counts),
                            "percent": 100 * max(counts.values()) / sum(counts.values())}
    return result


class Contender:
    """A server that stands with all its streams while it and others are published to in turns."""

    def __init__(self, server, load_cpu, part):
        # where the server has the load's core too, the load is to have both
        self.server, self.part = server, part
        self.cpus = server.cpus if load_cpu in server.cpus.split(",") else load_cpu
        self.let_go = None
        self.cpu_us = self.events = 0

    def stand(self, stack):
        options = ["--idle", "--settle", 0, "--seconds", HELD_SECONDS, *self.part.streams]
        self.server.start()
        stack.callback(self.server.stop)
        self.let_go = stack.enter_context(Bench(self.server, self.cpus, options).holding())

    def take_turn(self):
        """Of the last event of a turn only what was done before its answer counts: with broadcasts
        one of fifty."""
        options = ["--publish-only", "--seconds", TURN_SECONDS, "--warmup", 0, *self.part.events]
        report = Bench(self.server, self.cpus, options).run()
        if not (report and report["good"]):
            return False
        self.cpu_us += report["server"]["cpu_us"]
        self.events += report["window"]["events"]
        return True

    def result(self):
        per_event = self.cpu_us / self.events
        return {"events": self.events, "server": {
            "cpu_us": self.cpu_us, "cpu_us_per_event": per_event,
            "cpu_us_per_delivery": per_event / self.part.reach}}


class Visited:
    """A server to which streams come and go while others stand beside it."""

    def __init__(self, server, load_cpu, options):
        self.server, self.load_cpu, self.options = server, load_cpu, options
        self.reports = []

    def stand(self, stack):
        self.server.start()
        stack.callback(self.server.stop)

    def take_turn(self):
        report = Bench(self.server, self.load_cpu, self.options).run()
        if report and report["good"]:
            self.reports.append(report["server"])
        return bool(report and report["good"])

    def let_go(self):
        """Nothing is held."""
        return True

    def result(self):
        names = ("cpu_us_per_connect", "cpu_us_per_close")
        return {"turns": len(self.reports), "server": {
            name: statistics.mean(report[name] for report in self.reports) for name in names}}


TURNS = {"turns": Contender, "pages": Visited}


def measure_in_turns(row, servers, load_cpu, load):
    """The JSON of each server by name, none when one failed.  What slows the machine for a second
    slows them all."""
    began = time.monotonic()
    all_of_them = [TURNS[row.kind](server, load_cpu, row.options(load)[server.name])
                   for server in servers]
    with contextlib.ExitStack() as stack:
        for contender in all_of_them:
            contender.stand(stack)
        good = True
        for i in range(max(1, round(2 * load.seconds / TURN_SECONDS))):
            order = all_of_them[::-1 if i % 2 else 1]
            good = good and all(contender.take_turn() for contender in order)
        # a list, since all are to let go
        good = all([contender.let_go() for contender in all_of_them]) and good
    took_s = round(time.monotonic() - began, 1)
    return {contender.server.name: {**contender.result(), "took_s": took_s}
            for contender in all_of_them if good}


KINDS = {"plain": plain, "fastest": fastest, "private": private, "storm": storm,
         "spread": spread}


def measure(row, server, load_cpu, load):
    """The JSON of one run, None when it failed."""
    options = ["--seconds", load.seconds, *row.options(load)]
    began = time.monotonic()
    server.start()
    try:
        result = KINDS[row.kind](server, load_cpu, options, load)
    finally:
        server.stop()
    if result:
        result["took_s"] = round(time.monotonic() - began, 1)
    return result
