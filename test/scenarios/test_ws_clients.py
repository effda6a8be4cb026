# SPDX-License-Identifier: MIT
"""Real WebSocket clients: Node.js's ws, undici and reconnecting-websocket, Python's two, gorilla.
What they see of every way in which a WebSocket begins, talks and ends."""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time

import pytest

import wire
import ws
from conftest import SOURCE, program_env, program_path
from tokens import SETTINGS, token

INTEROP = SOURCE / "test" / "interop"
CLIENTS = ("ws", "undici", "reconnecting", "websockets", "websocket", "gorilla")
OTHERS = tuple(name for name in CLIENTS if name != "reconnecting")
COMPRESSING = ("ws", "undici", "websockets", "gorilla")


def node_modules():
    """Where ./bootstrap check has put them."""
    for folder in (pathlib.Path(program_path()).parent, SOURCE / "build"):
        if (folder / "interop" / "node_modules" / "ws").is_dir():
            return folder / "interop" / "node_modules"
    pytest.skip("modules of Node.js are not installed; ./bootstrap check does that")


@pytest.fixture(scope="session")
def gorilla(tmp_path_factory):
    """The client in Go, built once; Go is slow to build anything anew, so it keeps what it has."""
    folder = tmp_path_factory.mktemp("gorilla")
    cache = pathlib.Path(program_path()).parent / "interop" / "go"
    cache.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
           "GOCACHE": str(cache), "GOFLAGS": ""}
    subprocess.run(["go", "build", "-o", str(folder / "gorilla"), str(INTEROP / "gorilla.go")],
                   env=env, check=True)
    return str(folder / "gorilla")


class Client:
    """One of them, as test/interop/client.js says."""

    def __init__(self, command, env):
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines = collections.deque()
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(json.loads(line))
                self.changed.notify()
        with self.changed:
            self.lines.append({"over": True})
            self.changed.notify()

    def next(self, kind, timeout=20):
        """The next thing that it says, which must be of this kind."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.lines, wire.seconds(timeout)), "it is silent"
            (came, value), = self.lines.popleft().items()
        if came != kind:
            self.process.kill()
            raise AssertionError(
                f"wanted {kind}, came {came} {value}\n{self.process.stderr.read().decode()}")
        return value

    def next_json(self, *types):
        while (message := ws.check_message(json.loads(self.next("message"))))["type"] not in types:
            assert message["type"] in ("checkpoint", "ping"), message
        return message

    def tell(self, **command):
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def say(self, **members):
        self.tell(send=json.dumps({"ref": 0, **members}))

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


@pytest.fixture
def start(request, tmp_path):
    """start(name, url, protocols...): a client that is open, or is opening."""
    made = []

    def make(name, url, *protocols):
        env = program_env()
        if name == "gorilla":
            command = [request.getfixturevalue("gorilla")]
        elif name.startswith("websocket"):
            command = ["/usr/bin/python3", str(INTEROP / f"client_{name}.py")]
        else:
            env["NODE_PATH"] = str(node_modules())
            command = [shutil.which("node"), str(INTEROP / "client.js"), name]
        made.append(Client([*command, url, *protocols], env))
        return made[-1]

    yield make
    for client in made:
        client.end()


def url_of(gateway, query):
    return f"ws://127.0.0.1:{gateway.port}/ws?{query}"


@pytest.mark.parametrize("name", CLIENTS)
def test_talks(gateway, start, name):
    """Raw and bugle.v1, small, large, empty, other alphabets, both ways."""
    raw = start(name, url_of(gateway, "topic=a&publish=a"))
    talks = start(name, url_of(gateway, "topic=a"), ws.V1)
    assert raw.next("open")["protocol"] == ""
    assert talks.next("open") == {"protocol": ws.V1, "extensions": ""}
    assert talks.next_json("hello")
    for text in ("hello", "€ 😀", "x" * 125, "x" * 126, "x" * 60000):
        raw.tell(send=text)
        assert raw.next("message") == text
        assert talks.next_json("event")["data"] == text
    for ref, data in enumerate(({"total": 19.9}, "text", "y" * 60000)):
        talks.say(type="publish", ref=ref, events={"topic": "b", "data": data})
        assert talks.next_json("ack")["ref"] == ref
    talks.say(type="subscribe", topics=["c"])
    assert talks.next_json("subscribed")["topics"] == ["a", "c"]
    gateway.push({"topic": "c", "data": [1]})
    assert talks.next_json("event")["data"] == [1]


@pytest.mark.parametrize("name", OTHERS)
def test_ends(gateway, start, name):
    """Each sees the code, from either side; a stop is one of those."""
    deleted = start(name, url_of(gateway, "topic=a&user=anna"))
    wrong = start(name, url_of(gateway, "topic=a&publish=a"))
    closes = start(name, url_of(gateway, "topic=a"))
    stopped = start(name, url_of(gateway, "topic=a"), ws.V1)
    for client in (deleted, wrong, closes, stopped):
        client.next("open")
    gateway.wait_stat("websockets_open", 4)
    gateway.request("DELETE", "/api/streams?user=anna")
    assert deleted.next("close") == [1000, "deleted"]
    wrong.tell(send="x" * 140000)
    assert wrong.next("close")[0] == 1009
    closes.tell(close=[3001, "mine"])
    if name != "websocket":  # which does not tell
        assert closes.next("close")[0] == 3001
    gateway.wait_stat("websockets_open", 1)
    assert gateway.stat("websocket_errors") == 1
    gateway.signal()
    assert stopped.next_json("hello") and stopped.next_json("bye")["code"] == "stopping"
    code, reason = stopped.next("close")
    assert code == 1001 and ws.word_of(reason)[0] == "stopping" and ws.word_of(reason)[1] > 0
    assert gateway.wait() == 0


@pytest.mark.long
@pytest.mark.gateway(settings={"stream.heartbeat": "3s", "stream.vanish_timeout": "1s",
                               "limits.message_rate": "5"})
def test_stay(gateway, start):
    """Silence for longer than any may be silent: heartbeats pass unseen, pings are answered."""
    clients = [start(name, url_of(gateway, "topic=a&heartbeat=3")) for name in CLIENTS]
    for client in clients:
        client.next("open")
    begun = time.monotonic()
    wire.wait_until(lambda: time.monotonic() > begun + 28, 60, "more than two pings' time")
    gateway.push({"topic": "a", "data": "still here"})
    for client in clients:
        assert client.next("message") == "still here"
    assert gateway.stat("streams_vanished") == 0


@pytest.mark.parametrize("name", COMPRESSING)
@pytest.mark.gateway(settings={"websocket.deflate": "on"})
def test_compression(gateway, start, name):
    """Both ways, for those that offer it as they are."""
    client = start(name, url_of(gateway, "topic=a&publish=a"))
    opened = client.next("open")
    assert name == "websockets" or "permessage-deflate" in opened["extensions"], opened
    texts = ["x" * 5000, "small", json.dumps(list(range(3000))), "€" * 2000]
    for text in texts:
        client.tell(send=text)
        assert client.next("message") == text
    gateway.push({"topic": "a", "data": {"k": ["v" * 600] * 3}})
    assert json.loads(client.next("message")) == {"k": ["v" * 600] * 3}


def test_comes_back(gateway_factory, start):
    """reconnecting-websocket over kill -9 and a stop: by the id in the URL of each try nothing is
    lost or doubled."""
    gateway = gateway_factory(store="")
    client = start("reconnecting", url_of(gateway, "topic=a"), ws.V1)
    client.next("open")
    begun = client.next_json("hello")["id"]
    ids = []
    for life in range(3):
        ids += gateway.push([{"topic": "a", "data": i} for i in range(10)])["ids"]
        if life < 2:
            (gateway.kill if life else gateway.stop)()
            gateway.start()
    end = gateway.push({"topic": "a", "data": "end"})["id"]
    seen = []
    while end not in seen:
        with client.changed:
            assert client.changed.wait_for(lambda: client.lines, wire.seconds(20))
            line = client.lines.popleft()
        assert "over" not in line, client.process.stderr.read()
        if message := json.loads(line.get("message", "{}")):
            assert message["type"] != "reset", message
            seen += [message["id"]] if message["type"] == "event" else []
    assert seen == [*ids, end] and begun < ids[0]


@pytest.mark.gateway(settings={**SETTINGS, "auth.query_token": "on"})
def test_tokens(gateway, start):
    """Each can bring its token in the ways it has."""
    anna = token("anna", subscribe=["a"], publish=["a"])
    for name in OTHERS:
        client = start(name, url_of(gateway, f"topic=a&access_token={anna}"), ws.V1)
        assert client.next("open")["protocol"] == ws.V1
        client.next_json("hello")
        other = start(name, url_of(gateway, "topic=a"), ws.V1, f"bearer.{anna}")
        assert other.next("open")["protocol"] == ws.V1
        other.next_json("hello")
        other.say(type="publish", events={"topic": "a", "data": name})
        assert client.next_json("event")["data"] == name
        client.end(), other.end()
