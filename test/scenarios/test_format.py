# SPDX-License-Identifier: MIT
"""A store that the version before the last format wrote: format-2.db.gz is a file of its, closed in
good order, with six events and two keys."""

import gzip
import pathlib
import random
import sqlite3
import time

import pytest

import conftest
import wire

FIXTURE = pathlib.Path(__file__).resolve().parent / "format-2.db.gz"
EPOCH = "psxrpj3jju5x"
# an hour after it was written, so that nothing of it is over
NOW = 1796108259
IDS = [f"{EPOCH}-{position:016}" for position in range(1, 7)]
DATA = ["text", '{"total":19.90}', "[1,2]", "two\nlines", "1", "1"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "h.db"
    unpack(path)
    return path


def unpack(path):
    for ending in ("", "-wal", "-shm"):
        pathlib.Path(f"{path}{ending}").unlink(missing_ok=True)
    path.write_bytes(gzip.decompress(FIXTURE.read_bytes()))


@pytest.fixture
def gateway(gateway_factory, path, tmp_path):
    clock = tmp_path / "clock"
    clock.write_text(str(NOW - int(time.time())))
    shim = conftest.build_shim(tmp_path, "clock_shim")
    return gateway_factory(store=f"sqlite:{path}",
                           env={"LD_PRELOAD": str(shim), "CLOCK_SHIM_FILE": str(clock)})


def format_of(path):
    """Of a file that nobody has open, and with its log, or it would not be whole."""
    with sqlite3.connect(path) as db:
        columns = {row[1] for row in db.execute("PRAGMA table_info(events)")}
        number = db.execute("PRAGMA user_version").fetchone()[0]
    assert ("json" in columns) == (number == 3)
    return number


def listed(gateway):
    return gateway.request("GET", "/api/history?user=ada").json()["events"]


def assert_old_events(events):
    assert [event["id"] for event in events] == IDS
    assert [event["data"] for event in events] == DATA
    assert not any("json" in event for event in events), "all count as text"


def test_an_older_store_is_brought_up_to_date_at_the_start(gateway, path):
    assert "had format 2 and has format 3 now" in gateway.log()
    assert_old_events(listed(gateway))
    pushed = gateway.push([{"data": {"a": 1}}, {"data": "text"}, {"data": "1"}, {"data": 1}])
    gateway.stop()
    assert format_of(path) == 3
    gateway.start()
    assert gateway.log().count("has format 3 now") == 1
    events = listed(gateway)
    assert_old_events(events[:6])
    assert [event["id"] for event in events[6:]] == pushed["ids"]
    assert [event.get("json") for event in events[6:]] == [True, None, None, True]
    assert [event["data"] for event in events[6:]] == ['{"a":1}', "text", "1", "1"]


def test_streams_go_on_where_they_were(gateway):
    stream = gateway.stream("a", resume=IDS[0], user="ada")
    events = stream.events(4)
    assert [event.id for event in events] == IDS[2:]
    assert (events[1].name, events[1].data) == ("named", "two\nlines")
    assert gateway.stat("resets") == 0


def test_keys_of_old_know_their_repeats(gateway):
    """Nobody knows whether they were used for JSON, so both count."""
    for data in (1, "1"):
        for key, id in (("number", IDS[4]), ("text", IDS[5])):
            answer = gateway.push({"topic": "a", "data": data, "idempotency_key": key})
            assert (answer["duplicate"], answer["id"]) == (True, id)
    gateway.post({"topic": "a", "data": 2, "idempotency_key": "number"}).problem(422)


def test_keys_of_now_tell_json_from_text(gateway):
    event = {"data": 1, "idempotency_key": "new"}
    id = gateway.push(event)["id"]
    assert gateway.push(event)["duplicate"] is True
    gateway.post(dict(event, data="1")).problem(422)
    gateway.kill()
    gateway.start()
    assert gateway.push(event)["id"] == id
    gateway.post(dict(event, data="1")).problem(422)


def test_killed_at_any_moment_of_a_start(gateway, path):
    """kill -9: the file is of one format or the other, and all of it is there."""
    gateway.stop()
    renewals = []
    for _ in range(wire.fewer(30, 8)):
        unpack(path)
        gateway.start(ready=False)
        time.sleep(random.uniform(0.002, 0.03) * wire.SLOW)
        gateway.kill()
        gateway.start()
        renewals.append(gateway.log().count("has format 3 now"))
        assert_old_events(listed(gateway))
        gateway.push({"data": {}})
        assert listed(gateway)[-1]["json"] is True
        gateway.stop()
        assert format_of(path) == 3
    print("formats renewed so far, at each start:", renewals)
