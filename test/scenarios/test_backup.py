# SPDX-License-Identifier: MIT
"""Copies of the store: `POST /api/backup` while others publish, what a gateway makes of a copy, and
the tools `bugle backup` and `bugle epoch`."""

import contextlib
import itertools
import json
import os
import random
import re
import signal
import sqlite3
import stat
import threading
import time

import pytest

import wire
from test_cli import answer, opened, problem, run, server  # noqa: F401
from test_durable import past_of, small_disk  # noqa: F401

TYPE = "application/vnd.sqlite3"
LARGE = 60000


@pytest.fixture
def folder(tmp_path):
    """Where the store is, and nothing else."""
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def store(folder):
    return f"sqlite:{folder}/h.db"


class Publisher(threading.Thread):
    """Publishes without a pause and keeps what was acknowledged: {data: id}, in that order."""

    def __init__(self, gateway, name, first):
        super().__init__(daemon=True)
        self.gateway = gateway
        self.name = name
        self.next = first
        self.acknowledged = {}
        self.sent = set()

    def run(self):
        with contextlib.suppress(OSError, ConnectionError, AssertionError):
            with self.gateway.raw() as connection:
                while True:
                    self.publish(connection)

    def publish(self, connection):
        batch = [f"{self.name}-{self.next + i}" for i in range(random.choice([1, 1, 5, 40]))]
        self.next += len(batch)
        self.sent.update(batch)
        topic = f"t/{self.name}"
        body = json.dumps([{"topic": topic, "data": data} for data in batch]).encode()
        connection.send(self.gateway.request_bytes(
            "POST", "/api/push", [("Content-Type", "application/json")], body))
        response = connection.read_response("POST")
        assert response.status == 201
        self.acknowledged.update(zip(batch, response.json()["ids"]))


def fill(gateway, events_n=200):
    """Megabytes, so that an answer does not fit into the buffers of a connection."""
    body = [{"topic": "a", "data": f"{i} " + "x" * LARGE} for i in range(10)]
    return [id for _ in range(events_n // 10) for id in gateway.push(body)["ids"]]


def copy(gateway):
    """The gateway may not be done with the one before, though its client has it all."""
    def ask():
        response = gateway.request_once("POST", "/api/backup")
        return response if response.status != 503 else None

    response = wire.wait_until(ask, 5, "the copy before this one is over")
    assert response.status == 200, response
    return response


def position_of(id):
    return int(id.rpartition("-")[2])


def assert_nothing_left(gateway, folder):
    """No file of a copy, with or without a name."""
    names = {path.name for path in folder.iterdir()}
    assert names <= {"h.db", "h.db-wal", "h.db-shm", "h.db.lock"}, names
    if gateway.process.poll() is None:
        wire.wait_until(
            lambda: not any(".copying" in name for name in gateway.descriptors()), 5,
            "the descriptor of the copy is closed")


@contextlib.contextmanager
def stalled_copy(gateway):
    """A client that gets the head of a copy and then reads no more."""
    with gateway.raw(receive_buffer=4096) as client:
        client.send(gateway.request_bytes("POST", "/api/backup"))
        head = client.read_head()
        assert head.status == 200
        yield client


# what a copy is


def test_copy_made_under_load_is_a_prefix(gateway_factory, store, folder, tmp_path):
    """Publishers never stop; the copy has all that was acknowledged before it was asked for, no
    holes, and nothing that the store has not."""
    gateway = gateway_factory(store=store)
    ids = fill(gateway)
    publishers = [Publisher(gateway, str(name), 0) for name in range(3)]
    for publisher in publishers:
        publisher.start()
    wire.wait_until(lambda: all(len(each.acknowledged) > 50 for each in publishers), 20,
                    "publishers publish")
    before = max(position_of(id) for each in publishers
                 for id in list(each.acknowledged.values()))
    responses = [copy(gateway) for _ in range(3)]
    at_the_end = gateway.push({"topic": "a", "data": "end"})["id"]
    gateway.kill()
    for publisher in publishers:
        publisher.join(wire.seconds(20))
        assert not publisher.is_alive()
    gateway.start()
    original = {position_of(event.id): event.data
                for event in past_of(gateway.stream(since="earliest"), at_the_end)}

    for response in responses:
        assert response.head.get("Content-Type") == TYPE
        name = re.fullmatch(r'attachment; filename="bugle-([0-9a-z]{12}-[0-9]{16})\.db"',
                            response.head.get("Content-Disposition"))[1]
        newest = position_of(name)
        assert newest >= before
        before = newest
        path = tmp_path / "copy.db"
        path.write_bytes(response.body)
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert db.execute("SELECT max(position) FROM events").fetchone() == (newest,)
    other = gateway_factory(store=f"sqlite:{path}")
    end = other.push({"topic": "a", "data": "after"})["id"]
    events = past_of(other.stream(since="earliest"), end)[:-1]
    assert {position_of(event.id): event.data for event in events} == {
        position: data for position, data in original.items() if position <= newest}
    assert [position_of(event.id) for event in events] == list(range(1, newest + 1))
    assert events[0].data.startswith("0 xxx") and len(events) > len(ids)
    assert gateway.stat("publishes_failed") == 0
    assert_nothing_left(gateway, folder)


def test_gateway_on_a_copy_goes_on_from_old_ids(gateway_factory, store, folder, tmp_path):
    """Ids up to the end of the copy are good in its epoch; who has seen more is told."""
    gateway = gateway_factory(store=store)
    ids = gateway.push([{"topic": "a", "data": str(i)} for i in range(5)])["ids"]
    path = tmp_path / "copy.db"
    path.write_bytes(copy(gateway).body)
    assert gateway.stat("backups_made") == 1
    beyond = gateway.push({"topic": "a", "data": "not in the copy"})["id"]
    other = gateway_factory(store=f"sqlite:{path}")
    other.wait_log("is a copy that a backup made")
    new = other.push({"topic": "a", "data": "new"})["id"]
    assert new.split("-")[0] != ids[0].split("-")[0]
    assert position_of(new) == 6
    for n, id in enumerate(ids, 1):
        events = other.stream("a", resume=id).events(len(ids) - n + 1)
        assert [event.data for event in events] == [str(i) for i in range(n, len(ids))] + ["new"]
    told = other.stream("a", resume=beyond)
    reset = told.next_event()
    assert (reset.name, json.loads(reset.data)["reason"]) == ("reset", "epoch")
    assert position_of(reset.id) == len(ids)
    assert told.next_event().id == new
    other.stop()
    other.start()
    assert other.log().count("is a copy that a backup made") == 1
    assert other.stream("a", since="earliest").events(6)[-1].id == new
    # the store itself stays what it was
    assert gateway.stream("a", resume=ids[3]).next_event().id == ids[4]
    assert_nothing_left(gateway, folder)


def test_copy_takes_the_place_of_a_store_that_crashed(gateway_factory, store, folder):
    """The log that the crash left belongs to the store that is no more."""
    gateway = gateway_factory(store=store)
    ids = gateway.push([{"topic": "a", "data": str(i)} for i in range(5)])["ids"]
    body = copy(gateway).body
    lost = gateway.push({"topic": "a", "data": "later"})["id"]
    gateway.kill()
    assert (folder / "h.db-wal").stat().st_size > 0
    (folder / "h.db").write_bytes(body)
    gateway.start(ready=False)
    assert gateway.wait() == 1
    gateway.process = None
    gateway.wait_log(f"{folder}/h.db-wal belongs to another file: remove that")
    (folder / "h.db-wal").unlink()
    gateway.start()
    reset = gateway.stream("a", resume=lost).next_event()
    assert json.loads(reset.data)["reason"] == "epoch"
    events = gateway.stream("a", since="earliest").events(5)
    assert [position_of(event.id) for event in events] == [position_of(id) for id in ids]


def test_damage_of_a_copy_is_told(gateway_factory, store, tmp_path):
    gateway = gateway_factory(store=store)
    gateway.push([{"topic": "a", "data": f"number {i:03}"} for i in range(600)])
    body = copy(gateway).body
    assert body.count(b"number 300") == 1
    path = tmp_path / "copy.db"
    path.write_bytes(body.replace(b"number 300", b"number ???"))
    other = gateway_factory(store=f"sqlite:{path}")
    end = other.push({"topic": "a", "data": "end"})["id"]
    events = past_of(other.stream("a", since="earliest"), end)
    (reset,) = [event for event in events if event.name == "reset"]
    assert json.loads(reset.data)["reason"] == "damaged"
    assert not any(event.data == "number ???" for event in events)


# refusals


def test_store_in_memory_has_nothing_to_copy(gateway):
    for _ in range(2):
        assert gateway.request("POST", "/api/backup").problem(409)["code"] == "nothing_on_disk"
    assert gateway.stat("backups_failed") == 0


def test_only_a_post_without_a_body_from_no_foreign_page(gateway_factory, store):
    gateway = gateway_factory(store=store)
    response = gateway.request("GET", "/api/backup")
    assert response.problem(405)["code"] == "method_not_allowed"
    assert response.head.get("Allow") == "POST, OPTIONS"
    response = gateway.request_once("POST", "/api/backup", body=b"x")
    assert response.problem(413)["code"] == "body_not_taken"
    response = gateway.request("POST", "/api/backup", [("Origin", "https://evil.example")])
    assert response.problem(403)["code"] == "foreign_origin"
    assert gateway.stat("backups_made") == 0


def test_one_copy_at_a_time_until_it_is_sent(gateway_factory, store, folder):
    gateway = gateway_factory(store=store)
    fill(gateway)
    with stalled_copy(gateway):
        for _ in range(3):
            response = gateway.request("POST", "/api/backup")
            assert response.problem(503)["code"] == "backup_running"
            assert int(response.head.get("Retry-After")) > 0
        gateway.push({"topic": "a", "data": "goes on"})
    wire.wait_until(lambda: gateway.request_once("POST", "/api/backup").status == 200, 10,
                    "the copy of the client that left is gone")
    assert_nothing_left(gateway, folder)


def test_client_that_stops_reading_gives_way(gateway_factory, store, folder):
    """Its connection ends as one does on which nothing moves."""
    gateway = gateway_factory(store=store, settings={"limits.keepalive_timeout": "1s"})
    fill(gateway)
    with stalled_copy(gateway) as client:
        wire.wait_until(lambda: gateway.request_once("POST", "/api/backup").status == 200, 20,
                        "the copy that nobody reads is gone")
        with contextlib.suppress(ConnectionError):
            assert len(client.read_to_end()) < 200 * LARGE
    assert_nothing_left(gateway, folder)


def test_no_room_for_a_copy(gateway_factory, small_disk):
    gateway = gateway_factory(store=f"sqlite:{small_disk}/h.db")
    gateway.push({"topic": "a", "data": "x"})
    response = gateway.request("POST", "/api/backup")
    assert response.problem(507)["code"] == "no_room_for_copy"
    assert gateway.stat("backups_failed") == 1
    gateway.push({"topic": "a", "data": "y"})
    assert_nothing_left(gateway, small_disk)


# those who leave


@pytest.mark.parametrize("how", ["close", "reset"])
def test_clients_that_hang_up_leave_nothing(gateway_factory, store, folder, how):
    """At all kinds of moments: before, while and after the copy is made."""
    gateway = gateway_factory(store=store)
    fill(gateway, 100)
    for moment in range(12):
        client = gateway.raw(receive_buffer=4096)
        client.send(gateway.request_bytes("POST", "/api/backup"))
        time.sleep(moment * 0.002)  # which moment it is, is left to chance
        getattr(client, how)()
    wire.wait_until(lambda: gateway.request_once("POST", "/api/backup").status == 200, 10,
                    "a copy can be made again")
    assert_nothing_left(gateway, folder)
    gateway.push({"topic": "a", "data": "x"})


@pytest.mark.parametrize("stage", ["sent", "made"])
def test_stop_does_not_wait_for_a_copy(gateway_factory, store, folder, stage):
    gateway = gateway_factory(store=store, settings={"drain.window": "60s"})
    fill(gateway)
    if stage == "sent":
        with stalled_copy(gateway) as client:
            gateway.signal()
            assert gateway.wait(10) == 0
            with contextlib.suppress(ConnectionError):
                assert len(client.read_to_end()) < 200 * LARGE
    else:
        with gateway.raw() as client:
            client.send(gateway.request_bytes("POST", "/api/backup"))
            gateway.signal()
            assert gateway.wait(10) == 0
            with contextlib.suppress(ConnectionError):
                rest = client.read_to_end()
                assert not rest or b" 503 " in rest[:20] or b" 200 " in rest[:20]
    assert_nothing_left(gateway, folder)
    assert "leaving without" not in gateway.log()


def test_leavings_are_removed_at_the_next_start(gateway_factory, store, folder):
    gateway = gateway_factory(store=store)
    id = gateway.push({"topic": "a", "data": "x"})["id"]
    gateway.kill()
    (folder / "h.db.copying").write_bytes(bytes(100000))
    (folder / "h.db.copying-wal").write_bytes(bytes(100))
    gateway.start()
    assert_nothing_left(gateway, folder)
    assert gateway.stream("a", since="earliest").next_event().id == id


# bugle backup


def test_tool_writes_a_copy(gateway_factory, store, tmp_path, bugle):
    gateway = gateway_factory(store=store)
    ids = gateway.push([{"topic": "a", "data": str(i)} for i in range(10)])["ids"]
    path = tmp_path / "copy.db"
    done = bugle("backup", "--url", gateway.url, "copy.db")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = gateway_factory(store=f"sqlite:{path}")
    events = other.stream("a", since="earliest").events(10)
    assert [position_of(event.id) for event in events] == [position_of(id) for id in ids]


def test_tool_replaces_a_file_only_when_told(gateway_factory, store, tmp_path, bugle):
    gateway = gateway_factory(store=store)
    path = tmp_path / "copy.db"
    path.write_text("precious")
    done = bugle("backup", "--url", gateway.url, path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"bugle backup: {path} is there already (--force replaces it)\n"
    assert path.read_text() == "precious"
    assert gateway.stat("backups_made") == 0
    assert bugle("backup", "--force", "--url", gateway.url, path).returncode == 0
    assert path.read_bytes().startswith(b"SQLite format 3\0")
    done = bugle("backup", "--force", "--url", gateway.url, tmp_path)
    assert (done.returncode, done.stderr) == (1, f"bugle backup: {tmp_path} is no file\n")
    assert {each.name for each in tmp_path.iterdir()} == {"copy.db", "state"}


def test_tool_writes_to_standard_output(gateway_factory, store, tmp_path, run):
    gateway = gateway_factory(store=store)
    with (tmp_path / "out").open("wb") as out:
        tool = run("backup", "--url", gateway.url, "-", stdout=out)
        assert tool.finish() == ("", "")
    path = tmp_path / "out"
    assert path.stat().st_size % 4096 == 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (0,)
    ours, theirs = os.openpty()
    tool = run("backup", "--url", gateway.url, "-", stdout=theirs)
    os.close(theirs)
    err = tool.rest(tool.process.stderr)
    assert tool.process.wait() == 2
    assert err == "bugle backup: a terminal cannot show the copy: name a file (see --help)\n"
    os.close(ours)


def test_tool_tells_why_it_failed(gateway, tmp_path, bugle):
    def assert_fails(words, *args, status=1):
        done = bugle("backup", *args)
        assert (done.returncode, done.stdout) == (status, "")
        assert re.fullmatch(f"bugle backup: {words}\n", done.stderr), done.stderr
        assert list(tmp_path.iterdir()) == []

    assert_fails(".* answered 409 Conflict: The store is in memory: .*", "--url", gateway.url, "f")
    assert_fails("cannot connect to .*: Connection refused", "--url", "http://127.0.0.1:9", "f")
    assert_fails("nowhere/f cannot be written: No such file or directory", "--url", gateway.url,
                 "nowhere/f")
    assert_fails("name the file to write .*", status=2)
    assert_fails("unexpected argument g .*", "f", "g", status=2)
    assert_fails("there is no option --what .*", "--what", "f", status=2)


def empty_file(pages_n):
    """What the beginning of a store says, and nothing behind it."""
    header = b"SQLite format 3\0" + bytes(12) + pages_n.to_bytes(4, "big") + bytes(36) + b"Bugl"
    return header + bytes(pages_n * 4096 - len(header))


def test_tool_keeps_no_half_of_a_copy(run, server, tmp_path):
    whole = empty_file(3)
    of_another = whole.replace(b"Bugl", b"Else")
    cases = [
        (answer(200, whole, TYPE)[:-5000], "(remaining|missing)"),
        (answer(200, whole[:-4096], TYPE), "without a whole copy"),
        (answer(200, b"<html>" + bytes(8186), "text/html"), "data that is not a Bugle store"),
        (answer(200, of_another, TYPE), "data that is not a Bugle store"),
        (answer(200, whole + bytes(4096), TYPE), "data that is not a Bugle store"),
        (answer(200, b"", TYPE), "without a whole copy"),
        (problem(503, detail="Another one.", title="Service Unavailable"), "503 Service .*Another"),
        (answer(200, whole, TYPE), None),
    ]
    for data, words in cases:
        tool = run("backup", "--url", server.url, "copy.db", "--token", "secret", cwd=tmp_path)
        connection = server.accept()
        asked = connection.request()
        assert (asked.method, asked.path, asked.body) == ("POST", "/api/backup", b"")
        assert asked.headers["authorization"] == "Bearer secret"
        assert list(tmp_path.glob("copy.db")) == []
        connection.send(data)
        connection.close()
        if words:
            _, err = tool.finish(1)
            assert re.fullmatch(f"bugle backup: .*{words}.*\n", err), err
            assert list(tmp_path.iterdir()) == []
    assert tool.finish() == ("", "")
    assert (tmp_path / "copy.db").read_bytes() == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_tool_leaves_nothing(run, server, tmp_path, number):
    tool = run("backup", "--url", server.url, "copy.db", cwd=tmp_path)
    connection = server.accept()
    connection.request()
    connection.send(answer(200, empty_file(25), TYPE)[:5000])
    wire.wait_until(lambda: any(path.stat().st_size for path in tmp_path.iterdir()), 10,
                    "the beginning is written")
    tool.signal(number)
    assert tool.finish(1)[1] == "bugle backup: interrupted; copy.db was not written\n"
    assert list(tmp_path.iterdir()) == []


# bugle epoch


def test_epoch_is_told_and_renewed(gateway_factory, store, folder, bugle):
    gateway = gateway_factory(store=store)
    ids = gateway.push([{"topic": "a", "data": str(i)} for i in range(3)])["ids"]
    epoch = ids[0].split("-")[0]
    done = bugle("epoch", "--store", store)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{epoch}\n", "")
    done = bugle("epoch", "new", "--store", store)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"bugle epoch: {folder}/h.db is in use by another process\n"
    gateway.stop()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert bugle("epoch", env={"BUGLE_HISTORY_STORE": store}).stdout == f"{epoch}\n"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    done = bugle("epoch", "new", "--store", store)
    new = done.stdout.strip()
    assert (done.returncode, done.stderr) == (0, "") and re.fullmatch("[0-9a-z]{12}", new)
    assert new != epoch
    assert bugle("epoch", "--store", store).stdout == f"{new}\n"
    gateway.start()
    assert gateway.push({"topic": "a", "data": "x"})["id"] == f"{new}-{4:016}"
    assert [event.data for event in gateway.stream("a", resume=ids[0]).events(3)] == ["1", "2", "x"]
    beyond = gateway.stream("a", resume=f"{epoch}-{4:016}").next_event()
    assert json.loads(beyond.data)["reason"] == "epoch"
    events = gateway.stream("a", since="earliest").events(4)
    assert [event.data for event in events] == ["0", "1", "2", "x"]


def test_epoch_of_the_default_store_is_told(gateway_factory, folder, bugle):
    gateway = gateway_factory(store=f"sqlite:{folder}/history.db")
    id = gateway.push({"data": "x"})["id"]
    done = bugle("epoch", env={"STATE_DIRECTORY": str(folder)})
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{id.split('-')[0]}\n", "")


def test_epoch_is_told_after_a_crash(gateway_factory, store, bugle):
    gateway = gateway_factory(store=store)
    id = gateway.push({"topic": "a", "data": "x"})["id"]
    gateway.kill()
    assert bugle("epoch", "--store", store).stdout == f"{id.split('-')[0]}\n"
    gateway.start()
    assert gateway.stream("a", since="earliest").next_event().id == id


def test_epoch_of_a_copy_is_told_with_a_warning(gateway_factory, store, tmp_path, bugle):
    gateway = gateway_factory(store=store)
    id = gateway.push({"data": "x"})["id"]
    bugle("backup", "--url", gateway.url, "copy.db")
    done = bugle("epoch", "--store", "sqlite:copy.db")
    assert (done.returncode, done.stdout) == (0, f"{id.split('-')[0]}\n")
    assert "copy.db is a copy" in done.stderr
    assert {each.name for each in tmp_path.iterdir()} == {"copy.db", "state"}


def test_epoch_tells_why_it_failed(tmp_path, bugle):
    (tmp_path / "empty").touch()
    (tmp_path / "notes").write_text("not a database" * 1000)
    with contextlib.closing(sqlite3.connect(tmp_path / "other")) as db:
        db.execute("CREATE TABLE meta(name, value)")
    cases = [
        (1, "nowhere: No such file or directory", ["--store", "sqlite:nowhere"]),
        (1, "empty .*", ["--store", "sqlite:empty"]),
        (1, "notes is not a history of bugle", ["--store", "sqlite:notes"]),
        (1, "other is not a history of bugle", ["--store", "sqlite:other"]),
        (2, "the store memory: has no file: .*", ["--store", "memory:"]),
        (2, "--store: history.store is .*", ["--store", "disk:x"]),
        (2, "there is no option --what .*", ["--what"]),
    ]
    for (status, words, args), new in itertools.product(cases, [[], ["new"]]):
        done = bugle("epoch", *new, *args)
        assert (done.returncode, done.stdout) == (status, ""), (args, done)
        assert re.fullmatch(f"bugle epoch: {words}\n", done.stderr), (new, done.stderr)
    assert (tmp_path / "empty").stat().st_size == 0
    assert (tmp_path / "notes").read_text() == "not a database" * 1000
    assert bugle("epoch", "old").returncode == 2
    assert bugle("epoch", "new", "er").returncode == 2
