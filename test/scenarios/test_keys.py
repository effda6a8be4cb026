# SPDX-License-Identifier: MIT
"""Idempotency keys: a publisher that got no answer asks again, and the event is stored once
(bugle-wire(7))."""

import contextlib
import threading

import pytest

import wire


@pytest.fixture(params=["memory:", "sqlite:"])
def keeper(request, gateway_factory, tmp_path):
    """A gateway on each store."""
    store = request.param
    return gateway_factory(store=store if store == "memory:" else f"sqlite:{tmp_path}/h.db")


def replayed(gateway):
    """All that is stored."""
    last = gateway.push({"data": "end"})["id"]
    events = gateway.stream(since="earliest")
    found = []
    while (event := events.next_event()).id != last:
        found.append(event)
    return found


def test_same_again_gets_the_first_id(keeper):
    stream = keeper.stream()
    body = {"topic": "a", "data": "x", "idempotency_key": "k1"}
    first = keeper.push(body)
    again = keeper.push(body)
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert again["id"] == first["id"] and again["durability"] == first["durability"]
    assert keeper.push({**body, "idempotency_key": "k2"})["id"] > first["id"]
    assert [event.data for event in replayed(keeper)] == ["x", "x"]
    assert [event.data for event in stream.events(3)] == ["x", "x", "end"]
    assert keeper.stat("events_repeated") == 1
    wire.wait_until(lambda: keeper.stat("idempotency_keys") == 2)


def test_array_says_which_came_before(keeper):
    first = keeper.push([{"data": i, "idempotency_key": f"k{i}"} for i in range(3)])
    answer = keeper.push([{"data": i, "idempotency_key": f"k{i}"} for i in (1, 3)]
                         + [{"data": "no key"}])
    assert answer["duplicates"] == [True, False, False]
    assert answer["ids"][0] == first["ids"][1]
    assert answer["ids"][1] > first["ids"][2] and answer["ids"][2] > answer["ids"][1]
    assert [event.data for event in replayed(keeper)] == ["0", "1", "2", "3", "no key"]


def test_key_with_other_content_is_refused_whole(keeper):
    keeper.push({"data": "x", "idempotency_key": "k"})
    problem = keeper.post({"data": "y", "idempotency_key": "k"}).problem(422)
    assert (problem["code"], problem["pointer"]) == ("idempotency_conflict", "/idempotency_key")
    for other in ({"topic": "t"}, {"user": "u"}, {"event": "e"}, {"ttl": 9}, {"retry": 2000}):
        assert keeper.post({"data": "x", "idempotency_key": "k", **other}).problem(422)["code"] == \
            "idempotency_conflict"
    problem = keeper.post([{"data": "new", "idempotency_key": "n"}, {"data": "none"},
                           {"data": "y", "idempotency_key": "k"}]).problem(422)
    assert (problem["code"], problem["pointer"]) == ("idempotency_conflict", "/2/idempotency_key")
    assert keeper.push({"data": "free", "idempotency_key": "n"})["duplicate"] is False
    assert [event.data for event in replayed(keeper)] == ["x", "free"]


def test_key_twice_in_one_array_is_refused(keeper):
    problem = keeper.post([{"data": "x", "idempotency_key": "k"}, {"data": "y"},
                           {"data": "x", "idempotency_key": "k"}]).problem(422)
    assert (problem["code"], problem["pointer"]) == ("invalid_field", "/2/idempotency_key")
    assert replayed(keeper) == []


@pytest.mark.parametrize("value", ["k-1", '"k-1"', '"k\\-1"'])
def test_header_is_a_key_too(keeper, value):
    """The header as its draft has it, in quotes, and as most clients send it."""
    first = keeper.push({"data": "x", "idempotency_key": "k-1"})
    for body, kind in ((b'{"data":"x"}', "application/json"), (b"x", "text/plain")):
        target = "/api/push" if kind == "application/json" else "/api/push?broadcast=true"
        answer = keeper.request("POST", target, [("Content-Type", kind),
                                                 ("Idempotency-Key", value)], body).json()
        assert (answer["id"], answer["duplicate"]) == (first["id"], True)
    answer = keeper.request("POST", "/api/push?broadcast=true&idempotency_key=k-1",
                            [("Content-Type", "text/plain")], b"x").json()
    assert (answer["id"], answer["duplicate"]) == (first["id"], True)


@pytest.mark.parametrize("headers, body, status, code", [
    (['"k'], b'{"data":1}', 400, "invalid_key"),
    (["a", "b"], b'{"data":1}', 400, "invalid_key"),
    (['""'], b'{"data":1}', 422, "invalid_field"),
    (["k" * 257], b'{"data":1}', 422, "invalid_field"),
    (["k"], b'[{"data":1}]', 422, "key_of_many"),
    (["k"], b'{"data":1,"idempotency_key":"k"}', 422, "invalid_field"),
    (["k"], b'{"data":1,"ephemeral":true}', 422, "invalid_field"),
])
def test_header_that_is_wrong(gateway, headers, body, status, code):
    fields = [("Content-Type", "application/json")] + [("Idempotency-Key", k) for k in headers]
    response = gateway.request("POST", "/api/push", fields, body)
    assert response.problem(status)["code"] == code
    assert gateway.stat("events_published") == 0


def test_many_at_once_store_one(keeper):
    """The first answer is lost, and the publisher asks again on every connection it has."""
    answers = []

    def publish():
        with contextlib.suppress(ConnectionError), keeper.raw() as connection:
            for i in range(20):
                connection.send(keeper.request_bytes(
                    "POST", f"/api/push?topic=a&idempotency_key=k{i}",
                    [("Content-Type", "text/plain")], b"x"))
                answers.append((i, connection.read_response().json()))

    publishers = [threading.Thread(target=publish) for _ in range(8)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    assert len(answers) == 160
    for i in range(20):
        of_key = [answer for key, answer in answers if key == i]
        assert len({answer["id"] for answer in of_key}) == 1
        assert sorted(answer["duplicate"] for answer in of_key) == [False] + [True] * 7
    assert len(replayed(keeper)) == 20


def test_key_outlives_a_crash(gateway_factory, tmp_path):
    gateway = gateway_factory(store=f"sqlite:{tmp_path}/h.db")
    first = gateway.push({"data": "x", "idempotency_key": "k"})
    gateway.kill()
    gateway.start()
    again = gateway.push({"data": "x", "idempotency_key": "k"})
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    assert gateway.post({"data": "y", "idempotency_key": "k"}).problem(422)["code"] == \
        "idempotency_conflict"


def test_key_is_forgotten_after_its_window(gateway_factory, tmp_path):
    for store in ("memory:", f"sqlite:{tmp_path}/h.db"):
        gateway = gateway_factory(store=store, settings={"history.idempotency_window": "1s"})
        first = gateway.push({"data": "x", "idempotency_key": "k"})
        answers = [first]

        def is_taken_again():
            answers.append(gateway.push({"data": "x", "idempotency_key": "k"}))
            return not answers[-1]["duplicate"]

        wire.wait_until(is_taken_again)
        assert answers[-1]["id"] > first["id"]
        assert {answer["id"] for answer in answers[:-1]} == {first["id"]}


def test_too_many_keys_are_counted(gateway_factory):
    gateway = gateway_factory(store="memory:", settings={"history.idempotency_keys": "10"})
    gateway.push([{"data": i, "idempotency_key": f"k{i}"} for i in range(15)])
    wire.wait_until(lambda: gateway.stat("keys_forgotten_early") == 5)
    assert gateway.push({"data": 14, "idempotency_key": "k14"})["duplicate"] is True
    assert gateway.push({"data": 0, "idempotency_key": "k0"})["duplicate"] is False
