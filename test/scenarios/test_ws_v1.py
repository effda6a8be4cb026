# SPDX-License-Identifier: MIT
"""bugle.v1, messages in JSON over a WebSocket: events with their ids, publishing with an answer,
topics that change, and every mistake (bugle-wire(7), WEBSOCKET)."""

import json
import threading

import pytest

import wire
import ws
from conftest import usual_durability
from tokens import ADMIN, SETTINGS, bearer, token
from ws import connect_v1


def publish(gateway, event):
    answer = gateway.post(event, headers=bearer(ADMIN))
    assert answer.status == 201, answer
    return answer.json()["id"]


def position_of(event_id):
    return int(event_id.split("-")[1])


# ---- events ----


@pytest.mark.gateway(settings={"stream.retry": "3s"})
def test_hello(gateway):
    """The place where it begins, even where nothing was published, and when to come back."""
    opened = connect_v1(gateway, "a", heartbeat=7)
    assert set(opened.hello) == {"type", "id", "heartbeat", "retry_ms"}
    assert opened.hello["heartbeat"] == 7
    assert 2000 <= opened.hello["retry_ms"] <= 6000
    assert position_of(opened.hello["id"]) == 0
    first = gateway.push({"topic": "a", "data": "x"})["id"]
    assert opened.next_event()["id"] == first
    assert connect_v1(gateway, "a").hello["id"] == first


EVENTS = [
    ('{"topic":"a","data":{"total": 19.90, "n": [1, 2]}}', '{"total":19.90,"n":[1,2]}'),
    ('{"topic":"a","data":12345678901234567890}', "12345678901234567890"),
    ('{"topic":"a","data":-1.50E+3}', "-1.50E+3"),
    ('{"topic":"a","data":null}', "null"),
    ('{"topic":"a","data":true}', "true"),
    ('{"topic":"a","data":"text"}', '"text"'),
    ('{"topic":"a","data":"12"}', '"12"'),
    ('{"topic":"a","data":"{\\"a\\":1}"}', '"{\\"a\\":1}"'),
    ('{"topic":"a","data":""}', '""'),
    ('{"topic":"a","data":["\\u00e9\\n", {"k": ""}]}', None),
]


def test_data_keeps_its_kind(gateway):
    """JSON is a value, digits and all; text is a string, even where it looks like JSON."""
    opened = connect_v1(gateway, "a")
    for body, wanted in EVENTS:
        gateway.push(body.encode())
        text = opened.next_text()
        message = ws.check_message(json.loads(text))
        assert message["type"] == "event" and message["topics"] == ["a"], text
        if wanted is not None:
            assert f'"data":{wanted}' in text, (wanted, text)
        else:
            assert message["data"] == ["é\n", {"k": ""}], text
    for data in ("1", '{"a":1}', "a\r\nb\rc", '"quoted" \\ \t \x01 \u2028 😀', "x" * 60000):
        gateway.push_text(data, topic="a")
        assert opened.next_event()["data"] == data.replace("\r\n", "\n").replace("\r", "\n")


def test_members_of_an_event(gateway):
    """Name, topics and id are there if the event has them; and a replay is the same as live."""
    opened = connect_v1(gateway, user="anna")
    gateway.push({"topics": ["b", "a/\"x\""], "event": "paid", "data": {"n": 1}})
    gateway.push({"data": "to all"})
    gateway.push({"user": "anna", "topic": "ü", "data": [], "retry": 5000, "ttl": 100})
    gateway.push({"topic": "a", "data": "passing", "ephemeral": True})
    found = [opened.next_event() for _ in range(4)]
    assert [each.get("event") for each in found] == ["paid", None, None, None]
    assert [sorted(each["topics"]) for each in found] == [['a/"x"', "b"], [], ["ü"], ["a"]]
    assert [each["data"] for each in found] == [{"n": 1}, "to all", [], "passing"]
    assert "id" not in found[3] and len({each["id"] for each in found[:3]}) == 3
    again = connect_v1(gateway, user="anna", since="earliest")
    assert [again.next_event() for _ in range(3)] == found[:3]
    listed = gateway.request("GET", "/api/history?user=anna").json()["events"]
    assert [each.get("json", False) for each in listed] == [True, False, True]
    assert [each["data"] for each in listed] == ['{"n":1}', "to all", "[]"]


def test_kinds_survive_on_disk(gateway_factory):
    """What was sent as JSON is JSON after a restart too."""
    gateway = gateway_factory(store="")
    gateway.push(b'[{"topic":"a","data":{"n": 1.0}},{"topic":"a","data":"{}"}]')
    gateway.kill()
    gateway.start()
    opened = connect_v1(gateway, "a", since="earliest")
    assert [opened.next_event()["data"] for _ in range(2)] == [{"n": 1.0}, "{}"]


# ---- resuming ----


def test_resume_without_a_gap(gateway):
    """By the last id of any message, through lives cut anywhere, under load: every event once, in
    order."""
    done = threading.Event()
    ids = []

    def load():
        while not done.is_set():
            ids.extend(gateway.push([{"topic": "a", "data": 1}, {"topic": "b", "data": 2}])["ids"])

    publisher = threading.Thread(target=load)
    publisher.start()
    seen, last = [], connect_v1(gateway, "a").hello["id"]
    begun = last
    for life in range(12):
        with connect_v1(gateway, "a", last_event_id=last) as opened:
            assert opened.hello["id"] == last
            for _ in range(life * 3):
                message = opened.next_of("event", "checkpoint")
                last = message["id"]
                seen += [last] if message["type"] == "event" else []
            if life % 2:
                opened.wire.reset()
    done.set()
    publisher.join()
    with connect_v1(gateway, "a", last_event_id=last) as opened:
        wanted = [event_id for event_id in ids[::2] if event_id > begun]
        while len(seen) < len(wanted):
            seen.append(opened.next_event()["id"])
    assert seen == wanted


def test_reset(gateway):
    """A place that is not there is told, with the place to go on from."""
    ids = gateway.push([{"topic": "a", "data": i} for i in range(3)])["ids"]
    for last, reason in (("zzzzzzzzzzzz-0000000000000001", "epoch"), ("nonsense", "unknown"),
                         (ids[0][:-4] + "9999", "unknown")):
        opened = connect_v1(gateway, "a", last_event_id=last)
        reset = opened.next_of("reset")
        assert reset == {"type": "reset", "reason": reason, "oldest": ids[0], "newest": ids[-1],
                         "id": ids[-1]}
        live = gateway.push({"topic": "a", "data": "live"})["id"]
        ids.append(live)
        assert opened.next_event()["id"] == live
    assert gateway.stat("resets") == 3


@pytest.mark.gateway(settings={"history.max_events": "10"})
def test_reset_of_what_is_trimmed(gateway):
    ids = gateway.push([{"topic": "a", "data": i} for i in range(50)])["ids"]
    wire.wait_until(lambda: gateway.stat("history_events") == 10)
    opened = connect_v1(gateway, "a", last_event_id=ids[0])
    reset = opened.next_of("reset")
    assert (reset["reason"], reset["oldest"], reset["newest"]) == ("expired", ids[40], ids[49])
    assert [opened.next_event()["id"] for _ in range(10)] == ids[40:]


def test_checkpoints_bring_newer_ids(gateway):
    """Where a search goes through many events for others, the id moves on."""
    for _ in range(40):
        gateway.push([{"topic": "b", "data": i} for i in range(1000)])
    opened = connect_v1(gateway, "a", since="earliest")
    newest = gateway.push({"topic": "a", "data": "x"})["id"]
    while (message := opened.next_of("event", "checkpoint"))["type"] == "checkpoint":
        assert message["id"] < newest
    assert message["id"] == newest


# ---- publishing ----


def test_publish(gateway):
    """One and many, with the answer that POST gives, and the sender hears itself."""
    opened = connect_v1(gateway, "a")
    ack = opened.ask(type="publish", ref="one", events={"topic": "a", "event": "e", "data": [1]})
    durability = usual_durability()
    assert ack == {"type": "ack", "ref": "one", "id": ack["id"], "durability": durability,
                   "duplicate": False}
    events = [{"topic": "a", "data": "x"}, {"topic": "a", "data": "y", "ephemeral": True},
              {"user": "berta", "data": "z", "idempotency_key": "k"}]
    many = opened.ask(type="publish", ref=7, events=events)
    assert many == {"type": "ack", "ref": 7, "ids": many["ids"], "durability": durability,
                    "duplicates": [False, False, False]}
    assert many["ids"][1] is None and position_of(many["ids"][0]) == position_of(ack["id"]) + 1
    again = opened.ask(type="publish", events=events[2])
    assert again == {"type": "ack", "ref": 0, "id": many["ids"][2], "durability": durability,
                     "duplicate": True}
    heard = opened.early if hasattr(opened, "early") else []
    while len(heard) < 3:
        heard.append(opened.next_event())
    assert [each.get("id") for each in heard] == [ack["id"], many["ids"][0], None]
    passing = opened.ask(type="publish", events={"topic": "c", "data": 1, "ephemeral": True})
    assert (passing["id"], passing["durability"]) == (None, "none")
    assert gateway.push({**events[2]})["duplicate"] is True
    listed = gateway.request("GET", "/api/history").json()["events"]
    assert [each["data"] for each in listed] == ["[1]", "x"]


def test_answers_come_in_the_order_of_the_messages(gateway):
    """A hundred messages of all kinds in one segment."""
    opened = connect_v1(gateway, "none")
    stream = gateway.stream("a")
    data = b""
    for ref in range(60):
        data += ws.frame(json.dumps([
            {"type": "publish", "ref": ref, "events": {"topic": "a", "data": ref}},
            {"type": "ping", "ref": ref},
            {"type": "publish", "ref": ref, "events": {"topic": "a", "dat": ref}},
            {"type": "subscribe", "ref": ref, "topics": [f"t/{ref}"]},
        ][ref % 4]))
    opened.send(data)
    answers = [opened.next_of("ack", "pong", "error", "subscribed") for _ in range(60)]
    assert [each["ref"] for each in answers] == list(range(60))
    assert [each["type"] for each in answers] == ["ack", "pong", "error", "subscribed"] * 15
    assert [event.data for event in stream.events(15)] == [str(i) for i in range(0, 60, 4)]


# a message, and the status, the code and the pointer of its error
MISTAKES = [
    ("", 400, "invalid_json", None),
    ("{", 400, "invalid_json", None),
    ("hello", 400, "invalid_json", None),
    ('{"type":"ping"} x', 400, "invalid_json", None),
    ('{"type":"ping","type":"ping"}', 400, "invalid_json", None),
    ('{"type":"ping","ref":"\\u0000"}', 400, "invalid_json", None),
    ('{"type":"ping","ref":"\\ud800"}', 400, "invalid_json", None),
    ("[" * 5000, 400, "json_too_deep", None),
    ("[]", 422, "not_an_object", None),
    ('"ping"', 422, "not_an_object", None),
    ("null", 422, "not_an_object", None),
    ("{}", 422, "invalid_field", "/type"),
    ('{"type":7}', 422, "invalid_field", "/type"),
    ('{"type":"pings"}', 422, "invalid_field", "/type"),
    ('{"type":"hello"}', 422, "invalid_field", "/type"),
    ('{"type":"ping"}', 422, "invalid_field", "/ref"),
    ('{"type":"publish","events":{"data":1}}', 422, "invalid_field", "/ref"),
    ('{"type":"subscribe","topics":["a"]}', 422, "invalid_field", "/ref"),
    ('{"type":"unsubscribe","topics":["a"]}', 422, "invalid_field", "/ref"),
    ('{"type":"ping","x":1}', 422, "invalid_field", "/x"),
    ('{"type":"ping","topics":["a"]}', 422, "invalid_field", "/topics"),
    ('{"type":"ping","ref":1.5}', 422, "invalid_field", "/ref"),
    ('{"type":"ping","ref":null}', 422, "invalid_field", "/ref"),
    ('{"type":"ping","ref":{}}', 422, "invalid_field", "/ref"),
    ('{"type":"ping","ref":"' + "x" * 65 + '"}', 422, "invalid_field", "/ref"),
    ('{"type":"publish","ref":1}', 422, "invalid_field", "/events"),
    ('{"type":"publish","ref":1,"events":"x"}', 422, "not_an_object", "/events"),
    ('{"type":"publish","ref":1,"events":[]}', 422, "empty_array", "/events"),
    ('{"type":"publish","ref":1,"events":[1]}', 422, "not_an_object", "/events/0"),
    ('{"type":"publish","ref":1,"events":{"topic":"a"}}', 422, "invalid_field", "/events/data"),
    ('{"type":"publish","ref":1,"events":{"topc":"a","data":1}}', 422, "invalid_field", "/events/topc"),
    ('{"type":"publish","ref":1,"events":[{"data":1},{"topic":"","data":1}]}', 422, "invalid_field",
     "/events/1/topic"),
    ('{"type":"publish","ref":1,"events":{"data":1},"topic":"a"}', 422, "invalid_field", "/topic"),
    ('{"type":"subscribe","ref":1}', 422, "invalid_field", "/topics"),
    ('{"type":"subscribe","ref":1,"topics":"a"}', 422, "invalid_field", "/topics"),
    ('{"type":"subscribe","ref":1,"topics":[]}', 422, None, "/topics"),
    ('{"type":"subscribe","ref":1,"topics":[1]}', 422, "invalid_field", "/topics/0"),
    ('{"type":"subscribe","ref":1,"topics":["a","b*c"]}', 400, "invalid_topic", "/topics/1"),
    ('{"type":"subscribe","ref":1,"topics":["$bugle/x"]}', 400, "invalid_topic", "/topics/0"),
    ('{"type":"subscribe","ref":1,"topic":"a"}', 422, "invalid_field", "/topic"),
]


@pytest.mark.gateway(settings={"limits.message_rate": "0"})
def test_mistakes(gateway):
    """Each is an answer with what is wrong and where, does nothing, and the connection stays."""
    stream = gateway.stream()
    opened = connect_v1(gateway, "a")
    wrong = []
    for text, status, code, pointer in MISTAKES:
        opened.text(text)
        answer = opened.next_of("error")
        came = (answer["status"], code and answer["code"], pointer and answer.get("pointer"))
        if came != (status, code, pointer) or len(answer["detail"]) < 10:
            wrong.append((text[:80], (status, code, pointer), answer))
    assert not wrong, "\n".join(map(str, wrong))
    opened.text('{"ref":"mine","type":"ping","x":1}')
    assert opened.next_of("error").get("ref") == "mine"
    opened.text('{"type":"pong"}')
    assert opened.ask(type="ping", ref=9007199254740993) == {"type": "pong",
                                                             "ref": 9007199254740993}
    opened.send(ws.frame(b'{"type":"ping","ref":-12345678901234567890123}'))
    assert '"ref":-12345678901234567890123' in opened.next_text()
    gateway.push({"data": "end"})
    assert stream.next_event().data == "end"
    assert opened.next_event()["data"] == "end"
    assert gateway.stat("websocket_errors") == 0


@pytest.mark.gateway(settings={**SETTINGS})
def test_rights(gateway):
    """What it may not is refused; what it may goes on."""
    anna = token("anna", subscribe=["chat/*"], publish=["chat/1"])
    opened = connect_v1(gateway, "chat/1", headers=bearer(anna))
    for events in ({"topic": "chat/2", "data": 1}, {"data": 1}, {"user": "berta", "data": 1},
                   [{"topic": "chat/1", "data": 1}, {"topic": "orders/1", "data": 1}]):
        answer = opened.ask(type="publish", ref=1, events=events)
        assert (answer["status"], answer["code"]) == (403, "missing_right"), answer
    assert opened.ask(type="publish", events={"topic": "chat/1", "data": 1})["type"] == "ack"
    assert opened.next_event()["data"] == 1
    for topics in (["orders/1"], ["chat/2", "**"], ["chat/**"]):
        answer = opened.ask(type="subscribe", topics=topics)
        assert (answer["status"], answer["code"]) == (403, "missing_right"), answer
    assert opened.ask(type="subscribe", topics=["chat/2"])["topics"] == ["chat/1", "chat/2"]
    publish(gateway, {"topic": "orders/1", "data": "secret"})
    publish(gateway, {"topic": "chat/2", "user": "berta", "data": "hers"})
    publish(gateway, {"topic": "chat/2", "data": "mine"})
    assert opened.next_event()["data"] == "mine"


@pytest.mark.gateway(settings={"websocket.publish": "off"})
def test_publishing_off(gateway):
    opened = connect_v1(gateway, "a")
    answer = opened.ask(type="publish", ref=1, events={"topic": "a", "data": 1})
    assert (answer["status"], answer["code"], answer["ref"]) == (403, "publishing_off", 1)
    assert opened.ask(type="subscribe", topics=["b"])["topics"] == ["a", "b"]
    gateway.push({"topic": "b", "data": 2})
    assert opened.next_event()["data"] == 2


def test_idempotency_conflict(gateway):
    opened = connect_v1(gateway, "none")
    event = {"topic": "a", "data": 1, "idempotency_key": "k"}
    first = opened.ask(type="publish", events=event)
    answer = opened.ask(type="publish", events=[{"topic": "a", "data": 0}, {**event, "data": 2}])
    assert (answer["status"], answer["code"]) == (422, "idempotency_conflict")
    assert answer["pointer"] == "/events/1/idempotency_key"
    assert opened.ask(type="publish", events=event)["id"] == first["id"]


def test_many_publish_at_once(gateway):
    """Sixteen clients, each with a queue of messages: every event once, each client's in order."""
    stream = gateway.stream("a")
    opened = [connect_v1(gateway, "none") for _ in range(16)]
    count = 40
    for who, each in enumerate(opened):
        each.send(b"".join(ws.frame(json.dumps(
            {"type": "publish", "ref": n, "events": {"topic": "a", "data": [who, n]}}))
            for n in range(count)))
    for each in opened:
        assert [each.next_of("ack")["ref"] for _ in range(count)] == list(range(count))
    found = [json.loads(event.data) for event in stream.events(16 * count)]
    for who in range(16):
        assert [n for w, n in found if w == who] == list(range(count))


# ---- topics ----


def test_subscribe_and_unsubscribe(gateway):
    """From the place on that the answer names; to add twice is no error; listed as any."""
    opened = connect_v1(gateway, "a")
    before = gateway.push({"topic": "b", "data": "before"})["id"]
    gateway.the_stream()  # asks its worker, which has the event by then
    answer = opened.ask(type="subscribe", ref=1, topics=["b", "c/*"])
    assert answer["topics"] == ["a", "b", "c/*"] and answer["ref"] == 1
    assert answer["id"] >= before
    for topic in ("b", "c/1", "a", "d"):
        gateway.push({"topic": topic, "data": topic})
    assert [opened.next_event()["data"] for _ in range(3)] == ["b", "c/1", "a"]
    assert gateway.the_stream()["topics"] == ["a", "b", "c/*"]
    assert opened.ask(type="subscribe", topics=["a", "a"])["topics"] == ["a", "b", "c/*"]
    answer = opened.ask(type="unsubscribe", topics=["b", "nothing"])
    assert (answer["status"], answer["code"]) == (422, "not_subscribed")
    assert answer["pointer"] == "/topics/1"
    assert opened.ask(type="unsubscribe", topics=["b"])["topics"] == ["a", "c/*"]
    for topic in ("b", "c/1"):
        gateway.push({"topic": topic, "data": topic})
    assert opened.next_event()["data"] == "c/1"
    assert opened.ask(type="unsubscribe", topics=["a", "c/*"])["topics"] == []
    gateway.push({"topic": "a", "data": "not any more"})
    gateway.push({"data": "to all"})
    assert opened.next_event()["data"] == "to all"
    assert opened.ask(type="subscribe", topics=["a"])["topics"] == ["a"]
    gateway.push({"topic": "a", "data": "again"})
    assert opened.next_event()["data"] == "again"


def test_subscribe_of_one_that_reads_everything(gateway):
    """It began without a topic; then it wants these alone."""
    opened = connect_v1(gateway)
    gateway.push({"topic": "x", "data": "everything"})
    assert opened.next_event()["data"] == "everything"
    assert opened.ask(type="subscribe", topics=["a"])["topics"] == ["a"]
    gateway.push({"topic": "x", "data": "x"})
    gateway.push({"topic": "a", "data": "a"})
    assert opened.next_event()["data"] == "a"


def test_limits_of_topics(gateway):
    """64 in all, and 512 segments, however they were named."""
    opened = connect_v1(gateway, "a")
    topics = [f"t/{i}" for i in range(63)]
    assert len(opened.ask(type="subscribe", topics=topics)["topics"]) == 64
    answer = opened.ask(type="subscribe", ref=5, topics=["one/more"])
    assert (answer["status"], answer["code"], answer["ref"]) == (400, "too_many_topics", 5)
    opened.ask(type="unsubscribe", topics=topics[:1])
    assert len(opened.ask(type="subscribe", topics=["one/more"])["topics"]) == 64
    gateway.push({"topic": "one/more", "data": 1})
    assert opened.next_event()["data"] == 1
    other = connect_v1(gateway, "a")
    wide = ["/".join(["s"] * 31) + f"/{i}" for i in range(17)]
    answer = other.ask(type="subscribe", topics=wide)
    assert (answer["status"], answer["code"]) == (400, "too_many_segments")
    assert len(other.ask(type="subscribe", topics=wide[:15])["topics"]) == 16


def test_subscribe_while_events_come(gateway):
    """No event after its place is missing, none before it comes, none comes twice."""
    done = threading.Event()
    ids = []

    def load():
        while not done.is_set():
            ids.append(gateway.push({"topic": "a", "data": "x"})["id"])

    publisher = threading.Thread(target=load)
    publisher.start()
    opened = connect_v1(gateway, "none")
    seen, places = [], []
    for _ in range(30):
        seen.append([])
        opened.json(type="subscribe", topics=["a"])
        begun = opened.next_of("subscribed")["id"]
        while len(seen[-1]) < 5:
            seen[-1].append(opened.next_event()["id"])
        opened.json(type="unsubscribe", topics=["a"])
        while (message := opened.next_of("event", "subscribed"))["type"] == "event":
            seen[-1].append(message["id"])
        places.append((begun, message["id"]))
    done.set()
    publisher.join()
    for (begun, end), found in zip(places, seen):
        assert found == [event_id for event_id in ids if begun < event_id <= end]
