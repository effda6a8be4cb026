# SPDX-License-Identifier: MIT
"""A redis-server of a test's own: it begins on a port that the test gives, has a folder for what it
keeps, and is ended by its process."""

import contextlib
import pathlib
import re
import shutil
import socket
import subprocess

import wire

PROGRAM = "redis-server"
RECIPE = pathlib.Path(__file__).resolve().parent.parent.parent / "contrib" / "redis.conf.example"


def is_installed():
    return shutil.which(PROGRAM) is not None


def recipe_rights():
    """The rights that the recipe in contrib gives to gateways, as words behind its user's name."""
    return re.search(r"^user bugle (.*)$", RECIPE.read_text(), re.M)[1]


class Error(Exception):
    """What the server says with a minus in front."""


class Connection:
    """Commands and answers, one after the other (RESP2)."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), wire.seconds(5))
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words)
                            + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self.read()

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server has closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2].decode() if int(rest) >= 0 else None
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return rest.decode()

    def close(self):
        self.file.close()
        self.socket.close()


class RedisServer:
    """`lines` are lines of its file, behind those that it needs here."""

    def __init__(self, folder, port, *lines):
        self.folder = folder
        self.port = port
        self.lines = ["bind 127.0.0.1", f"port {port}", f"dir {folder}", 'save ""',
                      "appendonly no", *lines]
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        path = self.folder / "redis.conf"
        path.write_text("\n".join(self.lines) + "\n")
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([shutil.which(PROGRAM), str(path)], cwd=self.folder,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wire.wait_until(self.is_ready, 10, "redis-server answers")
        return self

    def is_ready(self):
        assert self.process.poll() is None, (self.folder / "redis.log").read_text()
        with contextlib.suppress(ConnectionError):
            try:
                return self.ask("PING") == "PONG"
            except Error as error:
                return "LOADING" not in str(error)
        return False

    def ask(self, *words):
        """One command on a connection of its own, as the default user."""
        connection = Connection(self.port)
        try:
            return connection.ask(*words)
        finally:
            connection.close()

    def stop(self):
        """At once, as a machine without power.  It may have ended."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
