# SPDX-License-Identifier: MIT
"""One row of `make clusterbench` against one pair of nodes: the JSON of the load tool, with what
each part of the pair took."""

import contextlib
import http.client
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from cluster_rows import PAPER_NODES
from cluster_servers import cpu_us
from measure import HELD_SECONDS, Bench
from servers import HERE

sys.path[:0] = [str(HERE.parent / "support")]
from urgent import first_to_run  # noqa: E402

QUIET_SECONDS = 1.1   # in which Redis looks at the buffers of all connections once
MEMORY = "/dev/shm"
IN_RINGS = 65536      # events that a worker has at hand: those are read otherwise
ALL_READ_SECONDS = 60


class Account:
    """What the parts of a cluster took since a moment."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.parts = cluster.parts()
        if cluster.redis:
            cluster.redis.ask("CONFIG RESETSTAT")
        self.before = self.look()

    def look(self):
        return {name: cpu_us(pids) for name, pids in self.parts.items()}

    def end(self):
        """Microseconds by part, and the calls of Redis."""
        took = {name: us - self.before[name] for name, us in self.look().items()}
        return took, self.cluster.redis.calls() if self.cluster.redis else {}


def groups_of(calls, redis_us, events, nodes_n):
    """What a group cost Redis, in figures: None without appends.  The time of a command as Redis
    counts it is without reading, parsing and answering; that is the rest, the same for each."""
    appends, append_us = calls.get("evalsha", (0, 0))
    reads, read_us = calls.get("xread", (0, 0))
    groups = calls.get("xadd", (0, 0))[0]
    if groups == 0 or reads == 0:
        return None
    rest = max(0, redis_us - append_us - read_us) / (appends + reads)
    return {"events": events / groups, "append_us": append_us / appends + rest,
            "read_us": read_us / reads + rest, "reads": reads / groups / nodes_n}


def on_paper(groups):
    """The CPU of Redis an event by the number of nodes."""
    return {str(nodes): (groups["append_us"] +
                         nodes * groups["reads"] * groups["read_us"]) / groups["events"]
            for nodes in PAPER_NODES}


class Watched(Bench):
    """A run of the load tool with an account of its measured window."""

    def __init__(self, cluster, *more, **named):
        super().__init__(cluster, *more, **named)
        self.cluster = cluster

    def run(self, *_):
        redis = self.cluster.redis
        process = self.start()
        with process:
            try:
                self.begins(process, "warming up")
                bytes_before = redis.used_bytes() if redis else 0
                self.begins(process)
                account = Account(self.cluster)
                self.begins(process, "ending")
                took, calls = account.end()
                report = process.stdout.read()
            finally:
                process.kill()
        result = self.parsed(report)
        if result:
            self.enter(result, took, calls)
            if redis:
                acknowledged = max(1, result["events"]["acknowledged"])
                result["redis_bytes"] = (redis.used_bytes() - bytes_before) / acknowledged
        return result

    def enter(self, result, took, calls):
        events = max(1, result["window"]["events"])
        result["cpu"] = {name: us / events for name, us in took.items()}
        result["calls"] = calls
        groups = groups_of(calls, took.get("redis", 0), events, len(self.cluster.nodes))
        if groups:
            result["groups"] = groups
            result["paper"] = on_paper(groups)


@contextlib.contextmanager
def standing(cluster, *last, **how):
    cluster.start(*last, **how)
    try:
        yield
    finally:
        cluster.stop()


def watched(cluster, load_cpu, options, _load):
    with standing(cluster):
        return Watched(cluster, load_cpu, options).run()


def apart(cluster, load_cpu, options, _load):
    """With the last node on another core than the first."""
    with standing(cluster, load_cpu):
        return Watched(cluster, load_cpu, options).run()


def kept(cluster, load_cpu, options, load):
    """First as many events as all of them keep, for their room in Redis; then the window, in which
    each lets go of one for each that comes."""
    with standing(cluster, keeps=load.kept):
        redis = cluster.redis
        time.sleep(QUIET_SECONDS if redis else 0)
        before = redis.used_bytes() if redis else 0
        first = Bench(cluster, load_cpu, [*options, "--events", load.kept]).run()
        time.sleep(QUIET_SECONDS if redis else 0)
        after = redis.used_bytes() if redis else 0
        result = Watched(cluster, load_cpu, options).run()
    if not (good(first, "the first events") and result):
        return None
    if redis:
        result["redis_bytes"] = (after - before) / load.kept
    return result


def idle(cluster, _load_cpu, _options, load):
    with standing(cluster):
        time.sleep(1)
        account = Account(cluster)
        time.sleep(load.seconds)
        took, calls = account.end()
    return {"idle": {name: us / load.seconds / 1e4 for name, us in took.items()}, "calls": calls}


def good(report, what):
    """Whether a run that is to lose nothing did; says what it lost."""
    if report is None or report["good"]:
        return bool(report)
    lost = {name: report[name] for name in ("streams", "events", "deliveries")}
    print(f"{what}: {json.dumps(lost)}", file=sys.stderr)
    return False


def ask_for_epoch(node):
    link = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    with contextlib.closing(link):
        link.request("POST", "/api/push?topic=none", b"x")
        return json.load(link.getresponse())["id"].split("-")[0]


def fill(cluster, load_cpu, load):
    filled = Bench(cluster, load_cpu, [
        "--publish-only", "--events", load.past, "--batch", 250, "--rate", "max", "--connections",
        2, "--publish-body", '{"topic":"past","data":"{data}"}']).run()
    return good(filled, "filling the history")


def replay(cluster, load_cpu, load):
    """The report of all replays on the last node."""
    node = cluster.nodes[-1]
    most = max(1, load.past - IN_RINGS - load.replayed)
    command = ["chrt", "-i", "0", "taskset", "-c", load_cpu, cluster.replay, node.port,
               ask_for_epoch(node), load.clients, load.clients, load.replayed, 1, most,
               "topic=past"]
    found = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=False,
                           timeout=ALL_READ_SECONDS)
    return json.loads(found.stdout) if found.returncode == 0 else None


def live_streams(cluster, load_cpu, options):
    """On the first node."""
    live = Bench(cluster, load_cpu, options, first=first_to_run())
    at = live.command.index("--stream-url")
    live.command[at + 1] = cluster.nodes[0].addressed(())[1]
    return live


def replays(cluster, load_cpu, options, load):
    """Live streams on the first node, beside the replays and then for as long without.  Two machines
    share no disk, and a disk whose interrupts wait for the core of the replays is no other one."""
    with tempfile.TemporaryDirectory(prefix="bugle-clusterbench-", dir=MEMORY) as disk, \
            standing(cluster, load_cpu, disk=pathlib.Path(disk)):
        if not fill(cluster, load_cpu, load):
            return None
        live = live_streams(cluster, load_cpu, [*options, "--seconds", HELD_SECONDS])
        with live.holding() as let_go:
            storm = replay(cluster, load_cpu, load)
            result = let_go()
        if not (storm and result):
            return None
        without = live_streams(cluster, load_cpu, [*options, "--seconds", storm["seconds"]]).run()
    if not good(without, "live streams"):
        return None
    return {**result, "without": without, "replays": storm,
            "slower": result["latency"]["p99_us"] / without["latency"]["p99_us"]}


KINDS = {"watched": watched, "apart": apart, "kept": kept, "replays": replays, "idle": idle}


def measure(row, cluster, load_cpu, load):
    """The JSON of one run, None when it failed."""
    options = row.options(load)
    if row.kind != "replays":
        options = ["--seconds", load.seconds, *options]
    began = time.monotonic()
    result = KINDS[row.kind](cluster, load_cpu, options, load)
    if result:
        result["took_s"] = round(time.monotonic() - began, 1)
    return result
