# SPDX-License-Identifier: MIT
"""From the JSON of the runs to medians, ratios, a table, and whether the bounds hold.

The folder of results holds ROW.SERVER.ROUND.json and machine.json.  A ratio is the median of the
ratios of each round, so that what slows a whole round cancels out.
"""

import dataclasses
import json
import pathlib
import statistics

from rows import BOUNDS, ROWS, TITLES, Load

COLUMNS = ("bugle", "sqlite", "nchan", "go", "floor")
RATIOS = (("nchan", "to nchan"), ("floor", "to floor"))
FOOT = """\
Medians of {rounds}, the servers in turn, server and load pinned to a core each, where nothing
else is said.  A ratio is the median of the ratios of each round, Bugle's figure over the other's.
Latency counts from the moment an event was due.  CPU is what the kernel charges the server's
processes, and on loopback a sender pays for the receiver's TCP too.  `on disk` is Bugle with its
history in SQLite, synced before the publisher gets its answer; the other columns keep nothing
beyond memory, and the Go hub and the floor, a bare send() for each delivery, keep nothing at all.
Two servers that stand at once have all their streams throughout, and share the caches; they are
published to for a second each, in turns.
"""


class Results:
    """All runs of a folder."""

    def __init__(self, runs, machine=None, rows=None, load=Load):
        self.runs = runs  # {(row, server): {round: report}}
        self.machine = machine or {}
        self.rows = ROWS if rows is None else rows
        self.load = load(**self.machine.get("load", {}))

    @classmethod
    def read(cls, folder, *more):
        folder = pathlib.Path(folder)
        runs = {}
        for path in sorted(folder.glob("*.*.*.json")):
            row, server, number, _ = path.name.split(".")
            runs.setdefault((row, server), {})[int(number)] = json.loads(path.read_text())
        machine = folder / "machine.json"
        return cls(runs, json.loads(machine.read_text()) if machine.exists() else {}, *more)

    def values(self, row, server, figure):
        """One number by round."""
        found = {}
        for number, value in self.runs.get((row, server), {}).items():
            for name in figure.path:
                nothing = not isinstance(value, dict) or value.get("count") == 0
                value = None if nothing else value.get(name)
            if value is not None:
                found[number] = value * figure.scale
        return found

    def median(self, row, server, figure):
        found = self.values(row, server, figure)
        return statistics.median(found.values()) if found else None

    def ratio(self, row, server, figure, to, to_row=None):
        found = self.values(row, server, figure)
        other = self.values(to_row or row, to, figure)
        each = [found[number] / other[number] for number in found if other.get(number)]
        return statistics.median(each) if each else None

    def rounds(self, row):
        """How many rounds every server of the row has."""
        return min((len(self.runs.get((row, server), {})) for server in self.rows[row].servers))

    def most_rounds(self, row):
        return max((len(self.runs.get((row, server), {})) for server in self.rows[row].servers))

    def next_round(self, row):
        return max((max(self.runs.get((row, server), {0: None}))
                    for server in self.rows[row].servers)) + 1

    def fill(self, words):
        """With how much of everything there was."""
        load = dataclasses.asdict(self.load)
        if "many" in load:
            load["half"] = load["many"] // 2
        return words.format(**{name: f"{value:,}" for name, value in load.items()})

    def title(self, row):
        return self.fill(self.rows[row].title)


def show(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def show_ratio(value):
    return "" if value is None else show(value, 0 if value >= 100 else 1 if value >= 10 else 2)


def show_short(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def compared_line(results, row, figure, columns, ratios):
    cells = [show(results.median(row, server, figure), figure.digits)
             if server in results.rows[row].servers else "" for server in columns]
    over = [show_ratio(results.ratio(row, "bugle", figure, other)) if figure.compared else ""
            for other, _ in ratios]
    return ["  " + figure.label, *cells, *over]


def lines_of(results, row, columns, ratios):
    """A row with columns of its own has a line for each of its servers."""
    for figure in results.rows[row].figures:
        if "bugle" in results.rows[row].servers:
            yield compared_line(results, row, figure, columns, ratios)
            continue
        for server in results.rows[row].servers:
            value = show(results.median(row, server, figure), figure.digits)
            yield [f"  {figure.label}, {TITLES[server]}", value,
                   *[""] * (len(columns) + len(ratios) - 1)]


def table(results, columns=COLUMNS, ratios=RATIOS):
    head = ["", *(TITLES[server] for server in columns), *(title for _, title in ratios)]
    lines = [head]
    for row in results.rows:
        if any((row, server) in results.runs for server in results.rows[row].servers):
            lines += [[results.title(row)], *lines_of(results, row, columns, ratios)]
    wide = [max(len(line[i]) for line in lines if len(line) > 1) for i in range(len(head))]
    text = ""
    for line in lines:
        cells = [line[0].ljust(wide[0]), *(c.rjust(w) for c, w in zip(line[1:], wide[1:]))]
        text += "  ".join(cells).rstrip() + "\n"
    return text


def describe(machine):
    """What it was measured on, a line each."""
    load = machine.get("load", {})
    lines = [machine[name] for name in ("processor", "memory", "system") if machine.get(name)]
    lines += [text for text in machine.get("versions", []) if text]
    if load:
        lines.append(f"windows of {load['seconds']:g} s, events with 100 bytes of data")
    return "".join(f"  {line}\n" for line in lines)


def more_rounds(results, least):
    """A line on the rows that were measured more often than others; none if there are none."""
    more = [f"{results.rounds(row)} of {row}" for row in ROWS if results.rounds(row) > least]
    return f"Of some rows there were more: {', '.join(more)}.\n" if more else ""


def document(results):
    """The whole of doc/benchmarks.txt."""
    least = min(results.rounds(row) for row in ROWS)
    rounds = "one round" if least == 1 else f"{least} rounds"
    return ("Bugle beside its peers\n======================\n\n"
            f"Made by `make bench` on {results.machine.get('date', 'an unknown day')}:\n\n"
            f"{describe(results.machine)}\n{table(results)}\n{FOOT.format(rounds=rounds)}"
            f"{more_rounds(results, least)}")


def held(results, bound):
    """The number that a bound is about; None when it was not measured."""
    if bound.to or bound.to_row:
        return results.ratio(bound.row, bound.server, bound.figure, bound.to or bound.server,
                             bound.to_row)
    return results.median(bound.row, bound.server, bound.figure)


def bounds(results, held_to=BOUNDS):
    """A line for each bound; whether all that could be judged hold."""
    text, good = "", True
    for bound in held_to:
        value = held(results, bound)
        if value is None:
            text += f"not measured  {bound.says()}\n"
            continue
        most = bound.figure.best == "most" and not bound.to_row
        holds = value >= bound.limit if most else value <= bound.limit
        good = good and holds
        text += f"{'holds' if holds else 'FAILS':12}  {bound.says()}: {show_short(value)}\n"
    return text, good
