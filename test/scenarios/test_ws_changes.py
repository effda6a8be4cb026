# SPDX-License-Identifier: MIT
"""bugle.v1 while things change under it: topics in the middle of a replay, a gateway that is
killed, streams that read slowly, messages as large as may be (bugle-wire(7), WEBSOCKET)."""

import json
import random
import threading

import pytest

import wire
import ws
from ws import connect_v1

TOPICS = ("a", "b", "c")
UNBOUNDED = {"limits.message_rate": "0"}


def fill(gateway, count, size=100):
    """Publish so many events on the topics by turns.  Their ids, and the topic of each."""
    topic_of = {}
    batch = 500 if size < 1000 else 100
    for begin in range(0, count, batch):
        topics = [TOPICS[i % 3] for i in range(begin, begin + batch)]
        ids = gateway.push([{"topic": topic, "data": "x" * size} for topic in topics])["ids"]
        topic_of.update(zip(ids, topics))
    return topic_of


class Reader:
    """A client that notes what it got, and what it may expect: the topics that it has from each
    place on."""

    def __init__(self, gateway, *topics, **query):
        self.gateway = gateway
        self.topics = set(topics)
        self.changes = [("", set(topics))]
        self.seen = []
        self.last = ""
        self.ref = 0
        self.opened = connect_v1(gateway, *topics, receive_buffer=4096, **query)

    def note(self, message):
        if message["type"] == "event":
            assert message["id"] > self.last, (message["id"], self.last)
            self.seen.append(message["id"])
        assert message["id"] >= self.last
        self.last = message["id"]

    def read(self, count):
        for _ in range(count):
            self.note(self.opened.next_of("event", "checkpoint"))

    def read_up_to(self, last):
        while self.last < last:
            self.note(self.opened.next_of("event", "checkpoint", "subscribed"))

    def change(self, kind, *topics):
        """Ask for more or less, and read on up to the answer."""
        self.ref += 1
        self.opened.json(type=kind, ref=self.ref, topics=topics)
        while (message := self.opened.next_of("event", "checkpoint",
                                              "subscribed"))["type"] != "subscribed":
            self.note(message)
        assert message["ref"] == self.ref
        self.topics = set(message["topics"])
        self.note(message)
        self.changes.append((message["id"], self.topics))

    def come_back(self):
        """After a loss of the connection, with the topics that it had."""
        self.opened.close()
        self.opened = connect_v1(self.gateway, *self.topics, receive_buffer=4096,
                                 last_event_id=self.last)
        assert self.opened.hello["id"] == self.last

    def check(self, topic_of):
        wanted = []
        for event_id, topic in sorted(topic_of.items()):
            topics = [topics for place, topics in self.changes if place < event_id][-1]
            wanted += [event_id] if topic in topics else []
        assert self.seen == wanted


@pytest.fixture
def store(tmp_path):
    return f"sqlite:{tmp_path}/h.db"


def test_topics_change_in_the_middle_of_a_replay(gateway_factory):
    """Wherever in a long past it is, each event counts for the topics of its place."""
    gateway = gateway_factory(store="memory:", settings=UNBOUNDED)
    topic_of = fill(gateway, 6000)
    for seed in range(4):
        draw = random.Random(seed)
        reader = Reader(gateway, "a", since="earliest")
        for _ in range(8):
            reader.read(draw.randrange(150))
            kind = "unsubscribe" if len(reader.topics) > 1 and draw.random() < 0.5 else "subscribe"
            have = sorted(reader.topics)
            choice = have if kind == "unsubscribe" else TOPICS
            reader.change(kind, *draw.sample(choice, 1))
        reader.change("subscribe", *TOPICS)
        reader.read_up_to(max(topic_of))
        reader.check(topic_of)
        reader.opened.close()


def test_kill_in_the_middle_of_a_replay(gateway_factory, store):
    """kill -9 before, between and behind changes of topics; each time it goes on behind the last id
    that it has seen, with the topics that it had."""
    gateway = gateway_factory(store=store, settings=UNBOUNDED)
    topic_of = fill(gateway, 9000)
    reader = Reader(gateway, "a", since="earliest")
    for life, topics in enumerate((["b"], ["c"], ["b", "c"])):
        reader.read(100)
        if life == 1:
            reader.change("unsubscribe", "b")
            reader.read(50)
        reader.change("subscribe", *topics)
        reader.read(150 * life)
        gateway.kill()
        gateway.start()
        topic_of.update(fill(gateway, 1500))
        reader.come_back()
    reader.read_up_to(max(topic_of))
    reader.check(topic_of)


def test_topics_change_while_a_page_is_on_its_way(gateway_factory, store):
    """The first thing that a client says, when the past is not even read yet."""
    gateway = gateway_factory(store=store, settings=UNBOUNDED)
    topic_of = fill(gateway, 1000)
    gateway.kill()
    gateway.start()
    for _ in range(30):
        reader = Reader(gateway, "a", since="earliest")
        reader.change("subscribe", "b")
        reader.read_up_to(sorted(topic_of)[-2])
        reader.check({event_id: topic for event_id, topic in topic_of.items()
                      if event_id <= reader.last})
        reader.opened.close()


def test_kill_while_clients_publish(gateway_factory, store):
    """What was acknowledged is there after kill -9; the rest is sent again with its keys; and each
    event is there once, those of a client in its order."""
    gateway = gateway_factory(store=store, settings=UNBOUNDED)
    total, clients = 150, 6
    acknowledged = [{} for _ in range(clients)]
    killed = threading.Event()

    def publish(who, enough):
        try:
            opened = connect_v1(gateway, "none")
            todo = [n for n in range(total) if n not in acknowledged[who]]
            for begin in range(0, len(todo), 20):
                some = todo[begin:begin + 20]
                opened.send(b"".join(ws.frame(json.dumps(
                    {"type": "publish", "ref": n,
                     "events": {"topic": "a", "data": [who, n], "idempotency_key": f"{who}-{n}"}}))
                    for n in some))
                for n in some:
                    ack = opened.next_of("ack")
                    assert ack["ref"] == n
                    acknowledged[who][n] = ack["id"]
                    enough.release()
        except (AssertionError, OSError, ValueError):
            if not killed.is_set():
                raise

    def publish_all(stop_after):
        enough = threading.Semaphore(0)
        threads = [threading.Thread(target=publish, args=(who, enough)) for who in range(clients)]
        for thread in threads:
            thread.start()
        for _ in range(stop_after):
            enough.acquire()
        if stop_after:
            killed.set()
            gateway.kill()
        for thread in threads:
            thread.join()
        if stop_after:
            gateway.start()
        killed.clear()

    publish_all(200)
    publish_all(250)
    publish_all(0)
    found = {}
    after = None
    while True:
        query = "&after=" + after if after else ""
        page = gateway.request("GET", f"/api/history?limit=1000{query}").json()
        for event in page["events"]:
            who, n = json.loads(event["data"])
            assert (who, n) not in found, (who, n)
            found[who, n] = event["id"]
        if not page["events"]:
            break
        after = page["events"][-1]["id"]
    assert set(found) == {(who, n) for who in range(clients) for n in range(total)}
    for who in range(clients):
        for n in range(total):
            assert acknowledged[who][n] == found[who, n]
        assert [found[who, n] for n in range(total)] == sorted(found[who, n] for n in range(total))


def test_topics_change_while_it_reads_slowly(gateway):
    """Events are in the middle of a frame that the client does not take; changes come meanwhile."""
    reader = Reader(gateway, "a")
    topic_of = {}
    for topics in (["b"], ["c"]):
        topic_of.update(fill(gateway, 500, size=5000))
        reader.change("subscribe", *topics)
    reader.change("unsubscribe", "a")
    topic_of.update(fill(gateway, 500, size=10))
    reader.read_up_to(max(topic_of))
    reader.check(topic_of)


@pytest.mark.gateway(settings={"limits.message_bytes": "2M", "limits.event_bytes": "1M"})
def test_large_messages(gateway):
    """As large as the settings allow; what is larger is told, or ends it."""
    opened = connect_v1(gateway, "a")
    data = "é" * (512 * 1024)
    message = json.dumps({"type": "publish", "ref": "large", "events":
                          [{"topic": "a", "data": data}]}, ensure_ascii=False).encode()
    opened.send(ws.frame(message))
    came = {each["type"]: each for each in (opened.next_of("ack", "event", timeout=20)
                                            for _ in range(2))}
    assert came["ack"]["ids"] == [came["event"]["id"]]
    assert came["event"]["data"] == data
    opened.json(type="publish", ref="too large",
                events={"topic": "a", "data": "x" * ((1 << 20) + 1)})
    error = opened.next_of("error")
    assert (error["status"], error["code"], error["ref"]) == (413, "event_too_large", "too large")
    assert error["pointer"] == "/events/data"
    assert opened.ask(type="ping", ref=1)["type"] == "pong"
    opened.json(type="publish", ref=1, events={"topic": "a", "data": "x" * (2 << 20)})
    opened.finish(1009)


def test_stop_while_clients_publish(gateway_factory, store):
    """An orderly stop: what was acknowledged is stored, and nothing else is but what was sent."""
    gateway = gateway_factory(store=store, settings=UNBOUNDED)
    opened = [connect_v1(gateway, "none") for _ in range(4)]
    acknowledged = set()
    for who, each in enumerate(opened):
        each.send(b"".join(ws.frame(json.dumps({"type": "publish", "ref": n, "events":
                                                {"topic": "a", "data": [who, n]}}))
                           for n in range(200)))
    for each in opened:
        acknowledged.add(each.next_of("ack")["id"])
    gateway.stop()
    for each in opened:
        each.next_close()
        acknowledged |= {message["id"] for message in map(json.loads, each.last_texts)
                         if message["type"] == "ack"}
    gateway.start()
    stored, page = set(), {"next": "", "more": True}
    while page["more"]:
        after = f"&after={page['next']}" if page["next"] else ""
        page = gateway.request("GET", f"/api/history?limit=1000{after}").json()
        stored |= {event["id"] for event in page["events"]}
    assert acknowledged <= stored and len(stored) <= 800
