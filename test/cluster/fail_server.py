# SPDX-License-Identifier: MIT
"""Scenarios: Redis fails, and nothing is lost."""

import time

import rig_net
import rig_servers
from rig_run import (BACK_SECONDS, QUEUE_AGE_SECONDS, REFUSED_SECONDS, SILENT, TIMEOUT_SECONDS,
                     begin, bound, check_resident, check_streams)


# the server, with nothing lost


def redis_kill(run, rounds):
    """Redis with appendfsync always is killed at any moment, and comes again."""
    world, redis = begin(run)
    for _ in run.parts(rounds, 5):
        world.run_some()
        redis.kill()
        world.run_some(0, 0.2)
        world.start_redis(redis)
        bound(world, "back", world.until_publishing(), BACK_SECONDS)


def redis_down(run, rounds):
    """Redis is gone for a minute: what is published is refused, and streams stand."""
    world, redis = begin(run)
    for _ in run.parts(rounds):
        with_outage(run, world, redis.kill, lambda: world.start_redis(redis), run.down_seconds)


def redis_stop(run, rounds):
    """Redis stands still, and its connections with it."""
    world, redis = begin(run)
    for _ in run.parts(rounds):
        with_outage(run, world, redis.freeze, redis.thaw, run.stop_seconds)


def with_outage(run, world, stop, go, seconds):
    streams = world.subscribers
    stayers = [stream for stream in streams if stream.own]
    before = [stream.connections for stream in stayers]
    resident = [node.resident_bytes() for node in world.nodes]
    stop()
    since = time.monotonic()
    world.run(seconds)
    check_streams(world, stayers, before)
    for node, bytes_before in zip(world.nodes, resident):
        check_resident(world, node, bytes_before)
    for answer in world.answers:
        # the first may have been at the log: those wait for its deadline before they wait in vain
        if answer.code == "log_unreachable":
            late = TIMEOUT_SECONDS if answer.begun - since < TIMEOUT_SECONDS else QUEUE_AGE_SECONDS
            bound(world, "503", answer.seconds, max(late, QUEUE_AGE_SECONDS) + REFUSED_SECONDS)
    world.note_refusals(SILENT)
    go()
    bound(world, "back", world.until_publishing(), BACK_SECONDS)


def busy(run, rounds):
    """A script of somebody else keeps Redis from answering."""
    world, redis = begin(run)
    for _ in run.parts(rounds):
        with redis.connect() as connection:
            connection.sendall(rig_servers.command_bytes(["EVAL", "while true do end", 0]))
            world.run(run.stop_seconds)
            world.note_refusals(SILENT)
            redis.command("SCRIPT", "KILL")
            bound(world, "back", world.until_publishing(), BACK_SECONDS)


def no_replicas(run, rounds):
    """Redis will not write without a replica."""
    world, redis = begin(run)
    for _ in run.parts(rounds):
        redis.command("CONFIG", "SET", "min-replicas-to-write", 1)
        world.run(run.stop_seconds)
        world.note_refusals(SILENT)
        redis.command("CONFIG", "SET", "min-replicas-to-write", 0)
        bound(world, "back", world.until_publishing(), BACK_SECONDS)


def out_of_memory(run, rounds):
    """Redis has no memory left, and then it has."""
    world, redis = begin(run)
    for _ in run.parts(rounds):
        redis.command("CONFIG", "SET", "maxmemory", int(redis.info("memory")["used_memory"]))
        world.until_refused("log_full")
        world.run_some(0.2, 1)
        world.note_refusals(["log_full"])
        redis.command("CONFIG", "SET", "maxmemory", 0)
        bound(world, "back", world.until_publishing(), BACK_SECONDS)


def disk_full_always(run, rounds):
    """The disk is full with appendfsync always: Redis ends, and comes again when there is room."""
    disk_full(run, rounds, "always")


def disk_full_everysec(run, rounds):
    """The disk is full with appendfsync everysec: Redis refuses until there is room."""
    disk_full(run, rounds, "everysec", promise="memory")


def disk_full(run, rounds, fsync, **options):
    disk = run.folder / "disk"
    disk.mkdir()
    rig_net.run("mount", "-t", "tmpfs", "-o", "size=256M", "none", str(disk))
    world = run.open(**options)
    redis = world.add(rig_servers.redis(disk / "redis", "redis", fsync))
    world.start_redis(redis)
    world.use(redis)
    world.start_nodes()
    world.start_load()
    for _ in run.parts(rounds):
        world.run_some()
        filler = disk / "filler"
        fill(filler)
        if fsync == "always":
            world.until(lambda: not redis.runs(), "Redis ends")
            allowed = ["log_unreachable", "log_lost", "log_full"]
        else:
            world.until_refused("log_full")
            allowed = ["log_full"]
        world.run_some(0.2, 0.6)
        world.note_refusals(allowed)
        filler.unlink()
        if fsync == "always":
            redis.kill()
            world.start_redis(redis)
        bound(world, "back", world.until_publishing(), BACK_SECONDS)


def fill(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
