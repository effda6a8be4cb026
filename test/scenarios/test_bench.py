# SPDX-License-Identifier: MIT
"""`bugle bench` tells the truth: its counts are exact, and whatever a server does wrong shows.

The server is a stub that does exactly one thing wrong, except in the last test, which measures
the gateway.  No figure that depends on the speed of the machine is looked at.
"""

import collections
import contextlib
import http.server
import json
import os
import socket
import threading
import urllib.parse

import pytest

import wire
from conftest import free_port

EVENTS = 40
STREAMS = 6


class Stub(http.server.ThreadingHTTPServer):
    """Streams and publishes in the gateway's way; `forward` decides what becomes of an event."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lock = threading.Lock()
        self.streams = collections.defaultdict(list)
        self.published = 0
        self.requests = []
        self.chunked = True
        self.one_request = False
        self.stream_status = 200
        self.statuses = {}
        self.forward = lambda number, frame, send: send(frame)

    def handle_error(self, request, client_address):
        """Clients leave when they are done."""

    def publish(self, event):
        """Bring one event to its streams; its number, from 1, counts all topics together."""
        with self.lock:
            self.published += 1
            frame = f"data: {event['data']}\nid: {self.published}\n\n".encode()
            for index, stream in enumerate(self.streams[event["topic"]]):
                self.forward((self.published, index), frame, stream.send)

    def end_streams(self):
        with self.lock:
            for stream in sum(self.streams.values(), []):
                stream.over.set()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        self.over = threading.Event()
        self.close_connection = True
        self.send_response(self.server.stream_status)
        self.send_header("Content-Type", "text/event-stream")
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        with self.server.lock:
            self.end_headers()
            self.send(b":\n")
            self.server.streams[query["topic"][0]].append(self)
        self.over.wait()

    def send(self, frame):
        if self.server.chunked:
            frame = b"%x\r\n%s\r\n" % (len(frame), frame)
        with contextlib.suppress(OSError):
            self.wfile.write(frame)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        events = json.loads(body)
        events = events if isinstance(events, list) else [events]
        with self.server.lock:
            self.server.requests.append((self.path, self.headers, body))
            status = self.server.statuses.get(len(self.server.requests), 201)
        if status == 0:
            self.close_connection = True
            return
        if status < 300:
            for event in events:
                self.server.publish(event)
        self.close_connection = self.server.one_request
        self.send_response(status)
        if self.server.one_request:
            self.send_header("Connection", "close")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


@pytest.fixture
def stub():
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.end_streams()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bench(bugle):
    """Run it against a server and return its exit status and its JSON."""

    def run(url, *options, streams=STREAMS, topics=1, events=EVENTS, connections=1):
        result = bugle(
            "bench", "--json", "--stream-url", f"{url}/events?topic={{topic}}",
            "--publish-url", f"{url}/api/push", "--streams", streams, "--topics", topics,
            "--events", events, "--rate", 400, "--connections", connections, "--settle", 0,
            "--drain", wire.seconds(1), *options, timeout=60)
        assert result.stdout, result.stderr
        return result.returncode, json.loads(result.stdout)

    return run


def expect(report, **wanted):
    """Deliveries: all expected ones and nothing wrong, except what is wanted."""
    expected = wanted.pop("expected", EVENTS * STREAMS)
    received = wanted.pop("received", expected - wanted.get("lost", 0))
    found = report["deliveries"]
    assert (found["expected"], found["received"]) == (expected, received)
    for name in ("lost", "duplicated", "out_of_order", "misrouted", "foreign"):
        assert found[name] == wanted.get(name, 0), name
    assert report["good"] == (not wanted)


def test_everything_is_counted_once(stub, bench):
    status, report = bench(stub.url, "--server-pid", os.getpid())
    assert status == 0
    expect(report)
    assert report["streams"] == {**report["streams"], "asked": STREAMS, "standing": STREAMS,
                                 "failed": 0, "ended": 0}
    assert report["events"] == {"published": EVENTS, "acknowledged": EVENTS, "refused": 0,
                                "unanswered": 0, "unsent": 0}
    assert report["window"]["deliveries"] == EVENTS * STREAMS
    assert report["latency"]["count"] == EVENTS * STREAMS
    assert report["answers"]["count"] == EVENTS
    assert 0 < report["latency"]["p50_us"] <= report["latency"]["max_us"]
    assert report["server"]["cpu_us"] > 0 and report["server"]["private_standing"] > 0


@pytest.mark.parametrize("options", [(), ("--random",), ("--batch", 8), ("--random", "--batch", 8)])
def test_topics(stub, bench, options):
    """Six streams on three topics: each event goes to two of them."""
    status, report = bench(stub.url, *options, topics=3)
    assert status == 0
    expect(report, expected=EVENTS * 2)
    assert {len(streams) for streams in stub.streams.values()} == {2}
    assert len(stub.streams) == 3


def test_events_go_to_topics_in_turn(stub, bench):
    assert bench(stub.url, topics=3)[0] == 0
    topics = [json.loads(body)["topic"] for _, _, body in stub.requests]
    assert topics == [f"bench-{i % 3}" for i in range(EVENTS)]


def test_a_batch_is_one_request(stub, bench):
    status, report = bench(stub.url, "--batch", 10)
    assert status == 0
    expect(report)
    assert [len(json.loads(body)) for _, _, body in stub.requests] == [10] * (EVENTS // 10)
    assert report["answers"]["count"] == EVENTS // 10


def test_closed_loop(stub, bench):
    status, report = bench(stub.url, "--rate", "max", connections=4)
    assert status == 0
    expect(report)


def test_streams_without_chunks(stub, bench):
    stub.chunked = False
    status, report = bench(stub.url)
    assert status == 0
    expect(report)


def test_a_server_that_closes_after_each_answer(stub, bench):
    stub.one_request = True
    status, report = bench(stub.url, connections=3)
    assert status == 0
    expect(report)


def test_templates_and_headers(stub, bench):
    status, _ = bench(
        stub.url, "--publish-url", stub.url + "/pub?id={topic}&n={seq}", "--publish-body",
        '{"n":{seq},"topic":"{topic}","data":"{data}"}', "--publish-type", "text/x-test",
        "--header", "X-Key: secret", "--size", 200, topics=2, events=4)
    assert status == 0
    assert [path for path, _, _ in stub.requests] == [
        "/pub?id=bench-0&n=0", "/pub?id=bench-1&n=0", "/pub?id=bench-0&n=1", "/pub?id=bench-1&n=1"]
    _, headers, body = stub.requests[2]
    assert (headers["X-Key"], headers["Content-Type"]) == ("secret", "text/x-test")
    assert json.loads(body)["n"] == 1
    assert len(json.loads(body)["data"]) == 200


def test_a_lost_event(stub, bench):
    stub.forward = lambda at, frame, send: at == (7, 2) or send(frame)
    status, report = bench(stub.url)
    assert status == 1
    expect(report, lost=1)


def test_the_last_event_lost(stub, bench):
    """Nothing comes behind it that would show the gap."""
    stub.forward = lambda at, frame, send: at[0] == EVENTS or send(frame)
    status, report = bench(stub.url)
    assert status == 1
    expect(report, lost=STREAMS)


def test_a_duplicate(stub, bench):
    def forward(at, frame, send):
        send(frame)
        if at == (7, 2):
            send(frame)

    stub.forward = forward
    status, report = bench(stub.url)
    assert status == 1
    expect(report, duplicated=1)


def test_a_duplicate_of_the_last_event(stub, bench):
    def forward(at, frame, send):
        send(frame)
        if at == (EVENTS, STREAMS - 1):
            send(frame)

    stub.forward = forward
    status, report = bench(stub.url)
    assert status == 1
    expect(report, duplicated=1)


def test_two_events_in_the_wrong_order(stub, bench):
    held = []

    def forward(at, frame, send):
        if at == (7, 2):
            held.append(frame)
            return
        send(frame)
        if at == (8, 2):
            send(held.pop())

    stub.forward = forward
    status, report = bench(stub.url)
    assert status == 1
    expect(report, out_of_order=1)


def test_an_event_of_another_topic(stub, bench):
    def forward(at, frame, send):
        send(frame)
        if at == (1, 0):
            for stream in stub.streams["bench-1"]:
                stream.send(frame)

    stub.forward = forward
    status, report = bench(stub.url, topics=2)
    assert status == 1
    expect(report, expected=EVENTS * 3, misrouted=3)


def test_events_of_an_earlier_run_do_not_count(stub, bench):
    kept = []
    stub.forward = lambda at, frame, send: (kept.append(frame), send(frame))
    assert bench(stub.url, streams=1, events=5)[0] == 0
    stub.streams.clear()

    def replay(at, frame, send):
        if at[0] == 6:
            for old in kept:
                send(old)
        send(frame)

    stub.forward = replay
    status, report = bench(stub.url, streams=1, events=5)
    assert status == 0
    assert report["deliveries"]["foreign"] == 5
    assert report["deliveries"]["received"] == 5


def test_refused_events_are_not_lost(stub, bench):
    stub.statuses = {5: 503, 6: 500}
    status, report = bench(stub.url)
    assert status == 1
    assert report["events"] == {"published": EVENTS, "acknowledged": EVENTS - 2, "refused": 2,
                                "unanswered": 0, "unsent": 0}
    assert report["deliveries"]["expected"] == (EVENTS - 2) * STREAMS
    assert report["deliveries"]["lost"] == 0


def test_a_connection_that_ends_under_a_request(stub, bench):
    stub.statuses = {5: 0}
    status, report = bench(stub.url)
    assert status == 1
    assert report["events"]["unanswered"] == 1
    assert report["events"]["acknowledged"] == EVENTS - 1
    assert report["deliveries"]["lost"] == 0


def test_streams_that_the_server_ends(stub, bench):
    def forward(at, frame, send):
        if at == (10, 0):  # at once, and not when the stream's thread has its turn
            stub.streams["bench-0"][3].connection.shutdown(socket.SHUT_RDWR)
            stub.streams["bench-0"][3].over.set()
        send(frame)

    stub.forward = forward
    status, report = bench(stub.url)
    assert status == 1
    assert (report["streams"]["standing"], report["streams"]["ended"]) == (STREAMS - 1, 1)


def test_no_stream_at_all(stub, bugle):
    stub.stream_status = 503
    result = bugle("bench", "--stream-url", stub.url + "/events?topic={topic}", "--streams", 3,
                   "--publish-url", stub.url)
    assert result.returncode == 1
    assert "503" in result.stderr


def test_nobody_to_publish_to(stub, bugle):
    nobody = f"http://127.0.0.1:{free_port()}/"
    result = bugle("bench", "--stream-url", stub.url + "/events?topic={topic}", "--streams", 3,
                   "--publish-url", nobody)
    assert result.returncode == 1
    assert "refused" in result.stderr and not result.stdout


def test_publish_only(stub, bench):
    status, report = bench(stub.url, "--publish-only", "--rate", "max", connections=4)
    assert status == 0
    assert report["events"]["acknowledged"] == EVENTS == stub.published
    assert not any(stub.streams.values())


def test_idle(stub, bench):
    status, report = bench(stub.url, "--idle", "--seconds", 0.2, "--events", 1)
    assert status == 0
    assert report["streams"]["standing"] == STREAMS
    assert not stub.requests


def test_what_connecting_and_closing_take(stub, bench):
    """Streams that the tool itself closes have not ended early."""
    status, report = bench(stub.url, "--close", 0.1, "--connecting", 2, "--server-pid", os.getpid())
    assert status == 0
    expect(report)
    assert report["streams"]["ended"] == 0 and report["streams"]["standing"] == STREAMS
    assert report["first_bytes"]["count"] == STREAMS and report["first_bytes"]["p50_us"] > 0
    assert report["server"]["cpu_us_per_connect"] > 0 and report["server"]["bytes_per_cpu_s"] > 0
    assert bench(stub.url, "--server-pid", os.getpid())[1]["server"]["cpu_us_per_close"] == 0


def test_more_streams_than_are_started_at_a_time(stub, bench):
    status, report = bench(stub.url, "--connecting", 100, streams=70, events=2)
    assert status == 0
    expect(report, expected=140)


def test_a_line_of_progress_begins_each_phase(stub, bugle):
    result = bugle(
        "bench", "--stream-url", stub.url + "/events?topic={topic}", "--publish-url", stub.url,
        "--streams", 1, "--events", 1, "--settle", 0, "--close", 0.01, "--progress")
    assert result.returncode == 0, result.stderr
    phases = [line.split()[2] for line in result.stderr.splitlines()]
    assert "closing" in phases and phases.index("measuring") < phases.index("ending")


def test_text_report(stub, bugle):
    result = bugle(
        "bench", "--stream-url", stub.url + "/events?topic={topic}", "--publish-url", stub.url,
        "--streams", 2, "--events", 5, "--settle", 0, "--server-pid", os.getpid(), "--progress")
    assert result.returncode == 0, result.stderr
    assert "10 expected, 10 received, 0 lost, 0 duplicated, 0 out of order" in result.stdout
    for word in ("p50", "p90", "p99", "p99.9", "max", "us CPU a delivery", "KiB a stream",
                 "first bytes", "us CPU to connect a stream", "GB a second of CPU"):
        assert word in result.stdout


@pytest.mark.parametrize("args", [
    ("--streams", "0"), ("--streams", "many"), ("--rate", "-1"), ("--rate",), ("--size", "10"),
    ("--nonsense",), ("word",), ("--idle", "--publish-only"), ("--events", "5", "--batch", "2"),
    ("--header", "no colon"), ("--server-pid", "1,,2"),
])
def test_wrong_usage(bugle, args):
    result = bugle("bench", *args)
    assert result.returncode == 2
    assert result.stderr.count("\n") <= 2 and "bench" in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1:80", "http://", "http://:80/"])
def test_wrong_urls(bugle, url):
    result = bugle("bench", "--stream-url", url)
    assert result.returncode == 1
    assert url in result.stderr


def test_help(bugle):
    result = bugle("bench", "--help")
    assert result.returncode == 0
    assert "--stream-url" in result.stdout and not result.stderr


def test_the_gateway(gateway, bench):
    status, report = bench(gateway.url, "--batch", 4, "--random", "--server-pid", gateway.pid,
                           streams=60, topics=20, events=400, connections=4)
    assert status == 0, report
    assert report["deliveries"]["expected"] == report["deliveries"]["received"] == 400 * 3
