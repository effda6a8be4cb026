# SPDX-License-Identifier: MIT
"""Some gateways at one log, their clients, and the judge: what a scenario works with."""

import random
import time

import load
import rig_servers
import wire
from conftest import REPORTS
from crash import SETTINGS
from rig_clients import HEARTBEAT_SECONDS, Marker, Oracle, RovingPublisher, RovingSubscriber
from rig_judge import KINDS, Holder, Judge
from rig_net import SERVICE

LOOK_SECONDS = 0.25
GAUGE_SECONDS = 0.3  # a gateway's figures may be as old
PATIENCE_SECONDS = 60
SHOW_EVERY = 10
VIOLATIONS_MAX = 20
RESIDENT_GROWTH_MAX = 16 << 20
LOG = f"redis://{SERVICE}:{rig_servers.REDIS_PORT}"
CLUSTER_SETTINGS = {"cluster.log_bytes": "1G", "cluster.prefix": rig_servers.PREFIX}


class Options:
    """Of the load, for all scenarios of a run."""

    def __init__(self, publishers=8, subscribers=48, pause_ms=60, roam_ms=40, nodes=3,
                 is_strict=True):
        self.publishers, self.subscribers = publishers, subscribers
        self.pause_ms, self.roam_ms, self.nodes = pause_ms, roam_ms, nodes
        self.is_strict = is_strict  # about times


class World:
    """`promise`: memory, disk or replicated; of a node every second has its history on the disk."""

    def __init__(self, folder, options, promise="disk", lossy=False, reasons=(),
                 forgetful=False, log=LOG, nodes=None, settings=None):
        self.folder = folder
        self.options = options
        self.durability = promise
        self.judge = Judge(lossy, reasons, forgetful)
        self.loop = load.Loop()
        self.settings = {**SETTINGS, "stream.heartbeat": f"{HEARTBEAT_SECONDS}s",
                         "auth.mode": "none", "history.max_bytes": "512M"}
        if log:
            self.settings.update(CLUSTER_SETTINGS, **{"cluster.promise": promise})
            self.settings["cluster.log"] = log
        self.settings.update(settings or {})
        self.processes = []
        self.nodes = []
        self.answers = []  # since the last judgement
        self.publishers, self.subscribers = [], []
        self.figures = {}
        self.rounds = 0
        self.begun = self.shown = time.monotonic()
        for index in range(nodes or options.nodes):
            self.add_node("abcdefgh"[index], "sqlite" if index % 2 == 0 else "memory")

    # parts

    def add_node(self, name, store="memory"):
        folder = self.folder / f"node-{name}"
        place = "memory:" if store == "memory" else f"sqlite:{folder}/h.db"
        node = rig_servers.Node(folder, name, self.settings, place)
        self.nodes.append(node)
        return node

    def add_redis(self, name="redis", fsync="always", settings=()):
        return self.add(rig_servers.redis(self.folder / name, name, fsync, settings))

    def add(self, process):
        self.processes.append(process)
        return process

    def use(self, server, *nodes):
        """Nodes take this server for the log from now on; all, when none is named."""
        for node in nodes or self.nodes:
            node.host.use(server and server.host)

    def start_redis(self, server):
        server.start()
        self.until(server.answers, f"{server.name} answers")

    def start_nodes(self, log=None):
        """`log`: if that was not known at the beginning."""
        for node in self.nodes:
            if log:
                node.command += ["--set", f"cluster.log={log}"]
            node.start(ready=False)
        self.until_ready()

    def until_ready(self, *nodes):
        self.until(lambda: all(node.has_started() and node.is_ready()
                               for node in nodes or self.nodes), "nodes are ready")

    # time

    def until(self, predicate, what, seconds=PATIENCE_SECONDS):
        """Wait while the clients go on; returns how long it took."""
        begun = time.monotonic()
        deadline = begun + wire.seconds(seconds)
        while not predicate():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {wire.seconds(seconds)} s: {what}")
            self.loop.run(0.01)
        return time.monotonic() - begun

    def run(self, seconds):
        self.loop.run(seconds)

    def run_some(self, low=0.05, high=0.3):
        """And then stop at a moment that has nothing to do with this loop."""
        self.loop.run(random.uniform(low, high))
        time.sleep(random.uniform(0, 0.004))

    # clients

    def start_load(self):
        run = f"{random.getrandbits(32):x}-{time.time_ns():x}"
        options = self.options
        self.judge.keyless = set(range(0, options.publishers, 4))
        self.marker = Marker(self, run)
        self.publishers = [RovingPublisher(self, index, options.pause_ms / 1000, run,
                                           self.own_node(index))
                           for index in range(options.publishers)]
        for index, (patterns, user) in enumerate(load.queries_of(options.subscribers)):
            self.add_subscriber(f"stream {index}", patterns, user, self.own_node(index))
        for client in [*self.publishers, *self.subscribers, self.marker]:
            client.connect()
        self.looked = time.monotonic()
        self.loop.later(LOOK_SECONDS, self._look)
        self.loop.later(0, self._roam)

    def own_node(self, index):
        """Every third client stays at its node, all others are here and there."""
        return self.nodes[index // 3 % len(self.nodes)] if index % 3 == 0 else None

    def add_subscriber(self, name, patterns, user, own=None, stays=False):
        holder = Holder(self.judge, self.judge.audience(*patterns, user=user), name)
        self.subscribers.append(RovingSubscriber(self, holder, own, stays))
        return self.subscribers[-1]

    def _clients(self):
        return [*self.publishers, *self.subscribers, self.marker]

    def _look(self):
        now = time.monotonic()
        was_away = now - self.looked > 4 * LOOK_SECONDS  # this loop, and what came waits
        self.looked = now
        for client in self._clients():
            if was_away:
                client.touched = now
            client.look(now)
        self.loop.later(LOOK_SECONDS, self._look)

    def _roam(self):
        rovers = [each for each in self.subscribers if each.own is None]
        if rovers:
            random.choice(rovers).drop()
        movers = [each for each in self.publishers if each.own is None]
        if movers and random.random() < 0.2:
            random.choice(movers).drop()  # also with an answer on its way
        self.loop.later(random.uniform(0, 2) * self.options.roam_ms / 1000, self._roam)

    def pinned(self, node):
        return [each for each in self.subscribers if each.own is node]

    # what comes of it

    def until_publishing(self, *nodes):
        """Until each of these nodes acknowledges what was sent from now on; returns how long that
        took."""
        since = time.monotonic()
        left = set(nodes or self.nodes)
        seen = len(self.answers)
        latest = since

        def done():
            nonlocal seen, latest
            for answer in self.answers[seen:]:
                if answer.status == 201 and answer.begun >= since and answer.node in left:
                    left.remove(answer.node)
                    latest = answer.ended
            seen = len(self.answers)
            return not left

        self.until(done, "publishing works again")
        return latest - since

    def until_refused(self, code):
        self.until(lambda: any(answer.code == code for answer in self.answers),
                   f"a publish is answered {code}")

    def note(self, name, value):
        self.figures.setdefault(name, []).append(value)

    def note_refusals(self, allowed):
        """What was refused in between, by its code, and after how long."""
        for answer in self.answers:
            if answer.status in load.BUSY:
                self.note(answer.code, answer.seconds)
                if answer.code not in allowed:
                    self.judge.violation("refused", f"{answer.code} at {answer.node.name}")

    def judge_part(self):
        """Quiet, a mark, and the judgement on all there was since the last one."""
        judge, marker = self.judge, self.marker
        for publisher in self.publishers:
            publisher.stopping = True
        self.until(lambda: all(publisher.idle for publisher in self.publishers),
                   "all publishers are answered")
        # what a publisher has turned away from is stored all the same
        self.run(GAUGE_SECONDS)
        self.until(lambda: all(node.is_quiet() for node in self.nodes), "nothing waits at a node")
        marker.mark()
        self.until(lambda: marker.idle, "the mark is answered")
        position, who = judge.position_of(marker.marked_id), marker.who
        self._wait([subscriber.receiver for subscriber in self.subscribers], position, who)
        oracles = {node.name: Oracle(self, node, judge.base_id) for node in self.nodes}
        self._wait([stream.receiver for oracle in oracles.values() for stream in oracle.streams],
                   position, who)
        judge.pass_judgement({name: oracle.part(judge) for name, oracle in oracles.items()},
                             marker.marked_id)
        for oracle in oracles.values():
            oracle.close()
        self.answers.clear()
        self.show()
        if sum(judge.wrong.values()) - judge.wrong["late"] >= VIOLATIONS_MAX:
            raise AssertionError("too much is wrong to go on")
        for publisher in self.publishers:
            publisher.resume()

    def _wait(self, holders, position, who):
        """What does not come is judged as missing."""
        missing = list(holders)
        received = None

        def goes_on():
            """Whether all have it, or something came meanwhile."""
            nonlocal received
            missing[:] = [holder for holder in missing if not holder.has(position, who)]
            before, received = received, sum(holder.received for holder in holders)
            return not missing or received != before

        while missing:
            try:
                self.until(goes_on, "all streams have the mark")
            except AssertionError:
                break
        for holder in missing:
            self.judge.violation("hole", f"{holder.name}: the mark at {position} did not come;"
                                 f" it has {holder.last_id}")

    # the end

    def show(self):
        if time.monotonic() - self.shown >= SHOW_EVERY:
            self.shown = time.monotonic()
            judge = self.judge
            print(f"    {self.shown - self.begun:5.0f} s  {self.rounds} rounds "
                  f" {judge.acknowledged} acknowledged  {sum(judge.wrong.values())} wrong",
                  flush=True)

    def logs(self):
        return "\n".join(f"--- {each.name}\n{each.log()[-3000:]}"
                         for each in [*self.nodes, *self.processes])

    def report(self):
        """One line of what was judged, and one of what was measured."""
        judge = self.judge
        received = sum(subscriber.receiver.received for subscriber in self.subscribers)
        wrong = ", ".join(f"{judge.wrong[kind]} {kind}" for kind in KINDS)
        resets = ", ".join(f"{n} {reason}" for reason, n in sorted(judge.resets.items())) or "none"
        lines = [f"{self.rounds} rounds, {time.monotonic() - self.begun:.0f} s,"
                 f" {judge.acknowledged} acknowledged ({judge.gone} gone,"
                 f" {judge.elsewhere} elsewhere, {judge.twice} twice), {received} delivered,"
                 f" resets: {resets}",
                 f"{wrong}; order {judge.hash.hexdigest()[:12]} at {len(self.nodes)} nodes"]
        for name, values in sorted(self.figures.items()):
            values = sorted(values)
            lines.append(f"{name}: {len(values)} times, median {values[len(values) // 2]:.3f},"
                         f" worst {values[-1]:.3f}")
        return "\n".join(f"    {line}" for line in [*lines, *judge.words])

    def close(self):
        for client in self._clients() if self.publishers else []:
            client.close()
        for node in self.nodes:
            self.end_node(node)
        for process in self.processes:
            process.kill()
        for each in [*self.nodes, *self.processes]:
            each.host.end()

    @staticmethod
    def end_node(node):
        if node.runs():
            node.kill()
        report = REPORTS.search(node.log())
        assert not report, f"{report[0]} in the log of {node.name}:\n{node.log()[:20000]}"
