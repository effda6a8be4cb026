# SPDX-License-Identifier: MIT
"""A run of scenarios: what they have in common."""

import rig_net
import wire
from rig import RESIDENT_GROWTH_MAX, Options, World

BACK_SECONDS = 2
REFUSED_SECONDS = 0.1  # after the limit of waiting
QUEUE_AGE_SECONDS = 1
TIMEOUT_SECONDS = 2
SILENT = ["log_unreachable", "log_lost", "overloaded"]  # while the log does not answer


class Run:
    """What is the same for all scenarios of a call."""

    def __init__(self, options):
        self.is_short = options.short
        self.folder = rig_net.FOLDER
        self.load = Options()
        if options.short:
            self.load = Options(publishers=6, subscribers=24, pause_ms=20, is_strict=False)
        self.down_seconds = options.down_seconds or (2.5 if options.short else 60)
        self.stop_seconds = options.stop_seconds or (2.5 if options.short else 10)
        self.world = None

    def open(self, **options):
        self.world = World(self.folder, self.load, **options)
        return self.world

    def parts(self, rounds, each=1):
        """Rounds, with a judgement after every `each` of them and at the end."""
        for number in range(1, rounds + 1):
            yield number
            self.world.rounds = number
            if number % each == 0 or number == rounds:
                self.world.judge_part()


def begin(run, fsync="always", **options):
    """The usual beginning: one Redis, all nodes, and their clients."""
    world = run.open(**options)
    redis = world.add_redis(fsync=fsync)
    world.start_redis(redis)
    world.use(redis)
    world.start_nodes()
    world.start_load()
    world.until_publishing()
    return world, redis


def bound(world, name, value, limit):
    """A measured time, and what the issue allows; tests of a busy machine allow more."""
    world.note(name, value)
    if value > limit * (1 if world.options.is_strict else 10) * wire.SLOW:
        world.judge.violation("late", f"{name} took {value:.3f} s")


def check_streams(world, streams, before):
    for stream, connections in zip(streams, before):
        if stream.connections != connections:
            world.judge.violation("refused", f"{stream.receiver.name} ended,"
                                  f" {stream.silences} times in silence")


def check_resident(world, node, before):
    growth = node.resident_bytes() - before
    world.note("resident MiB more", growth / (1 << 20))
    if growth > RESIDENT_GROWTH_MAX:
        world.judge.violation("refused", f"node {node.name} took {growth >> 20} MiB more")
