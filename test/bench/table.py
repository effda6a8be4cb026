#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A table of medians from the JSON of `bugle bench`, as run.sh leaves it.

    table.py FOLDER [SERVER...]

The folder holds CASE.SERVER.ROUND.json.  The first server is compared with each of the others; a
ratio is the median of the ratios of each round, so that what slows a whole round cancels out.
"""

import json
import pathlib
import statistics
import sys

# What each case shows: label, path in the JSON, digits, whether a ratio makes sense.
LATENCY = [("latency p50, ms", ("latency", "p50_us"), 3, True, 1e-3),
           ("latency p99, ms", ("latency", "p99_us"), 3, True, 1e-3)]
DELIVERY = ("CPU a delivery, us", ("server", "cpu_us_per_delivery"), 2, True, 1)
EVENT = ("CPU an event, us", ("server", "cpu_us_per_event"), 2, True, 1)
LOST = ("lost", ("deliveries", "lost"), 0, False, 1)
RATE = ("deliveries/s", ("window", "deliveries_per_s"), 0, True, 1)
EVENTS = ("events/s", ("window", "events_per_s"), 0, True, 1)
REFUSED = ("refused", ("events", "refused"), 0, False, 1)
CASES = {
    "broadcast": ("1,000 streams, one topic, 50 events/s", [DELIVERY, *LATENCY, LOST]),
    "burst": ("1,000 streams, one topic, 400 events/s",
              [RATE, ("unsent", ("events", "unsent"), 0, False, 1), DELIVERY, *LATENCY, LOST]),
    "fastest": ("1,000 streams, one topic, as fast as it goes", [RATE, DELIVERY, *LATENCY, LOST]),
    "targeted": ("many streams, a topic each, 500 events/s", [EVENT, *LATENCY, LOST]),
    "idle": ("many streams, idle",
             [("private memory a stream, bytes", ("server", "private_per_stream"), 0, True, 1),
              ("CPU, % of a core", ("server", "cpu_percent"), 3, True, 1),
              ("streams connected in, s", ("streams", "connect_s"), 2, True, 1)]),
    "publish": ("64 connections publish single events", [EVENTS, EVENT, REFUSED]),
    "batch": ("64 connections publish batches of 100", [EVENTS, EVENT, REFUSED]),
}


def read(folder):
    """Runs by case and server, each a dict by round."""
    runs = {}
    for path in sorted(folder.glob("*.*.*.json")):
        case, server, number, _ = path.name.split(".")
        if path.stat().st_size:
            runs.setdefault((case, server), {})[int(number)] = json.loads(path.read_text())
    return runs


def values(runs, path, scale):
    """One number by round."""
    found = {}
    for number, run in runs.items():
        value = run
        for name in path:
            value = value and value.get(name)
        if value is not None:
            found[number] = value * scale
    return found


def median(found):
    return statistics.median(found.values()) if found else None


def ratio(found, other):
    each = [found[number] / other[number] for number in found if other.get(number)]
    return statistics.median(each) if each else None


def show(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def rows(runs, servers):
    first, others = servers[0], servers[1:]
    for case, (title, figures) in CASES.items():
        if not any((case, server) in runs for server in servers):
            continue
        yield [f"{case}: {title}"]
        for label, path, digits, compared, scale in figures:
            found = {server: values(runs.get((case, server), {}), path, scale)
                     for server in servers}
            row = ["  " + label]
            row += [show(median(found[server]), digits) for server in servers]
            row += [show(ratio(found[first], found[server]) if compared else None, 2)
                    for server in others]
            spread = found[first].values()
            row.append(f"{show(min(spread), digits)} - {show(max(spread), digits)}"
                       if spread else "-")
            yield row


def main():
    folder = pathlib.Path(sys.argv[1])
    runs = read(folder)
    servers = sys.argv[2:] or sorted({server for _, server in runs})
    head = ["median", *servers, *[f"{servers[0]} / {other}" for other in servers[1:]],
            f"{servers[0]} from - to"]
    table = list(rows(runs, servers))
    wide = [max(len(row[i]) for row in [head, *table] if len(row) > 1) for i in range(len(head))]
    print("  ".join([head[0].ljust(wide[0]), *(c.rjust(w) for c, w in zip(head[1:], wide[1:]))]))
    for row in table:
        cells = zip(row[1:], wide[1:])
        print("  ".join([row[0].ljust(wide[0]), *(cell.rjust(w) for cell, w in cells)]).rstrip())


if __name__ == "__main__":
    main()
