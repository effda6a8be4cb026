#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Kill the gateway again and again, and hold what every subscriber got against what was
acknowledged.

    make crashtest CRASH_ARGS='--cycles 100 --seed 7'

Sixteen publishers send single events and arrays, each with keys, and repeat a request until it is
answered; some two hundred subscribers of three kinds come again with their last id.  None of them
may lose an acknowledged event, get one twice, in another order, or one that nobody published; no
stream may be told of a reset.  An event that was never acknowledged may come once.  The seed
repeats what is sent and when the gateway is killed, not how threads and sockets fall.
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

import clients  # noqa: E402
import load  # noqa: E402
import wire  # noqa: E402
from conftest import Gateway, program_path  # noqa: E402
from ledger import USERS, Ledger, Receiver  # noqa: E402

# what was published must still be there at the end
SETTINGS = {"history.max_events": "1000000000", "history.max_bytes": "1024G",
            "history.max_age": "3650d", "stream.retry": "1s",
            "limits.streams_per_user": "0"}
KINDS = ["lost", "doubled", "reordered", "invented", "reset", "refused"]
SHOW_EVERY = 5  # seconds
CATCH_UP_SECONDS = 60
VIOLATIONS_MAX = 50


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--cycles", type=int, default=1000, help="kills (1000)")
    parser.add_argument("--acks", type=int, default=None,
                        help="go on until so many are acknowledged (1000000 from 1000 cycles on)")
    parser.add_argument("--seed", type=int, default=None, help="of all that is left to chance")
    parser.add_argument("--subscribers", type=int, default=200, help="over raw sockets (200)")
    parser.add_argument("--life-ms", type=int, nargs=2, default=(50, 1500), metavar=("MIN", "MAX"),
                        help="from ready to the kill (50 1500)")
    parser.add_argument("--pause-ms", type=float, default=45,
                        help="of a publisher after an answer, on average (45)")
    parser.add_argument("--keys", action=argparse.BooleanOptionalAction, default=None,
                        help="publish with idempotency keys and repeat (if the gateway takes them)")
    parser.add_argument("--tools", action=argparse.BooleanOptionalAction, default=True,
                        help="subscribe with `bugle subscribe` too")
    parser.add_argument("--browser", action=argparse.BooleanOptionalAction, default=True,
                        help="subscribe with Chromium too, where it is installed")
    parser.add_argument("--folder", help="where the store is to be (a new one in /tmp)")
    parser.add_argument("--bugle", help="the program ($BUGLE)")
    return parser.parse_args(arguments)


def takes_keys():
    """Whether this gateway knows idempotency keys."""
    with tempfile.TemporaryDirectory(prefix="bugle-crash-") as folder:
        gateway = Gateway(pathlib.Path(folder), store=f"sqlite:{folder}/h.db").start()
        response = gateway.post({"data": "x", "idempotency_key": "k"})
        gateway.kill()
    if response.status == 201:
        return True
    assert response.problem(422)["code"] == "idempotency_unavailable", response
    return False


class Run:
    def __init__(self, options, folder):
        self.options = options
        self.gateway = Gateway(folder, SETTINGS, store=f"sqlite:{folder}/h.db")
        self.gateway.start()
        self.ledger = Ledger(options.keys)
        self.loop = load.Loop()
        run = f"{options.seed:x}-{time.time_ns():x}"
        self.publishers = load.start_publishers(
            self.loop, self.gateway.address, self.ledger, options.pause_ms / 1000, run)
        self.subscribers = load.start_subscribers(
            self.loop, self.gateway.address, self.ledger, load.queries_of(options.subscribers))
        self.tools_log = open(folder / "tools", "wb")
        self.tools = clients.start_tools(self.loop, self.gateway, self.ledger, program_path(),
                                         self.tools_log) if options.tools else []
        self.no_browser = "left out" if not options.browser else clients.why_no_browser()
        self.browser = None if self.no_browser else clients.start_browser(self.gateway, self.ledger)
        self.cycles = 0
        self.begun = self.shown = time.monotonic()

    # receivers

    def receivers(self):
        return [receiver for of_kind in self.kinds().values() for receiver in of_kind]

    def kinds(self):
        return {"sockets": [subscriber.receiver for subscriber in self.subscribers],
                "bugle subscribe": [tool.receiver for tool in self.tools],
                "chromium": self.browser.receivers if self.browser else []}

    def settle(self):
        if self.browser:
            self.browser.settle()
        self.ledger.advance()
        for receiver in self.receivers():
            receiver.settle()

    # a cycle

    def cycle(self):
        life = random.uniform(*self.options.life_ms) / 1000
        self.loop.run(life)
        # while requests are under way, at a moment that has nothing to do with this loop
        time.sleep(random.uniform(0, 0.004))
        self.gateway.kill()
        self.gateway.start(ready=False)
        self.wait_ready()
        self.settle()
        self.cycles += 1
        self.show()

    def is_enough(self):
        options = self.options
        acks = options.acks if options.acks is not None else 1_000_000 * (options.cycles >= 1000)
        return self.cycles >= options.cycles and self.ledger.acknowledged >= acks

    def wait_ready(self):
        deadline = time.monotonic() + wire.seconds(20)
        while not self.gateway._is_ready():
            assert time.monotonic() < deadline, f"not ready:\n{self.gateway.log()[-5000:]}"
            self.loop.run(0.005)

    def show(self):
        if time.monotonic() - self.shown < SHOW_EVERY:
            return
        self.shown = time.monotonic()
        received = sum(receiver.received for receiver in self.receivers())
        behind = max(len(receiver.audience.positions) - receiver.cursor
                     for receiver in self.receivers())
        print(f"{self.shown - self.begun:6.0f} s  {self.cycles} cycles"
              f"  {self.ledger.acknowledged} acknowledged  {self.repeats} repeated"
              f"  {received} delivered  {behind} behind at most"
              f"  {sum(self.ledger.wrong.values())} wrong", file=sys.stderr, flush=True)

    # the end

    def finish(self):
        """Let everything under way arrive, and compare with a last replay after a last crash."""
        for publisher in self.publishers:
            publisher.stopping = True
        self.wait(lambda: all(publisher.idle for publisher in self.publishers), "answers")
        if not self.options.keys:
            self.loop.run(0.2)  # what was taken and not answered comes by the streams
        self.gateway.kill()
        self.gateway.start(ready=False)
        self.wait_ready()
        oracles = [(("**",), f"u{user}") for user in range(USERS)] + [((), None)]
        for patterns, user in oracles:
            receiver = Receiver(self.ledger, self.ledger.audience(*patterns, user=user), "history")
            self.subscribers.append(load.Subscriber(self.loop, self.gateway.address, receiver))
            self.subscribers[-1].connect()
        self.wait(self.all_done, "subscribers")
        self.loop.run(0.3)  # for what comes though it must not
        self.settle()
        self.check_totals()

    def all_done(self):
        self.settle()
        return (self.ledger.known == self.ledger.newest
                and all(receiver.is_done() for receiver in self.receivers()))

    def wait(self, predicate, what):
        """Not for ever: what does not come is lost."""
        deadline = time.monotonic() + wire.seconds(CATCH_UP_SECONDS)
        received = 0
        while not predicate():
            self.loop.run(0.05)
            now_received = sum(receiver.received for receiver in self.receivers())
            if now_received > received:
                received = now_received
                deadline = time.monotonic() + wire.seconds(CATCH_UP_SECONDS)
            if time.monotonic() > deadline or self.hopeless():
                self.ledger.violation("lost", f"waited too long for {what}")
                break

    def check_totals(self):
        ledger = self.ledger
        if ledger.known != ledger.newest:
            ledger.violation("lost", f"nobody got {ledger.known + 1}, acknowledged up to"
                             f" {ledger.newest}")
        for receiver in self.receivers():
            receiver.miss()
        acknowledged = sum(number > 0 for number in ledger.who[1:ledger.newest + 1])
        if self.options.keys and acknowledged != ledger.acknowledged:
            ledger.violation("invented", f"{acknowledged} are there, {ledger.acknowledged} were"
                             " acknowledged")
        stats = self.gateway.stats()
        if stats["resets"] or stats["pages_damaged"] or stats["history_events"] != ledger.newest:
            ledger.violation("reset", f"the gateway says {stats}")

    @property
    def repeats(self):
        return sum(publisher.repeats for publisher in self.publishers)

    def hopeless(self):
        return sum(self.ledger.wrong.values()) >= VIOLATIONS_MAX

    def close(self):
        for client in [*self.publishers, *self.subscribers, *self.tools,
                       *([self.browser] if self.browser else [])]:
            client.close()
        self.tools_log.close()
        # its log is of interest only if it tells of something
        with contextlib.redirect_stderr(io.StringIO()):
            self.gateway.finish()

    # the report

    def report(self):
        ledger, options = self.ledger, self.options
        print(f"seed {options.seed}, {'with' if options.keys else 'without'} keys,"
              f" {time.monotonic() - self.begun:.0f} s")
        print(f"{self.cycles} cycles, {ledger.acknowledged} acknowledged, {ledger.newest} stored,"
              f" {self.repeats} requests repeated,"
              f" {sum(publisher.duplicates for publisher in self.publishers)} told as duplicates,"
              f" {sum(publisher.refused for publisher in self.publishers)} refused for a while")
        for kind, receivers in self.kinds().items():
            why = f" ({self.no_browser})" if kind == "chromium" and self.no_browser else ""
            print(f"{kind}: {len(receivers)} streams,"
                  f" {sum(receiver.received for receiver in receivers)} deliveries checked{why}")
        print(f"{sum(s.connections for s in self.subscribers)} connections of subscribers,"
              f" {sum(s.refused for s in self.subscribers)} refused")
        print(", ".join(f"{ledger.wrong[kind]} {kind}" for kind in KINDS))
        for words in ledger.words:
            print(words)


def main(arguments=None):
    options = parse(arguments)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    if options.bugle:
        os.environ["BUGLE"] = options.bugle
    if options.keys is None:
        options.keys = takes_keys()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory(prefix="bugle-crash-", dir=options.folder) as folder:
        run = Run(options, pathlib.Path(folder))
        try:
            while not run.is_enough() and not run.hopeless():
                run.cycle()
            run.finish()
        finally:
            run.report()
            run.close()
    return 1 if run.ledger.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
