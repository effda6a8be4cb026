# SPDX-License-Identifier: MIT
"""Scenarios: Redis comes back with another past, or another server does."""

import os
import random

import rig_servers
from rig_run import SILENT, begin


# the server, with another past


def open_pair(run, **options):
    """Two servers and the link of the replica, which the nodes do not use."""
    world = run.open(promise="memory", lossy=True, reasons=["epoch"], **options)
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
    world.until(lambda: replica.is_linked() and master.is_copied(), "the replica is in step")


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
    world.judge_part()
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
    world.until(lambda: master.is_copied(replicas_n), "the replicas are in step")
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
