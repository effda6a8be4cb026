#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Test the tests: build the program with faults in it, one at a time, and see which tests notice.

    make faulttest FAULT_ARGS='ack-before-commit border-gap'

Each fault is a patch in this folder; the lines above it say what is wrong then and which tests are
to find it: a unit program, a file of scenario tests, or a program of test/crash, with arguments.
The tests run without a fault first, and must be green.  A fault that no test finds, and a patch
that does not apply any more, make this fail.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
TEST_SECONDS = 600
CONFIGURE = ["--enable-werror"]


class Fault:
    def __init__(self, path):
        self.path = path
        self.name = path.stem
        head = path.read_text().partition("--- ")[0]
        self.says = re.search(r"^Fault: (.+)$", head, re.MULTILINE)[1]
        self.tests = re.findall(r"^Test: (.+)$", head, re.MULTILINE)


class Workshop:
    """A copy of the sources and a build of it."""

    def __init__(self, folder, jobs):
        self.source = folder / "source"
        self.build = folder / "build"
        self.jobs = jobs
        self.build.mkdir()
        shutil.copytree(SOURCE, self.source, ignore=self._ignored)
        self._must(["../source/configure", "-q", *CONFIGURE])

    @staticmethod
    def _ignored(folder, names):
        """What git does not know and a build does not need."""
        if pathlib.Path(folder) != SOURCE:
            return [name for name in names if name == "__pycache__"]
        return [name for name in names if name in (".git", "autom4te.cache", "build")
                or (name.startswith("build-") and name != "build-aux")]

    def _must(self, command):
        done = subprocess.run(command, cwd=self.build, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)}:\n{done.stdout[-2000:]}"
                               f"{done.stderr[-4000:]}")

    def patch(self, fault, back=False):
        command = ["patch", "-p1", "-s", "-d", str(self.source), "-i", str(fault.path), "-r", "-",
                   "--no-backup-if-mismatch", *(["-R"] if back else ["-N"])]
        self._must(command)

    def make(self, tests):
        units = [self._unit(test) for test in tests if is_unit(test)]
        self._must(["make", "-s", f"-j{self.jobs}", "bugle", *units])

    def _unit(self, test):
        """The program of a unit test, which stands in the folder of what it tests."""
        source = next(self.source.glob(f"test/**/{test}.c"))
        return str(source.relative_to(self.source).with_suffix(""))

    def run(self, test):
        """Whether it is green, and what it said.  Red is what is red twice: a machine that is busy
        with other things makes some tests fail now and then."""
        green, said = self._run(test)
        return (green, said) if green else self._run(test)

    def _run(self, test):
        words = shlex.split(test)
        folder = self.source / "test"
        if is_unit(test):
            command = [str(self.build / self._unit(words[0]))]
        elif words[0].startswith("test_"):
            command = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x",
                       str(folder / "scenarios" / words[0]), *words[1:]]
        else:
            command = ["/usr/bin/python3", str(folder / "crash" / words[0]), *words[1:]]
        env = dict(os.environ, BUGLE=str(self.build / "bugle"), PYTHONDONTWRITEBYTECODE="1")
        try:
            done = subprocess.run(command, cwd=self.build, env=env, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  errors="replace", timeout=TEST_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return False, "took too long"
        return done.returncode == 0, done.stdout


def is_unit(test):
    return test.startswith("test_") and ".py" not in test


def try_fault(shop, fault):
    """Whether a test found it; says which."""
    shop.patch(fault)
    try:
        shop.make(fault.tests)
        red = [test for test in fault.tests if not shop.run(test)[0]]
    finally:
        shop.patch(fault, back=True)
    print(f"{'found   ' if red else 'SURVIVED'} {fault.name}: {fault.says}", flush=True)
    for test in fault.tests:
        print(f"             {'red  ' if test in red else 'green'} {test}", flush=True)
    return bool(red)


def control(shop, faults):
    """Without a fault all is green, or being red says nothing."""
    tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    shop.make(tests)
    for test in tests:
        green, said = shop.run(test)
        print(f"control  {'green' if green else 'RED'} {test}", flush=True)
        if not green:
            print(said[-5000:])
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="FAULT", help="only these (all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="of make")
    parser.add_argument("--list", action="store_true", help="name them and end")
    options = parser.parse_args()
    faults = [Fault(path) for path in sorted(HERE.glob("*.patch"))
              if not options.names or path.stem in options.names]
    if options.list:
        for fault in faults:
            print(f"{fault.name}: {fault.says}")
        return 0
    if not faults:
        parser.error("no such fault")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bugle-faults-") as folder:
        shop = Workshop(pathlib.Path(folder), options.jobs)
        if not control(shop, faults):
            return 1
        survived = []
        for fault in faults:
            try:
                found = try_fault(shop, fault)
            except RuntimeError as failure:
                print(f"FAILED   {fault.name}: {failure}", flush=True)
                found = False
            if not found:
                survived.append(fault.name)
    print(f"{len(faults)} faults, {len(faults) - len(survived)} found,"
          f" {time.monotonic() - begun:.0f} s; survived: {', '.join(survived) or 'none'}")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
