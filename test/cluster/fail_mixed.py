# SPDX-License-Identifier: MIT
"""Scenarios: more than one thing fails at once."""

import random

import rig_net
from fail_past import follow, open_pair
from rig_run import begin


def kill_node(_, node, __):
    node.kill()
    return lambda: node.start(ready=False)


def freeze_node(_, node, __):
    node.freeze()
    return node.thaw


def cut_node(world, node, servers):
    for server in servers:
        node.host.cut(server.host)
    node.host.use(None)
    return lambda: give_back(world, node, servers)


def deafen_node(world, node, servers):
    for server in servers:
        server.host.send_to(node.host.address, rig_net.NOBODY)
    return lambda: give_back(world, node, servers)


def unplug_node(world, node, servers):
    node.host.unplug()

    def plug():
        node.host.plug()
        give_back(world, node, servers)

    return plug


def give_back(world, node, servers):
    for server in servers:
        node.host.mend(server.host)
    world.use(world.master, node)


NODE_FAULTS = [kill_node, freeze_node, cut_node, deafen_node, unplug_node]


def begin_faults(world, servers):
    """Of some nodes, one after the other.  Returns what ends them."""
    ends = []
    for node in random.sample(world.nodes, random.randint(1, len(world.nodes))):
        ends.append(random.choice(NODE_FAULTS)(world, node, servers))
        world.run_some(0, 0.5)
    random.shuffle(ends)
    return ends


def end_faults(world, ends):
    for end in ends:
        world.run_some(0, 0.5)
        end()
    world.until_ready()
    world.note("back", world.until_publishing())


def mixed(run, rounds):
    """Faults of some nodes and of Redis overlap, with appendfsync always."""
    world, redis = begin(run, settings={"cluster.lease": "4s"})
    world.master = redis
    for _ in run.parts(rounds):
        ends = begin_faults(world, [redis])
        fault = random.choice(["kill", "freeze", "none"])
        if fault == "kill":
            redis.kill()
        elif fault == "freeze":
            redis.freeze()
        world.run_some(0.1, 3)
        if fault == "kill":
            world.start_redis(redis)
        elif fault == "freeze":
            redis.thaw()
        end_faults(world, ends)


def mixed_pasts(run, rounds):
    """Faults of some nodes overlap with a master that is behind."""
    world, (master, replica), link = open_pair(run, settings={"cluster.lease": "4s"})
    for _ in run.parts(rounds):
        world.master = master
        link.freeze()
        ends = begin_faults(world, [master, replica])
        link.kill()
        if random.random() < 0.5:
            master.kill()
        replica.command("REPLICAOF", "NO", "ONE")
        master, replica = replica, master
        world.master = master
        world.use(master, *random.sample(world.nodes, random.randint(1, len(world.nodes))))
        world.run_some(0.1, 2)
        world.use(master)
        end_faults(world, ends)
        if not replica.runs():
            world.start_redis(replica)
        follow(world, link, master, replica)
