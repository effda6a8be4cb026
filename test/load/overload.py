#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""More than the gateway can take: what those get who are served, what those are told who are not,
and what everybody else notices.  Prints counts and times; one run of everything takes two minutes.

  flood   64 connections that do not heed Retry-After, against a disk whose syncs are slow
  bodies  live delivery beside 4 publishers of 1 MiB
  fair    a topic of 10 streams at 50 events/s, and a private one, beside broadcasts to 15,000
"""

import argparse
import pathlib
import sys
import tempfile

import tools


def ms(samples, which="p99_ms"):
    return f"{samples[which]:9.3f}"


# ---- flood


def run_flood(folder, sync_us, seconds, connections=64, events=100, times=10, pinned=True):
    """What few publishers get, and then what is left when so many `times` as much is asked for."""
    shim = tools.build_shim(folder)
    env = {"LD_PRELOAD": str(shim), "SLOW_SHIM_US": str(sync_us)}
    peak = 0
    with tools.running(folder, store=f"sqlite:{folder}/h.db", env=env, pinned=pinned) as gateway:
        for few in (2, 4, 8, 16):
            calm = tools.result_of(tools.flood(gateway, few, 0, seconds / 2, events, pinned=pinned))
            peak = max(peak, calm["accepted_events_per_s"])
        storm = tools.result_of(tools.flood(gateway, connections, times * peak / events, seconds,
                                            events, pinned=pinned))
        return peak, storm, gateway.stats()


def show_flood(folder, args):
    print(f"flood: {args.connections} connections, batches of {args.events}, no heed to Retry-After")
    print("  sync, ms  peak, ev/s  goodput      %  refused/s  offered  accepted p99, ms  "
          "refused p99, ms  healthz and stats p99, ms")
    for sync_us in (0, 2000, 5000, 10000):
        place = pathlib.Path(tempfile.mkdtemp(dir=folder))
        peak, storm, _ = run_flood(place, sync_us, args.seconds, args.connections, args.events)
        good = storm["accepted_events_per_s"]
        offered = 1 + storm["refused_requests_per_s"] / storm["accepted_requests_per_s"]
        print(f"  {sync_us / 1000:8.0f} {peak:11,.0f} {good:8,.0f} {100 * good / peak:6.1f} "
              f"{storm['refused_requests_per_s']:10,.0f} {offered:7.1f}x {ms(storm['accepted'])}"
              f"         {ms(storm['refused'])}        {ms(storm['probe'])}", flush=True)


# ---- bodies


def run_bodies(folder, seconds, pinned=True):
    with tools.running(folder, store="memory:", pinned=pinned) as gateway:
        alone = tools.result_of(tools.bench(gateway, "small-{topic}", rate=100, seconds=seconds,
                                            options=["--topics", 10], pinned=pinned))
        large = tools.flood(gateway, 4, 0, seconds + 3, 1000, 980, pinned=pinned)
        beside = tools.result_of(tools.bench(gateway, "small-{topic}", rate=100, seconds=seconds,
                                             options=["--topics", 10], pinned=pinned))
        return alone, beside, tools.result_of(large), gateway.stats()


def show_bodies(folder, args):
    alone, beside, large, _ = run_bodies(folder, args.seconds)
    print("bodies: 10 streams at 100 events/s beside 4 publishers of 1 MiB, 1,000 events each")
    print(f"  {large['accepted_events_per_s']:,.0f} events/s in large bodies, "
          f"p99 of their answers {ms(large['accepted'])} ms")
    for name, result in (("alone", alone), ("beside", beside)):
        latency = result["latency"]
        print(f"  {name:8} delivery p50 {latency['p50_us'] / 1000:7.3f} ms, "
              f"p99 {latency['p99_us'] / 1000:7.3f} ms, max {latency['max_us'] / 1000:7.3f} ms")


# ---- fair


def run_fair(folder, streams, seconds, every_s=1.0, pinned=True):
    """A crowd on one topic, which is told something every so often."""
    with tools.running(folder, store="memory:", pinned=pinned) as gateway:

        def both():
            few = tools.bench(gateway, "few", rate=50, seconds=seconds, pinned=pinned)
            one = tools.bench(gateway, "one", streams=1, rate=50, seconds=seconds, connections=1,
                              pinned=pinned)
            return tools.result_of(few), tools.result_of(one)

        alone = both()
        crowd = tools.bench(gateway, "crowd", streams=streams, rate=1 / every_s,
                            seconds=seconds + 6 + streams / 3000, connections=1,
                            options=["--warmup", 0, "--drain", 3], pinned=pinned)
        tools.wire.wait_until(lambda: gateway.stat("streams_open") >= streams, 60, "the crowd stands")
        beside = both()
        return alone, beside, tools.result_of(crowd)


def show_fair(folder, args):
    alone, beside, crowd = run_fair(folder, args.streams, args.seconds, args.every)
    latency = crowd["latency"]
    print(f"fair: a broadcast to {args.streams:,} every {args.every} s; "
          f"its deliveries p50 {latency['p50_us'] / 1000:.1f} ms, p99 {latency['p99_us'] / 1000:.1f}"
          f" ms, lost {crowd['deliveries']['lost']}")
    for name, index in (("10 streams at 50/s", 0), ("private, 50/s", 1)):
        for when, results in (("alone", alone), ("beside", beside)):
            latency = results[index]["latency"]
            print(f"  {name:20} {when:8} p50 {latency['p50_us'] / 1000:7.3f} ms, "
                  f"p99 {latency['p99_us'] / 1000:7.3f} ms, max {latency['max_us'] / 1000:7.3f} ms")


SHOWS = {"flood": show_flood, "bodies": show_bodies, "fair": show_fair}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shows", nargs="*", metavar="SHOW", help="flood, bodies, fair (all of them)")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--streams", type=int, default=15000)
    parser.add_argument("--every", type=float, default=1.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bugle-overload.") as folder:
        for name in args.shows or SHOWS:
            SHOWS[name](pathlib.Path(tempfile.mkdtemp(dir=folder)), args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
