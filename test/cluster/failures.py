#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Gateways at one Redis, while nodes, servers and the wires between them fail.

    make clustertest CLUSTER_ARGS='--counts node_kill=20,split=5 --seed 7'
    make clustertest CLUSTER_ARGS='--factor 0.1'

Each scenario has gateways, Redis and sentinels on machines of their own (network namespaces),
publishers that repeat with their keys until they are acknowledged, and streams that go on at any
node.  After each part all nodes must have one order, everything acknowledged must stand there where
the promise says so, and no client may have a hole that it was not told of.  Needs root, or a
kernel that gives anybody such namespaces.
"""

import argparse
import os
import pathlib
import random
import shutil
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / each)
                             for each in ("crash", "scenarios", "support"))]

import fail_mixed  # noqa: E402
import fail_nodes  # noqa: E402
import fail_past  # noqa: E402
import fail_server  # noqa: E402
import rig_net  # noqa: E402
import rig_servers  # noqa: E402
from rig_run import Run  # noqa: E402

SKIPPED = 77

# How often at length.
COUNTS = {
    fail_nodes.alone: 3, fail_nodes.four_nodes: 20, fail_nodes.node_kill: 300,
    fail_nodes.node_stop: 50, fail_nodes.handover: 50, fail_nodes.cut: 50, fail_nodes.deaf: 50,
    fail_nodes.unplug: 50, fail_nodes.trim_slow: 20, fail_mixed.mixed: 100,
    fail_mixed.mixed_pasts: 100, fail_server.redis_kill: 300, fail_server.redis_down: 20,
    fail_server.redis_stop: 20, fail_server.busy: 20, fail_server.no_replicas: 20,
    fail_server.out_of_memory: 20, fail_server.disk_full_always: 20,
    fail_server.disk_full_everysec: 20, fail_past.stale: 200, fail_past.split: 100,
    fail_past.there_and_back: 100, fail_past.aof_tail: 100, fail_past.flushall: 100,
    fail_past.failover_one: 50, fail_past.failover_two: 50, fail_past.failover_kill: 50,
}
NAMES = {scenario.__name__: scenario for scenario in COUNTS}


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0],
        epilog="scenarios: " + ", ".join(f"{each.__name__} {n}" for each, n in COUNTS.items()))
    parser.add_argument("--counts", help="only these, as NAME or NAME=ROUNDS, with commas")
    parser.add_argument("--factor", type=float, default=1, help="of all counts (1)")
    parser.add_argument("--seed", type=int, default=None, help="of all that is left to chance")
    parser.add_argument("--down-seconds", type=float, help="of redis_down and cut (60)")
    parser.add_argument("--stop-seconds", type=float, help="of redis_stop, busy, no_replicas (10)")
    parser.add_argument("--short", action="store_true", help="few clients, short pauses")
    parser.add_argument("--keep", help="where the folder goes of a scenario that fails")
    parser.add_argument("--bugle", help="the program ($BUGLE)")
    return parser.parse_args(arguments)


def chosen(options):
    if not options.counts:
        return [(each, max(1, round(n * options.factor))) for each, n in COUNTS.items()]
    pairs = [part.partition("=")[::2] for part in options.counts.split(",")]
    unknown = [name for name, _ in pairs if name not in NAMES]
    if unknown:
        raise SystemExit(f"no such scenario: {', '.join(unknown)}")
    return [(NAMES[name], int(count) if count
             else max(1, round(COUNTS[NAMES[name]] * options.factor))) for name, count in pairs]


def play(options, scenario, rounds):
    """Returns whether all was well."""
    run = Run(options)
    print(f"{scenario.__name__}, {rounds} rounds: {scenario.__doc__}", flush=True)
    failure = None
    try:
        scenario(run, rounds)
    except (AssertionError, OSError, rig_servers.RedisError):
        failure = traceback.format_exc()
    world = run.world
    good = failure is None and world is not None and not world.judge.wrong
    if world:
        print(world.report())
        if not good:
            print(world.logs())
    if failure:
        print(failure)
    print(f"  {'good' if good else 'BAD'}  {scenario.__name__}", flush=True)
    if world:
        world.close()
    if options.keep and not good:
        shutil.copytree(run.folder, pathlib.Path(options.keep) / scenario.__name__,
                        dirs_exist_ok=True, ignore_dangling_symlinks=True)
    rig_net.clear()
    return good


def main(arguments=None):
    options = parse(arguments)
    chosen(options)
    if not os.environ.get(rig_net.INSIDE) and (why := rig_net.why_not()):
        print(f"not run: {why}")
        return SKIPPED
    rig_net.enter()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    if options.bugle:
        os.environ["BUGLE"] = options.bugle
    print(f"seed {options.seed}", flush=True)
    random.seed(options.seed)
    bad = [scenario.__name__ for scenario, rounds in chosen(options)
           if not play(options, scenario, rounds)]
    print(f"bad: {', '.join(bad) or 'none'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
