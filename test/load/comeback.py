#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""kill -9 with many clients who all come again at once.

Each client holds a stream, the gateway has a history on disk and a publisher who does not stop.  The
gateway is killed and started again at once; every client reconnects as soon as its stream ends, with
its last id, and holds each event to its place (comeback.c).  Prints counts and times; fails when a
client is not back without a gap within the time, when one was refused, or when the kernel had no
room for a connection.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import tools

TOPIC = "all"


class Publisher(threading.Thread):
    """Publishes at a rate until told to stop, over whatever happens; notes how long each took."""

    def __init__(self, gateway, rate):
        super().__init__(daemon=True)
        self.gateway = gateway
        self.rate = rate
        self.done = threading.Event()
        self.took = []  # (when it was sent, seconds), of those that were acknowledged
        self.failed = 0
        self.last = 0  # position

    def run(self):
        number = 0
        due = time.monotonic()
        while not self.done.is_set():
            began = time.monotonic()
            try:
                answer = self.gateway.post({"topic": TOPIC, "data": f"{number}"})
                if answer.status == 201:
                    self.took.append((began, time.monotonic() - began))
                    self.last = int(answer.json()["id"].rpartition("-")[2])
                else:
                    self.failed += 1
            except (OSError, AssertionError):
                self.failed += 1
            number += 1
            due = max(due + 1 / self.rate, time.monotonic() - 1)
            self.done.wait(max(0, due - time.monotonic()))

    def p99_ms(self, since):
        took = sorted(seconds for began, seconds in self.took if began >= since)
        return (1000 * took[len(took) * 99 // 100], len(took)) if took else (0, 0)


def say(process, line, answer=None):
    process.stdin.write(line + "\n")
    process.stdin.flush()
    if answer:
        said = process.stdout.readline().strip()
        assert said == answer, f"{said!r} instead of {answer!r}"


def come_back(folder, clients, rate=20, before_s=3.0, down_s=0.0, pinned=True, settings=None):
    """One kill.  What came of it: the report of comeback.c with what the driver saw."""
    settings = {"stream.heartbeat": "60s", **(settings or {})}
    with tools.running(folder, store=f"sqlite:{folder}/h.db", settings=settings,
                       pinned=pinned) as gateway:
        herd = tools.start(tools.load_program("comeback"), gateway.port, clients, TOPIC,
                           pinned=pinned, stdin=subprocess.PIPE, bufsize=1)
        publisher = Publisher(gateway, rate)
        try:
            say(herd, "standing", "standing")
            publisher.start()
            time.sleep(before_s)
            say(herd, "mark", "marked")
            overflows = tools.listen_overflows()
            killed = time.monotonic()
            gateway.kill()
            time.sleep(down_s)
            gateway.start(ready=False)
            tools.wire.wait_until(lambda: publisher.took[-1][0] > killed, 30, "it is up again")
            up_s = time.monotonic() - killed
            tools.wire.wait_until(lambda: gateway.stat("streams_open") >= clients, 60, "all back")
            publisher.done.set()
            publisher.join()
            say(herd, f"upto {publisher.last}")
            report = json.loads(herd.stdout.readline())
            report["status"] = herd.wait(90)
        finally:
            publisher.done.set()
            herd.kill()
            herd.wait()
        stats = gateway.stats()
        p99, publishes = publisher.p99_ms(killed)
        after = tools.listen_overflows()
        report.update(
            up_s=round(up_s, 3), publishes=publishes, publishes_failed=publisher.failed,
            publish_p99_ms=round(p99, 1), overflows=after[0] - overflows[0],
            drops=after[1] - overflows[1], streams_refused=stats["streams_refused"],
            pages_read=stats["pages_read"])
        return report


def show(report):
    print(f"{report['clients']:,} clients: {report['back']:,} back, {report['refused']} refused, "
          f"{report['gaps']} gaps, {report['duplicates']} doubled, {report['resets']} reset; "
          f"{report['overflows']} listen overflows, {report['drops']} drops")
    print(f"  seconds from the kill: {report['up_s']:.2f} up again, {report['first_back_s']:.2f} "
          f"first back, {report['all_back_s']:.2f} all back, {report['all_caught_up_s']:.2f} all "
          f"have everything")
    print(f"  {report['events']:,} events, {report['pages_read']:,} pages read, {report['ended']:,} "
          f"streams ended, {report['nobody_there']:,} connects while it was away")
    print(f"  {report['publishes']} publishes meanwhile, p99 {report['publish_p99_ms']} ms",
          flush=True)


def faults_of(report, within_s):
    wrong = [name for name in ("refused", "gaps", "duplicates", "resets", "other_epochs",
                               "overflows", "streams_refused", "status") if report[name]]
    if report["all_caught_up_s"] > within_s:
        wrong.append(f"took longer than {within_s} s")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=15000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--rate", type=float, default=20, help="events a second for all of them")
    parser.add_argument("--down", type=float, default=0, help="seconds between kill and start")
    parser.add_argument("--within", type=float, default=10, help="seconds that it may take")
    args = parser.parse_args()
    faults = []
    for _ in range(args.kills):
        with tempfile.TemporaryDirectory(prefix="bugle-comeback.") as folder:
            report = come_back(pathlib.Path(folder), args.clients, args.rate, down_s=args.down)
            show(report)
            faults += faults_of(report, args.within)
    print(f"{args.kills} kills, faults: {', '.join(faults) or 'none'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
