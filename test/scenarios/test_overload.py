# SPDX-License-Identifier: MIT
"""More than the gateway can take: who is refused, and how; who is not, and what they notice.  The
times are what `make overloadtest` prints; here only facts count."""

import contextlib
import json
import sys
import threading

import pytest

import conftest
import wire

sys.path.insert(0, str(conftest.SOURCE / "test" / "load"))

import overload  # noqa: E402
import tools  # noqa: E402

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return tools.build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def slow(gateway_factory, shim, tmp_path):
    """A gateway on a disk whose syncs take 150 ms longer, where little may wait."""
    return gateway_factory(
        settings={"limits.queue_wait": "1ms"}, workers=1, store=f"sqlite:{tmp_path}/h.db",
        env={"LD_PRELOAD": str(shim), "SLOW_SHIM_US": "150000",
             "ASAN_OPTIONS": "verify_asan_link_order=0"})


def large_body(events=500, size=900):
    return json.dumps([{"topic": "large", "data": f"{number:04}" + "x" * size}
                       for number in range(events)]).encode()


def fill(gateway, stop):
    """Publish until told to stop, whatever the answers are; they are noted."""
    answers = []

    def publish():
        while not stop.is_set():
            with contextlib.suppress(OSError, AssertionError):
                answers.append(gateway.request_once(
                    "POST", "/api/push", [("Content-Type", "application/json")], large_body()))

    threads = [threading.Thread(target=publish) for _ in range(6)]
    for thread in threads:
        thread.start()
    return answers, threads


def test_what_would_wait_too_long_is_refused_at_once_and_the_rest_is_kept(slow):
    """Nothing of a refused publish is stored, and everything of an accepted one."""
    stop = threading.Event()
    answers, threads = fill(slow, stop)
    wire.wait_until(lambda: slow.stat("publishes_shed") >= 10, 30, "some are refused")
    # the others do not notice
    assert slow.request("GET", "/healthz").status == 200
    wire.wait_until(lambda: 0 < slow.stat("queue_room") < MEBIBYTE, 10, "the slow disk is noticed")
    stop.set()
    for thread in threads:
        thread.join()
    refused = [each for each in answers if each.status == 503]
    accepted = [each for each in answers if each.status == 201]
    assert refused and accepted and len(refused) + len(accepted) == len(answers), answers
    for each in refused:
        assert each.json()["code"] == "overloaded", each
    waits = [int(each.head.get("Retry-After")) for each in refused]
    assert all(1 <= wait <= 5 for wait in waits) and len(set(waits)) > 1, waits
    assert slow.stat("events_published") == 500 * len(accepted)
    # and once nobody floods it, it takes what comes
    wire.wait_until(lambda: slow.stat("queue_bytes") == 0, 10, "nothing waits")
    assert slow.push({"topic": "small", "data": "x"})["id"]


def test_a_flood_is_answered_in_one_of_two_ways(tmp_path):
    peak, storm, stats = overload.run_flood(tmp_path, 2000, wire.seconds(1), pinned=False)
    assert peak > 0 and stats["events_published"] > 0, (peak, stats)
    assert storm["other"]["count"] == 0 and storm["ended"] == 0, storm
    assert storm["without_retry_after"] == 0, storm
    assert stats["publishes_failed"] == 0, stats


@pytest.mark.gateway(workers=1, settings={"limits.body_bytes": "2M"})
def test_large_bodies_are_read_beside_the_loop(gateway):
    """Good ones and bad ones, on one connection, and what they say is in order."""
    stream = gateway.stream("large")
    before = gateway.stat("publishes_aside")
    ids = gateway.push(large_body())["ids"]
    assert len(ids) == 500
    assert [event.id for event in stream.events(500)] == ids
    bad = gateway.post(large_body()[:-1] + b",]")
    assert (bad.status, bad.json()["code"]) == (400, "invalid_json"), bad
    wrong = gateway.post(large_body()[:-1] + b',{"topc":"a","data":1}]')
    assert (wrong.status, wrong.json()["pointer"]) == (422, "/500/topc"), wrong
    keyed = json.dumps([{"topic": "large", "data": "y" * 900, "idempotency_key": f"k{number}"}
                        for number in range(100)]).encode()
    first, again = gateway.push(keyed), gateway.push(keyed)
    assert first["ids"] == again["ids"] and all(again["duplicates"])
    text = ("z" * 50_000).encode()
    assert gateway.push(text, content_type="text/plain", query={"topic": "large"})["id"]
    assert gateway.push({"topic": "large", "data": "small"})["id"]
    assert gateway.stat("publishes_aside") - before == 6
    assert gateway.stat("publishes_refused") == 2
    wire.wait_until(lambda: gateway.stat("queue_bytes") == 0, 5, "all is counted off again")


@pytest.mark.gateway(workers=2, settings={"drain.window": "0s"})
def test_a_stop_finds_bodies_that_are_being_read(gateway):
    """They are published or refused, and the process leaves in time."""
    stop = threading.Event()
    answers, threads = fill(gateway, stop)
    wire.wait_until(lambda: gateway.stat("publishes_aside") >= 20, 20, "bodies are read")
    gateway.stop()
    stop.set()
    for thread in threads:
        thread.join()
    assert {each.status for each in answers} <= {201, 503}, answers


@pytest.mark.long
def test_a_crowd_and_a_few_have_all_that_is_theirs(tmp_path):
    _, beside, crowd = overload.run_fair(tmp_path, wire.fewer(300, 60), 1, 0.1, pinned=False)
    for result in (*beside, crowd):
        assert result["good"], result
