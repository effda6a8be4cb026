# SPDX-License-Identifier: MIT
"""One gateway takes over from another (bugle(1), UPGRADING): nobody is refused, reset or left without
an answer, whatever either process does on the way; and the service manager's side of a start."""

import array
import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import pytest

import wire
from conftest import program_path

LOAD = pathlib.Path(__file__).parent.parent / "load" / "restarts.py"

HELLO, OFFER, READY, RELEASED, OPENED, GO, SERVING, REFUSED = range(1, 9)
BATCH, LINEAGE = 11, 14
VERSION = 1


# ---- frames, as include/link.h has them ----


def text(words):
    words = words.encode()
    return struct.pack("=I", len(words)) + words


class Link:
    """One end of a hand-over, by hand."""

    def __init__(self, connection):
        self.socket = connection
        self.socket.settimeout(wire.seconds(10))
        self.buffer = b""
        self.fds = []

    def send(self, kind, payload=b""):
        self.socket.sendall(struct.pack("=IB", len(payload), kind) + payload)

    def send_sockets(self, kind, payload, sockets):
        fds = array.array("i", [each.fileno() for each in sockets])
        self.socket.sendmsg([struct.pack("=IB", len(payload), kind)],
                            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        self.socket.sendall(payload)

    def receive(self, kind=None):
        """The next frame, of this kind; None at the end."""
        while len(self.buffer) < 5 or len(self.buffer) < 5 + struct.unpack_from("=I", self.buffer)[0]:
            data, control, *_ = self.socket.recvmsg(65536, 4096)
            for level, type_, value in control:
                if (level, type_) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self.fds += array.array("i", value[:len(value) // 4 * 4])
            if not data:
                return None
            self.buffer += data
        size, came = struct.unpack_from("=IB", self.buffer)
        payload, self.buffer = self.buffer[5:5 + size], self.buffer[5 + size:]
        assert kind in (None, came), (kind, came, payload)
        return payload

    def close(self):
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []


def store_of(gateway):
    return "sqlite:" + os.path.realpath(gateway.folder / ".local/state/bugle/history.db")


def take_by_hand(gateway, last):
    """Be the new process up to and with this step."""
    link = Link(socket.socket(socket.AF_UNIX))
    link.socket.connect(gateway.handover)
    if last >= HELLO:
        link.send(HELLO, struct.pack("=I", VERSION) + text(store_of(gateway)))
    if last >= OFFER:
        link.receive(OFFER)
        assert len(link.fds) == 1
    if last >= READY:
        link.send(READY)
    if last >= RELEASED:
        released = link.receive(RELEASED)
    if last >= OPENED:
        link.send(OPENED, released)
    if last >= GO:
        link.receive(GO)
    return link


# ---- gateways ----


@pytest.fixture
def make(gateway_factory):
    """Gateways that can be taken over from, with a store on disk; all that come of them end well."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bugle-ho."))

        def make_one(settings=None, **options):
            path = f"{folder}/{random.randrange(1 << 32):x}"
            gateway = gateway_factory(
                store="", settings={"server.handover": path, **(settings or {})}, **options)
            gateway.handover = path
            gateway.older = []
            stack.callback(end_older, gateway)
            return gateway

        yield make_one


def end_older(gateway):
    for process in gateway.older:
        if process.poll() is None:
            process.kill()
            process.wait()


def start_heir(gateway):
    with gateway.log_path.open("ab") as log:
        return subprocess.Popen(
            [*gateway.command, "--takeover"], env=gateway.env, cwd=gateway.folder,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def count_ready(gateway):
    return gateway.log().count(" is ready: ")


def take_over(gateway):
    """A real one; `gateway` is the new process afterwards, and the old one is returned."""
    ready = count_ready(gateway)
    heir = start_heir(gateway)
    wire.wait_until(lambda: count_ready(gateway) > ready or heir.poll() is not None, 10, "it serves")
    assert heir.poll() is None, gateway.log()
    old, gateway.process = gateway.process, heir
    gateway.older.append(old)
    return old


def leaves(process, gateway, timeout=10):
    try:
        status = process.wait(wire.seconds(timeout))
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the old process stays:\n{gateway.log()}") from None
    assert status == 0, gateway.log()


def position_of(answer):
    return int(answer["id"].split("-")[1])


# ---- what clients see ----


def restarts(*arguments):
    env = {**os.environ, "BUGLE": program_path()}
    return subprocess.run([sys.executable, str(LOAD), *arguments], env=env, capture_output=True,
                          text=True, timeout=wire.seconds(60), check=False)


@pytest.mark.parametrize("how", [(), ("--signal",)], ids=["takeover", "signal"])
def test_restarts_under_load_cost_nobody_anything(how):
    """Kept and fresh connections, publishers and visitors, and subscribers that look for gaps."""
    rate = str(wire.fewer(300, 50))
    done = restarts("--restarts", "3", "--pause", "0.5", "--connects", rate, "--publishes", rate,
                    *how)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kept_connection_is_answered_and_sent_on(make):
    """The old process stays for it, however long it rests, and leaves with its answer.  Epoch and
    positions go on."""
    gateway = make()
    request = gateway.request_bytes("POST", "/api/push?topic=a", [("Content-Type", "text/plain")],
                                    b"x")
    with gateway.raw() as kept:
        kept.send(request)
        first = kept.read_response().json()["id"]
        gateway._drop_control()
        old = take_over(gateway)
        time.sleep(0.3)
        assert old.poll() is None, "it has left its client"
        kept.send(request)
        response = kept.read_response()
        assert response.status == 201, response
        assert response.head.words("Connection") == {"close"}
        second = response.json()["id"]
    leaves(old, gateway)
    third = gateway.push({"topic": "a", "data": 3})["id"]
    epoch, position = first.split("-")
    assert [second, third] == [f"{epoch}-{int(position) + i:016d}" for i in (1, 2)]


def test_every_kind_of_publish_goes_through_the_old_process(make):
    """Many at once, keys that came before, before the hand-over or after, conflicts, ephemeral ones:
    the answers are those that the new process gives."""
    gateway = make()
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(gateway.raw()) for _ in range(6)]
        for connection in kept:
            connection.send(gateway.request_bytes("GET", "/healthz"))
            assert connection.read_response().status == 200
        before = gateway.push({"topic": "a", "data": 1, "idempotency_key": "before"})["id"]
        gateway._drop_control()
        old = take_over(gateway)

        def post(connection, body):
            connection.send(gateway.request_bytes(
                "POST", "/api/push", [("Content-Type", "application/json")], body))
            return connection.read_response()

        stream = gateway.stream("a", "b")
        many = post(kept[0], b'[{"topic":"a","data":"1st"},{"topic":"b","data":"2nd"}]').json()
        again = post(kept[1], b'{"topic":"a","data":1,"idempotency_key":"before"}').json()
        fresh = post(kept[2], b'{"topic":"a","data":"3rd","idempotency_key":"k"}').json()
        conflict = post(kept[3], b'[{"topic":"a","data":0},'
                        b'{"topic":"a","data":"other","idempotency_key":"k"}]')
        passing = post(kept[4], b'{"topic":"b","data":"4th","ephemeral":true}').json()
        wrong = post(kept[5], b'{"topic":"b","dat":1}')
        assert len(set(many["ids"])) == 2
        assert (again["id"], again["duplicate"]) == (before, True)
        assert fresh["duplicate"] is False
        assert conflict.problem(422)["pointer"] == "/1/idempotency_key"
        assert passing["id"] is None
        assert wrong.problem(422)["code"] == "invalid_field"
        assert [event.data for event in stream.events(4)] == ["1st", "2nd", "3rd", "4th"]
        assert gateway.push({"topic": "a", "data": "3rd", "idempotency_key": "k"})["duplicate"]
    leaves(old, gateway)


def test_streams_hear_everything_until_they_end_and_resume(make):
    """While the old process spreads the ends of its streams, each hears what is published at the new
    one, ephemeral events too, and goes on there by its last id."""
    gateway = make(settings={"drain.window": "2s"})
    streams = gateway.stream_many([{"topic": "a"}] * 20)
    ids = [gateway.push({"topic": "a", "data": "before"})["id"]]
    old = take_over(gateway)
    gateway.push({"topic": "a", "data": "passing", "ephemeral": True})
    done = threading.Event()

    def publish():
        while not done.is_set():
            ids.append(gateway.push({"topic": "a", "data": "x"})["id"])
            time.sleep(0.01)

    publisher = threading.Thread(target=publish)
    publisher.start()
    seen = [[item for item in stream.read_to_end()] for stream in streams]
    done.set()
    publisher.join()
    heard = passing = 0
    for items in seen:
        assert isinstance(items[-1], wire.Retry), items[-1:]
        events = [item for item in items if isinstance(item, wire.Event) and item.data != ""]
        passing += any(event.data == "passing" for event in events)
        events = [event.id for event in events if event.data != "passing"]
        assert events == ids[:len(events)]
        heard += len(events) > 3
        last = [item.id for item in items if isinstance(item, wire.Event) and item.id][-1]
        again = gateway.stream("a", resume=last)
        assert [event.id for event in again.events(len(ids) - len(events))] == ids[len(events):]
    assert heard > 10, "streams of the old process heard nothing any more"
    assert passing > 10
    leaves(old, gateway)


def test_streams_end_evenly_with_retries_all_over_the_range(make):
    """Over the window no quarter of a second gets much more than its share; and the delays, between
    2/3 of the centre and twice it, are uniform."""
    gateway = make(settings={"drain.window": "2s", "stream.retry": "3s"})
    streams = gateway.stream_many([{"topic": "a"}] * 200)
    ends = {}
    begun = time.monotonic()
    gateway.signal()
    wire.pump_until(streams,
                    lambda stream: stream.end and ends.setdefault(stream, time.monotonic()))
    per_quarter = [0] * 40
    for end in ends.values():
        per_quarter[min(39, int((end - begun) * 4))] += 1
    print("ends in each quarter of a second:", [n for n in per_quarter if n])
    assert max(per_quarter) <= 1.5 * 200 / 8 * wire.SLOW + 20, per_quarter
    delays = sorted(stream.read_to_end()[-1].ms for stream in streams)
    assert delays[0] >= 2000 and delays[-1] <= 6000
    quarters = [sum(low <= delay < low + 1000 for delay in delays) for low in range(2000, 6000, 1000)]
    assert min(quarters) >= 20, quarters
    assert gateway.wait() == 0


def test_a_chain_of_three(make):
    """Two processes have left, each with a kept connection; both go through to the third."""
    gateway = make()
    request = gateway.request_bytes("POST", "/api/push?topic=a", [("Content-Type", "text/plain")],
                                    b"x")
    with contextlib.ExitStack() as stack:
        kept, old = [], []
        for _ in range(3):
            kept.append(stack.enter_context(gateway.raw()))
            kept[-1].send(request)
            assert kept[-1].read_response().status == 201
            old.append(take_over(gateway))
            gateway._drop_control()
        for number, connection in enumerate(kept, 4):
            connection.send(request)
            response = connection.read_response()
            assert response.status == 201, response
            assert position_of(response.json()) == number
    for process in old:
        leaves(process, gateway)


def test_unix_listener_goes_along(make, tmp_path):
    """Its path is not taken away by the old process, and is by the last one."""
    path = tempfile.mktemp(prefix="bugle-u.", dir="/tmp")
    gateway = make(listen=[f"unix:{path}"])

    def ask():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return client.recv(65536)

    assert b" 200 " in ask()
    old = take_over(gateway)
    gateway._drop_control()
    leaves(old, gateway)
    assert b" 200 " in ask()
    gateway.stop()
    assert not os.path.exists(path)
    assert not os.path.exists(gateway.handover)


# ---- what goes wrong on the way ----


class Publisher(threading.Thread):
    """Publishes all the time, over a kept connection; every answer must be a 201."""

    def __init__(self, gateway):
        super().__init__()
        self.gateway = gateway
        self.done = threading.Event()
        self.answers = 0
        self.longest = 0
        self.failure = None
        self.request = gateway.request_bytes(
            "POST", "/api/push?topic=a", [("Content-Type", "text/plain")], b"x")

    def run(self):
        try:
            while not self.done.is_set():
                with self.gateway.raw() as connection:
                    while not self.done.is_set():
                        begun = time.monotonic()
                        connection.send(self.request)
                        response = connection.read_response()
                        assert response.status == 201, response
                        self.answers += 1
                        self.longest = max(self.longest, time.monotonic() - begun)
                        if "close" in response.head.words("Connection"):
                            break
        except BaseException as failure:
            self.failure = failure

    def finish(self):
        self.done.set()
        self.join()
        assert self.failure is None, self.failure
        assert self.answers > 0


@pytest.mark.parametrize("last", [0, HELLO, OFFER, READY, RELEASED, OPENED, GO])
def test_new_process_ends_at_a_step(make, last):
    """Up to the moment when it serves, the old one goes on: nothing but a pause is to be seen.  And
    then somebody else can take over."""
    gateway = make()
    publisher = Publisher(gateway)
    publisher.start()
    link = take_by_hand(gateway, last)
    link.close()
    wire.wait_until(lambda: re.search("left before it took over|no hand-over to", gateway.log()),
                    5, "it is noticed")
    if last >= READY:
        gateway.wait_stat("handovers_failed", 1)
    answers = publisher.answers
    wire.wait_until(lambda: publisher.answers > answers + 10, 10, "publishing goes on")
    old = take_over(gateway)
    gateway._drop_control()
    publisher.finish()
    leaves(old, gateway)


@pytest.mark.parametrize("last", [OFFER, READY, RELEASED])
def test_new_process_takes_too_long(make, last):
    """Publishers wait for server.handover_timeout, no longer."""
    gateway = make(settings={"server.handover_timeout": "400ms"})
    publisher = Publisher(gateway)
    publisher.start()
    link = take_by_hand(gateway, last)
    while link.receive() is not None:
        pass
    gateway.wait_log("longer than server.handover_timeout")
    answers = publisher.answers
    wire.wait_until(lambda: publisher.answers > answers + 10, 10, "publishing goes on")
    link.close()
    publisher.finish()
    if last >= READY:
        assert publisher.longest > 0.35
    gateway.wait_stat("handovers_failed", int(last >= READY))


def test_stop_during_a_hand_over_waits_for_its_end(make):
    """SIGTERM comes when the store is nobody's: it is taken back, what waits is committed, and then
    the gateway stops."""
    gateway = make()
    link = take_by_hand(gateway, RELEASED)
    with gateway.raw() as kept:
        gateway.signal()
        wire.wait_until(lambda: "has to end first" in gateway.log(), 5, "it waits")
        link.close()
        kept.close()
    assert gateway.wait() == 0


def test_real_process_killed_at_any_moment(make):
    """kill -9 for the new process after a random time.  Either the old one goes on, or the new one
    served already; the store is sound, and what was acknowledged is there."""
    gateway = make(settings={"drain.window": "0s"})
    ids, outcomes = [], []
    for _ in range(wire.fewer(12, 4)):
        ids.append(gateway.push({"topic": "a", "data": "x"})["id"])
        gateway._drop_control()
        log = len(gateway.log())
        heir = start_heir(gateway)
        time.sleep(random.uniform(0.005, 0.06))
        heir.kill()
        heir.wait()

        def outcome():
            lines = gateway.log()[log:]
            if "serves from here on" in lines:
                return "served"
            if "this gateway goes on" in lines:
                return "went on"
            return "early" if "left before it took over" in lines else None

        with contextlib.suppress(AssertionError):
            wire.wait_until(outcome, 0.3, "the old process notices")
        outcomes.append(outcome() or "never came")
        if outcomes[-1] == "served":
            assert gateway.wait() == 0
            gateway.start()
    print("outcomes:", {each: outcomes.count(each) for each in sorted(set(outcomes))})
    stream = gateway.stream("a", since="earliest")
    assert [event.id for event in stream.events(len(ids))] == ids


def test_old_process_killed_once_the_other_serves(make):
    """It can take nothing with it but its own streams and connections."""
    gateway = make()
    stream = gateway.stream("a")
    old = take_over(gateway)
    gateway._drop_control()
    old.kill()
    old.wait()
    wire.wait_until(lambda: "the old gateway has exited" in gateway.log(), 5, "noticed")
    gateway.push({"topic": "a", "data": 1})
    stream.close()


def test_publish_passed_on_to_a_process_that_dies_has_an_answer(make):
    """Nobody knows whether it was stored, and the answer says so."""
    gateway = make()
    with gateway.raw() as kept:
        kept.send(gateway.request_bytes("GET", "/healthz"))
        assert kept.read_response().status == 200
        gateway._drop_control()
        link = take_by_hand(gateway, GO)
        link.send(SERVING)
        kept.send(gateway.request_bytes("POST", "/api/push?topic=a",
                                        [("Content-Type", "text/plain")], b"x"))
        assert link.receive() is not None
        link.close()
        assert kept.read_response().problem(503)["code"] == "handover_lost"
    assert gateway.wait() == 0


# ---- the other side by hand: the new process is real ----


class OldOne:
    """A gateway that hands over by hand, without a store of its own."""

    def __init__(self, gateway):
        self.listening = socket.create_server(("127.0.0.1", gateway.port))
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(gateway.handover)
        self.server.listen()
        self.port = gateway.port
        self.folder = gateway.folder
        (gateway.folder / ".local/state/bugle").mkdir(parents=True)
        gateway.command.append("--takeover")
        gateway.start(ready=False)
        self.link = Link(self.server.accept()[0])

    def offer(self):
        self.hello = self.link.receive(HELLO)
        self.link.send_sockets(OFFER, struct.pack("=I", 0) + text(f"127.0.0.1:{self.port}"),
                               [self.listening])

    def close(self):
        self.link.close()
        self.server.close()
        self.listening.close()


@pytest.mark.parametrize("last", [READY, RELEASED, OPENED])
def test_old_process_dies_at_a_step(make, last):
    """The new one has the sockets, and the store is nobody's: it serves alone, and whoever waits in
    the queue is served."""
    gateway = make(start=False)
    old = OldOne(gateway)
    with gateway.raw() as waiting:
        waiting.send(gateway.request_bytes("GET", "/readyz"))
        old.offer()
        old.link.receive(READY)
        if last >= RELEASED:
            old.link.send(RELEASED)
        if last >= OPENED:
            old.link.receive(OPENED)
        old.close()
        assert waiting.read_response().status == 200
    gateway.wait_log("serving without it")


def test_old_process_dies_before_it_offers(make):
    gateway = make(start=False)
    old = OldOne(gateway)
    old.close()
    assert gateway.wait() == 1
    gateway.wait_log("left instead of handing over")
    gateway.process = None


@pytest.mark.parametrize("step", [HELLO, READY, OPENED])
def test_old_process_refuses_at_a_step(make, step):
    gateway = make(start=False)
    old = OldOne(gateway)
    if step > HELLO:
        old.offer()
        old.link.receive(READY)
    if step > READY:
        old.link.send(RELEASED)
        old.link.receive(OPENED)
    old.link.send(REFUSED, text("not today"))
    assert gateway.wait() == 1
    gateway.wait_log("refuses to hand over: not today")
    old.close()
    gateway.process = None


def test_nobody_to_take_over_from(make):
    """Then it is an ordinary start, also when an old socket file lies about."""
    gateway = make(start=False)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(gateway.handover)
    gateway.command.append("--takeover")
    gateway.start()
    gateway.wait_log("no gateway listens at")
    assert os.stat(gateway.handover).st_mode & 0o777 == 0o600


# ---- refusals ----


def test_start_that_cannot_take_over_disturbs_nobody(make, bugle):
    gateway = make()

    def refused(*arguments):
        done = bugle("serve", "--listen", f"127.0.0.1:{gateway.port}", "--www", "", *arguments)
        assert done.returncode == 1, done
        return done.stderr

    place = f"server.handover={gateway.handover}"
    other = refused("--takeover", "--set", place)
    assert "its store is sqlite:" in other
    assert "ends with its process" in refused("--takeover", "--set", place, "--store", "memory:")
    assert "--takeover needs server.handover" in refused("--takeover")
    assert "in use" in refused()
    link = Link(socket.socket(socket.AF_UNIX))
    link.socket.connect(gateway.handover)
    link.send(HELLO, struct.pack("=I", VERSION + 1) + text(store_of(gateway)))
    assert b"speaks version 2" in link.receive(REFUSED)
    link.close()
    first = take_by_hand(gateway, OFFER)
    second = Link(socket.socket(socket.AF_UNIX))
    second.socket.connect(gateway.handover)
    assert b"under way" in second.receive(REFUSED)
    first.close()
    second.close()
    assert gateway.stat("handovers_failed") == 0


def test_other_store_at_the_last_step_is_refused(make):
    """Whatever the new process opened, it is not what this one left."""
    gateway = make()
    link = take_by_hand(gateway, RELEASED)
    link.send(OPENED, text("a" * 12) + struct.pack("=Q", 0))
    assert b"another history" in link.receive(REFUSED)
    link.close()
    gateway.push({"topic": "a", "data": 1})


def test_hub_that_speaks_before_its_process_serves(make):
    """Its thread may be faster than the main one, above all beside a log of several gateways."""
    gateway = make(settings={"drain.window": "1s"})
    epoch = gateway.push({"topic": "a", "data": 1})["id"].rpartition("-")[0]
    gateway._drop_control()
    link = take_by_hand(gateway, GO)
    link.send(LINEAGE, text(epoch) + text(""))
    link.send(BATCH, struct.pack("=QI", 1, 0))
    with contextlib.suppress(BrokenPipeError):  # it has nobody to wait for
        link.send(SERVING)
    wire.wait_until(lambda: "serves from here on" in gateway.log(), 10, "the log says so")
    gateway.wait()
    link.close()
    assert "protocol" not in gateway.log()


# ---- SIGUSR2 ----


def test_signal_that_cannot_do_anything_is_told(gateway):
    gateway.signal(signal.SIGUSR2)
    wire.wait_until(lambda: "server.handover is not set" in gateway.log(), 5, "the log says so")
    gateway.push({"topic": "a", "data": 1})


def test_heir_that_does_not_start_is_told(make):
    """Its settings have become wrong: the running gateway stays."""
    gateway = make(env={"BUGLE_CONFIG": "settings"}, start=False)
    settings = gateway.folder / "settings"
    settings.write_text("")
    gateway.start()
    settings.write_text("[stream]\nheartbeet = 1\n")
    gateway.signal(signal.SIGUSR2)
    wire.wait_until(lambda: "ended with status 1" in gateway.log(), 10, "the log says so")
    gateway.push({"topic": "a", "data": 1})


# ---- systemd's side ----


def niceness_of_hub(pid):
    """Of that thread of a process (proc(5): the 17th field behind the name); None before it runs."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it may have ended
            _, name, fields = re.split(r"\d+ \(|\) ", (task / "stat").read_text(), maxsplit=2)
            if name == "bugle-hub":
                return int(fields.split()[16])
    return None


class Manager:
    """What a service manager does: opens the sockets, and hears what it is told."""

    def __init__(self, folder):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.path = str(folder / "notify")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.path)
        self.notify.settimeout(wire.seconds(10))

    def command(self, gateway):
        """Start it as systemd does: the sockets from descriptor 3 on, for its own process id."""
        code = ("import os, sys; os.dup2(int(sys.argv[1]), 3);"
                "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
                "os.execv(sys.argv[2], sys.argv[2:])")
        return [sys.executable, "-c", code, str(self.listening.fileno()), *gateway.command]

    def hear(self):
        return self.notify.recv(4096).decode().split("\n")

    def hear_until(self, word):
        while word not in (said := self.hear()):
            pass
        return said

    def close(self):
        self.listening.close()
        self.notify.close()


@pytest.fixture
def manager(tmp_path):
    with contextlib.closing(Manager(tmp_path)) as manager:
        yield manager


def start_managed(gateway, manager, listen):
    gateway.port = manager.port
    gateway.address = ("127.0.0.1", manager.port)
    at = gateway.command.index("--listen") + 1
    gateway.command[at] = listen
    gateway.env.update(NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="400000")
    with gateway.log_path.open("ab") as log:
        gateway.process = subprocess.Popen(
            manager.command(gateway), env=gateway.env, cwd=gateway.folder, pass_fds=[
                manager.listening.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def test_socket_activation(make, manager):
    """Connections that were there before the gateway, and between two of it, are served; and the
    manager is told what happens."""
    gateway = make(start=False)
    request = gateway.request_bytes("GET", "/readyz")
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", manager.port)) as early:
            early.sendall(request)
            start_managed(gateway, manager, f"127.0.0.1:{manager.port}")
            assert manager.hear() == ["READY=1", f"MAINPID={gateway.pid}"]
            early.settimeout(wire.seconds(10))
            assert b" 200 " in early.recv(4096)
        manager.hear_until("WATCHDOG=1")
        gateway.signal(signal.SIGHUP)
        said = manager.hear_until("RELOADING=1")
        assert re.fullmatch(r"MONOTONIC_USEC=[0-9]+", said[1])
        manager.hear_until("READY=1")
        gateway.signal()
        manager.hear_until("STOPPING=1")
        assert gateway.wait() == 0


def test_upgrade_under_a_manager(make, manager):
    """SIGUSR2: the new process says that it is the main one now; the sockets stay the manager's."""
    gateway = make(start=False)
    start_managed(gateway, manager, f"127.0.0.1:{manager.port}")
    manager.hear_until("READY=1")
    gateway.push({"topic": "a", "data": 1})
    gateway._drop_control()
    old = gateway.process
    usual = niceness_of_hub(old.pid)
    gateway.signal(signal.SIGUSR2)
    said = manager.hear_until("READY=1")
    pid = int(said[1].removeprefix("MAINPID="))
    assert pid != old.pid
    # the acceptor, which forks, is nicer than the others, and what it starts must not inherit that
    wire.wait_until(lambda: niceness_of_hub(pid) is not None, 5, "the new hub runs")
    assert niceness_of_hub(pid) == usual
    leaves(old, gateway)
    manager.hear_until("WATCHDOG=1")
    assert position_of(gateway.push({"topic": "a", "data": 2})) == 2
    gateway._drop_control()
    os.kill(pid, signal.SIGTERM)
    manager.hear_until("STOPPING=1")
    wire.wait_until(lambda: gateway.log().count("stopped\n") == 2, 10, "the new one has left")
    with socket.create_connection(("127.0.0.1", manager.port)):
        pass


def test_socket_that_the_settings_do_not_name_is_refused(make, manager):
    gateway = make(start=False)
    start_managed(gateway, manager, "127.0.0.1:0")
    assert gateway.wait() == 1
    gateway.wait_log(f"127.0.0.1:{manager.port} is not in server.listen")
    gateway.process = None
