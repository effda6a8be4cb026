#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Clients that vanish without a word, as a phone in a tunnel does.

They live in a network of their own, a namespace with a cable (veth) to that of the gateway.  At
some moment the hardware address of their end changes: from then on whatever is sent to them is
lost, and nothing tells the sender.  All must be gone within the heartbeat and the time without an
answer, counted as vanished, and the gateway must have its descriptors back.

Needs ip(8) and the right to make namespaces: root, or user namespaces.
"""

import contextlib
import ctypes
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]

import crowd  # noqa: E402
from conftest import Gateway, free_port  # noqa: E402
from stopped import Pipe  # noqa: E402

INSIDE = "BUGLE_LOAD_INSIDE"
CLONE_NEWNET = 0x40000000
OURS, THEIRS = "10.99.0.1", "10.99.0.2"
MAC, OTHER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:03"
TOO_LATE = 2


def enter_namespace():
    """Run this program again in a network of its own, so that it can lay cables."""
    if os.environ.get(INSIDE):
        return
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", *user, sys.executable, *sys.argv])


def ip(words):
    subprocess.run(["ip", *words.split()], check=True)


def unshare_network():
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def live(options, port, commands, answers):
    """The clients' side.  Those of `busy` get events, the others only heartbeats."""
    unshare_network()
    answers.send("alone")
    commands.recv()  # the cable is there
    ip("link set lo up")
    ip(f"link set theirs address {MAC}")
    ip(f"addr add {THEIRS}/24 dev theirs")
    ip("link set theirs up")
    answers.send("connected")
    commands.recv()  # the gateway is there
    clients = crowd.Crowd()
    everybody = []
    for i in range(options.clients):
        everybody.append(crowd.Client((OURS, port), "busy" if i % 2 else "quiet"))
        clients.add(everybody[-1])
    clients.greet(everybody)
    answers.send("ready")
    while not commands.poll():
        clients.turn()
    commands.recv()
    ip(f"link set theirs address {OTHER_MAC}")
    answers.send("vanished")
    commands.recv()  # all is over: only now may the sockets close


def lay_cable(child):
    ip("link set lo up")
    ip("link add ours type veth peer name theirs")
    ip(f"link set theirs netns {child}")
    ip(f"addr add {OURS}/24 dev ours")
    ip("link set ours up")
    ip(f"neigh replace {THEIRS} lladdr {MAC} dev ours nud permanent")


def watch(options, gateway, publisher, begun, rows):
    """Note how many are gone, until all are or it takes too long."""
    until = begun + options.heartbeat + options.vanish_timeout + TOO_LATE + options.slack + 5
    while time.monotonic() < until:
        publisher.tick()
        stats = gateway.stats()
        rows.append((time.monotonic() - begun, stats["streams_vanished"], stats["streams_open"]))
        if stats["streams_open"] == 0:
            break
        time.sleep(0.1)


def run(options, folder):
    port = free_port()
    settings = {"stream.vanish_timeout": f"{options.vanish_timeout}s",
                "stream.heartbeat": f"{options.heartbeat}s", "auth.mode": "none"}
    commands, answers = Pipe(), Pipe()
    child = os.fork()
    if child == 0:
        try:
            live(options, port, commands, answers)
        finally:
            os._exit(0)
    assert answers.recv() == "alone"
    lay_cable(child)
    commands.send("laid")
    assert answers.recv() == "connected"
    gateway = Gateway(folder, settings, workers=1, store="memory:", listen=[f"{OURS}:{port}"])
    gateway.start()
    before = gateway.sockets()
    commands.send("go")
    assert answers.recv() == "ready"
    publisher = crowd.Publisher(gateway, "busy", options.rate, 100)
    idle_until = time.monotonic() + options.idle
    while time.monotonic() < idle_until:
        publisher.tick()
        time.sleep(0.02)
    rows = []
    begun = time.monotonic()
    commands.send("vanish")
    assert answers.recv() == "vanished"
    watch(options, gateway, publisher, begun, rows)
    result = {"rows": rows, "stats": gateway.stats(), "cpu": gateway.cpu_seconds(),
              "whys": {entry["why"] for entry in gateway.request(
                  "GET", "/api/evictions?limit=10000").json()["evictions"]},
              "left": gateway.sockets() - before}
    commands.send("over")
    os.waitpid(child, 0)
    with contextlib.redirect_stderr(io.StringIO()):
        gateway.finish()
    return result


def faults_of(options, result):
    stats = result["stats"]
    last = result["rows"][-1][0]
    if stats["streams_vanished"] != options.clients or stats["streams_open"]:
        yield (f"{stats['streams_vanished']} of {options.clients} counted as vanished,"
               f" {stats['streams_stalled']} as stalled, {stats['streams_left']} as left,"
               f" {stats['streams_open']} still open")
    if last > options.heartbeat + options.vanish_timeout + TOO_LATE + options.slack:
        yield f"it took {last:.1f} s"
    first = min((at for at, vanished, _ in result["rows"] if vanished), default=last)
    if first < options.vanish_timeout - 0.5:
        yield f"the first went after {first:.1f} s"
    if result["left"] > 0:
        yield f"{result['left']} sockets are still open"
    if result["whys"] - {"vanished"}:
        yield f"reasons that are listed: {result['whys']}"


def parse(arguments):
    parser = crowd.parser_of(__doc__)
    parser.add_argument("--clients", type=int, default=10000)
    parser.add_argument("--heartbeat", type=int, default=15, help="seconds (15)")
    parser.add_argument("--vanish-timeout", type=int, default=18, help="seconds (18)")
    parser.add_argument("--idle", type=float, default=5, help="seconds before they vanish (5)")
    parser.add_argument("--rate", type=float, default=2, help="events a second for half of them")
    parser.add_argument("--slack", type=float, default=0, help="seconds it may come later (0)")
    return crowd.parse(parser, arguments)


def main(arguments=None):
    options = parse(arguments)
    enter_namespace()
    with tempfile.TemporaryDirectory(prefix="bugle-vanished-") as folder:
        result = run(options, pathlib.Path(folder))
    rows = result["rows"]
    first = min((at for at, vanished, _ in rows if vanished), default=0)
    print(f"{options.clients} clients vanished: the first was gone after {first:.1f} s, the last"
          f" after {rows[-1][0]:.1f} s; {result['stats']['streams_vanished']} counted as vanished,"
          f" {result['left']} sockets left over")
    return crowd.verdict(faults_of(options, result))


if __name__ == "__main__":
    sys.exit(main())
