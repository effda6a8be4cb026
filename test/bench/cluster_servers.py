# SPDX-License-Identifier: MIT
"""What `make clusterbench` measures: a Redis, and two nodes beside each other on it."""

import contextlib
import http.client
import pathlib
import re
import socket
import subprocess
import time

from servers import START_SECONDS, Bugle, Failed, Nchan, Server, Tools

NODES = "abcdefghijklmnop"


def cpu_us(pids):
    """Microseconds on a core of all threads of these processes."""
    spent = 0
    for pid in pids:
        for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                spent += int(path.read_text().split()[0])
    return spent / 1000


class Redis(Server):
    """A server that keeps nothing beyond its memory, as Debian has it.  All use the same one, one
    after the other, and each finds it empty."""

    def __init__(self, name, tools, cpus):
        super().__init__(name, tools, cpus)
        self.link = self.replies = None

    def command(self):
        return ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir",
                self.tools.work, "--save", "", "--appendonly", "no"]

    def start(self):
        super().start()
        self.link = socket.create_connection(("127.0.0.1", self.port), START_SECONDS)
        self.replies = self.link.makefile("rb")
        with contextlib.suppress(Failed):  # before 7.0 there is none
            self.ask("CONFIG SET latency-tracking no")  # 40 KiB for each command that was called

    def stop(self):
        if self.link:
            self.replies.close()
            self.link.close()
            self.link = None
        super().stop()

    def ask(self, line):
        """The reply to a command: a text, or the line of a shorter reply."""
        self.link.sendall(line.encode() + b"\r\n")
        first = self.replies.readline().decode().rstrip()
        if not first or first.startswith("-"):
            raise Failed(f"redis-server says to {line}: {first or 'nothing'}")
        if not first.startswith("$") or first == "$-1":
            return first[1:]
        return self.replies.read(int(first[1:]) + 2).decode()

    def used_bytes(self):
        """What it keeps; without the buffers of connections, which come and go."""
        told = dict(re.findall(r"^(\w+):(\d+)\r?$", self.ask("INFO memory"), re.MULTILINE))
        return int(told["used_memory"]) - int(told["mem_clients_normal"])

    def calls(self):
        """By the name of a command: how often, and for how many microseconds in all."""
        found = re.findall(r"^cmdstat_(\S+?):calls=(\d+),usec=(\d+)", self.ask("INFO commandstats"),
                           re.MULTILINE)
        return {name: (int(calls), int(us)) for name, calls, us in found}

    def version(self):
        result = subprocess.run(["redis-server", "--version"], capture_output=True, text=True,
                                check=True)
        return "redis-server " + re.search(r"v=(\S+)", result.stdout)[1]


class BugleNode(Bugle):
    def __init__(self, name, tools, cpus, redis, **more):
        super().__init__(name, tools, cpus, **more)
        self.redis = redis

    def command(self):
        return [*super().command(), "--set", f"cluster.log=redis://127.0.0.1:{self.redis.port}",
                "--set", f"cluster.node={self.name}"]

    def start(self):
        """It listens before it follows the log."""
        super().start()
        end = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if time.monotonic() > end or self.process.poll() is not None:
                self.stop()
                raise Failed(f"{self.name} does not follow the log\n{self.said()}")
            time.sleep(0.02)

    def is_ready(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            with contextlib.closing(link):
                link.request("GET", "/readyz")
                return link.getresponse().status == 200
        return False


class NchanNode(Nchan):
    def __init__(self, name, tools, cpus, redis):
        super().__init__(name, tools, cpus)
        self.redis = redis

    def more_settings(self):
        return f'nchan_use_redis on; nchan_redis_url "redis://127.0.0.1:{self.redis.port}";'


class Cluster:
    """Nodes on a Redis, as the load tool and the tables see one server: it publishes to the first
    node and has its streams at the last."""

    def __init__(self, name, redis, nodes, replay=None):
        self.name = name
        self.replay = replay
        self.redis = redis  # None: it is one gateway for itself
        self.nodes = nodes
        self.tools = nodes[0].tools
        self.cpus = nodes[0].cpus

    def start(self, last_cpu=None, disk=None, keeps=None):
        """The last node with another core, or beside the others; with what is on disk below that
        folder; gateways that keep so many events, or what they keep by themselves."""
        if self.redis:
            self.redis.ask("FLUSHALL")
        for node in self.nodes:
            node.keeps = keeps
            node.disk = disk / node.name if disk else node.tools.work
            node.disk.mkdir(exist_ok=True)
        self.nodes[-1].cpus = last_cpu or self.cpus
        try:
            for node in self.nodes:
                node.start()
        except Failed:
            self.stop()
            raise

    def stop(self):
        for node in self.nodes:
            node.stop()

    def said(self):
        return "".join(node.said() for node in self.nodes)

    def parts(self):
        """The processes of each part whose CPU is told: Redis, the node that is published to, and
        the last one."""
        parts = {"redis": self.redis.pids()} if self.redis else {}
        parts["a"] = self.nodes[0].pids()
        if len(self.nodes) > 1:
            parts["b"] = self.nodes[-1].pids()
        return parts

    def pids(self):
        return [pid for pids in self.parts().values() for pid in pids]

    def addressed(self, options, extra=""):
        first = self.nodes[0].addressed(options, extra)
        last = self.nodes[-1].addressed(options, extra)
        at = last.index("--stream-url")
        first[first.index("--stream-url") + 1] = last[at + 1]
        return first

    def version(self):
        return self.nodes[0].version()


def make_clusters(redis, tools, cpus, replay=None):
    """All that can be measured, by name.  `replay` is the program of that name."""
    def at(name):
        folder = tools.work / name
        folder.mkdir(parents=True, exist_ok=True)
        return Tools(tools.bugle, tools.bugle_args, folder)

    def bugle(name, nodes, **more):
        return Cluster(name, redis, [BugleNode(node, at(f"{name}-{node}"), cpus, redis, **more)
                                     for node in NODES[:nodes]], replay)
    nchan = [NchanNode(f"nchan-{node}", at(f"nchan-{node}"), cpus, redis) for node in NODES[:2]]
    return {cluster.name: cluster for cluster in (
        bugle("bugle", 2),
        bugle("sqlite", 2, store="sqlite"),
        bugle("sixteen", 16),
        Cluster("alone", None, [Bugle("alone", at("alone"), cpus)]),
        Cluster("nchan", redis, nchan))}
