# SPDX-License-Identifier: MIT
"""What the load shows share: the gateway on one core and the load on another, and the programs that
make the load.  `make check-scenarios` and the targets of the shows build those."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / each) for each in ("scenarios", "support"))]

import wire  # noqa: E402, F401
from conftest import Gateway, program_env, program_path  # noqa: E402

CORES = sorted(os.sched_getaffinity(0))


def on_core(index):
    """A prefix that keeps a command on one core, where there are two."""
    return ["taskset", "-c", str(CORES[index])] if len(CORES) > 1 else []


def load_program(name):
    path = pathlib.Path(program_path()).parent / "test" / "load" / name
    assert path.exists(), f"{path} is not built: make check-scenarios builds it"
    return str(path)


def build_shim(folder):
    """A disk that is slow by as much as SLOW_SHIM_US says."""
    path = folder / "slow_shim.so"
    command = [os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", str(path),
               str(HERE.parent / "support" / "slow_shim.c")]
    subprocess.run(command, check=True)
    return path


def gateway(folder, pinned=True, **options):
    """Not started yet; one worker unless told otherwise."""
    # the tests of one thing have no bound on what waits; here it is what is tested
    options["settings"] = {"limits.queue_wait": None, **(options.get("settings") or {})}
    made = Gateway(folder, **{"workers": 1, **options})
    if pinned:
        made.command = [*on_core(0), *made.command]
    return made


@contextlib.contextmanager
def running(folder, **options):
    made = gateway(folder, **options).start()
    try:
        yield made
    finally:
        with contextlib.redirect_stderr(open(os.devnull, "w")):
            made.finish()


def start(program, *args, pinned=True, **options):
    return subprocess.Popen([*(on_core(1) if pinned else []), program, *map(str, args)],
                            env=program_env(), text=True, stdout=subprocess.PIPE, **options)


def result_of(process, seconds=120):
    """The JSON that a load program ends with."""
    said, _ = process.communicate(timeout=seconds)
    return json.loads(said[said.index("{"):])


def flood(gateway, connections=64, rate=0, seconds=5, events=100, size=100, topic="flood", **how):
    return start(load_program("flood"), gateway.port, connections, rate, seconds, events, size,
                 topic, **how)


def bench(gateway, topic, streams=10, rate=50, seconds=5, connections=4, **how):
    """`bugle bench` with so many streams on the topics that the text makes of {topic}."""
    body = '{"topic":"%s","data":"{data}"}' % topic
    options = how.pop("options", [])
    return start(program_path(), "bench", "--json", "--streams", streams, "--rate", rate,
                 "--seconds", seconds, "--connections", connections, "--publish-body", body,
                 "--stream-url", f"{gateway.url}/events?topic={topic}",
                 "--publish-url", f"{gateway.url}/api/push", *options, **how)


def listen_overflows():
    """How often the kernel had no room for a connection that was made (of this namespace)."""
    lines = pathlib.Path("/proc/net/netstat").read_text().splitlines()
    names, values = next((a, b) for a, b in zip(lines, lines[1:])
                         if a.startswith("TcpExt:") and "ListenOverflows" in a)
    found = dict(zip(names.split()[1:], map(int, values.split()[1:])))
    return found["ListenOverflows"], found["ListenDrops"]
