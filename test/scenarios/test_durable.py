# SPDX-License-Identifier: MIT
"""The store on disk: what an acknowledgement is worth when the gateway is started again, or out of
room.  Crashes are in test_crash.py."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess

import pytest

import wire


@pytest.fixture
def store(tmp_path):
    """The setting that names a store of the test's own."""
    return f"sqlite:{tmp_path}/h.db"


def past_of(stream, last):
    """The events up to the one with this id."""
    events = [stream.next_event()]
    while events[-1].id != last:
        events.append(stream.next_event())
    return events


# a restart


def test_acknowledgement_says_disk(gateway_factory, store):
    gateway = gateway_factory(store=store)
    assert gateway.push({"data": "x"})["durability"] == "disk"
    assert gateway.push([{"data": "x"}, {"data": "y"}])["durability"] == "disk"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_stream_resumes_over_a_restart(gateway_factory, store, how):
    """The epoch stays, so the old id is still a place, and nothing after it is missing."""
    gateway = gateway_factory(store=store)
    ids = gateway.push([{"topic": "a", "data": str(i)} for i in range(5)])["ids"]
    live = gateway.stream("a", resume=ids[0]).next_event()
    getattr(gateway, how)()
    gateway.start()
    ids += gateway.push([{"topic": "a", "data": str(i)} for i in range(5, 8)])["ids"]
    assert ids == sorted(ids) and len(set(ids)) == 8
    stream = gateway.stream("a", resume=ids[1])
    assert [event.data for event in past_of(stream, ids[-1])] == ["2", "3", "4", "5", "6", "7"]
    assert gateway.stream("a", resume=ids[0]).next_event() == live
    assert gateway.stream("*", since="earliest").next_event().id == ids[0]
    assert gateway.stream(since="1h").next_event().id == ids[0]
    assert gateway.stat("resets") == 0
    gateway.push({"topic": "a", "data": "live"})
    assert stream.next_event().data == "live"


def test_every_kind_of_event_is_replayed_to_those_it_is_for(gateway_factory, store):
    gateway = gateway_factory(store=store)
    gateway.push([
        {"data": "all"}, {"topic": "a", "data": "a"}, {"user": "ada", "data": "ada"},
        {"topics": ["b", "a/b"], "users": ["ada", "bob"], "data": "both"},
        {"topic": "a", "data": "live only", "ephemeral": True}, {"topic": "b", "data": "b"}])
    gateway.kill()
    gateway.start()
    end = gateway.push({"data": "end"})["id"]

    def replayed(*topics, **query):
        events = past_of(gateway.stream(*topics, since="earliest", **query), end)
        return [event.data for event in events[:-1]]

    assert replayed() == ["all", "a", "b"]
    assert replayed("a") == ["all", "a"]
    assert replayed("a", user="ada") == ["all", "a", "ada"]
    assert replayed("a/*", user="bob") == ["all", "both"]
    assert replayed("*", user="ada") == ["all", "a", "ada", "both", "b"]
    assert replayed("*", user="eve") == ["all", "a", "b"]


# refusals


def assert_refuses_to_start(gateway, words):
    gateway.start(ready=False)
    assert gateway.wait() == 1
    lines = [line for line in gateway.log().splitlines() if "cannot start" in line]
    assert len(lines) == 1 and words in lines[0], gateway.log()
    gateway.process = None


def test_second_gateway_on_the_same_file_is_refused(gateway_factory, store):
    gateway = gateway_factory(store=store)
    assert_refuses_to_start(gateway_factory(store=store, start=False), "in use by another process")
    gateway.push({"data": "x"})


def test_foreign_file_is_refused_and_left_alone(gateway_factory, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database" * 1000)
    assert_refuses_to_start(gateway_factory(store=f"sqlite:{path}", start=False),
                            "is not a history of bugle")
    assert path.read_text() == "not a database" * 1000
    assert_refuses_to_start(gateway_factory(store="sqlite:/nowhere/h.db", start=False),
                            "No such file or directory")


# damage


def test_damage_is_told_and_what_follows_is_served(gateway_factory, store, tmp_path):
    gateway = gateway_factory(store=store)
    ids = gateway.push([{"topic": "a", "data": f"number {i:03}"} for i in range(600)])["ids"]
    gateway.stop()
    path = tmp_path / "h.db"
    content = path.read_bytes()
    assert content.count(b"number 300") == 1
    path.write_bytes(content.replace(b"number 300", b"number 333"))
    gateway.start()
    end = gateway.push({"topic": "a", "data": "end"})["id"]
    for topics, query in [("a", {"resume": ids[0]}), ("*", {"since": "earliest"})]:
        events = past_of(gateway.stream(topics, **query), end)
        (at,) = [i for i, event in enumerate(events) if event.name == "reset"]
        assert json.loads(events[at].data)["reason"] == "damaged"
        lost = [id for id in ids if events[at - 1].id < id <= events[at].id]
        assert ids[300] in lost and len(lost) < 100
        begin = [] if "since" in query else ids[:1]
        assert [event.id for event in events[:at]] == [
            id for id in ids if id not in begin and id < lost[0]]
        assert [event.id for event in events[at + 1:-1]] == [id for id in ids if id > lost[-1]]
        assert {event.data for event in events if event.name == "message"} == {
            f"number {i:03}" for i, id in enumerate(ids) if id not in begin + lost} | {"end"}
    assert gateway.stat("pages_damaged") == 2
    assert gateway.stat("resets") == 2


# a full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_refuses_publishers_and_keeps_streams(gateway_factory, small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    gateway = gateway_factory(store=f"sqlite:{small_disk}/h.db")
    stream = gateway.stream("a", since="earliest")
    acknowledged = []
    while True:
        response = gateway.post({"topic": "a", "data": f"{len(acknowledged)} " + "x" * 20000})
        if response.status != 201:
            break
        acknowledged.append(response.json()["id"])
    assert response.status == 507, response
    assert response.json()["code"] == "disk_reserve"
    assert response.head.get("Retry-After")
    assert len(acknowledged) > 10

    # no disk, but all the rest: live streams, replay, events that are not stored
    assert [event.id for event in past_of(stream, acknowledged[-1])] == acknowledged
    again = gateway.stream("a", resume=acknowledged[0])
    assert [event.id for event in past_of(again, acknowledged[-1])] == acknowledged[1:]
    gateway.push({"topic": "a", "data": "light", "ephemeral": True})
    assert stream.next_event().data == "light"
    for _ in range(20):
        assert gateway.post({"topic": "a", "data": "y" * 20000}).status == 507

    ballast.unlink()
    acknowledged.append(gateway.push({"topic": "a", "data": "room again"})["id"])
    assert stream.next_event().data == "room again"
    gateway.kill()
    gateway.start()
    replay = past_of(gateway.stream("a", since="earliest"), acknowledged[-1])
    assert [event.id for event in replay] == acknowledged


def test_no_room_from_the_start(gateway_factory, store):
    """Told in the log, by /readyz and by each 507, with the figures and the setting."""
    gateway = gateway_factory(store=store, settings={"history.disk_reserve": "1048576G"})
    assert "history.disk_reserve is" in gateway.log()
    assert gateway.request("GET", "/readyz").json() == {
        "status": "ready", "publishing": "no_room"}
    problem = gateway.post({"topic": "a", "data": "x"}).problem(507)
    assert problem["code"] == "disk_reserve"
    assert re.search(r"[0-9]+ KiB are free .* history.disk_reserve is [0-9]+ KiB, .* takes up to"
                     r" [0-9]+ KiB", problem["detail"]), problem


# the file


def wait_until_ready(gateway, status):
    wire.wait_until(lambda: gateway.request("GET", "/readyz").status == status, 5,
                    f"/readyz is {status}")


@pytest.mark.parametrize("ending", ["", "-wal"])
def test_file_that_is_moved_away_stops_publishing(gateway_factory, store, tmp_path, ending):
    gateway = gateway_factory(store=store)
    gateway.push({"topic": "a", "data": "1"})
    stream = gateway.stream("a")
    path = tmp_path / f"h.db{ending}"
    path.rename(tmp_path / "away")
    if ending:
        wait_until_ready(gateway, 503)
    problem = gateway.post({"topic": "a", "data": "lost"}).problem(503)
    assert problem["code"] == "store_gone"
    wait_until_ready(gateway, 503)
    gateway.wait_log(f"h.db{ending} was removed or moved away")
    gateway.push({"topic": "a", "data": "light", "ephemeral": True})
    assert stream.next_event().data == "light"
    assert gateway.stream("a", since="earliest").next_event().data == "1"
    (tmp_path / "away").rename(path)
    wait_until_ready(gateway, 200)
    gateway.push({"topic": "a", "data": "2"})
    assert stream.next_event().data == "2"


@pytest.mark.parametrize("other", [True, False], ids=["replaced", "removed"])
def test_reading_goes_on_in_the_file_that_was_opened(gateway_factory, store, tmp_path, other):
    """Although nobody has read before, and never in what is found under its name."""
    kept, strange = [f"{tmp_path}/{name}.db" for name in ("h", "other")]
    for path in (kept, strange):
        gateway = gateway_factory(store=f"sqlite:{path}")
        gateway.push([{"topic": "a", "data": path} for _ in range(5)])
        gateway.stop()
    gateway = gateway_factory(store=store)
    for ending in ("", "-wal", "-shm"):
        os.rename(kept + ending, f"{tmp_path}/away{ending}")
    if other:
        shutil.copy(strange, kept)
    page = gateway.request("GET", "/api/history?topic=a").json()
    assert [event["data"] for event in page["events"]] == 5 * [kept]
    assert gateway.stream("a", since="earliest").next_event().data == kept
    assert gateway.post({"data": "x"}).problem(503)["code"] == "store_gone"
    for ending in ("", "-wal", "-shm"):
        os.rename(f"{tmp_path}/away{ending}", kept + ending)
    wait_until_ready(gateway, 200)
    gateway.push({"topic": "a", "data": kept})
    page = gateway.request("GET", "/api/history?topic=a").json()
    assert [event["data"] for event in page["events"]] == 6 * [kept]


@pytest.mark.parametrize("ending", ["", "-wal"])
def test_file_that_is_cut_short_stops_publishing(gateway_factory, store, tmp_path, ending):
    gateway = gateway_factory(store=store)
    gateway.push({"topic": "a", "data": "x" * 20000})
    os.truncate(tmp_path / f"h.db{ending}", 4096)
    wait_until_ready(gateway, 503)
    assert gateway.post({"data": "lost"}).problem(503)["code"] == "store_failed"
    gateway.wait_log(f"h.db{ending} was cut short")


def test_file_cannot_be_had_twice_under_two_names(gateway_factory, store, tmp_path, bugle):
    gateway = gateway_factory(store=store)
    os.link(tmp_path / "h.db", tmp_path / "link.db")
    result = bugle("serve", "--listen", "127.0.0.1:0", "--store", f"sqlite:{tmp_path}/link.db")
    assert result.returncode == 1
    assert "in use by another process" in result.stderr
    gateway.push({"data": "x"})


def test_log_of_another_file_is_refused(gateway_factory, tmp_path, bugle):
    """Two stores that were killed, and the log of one beside the file of the other."""
    for name in ("one", "other"):
        gateway = gateway_factory(store=f"sqlite:{tmp_path}/{name}.db")
        gateway.push([{"topic": name, "data": name}])
        gateway.kill()
    shutil.copy(tmp_path / "one.db-wal", tmp_path / "kept")
    shutil.copy(tmp_path / "other.db-wal", tmp_path / "one.db-wal")
    serve = ("serve", "--listen", "127.0.0.1:0", "--store", f"sqlite:{tmp_path}/one.db")
    result = bugle(*serve)
    assert result.returncode == 1 and "does not belong to" in result.stderr, result
    (tmp_path / "one.db-wal").unlink()
    result = bugle(*serve)
    assert result.returncode == 1 and "is missing" in result.stderr, result
    shutil.copy(tmp_path / "kept", tmp_path / "one.db-wal")
    gateway = gateway_factory(store=f"sqlite:{tmp_path}/one.db")
    assert gateway.stream("*", since="earliest").next_event().data == "one"


def test_file_can_be_opened_by_anybody(gateway_factory, store, tmp_path):
    """Other programs can read it; they must not write."""
    gateway = gateway_factory(store=store)
    gateway.push([{"topic": "a", "data": str(i)} for i in range(10)])
    gateway.stop()
    left = sorted(path.name for path in pathlib.Path(tmp_path).iterdir() if path.is_file())
    assert left == ["h.db", "h.db.lock"]
    with contextlib.closing(sqlite3.connect(f"file:{tmp_path}/h.db?mode=ro", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (10,)
        assert db.execute("SELECT count(*) FROM topics WHERE topic = x'61'").fetchone() == (10,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
