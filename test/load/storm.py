#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Many clients come back at once beside live streams: what the live ones notice of it.

  storm.py [--clients N] [--events N] [--live N] [--rate R] [--seconds S] [--rounds N]

BUGLE names the program.  In turns, a run with live streams alone and one in which CLIENTS replay
EVENTS each from random places, all of them at once.  The server has a core of its own; the load
has another.  There the live ones go before whatever else the machine runs, where we may ask for
that, and the replaying clients run only when nothing else does: what is measured is the server.
Prints a line for each run, the ratio of the medians and that of each round; fails when an event
was lost or out of order, not for what it took.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / each) for each in ("scenarios", "support")]
from urgent import first_to_run  # noqa: E402

BUGLE = os.environ["BUGLE"]
FIRST = first_to_run()
PAST = 300_000
IN_RINGS = 65_536  # events that the worker has at hand: those are read otherwise


class Server:
    """A gateway on core 0 with a store that holds PAST events of the topic `past`."""

    def __init__(self, folder, store):
        self.log = open(folder / "log", "w+b")
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", BUGLE, "serve", "--listen", "127.0.0.1:0", "--workers", "1",
             "--store", store.format(folder), "--www", "", "--set", "limits.queue_wait=0s"],
            stderr=self.log)
        self.port = int(self.wait_for(rb"listening on http://127\.0\.0\.1:(\d+)/"))
        self.wait_for(rb"is (ready)")
        self.url = f"http://127.0.0.1:{self.port}"

    def wait_for(self, pattern):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            self.log.seek(0)
            if found := re.search(pattern, self.log.read()):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.log.seek(0)
        raise SystemExit(f"the server does not start: {self.log.read().decode()}")

    def stats(self):
        with urllib.request.urlopen(self.url + "/api/stats", timeout=10) as answer:
            return json.load(answer)

    def memory_mb(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) // 1024

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def load(*arguments, **more):
    return subprocess.Popen(["taskset", "-c", "1", *arguments], stdout=subprocess.PIPE, text=True,
                            **more)


def bench(server, *arguments):
    return load(*FIRST, BUGLE, "bench", "--json", "--publish-url", server.url + "/api/push",
                *arguments, stderr=subprocess.DEVNULL)


def fill(server):
    run = bench(server, "--publish-only", "--events", str(PAST), "--batch", "500", "--rate", "max",
                "--connections", "8", "--publish-body", '{"topic":"past","data":"{data}"}')
    run.communicate()
    if run.returncode != 0 or server.stats()["events_published"] < PAST:
        raise SystemExit("the history could not be filled")


def publish_one(server):
    request = urllib.request.Request(server.url + "/api/push?topic=none", b"x", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["id"]


def live_streams(server, options):
    run = bench(server, "--stream-url", server.url + "/events?topic=live",
                "--publish-body", '{"topic":"live","data":"{data}"}',
                "--streams", str(options.live), "--rate", str(options.rate), "--warmup", "1",
                "--seconds", str(options.seconds))
    while server.stats()["streams_open"] < options.live:
        time.sleep(0.05)
    time.sleep(2.5)  # the bench's own second of quiet and of warming up
    return run


def one_run(replay, options, folder, with_storm):
    server = Server(folder, options.store)
    try:
        fill(server)
        epoch = publish_one(server).split("-")[0]
        live = live_streams(server, options)
        storm, most_mb = None, 0
        if with_storm:
            storm = load("chrt", "-i", "0", str(replay), str(server.port), epoch,
                         str(options.clients), str(options.clients), str(options.events), "1",
                         str(PAST - IN_RINGS - options.events), "topic=past")
        while live.poll() is None:
            most_mb = max(most_mb, server.memory_mb())
            time.sleep(0.2)
        result = json.loads(live.stdout.read())
        result["bench_failed"] = live.returncode
        if storm:
            storm_text, _ = storm.communicate()
            result["storm"] = json.loads(storm_text)
        result["most_mb"] = most_mb
        return result
    finally:
        server.stop()


def tell(name, result):
    latency = {name: us / 1000 for name, us in result["latency"].items()}
    line = (f"{name:7} live: p50 {latency['p50_us']:.1f} p90 {latency['p90_us']:.1f} "
            f"p99 {latency['p99_us']:.1f} p99.9 {latency['p99_9_us']:.1f} ms, "
            f"answers p50 {result['answers']['p50_us'] / 1000:.1f} "
            f"p99 {result['answers']['p99_us'] / 1000:.1f} ms, "
            f"sent late p99 {result['sent_late']['p99_us'] / 1000:.1f} ms, "
            f"failed {result['bench_failed']}, RSS {result['most_mb']} MB")
    if storm := result.get("storm"):
        line += (f"; replays: {storm['done']} done, {storm['failed']} failed, "
                 f"{storm['disordered']} out of order, {storm['seconds']:.1f} s")
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=1_000)
    parser.add_argument("--live", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--store", default="sqlite:{}/history.db",
                        help="{} becomes a temporary folder, below TMPDIR")
    parser.add_argument("--only", choices=["alone", "storm"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    p99 = {False: [], True: []}
    bad = 0
    if not FIRST:
        print("the load may not go before others: what else runs shows in the figures", flush=True)
    with tempfile.TemporaryDirectory() as work:
        replay = pathlib.Path(work) / "replay"
        subprocess.run(["cc", "-O2", "-o", replay, HERE.parent / "bench" / "replay.c"], check=True)
        for number in range(options.rounds):
            for with_storm in (False, True):
                if options.only and with_storm != (options.only == "storm"):
                    continue
                folder = pathlib.Path(work) / f"{number}{with_storm}"
                folder.mkdir()
                result = one_run(replay, options, folder, with_storm)
                tell("storm" if with_storm else "alone", result)
                p99[with_storm].append(result["latency"]["p99_us"] / 1000)
                storm = result.get("storm", {"failed": 0, "disordered": 0, "done": 0})
                bad += result["bench_failed"] + storm["failed"] + storm["disordered"]
    if options.only:
        sys.exit(1 if bad else 0)
    alone, storm = statistics.median(p99[False]), statistics.median(p99[True])
    print(f"live p99 {alone:.1f} ms alone, {storm:.1f} ms beside the replays: {storm / alone:.2f}")
    # where the machine changes its pace between rounds, the two medians may be of different paces
    pairs = [beside / before for before, beside in zip(p99[False], p99[True])]
    print(f"of each round: {', '.join(f'{pair:.2f}' for pair in pairs)}, "
          f"median {statistics.median(pairs):.2f}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
