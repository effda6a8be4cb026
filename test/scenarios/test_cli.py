# SPDX-License-Identifier: MIT
"""`bugle subscribe` and `bugle publish` against a scripted gateway: the test plays the server, so
that every byte, cut and pause is its own."""

import contextlib
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import time
import urllib.parse

import pytest

from conftest import program_env, program_path
from wire import seconds

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
CHUNKED = STREAM.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer(status, body, kind="application/json", extra=""):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def problem(status, extra="", **members):
    return answer(status, {"status": status, **members}, "application/problem+json", extra)


class Request:
    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ")
        self.path, _, query = self.target.partition("?")
        self.query = urllib.parse.parse_qsl(query, keep_blank_values=True)
        pairs = [line.split(":", 1) for line in lines[1:]]
        self.headers = {name.lower(): value.strip() for name, value in pairs}
        assert len(self.headers) == len(pairs), f"a header comes twice: {lines}"
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)


class Connection:
    """The server's side of one connection."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(seconds(30))
        self.unread = b""

    def _receive(self):
        data = self.sock.recv(65536)
        assert data, "the client closed the connection"
        self.unread += data

    def head(self):
        while b"\r\n\r\n" not in self.unread:
            self._receive()
        head, _, self.unread = self.unread.partition(b"\r\n\r\n")
        return Request(head, b"")

    def request(self):
        request = self.head()
        body_n = int(request.headers.get("content-length", 0))
        while len(self.unread) < body_n:
            self._receive()
        request.body, self.unread = self.unread[:body_n], self.unread[body_n:]
        return request

    def send(self, data):
        self.sock.sendall(data)

    def answer_ids(self, *ids):
        body = {"id": ids[0]} if len(ids) == 1 else {"ids": list(ids)}
        self.send(answer(201, body))

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_for_end(self):
        """Until the client closes; what it sends meanwhile is of no interest."""
        with contextlib.suppress(ConnectionResetError):
            while self.sock.recv(65536):
                pass


class Server:
    def __init__(self, listening=True):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(seconds(40))
        self.port = self.sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = []
        if listening:
            self.listen()

    def listen(self):
        self.sock.listen()

    def accept(self):
        connection = Connection(self.sock.accept()[0])
        self.connections.append(connection)
        return connection

    def stream(self, data=b"", head=STREAM):
        """Take a stream's request and begin to answer it."""
        connection = self.accept()
        connection.asked = connection.request()
        connection.send(head + data)
        return connection

    def is_left_alone(self):
        """Whether nobody waits to be accepted."""
        return not select.select([self.sock], [], [], 0)[0]

    def close(self):
        for each in [self.sock, *self.connections]:
            each.close()


class Tool:
    """The running program and what it says."""

    def __init__(self, *args, env=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                 stderr=subprocess.PIPE, **options):
        self.process = subprocess.Popen(
            [program_path(), *args], env=program_env(env), stdin=stdin, stdout=stdout,
            stderr=stderr, **options)
        self.unread = {}

    def read_until(self, done, fd):
        """Read more of a descriptor until `done(what there is)` says so; at its end all."""
        deadline = time.monotonic() + seconds(30)
        while not done(self.unread.setdefault(fd, b"")):
            left = deadline - time.monotonic()
            assert left > 0 and select.select([fd], [], [], left)[0], f"only {self.unread[fd]}"
            try:
                data = os.read(fd, 65536)
            except OSError:  # EIO: nobody has the terminal open any more
                data = b""
            if not data:
                break
            self.unread[fd] += data
        return self.unread[fd]

    def line(self, stream=None):
        fd = (stream or self.process.stdout).fileno()
        line, end, self.unread[fd] = self.read_until(lambda data: b"\n" in data, fd).partition(b"\n")
        assert end, f"no line, but {line}"
        return line.decode()

    def note(self):
        return self.line(self.process.stderr)

    def rest(self, stream):
        return self.read_until(lambda data: False, stream.fileno()).decode()

    def finish(self, status=0):
        """Its standard output and error from here on, once it has left with this status."""
        out = self.rest(self.process.stdout) if self.process.stdout else ""
        err = self.rest(self.process.stderr) if self.process.stderr else ""
        assert self.process.wait(seconds(30)) == status, err
        return out, err

    def signal(self, number):
        self.process.send_signal(number)

    def write(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def close_input(self):
        self.process.stdin.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()


@pytest.fixture
def opened():
    things = []
    yield things
    for each in reversed(things):
        each.close()


@pytest.fixture
def server(opened):
    opened.append(Server())
    return opened[-1]


@pytest.fixture
def run(opened):
    def start(*args, **options):
        opened.append(Tool(*args, **options))
        return opened[-1]

    return start


@pytest.fixture
def subscribe(run, server):
    return lambda *args, **options: run("subscribe", "--url", server.url, *args, **options)


@pytest.fixture
def publish(run, server):
    return lambda *args, **options: run("publish", "--url", server.url, *args, **options)


@pytest.fixture
def terminal(opened):
    """A pseudo-terminal: our end as a file, the program's end as a descriptor."""
    ours, theirs = pty.openpty()
    opened.append(os.fdopen(ours, "rb", buffering=0))
    yield opened[-1], theirs
    os.close(theirs)


# Subscribing: what is asked


def test_subscribe_asks_for_what_the_options_say(subscribe, server):
    subscribe("--topic", "a b/+&=ü?#", "--user", "u/1", "--since", "10m", "--heartbeat", "20",
              "--last-event-id", "e-7", "--token", "secret", "--header", "X-One: 1",
              "--header", "X-Empty:", "--header", "accept: */*", "--", "orders/*", "")
    asked = server.accept().request()
    assert (asked.method, asked.path) == ("GET", "/events")
    assert asked.query == [("topic", "a b/+&=ü?#"), ("topic", "orders/*"), ("topic", ""),
                           ("user", "u/1"), ("since", "10m"), ("heartbeat", "20")]
    assert "+" not in asked.target
    wanted = {"last-event-id": "e-7", "authorization": "Bearer secret", "x-one": "1",
              "x-empty": "", "accept": "*/*"}
    assert wanted.items() <= asked.headers.items()


def test_subscribe_defaults(subscribe, server):
    subscribe()
    asked = server.accept().request()
    assert asked.query == [("heartbeat", "15")]
    assert asked.headers["accept"] == "text/event-stream"
    assert asked.headers["user-agent"].startswith("bugle/")
    assert not {"last-event-id", "authorization", "accept-encoding"} & asked.headers.keys()


def test_environment_names_gateway_and_token(run, server):
    run("subscribe", env={"BUGLE_URL": server.url + "/under/", "BUGLE_TOKEN": "from-env"})
    asked = server.accept().request()
    assert asked.path == "/under/events"
    assert asked.headers["authorization"] == "Bearer from-env"


def test_a_header_of_ones_own_replaces_the_token(subscribe, server):
    subscribe("--header", "authorization: Basic eDp5", env={"BUGLE_TOKEN": "unused"})
    assert server.accept().request().headers["authorization"] == "Basic eDp5"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_no_proxy_for_loopback(run, host):
    server = Server(listening=False)
    server.sock.close()
    server.sock = socket.create_server(("127.0.0.1" if host == "localhost" else host, 0))
    server.sock.settimeout(seconds(30))
    proxy = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    run("subscribe", "--url", f"http://{host}:{server.sock.getsockname()[1]}", env=proxy)
    assert server.accept().request().path == "/events"
    server.close()


def test_a_proxy_for_the_rest_of_the_world(run, server):
    run("subscribe", "--url", "http://gateway.example", env={"http_proxy": server.url})
    assert server.accept().request().target == "http://gateway.example/events?heartbeat=15"


def test_a_redirect_is_followed_without_the_token(subscribe, server, opened):
    opened.append(Server())
    other = opened[-1]
    tool = subscribe("--token", "secret", "--count", "1")
    first = server.accept()
    assert first.request().headers["authorization"] == "Bearer secret"
    first.send(answer(307, b"", extra=f"Location: {other.url}/there\r\n"))
    there = other.stream(b"data: x\n\n")
    assert there.asked.path == "/there"
    assert "authorization" not in there.asked.headers
    assert tool.finish() == ("x\n", "")


# Subscribing: what is printed


def test_data_as_it_came_when_piped(subscribe, server):
    tool = subscribe("--count", "4")
    server.stream(b":\nretry: 2000\nevent: e\ndata: one\nid: i-1\n\n"
                  b"data: two\ndata:  lines\n\ndata:\n\ndata: \x1b[31m\xff\ttail\n\n")
    assert tool.process.stdout.read() == b"one\ntwo\n lines\n\n\x1b[31m\xff\ttail\n"
    assert tool.finish() == ("", "")


def test_json_objects(subscribe, server):
    tool = subscribe("--json", "--count", "4")
    server.stream(b'event: "e"\ndata: {"a":1.10}\nid: i-1\n\ndata: a\ndata:\n\n'
                  b"data: \x00\x1b\x7f\xc2\x9b \xe2\x80\xae \xc3\xbc\n\ndata: \xff\xe2\x80\n\n")
    lines = [tool.line() for _ in range(4)]
    assert lines[0] == '{"id":"i-1","event":"\\"e\\"","data":"{\\"a\\":1.10}"}'
    assert [json.loads(line) for line in lines[1:]] == [
        {"id": None, "event": "message", "data": "a\n"},
        {"id": None, "event": "message", "data": "\0\x1b\x7f\x9b \u202e ü"},
        {"id": None, "event": "message", "data": "\ufffd\ufffd\ufffd"},
    ]
    assert lines[2].isascii(), "hidden characters are escaped"
    tool.finish()


def test_each_event_is_printed_when_it_comes(subscribe, server):
    tool = subscribe("--count", "2")
    stream = server.stream(b"data: first\n\ndata: sec")
    assert tool.line() == "first"
    stream.send(b"ond\n\n")
    assert tool.line() == "second"
    assert tool.finish() == ("", "")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_any_cut_and_line_end(subscribe, server, end):
    tool = subscribe("--json", "--count", "2")
    stream = server.stream()
    stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    text = b"\xef\xbb\xbfevent: e\ndata: \xc3\xbc\ndata: b\nid: i\n\ndata: c\n\n:"
    with contextlib.suppress(ConnectionError):  # it may have both events before the last byte
        for byte in text.replace(b"\n", end):
            stream.send(bytes([byte]))
    assert json.loads(tool.line()) == {"id": "i", "event": "e", "data": "ü\nb"}
    assert json.loads(tool.line())["data"] == "c"
    tool.finish()


def test_only_events_of_these_names(subscribe, server):
    tool = subscribe("--event", "a", "--event", "message", "--count", "3")
    server.stream(b"event: b\ndata: 1\n\nevent: a\ndata: 2\n\ndata: 3\n\n"
                  b"event: ab\ndata: 4\n\nevent: a\ndata: 5\n\ndata: 6\n\n")
    assert tool.finish() == ("2\n3\n5\n", "")


def test_reset_is_told_and_checkpoints_are_silent(subscribe, server):
    events = (b'event: reset\ndata: {"reason":"expired","oldest":"e-5","newest":"e-9"}\nid: e-4\n\n'
              b"event: checkpoint\ndata:\nid: e-6\n\n")
    tool = subscribe("--count", "1")
    stream = server.stream(events + b"retry: 100\n")
    assert tool.note() == ("bugle subscribe: reset: some events are no longer available (expired); "
                           "going on from e-4")
    stream.close()
    again = server.stream(b"data: x\n\n")
    assert again.asked.headers["last-event-id"] == "e-6"
    assert tool.finish() == ("x\n", "")


@pytest.mark.parametrize("reason, part", [("token", "has expired"), ("key", "no longer")])
def test_the_end_of_a_login_is_the_end(subscribe, server, reason, part):
    """With the same token it would only be refused, or be nobody."""
    tool = subscribe("--event", "message")
    server.stream(b"data: x\n\nevent: expired\ndata: {\"reason\":\"%s\"}\n\ndata: y\n\n"
                  % reason.encode())
    out, err = tool.finish(status=1)
    assert out == "x\n" and part in err, err


def test_a_deleted_stream_comes_again(subscribe, server):
    """And an event that only looks like the gateway's is one of a publisher."""
    tool = subscribe("--count", "2")
    server.stream(b'retry: 100\nevent: expired\ndata: {"reason":"deleted"}\n\n').close()
    server.stream(b'event: expired\ndata: milk\n\ndata: x\n\n')
    out, err = tool.finish()
    assert out == "milk\nx\n" and "an administrator ended this stream" in err, err


def test_reset_as_json(subscribe, server):
    tool = subscribe("--json", "--quiet", "--event", "message", "--count", "1")
    server.stream(b'event: reset\ndata: {"reason":"epoch"}\nid: e-4\n\ndata: x\n\n')
    assert json.loads(tool.line()) == {"id": "e-4", "event": "reset", "data": '{"reason":"epoch"}'}
    assert json.loads(tool.line())["data"] == "x"
    assert tool.finish() == ("", "")


def test_for_a_person(subscribe, server, terminal):
    screen, theirs = terminal
    tool = subscribe("--count", "3", stdout=theirs)
    server.stream("event: e\ndata: a\x1b[31m\tü\u202e\ndata: b\\n\nid: i-1\n\n".encode()
                  + b"data: \xff\x07\n\nevent: \x9b\ndata:\nid: \n\n")
    tool.finish()
    shown = tool.read_until(lambda data: data.count(b"\n") == 4, screen.fileno()).decode()
    assert shown.replace("\r\n", "\n") == ("i-1  e  a^[[31m\tü<U+202E>\n    b\\n\n"
                                          "-  message  <FF>^G\n  <9B>  \n")


def test_the_state_is_shown_on_a_terminal(subscribe, server, terminal):
    screen, theirs = terminal
    tool = subscribe("--count", "2", stderr=theirs)

    def wait_for(text):
        tool.read_until(lambda data: text in data, screen.fileno())

    wait_for(b"connecting to http://127.0.0.1")
    stream = server.stream(b"retry: 1500\ndata: x\n\n")
    wait_for(b"open, 1 event")
    stream.close()
    wait_for(b"connecting again in 2 s, 1 event: the stream ended")
    wait_for(b"connecting again in 1 s, 1 event")
    server.stream(b"data: y\n\n")
    assert tool.finish() == ("x\ny\n", "")
    os.set_blocking(screen.fileno(), False)
    with contextlib.suppress(BlockingIOError):
        tool.unread[screen.fileno()] += os.read(screen.fileno(), 65536)
    assert tool.unread[screen.fileno()].endswith(b"\r\x1b[K"), "the state is wiped at the end"


# Subscribing: connections that end


def test_goes_on_from_its_position(subscribe, server):
    tool = subscribe("--count", "3")
    stream = server.stream(b"retry: 100\ndata: a\nid: e-1\n\ndata: lost\nid: e-2\n")
    assert tool.line() == "a"
    stream.close()
    stream = server.stream(b"data: lost\nid: e-2")
    assert stream.asked.headers["last-event-id"] == "e-1"
    stream.reset()
    stream = server.stream(chunk(b"data: b\nid: e-2\n\n"), CHUNKED)
    assert stream.asked.headers["last-event-id"] == "e-1"
    assert tool.line() == "b"
    stream.send(b"10\r\ndata: cut")
    stream.close()
    stream = server.stream(chunk(b"data: c\n\n"), CHUNKED)
    assert stream.asked.headers["last-event-id"] == "e-2"
    assert tool.finish() == ("c\n", "")


def test_an_empty_id_forgets_the_position(subscribe, server):
    tool = subscribe("--count", "2", "--last-event-id", "e-1")
    server.stream(b"retry: 100\ndata: a\nid\n\n").close()
    stream = server.stream(b"data: b\n\n")
    assert "last-event-id" not in stream.asked.headers
    assert tool.finish() == ("a\nb\n", "")


def test_shedding_is_waited_out(subscribe, server):
    tool = subscribe("--count", "1", "--last-event-id", "e-1")
    server.stream(b"retry: 1200\n").close()
    began = time.monotonic()
    server.stream(b"retry: 1200\n").close()
    assert time.monotonic() - began > 1.1
    began = time.monotonic()
    assert tool.note().endswith(": the stream ended; trying again")
    stream = server.stream(b"data: x\n\n")
    assert time.monotonic() - began > 1.1
    assert stream.asked.headers["last-event-id"] == "e-1"
    assert tool.finish() == ("x\n", "")


@pytest.mark.parametrize("status", [503, 429])
def test_overload_is_waited_out(subscribe, server, status):
    tool = subscribe("--count", "1")
    connection = server.accept()
    connection.request()
    connection.send(problem(status, "Retry-After: 3\r\nConnection: close\r\n", title="Busy", detail="come later"))
    began = time.monotonic()
    assert tool.note() == (f"bugle subscribe: {server.url} answered {status} Busy: come later; "
                           "trying again")
    server.stream(b"data: x\n\n")
    assert time.monotonic() - began > 2.9
    assert tool.finish() == ("x\n", "bugle subscribe: connected again\n")


def test_nobody_listens_at_first(run, opened):
    opened.append(Server(listening=False))
    server = opened[-1]
    tool = run("subscribe", "--url", server.url, "--count", "1")
    assert tool.note() == (f"bugle subscribe: cannot connect to {server.url}: "
                           "Connection refused; trying again")
    server.listen()
    server.stream(b"data: x\n\n")
    assert tool.finish() == ("x\n", "bugle subscribe: connected again\n")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 406, 410, 501])
def test_a_refusal_is_final(subscribe, server, status):
    tool = subscribe("--token", "t")
    connection = server.accept()
    connection.request()
    connection.send(problem(status, title="No", detail="because\n\x1b[31m of this"))
    out, err = tool.finish(1)
    assert (out, err) == ("", f"bugle subscribe: {server.url} answered {status} No: "
                              "because^J^[[31m of this\n")
    assert server.is_left_alone()


@pytest.mark.parametrize("kind", ["text/html", "text/event-streams", "application/json"])
def test_no_event_stream(subscribe, server, kind):
    tool = subscribe()
    connection = server.accept()
    connection.request()
    connection.send(answer(200, b"data: x\n\n", kind))
    out, err = tool.finish(1)
    assert (out, err) == ("", f"bugle subscribe: {server.url} answered with {kind}, not with an "
                              "event stream: is it a Bugle gateway?\n")


def test_204_ends_it(subscribe, server):
    tool = subscribe()
    connection = server.accept()
    connection.request()
    connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert tool.finish()[0] == ""


def test_a_type_with_parameters(subscribe, server):
    tool = subscribe("--count", "1")
    server.stream(b"data: x\n\n", STREAM.replace(b"event-stream", b"EVENT-stream; charset=utf-8"))
    assert tool.finish() == ("x\n", "")


def test_silence_is_the_end_of_a_connection(subscribe, server):
    tool = subscribe("--count", "1", "--heartbeat", "3")
    first = server.stream(b"retry: 100\nid: e-1\n\n:")
    began = time.monotonic()
    first.wait_for_end()
    assert 8.5 < time.monotonic() - began < seconds(15)
    assert server.stream(b"data: x\n\n").asked.headers["last-event-id"] == "e-1"
    assert tool.finish() == ("x\n", "")


@pytest.mark.parametrize("head, status", [(STREAM, 0), (CHUNKED, 1)])
def test_no_reconnect(subscribe, server, head, status):
    tool = subscribe("--no-reconnect")
    data = b"data: x\n\n"
    server.stream(data if head == STREAM else chunk(data), head).close()
    out, err = tool.finish(status)
    assert out == "x\n"
    assert (err == "") == (status == 0)
    assert server.is_left_alone()


def test_a_huge_event(subscribe, server):
    tool = subscribe()
    stream = server.stream()
    with contextlib.suppress(ConnectionError):
        for _ in range(17):
            stream.send(b"data: " + b"x" * (1 << 20) + b"\n")
    assert tool.finish(1) == ("", "bugle subscribe: an event is larger than 16 MiB\n")


# Subscribing: how it is stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["asked", "open", "waiting"])
def test_signals_end_it(subscribe, server, number, stage):
    tool = subscribe()
    connection = server.accept()
    connection.request()
    if stage == "open":
        connection.send(STREAM + b"data: x\n\n")
        tool.line()
    elif stage == "waiting":
        connection.send(problem(503, "Retry-After: 600\r\n"))
        tool.note()
    tool.signal(number)
    assert tool.finish() == ("", "")


def test_a_signal_ends_it_while_nobody_reads(subscribe, server):
    tool = subscribe()
    stream = server.stream()
    stream.sock.settimeout(1)
    with pytest.raises(TimeoutError):  # all the way from here to its output is full
        while True:
            stream.send(b"data: " + b"x" * 60000 + b"\n\n")
    tool.signal(signal.SIGINT)
    assert tool.process.wait(seconds(30)) == 0


def test_an_ignored_signal_stays_ignored(subscribe, server):
    tool = subscribe("--count", "1",
                     preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    stream = server.stream(b":\n")
    tool.signal(signal.SIGINT)
    stream.send(b"data: x\n\n")
    assert tool.finish() == ("x\n", "")


@pytest.mark.parametrize("data", [b"", b"data: x\n\n"])
def test_the_reader_is_gone(subscribe, server, data):
    tool = subscribe("--quiet")
    stream = server.stream(b"data: first\n\n")
    tool.line()
    tool.process.stdout.close()
    tool.process.stdout = None
    with contextlib.suppress(ConnectionError):
        stream.send(data)
    assert tool.finish() == ("", "")


def test_a_full_disk_is_told(subscribe, server):
    with open("/dev/full", "wb") as full:
        tool = subscribe(stdout=full)
    server.stream(b"data: x\n\n")
    assert tool.finish(1)[1] == "bugle subscribe: standard output: No space left on device\n"


# Publishing


def test_publish_one(publish, server):
    tool = publish("--topic", "a/b", "--token", "t", 'he said "ü"\n')
    connection = server.accept()
    asked = connection.request()
    assert (asked.method, asked.target) == ("POST", "/api/push")
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["authorization"] == "Bearer t"
    assert "expect" not in asked.headers
    assert asked.json == {"topic": "a/b", "data": 'he said "ü"\n'}
    connection.answer_ids("e-1")
    assert tool.finish() == ("e-1\n", "")


def test_publish_with_all_options(publish, server):
    tool = publish("--topic", "a", "--topic", "b", "--user", "u", "--user", "7", "--event", "e",
                   "--retry", "1500", "--ttl", "60", "--idempotency-key", "k", "--quiet", "x")
    connection = server.accept()
    assert connection.request().json == {
        "topics": ["a", "b"], "users": ["u", "7"], "event": "e", "retry": 1500, "ttl": 60,
        "idempotency_key": "k", "data": "x"}
    connection.answer_ids("e-1")
    assert tool.finish() == ("", "")


def test_an_ephemeral_event_has_no_id(publish, server):
    tool = publish("--ephemeral", "--user", "u", "x", "y")
    connection = server.accept()
    assert connection.request().json == [{"user": "u", "ephemeral": True, "data": "x"},
                                         {"user": "u", "ephemeral": True, "data": "y"}]
    connection.answer_ids(None, None)
    assert tool.finish() == ("-\n-\n", "")


@pytest.mark.parametrize("data", [
    '{"a": 1.10,\n "b":[12345678901234567890123, -0, 1E2, "\\u00fc\\/\\u0000"]}', " true ", '"s"',
    "1.10", "null"])
def test_json_is_sent_as_it_is_written(publish, server, data):
    tool = publish("--topic", "t", "--json", data)
    connection = server.accept()
    assert connection.request().body == b'{"topic":"t","data":' + data.encode() + b"}"
    connection.answer_ids("e-1")
    assert tool.finish() == ("e-1\n", "")


@pytest.mark.parametrize("data, place", [
    ("{", "line 1, column 1: "), ('{"a":\n  1.}', "line 2, column 4: "), ("", "line 1, column 0: "),
    ('{"a":1,"a":2}', "line 1, column 10: "), ("nul", "line 1, column 3: "), ("1 2", "line 1, ")])
def test_what_is_no_json_is_not_sent(publish, server, data, place):
    _, err = publish("--json", data).finish(1)
    assert err.startswith(f"bugle publish: no JSON at {place}") and err.count("\n") == 1
    _, err = publish("--json", "1", data).finish(1)
    assert err.startswith(f"bugle publish: argument 2: no JSON at {place}")
    assert server.is_left_alone()


@pytest.mark.parametrize("text, data", [
    (b"one\ntwo\n", "one\ntwo"), (b"one\r\n", "one"), (b"one\n\n", "one\n"), (b"", ""),
    (b"a\0b", "a\0b"), ("ü\u2028\x1b".encode(), "ü\u2028\x1b")])
def test_standard_input_is_one_event(publish, server, text, data):
    tool = publish(stdin=subprocess.PIPE)
    tool.write(text)
    tool.close_input()
    connection = server.accept()
    assert connection.request().json == {"data": data}
    connection.answer_ids("e-1")
    assert tool.finish() == ("e-1\n", "")


def test_input_that_is_no_utf8_is_not_sent(publish, server):
    tool = publish(stdin=subprocess.PIPE)
    tool.write(b"abc\xff")
    tool.close_input()
    assert tool.finish(1)[1] == "bugle publish: not valid UTF-8 at byte 4\n"
    assert server.is_left_alone()


def test_arguments_are_one_batch(publish, server):
    tool = publish("--idempotency-key", "k", "--batch", "2", "a", "b", "--", "--c")
    connection = server.accept()
    assert connection.request().json == [{"idempotency_key": "k-1", "data": "a"},
                                         {"idempotency_key": "k-2", "data": "b"}]
    connection.answer_ids("e-1", "e-2")
    assert connection.request().json == {"idempotency_key": "k-3", "data": "--c"}
    connection.answer_ids("e-3")
    assert tool.finish() == ("e-1\ne-2\ne-3\n", "")


def test_lines_leave_while_input_is_open(publish, server):
    tool = publish("--lines", stdin=subprocess.PIPE)
    tool.write(b"one\ntwo\r\n\nhal")
    connection = server.accept()
    assert connection.request().json == [{"data": "one"}, {"data": "two"}, {"data": ""}]
    connection.answer_ids("e-1", "e-2", "e-3")
    assert [tool.line() for _ in range(3)] == ["e-1", "e-2", "e-3"]
    tool.write(b"f a line")
    tool.close_input()
    assert connection.request().json == {"data": "half a line"}
    connection.answer_ids("e-4")
    assert tool.finish() == ("e-4\n", "")


def test_lines_in_full_batches(publish, server, tmp_path):
    path = tmp_path / "lines"
    path.write_text("".join(f"{i}\n" for i in range(250)))
    with path.open("rb") as lines:
        tool = publish("--lines", "--json", stdin=lines)
    connection, sent = server.accept(), []
    for batch_n in (100, 100, 50):
        batch = connection.request().json
        assert len(batch) == batch_n
        connection.answer_ids(*(f"e-{each['data']}" for each in batch))
        sent += [each["data"] for each in batch]
    assert sent == list(range(250))
    assert tool.finish() == ("".join(f"e-{i}\n" for i in range(250)), "")


def test_a_batch_is_bounded_in_bytes(publish, server, tmp_path):
    path = tmp_path / "lines"
    path.write_text("".join(str(i) * 300000 + "\n" for i in range(3)))
    with path.open("rb") as lines:
        tool = publish("--lines", "--quiet", stdin=lines)
    connection = server.accept()
    for i in range(3):
        assert connection.request().json == {"data": str(i) * 300000}
        connection.answer_ids(f"e-{i}")
    assert tool.finish() == ("", "")


def test_lines_go_on_after_a_bad_one(publish, server):
    tool = publish("--lines", "--json", stdin=subprocess.PIPE)
    tool.write(b'1\n \n{"a":2}\n{bad\n3\n')
    connection = server.accept()
    assert connection.request().json == [{"data": 1}, {"data": {"a": 2}}, {"data": 3}]
    connection.answer_ids("e-1", "e-2", "e-3")
    tool.close_input()
    out, err = tool.finish(1)
    assert out == "e-1\ne-2\ne-3\n"
    told, counted = err.splitlines()
    assert told.startswith("bugle publish: line 4: no JSON at line 1, column 4: ")
    assert counted == "bugle publish: 1 of 5 lines were refused"


def test_a_line_has_its_key_whatever_becomes_of_others(publish, server):
    """A refused line is mended, and all are published again: none takes the key of another."""
    tool = publish("--lines", "--json", "--idempotency-key", "k", stdin=subprocess.PIPE)
    tool.write(b'1\n\n{bad\n3\n')
    connection = server.accept()
    assert connection.request().json == [{"idempotency_key": "k-1", "data": 1},
                                         {"idempotency_key": "k-4", "data": 3}]
    connection.answer_ids("e-1", "e-2")
    tool.close_input()
    tool.finish(1)


def test_strict_lines_end_at_a_bad_one(publish, server):
    tool = publish("--lines", "--strict", "--json", stdin=subprocess.PIPE)
    tool.write(b'1\n \n{"a":2}\n{bad\n3\n')
    connection = server.accept()
    assert connection.request().json == [{"data": 1}, {"data": {"a": 2}}]
    connection.answer_ids("e-1", "e-2")
    out, err = tool.finish(1)
    assert out == "e-1\ne-2\n" and err.count("\n") == 1
    assert err.startswith("bugle publish: line 4: no JSON at line 1, column 4: ")


def test_a_line_that_is_too_long_is_left_out(publish, server, tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"one\n" + b"x" * (17 << 20) + b"\ntwo\n" + b"y" * (17 << 20))
    with path.open("rb") as lines:
        tool = publish("--lines", stdin=lines)
    connection = server.accept()
    told = []
    while len(told) < 2:
        asked = connection.request().json
        told += asked if isinstance(asked, list) else [asked]
        connection.answer_ids(*(["e-1"] * (len(asked) if isinstance(asked, list) else 1)))
    assert told == [{"data": "one"}, {"data": "two"}]
    assert tool.finish(1)[1].splitlines() == [
        "bugle publish: line 2 is more than 16 MiB, too much for an event",
        "bugle publish: line 4 is more than 16 MiB, too much for an event",
        "bugle publish: 2 of 4 lines were refused"]


def test_the_good_ones_of_a_refused_batch_are_published(publish, server):
    tool = publish("--lines", "--batch", "3", "--idempotency-key", "k", stdin=subprocess.PIPE)
    tool.write(b"a\nb\nc\n")
    connection = server.accept()
    refusal = problem(422, title="Unprocessable Content", detail="no")
    batch = connection.request().json
    connection.send(refusal)
    ids = {"a": "e-1", "c": "e-2"}
    for event in batch:
        assert connection.request().json == event
        if event["data"] in ids:
            connection.answer_ids(ids[event["data"]])
        else:
            connection.send(refusal)
    tool.close_input()
    out, err = tool.finish(1)
    assert out == "e-1\ne-2\n"
    assert err == (f"bugle publish: line 2: {server.url} answered 422 Unprocessable Content: no\n"
                   "bugle publish: 1 of 3 lines were refused\n")


def test_a_refused_batch_is_named(publish, server):
    """A refusal of who asks concerns every line, and so does any with --strict."""
    for status, options in ((403, []), (422, ["--strict"])):
        tool = publish("--lines", "--batch", "2", *options, stdin=subprocess.PIPE)
        tool.write(b"a\nb\nc\nd\n")
        connection = server.accept()
        connection.request()
        connection.answer_ids("e-1", "e-2")
        connection.request()
        connection.send(problem(status, title="No", detail="the topic is empty",
                                pointer="/0/topic"))
        out, err = tool.finish(1)
        assert out == "e-1\ne-2\n"
        assert err == (f"bugle publish: lines 3-4: {server.url} answered {status} No: "
                       "the topic is empty (at /0/topic)\n")


@pytest.mark.parametrize("reply, told", [
    (problem(400, title="Bad Request", detail="no", line=3, column=7),
     "400 Bad Request: no (line 3, column 7)"),
    (problem(422, title="T", errors=[{"detail": "d", "pointer": "/topic"}]), "422 T (at /topic)"),
    (problem(403), "403"),
    (answer(502, b"<html>long\nstory</html>", "text/html"), "502"),
    (answer(413, b"too large\nreally\x1b", "text/plain"), "413: too large"),
    (answer(307, b"", extra="Location: /there\r\n"), "307 and points to URL/there"),
    (b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n", "401 (--token or BUGLE_TOKEN)"),
])
def test_a_refusal_is_one_line(publish, server, reply, told):
    tool = publish("x")
    connection = server.accept()
    connection.request()
    connection.send(reply)
    told = told.replace("URL", server.url)
    assert tool.finish(1) == ("", f"bugle publish: {server.url} answered {told}\n")
    assert server.is_left_alone()


@pytest.mark.parametrize("body", [b"", b"OK", b"[]", b'{"ids":["a","b"]}', b'{"id":7}'])
def test_an_answer_without_ids(publish, server, body):
    tool = publish("x")
    connection = server.accept()
    connection.request()
    connection.send(answer(201, body))
    _, err = tool.finish(1)
    assert err == (f"bugle publish: {server.url} answered 201 without the ids: "
                   "is it a Bugle gateway?\n")


def test_a_refusal_while_the_body_is_sent(publish, server):
    tool = publish(stdin=subprocess.PIPE)
    tool.process.stdin.write(b"x" * (8 << 20))
    tool.close_input()
    connection = server.accept()
    connection.head()
    connection.send(problem(413, "Connection: close\r\n", title="Content Too Large"))
    connection.wait_for_end()
    assert tool.finish(1)[1] == (f"bugle publish: {server.url} answered 413 Content Too Large\n")


# Publishing: trying again


def test_a_connection_that_was_refused_is_tried_again(run, opened):
    opened.append(Server(listening=False))
    server = opened[-1]
    tool = run("publish", "--url", server.url, "x")
    assert tool.note().startswith(
        f"bugle publish: cannot connect to {server.url}: Connection refused; trying again in ")
    server.listen()
    connection = server.accept()
    assert connection.request().json == {"data": "x"}
    connection.answer_ids("e-1")
    assert tool.finish() == ("e-1\n", "")


@pytest.mark.parametrize("reply", [
    b"", b"HTTP/1.1 201 X\r\nContent-Length: 30\r\n\r\n{", problem(503, "Retry-After: 1\r\n")])
def test_without_a_key_nothing_is_sent_twice(publish, server, reply):
    tool = publish("x")
    connection = server.accept()
    connection.request()
    connection.send(reply)
    connection.close()
    out, err = tool.finish(1)
    assert out == "" and err.count("\n") == 1
    is_unknown = b"503" not in reply
    assert ("it may have been published or not (--idempotency-key" in err) == is_unknown
    assert server.is_left_alone()


@pytest.mark.parametrize("reply", [
    b"", b"HTTP/1.1 201 X\r\nContent-Length: 30\r\n\r\n{", problem(503, "Retry-After: 2\r\n"),
    problem(429, "Retry-After: 2\r\n")])
def test_with_a_key_it_is_tried_again(publish, server, reply):
    tool = publish("--idempotency-key", "k", "x")
    connection = server.accept()
    first = connection.request()
    connection.send(reply)
    connection.close()
    began = time.monotonic()
    again = server.accept()
    if b"Retry-After" in reply:
        assert time.monotonic() - began > 1.9
    assert again.request().body == first.body
    again.answer_ids("e-1")
    out, err = tool.finish()
    assert out == "e-1\n" and "; trying again in " in err


def test_five_more_tries_are_enough(publish, server):
    tool = publish("--idempotency-key", "k", "--quiet", "x")
    for _ in range(6):
        connection = server.accept()
        connection.request()
        connection.send(problem(503, title="Busy", extra="Connection: close\r\n"))
        connection.close()
    assert tool.finish(1) == ("", f"bugle publish: {server.url} answered 503 Busy\n")
    assert server.is_left_alone()


@pytest.mark.parametrize("key", [[], ["--idempotency-key", "k"]])
def test_a_kept_connection_that_dies(publish, server, key):
    """libcurl would send the request again by itself: without a key that could publish twice."""
    tool = publish("--lines", *key, stdin=subprocess.PIPE)
    tool.write(b"one\n")
    connection = server.accept()
    connection.request()
    connection.answer_ids("e-1")
    assert tool.line() == "e-1"
    tool.write(b"two\n")
    lost = connection.request()
    connection.close()
    if not key:
        tool.close_input()
        _, err = tool.finish(1)
        assert err.startswith("bugle publish: line 2: ")
        assert "it may have been published or not" in err
        time_limit = time.monotonic() + 1
        while time.monotonic() < time_limit and not server.is_left_alone():
            unused = server.accept()
            assert unused.sock.recv(1) == b"", "nothing was sent on another connection"
        return
    again = server.accept()
    assert again.request().body == lost.body
    again.answer_ids("e-2")
    tool.close_input()
    assert tool.finish()[0] == "e-2\n"


# Wrong usage


@pytest.mark.parametrize("words, told", [
    (["subscribe", "--nonsense"], "there is no option --nonsense"),
    (["subscribe", "-x"], "there is no option -x"),
    (["subscribe", "--topic"], "--topic needs a value"),
    (["subscribe", "--json=1"], "--json takes no value"),
    (["subscribe", "--count", "0"], "--count wants a number from 1, not '0'"),
    (["subscribe", "--count", "1x"], "--count wants a number from 1, not '1x'"),
    (["subscribe", "--heartbeat", "2"], "--heartbeat wants 3 to 60 seconds, not '2'"),
    (["subscribe", "--last-event-id", "a\nb"], "--last-event-id has control characters in it"),
    (["subscribe", "--header", "nonsense"], "--header wants 'Name: value', not 'nonsense'"),
    (["subscribe", "--header", "A: b\r\nC: d"], "--header wants 'Name: value', not 'A: b^M^JC: d'"),
    (["subscribe", "--token", "a\nb"], "the token has control characters in it"),
    (["subscribe", "--url", "ftp://x"], "'ftp://x' is no http or https URL"),
    (["subscribe", "--url", "http://x/?a=b"], "the URL must end before any '?' or '#': "
                                              "'http://x/?a=b'"),
    (["subscribe", "--url", "http://x:99999"], "'http://x:99999' is no URL: "),
    (["publish", "--batch", "1001", "x"], "--batch wants 1 to 1000, not '1001'"),
    (["publish", "--retry", "-1", "x"], "--retry wants milliseconds, not '-1'"),
    (["publish", "--ttl", "1h", "x"], "--ttl wants seconds, not '1h'"),
    (["publish", "--lines", "x"], "--lines reads standard input; there can be no DATA with it"),
    (["publish", "--strict", "x"], "--strict needs --lines; "),
    (["publish", "--timeout", "0", "x"], "--timeout wants 1 to 3600 seconds, not '0'"),
    (["subscribe", "--last-event-id", "i" * 129], "--last-event-id is longer than 128 bytes"),
    (["serve", "--port", "9000"], "there is no option --port; use --listen 127.0.0.1:9000"),
    (["serve", "--port=9000"], "there is no option --port; use --listen 127.0.0.1:9000"),
    (["serve", "--port"], "there is no option --port; use --listen 127.0.0.1:8080"),
    (["publish", "--ephemeral", "--idempotency-key", "k", "x"],
     "an ephemeral event is not stored and cannot have a key"),
    (["publish", "--topic", b"\xff", "x"], "'<FF>' is not valid UTF-8"),
])
def test_wrong_usage(run, words, told):
    out, err = run(*words).finish(2)
    assert out == ""
    assert err.startswith(f"bugle {words[0]}: {told}") and err.endswith(" (see --help)\n")


COMMANDS = ["serve", "publish", "subscribe", "bench", "backup", "epoch", "token", "check-config"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(run, command):
    out, err = run(command, "--help").finish()
    assert out.startswith(f"Usage: bugle {command} ") and err == ""
    assert max(map(len, out.splitlines())) <= (80 if command in ("publish", "subscribe") else 95)
    assert run(command, "-h").finish() == (out, "")
    assert run("help", command).finish() == (out, "")


def test_help_of_all(run):
    out, err = run("--help").finish()
    assert err == "" and all(f"\n  {command} " in out for command in COMMANDS)
    for words in (["-h"], ["help"], ["help", "help"], ["help", "--help"]):
        assert run(*words).finish() == (out, "")


@pytest.mark.parametrize("words, told", [
    (["server"], 'unknown command "server"; did you mean serve?'),
    (["sub"], 'unknown command "sub"; did you mean subscribe?'),
    (["help", "publsh"], 'unknown command "publsh"; did you mean publish?'),
    (["nothing\x1b"], 'unknown command "nothing^["; see bugle --help'),
    ([""], 'unknown command ""; see bugle --help'),
])
def test_unknown_commands(run, words, told):
    assert run(*words).finish(2) == ("", f"bugle: {told}\n")


def test_a_port_alone(run):
    for words in (["serve", "--listen", "9000"], ["check-config", "--listen", "9000"]):
        assert run(*words).finish(1)[1] == (
            f"bugle {words[0]}: --listen 9000 lacks an address; use --listen 127.0.0.1:9000\n")


def test_an_address_in_use(run, server):
    _, err = run("serve", "--store", "memory:", "--listen", f"127.0.0.1:{server.port}").finish(1)
    assert (f"cannot listen on 127.0.0.1:{server.port}: Address already in use; choose another "
            "with --listen 127.0.0.1:") in err


def test_a_token_that_is_missing(run, server):
    for options, hint in (([], " (--token or BUGLE_TOKEN)"), (["--token", "x"], "")):
        tool = run("publish", "--url", server.url, "x", *options)
        connection = server.accept()
        connection.request()
        connection.send(problem(401, title="Unauthorized", detail="A token."))
        assert tool.finish(1)[1] == (
            f"bugle publish: {server.url} answered 401 Unauthorized: A token.{hint}\n")


def test_https_where_http_is_spoken(run, server):
    tool = run("publish", "--url", server.url.replace("http", "https"), "x")
    connection = server.accept()
    connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    assert tool.finish(1)[1].endswith(": it does not speak TLS; try http://\n")
