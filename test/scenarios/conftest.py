# SPDX-License-Identifier: MIT
"""The real program for each test: fixtures that start it on a free port, and what it must look
like when it stops.

BUGLE            path of the program (default: `bugle` in the folder above)
BUGLE_TEST_SLOW  factor for time limits and against sizes under a sanitizer (default: 1)
BUGLE_TEST_USERS users of test_one_of_many_users (default: 1000)
BUGLE_TEST_STORE store of gateways whose test names none: memory or sqlite (default: memory)
BUGLE_TEST_PORTS 0 to 3, which quarter of the ports is for a run beside others (default: 0)
"""

import collections
import contextlib
import json
import os
import pathlib
import random
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))

import wire  # noqa: E402

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
TEST_SECONDS = 120
STOP_SECONDS = 10
BROWSERS = 3
REPORTS = re.compile(
    r"ERROR: AddressSanitizer|WARNING: ThreadSanitizer|LeakSanitizer|runtime error:|Assertion"
)

# Ports below the range from which the kernel takes those of outgoing connections, a part of them
# for each process of a parallel run, and of runs beside each other.
PORTS = range(10000, 32000)


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "gateway(settings, workers, ...): arguments of gateway_factory for `gateway`"
    )
    config.addinivalue_line(
        "markers", "long: takes ten seconds, and once is enough: not with a sanitizer in CI")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # a shell ignores this signal in what it runs in the background, and programs inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """A parallel run ends sooner when the longest tests begin first and few of its processes start
    a browser."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if config.pluginmanager.hasplugin("xdist"):
        browsing = [item for item in items if "driver" in item.fixturenames]
        for i, item in enumerate(browsing):
            item.add_marker(pytest.mark.xdist_group(f"{item.module.__name__}-{i % BROWSERS}"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """No test may hang: an alarm ends it with a traceback.  A module may have its own time."""
    most = wire.seconds(getattr(item.module, "TEST_SECONDS", TEST_SECONDS))

    def ring(*_):
        raise AssertionError(f"{item.name} took more than {most} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, most)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def program_path():
    path = os.environ.get("BUGLE") or str(SOURCE / "bugle")
    if not os.access(path, os.X_OK):
        pytest.fail(f"no program at {path}: build it, or name it in BUGLE", pytrace=False)
    return str(pathlib.Path(path).resolve())


def program_env(env=None, home=None):
    """The environment without what would set options of the program, or send clients elsewhere.
    With `home`, what the program keeps is kept there, and never with whoever runs the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BUGLE") and not name.lower().endswith("_proxy")
        and name not in ("STATE_DIRECTORY", "XDG_STATE_HOME")
    }
    if home:
        kept["HOME"] = str(home)
    kept.update(env or {})
    return kept


def usual_store(folder):
    """The store of gateways whose test does not care."""
    name = os.environ.get("BUGLE_TEST_STORE") or "memory"
    return {"memory": "memory:", "sqlite": f"sqlite:{folder}/history.db"}[name]


def usual_durability():
    """And what it makes of an event, in the words of an answer."""
    return "memory" if usual_store("").startswith("memory") else "disk"


READY_LINE = " is ready: "
GIVEN = collections.deque(maxlen=100)  # so that who asks twice before listening gets two


def free_port(host="127.0.0.1"):
    worker = re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or "0"
    run = int(os.environ.get("BUGLE_TEST_PORTS") or "0")
    part = PORTS[int(worker) % 16 * 4 + run % 4::64]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in random.sample(part, len(part)):
        if port in GIVEN:
            continue
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            GIVEN.append(port)
            return port
    raise AssertionError("no free port")


def open_fifo(path):
    """Open it for writing once somebody reads it."""
    def try_it():
        with contextlib.suppress(OSError):
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    return open(wire.wait_until(try_it, 10, f"{path} is read"), "w")


class Gateway:
    """A running `bugle serve`, and the requests that tests make of it.  The folder is for it and
    its state alone.  A setting that is None is left to the program, and so is a store that is ""."""

    def __init__(self, folder, settings=None, workers=2, listen=None, env=None, www=None,
                 args=(), nofile=None, store=None):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.address = ("127.0.0.1", self.port)
        self.log_path = folder / "stderr"
        self.process = None
        self.streams = []
        self.lock = threading.Lock()
        self.control = None
        self.env = program_env(env, home=folder)
        chosen = {"drain.window": "1s", "limits.queue_wait": "0s",
                  "history.disk_reserve": "0", **(settings or {})}
        store = usual_store(folder) if store is None else store
        self.command = [program_path(), "serve"]
        for address in [f"127.0.0.1:{self.port}", *(listen or [])]:
            self.command += ["--listen", address]
        self.command += ["--workers", str(workers)]
        self.command += ["--store", store] if store else []
        self.command += ["--www", str(www or SOURCE / "www")]
        for name, value in chosen.items():
            self.command += ["--set", f"{name}={value}"] if value is not None else []
        self.command += list(args)
        if nofile:
            self.command = [shutil.which("prlimit"), f"--nofile={nofile}:{nofile}", *self.command]

    @property
    def pid(self):
        return self.process.pid

    def start(self, ready=True):
        """Start, on the same port as before, and wait until it is ready and has said so: what it
        writes at the start is in its log then."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        times = self.log().count(READY_LINE)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)
        if ready:
            wire.wait_until(self._is_ready, 10, f"GET /readyz is 200\n{self.log()}")
            self._wait_for_first_lines(times)
        return self

    def _wait_for_first_lines(self, times):
        """A thread writes them; with `log.level` above info there are none to wait for."""
        if "log.level=" not in " ".join(self.command) and not self.env.get("BUGLE_LOG_LEVEL"):
            wire.wait_until(lambda: self.log().count(READY_LINE) > times, 5, "it says so")

    def _is_ready(self):
        status = self.process.poll()
        assert status is None, f"the gateway left with {status}:\n{self.log()}"
        with contextlib.suppress(ConnectionError):
            return self.request("GET", "/readyz").status == 200

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, timeout=STOP_SECONDS):
        """The exit status, which must come in time."""
        try:
            return self.process.wait(wire.seconds(timeout))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there after {wire.seconds(timeout)} s") from None

    def stop(self):
        """SIGTERM; it must leave with 0 in time."""
        self._drop_control()
        self.signal()
        status = self.wait()
        assert status == 0, f"exit status {status}:\n{self.log()}"

    def kill(self):
        """Leave without a word, as at a power cut."""
        self._drop_control()
        self.process.kill()
        self.process.wait()
        self.process = None

    def finish(self):
        """The end of a test: stop, and look for what a sanitizer reported."""
        for stream in self.streams:
            stream.close()
        self._drop_control()
        try:
            if self.process and self.process.poll() is None:
                self.signal()
                self.wait()
        finally:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            print(self.log()[-20000:], file=sys.stderr)
        report = REPORTS.search(self.log())
        assert not report, f"{report[0]} in the log of the gateway:\n{self.log()[:20000]}"
        if self.process:
            assert self.process.returncode == 0, f"exit status {self.process.returncode}"

    def log(self):
        """What it wrote to its standard error so far."""
        with contextlib.suppress(FileNotFoundError):
            return self.log_path.read_text(errors="replace")
        return ""

    def wait_log(self, words, timeout=5):
        """Wait until it has written these words: its log is written beside what it does."""
        wire.wait_until(lambda: words in self.log(), timeout, f"the log has: {words}")

    # requests

    def raw(self, **options):
        """A connection of its own for exact bytes."""
        return wire.Wire(self.address, **options)

    def request(self, method, target, headers=(), body=None):
        """One request on a connection that is kept between calls; any thread."""
        with self.lock:
            connection = self._control()
            try:
                connection.send(self.request_bytes(method, target, headers, body))
                response = connection.read_response(method)
            except BaseException:
                self._drop_control()
                raise
            if "close" in response.head.words("Connection") or connection.end:
                self._drop_control()
            return response

    def request_once(self, method, target, headers=(), body=None):
        """One request on a connection of its own."""
        with self.raw() as connection:
            connection.send(self.request_bytes(method, target, headers, body))
            return connection.read_response(method)

    def request_bytes(self, method, target, headers=(), body=None):
        return wire.request_bytes(method, target, headers, body, host=f"127.0.0.1:{self.port}")

    def _control(self):
        if self.control and self._is_over(self.control):
            self._drop_control()
        if not self.control:
            self.control = self.raw()
        return self.control

    @staticmethod
    def _is_over(connection):
        connection.socket.setblocking(False)
        try:
            return connection.socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            connection.socket.settimeout(connection.timeout)

    def _drop_control(self):
        if self.control:
            self.control.close()
            self.control = None

    # publishing

    def post(self, body, content_type="application/json", query=(), headers=()):
        """POST /api/push; `body` is sent as it is if bytes, else as JSON.  Any answer."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        pairs = list(headers.items() if hasattr(headers, "items") else headers)
        if content_type:
            pairs.insert(0, ("Content-Type", content_type))
        return self.request("POST", wire.target_of("/api/push", query), pairs, body)

    def push(self, body, **options):
        """Publish; it must be a 201.  Its JSON."""
        response = self.post(body, **options)
        assert response.status == 201, response
        return response.json()

    def push_text(self, body, **query):
        """Publish a text body, byte for byte, with its fields in the query; to everybody if these
        name nobody.  Its JSON."""
        body = body.encode() if isinstance(body, str) else body
        if not query.keys() & {"topic", "topics", "user", "users"}:
            query["broadcast"] = "true"
        return self.push(body, content_type="text/plain", query=query)

    # listening

    def stream(self, *topics, resume=None, headers=(), version="1.1", receive_buffer=None,
               **query):
        """GET /events past its opening; `resume` goes into Last-Event-ID."""
        target = wire.target_of("/events", [("topic", topic) for topic in topics]
                                + list(query.items()))
        pairs = list(headers) + ([("Last-Event-ID", resume)] if resume is not None else [])
        return self.keep(wire.open_stream(self.address, target, pairs, version, receive_buffer))

    def stream_many(self, queries, receive_buffer=None):
        """Many streams, each with the pairs or dict of its query."""
        targets = [wire.target_of("/events", query) for query in queries]
        opened = wire.open_streams(self.address, targets, receive_buffer)
        self.streams += opened
        return opened

    def keep(self, stream):
        """Close it at the end of the test."""
        self.streams.append(stream)
        return stream

    # looking at it

    def stats(self):
        """GET /api/stats: a flat object, counters and gauges by name."""
        response = self.request("GET", "/api/stats")
        assert response.status == 200, response
        return response.json()

    def stat(self, name):
        return self.stats()[name]

    def wait_stat(self, name, value, timeout=5):
        """Wait until a number is what it should be."""
        wire.wait_until(lambda: self.stat(name) == value, timeout, f"{name} is {value}")

    def the_stream(self, **query):
        """What a monitor is told of the only stream there is, or the only one that fits."""
        target = wire.target_of("/api/streams", query)
        (stream,) = self.request("GET", target).json()["streams"]
        return stream

    def cpu_seconds(self):
        """User and system time it has used so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        """What its open descriptors are, in no order."""
        found = []
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/{self.pid}/fd/{name}"))
        return found

    def sockets(self):
        """How many of them are sockets: listeners and clients."""
        return sum(name.startswith("socket:") for name in self.descriptors())


@pytest.fixture
def gateway_factory(tmp_path_factory):
    """Start gateways with settings of one's own: gateway_factory(settings={...}, workers=1)."""
    made = []

    def make(start=True, **options):
        made.append(Gateway(tmp_path_factory.mktemp("gateway"), **options))
        return made[-1].start() if start else made[-1]

    yield make
    with contextlib.ExitStack() as stack:
        for each in made:
            stack.callback(each.finish)


def build_shim(folder, name):
    """Compile test/support/NAME.c as a library for LD_PRELOAD.  Returns where it is."""
    path = folder / f"{name}.so"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    source = SOURCE / "test" / "support" / f"{name}.c"
    subprocess.run([*compiler, "-shared", "-fPIC", "-O2", "-o", path, source], check=True)
    return path


@pytest.fixture
def gateway(request, gateway_factory):
    """A gateway for this test alone; `@pytest.mark.gateway(settings={...})` changes it."""
    marker = request.node.get_closest_marker("gateway")
    return gateway_factory(**(marker.kwargs if marker else {}))


@pytest.fixture
def bugle(tmp_path):
    """Run the program with arguments and return what came of it."""

    def run(*args, env=None, timeout=10, stdin=None):
        return subprocess.run(
            [program_path(), *map(str, args)], env=program_env(env, home=tmp_path), cwd=tmp_path,
            input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True, text=True, timeout=wire.seconds(timeout), check=False)

    return run
