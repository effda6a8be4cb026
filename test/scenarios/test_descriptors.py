# SPDX-License-Identifier: MIT
"""More connections than descriptors: the program of test/load, for some seconds.
`make descriptortest` runs it at length."""

import contextlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

import wire
from conftest import program_path

PROGRAM = pathlib.Path(__file__).resolve().parent.parent / "load" / "descriptors.py"
RUN_SECONDS = 100


@pytest.mark.parametrize("kind", ["silent", "half", "resting", "streams"])
def test_publishing_goes_on_without_descriptors(kind):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--kinds", kind, "--seconds", "1.5", "--no-figures",
         "--connects", str(wire.fewer(1000, 400))],
        env=dict(os.environ, BUGLE=program_path()), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=wire.seconds(RUN_SECONDS), check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-10000:]


def test_who_rests_longest_makes_room(gateway_factory):
    """A publisher that keeps its connection has it closed only after all who rest longer, and
    those that are in the middle of a request keep theirs."""
    gateway = gateway_factory(nofile=100, workers=1)
    with contextlib.ExitStack() as stack:
        begun = stack.enter_context(gateway.raw())
        begun.send(gateway.request_bytes(
            "POST", "/api/push?topic=a", [("Content-Type", "text/plain")], b"data")[:-2])
        wire.wait_until(lambda: gateway.stat("requests") > 0, 5, "its head is there")
        resting = []
        while gateway.stat("connections_crowded_out") < 3:
            resting.append(stack.enter_context(gateway.raw()))
            with contextlib.suppress(ConnectionError):
                resting[-1].send(gateway.request_bytes("GET", "/healthz"))
                assert resting[-1].read_response().status == 200
            assert len(resting) < 100
        for each in resting[:2]:
            assert each.receive() == b""
        begun.send(b"ta")
        assert begun.read_response().status == 201
    assert gateway.stat("connections_shed") == 0


def test_all_streams_that_fit_leave_room_for_publishers(gateway_factory):
    """With as many streams as there may be, several publishers come at a time and none is turned
    away, nor anybody for them: what cells need is set aside, not taken from the clients."""
    gateway = gateway_factory(nofile=160)
    most = int(re.search(r"up to ([0-9]+) streams", gateway.log())[1])
    streams = gateway.stream_many([{"topic": "a"}] * most)
    with contextlib.ExitStack() as stack:
        publishers = []
        for _ in range(8):
            publishers.append(stack.enter_context(gateway.raw()))
            publishers[-1].send(gateway.request_bytes(
                "POST", "/api/push?topic=a", [("Content-Type", "text/plain")], b"data"))
        for each in publishers:
            assert each.read_response().status == 201
    for _ in publishers:
        assert streams[-1].next_event().data == "data"
    assert "out of descriptors" not in gateway.log()
    assert gateway.stat("connections_shed") == 0


def test_a_crowd_does_not_grow_the_table_of_descriptors(gateway_factory):
    """The kernel doubles it while others wait in accept(), so it has its size from the start."""
    gateway = gateway_factory(nofile=10000)
    status = pathlib.Path(f"/proc/{gateway.pid}/status").read_text()
    assert int(re.search(r"^FDSize:\s+([0-9]+)$", status, re.MULTILINE)[1]) >= 10000
