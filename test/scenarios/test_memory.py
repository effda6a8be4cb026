# SPDX-License-Identifier: MIT
"""limits.memory holds, and every allocation may fail: the programs of test/load, each for some
seconds, and what a gateway says about its limit.  `make memorytest` runs them at length."""

import os
import pathlib
import subprocess
import sys

import pytest

import wire
from conftest import program_path

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "load"
RUN_SECONDS = 110
MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    wire.SLOW > 1, reason="a sanitizer has memory and an allocator of its own")


def assert_passes(name, **options):
    """Its exit status must be 0, and what it printed is the reason why not."""
    command = [sys.executable, str(FOLDER / f"{name}.py")]
    for option, value in options.items():
        command += ["--" + option.replace("_", "-"), str(value)]
    done = subprocess.run(
        command, env=dict(os.environ, BUGLE=program_path()), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=RUN_SECONDS, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-10000:]
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("store", ["sqlite:FOLDER/h.db", "memory:"], ids=["sqlite", "memory"])
def test_memory_stays_below_its_limit(store):
    """Streams that stall inside large events, replays, and slow bodies, beside healthy streams."""
    said = assert_passes("memory", limit=64, clients=600, events=300, event_ms=5, replays=150,
                         bodies=200, seconds=3, healthy=8, store=store)
    # which of the two it takes depends on who is quicker, those who publish or those who stall
    assert ("streams_evicted_memory 0" not in said or
            "publishes_refused_memory 0" not in said), "memory was never short: no test"
    assert "publishes_refused_memory 0" not in said, "no body had to be refused: no test"


@pytest.mark.parametrize("store", ["sqlite", "memory"])
def test_a_failed_allocation_harms_nobody_else(store):
    assert_passes("malloc", allocations=12, store=store)


def test_the_limit_is_told(gateway_factory):
    stats = gateway_factory(settings={"limits.memory": "100M"}).stats()
    assert stats["memory_limit"] == 100 * MIB
    # a quarter for each of ring and store is set aside
    assert 50 * MIB <= stats["memory_used"] < 90 * MIB
    assert 0 < stats["memory_resident"] < stats["memory_used"]


def test_what_cannot_fit_is_refused_at_the_start(bugle):
    result = bugle("serve", "--store", "memory:", "--set", "limits.memory=128M",
                   "--set", "history.max_bytes=80M")
    assert result.returncode == 1
    assert result.stderr.strip().endswith(
        "stream.ring_bytes is 32M and history.max_bytes, in memory, 80M: expected together at most "
        "96M, since limits.memory is 128M"), result.stderr
