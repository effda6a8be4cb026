#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Gateways at one Redis, while nodes, servers and the wires between them fail.

    make clustertest CLUSTER_ARGS='--counts node_kill=20,split=5 --seed 7'
    make clustertest CLUSTER_ARGS='--factor 0.1'

Each scenario has gateways, Redis and sentinels on machines of their own (network namespaces),
publishers that repeat with their keys until they are acknowledged, and streams that go on at any
node.  After each part all nodes must have one order, everything acknowledged must stand there where
the promise says so, and no client may have a hole that it was not told of.  Needs root.
"""

import argparse
import os
import pathlib
import random
import shutil
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / each)
                             for each in ("crash", "scenarios", "support"))]

import rig_net  # noqa: E402
import rig_servers  # noqa: E402
import wire  # noqa: E402
from rig import RESIDENT_GROWTH_MAX, Options, World  # noqa: E402

BACK_SECONDS = 2
REFUSED_SECONDS = 0.1  # after the limit of waiting
QUEUE_AGE_SECONDS = 1
TIMEOUT_SECONDS = 2
SILENT = ["log_unreachable", "log_lost", "overloaded"]  # while the log does not answer
SKIPPED = 77


class Run:
    """What is the same for all scenarios of a call."""

    def __init__(self, options):
        self.is_short = options.short
        self.folder = rig_net.FOLDER
        self.load = Options()
        if options.short:
            self.load = Options(publishers=6, subscribers=24, is_strict=False)
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
        world.judge.violation("refused", f"{name} took {value:.3f} s")


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
        bound(world, "back", world.until(node.is_ready, "it is ready again"), BACK_SECONDS)
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


# the server, with another past


def open_pair(run):
    """Two servers and the link of the replica, which the nodes do not use."""
    world = run.open(promise="memory", lossy=True, reasons=["epoch"])
    pair = [world.add_redis(name, "everysec") for name in ("left", "right")]
    for server in pair:
        world.start_redis(server)
    link = world.add(rig_servers.Link(run.folder / "link", "link", pair[0]))
    follow(world, link, *pair)
    world.use(pair[0])
    world.start_nodes()
    world.start_load()
    world.run_some()
    return world, pair, link


def follow(world, link, master, replica):
    """The replica follows over the link."""
    link.kill()
    link.aim(master)
    link.start()
    world.until(link.takes, "the link is there")
    replica.command("REPLICAOF", link.host.address, rig_servers.REDIS_PORT)
    world.until(lambda: replica.is_linked() and master.replicas_n() == 1, "it is in step")


def stale(run, rounds):
    """The master dies while its replica is behind, and that one is promoted."""
    world, (master, replica), link = open_pair(run)
    for _ in run.parts(rounds):
        link.freeze()
        world.run_some()
        link.kill()
        master.kill()
        replica.command("REPLICAOF", "NO", "ONE")
        world.run_some(0, 0.1)
        world.use(replica)
        world.note("back", world.until_publishing())
        master, replica = replica, master
        world.start_redis(replica)
        follow(world, link, master, replica)


def split(run, rounds):
    """Two masters for a while, with nodes at each; one of them wins."""
    world, (master, replica), link = open_pair(run)
    for _ in run.parts(rounds):
        link.kill()
        replica.command("REPLICAOF", "NO", "ONE")
        others = random.sample(world.nodes, random.randint(1, len(world.nodes) - 1))
        world.use(replica, *others)
        world.note("split", world.until_publishing())
        world.run_some()
        if random.random() < 0.5:
            master, replica = replica, master
        world.use(master)
        follow(world, link, master, replica)
        world.note("back", world.until_publishing())


def there_and_back(run, rounds):
    """The master becomes a replica of one that is behind, and then a master again."""
    world, (master, replica), link = open_pair(run)
    for _ in run.parts(rounds):
        link.freeze()
        world.run_some()
        link.kill()
        replica.command("REPLICAOF", "NO", "ONE")
        master.command("REPLICAOF", replica.address, rig_servers.REDIS_PORT)
        world.until(master.is_linked, "the master is a replica")
        world.run_some(0, 0.2)
        master.command("REPLICAOF", "NO", "ONE")
        world.note("back", world.until_publishing())
        follow(world, link, master, replica)


def aof_tail(run, rounds):
    """Redis is killed, and its file has lost some of its end."""
    world, redis = begin(run, fsync="everysec", promise="memory", lossy=True, reasons=["epoch"])
    for _ in run.parts(rounds):
        world.run_some()
        redis.kill()
        file = redis.aof()
        size = file.stat().st_size
        os.truncate(file, max(0, size - random.randint(1, 60_000)))
        world.start_redis(redis)
        world.note("back", world.until_publishing())


def flushall(run, rounds):
    """All that Redis has is thrown away while it runs."""
    # the log begins anew behind what the first node has, and those that had less have a gap
    world, redis = begin(run, lossy=True, reasons=["epoch", "expired"], forgetful=True)
    for _ in run.parts(rounds):
        world.run_some()
        redis.command("FLUSHALL")
        world.note("back", world.until_publishing())


# sentinels


def failover_one(run, rounds):
    """SENTINEL FAILOVER with one replica and WAIT for it."""
    failover(run, rounds, 1)


def failover_two(run, rounds):
    """SENTINEL FAILOVER with two replicas and WAIT for both."""
    failover(run, rounds, 2)


def failover_kill(run, rounds):
    """The master is killed, with one replica and WAIT for it."""
    world, servers, sentinels = open_sentinels(run, 1)
    for _ in run.parts(rounds):
        world.run_some(0.2, 0.6)
        former = master_of(sentinels[0])
        killed = next(server for server in servers if server.address == former)
        killed.kill()
        until_another(world, sentinels, former)
        world.start_redis(killed)
        until_settled(world, servers, sentinels, 1)


def failover(run, rounds, replicas_n):
    world, servers, sentinels = open_sentinels(run, replicas_n)
    for _ in run.parts(rounds):
        world.run_some(0.2, 0.6)
        former = master_of(sentinels[0])
        world.until(lambda: told_to_fail_over(sentinels[0]), "a failover begins")
        until_another(world, sentinels, former)
        until_settled(world, servers, sentinels, replicas_n)


def master_of(sentinel):
    return sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", rig_servers.MASTER)[0]


def until_another(world, sentinels, former):
    world.note("another master", world.until(
        lambda: all(master_of(sentinel) != former for sentinel in sentinels),
        "the sentinels name another"))


def until_settled(world, servers, sentinels, replicas_n):
    world.note("back", world.until_publishing())
    world.note_refusals([*SILENT, "log_unconfirmed"])
    world.until(lambda: all(knows_all(sentinel, replicas_n) for sentinel in sentinels)
                and any(server.replicas_n() == replicas_n for server in servers),
                "the former master is a replica")


def open_sentinels(run, replicas_n):
    # streams have what is not confirmed yet, and are told when it is gone
    world = run.open(promise="replicated", reasons=["epoch"],
                     settings={"cluster.replicas": str(replicas_n)})
    servers = [world.add_redis(f"redis{index}", "everysec") for index in range(replicas_n + 1)]
    for server in servers:
        world.start_redis(server)
    master, *replicas = servers
    for replica in replicas:
        replica.command("REPLICAOF", master.address, rig_servers.REDIS_PORT)
    world.until(lambda: master.replicas_n() == replicas_n, "the replicas are in step")
    sentinels = [world.add(rig_servers.sentinel(run.folder / f"sentinel{index}",
                                                f"sentinel{index}", master)) for index in range(3)]
    for sentinel in sentinels:
        sentinel.start()
    world.until(lambda: all(knows_all(sentinel, replicas_n) for sentinel in sentinels),
                "the sentinels know each other")
    world.start_nodes("redis+sentinel://" + ",".join(
        f"{sentinel.address}:{rig_servers.SENTINEL_PORT}" for sentinel in sentinels)
        + f"/{rig_servers.MASTER}")
    world.start_load()
    world.until_publishing()
    return world, servers, sentinels


def knows_all(sentinel, replicas_n):
    if not sentinel.answers():
        return False
    fields = sentinel.command("SENTINEL", "MASTER", rig_servers.MASTER)
    master = dict(zip(fields[::2], fields[1::2]))
    return (master["flags"] == "master" and int(master["num-other-sentinels"]) == 2
            and int(master["num-slaves"]) == replicas_n)


def told_to_fail_over(sentinel):
    try:
        return sentinel.command("SENTINEL", "FAILOVER", rig_servers.MASTER) == "OK"
    except rig_servers.RedisError:
        return False  # one is under way, or no replica is good yet


# scenario, and how often at length
SCENARIOS = {
    alone: 3, four_nodes: 20, node_kill: 300, node_stop: 50, cut: 50, deaf: 50, unplug: 50,
    trim_slow: 20,
    redis_kill: 300, redis_down: 20, redis_stop: 20, busy: 20, no_replicas: 20, out_of_memory: 20,
    disk_full_always: 20, disk_full_everysec: 20, stale: 200, split: 100, there_and_back: 100,
    aof_tail: 100, flushall: 100, failover_one: 50, failover_two: 50, failover_kill: 50,
}
NAMES = {scenario.__name__: scenario for scenario in SCENARIOS}


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0],
        epilog="scenarios: " + ", ".join(f"{each.__name__} {n}" for each, n in SCENARIOS.items()))
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
        return [(each, max(1, round(n * options.factor))) for each, n in SCENARIOS.items()]
    pairs = [part.partition("=")[::2] for part in options.counts.split(",")]
    unknown = [name for name, _ in pairs if name not in NAMES]
    if unknown:
        raise SystemExit(f"no such scenario: {', '.join(unknown)}")
    return [(NAMES[name], int(count) if count
             else max(1, round(SCENARIOS[NAMES[name]] * options.factor))) for name, count in pairs]


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
