#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Test the tests: build the program with faults in it, one at a time, and see which tests notice.

    make faulttest FAULT_ARGS='--jobs 2 ack-before-commit border-gap'
    make faulttest FAULT_ARGS='--changed main'

Each fault is a patch in this folder; the lines above it say what is wrong then and which tests are
to find it: a unit program, a file of scenario tests, or a program of test/crash, with arguments.
The tests run without a fault first, and must be green.  A fault that no test finds, a patch that
does not apply any more, and a test that is not there make this fail.
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
import threading
import time
from concurrent import futures

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
TEST_SECONDS = 600
CONFIGURE = ["--enable-werror"]


class Fault:
    def __init__(self, path):
        self.path = path
        self.name = path.stem
        text = path.read_text()
        head = text.partition("--- ")[0]
        self.says = re.search(r"^Fault: (.+)$", head, re.MULTILINE)[1]
        self.tests = re.findall(r"^Test: (.+)$", head, re.MULTILINE)
        self.files = {str(path.relative_to(SOURCE)),
                      *re.findall(r"^\+\+\+ b/(\S+)", text, re.MULTILINE),
                      *(str(source_of(test).relative_to(SOURCE)) for test in self.tests)}


def source_of(test):
    """The file of a test in the tree."""
    name = shlex.split(test)[0]
    if is_unit(test):
        found = list(SOURCE.glob(f"test/**/{name}.c"))
    else:
        folder = "scenarios" if name.startswith("test_") else "crash"
        found = list(SOURCE.glob(f"test/{folder}/{name}"))
    if len(found) != 1:
        raise SystemExit(f"a fault names the test {name}, which is not there")
    return found[0]


class Workshop:
    """A copy of the sources and a build of it, for one thread."""

    def __init__(self, folder, number=0, first=None):
        """The folder is to be made; from the first workshop if there is one."""
        self.source = folder / "source"
        self.build = folder / "build"
        self.number = number
        self.make_jobs = 1
        if first:
            shutil.copytree(first.source.parent, folder, symlinks=True)
            return
        self.build.mkdir(parents=True)
        shutil.copytree(SOURCE, self.source, ignore=self._ignored)
        if not (self.source / "configure").exists():
            self._must(["autoreconf", "--install", "../source"])
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
        self._must(["make", "-s", f"-j{self.make_jobs}", "bugle", *units])

    @staticmethod
    def _unit(test):
        """The program of a unit test, which stands in the folder of what it tests."""
        return str(source_of(test).relative_to(SOURCE).with_suffix(""))

    def run(self, test):
        """Whether it is green, and what it said.  Red is what is red twice: a machine that is busy
        with other things makes some tests fail now and then."""
        green, said = self._run(test)
        return (green, said) if green else self._run(test)

    def _run(self, test):
        words = shlex.split(test)
        folder = self.source / "test"
        if is_unit(test):
            command = [str(self.build / self._unit(test)), *words[1:]]
        elif words[0].startswith("test_"):
            command = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x",
                       str(folder / "scenarios" / words[0]), *words[1:]]
        else:
            command = ["/usr/bin/python3", str(folder / "crash" / words[0]), *words[1:]]
        env = dict(os.environ, BUGLE=str(self.build / "bugle"), PYTHONDONTWRITEBYTECODE="1",
                   BUGLE_TEST_PORTS=str(self.number), srcdir=str(self.source))
        try:
            done = subprocess.run(command, cwd=self.build, env=env, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  errors="replace", timeout=TEST_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return False, "took too long"
        return done.returncode == 0, done.stdout


def is_unit(test):
    return test.startswith("test_") and ".py" not in test


TELLING = threading.Lock()


def tell(*lines):
    with TELLING:
        print(*lines, sep="\n", flush=True)


class Run:
    """The faults of one call, spread over workshops."""

    def __init__(self, folder, jobs):
        self.shops = [Workshop(folder / "0")]
        self.folder = folder
        self.jobs = jobs
        self.red = set()  # without any fault, so that they say nothing

    def each(self, work, items):
        """work(shop, item) for every item, each shop one at a time; what they return, in order."""
        free = list(self.shops)

        def one(item):
            shop = free.pop()
            try:
                return work(shop, item)
            finally:
                free.append(shop)

        with futures.ThreadPoolExecutor(len(self.shops)) as pool:
            return list(pool.map(one, items))

    def control(self, faults):
        """Without a fault all is green, or being red says nothing."""
        tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
        first = self.shops[0]
        first.make_jobs = os.cpu_count()
        first.make(tests)
        first.make_jobs = max(1, os.cpu_count() // self.jobs)
        for number in range(1, self.jobs):
            self.shops.append(Workshop(self.folder / str(number), number, first))
            self.shops[-1].make_jobs = first.make_jobs
        self.each(self._try_control, tests)

    def _try_control(self, shop, test):
        green, said = shop.run(test)
        tell(f"control  {'green' if green else 'RED'} {test}", *([] if green else [said[-5000:]]))
        if not green:
            self.red.add(test)

    def try_fault(self, shop, fault):
        """Whether a test found it; says which."""
        tests = [test for test in fault.tests if test not in self.red]
        red = []
        try:
            shop.patch(fault)
            try:
                shop.make(tests)
                red = [test for test in tests if not shop.run(test)[0]]
            finally:
                shop.patch(fault, back=True)
        except RuntimeError as failure:
            tell(f"FAILED   {fault.name}: {failure}")
            return False
        tell(f"{'found   ' if red else 'SURVIVED'} {fault.name}: {fault.says}",
             *(f"             {'red  ' if test in red else 'green'} {test}" for test in tests))
        return bool(red)


def changed_since(base):
    """The files that differ from a commit, those that are not committed too."""
    command = ["git", "-C", str(SOURCE), "diff", "--name-only", "--merge-base", base]
    return set(subprocess.run(command, capture_output=True, text=True,
                              check=True).stdout.splitlines())


def chosen(options):
    faults = [Fault(path) for path in sorted(HERE.glob("*.patch"))
              if not options.names or path.stem in options.names]
    if options.changed:
        changed = changed_since(options.changed)
        faults = [fault for fault in faults if fault.files & changed]
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="FAULT", help="only these (all)")
    parser.add_argument("--changed", metavar="COMMIT",
                        help="only those whose sources or tests differ from this commit")
    parser.add_argument("--jobs", type=int, default=1, help="builds at a time (1)")
    parser.add_argument("--list", action="store_true", help="name them and end")
    options = parser.parse_args()
    faults = chosen(options)
    unknown = set(options.names) - {path.stem for path in HERE.glob("*.patch")}
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    if options.list:
        for fault in faults:
            print(f"{fault.name}: {fault.says}")
        return 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bugle-faults-") as folder:
        run = Run(pathlib.Path(folder), options.jobs)
        run.control(faults)
        found = run.each(run.try_fault, faults)
    survived = [fault.name for fault, good in zip(faults, found) if not good]
    print(f"{len(faults)} faults, {len(faults) - len(survived)} found,"
          f" {time.monotonic() - begun:.0f} s; survived: {', '.join(survived) or 'none'}")
    if run.red:
        print(f"red without a fault, so not counted: {', '.join(sorted(run.red))}")
    return 1 if survived or run.red else 0


if __name__ == "__main__":
    sys.exit(main())
