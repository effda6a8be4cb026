#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Clients that never read, beside healthy ones, with and without.

`bugle bench` holds the healthy streams and publishes; the stalled ones ask for the same topic and
have small buffers.  Each must be cut no sooner than the time after it last took something, and at
most two seconds later; what it cost the others is printed beside a run without them.
"""

import contextlib
import io
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]

import crowd  # noqa: E402
from conftest import Gateway, program_path  # noqa: E402

RECEIVE_BUFFER = 4096
TOO_LATE = 2
TOPIC = "news"


def pin(core, options):
    if options.pin:
        os.sched_setaffinity(0, {core})


def start_gateway(options, folder):
    settings = {"stream.stall_timeout": f"{options.stall_timeout}s"}
    gateway = Gateway(folder, settings, workers=1, store="memory:")
    pin(0, options)
    gateway.start()
    pin(1, options)
    return gateway


def start_bench(options, gateway):
    """The healthy ones."""
    return subprocess.Popen(
        [program_path(), "bench", "--json", "--stream-url", f"{gateway.url}/events?topic={TOPIC}",
         "--publish-url", f"{gateway.url}/api/push",
         "--publish-body", '{"topic":"%s","data":"{data}"}' % TOPIC,
         "--streams", str(options.healthy), "--rate", str(options.rate), "--connections", "4",
         "--size", str(options.size), "--seconds", str(options.seconds),
         "--warmup", str(options.warmup), "--server-pid", str(gateway.pid)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


class Memory:
    """What the gateway holds, looked at twice a second."""

    def __init__(self, pid):
        self.pid, self.last, self.peak, self.looked = pid, 0, 0, 0

    def look(self):
        if time.monotonic() - self.looked < 0.5:
            return
        self.looked = time.monotonic()
        self.last = crowd.resident(self.pid)
        self.peak = max(self.peak, self.last)


def run(options, stalled_n, folder):
    gateway = start_gateway(options, folder)
    clients = crowd.Crowd()
    stalled = []
    for _ in range(stalled_n):
        stalled.append(crowd.Client(gateway.address, TOPIC, RECEIVE_BUFFER))
        clients.add(stalled[-1], reads=False)
    memory = Memory(gateway.pid)
    bench = start_bench(options, gateway)
    # the bench has all its answers when it prints, and has closed its streams by then
    while bench.poll() is None:
        clients.turn()
        memory.look()
    report = json.loads(bench.stdout.read())
    clients.run_until(lambda: all(client.ended for client in stalled),
                      options.stall_timeout + 10, "all stalled ones are gone")
    stats = gateway.stats()
    listed = gateway.request("GET", "/api/evictions?limit=1000").json()
    clients.close()
    with contextlib.redirect_stderr(io.StringIO()):
        gateway.finish()
    return {"report": report, "stats": stats, "evictions": listed, "peak": memory.peak,
            "memory": memory.last, "silent": sorted(client.silent for client in stalled)}


def faults_of(options, result, stalled_n):
    report, stats, silent = result["report"], result["stats"], result["silent"]
    late = options.stall_timeout + TOO_LATE + options.slack
    if not report["good"]:
        yield f"healthy ones lost something: {report['deliveries']} {report['streams']}"
    if report["streams"]["ended"] or stats["streams_stalled"] != stalled_n:
        yield (f"{report['streams']['ended']} healthy ones ended,"
               f" {stats['streams_stalled']} of {stalled_n} counted as stalled")
    if stats["streams_vanished"]:
        yield f"{stats['streams_vanished']} counted as vanished"
    if silent and not options.stall_timeout <= silent[0] <= silent[-1] <= late:
        yield f"cut {silent[0]} to {silent[-1]} s after they last took something"
    whys = {entry["why"] for entry in result["evictions"]["evictions"]}
    if result["evictions"]["total"] != stalled_n or whys - {"stalled"}:
        yield f"{result['evictions']['total']} evictions listed, for {whys}"


def show(name, result):
    latency = result["report"]["latency"]
    server = result["report"]["server"] or {}
    silent = result["silent"]
    cut = f"  cut after {silent[0]:.2f} to {silent[-1]:.2f} s" if silent else ""
    print(f"{name:8} p50 {latency['p50_us'] / 1000:.2f}  p99 {latency['p99_us'] / 1000:.2f}"
          f"  p99.9 {latency['p99_9_us'] / 1000:.2f} ms"
          f"  CPU {server.get('cpu_percent', 0):.1f} %"
          f"  RSS {result['memory'] / 1e6:.1f} MB, peak {result['peak'] / 1e6:.1f}"
          f"  {result['report']['deliveries']['received']} deliveries,"
          f" {result['report']['deliveries']['lost']} lost{cut}", flush=True)


def parse(arguments):
    parser = crowd.parser_of(__doc__)
    parser.add_argument("--stalled", type=int, default=10000)
    parser.add_argument("--healthy", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100, help="events a second (100)")
    parser.add_argument("--size", type=int, default=1024, help="of their data (1024)")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--warmup", type=float, default=10,
                        help="seconds in which the stalled ones fill up (10)")
    parser.add_argument("--stall-timeout", type=int, default=30, help="seconds (30)")
    parser.add_argument("--slack", type=float, default=0, help="seconds a cut may come later (0)")
    parser.add_argument("--rounds", type=int, default=1, help="with and without, in turn (1)")
    parser.add_argument("--only", choices=("with", "without"), help="that half of a round")
    parser.add_argument("--pin", action="store_true", help="gateway on core 0, load on core 1")
    return crowd.parse(parser, arguments)


def compare(results):
    def median(name, of):
        return statistics.median(of(result) for result in results[name])

    for percentile in ("p50_us", "p99_us", "p99_9_us"):
        ratio = (median("with", lambda r: r["report"]["latency"][percentile])
                 / median("without", lambda r: r["report"]["latency"][percentile]))
        print(f"{percentile[:-3].replace('_', '.')}: {ratio:.2f} times the run without them")
    ratio = median("with", lambda r: r["memory"]) / median("without", lambda r: r["memory"])
    print(f"memory once they are gone: {ratio:.3f} times")


def main(arguments=None):
    options = parse(arguments)
    results, faults = {"with": [], "without": []}, []
    for _ in range(options.rounds):
        for name in [options.only] if options.only else ["without", "with"]:
            stalled_n = options.stalled if name == "with" else 0
            with tempfile.TemporaryDirectory(prefix="bugle-stalled-") as folder:
                result = run(options, stalled_n, pathlib.Path(folder))
            results[name].append(result)
            show(name, result)
            faults += faults_of(options, result, stalled_n)
    if all(results.values()):
        compare(results)
    return crowd.verdict(faults)


if __name__ == "__main__":
    sys.exit(main())
