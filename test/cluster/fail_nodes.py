# SPDX-License-Identifier: MIT
"""Scenarios: nodes fail, or the wires to them."""

import random
import time

import rig_net
import rig_servers
from conftest import READY_LINE
from rig_run import SILENT, begin, check_resident, check_streams


# without a log: what the rig itself does to a gateway that loses nothing


def alone(run, rounds):
    """One gateway without a log is killed."""
    world = run.open(nodes=1, log=None)
    world.start_nodes()
    world.start_load()
    for _ in run.parts(rounds):
        world.run_some()
        world.nodes[0].kill()
        world.run_some(0, 0.1)
        world.start_nodes()


# nodes


def node_kill(run, rounds):
    """A node is killed at any moment, and comes again."""
    world, _ = begin(run, settings={"cluster.lease": "4s"})  # for a quarter of it it is waited
    for _ in run.parts(rounds, 5):
        node = random.choice(world.nodes)
        world.run_some()
        node.kill()
        world.run_some(0, 0.1)
        node.start(ready=False)
        world.note("ready", world.until(node.is_ready, f"node {node.name} is ready"))


def node_stop(run, rounds):
    """A node is stopped in order under load, and comes again."""
    world, _ = begin(run)
    for _ in run.parts(rounds, 5):
        node = random.choice(world.nodes)
        world.run_some()
        node.signal()
        world.note("stopped", world.until(lambda: not node.runs(), f"node {node.name} leaves"))
        if node.process.returncode != 0:
            world.judge.violation("refused", f"{node.name} left with {node.process.returncode}")
        node.start(ready=False)
        world.note("ready", world.until(node.is_ready, f"node {node.name} is ready"))


def handover(run, rounds):
    """Another process takes a node over under load; the former one leaves when it has nobody."""
    world, _ = begin(run, settings={"limits.keepalive_timeout": "5s"})  # the mark's is idle
    durable = [node for node in world.nodes if "sqlite" in " ".join(node.command)]
    for _ in run.parts(rounds, 3):
        node = random.choice(durable)
        world.run_some()
        said = node.log().count(READY_LINE)
        former = node.take_over()
        world.note("taken", world.until(lambda: node.log().count(READY_LINE) > said, "it is ready"))
        world.note("left", world.until(lambda: former.poll() is not None, "the former one leaves"))
        if former.returncode != 0:
            world.judge.violation("refused", f"{node.name} left with {former.returncode}")
        world.until_publishing()


def four_nodes(run, rounds):
    """Four nodes under load have one order."""
    world, _ = begin(run, nodes=4)
    for _ in run.parts(rounds):
        world.run_some(0.5, 1.5)


def cut(run, rounds):
    """One node's packets to the log and back are dropped: it says so, and catches up."""
    world, redis = begin(run)
    for number in run.parts(rounds):
        node = world.nodes[number % len(world.nodes)]
        streams = world.pinned(node)
        before = [stream.connections for stream in streams]
        resident = node.resident_bytes()
        node.host.cut(redis.host)
        node.host.use(None)
        since = time.monotonic()
        world.note("not ready", world.until(lambda: not node.is_ready(), "readyz says so"))
        world.run(max(0, run.down_seconds - (time.monotonic() - since)))
        check_streams(world, streams, before)
        check_resident(world, node, resident)
        world.note_refusals(SILENT)
        since = time.monotonic()
        node.host.mend(redis.host)
        node.host.use(redis.host)
        world.note("back", world.until(node.is_ready, "it is ready again"))
        world.until_publishing(node)


def deaf(run, rounds):
    """What the log answers to one node is dropped, until the node comes anew: what it appended then
    stands there once."""
    world, redis = begin(run)
    for number in run.parts(rounds, 3):
        node = world.nodes[number % len(world.nodes)]
        redis.host.send_to(node.host.address, rig_net.NOBODY)
        world.until(lambda: not node.is_ready(), "readyz says so")
        world.run_some(0, 1)
        redis.host.send_to(node.host.address, node.host.mac)
        world.until_publishing(node)


def unplug(run, rounds):
    """One node's cable is out for a while, clients and all."""
    world, _ = begin(run)
    for _ in run.parts(rounds):
        node = random.choice(world.nodes)
        node.host.unplug()
        world.run_some(0.5, 3)
        node.host.plug()
        node.host.use(world.processes[0].host)
        world.until(node.is_ready, "it is ready again")


def trim_slow(run, rounds):
    """A node stands still while the others trim the log past it: its streams are told."""
    world, redis = begin(run, reasons=["expired"], settings={"cluster.log_bytes": "1M"})
    world.judge_part()
    for _ in run.parts(rounds):
        node = world.nodes[0]
        head = int(redis.command("HGET", log_key("meta"), "head"))
        node.freeze()
        world.until(lambda: int(redis.command("HGET", log_key("meta"), "trimmed") or 0) > head,
                    "the log is trimmed", 60)
        node.thaw()
        world.until(node.is_ready, "it is ready again")
    if not world.judge.resets["expired"]:
        world.judge.violation("reset", "nobody was told")


def log_key(name):
    return f"{{{rig_servers.PREFIX}}}{name}"
