# SPDX-License-Identifier: MIT
"""Many clients of one gateway in one loop: some read, some slowly, some not at all.

What each of them got is compared event by event: the data of an event begins with its number, and
the numbers must come one after the other.
"""

import argparse
import os
import pathlib
import resource
import select
import socket
import struct
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / each) for each in ("scenarios", "support")]

import wire  # noqa: E402

CONNECTING = 128
LAST_DATA_RECEIVED = 52  # of struct tcp_info: tcpi_last_data_recv, ms


class Client:
    """A stream over a plain socket.  `received` counts events; `wrong` says what was not as it
    should be."""

    def __init__(self, address, topic, receive_buffer=None, segment=None, resume=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if segment:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        self.socket.connect(address)
        headers = {"Last-Event-ID": resume} if resume else {}
        self.socket.sendall(
            wire.request_bytes("GET", wire.target_of("/events", {"topic": topic}), headers))
        self.coding = None
        self.pending = b""
        self.first = self.next = None
        self.received = self.bytes = 0
        self.last_id = resume
        self.wrong = None
        self.ended = None  # when, monotonic
        self.silent = None  # seconds without new data, when it ended

    def fileno(self):
        return self.socket.fileno()

    def read(self, size=65536):
        """What is there, or a part of it.  Returns the bytes, 0 when there are none."""
        try:
            data = self.socket.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self.end()
            return 0
        self.bytes += len(data)
        if self.coding is None:
            data = self._head(data)
        self._payload(self.coding.feed(data) if self.coding else b"")
        return len(data)

    def _head(self, data):
        self.pending += data
        if b"\r\n\r\n" not in self.pending:
            return b""
        head, _, rest = self.pending.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            self.wrong = f"refused: {head[:60]!r}"
        self.coding, self.pending = wire.Dechunker(), b""
        return rest

    def _payload(self, payload):
        *lines, self.pending = (self.pending + payload).split(b"\n") if self.coding else [self.pending]
        for line in lines:
            if line.startswith(b"data: "):
                self._event(line[6:])
            elif line.startswith(b"id: "):
                self.last_id = line[4:].decode()
            elif line == b"event: reset":
                self.wrong = "reset"

    def _event(self, data):
        word = data.partition(b" ")[0]
        if not word.isdigit():
            return
        number = int(word)
        if self.next is not None and number != self.next:
            self.wrong = f"event {number} instead of {self.next}"
        if self.first is None:
            self.first = number
        self.next = number + 1
        self.received += 1

    def end(self):
        """The gateway ended the stream."""
        if self.ended:
            return
        self.ended = time.monotonic()
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        self.silent = struct.unpack_from("I", info, LAST_DATA_RECEIVED)[0] / 1000
        self.socket.close()

    def close(self):
        self.socket.close()


class Crowd:
    """Clients and one epoll over them.  Those that do not read are only watched for their end."""

    def __init__(self):
        self.epoll = select.epoll()
        self.clients = {}

    def add(self, client, reads=True):
        self.clients[client.fileno()] = client
        client.reads = reads
        self.epoll.register(client.fileno(), select.EPOLLIN if reads else select.EPOLLRDHUP)

    def turn(self, wait=0.1):
        """Serve what is ready, and wait so long for it."""
        for fd, mask in self.epoll.poll(wait, 1024):
            client = self.clients[fd]
            if client.reads and mask & select.EPOLLIN:
                client.read()
            elif mask & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
                client.end()
            if client.ended:
                del self.clients[fd]

    def run(self, seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.turn(min(left, 0.1))

    def run_until(self, done, seconds, what):
        """Until `done()`, which must come to pass in time."""
        until = time.monotonic() + wire.seconds(seconds)
        while not done():
            assert time.monotonic() < until, f"not within {seconds} s: {what}"
            self.turn()

    def greet(self, clients, seconds=30):
        """Read until each has its first comment."""
        self.run_until(lambda: all(client.coding and client.bytes for client in clients), seconds,
                       "the streams have begun")

    def close(self):
        for client in self.clients.values():
            client.close()
        self.epoll.close()


def number_text(number, size):
    """The data of an event."""
    return f"{number} ".ljust(size, "x")


class Publisher:
    """Numbered events at a pace, one after the other, as `tick()` finds them due."""

    def __init__(self, gateway, topic, rate, size):
        self.gateway, self.topic, self.rate, self.size = gateway, topic, rate, size
        self.begun = time.monotonic()
        self.published = 0

    def tick(self):
        due = int((time.monotonic() - self.begun) * self.rate)
        if due > self.published:
            self.push(min(due - self.published, 200))

    def push(self, count):
        self.gateway.push([
            {"topic": self.topic, "data": number_text(self.published + i, self.size)}
            for i in range(count)])
        self.published += count


def resident(pid):
    """Resident memory, in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def all_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def parser_of(documentation):
    parser = argparse.ArgumentParser(description=documentation.partition("\n\n")[0])
    parser.add_argument("--bugle", help="the program ($BUGLE)")
    return parser


def parse(parser, arguments):
    options = parser.parse_args(arguments)
    if options.bugle:
        os.environ["BUGLE"] = options.bugle
    all_descriptors()
    return options


def verdict(faults):
    """The last line, and the exit status."""
    faults = list(faults)
    for fault in faults:
        print(f"WRONG: {fault}")
    print("wrong" if faults else "all as it should be")
    return 1 if faults else 0
