# SPDX-License-Identifier: MIT
"""How a WebSocket ends: each code of a Close, stop, hand-over, tickets and kill -9 (bugle-wire(7),
WEBSOCKET)."""

import contextlib
import json
import random
import threading
import time

import pytest

import wire
import ws
from test_expired import reloading  # noqa: F401
from test_handover import leaves, make, take_over  # noqa: F401
from test_tickets import ticket_of
from tokens import ADMIN, API_KEY, SETTINGS, api_key_item, bearer, stats, token
from ws import connect, connect_v1

guarded = pytest.mark.gateway(settings=SETTINGS)


def bye_of(opened):
    """What bugle.v1 said before its Close."""
    message = ws.check_message(json.loads(opened.last_texts[-1]))
    assert message.pop("type") == "bye", message
    return message


def ends(opened, code, word, comes_back, answer=True):
    """It ends with this code and word, and with a time to come back or without one; bugle.v1 says
    the same before."""
    said, retry = ws.word_of(opened.finish(code, answer=answer))
    assert said == word
    assert (retry is not None) == comes_back, retry
    if opened.protocol == ws.V1:
        assert bye_of(opened) == {"code": word, **({"retry_ms": retry} if comes_back else {})}
    return retry


def both(gateway, *topics, **options):
    return [connect(gateway, *topics, **options), connect_v1(gateway, *topics, **options)]


# ---- by an operator ----


@pytest.mark.parametrize("answer", [True, False])
def test_deleted(gateway, answer):
    """1000; whether the client answers or only goes."""
    opened = both(gateway, "a", user="anna")
    other = connect(gateway, "a")
    assert gateway.request("DELETE", "/api/streams?user=anna").json() == {"ended": 2}
    for each in opened:
        each.say_close() if not answer else None
        ends(each, 1000, "deleted", False, answer)
    gateway.push({"topic": "a", "data": "x"})
    assert other.next_text() == "x"
    gateway.wait_stat("websockets_open", 1)
    gateway.wait_stat("streams_ended", 2)
    assert gateway.stat("websocket_errors") == 0


def test_event_under_way_is_completed(gateway):
    """The Close stands behind a whole frame, though the socket was full."""
    opened = connect(gateway, "bulk", receive_buffer=4096)
    for _ in range(60):
        gateway.push_text("x" * 60000, topic="bulk")
    gateway.request("DELETE", f"/api/streams/{gateway.the_stream()['id']}")
    assert ends(opened, 1000, "deleted", False) is None
    assert set(opened.last_texts) <= {"x" * 60000} and opened.last_texts


def test_client_that_does_not_end(gateway):
    """It never answers, or goes on sending: the gateway is not held, and sends nothing more."""
    before = gateway.sockets()
    mute, noisy = connect(gateway, "a", user="anna"), connect(gateway, "a", user="anna")
    gateway.request("DELETE", "/api/streams?user=anna")
    assert noisy.next_close()[0] == mute.next_close()[0] == 1000
    with contextlib.suppress(OSError):
        for _ in range(100):
            noisy.send(ws.frame("more" * 1000))
    gateway.push({"topic": "a", "data": "x"})
    assert mute.end() == b"" and noisy.end() == b""
    wire.wait_until(lambda: gateway.sockets() <= before + 1, 20, "sockets are given back")
    assert gateway.stat("events_published") == 1


# ---- stop and hand-over ----


def test_stop(gateway):
    """1001 with a time to come back, behind all that was committed; publishes under way are
    answered."""
    opened = both(gateway, "a")
    ids = [gateway.push({"topic": "a", "data": i})["id"] for i in range(50)]
    opened[1].json(type="publish", ref=1, events={"topic": "a", "data": 50})
    assert opened[1].next_of("event")["data"] == 0
    wire.wait_until(lambda: gateway.stat("events_published") == 51)
    gateway.signal()
    for each in opened:
        assert 2000 <= ends(each, 1001, "stopping", True) <= 10000
    assert opened[0].last_texts == [str(i) for i in range(51)]
    messages = [json.loads(text) for text in opened[1].last_texts]
    events = [each for each in messages if each["type"] == "event"]
    assert [each["id"] for each in events][:49] == ids[1:]
    assert any(each["type"] == "ack" for each in messages) and len(events) == 50
    assert gateway.wait() == 0


@pytest.mark.gateway(settings={"drain.window": "2s"})
def test_stop_is_spread(gateway):
    """Not all at once, and not all back at once."""
    opened = [connect(gateway, "a") for _ in range(40)]
    gateway.signal()
    found = []

    def follow(each):
        code, reason = each.next_close()
        found.append((time.monotonic(), code, ws.word_of(reason)[1]))
        each.say_close(code)

    threads = [threading.Thread(target=follow, args=[each]) for each in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times, codes, delays = zip(*found)
    assert set(codes) == {1001} and max(times) - min(times) > 0.4
    assert len(set(delays)) > 10, delays
    assert gateway.wait() == 0


@pytest.mark.gateway(settings={"drain.window": "1s"})
def test_clients_that_hold_nothing_up(gateway):
    """One reads nothing, one does not answer, one is in the midst of a frame."""
    full = connect(gateway, "bulk", receive_buffer=4096)
    for _ in range(60):
        gateway.push_text("x" * 60000, topic="bulk")
    mute, half = connect(gateway, "a"), connect(gateway, "a")
    half.send(ws.frame("half")[:5])
    gateway.signal()
    assert gateway.wait(8) == 0
    assert mute.next_close()[0] == half.next_close()[0] == 1001
    full.close()


def test_handover(make):  # noqa: F811
    """1012; until then it hears what is published at the new process and can publish, and it goes
    on there by its last id."""
    gateway = make(settings={"drain.window": "2s"})
    opened = [connect_v1(gateway, "a") for _ in range(10)]
    raw = [connect(gateway, "a", publish="a") for _ in range(10)]
    ids = [gateway.push({"topic": "a", "data": "before"})["id"]]
    gateway._drop_control()
    old = take_over(gateway)
    done = threading.Event()

    def load():
        while not done.is_set():
            ids.append(gateway.push({"topic": "a", "data": "x"})["id"])
            time.sleep(0.01)

    publisher = threading.Thread(target=load)
    publisher.start()
    heard = 0
    for each in raw:
        assert ends(each, 1012, "handover", True) >= 1000
        heard += len(each.last_texts) > 3
    for each in opened:
        assert ends(each, 1012, "handover", True) >= 1000
        messages = [json.loads(text) for text in each.last_texts]
        found = [message["id"] for message in messages if message["type"] == "event"]
        heard += len(found) > 3
        again = connect_v1(gateway, "a", last_event_id=messages[-2]["id"])
        found += [again.next_event()["id"] for _ in range(3)]
        assert found == [event_id for event_id in ids[:len(found)]]
    done.set()
    publisher.join()
    assert heard > 5, "those of the old process heard nothing any more"
    leaves(old, gateway)


def test_publish_through_the_old_process(make):  # noqa: F811
    """Sent before the Close came, on either side of the moment: each ack is true."""
    gateway = make(settings={"drain.window": "2s"})
    opened = [connect_v1(gateway, "none") for _ in range(8)]
    acked = []

    def load(each, who):
        with contextlib.suppress(AssertionError, OSError):
            for number in range(10000):
                each.json(type="publish", ref=number, events={
                    "topic": "a", "data": [who, number]})
                acked.append(each.next_of("ack")["id"])
                time.sleep(0.005)

    threads = [threading.Thread(target=load, args=[each, i]) for i, each in enumerate(opened)]
    for thread in threads:
        thread.start()
    wire.wait_until(lambda: len(acked) > 50)
    gateway._drop_control()
    old = take_over(gateway)
    for thread in threads:
        thread.join()
    stored, after = [], None
    while True:
        part = gateway.request("GET", "/api/history?limit=1000" + (
            f"&after={after}" if after else "")).json()
        stored += [event["id"] for event in part["events"]]
        after = part["next"]
        if not part["more"]:
            break
    assert set(acked) <= set(stored) and len(set(acked)) == len(acked)
    assert len(stored) - len(acked) <= 8
    leaves(old, gateway)


def test_kill_and_resume(gateway_factory):
    """Acked is stored: after a kill -9 the clients resume by their ids and miss nothing that
    anybody was told of."""
    gateway = gateway_factory(store="", settings={"limits.message_rate": "0"})
    acked, seen = [], []
    last = None
    for life in range(4):
        writer = connect_v1(gateway, "none")
        reader = connect_v1(gateway, "a", **({"last_event_id": last} if last else {}))
        count = random.Random(life).randrange(20, 200)
        writer.send(b"".join(ws.frame(json.dumps({
            "type": "publish", "ref": n, "events": {"topic": "a", "data": f"{life}.{n}"}}))
            for n in range(count * 2)))
        for _ in range(count):
            acked.append(writer.next_of("ack")["id"])
        for _ in range(count // 2):
            message = reader.next_of("event", "checkpoint")
            last = message["id"]
            seen += [last] if message["type"] == "event" else []
        gateway.kill()
        gateway.start()
    end = gateway.push({"topic": "a", "data": "end"})["id"]
    reader = connect_v1(gateway, "a", last_event_id=last)
    while not seen or seen[-1] != end:
        seen.append(reader.next_event()["id"])
    assert len(set(seen)) == len(seen) and seen == sorted(seen)
    assert set(acked) <= set(seen)


# ---- credentials ----


@guarded
def test_end_of_a_token(gateway):
    opened = both(gateway, "a", headers=bearer(token("anna", subscribe=["a"], ttl=3)))
    stays = connect(gateway, "a", headers=bearer(ADMIN))
    for each in opened:
        ends(each, 4401, "token", False)
    answer = gateway.post({"topic": "a", "data": "x"}, headers=bearer(ADMIN))
    assert answer.status == 201 and stays.next_text() == "x"
    assert stats(gateway)["streams_expired"] == 2


def test_key_is_gone(reloading):  # noqa: F811
    """And what was allowed a moment ago is not published any more."""
    made = reloading(api_key=api_key_item("shop", "publish=** subscribe=** admin"))
    opened = both(made.gateway, "a", headers=bearer(API_KEY))
    made.reload()
    for each in opened:
        ends(each, 4401, "key", False)


@guarded
def test_ticket_used_anew(gateway):
    """The newer one gets the stream, of either transport."""
    ticket = ticket_of(gateway, {"user": "anna", "topics": ["a"]})
    first = connect_v1(gateway, ticket=ticket)
    place = first.hello["id"]
    answer = ws.refused(gateway, f"/ws?ticket={ticket}")
    assert answer.problem(401)["code"] == "invalid_token"
    second = connect_v1(gateway, ticket=ticket, last_event_id=place)
    ends(first, 4409, "replaced", False)
    gateway.stream(ticket=ticket, resume=place)
    ends(second, 4409, "replaced", False)
    assert stats(gateway)["streams_replaced"] == 2


@guarded
def test_ticket_is_free_again(gateway):
    """A page that was reloaded comes back with the ticket and its id."""
    ticket = ticket_of(gateway, {"user": "anna", "topics": ["a"]})
    with connect_v1(gateway, ticket=ticket) as first:
        place = first.hello["id"]
        first.say_close()
        first.finish(1000, answer=False)
    wire.wait_until(lambda: stats(gateway)["streams_open"] == 0)
    data = gateway.post({"topic": "a", "data": "meanwhile"}, headers=bearer(ADMIN))
    assert data.status == 201
    again = connect_v1(gateway, ticket=ticket, last_event_id=place)
    assert again.next_event()["data"] == "meanwhile"


@guarded
def test_no_publish_after_the_end_of_a_token(gateway):
    """Its texts stand in the socket when it ends."""
    opened = connect_v1(gateway, "a", headers=bearer(
        token("anna", subscribe=["a"], publish=["a"], ttl=2)))
    published = 0
    with contextlib.suppress(AssertionError, OSError):
        until = time.monotonic() + wire.seconds(8)
        while time.monotonic() < until:
            opened.json(type="publish", events={"topic": "a", "data": 1})
            opened.next_of("ack")
            opened.next_of("event")
            published += 1
            time.sleep(0.03)
    assert stats(gateway)["events_published"] - published <= 1
    assert 5 < published < 200


# ---- no room ----


def test_no_room_on_the_disk(gateway_factory):
    """A raw one is closed with a time to come back; bugle.v1 is told, and stays."""
    gateway = gateway_factory(store="", settings={"history.disk_reserve": "1000000G"})
    raw, talks = connect(gateway, "a", publish="a"), connect_v1(gateway, "a")
    raw.text("hello")
    assert ends(raw, 1013, "disk_reserve", True) >= 1000
    answer = talks.ask(type="publish", ref=1, events={"topic": "a", "data": 1})
    assert (answer["status"], answer["code"], answer["ref"]) == (507, "disk_reserve", 1)
    passing = {"topic": "a", "data": 2, "ephemeral": True}
    talks.json(type="publish", events=passing)
    assert talks.next_of("ack", "event")
    assert talks.next_of("ack", "event")
