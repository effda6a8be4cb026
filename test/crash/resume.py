#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Streams that begin at random places while others publish.

Each takes an acknowledged id, near the newest or far from it, or the one at which a stream before
it ended, and a filter; reads some events, over the border between replay and live or not that far;
and leaves.  What it got is compared with what was published: no gap, no double, no reorder.
"""

import argparse
import contextlib
import io
import os
import pathlib
import random
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / each) for each in ("scenarios", "support"))]

import load  # noqa: E402
import wire  # noqa: E402
from conftest import Gateway  # noqa: E402
from crash import KINDS, SETTINGS, SHOW_EVERY, VIOLATIONS_MAX  # noqa: E402
from ledger import USERS, Ledger, Receiver  # noqa: E402

READ_MAX = 400  # events
STAY_SECONDS = 0.5
STALLED_SECONDS = 30


class Visit(load.Subscriber):
    """A stream that goes on after a position, takes so many events, and leaves for good."""

    def __init__(self, run, audience, position):
        ledger = run.ledger
        receiver = Receiver(ledger, audience, f"after {position}", position)
        super().__init__(run.loop, run.gateway.address, receiver)
        receiver.last_id = f"{ledger.epoch}-{position:016}"
        self.position = position
        self.newest = ledger.known
        self.count = random.randint(1, READ_MAX)
        self.run = run
        run.loop.later(random.uniform(0, STAY_SECONDS), self.leave)

    def feed(self, payload):
        super().feed(payload)
        if self.receiver.received >= self.count:
            self.leave()

    def leave(self):
        if self.closed:
            return
        if not self.greeted:
            self.loop.later(0.01, self.leave)  # nothing has come yet: that would be no visit
            return
        self.close()
        self.run.note(self)

    def drop(self, delay=None):
        self.receiver.ledger.violation("refused", f"{self.receiver.name}: the stream ended")
        self.close()
        self.run.note(self)


class Run:
    def __init__(self, options, folder):
        self.options = options
        store = "memory:" if options.memory else f"sqlite:{folder}/h.db"
        self.gateway = Gateway(folder, SETTINGS, store=store)
        self.gateway.start()
        self.ledger = Ledger(with_keys=False)
        self.loop = load.Loop()
        self.started = self.finished = self.border = self.deliveries = 0
        self.open = set()
        self.settling = []
        self.audiences = [self.ledger.audience(*patterns, user=user)
                          for patterns, user in dict.fromkeys(load.queries_of(100))]
        self.publishers = load.start_publishers(self.loop, self.gateway.address, self.ledger,
                                                options.pause_ms / 1000, "resume")
        # one stream a user that sees to it that every position is known
        self.steady = load.start_subscribers(self.loop, self.gateway.address, self.ledger,
                                             [(("**",), f"u{user}") for user in range(USERS)])
        self.begun = self.shown = time.monotonic()

    def position(self):
        """Where to begin; most of the interest is at the newest."""
        newest = self.ledger.known
        if random.random() < 0.6:
            return max(1, newest - int(random.expovariate(1 / 60)))
        return random.randint(max(1, newest - self.options.back), newest)

    def start(self):
        self.started += 1
        visit = Visit(self, random.choice(self.audiences), self.position())
        self.open.add(visit)
        visit.connect()

    def note(self, visit):
        self.open.discard(visit)
        self.settling.append(visit)

    def settle(self):
        """Compare those that are over and whose last position is known."""
        self.ledger.advance()
        for steady in self.steady:
            steady.receiver.settle()
        left = []
        for visit in self.settling:
            receiver = visit.receiver
            receiver.settle()
            if receiver.fresh:
                left.append(visit)
                continue
            self.finished += 1
            self.deliveries += receiver.received
            self.border += visit.position < visit.newest < receiver.last
        self.settling = left

    def run(self):
        while self.ledger.known == 0:
            self.loop.run(0.05)
            self.settle()
        finished, deadline = 0, 0
        while self.finished < self.options.reconnects:
            if self.finished > finished or not deadline:
                finished, deadline = self.finished, time.monotonic() + wire.seconds(STALLED_SECONDS)
            while (len(self.open) < self.options.at_once
                   and self.started < self.options.reconnects):
                self.start()
            self.loop.run(0.02)
            self.settle()
            self.show()
            if time.monotonic() > deadline:
                self.ledger.violation("lost", f"{len(self.open)} streams have got nothing,"
                                      f" {len(self.settling)} something unknown")
                return
            if sum(self.ledger.wrong.values()) >= VIOLATIONS_MAX:
                return
        if self.gateway.stat("resets"):
            self.ledger.violation("reset", "the gateway says so")

    def show(self):
        if time.monotonic() - self.shown < SHOW_EVERY:
            return
        self.shown = time.monotonic()
        print(f"{self.shown - self.begun:6.0f} s  {self.finished} reconnects"
              f"  {self.ledger.acknowledged} acknowledged  {self.deliveries} delivered"
              f"  {sum(self.ledger.wrong.values())} wrong", file=sys.stderr, flush=True)

    def report(self):
        print(f"seed {self.options.seed}: {self.finished} reconnects, {self.border} of them over"
              f" the border of replay and live, {self.deliveries} deliveries checked,"
              f" {self.ledger.acknowledged} events acknowledged meanwhile,"
              f" {time.monotonic() - self.begun:.0f} s")
        print(", ".join(f"{self.ledger.wrong[kind]} {kind}" for kind in KINDS))
        for words in self.ledger.words:
            print(words)

    def close(self):
        for client in [*self.publishers, *self.steady, *self.open]:
            client.close()
        with contextlib.redirect_stderr(io.StringIO()):
            self.gateway.finish()


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--reconnects", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=64, help="streams at a time (64)")
    parser.add_argument("--back", type=int, default=20_000, help="how far back they begin (20000)")
    parser.add_argument("--pause-ms", type=float, default=20, help="of a publisher (20)")
    parser.add_argument("--memory", action="store_true", help="the store in memory")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--bugle", help="the program ($BUGLE)")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    if options.bugle:
        os.environ["BUGLE"] = options.bugle
    random.seed(options.seed)
    with tempfile.TemporaryDirectory(prefix="bugle-resume-") as folder:
        run = Run(options, pathlib.Path(folder))
        try:
            run.run()
        finally:
            run.report()
            run.close()
    return 1 if run.ledger.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
