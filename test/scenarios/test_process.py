# SPDX-License-Identifier: MIT
"""What surrounds the process: whoever reads its log, signals, variables and files of others."""

import contextlib
import fcntl
import os
import pathlib
import re
import resource
import signal
import stat
import subprocess
import time

import pytest

import conftest
import wire
from tokens import Key

F_SETPIPE_SZ = 1031


class PipedGateway(conftest.Gateway):
    """A gateway whose standard error is a pipe of one page that only the test reads, when it likes."""

    def start(self, ready=True):
        self.reader, writer = os.pipe()
        fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
        self.process = subprocess.Popen(
            self.command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stderr=writer)
        os.close(writer)
        if ready:
            wire.wait_until(self._is_ready, 10, "GET /readyz is 200")
        return self

    def read_log(self):
        """What it writes until it has ended."""
        with open(self.reader, "rb", closefd=False) as log:
            return log.read().decode()


@pytest.fixture
def piped(tmp_path):
    made = []

    def make(**options):
        made.append(PipedGateway(tmp_path, **options).start())
        return made[-1]

    yield make
    for each in made:
        os.close(each.reader)
        each.finish()


# the log


def fill_log(gateway, path):
    """Have it read settings that it refuses, with a line each time."""
    path.write_text(f"[stream]\nheartbeat = {'soon' * 50}\n")
    deadline = time.monotonic() + wire.seconds(60)
    while gateway.stat("log_lines_dropped") == 0:
        gateway.signal(signal.SIGHUP)
        assert time.monotonic() < deadline, "no line was dropped"


def test_nobody_reads_the_log(piped, tmp_path):
    """Publishers, streams and a stop know nothing of a reader of standard error that stopped; when it
    reads again it is told how many lines it missed."""
    path = tmp_path / "bugle.conf"
    path.write_text("[log]\nlevel = info\n")
    gateway = piped(args=["--config", str(path)])
    stream = gateway.stream("a")
    fill_log(gateway, path)
    for i in range(200):
        gateway.push({"topic": "a", "data": str(i)})
    assert [event.data for event in stream.events(200)] == [str(i) for i in range(200)]
    text = ""
    while not (told := re.search("([0-9]+) log lines were dropped", text)):
        text += os.read(gateway.reader, 1 << 20).decode()
    gateway.wait_stat("log_lines_dropped", int(told[1]))
    gateway.signal()
    assert gateway.read_log().splitlines()[-1].endswith("stopped")


def test_a_stop_waits_for_no_reader(piped, tmp_path):
    """Not even for one that never reads again: a second for the last lines, and it is gone."""
    path = tmp_path / "bugle.conf"
    path.write_text("")
    gateway = piped(args=["--config", str(path)])
    fill_log(gateway, path)
    begun = time.monotonic()
    gateway.stop()
    assert time.monotonic() - begun < wire.seconds(5)


# signals


def test_signals_without_a_meaning_end_nothing(gateway):
    numbers = ["SIGUSR1", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGXFSZ", "SIGPIPE",
               "SIGRTMIN", "SIGRTMAX"]
    for name in numbers:
        gateway.signal(getattr(signal, name))
    gateway.push({"topic": "a", "data": "x"})


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGXCPU])
def test_signals_that_stop_in_good_order(gateway, number):
    stream = gateway.stream("a")
    gateway.signal(number)
    assert isinstance(stream.read_to_end()[-1], wire.Retry)
    assert gateway.wait() == 0


def test_an_abort_that_is_sent_ends_it(gateway_factory):
    """What a service manager sends when its watchdog has waited in vain."""
    gateway = gateway_factory()
    gateway.signal(signal.SIGABRT)
    assert gateway.wait() == -signal.SIGABRT
    gateway.process = None


def test_a_reload_asked_for_too_early_waits(gateway_factory, tmp_path):
    """A supervisor reloads what it has just started, which here still waits for its settings."""
    path = tmp_path / "bugle.conf"
    os.mkfifo(path)
    gateway = gateway_factory(start=False, args=["--config", str(path)]).start(ready=False)
    with conftest.open_fifo(path) as settings:
        gateway.signal(signal.SIGHUP)
        gateway.signal(signal.SIGUSR2)
        path.unlink()
        path.write_text("[stream]\nretry = 7s\n")
        settings.write("[stream]\nretry = 8s\n")
    gateway.wait_log("settings reloaded", 10)
    wire.wait_until(gateway._is_ready, 10, "it is ready")


def test_a_file_that_may_not_grow_is_a_full_disk(gateway_factory, tmp_path):
    """Of a limit on sizes of files (RLIMIT_FSIZE) a publisher is told as of any other full disk, and
    once it is gone publishing goes on."""
    gateway = gateway_factory(store=f"sqlite:{tmp_path}/h.db")
    gateway.push({"topic": "a", "data": "x"})
    soft, hard = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (200000, hard))
    statuses = {gateway.post({"topic": "a", "data": "x" * 30000}).status for _ in range(20)}
    assert statuses <= {201, 507} and 507 in statuses, statuses
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (soft, hard))
    gateway.push({"topic": "a", "data": "y"})


# the environment


def test_variables_of_others_are_told_and_ignored(gateway_factory):
    """Kubernetes sets them for a service called bugle, Docker for a container that is linked."""
    gateway = gateway_factory(env={
        "BUGLE_SERVICE_HOST": "10.0.0.1", "BUGLE_SERVICE_PORT": "80",
        "BUGLE_SERVICE_PORT_HTTP": "80", "BUGLE_PORT": "tcp://10.0.0.1:80",
        "BUGLE_PORT_80_TCP": "tcp://10.0.0.1:80", "BUGLE_PORT_80_TCP_PROTO": "tcp",
        "BUGLE_PORT_80_TCP_PORT": "80", "BUGLE_PORT_80_TCP_ADDR": "10.0.0.1",
        "BUGLE_CANARY_SERVICE_HOST": "10.0.0.2", "BUGLE_CANARY_PORT": "tcp://10.0.0.2:80",
        "BUGLE_NAME": "/web/bugle", "BUGLE_ENV_PATH": "/bin", "BUGLE_VERSION": "7",
        "BUGLE_CONFIG": "", "BUGLE_LIMITS_EVENT_BYTES": "2K"})
    gateway.post({"data": "x" * 3000}).problem(413, 422)
    (line,) = [line for line in gateway.log().splitlines() if "BUGLE_" in line]
    assert " warning " in line and " 13 " in line and "BUGLE_SERVICE_HOST" in line, line


@pytest.mark.parametrize("variable, meant", [
    ("BUGLE_STREAM_HEARTBEET", "BUGLE_STREAM_HEARTBEAT"),
    ("BUGLE_AUHT_MODE", "BUGLE_AUTH_MODE"),
    ("BUGLE_SERVER_PORT", ""),
    ("BUGLE_STREAM_TIMEOUT_OF_ANYTHING", ""),
    ("BUGLE_STREEM_SOMETHING_ELSE", ""),
])
def test_a_mistyped_variable_is_a_mistake(bugle, variable, meant):
    done = bugle("check-config", env={variable: "80"})
    assert done.returncode == 1 and variable in done.stderr and meant in done.stderr, done


# descriptors


def test_too_few_descriptors_are_told_with_what_is_needed(gateway_factory):
    """Instead of a gateway that says it is ready and cannot serve; and so many are enough."""
    for few in (8, 20, 28, 40):
        gateway = gateway_factory(start=False, nofile=few).start(ready=False)
        assert gateway.wait() == 1
        gateway.process = None
        needed = int(re.search(f"RLIMIT_NOFILE.* is {few}, .* least ([0-9]+) are needed",
                               gateway.log())[1])
    gateway = gateway_factory(nofile=needed, store="")
    gateway.push({"topic": "a", "data": "x"})
    stream = gateway.stream("a", resume="0")
    assert gateway.request("GET", "/api/history?topic=a").status == 200
    assert gateway.request("POST", "/api/backup").status == 200
    gateway.signal(signal.SIGHUP)
    wire.wait_until(lambda: "settings reloaded" in gateway.log(), 5, "it has reloaded")
    gateway.push({"topic": "a", "data": "y"})
    stream.events(1)


# memory


@pytest.mark.skipif(wire.SLOW > 1, reason="a sanitizer takes all the address space there is")
def test_after_memory_was_out_everything_works_again(gateway_factory):
    """No address space for a while (RLIMIT_AS), then enough again."""
    gateway = gateway_factory(store="")
    gateway.push({"topic": "a", "data": "x" * 1000})
    used = int(pathlib.Path(f"/proc/{gateway.pid}/statm").read_text().split()[0])
    before = resource.prlimit(gateway.pid, resource.RLIMIT_AS)
    resource.prlimit(gateway.pid, resource.RLIMIT_AS,
                     (used * resource.getpagesize(), before[1]))
    work = [("POST", "/api/push?topic=a", b"x" * 60000), ("GET", "/api/history?topic=a", None),
            ("POST", "/api/backup", None), ("GET", "/api/streams", None)]
    streams = []
    for i in range(30):
        for method, target, body in work:
            with contextlib.suppress(AssertionError, ConnectionError, TimeoutError):
                gateway.request_once(
                    method, target, [("Content-Type", "text/plain")] if body else [], body)
        with contextlib.suppress(AssertionError, ConnectionError, TimeoutError):
            streams.append(gateway.stream("a", resume="0"))
    resource.prlimit(gateway.pid, resource.RLIMIT_AS, before)
    for stream in streams:
        stream.close()
    wire.wait_until(lambda: gateway.request("GET", "/readyz").status == 200, 5, "it is ready")
    for method, target, body in work:
        status = gateway.request(
            method, target, [("Content-Type", "text/plain")] if body else [], body).status
        assert status in (200, 201), (method, target, status)
    gateway.stream("a", resume="0")


# files


def test_a_bad_key_of_tickets_is_replaced(gateway_factory, tmp_path):
    """Left by a power cut, or by hand: tickets end, the gateway does not."""
    key = Key("HS256")
    settings = {"auth.mode": "token", "auth.jwt_key": key.setting(tmp_path)}
    path = tmp_path / "h.db.tickets"
    path.write_bytes(b"")
    gateway = gateway_factory(store=f"sqlite:{tmp_path}/h.db", settings=settings)
    (line,) = [line for line in gateway.log().splitlines() if ".tickets" in line]
    assert " warning " in line and f"{path}.bad" in line
    assert path.stat().st_size == 32 and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_hangs_holds_up_nobody(gateway_factory, tmp_path):
    """A FIFO in the place of a file, as a mount that does not answer would be: the gateway serves, and
    accepts, while it is waited for, says so, and reads the file once it is one again."""
    path = tmp_path / "bugle.conf"
    path.write_text("[log]\nlevel = info\n")
    gateway = gateway_factory(args=["--config", str(path)])
    text = path.read_text()
    path.unlink()
    os.mkfifo(path)
    gateway.signal(signal.SIGHUP)
    deadline = time.monotonic() + wire.seconds(10)
    slowest = 0
    while "a FIFO without a writer" not in gateway.log():
        begun = time.monotonic()
        assert gateway.request_once("GET", "/healthz").status == 200
        slowest = max(slowest, time.monotonic() - begun)
        assert time.monotonic() < deadline, gateway.log()
    assert slowest < wire.seconds(1)
    path.unlink()
    path.write_text(text)
    gateway.signal(signal.SIGHUP)
    wire.wait_until(lambda: "settings reloaded" in gateway.log(), 5, "it has reloaded")


def test_settings_can_come_from_a_pipe(bugle, tmp_path):
    """A shell's <(...)."""
    done = bugle("check-config", "--config", "/dev/stdin", stdin="[stream]\nheartbeat = 7s\n")
    assert done.returncode == 0 and "stream.heartbeat = 7s" in done.stdout, done


@pytest.mark.parametrize("mode", ["0660", "0777", "0600"])
def test_the_mode_of_unix_sockets(gateway_factory, tmp_path, mode):
    path = tmp_path / "bugle.sock"
    gateway_factory(listen=[f"unix:{path}"], settings={"server.socket_mode": mode})
    assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)


@pytest.mark.parametrize("mode", ["660", "0668", "rw-rw----", "01777"])
def test_a_mode_that_is_none(bugle, mode):
    done = bugle("check-config", "--set", f"server.socket_mode={mode}")
    assert done.returncode == 1 and "octal" in done.stderr
