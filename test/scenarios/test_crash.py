# SPDX-License-Identifier: MIT
"""The durable store under crashes, errors of the disk and damage: the programs of test/crash, each
for some seconds.  `make crashtest` and `make resumetest` run them at length."""

import os
import pathlib
import subprocess
import sys

import pytest

import wire
from conftest import program_path

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "crash"
RUN_SECONDS = 110


def assert_passes(name, **options):
    """Its exit status must be 0, and what it printed is the reason why not."""
    command = [sys.executable, str(FOLDER / f"{name}.py")]
    for option, value in options.items():
        command += ["--" + option.replace("_", "-"), *([] if value is True else [str(value)])]
    done = subprocess.run(
        command, env=dict(os.environ, BUGLE=program_path()), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=wire.seconds(RUN_SECONDS), check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-10000:]
    return done.stdout


@pytest.mark.long
def test_nothing_acknowledged_is_lost_when_the_gateway_is_killed():
    """`kill -9` under load, again and again, with clients of three kinds that come again."""
    slow = {"no_browser": True, "pause_ms": 200} if wire.SLOW > 1 else {}
    said = assert_passes("crash", cycles=wire.fewer(20, 4) if wire.SLOW == 1 else 6,
                         subscribers=wire.fewer(120, 40), **slow)
    assert "0 lost, 0 doubled, 0 reordered, 0 invented, 0 reset, 0 refused" in said


@pytest.mark.long
def test_errors_of_the_disk_are_never_acknowledged():
    said = assert_passes("disk", syncs=wire.fewer(6, 4), full=wire.fewer(2))
    if "not run" in said:
        pytest.skip(said.strip())


def test_streams_that_begin_anywhere_have_no_gaps():
    assert_passes("resume", reconnects=wire.fewer(1000, 300))


def test_damage_anywhere_in_the_file_is_told():
    assert_passes("damage", flips=wire.fewer(20, 8))
