# SPDX-License-Identifier: MIT
"""What runs on the machines of a rig: Redis, sentinels, links between them, and gateways."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys

import rig_net
import wire
from conftest import READY_LINE, Gateway

HERE = pathlib.Path(__file__).resolve().parent
REDIS_PORT = 6379
SENTINEL_PORT = 26379
NODE_PORT = 8080
MASTER = "bugle"  # as the sentinels call it
PREFIX = "bugle"
REDIS_SETTINGS = ["bind * -::*", "protected-mode no", 'save ""', "appendonly yes",
                  "auto-aof-rewrite-percentage 0", "repl-diskless-sync-delay 0",
                  "repl-ping-replica-period 1", "busy-reply-threshold 100"]


class RedisError(Exception):
    """What a server answered that is no result."""


def command_bytes(words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"".join([b"*%d\r\n" % len(words),
                     *(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)])


def read_reply(file):
    line = file.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("it closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest.decode()
    if kind == b"-":
        raise RedisError(rest.decode())
    if kind == b":":
        return int(rest)
    n = int(rest)
    if n < 0:
        return None
    if kind == b"$":
        return file.read(n + 2)[:-2].decode(errors="replace")
    return [read_reply(file) for _ in range(n)]


class Process:
    """A program on a machine of its own, that is ended in any way."""

    def __init__(self, host, folder, name):
        self.host = host
        self.folder = folder
        self.name = name
        self.process = None

    def run(self, command):
        assert not self.runs(), f"{self.name} runs already"
        with open(self.folder / "out", "ab") as out:
            self.process = subprocess.Popen([*self.host.prefix, *map(str, command)],
                                            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out, start_new_session=True)

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "out").read_text(errors="replace")
        return ""


class Redis(Process):
    """One with an append-only file; commands go to its own address."""

    port = REDIS_PORT

    def __init__(self, folder, name, settings=(), args=()):
        super().__init__(rig_net.Host(name), folder, name)
        folder.mkdir(parents=True, exist_ok=True)
        self.args = args
        self.conf = folder / "redis.conf"
        self.conf.write_text("\n".join([f"port {self.port}", f"dir {folder}", *settings, ""]))

    @property
    def address(self):
        return self.host.address

    def start(self):
        self.run(["redis-server", self.conf, *self.args])
        return self

    def command(self, *words, timeout=10):
        with self.connect(timeout) as connection:
            connection.sendall(command_bytes(words))
            return read_reply(connection.makefile("rb"))

    def connect(self, timeout=10):
        return socket.create_connection((self.address, self.port), timeout)

    def answers(self):
        """Whether it serves now."""
        try:
            return self.command("PING", timeout=0.5) == "PONG"
        except (OSError, RedisError):
            return False

    def info(self, section):
        lines = self.command("INFO", section).split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def is_linked(self):
        """A replica that has all that it was sent so far and listens for more."""
        info = self.info("replication")
        return info["role"] == "slave" and info["master_link_status"] == "up"

    def is_copied(self, replicas_n=1):
        """Whether so many replicas have what is written now; that they are online says less."""
        with self.connect() as connection:
            file = connection.makefile("rb")
            connection.sendall(command_bytes(["SET", "rig", 1]))
            read_reply(file)
            connection.sendall(command_bytes(["WAIT", replicas_n, 100]))
            return read_reply(file) >= replicas_n

    def replicas_n(self):
        """Those that are in step with this master."""
        info = self.info("replication")
        return sum(",state=online," in value for name, value in info.items()
                   if name.startswith("slave"))

    def aof(self):
        """The file that grows."""
        return max((self.folder / "appendonlydir").glob("*.incr.aof"))


def redis(folder, name, fsync="always", settings=()):
    server = Redis(folder, name, [*REDIS_SETTINGS, f"appendfsync {fsync}", *settings])
    server.host.add_service()
    return server


class Sentinel(Redis):
    port = SENTINEL_PORT


def sentinel(folder, name, master, quorum=2):
    return Sentinel(folder, name, [
        "bind * -::*", "protected-mode no",
        f"sentinel monitor {MASTER} {master.address} {REDIS_PORT} {quorum}",
        f"sentinel down-after-milliseconds {MASTER} 1000",
        f"sentinel failover-timeout {MASTER} 6000",
        f"sentinel parallel-syncs {MASTER} 4"], ["--sentinel"])


class Link(Process):
    """To a server, from a machine in between; see rig_proxy.py."""

    def __init__(self, folder, name, target):
        super().__init__(rig_net.Host(name), folder, name)
        folder.mkdir(parents=True, exist_ok=True)
        self.aim(target)

    def aim(self, target):
        self.target = target

    def start(self):
        self.run([sys.executable, HERE / "rig_proxy.py", REDIS_PORT, self.target.address,
                  self.target.port])
        return self

    def takes(self):
        try:
            socket.create_connection((self.host.address, REDIS_PORT), 0.5).close()
            return True
        except OSError:
            return False


class Node(Gateway):
    """A gateway on a machine of its own, at the log."""

    def __init__(self, folder, name, settings, store):
        self.host = rig_net.Host(f"node-{name}")
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        own = {"cluster.node": name} if "cluster.log" in settings else {}
        if store.startswith("sqlite:"):
            own["server.handover"] = f"{folder}/handover"
        super().__init__(folder, {**settings, **own}, store=store)
        place = f"{self.host.address}:{NODE_PORT}"
        at = self.command.index("--listen")
        self.command[at + 1] = place
        self.command = [*self.host.prefix, *self.command]
        self.address = (self.host.address, NODE_PORT)
        self.url = f"http://{place}"

    def request_bytes(self, method, target, headers=(), body=None):
        return wire.request_bytes(method, target, headers, body,
                                  host=f"{self.host.address}:{NODE_PORT}")

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def is_ready(self):
        """Whether /readyz says so; False when it does not answer, too."""
        return self.ready_status() == 200

    def ready_status(self, target="/readyz"):
        """0 when it does not answer."""
        try:
            with wire.Wire(self.address, timeout=2) as connection:
                connection.send(self.request_bytes("GET", target))
                return connection.read_response("GET").status
        except (OSError, AssertionError):
            return 0

    def has_started(self):
        assert self.runs(), f"node {self.name} left:\n{self.log()[-5000:]}"
        return READY_LINE in self.log() and self.ready_status("/healthz") == 200

    def take_over(self):
        """Start another process in the place of this one, which leaves by itself.  Returns it."""
        former = self.process
        self._drop_control()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen([*self.command, "--takeover"], env=self.env,
                                            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        return former

    def is_quiet(self):
        """Whether it has nothing that waits for its commit."""
        return self.stat("queue_bytes") == 0

    def resident_bytes(self):
        fields = pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)
