#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Errors of the disk under the real program, injected into its system calls with strace.

A sync that fails: nothing is acknowledged any more until a restart, though every later sync goes
well; streams and replay go on; what was acknowledged is there afterwards.  A disk that is full for
a while: refused with 507, and publishing resumes by itself.
"""

import argparse
import contextlib
import io
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / each) for each in ("scenarios", "support"))]

from conftest import Gateway  # noqa: E402

BIG = 50_000  # bytes of data, so that a few events make a checkpoint due
TRIES_MAX = 400
LEAKS_OFF = {"ASAN_OPTIONS": "detect_leaks=0"}  # looking for them does not work while traced


def why_not():
    """The reason why calls cannot be made to fail here, or None."""
    if not shutil.which("strace"):
        return "strace is not installed"
    probe = subprocess.run([*strace("fsync:error=EIO:when=1"), "true"], capture_output=True,
                           text=True, check=False)
    return f"strace cannot inject: {probe.stderr.strip()}" if probe.returncode else None


def strace(*injections):
    """The program stays the direct child, the tracer stands aside."""
    command = ["strace", "-D", "-f", "-qq", "-o", "/dev/null"]
    for injection in injections:
        calls = injection.partition(":")[0]
        command += ["-e", f"trace={calls}", "-e", f"inject={injection}"]
    return command


class Round:
    """A gateway on one store, with and without errors, and what it acknowledged."""

    def __init__(self, folder, size):
        self.gateway = Gateway(folder, {"history.max_bytes": "1G"}, env=LEAKS_OFF,
                               store=f"sqlite:{folder}/h.db")
        self.plain = self.gateway.command
        self.fill = "x" * size
        self.sent = 0
        self.acknowledged = []  # (id, number)
        self.gateway.start()
        self.publish(5)
        self.gateway.stop()

    def start_with(self, *injections):
        self.gateway.command = [*strace(*injections), *self.plain]
        self.gateway.start()

    def start_plain(self):
        self.gateway.command = self.plain
        self.gateway.start()

    def publish(self, count=None):
        """One request; the answer.  Its events count if they were acknowledged."""
        count = count or random.choice([1, 1, 3])
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        response = self.gateway.post([{"topic": "a", "data": f"{number} {self.fill}"}
                                      for number in numbers])
        if response.status == 201:
            self.acknowledged += zip(response.json()["ids"], numbers)
        return response

    def came(self, stream, count):
        """So many events of a stream, their ids and numbers."""
        events = stream.events(count)
        assert all(event.data.partition(" ")[2] == self.fill for event in events)
        return [(event.id, int(event.data.split(" ")[0])) for event in events]

    def check_streams(self, live):
        """Whoever listens has all that was acknowledged and nothing else; so has a replay."""
        self.gateway.push({"topic": "a", "data": "light", "ephemeral": True})
        new = self.came(live, len(self.acknowledged) - self.seen)
        assert new == self.acknowledged[self.seen:]
        self.seen = len(self.acknowledged)
        assert live.next_event().data == "light", "an event that was refused came all the same"
        with contextlib.closing(self.gateway.stream("a", since="earliest")) as replay:
            assert self.came(replay, len(self.acknowledged)) == self.acknowledged

    def open_live(self):
        self.seen = len(self.acknowledged)
        return self.gateway.stream("a")

    def check_restart(self):
        """All that was acknowledged is there, what was refused at most once and in its order."""
        self.start_plain()
        end = self.gateway.push({"topic": "a", "data": "end"})["id"]
        with contextlib.closing(self.gateway.stream("a", since="earliest")) as replay:
            found = []
            while (event := replay.next_event()).id != end:
                assert event.name == "message", event
                found.append((event.id, int(event.data.split(" ")[0])))
        ids, numbers = [id for id, _ in found], [number for _, number in found]
        assert ids == sorted(set(ids)) and numbers == sorted(set(numbers))
        lost = set(self.acknowledged) - set(found)
        assert not lost, f"lost: {sorted(lost)}"
        assert all(0 <= number < self.sent for number in numbers)
        self.gateway.stop()

    def close(self):
        with contextlib.redirect_stderr(io.StringIO()):
            self.gateway.finish()


def fail_a_sync(folder, nth, size, stop):
    """The nth sync from here on fails, all others go well.  Whether that happened."""
    round_ = Round(folder, size)
    with contextlib.closing(round_), contextlib.ExitStack() as stack:
        try:
            round_.start_with(f"fdatasync,fsync:error=EIO:when={nth}")
        except AssertionError:  # the start tries a commit, and says so when that fails
            assert "cannot be written: disk I/O error" in round_.gateway.log()
            round_.check_restart()
            return True
        live = stack.enter_context(contextlib.closing(round_.open_live()))
        for _ in range(nth + 20):
            response = round_.publish()
            if response.status != 201:
                break
        else:
            # a sync of the log's folder or of a checkpoint is not the hub's alone
            assert "publishing stops" not in round_.gateway.log()
            return False
        for _ in range(10):  # the disk is well again, and that changes nothing
            problem = response.problem(503)
            assert problem["code"] and response.head.get("Retry-After"), response
            response = round_.publish()
        assert response.status == 503
        assert round_.gateway.log().count("publishing stops") == 1
        round_.check_streams(live)
        round_.gateway.stop() if stop else round_.gateway.kill()
        round_.check_restart()
    return True


def fill_the_disk(folder, first, times, size):
    """From the `first` write on the disk is full, so many `times`.  How many were refused."""
    round_ = Round(folder, size)
    refused = 0
    with contextlib.closing(round_), contextlib.ExitStack() as stack:
        round_.start_with(f"pwrite64:error=ENOSPC:when={first}..{first + times - 1}")
        live = stack.enter_context(contextlib.closing(round_.open_live()))
        for _ in range(TRIES_MAX):
            response = round_.publish()
            if response.status == 201 and refused:
                break
            if response.status != 201:
                assert response.problem(507)["code"] == "disk_reserve", response
                assert response.head.get("Retry-After"), response
                refused += 1
                if refused == 1:
                    round_.check_streams(live)
        assert refused and response.status == 201, f"{refused} refused, then {response}"
        for _ in range(20):
            assert round_.publish().status == 201
        round_.check_streams(live)
        round_.gateway.kill()
        round_.check_restart()
    return refused


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--syncs", type=int, default=50, help="the last sync that fails (50)")
    parser.add_argument("--full", type=int, default=10, help="disks that are full (10)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--bugle", help="the program ($BUGLE)")
    options = parser.parse_args(arguments)
    if options.bugle:
        os.environ["BUGLE"] = options.bugle
    if reason := why_not():
        print(f"errors of the disk: not run, {reason}")
        return 0
    random.seed(options.seed)
    failed = happened = refused = 0
    for number in range(options.syncs + options.full):
        with tempfile.TemporaryDirectory(prefix="bugle-disk-") as folder:
            folder = pathlib.Path(folder)
            try:
                if number < options.syncs:
                    happened += fail_a_sync(folder, number + 1, [20, BIG][number % 2],
                                            number % 3 == 0)
                else:
                    refused += fill_the_disk(folder, 10 + random.randrange(200),
                                             1 + random.randrange(60), [20, BIG][number % 2])
            except AssertionError as failure:
                failed += 1
                print(f"round {number + 1}: {failure}")
    print(f"seed {options.seed}: {options.syncs} failed syncs, {happened} of them in a commit;"
          f" {options.full} full disks, {refused} requests refused meanwhile; {failed} failed")
    return 1 if failed or not happened else 0


if __name__ == "__main__":
    sys.exit(main())
