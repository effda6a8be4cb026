# SPDX-License-Identifier: MIT
"""Several gateways at one log while something fails: the scenarios of test/cluster/failures.py, a
round or two of each.  `make clustertest` runs them at length."""

import os
import pathlib
import subprocess
import sys

import pytest

import wire
from conftest import program_path

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "cluster"
RUN_SECONDS = 100
SKIPPED = 77
ROUNDS = {"node_kill": 2, "node_stop": 2, "handover": 1, "redis_kill": 3, "stale": 2, "split": 2,
          "there_and_back": 2, "aof_tail": 2, "flushall": 2, "mixed": 1, "mixed_pasts": 1}
ONCE = ["alone", "four_nodes", "cut", "deaf", "unplug", "trim_slow", "redis_down", "redis_stop",
        "busy", "no_replicas", "out_of_memory", "disk_full_always", "disk_full_everysec"]


@pytest.mark.long
def test_one_history_through_failover_one():
    run_through("failover_one")


@pytest.mark.parametrize("name", [*ROUNDS, *ONCE])
def test_one_history_through(name):
    run_through(name)


def run_through(name):
    command = [sys.executable, str(FOLDER / "failures.py"), "--short", "--counts",
               f"{name}={ROUNDS.get(name, 1)}"]
    done = subprocess.run(command, env=dict(os.environ, BUGLE=program_path()),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=wire.seconds(RUN_SECONDS), check=False)
    print(done.stdout)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout[-20000:]
