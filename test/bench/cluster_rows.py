# SPDX-License-Identifier: MIT
"""What `make clusterbench` measures: rows, figures, and what the gateway is held to."""

import dataclasses

from rows import LATENCY, LOST, PUBLISHED, Bound, Figure, Row

COLUMNS = ("bugle", "sqlite", "sixteen", "alone", "nchan")
RATIOS = (("alone", "to alone"), ("nchan", "to nchan"))
PAPER_NODES = (2, 4, 8, 16)


@dataclasses.dataclass(frozen=True)
class Load:
    some: int = 1000      # streams
    seconds: float = 5    # of a measured window
    kept: int = 10000     # events whose room in Redis is measured; nchan keeps that many
    clients: int = 10000  # that replay at once
    past: int = 150000    # events that there are for them
    replayed: int = 100   # of which each reads so many


ANSWER = (Figure("answer p50, ms", ("answers", "p50_us"), 2, 1e-3),
          Figure("answer p99, ms", ("answers", "p99_us"), 2, 1e-3))
REDIS = Figure("CPU of Redis an event, us", ("cpu", "redis"), 2)
NODE_A = Figure("CPU of node A an event, us", ("cpu", "a"), 2)
NODE_B = Figure("CPU of node B an event, us", ("cpu", "b"), 2)
BYTES = Figure("bytes of Redis an event", ("redis_bytes",), 0)
GROUP = Figure("events a group", ("groups", "events"), 1, compared=False)
APPEND = Figure("CPU of Redis an append, us", ("groups", "append_us"), 1, compared=False)
READ = Figure("CPU of Redis an XREAD, us", ("groups", "read_us"), 1, compared=False)
READS = Figure("XREADs of a node a group", ("groups", "reads"), 2, compared=False)
PAPER = tuple(Figure(f"on paper, with {nodes} nodes, CPU of Redis an event, us",
                     ("paper", str(nodes)), 2, compared=False) for nodes in PAPER_NODES)
IDLE = tuple(Figure(f"CPU of {name}, % of a core", ("idle", part), 2)
             for name, part in (("node A", "a"), ("node B", "b"), ("Redis", "redis")))
BEFORE = Figure("latency p99 without replays, ms", ("without", "latency", "p99_us"), 3, 1e-3)
BESIDE = Figure("latency p99 beside them, ms", ("latency", "p99_us"), 3, 1e-3)
SLOWER = Figure("latency p99 beside them over without", ("slower",), 2, compared=False)
REPLAYED = Figure("events replayed/s", ("replays", "events_per_s"), best="most")
GROUPS = (GROUP, APPEND, READ, READS, *PAPER)


def targeted(load):
    return ("--streams", load.some, "--topics", load.some, "--random", "--rate", 500, "--settle", 1,
            "--warmup", 1, "--drain", 2)


ROWS = {row.name: row for row in (
    Row("across", "{some} streams on B, a topic each, 500 events/s to A",
        ("bugle", "sqlite", "nchan"),
        (*LATENCY, LOST, *ANSWER, REDIS, NODE_A, NODE_B, BYTES, *GROUPS), targeted, "apart"),
    Row("together", "the same, with A, B and Redis on one core", ("bugle", "nchan"),
        (*LATENCY, LOST, *ANSWER), targeted, "watched"),
    Row("fresh", "{some} streams on B, a topic each, events to A as soon as they stand",
        ("bugle", "nchan"), (LOST, *LATENCY),
        lambda load: ("--streams", load.some, "--topics", load.some, "--random", "--rate", 5000,
                      "--events", 3 * load.some, "--settle", 0, "--warmup", 0, "--drain", 2),
        "apart"),
    Row("publish", "64 connections publish single events to A, which nobody wants",
        ("bugle", "sqlite", "sixteen", "alone", "nchan"),
        (PUBLISHED, *ANSWER, REDIS, NODE_A, NODE_B, BYTES, *GROUPS),
        lambda load: ("--publish-only", "--rate", "max", "--connections", 64), "kept"),
    Row("replays", "{clients} replays of {replayed} events on B; {some} streams on A, 500 events/s",
        ("bugle", "sqlite"), (BEFORE, BESIDE, SLOWER, LOST, REPLAYED),
        lambda load: ("--streams", load.some, "--topics", load.some, "--random", "--rate", 500,
                      "--settle", 1, "--warmup", 1), "replays"),
    Row("idle", "nothing to do", ("bugle", "sqlite", "alone", "nchan"), IDLE,
        lambda load: (), "idle"),
)}

BOUNDS = (
    Bound("across", LATENCY[0], 1, to="nchan"),
    Bound("across", LATENCY[1], 1, to="nchan"),
    Bound("across", LOST, 0),
    Bound("fresh", LOST, 0),
    Bound("publish", PUBLISHED, 1.3, to="nchan"),
    Bound("publish", PUBLISHED, 0.5, to="alone"),
    Bound("publish", REDIS, 0.25, to="nchan"),
    Bound("publish", BYTES, 1 / 3, to="nchan"),
    Bound("across", BYTES, 1 / 3, to="nchan"),
    Bound("publish", NODE_B, 1.5),
    Bound("publish", NODE_B, 12, server="sqlite"),
    Bound("replays", SLOWER, 1.25),
    Bound("replays", SLOWER, 1.25, server="sqlite"),
    Bound("idle", IDLE[0], 1),
    Bound("idle", IDLE[1], 1),
    Bound("idle", IDLE[0], 1, server="sqlite"),
)

FOOT = """\
Medians of {rounds}, the servers in turn on the same Redis, which is empty when the next begins.
Node A and Redis have a core, the load and node B, which stands for another machine, share the other
one; but where 64 connections publish, or it says so, node B is on the first too.  Where there are
replays the live half of the load goes before the others on its core, and the stores on disk are in
/dev/shm, since two machines do not share a disk.  Where 64 connections publish, each server keeps
10,000 events, and lets one go for each that comes; Bugle's log has all of them.  CPU is what the
kernel charges the processes.  `on disk` is Bugle with its histories in SQLite; `16 nodes` has
fifteen that follow; `alone` is one Bugle in memory without a log.  nchan's second node hears only
of channels that somebody there listens to.  On paper: what an append and an XREAD cost here, the
latter by so many nodes that follow.
"""
