# SPDX-License-Identifier: MIT
"""`bugle bench` over WebSocket: what comes is counted, what a server does wrong shows, and what is
published over sockets is answered.  The server is a stub, as in test_bench.py."""

import collections
import itertools
import json
import os
import socketserver
import struct
import threading
import urllib.parse

import pytest

import wire

EVENTS = 40
STREAMS = 6
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def frame(opcode, payload):
    if len(payload) < 126:
        return bytes([0x80 | opcode, len(payload)]) + payload
    return bytes([0x80 | opcode, 126]) + struct.pack("!H", len(payload)) + payload


class Stub(socketserver.ThreadingTCPServer):
    """WebSockets by topic; `forward` decides what becomes of an event, `answer` of a message."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"ws://127.0.0.1:{self.server_address[1]}"
        self.lock = threading.Lock()
        self.sockets = collections.defaultdict(list)
        self.heads, self.frames = [], []
        self.status = "101 Switching Protocols"
        self.published = 0
        self.wrap = lambda topic, text: text
        self.forward = lambda number, text, handler: handler.send(TEXT, text)
        self.answer = lambda number, handler: None

    def publish(self, topic, text):
        self.published += 1
        for handler in self.sockets[topic]:
            self.forward(self.published, self.wrap(topic, text), handler)


class Handler(socketserver.StreamRequestHandler):
    def send(self, opcode, text):
        self.wfile.write(frame(opcode, text.encode()))

    def handle(self):
        head = b"".join(itertools.takewhile(bytes.strip, self.rfile)).decode()
        if not head:
            return  # a connection that was closed without a request
        target = urllib.parse.urlsplit(head.split()[1])
        query = urllib.parse.parse_qs(target.query)
        if head.startswith("POST"):
            self.post()
            return
        with self.server.lock:
            self.server.heads.append(head)
            self.wfile.write(f"HTTP/1.1 {self.server.status}\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\n\r\n".encode())
            self.server.sockets[query["topic"][0]].append(self)
        while self.server.status.startswith("101") and self.take(query):
            pass

    def post(self):
        """One event, and the end of the connection."""
        event = json.loads(self.rfile.read1())
        with self.server.lock:
            self.server.publish(event["topic"], event["data"])
        self.wfile.write(b"HTTP/1.0 201 Created\r\nContent-Length: 0\r\n\r\n")

    def take(self, query):
        """Read one frame.  Returns whether there was one."""
        first = self.rfile.read(2)
        if len(first) < 2:
            return False
        length = first[1] & 0x7f
        assert first[1] & 0x80, "not masked"
        if length == 126:
            (length,) = struct.unpack("!H", self.rfile.read(2))
        mask = self.rfile.read(4)
        payload = bytes(c ^ mask[i % 4] for i, c in enumerate(self.rfile.read(length))).decode()
        with self.server.lock:
            self.server.frames.append((first[0] & 0xf, payload))
            if first[0] & 0xf == TEXT:
                self.message(query, payload)
        return True

    def message(self, query, payload):
        if "publish" in query:
            self.server.publish(query["publish"][0], payload)
            return
        events = json.loads(payload)["events"]
        for event in events if isinstance(events, list) else [events]:
            self.server.publish(event["topic"], event["data"])
        self.server.answer(self.server.published, self)


@pytest.fixture
def stub():
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bench(bugle):
    """Run it against the stub and return its exit status and its JSON."""

    def run(stub, *options, streams=STREAMS, events=EVENTS):
        result = bugle(
            "bench", "--json", "--ws", "--stream-url", stub.url + "/ws?topic={topic}",
            "--publish-url", stub.url + "/api/push", "--streams", streams, "--events", events,
            "--rate", 400, "--connections", 1, "--settle", 0, "--drain", wire.seconds(1), *options,
            timeout=60)
        assert result.stdout, result.stderr
        return result.returncode, json.loads(result.stdout)

    return run


def over_sockets(stub, way):
    path = "/ws?topic={topic}&publish={topic}" if way == "raw" else "/ws?topic=bench-none"
    return ("--ws-publish", way, "--publish-url", stub.url + path, "--connections", 4)


def test_everything_is_counted_once(stub, bench):
    status, report = bench(stub, "--topics", 2, "--server-pid", os.getpid())
    assert status == 0, report
    assert report["deliveries"]["received"] == EVENTS * STREAMS / 2
    assert report["latency"]["count"] == EVENTS * STREAMS / 2
    assert report["streams"]["standing"] == STREAMS
    assert all("\r\nUpgrade: websocket\r\n" in head and "Protocol" not in head
               for head in stub.heads)


@pytest.mark.parametrize("size", [125, 126, 3000])
def test_frames_of_any_length(stub, bench, size):
    status, report = bench(stub, "--size", size)
    assert status == 0, report
    assert report["deliveries"]["bytes"] > size * EVENTS * STREAMS


def test_a_protocol_of_messages(stub, bench):
    """Only events count; what else the gateway says is skipped."""
    def forward(number, text, handler):
        handler.send(TEXT, '{"type":"checkpoint","id":"x"}')
        handler.send(TEXT, text)

    stub.wrap = lambda topic, text: json.dumps(
        {"type": "event", "topics": [topic], "data": text}, separators=(",", ":"))
    stub.forward = forward
    status, report = bench(stub, "--ws-protocol", "bugle.v1")
    assert status == 0, report
    assert report["deliveries"]["foreign"] == 0
    assert all("\r\nSec-WebSocket-Protocol: bugle.v1\r\n" in head for head in stub.heads)


@pytest.mark.parametrize("fault, counter, times", [("lost", "lost", 0),
                                                   ("twice", "duplicated", 2)])
def test_what_goes_wrong_is_counted(stub, bench, fault, counter, times):
    def forward(number, text, handler):
        wrong = number == 7 and handler is stub.sockets["bench-0"][2]
        for _ in range(times if wrong else 1):
            handler.send(TEXT, text)

    stub.forward = forward
    status, report = bench(stub)
    assert (status, report["deliveries"][counter]) == (1, 1), fault


def test_pings_are_answered(stub, bench):
    def forward(number, text, handler):
        handler.send(PING, str(number))
        handler.send(PONG, "")
        handler.send(TEXT, text)

    stub.forward = forward
    assert bench(stub, streams=1, events=5)[0] == 0
    assert stub.frames == [(PONG, str(i + 1)) for i in range(5)]


@pytest.mark.parametrize("bytes_, why", [(b"\x88\x02\x03\xe9", "Close frame"),
                                         (b"\x81\x85\0\0\0\0hello", "frame that can"),
                                         (b"\x01\x02hi", "frame that can")])
def test_a_server_that_ends_a_websocket(stub, bugle, bytes_, why):
    stub.forward = lambda number, text, handler: handler.wfile.write(
        bytes_ if number == 3 else frame(TEXT, text.encode()))
    result = bugle("bench", "--ws", "--stream-url", stub.url + "/ws?topic={topic}",
                   "--publish-url", stub.url + "/api/push", "--streams", 1, "--events", 5,
                   "--settle", 0, "--drain", wire.seconds(0.2), timeout=60)
    assert result.returncode == 1
    assert "1 ended early" in result.stdout and why in result.stdout


def test_a_server_that_speaks_no_websocket(stub, bugle):
    stub.status = "426 Upgrade Required"
    result = bugle("bench", "--ws", "--stream-url", stub.url + "/ws?topic={topic}",
                   "--publish-url", stub.url, "--streams", 1)
    assert result.returncode == 1
    assert "426" in result.stderr


@pytest.mark.parametrize("options", [(), ("--batch", 8), ("--rate", "max")])
def test_publishing_by_messages_with_answers(stub, bench, options):
    stub.answer = lambda number, handler: handler.send(
        TEXT, '{"type":"ack","ref":1,"id":"x","durability":"memory","duplicate":false}')
    status, report = bench(stub, *over_sockets(stub, "v1"), *options)
    assert status == 0, report
    assert report["events"]["acknowledged"] == EVENTS
    assert report["deliveries"]["received"] == EVENTS * STREAMS


def test_a_refused_message(stub, bench):
    stub.answer = lambda number, handler: handler.send(
        TEXT, '{"type":"error","ref":1,"status":503,"code":"overloaded"}' if number == 5
        else '{"type":"ack","ref":1}')
    status, report = bench(stub, *over_sockets(stub, "v1"))
    assert status == 1
    assert (report["events"]["refused"], report["events"]["acknowledged"]) == (1, EVENTS - 1)


def test_a_socket_that_ends_under_a_message(stub, bench):
    stub.answer = lambda number, handler: handler.wfile.write(
        b"\x88\x00" if number == 5 else frame(TEXT, b'{"type":"ack","ref":1}'))
    status, report = bench(stub, *over_sockets(stub, "v1"))
    assert status == 1
    assert (report["events"]["unanswered"], report["events"]["acknowledged"]) == (1, EVENTS - 1)


@pytest.mark.parametrize("options", [(), ("--rate", "max")])
def test_publishing_texts_that_come_back(stub, bench, options):
    """Four sockets of two topics: each waits for its own event, not for the other socket's."""
    status, report = bench(stub, *over_sockets(stub, "raw"), "--topics", 2, *options)
    assert status == 0, report
    assert report["events"]["acknowledged"] == EVENTS == stub.published
    assert report["deliveries"]["received"] == EVENTS * STREAMS / 2


def test_nobody_to_publish_over(stub, bugle):
    stub.status = "403 Forbidden"
    result = bugle("bench", "--publish-only", *over_sockets(stub, "v1"), "--events", 1)
    assert result.returncode == 1
    assert "403" in result.stderr


@pytest.mark.parametrize("args", [("--ws-protocol", "bugle.v1"), ("--ws-publish", "json"),
                                  ("--ws-publish", "raw", "--batch", "2")])
def test_wrong_usage(bugle, args):
    assert bugle("bench", *args).returncode == 2


@pytest.mark.gateway(settings={"limits.message_rate": "0"})
@pytest.mark.parametrize("way", ["post", "v1", "raw"])
@pytest.mark.parametrize("protocol", [None, "bugle.v1"])
def test_the_gateway(gateway, bugle, protocol, way):
    url = gateway.url.replace("http:", "ws:")
    ways = {"post": ("--publish-url", url + "/api/push", "--batch", 4),
            "v1": ("--ws-publish", "v1", "--publish-url", url + "/ws?topic=bench-none",
                   "--batch", 4),
            "raw": ("--ws-publish", "raw", "--publish-url",
                    url + "/ws?topic={topic}&publish={topic}")}
    result = bugle("bench", "--json", "--ws", "--stream-url", url + "/ws?topic={topic}",
                   "--streams", 60, "--topics", 20, "--events", 400, "--rate", 1000, "--settle", 0,
                   "--connections", 20, "--server-pid", gateway.pid, *ways[way],
                   *(("--ws-protocol", protocol) if protocol else ()), timeout=60)
    report = json.loads(result.stdout)
    assert result.returncode == 0, report
    assert report["deliveries"]["expected"] == report["deliveries"]["received"] == 400 * 3
