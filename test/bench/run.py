#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measure the gateway beside nginx with nchan, a hub in Go and a bare send(), in turns, the server
on one core and the load on another.

`make bench` runs all of it, which takes about a hundred minutes, and then writes
doc/benchmarks.txt and doc/benchmarks.svg.  BENCH_ARGS holds options for a part of it:

    make bench BENCH_ARGS='--quick'                     all rows in a few minutes, to see a change
    make bench BENCH_ARGS='--rows targeted,idle --servers bugle,nchan --rounds 2'
    make bench BENCH_ARGS='--results DIR --rows idle --rounds 1'      one more round into DIR
    make bench BENCH_ARGS='--results DIR --table'       measure nothing, show what DIR has

The documents are written when the folder has every row with all its servers, and not of a quick
run; they say of how many rounds the medians are.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile

import chart
import table
from measure import TURNS, measure, measure_in_turns, raise_descriptors
from rows import ROWS, Load
from servers import Failed, Tools, make_servers

ROUNDS = 5
QUICK = Load(some=500, many=3000, seconds=2, beat=6, settle=1)
NOT_QUICK = ("go",)  # the furthest behind


def names(known):
    def parse(text):
        wrong = [name for name in text.split(",") if name not in known]
        if wrong:
            there_are = ", ".join(known)
            raise argparse.ArgumentTypeError(f"there is no {wrong[0]}; there are {there_are}")
        return text.split(",")
    return parse


def add_options(option, rows, servers):
    """Those that every bench has."""
    option("--bugle", required=True, metavar="PROGRAM", help="both the server and the load tool")
    option("--rows", type=names(rows), metavar="ROW,...", help=", ".join(rows))
    option("--servers", type=names(servers), metavar="SERVER,...", help=", ".join(servers))
    option("--seconds", type=float, metavar="S", help="of a measured window (5)")
    option("--results", metavar="DIR", help="keep the JSON there, beside what it has")
    option("--table", action="store_true", help="measure nothing, show what --results has")
    option("--server-cpu", default="0", metavar="CORE")
    option("--load-cpu", default="1", metavar="CORE")
    option("--bugle-args", type=shlex.split, default=[], metavar="'...'",
           help="more arguments for `bugle serve`")


def read_options(parser, argv):
    args = parser.parse_args(argv)
    if args.table and not args.results:
        parser.error("--table needs --results")
    return args


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    add_options(option, ROWS, make_servers(None, 0, 1))
    option("--rounds", type=int, default=None, metavar="N", help=f"of each row ({ROUNDS})")
    option("--quick", action="store_true", help="one round, fewer streams, shorter windows")
    option("--streams", type=int, metavar="N", help="where there are many (15000)")
    option("--bounds", action="store_true", help="show too what the gateway is held to")
    option("--doc", metavar="DIR", help="write the documents there, if there is a whole table")
    return read_options(parser, argv)


def load_of(args):
    load = QUICK if args.quick else Load()
    if args.seconds:
        load = dataclasses.replace(load, seconds=args.seconds)
    if args.streams:
        load = dataclasses.replace(load, many=args.streams)
    return load


def first_line(path, pattern):
    found = re.search(pattern, pathlib.Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else "unknown"


def revision(here):
    command = ["git", "-C", here, "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return ""


def describe_machine(servers, load):
    virtual = "hypervisor" in first_line("/proc/cpuinfo", r"^flags\s*: (.*)")
    versions = list(dict.fromkeys(server.version() for server in servers))
    if revision(pathlib.Path(__file__).parent):
        versions.append(f"commit {revision(pathlib.Path(__file__).parent)}")
    return {
        "date": datetime.date.today().isoformat(),
        "processor": first_line("/proc/cpuinfo", r"^model name\s*: (.*)") +
                     f", {os.cpu_count()} cores" + (" of a virtual machine" if virtual else ""),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{first_line('/etc/os-release', r'^PRETTY_NAME=.(.*).$')}, Linux "
                  f"{platform.release()}",
        "versions": versions,
        "load": dataclasses.asdict(load),
    }


def tell(text, end="\n"):
    print(text, file=sys.stderr, end=end, flush=True)


def measured(row, servers, args, load):
    """Each server of a row with its JSON, or None."""
    if row.kind in TURNS:
        results = measure_in_turns(row, servers, args.load_cpu, load)
        yield from ((server, results.get(server.name)) for server in servers)
        return
    for server in servers:
        yield server, measure(row, server, args.load_cpu, load)


def run_row(row, number, servers, args, load):
    """Every server of a row once.  Returns how many runs brought nothing."""
    failed = 0
    for server, result in measured(row, servers, args, load):
        began = f"round {number}, {row.name}, {server.name}"
        if result is None:
            tell(f"{began}: FAILED\n{server.said()}")
            failed += 1
            continue
        path = pathlib.Path(args.results) / f"{row.name}.{server.name}.{number}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        figure = row.figures[0]
        value = table.Results({(row.name, server.name): {1: result}}).median(
            row.name, server.name, figure)
        tell(f"{began}: {figure.label} {table.show(value, figure.digits)} ({result['took_s']} s)")
    return failed


def run(args, load, work):
    """All rounds.  Returns how many runs failed."""
    rows = args.rows or list(ROWS)
    left_out = NOT_QUICK if args.quick and not args.rows else ()
    known = make_servers(Tools(args.bugle, args.bugle_args, work), args.server_cpu, args.load_cpu)
    used = {name: known[name] for row in rows for name in ROWS[row].servers
            if (name in args.servers if args.servers else name not in left_out)}
    for server in used.values():
        server.prepare()
    folder = pathlib.Path(args.results)
    folder.mkdir(parents=True, exist_ok=True)
    machine = json.dumps(describe_machine(known.values(), load), indent=1) + "\n"
    (folder / "machine.json").write_text(machine, encoding="utf-8")
    failed = 0
    for _ in range(args.rounds or (1 if args.quick else ROUNDS)):
        for row in rows:
            number = table.Results.read(folder).next_round(row)
            servers = [used[name] for name in ROWS[row].servers if name in used]
            failed += run_row(ROWS[row], number, servers, args, load)
    return failed


def write_documents(results, folder):
    missing = [row for row in ROWS if results.rounds(row) == 0]
    if missing or results.load.many < Load.many:
        tell(f"no documents written: {'not all of ' + ', '.join(missing) if missing else 'quick'}")
        return
    for name, text in (("benchmarks.txt", table.document(results)),
                       ("benchmarks.svg", chart.draw(results))):
        (pathlib.Path(folder) / name).write_text(text, encoding="utf-8")
        tell(f"written: {pathlib.Path(folder) / name}")


def main(argv):
    args = parse_args(argv)
    load = load_of(args)
    failed = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    args.results = args.results or f"bench-results-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    if not args.table:
        raise_descriptors()
        with tempfile.TemporaryDirectory(prefix="bugle-bench-") as work:
            try:
                failed = run(args, load, work)
            except Failed as failure:
                tell(f"run.py: {failure}")
                return 1
    results = table.Results.read(args.results)
    print(table.describe(results.machine), table.table(results), sep="\n")
    if args.bounds:
        print(table.bounds(results)[0])
    if args.doc:
        write_documents(results, args.doc)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
