#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measure two gateways on a Redis beside two nginx with nchan on the same Redis, in turns.

`make clusterbench` runs all rows five times, which takes about twelve minutes, and ends with a
table and what the gateway is held to; that fails nothing.  CLUSTERBENCH_ARGS holds options:

    make clusterbench CLUSTERBENCH_ARGS='--rounds 3 --seconds 3'      in about six minutes
    make clusterbench CLUSTERBENCH_ARGS='--rows across,publish --servers bugle,nchan'
    make clusterbench CLUSTERBENCH_ARGS='--results DIR --rounds 1'    one more round into DIR
    make clusterbench CLUSTERBENCH_ARGS='--results DIR --table'       show what DIR has
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile

import table
from cluster_measure import measure
from cluster_rows import BOUNDS, COLUMNS, FOOT, RATIOS, ROWS, Load
from cluster_servers import Redis, make_clusters
from measure import raise_descriptors
from run import add_options, describe_machine, read_options, tell
from servers import HERE, Failed, Tools

ROUNDS = 5


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    add_options(option, ROWS, COLUMNS)
    option("--rounds", type=int, default=ROUNDS, metavar="N", help=f"of each row ({ROUNDS})")
    option("--streams", type=int, metavar="N", help="that are live (1000)")
    option("--clients", type=int, metavar="N", help="that replay at once (10000)")
    option("--replayed", type=int, metavar="N", help="events that each of them reads (100)")
    return read_options(parser, argv)


def load_of(args):
    asked = {"seconds": args.seconds, "some": args.streams, "clients": args.clients,
             "replayed": args.replayed}
    return dataclasses.replace(Load(), **{name: value for name, value in asked.items() if value})


def run_row(row, number, clusters, args, load):
    """Every server of a row once.  Returns how many runs brought nothing."""
    failed = 0
    for cluster in clusters:
        began = f"round {number}, {row.name}, {cluster.name}"
        result = said = None
        try:
            result = measure(row, cluster, args.load_cpu, load)
        except (Failed, OSError, subprocess.TimeoutExpired) as failure:
            said = str(failure)
        if result is None:
            tell(f"{began}: FAILED\n{said or cluster.said()}")
            failed += 1
            continue
        path = pathlib.Path(args.results) / f"{row.name}.{cluster.name}.{number}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        figure = row.figures[0]
        value = table.Results({(row.name, cluster.name): {1: result}}, rows=ROWS).median(
            row.name, cluster.name, figure)
        tell(f"{began}: {figure.label} {table.show(value, figure.digits)} ({result['took_s']} s)")
    return failed


def build_replay(work):
    """The load of a storm of replays."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    program = work / "replay"
    subprocess.run([*compiler, "-O2", "-o", program, HERE / "replay.c"], check=True)
    return program


def run(args, load, work):
    """All rounds.  Returns how many runs failed."""
    folder = pathlib.Path(args.results)
    folder.mkdir(parents=True, exist_ok=True)
    tools = Tools(args.bugle, args.bugle_args, work)
    redis = Redis("redis", tools, args.server_cpu)
    known = make_clusters(redis, tools, args.server_cpu, build_replay(tools.work))
    versions = [known["bugle"], known["nchan"], redis]
    (folder / "machine.json").write_text(
        json.dumps(describe_machine(versions, load), indent=1) + "\n", encoding="utf-8")
    failed = 0
    with contextlib.ExitStack() as stack:
        redis.start()
        stack.callback(redis.stop)
        for _ in range(args.rounds):
            for row in (ROWS[name] for name in args.rows or ROWS):
                number = table.Results.read(folder, ROWS, Load).next_round(row.name)
                clusters = [known[name] for name in row.servers
                            if not args.servers or name in args.servers]
                failed += run_row(row, number, clusters, args, load)
    return failed


def main(argv):
    args = parse_args(argv)
    failed = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    args.results = args.results or f"clusterbench-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    if not args.table:
        raise_descriptors()
        with tempfile.TemporaryDirectory(prefix="bugle-clusterbench-") as work:
            try:
                failed = run(args, load_of(args), work)
            except Failed as failure:
                tell(f"cluster_run.py: {failure}")
                return 1
    results = table.Results.read(args.results, ROWS, Load)
    rounds = max((results.most_rounds(row) for row in ROWS), default=0)
    print(table.describe(results.machine), table.table(results, COLUMNS, RATIOS),
          FOOT.format(rounds="one round" if rounds == 1 else f"{rounds} rounds"),
          table.bounds(results, BOUNDS)[0], sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
