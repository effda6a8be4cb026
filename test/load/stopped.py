#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Clients that are stopped for a while and then go on, as a laptop's lid does it.

They live in a process of their own, which gets SIGSTOP and SIGCONT while events are published.
Stopped for less than the stall timeout, none may be evicted, and none may miss an event.
"""

import contextlib
import io
import json
import os
import pathlib
import select
import signal
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]

import crowd  # noqa: E402
from conftest import Gateway  # noqa: E402

RECEIVE_BUFFER = 4096
TOPIC = "news"


def live(options, address, commands, answers):
    """The process that is stopped: reads until it is told how many events there were."""
    clients = crowd.Crowd()
    everybody = []
    for _ in range(options.clients):
        everybody.append(crowd.Client(address, TOPIC, RECEIVE_BUFFER))
        clients.add(everybody[-1])
    clients.greet(everybody)
    answers.send("ready")
    while not commands.poll():
        clients.turn()
    count = commands.recv()
    with contextlib.suppress(AssertionError):
        clients.run_until(lambda: all(c.received >= count or c.ended for c in everybody), 60,
                          "everything is there")
    answers.send(json.dumps({
        "whole": sum(c.received == count and c.first == 0 and not c.wrong for c in everybody),
        "ended": sum(c.ended is not None for c in everybody),
        "wrong": sorted({c.wrong for c in everybody if c.wrong}),
        "deliveries": sum(c.received for c in everybody)}))


class Pipe:
    """One way between two processes: a line a message."""

    def __init__(self):
        self.reading, self.writing = os.pipe()
        self.file = None

    def send(self, message):
        os.write(self.writing, f"{message}\n".encode())

    def poll(self):
        return bool(select.select([self.reading], [], [], 0)[0])

    def recv(self):
        self.file = self.file or os.fdopen(self.reading)
        line = self.file.readline().strip()
        return int(line) if line.isdigit() else line


def run(options, folder):
    gateway = Gateway(folder, {"stream.stall_timeout": f"{options.stall_timeout}s"}, workers=1,
                      store="memory:")
    gateway.start()
    commands, answers = Pipe(), Pipe()
    child = os.fork()
    if child == 0:
        try:
            live(options, gateway.address, commands, answers)
        finally:
            os._exit(0)
    assert answers.recv() == "ready"
    publisher = crowd.Publisher(gateway, TOPIC, options.rate, options.size)

    def publish(seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            publisher.tick()
            time.sleep(0.01)

    publish(1)
    os.kill(child, signal.SIGSTOP)
    publish(options.stop)
    blocked = sum(entry["unacknowledged_bytes"] > 0 for entry in gateway.request(
        "GET", "/api/streams?limit=10000").json()["streams"])
    os.kill(child, signal.SIGCONT)
    publish(1)
    commands.send(publisher.published)
    result = json.loads(answers.recv())
    os.waitpid(child, 0)
    result |= {"published": publisher.published, "blocked": blocked, "stats": gateway.stats()}
    with contextlib.redirect_stderr(io.StringIO()):
        gateway.finish()
    return result


def parse(arguments):
    parser = crowd.parser_of(__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--stop", type=float, default=20, help="seconds (20)")
    parser.add_argument("--stall-timeout", type=int, default=30, help="seconds (30)")
    parser.add_argument("--rate", type=float, default=20, help="events a second (20)")
    parser.add_argument("--size", type=int, default=1024, help="of their data (1024)")
    return crowd.parse(parser, arguments)


def faults_of(options, result):
    stats = result["stats"]
    if result["whole"] != options.clients or result["ended"] or result["wrong"]:
        yield (f"{result['whole']} of {options.clients} have everything, {result['ended']} ended,"
               f" {result['wrong']}")
    if stats["streams_stalled"] or stats["streams_vanished"] or stats["resets"]:
        yield f"{stats['streams_stalled']} stalled, {stats['streams_vanished']} vanished," \
              f" {stats['resets']} resets"
    if result["blocked"] != options.clients:
        yield f"only {result['blocked']} had something outstanding: that was no test"


def main(arguments=None):
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="bugle-stopped-") as folder:
        result = run(options, pathlib.Path(folder))
    print(f"{options.clients} clients stopped for {options.stop} s of {options.stall_timeout},"
          f" {result['blocked']} with something outstanding;"
          f" {result['stats']['streams_stalled'] + result['stats']['streams_vanished']} evicted;"
          f" {result['whole']} have all {result['published']} events,"
          f" {result['deliveries']} deliveries checked")
    return crowd.verdict(faults_of(options, result))


if __name__ == "__main__":
    sys.exit(main())
