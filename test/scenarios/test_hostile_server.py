# SPDX-License-Identifier: MIT
"""Servers that mean ill, against what asks them: the shell tools, and the gateway where it reads a
key set.  What they send must not grow in memory, last for ever, or be believed."""

import contextlib
import json
import re
import threading
import time

import pytest

import wire
from test_cli import CHUNKED, Server, answer, chunk, opened, run, server, subscribe  # noqa: F401

PIECE = 1 << 16
# What sockets of both sides may hold, and what is read before the client looks.
SENT_MAX = 24 << 20

LINES = b"".join(b"X-%d: %s\r\n" % (i, b"a" * 50) for i in range(1000))
ENDLESS = {
    "trailers": (CHUNKED.replace(b"200 OK", b"201 Created") + chunk(b"x") + b"0\r\n", LINES),
    "stream trailers": (CHUNKED + chunk(b":\n") + b"0\r\n", LINES),
    "headers": (b"HTTP/1.1 200 OK\r\n", LINES),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000),
}
TOOLS = {
    "subscribe": ["--no-reconnect"],
    "publish": ["data"],
    "backup": ["copy.db"],
}


def send_for_ever(connection, head, piece):
    """Returns how many bytes the client let us send."""
    sent_n = 0
    with contextlib.suppress(ConnectionError):
        connection.send(head)
        while sent_n < SENT_MAX:
            connection.send(piece)
            sent_n += len(piece)
    return sent_n


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("what", ENDLESS)
def test_endless_headers_end_a_transfer(run, server, tmp_path, tool, what):
    process = run(tool, "--url", server.url, *TOOLS[tool], cwd=tmp_path)
    connection = server.accept()
    connection.request()
    assert send_for_ever(connection, *ENDLESS[what]) < SENT_MAX
    _, err = process.finish(1)
    if (tool, what) not in {("backup", "stream trailers"), ("subscribe", "trailers")}:
        assert "has more than 64 KiB of headers" in err, err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["trailers", "headers", "interim answers"])
def test_endless_headers_of_a_key_set(gateway_factory, server, what):
    sent = []

    def serve():
        connection = server.accept()
        connection.request()
        sent.append(send_for_ever(connection, *ENDLESS[what]))
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    gateway = gateway_factory(settings={"auth.mode": "token", "auth.jwks": server.url + "/keys"})
    thread.join(wire.seconds(30))
    assert sent[0] < SENT_MAX
    wire.wait_until(lambda: "its headers and trailers have more than 64 KiB" in gateway.log())


@pytest.mark.parametrize("status", [200, 503])
def test_an_endless_answer_is_no_copy(run, server, tmp_path, status):
    tool = run("backup", "--url", server.url, "copy.db", cwd=tmp_path)
    connection = server.accept()
    connection.request()
    head = b"HTTP/1.1 %d X\r\nConnection: close\r\n\r\nSQLite format 3\0" % status
    assert send_for_ever(connection, head, bytes(PIECE)) < SENT_MAX
    _, err = tool.finish(1)
    assert ("data that is not a Bugle store" if status == 200 else "has more than 1 MiB") in err
    assert list(tmp_path.iterdir()) == []


def test_a_publish_has_an_end(run, server):
    """An answer that drips is alive all the time."""
    tool = run("publish", "--timeout", "1", "--url", server.url, "data")
    connection = server.accept()
    connection.request()
    connection.send(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while tool.process.poll() is None:
            connection.send(b" ")
            time.sleep(0.1)
    _, err = tool.finish(1)
    assert "timed out" in err.lower() and "it may have been published or not" in err


def test_an_id_that_is_none_is_not_sent_back(subscribe, server):
    """The stream goes on from the present: a position of a megabyte is no position."""
    subscribe("--count", "2")
    with contextlib.closing(server.stream(b"retry: 100\ndata: x\nid: %s\n\n" % (b"i" * 129))):
        pass
    again = server.stream(b"data: x\nid: %s\n\n" % (b"i" * 128))
    assert "last-event-id" not in again.asked.headers


def test_an_id_of_full_length_is_sent_back(subscribe, server):
    subscribe("--count", "2")
    with contextlib.closing(server.stream(b"retry: 100\ndata: x\nid: %s\n\n" % (b"i" * 128))):
        pass
    assert server.stream(b"").asked.headers["last-event-id"] == "i" * 128


def test_headers_do_not_follow_a_redirect_to_another_origin(subscribe, server, opened):
    opened.append(Server())
    other = opened[-1]
    tool = subscribe("--token", "secret", "--header", "X-Key: secret", "--header", "Accept: a/b",
                     "--header", "Cookie: secret", "--count", "1")
    first = server.accept()
    assert first.request().headers["x-key"] == "secret"
    first.send(answer(302, b"", extra="Location: /here?a=1\r\n"))
    here = first.request()
    assert (here.target, here.headers["x-key"], here.headers["accept"]) == \
        ("/here?a=1", "secret", "a/b")
    first.send(answer(302, b"", extra=f"Location: {other.url}/there\r\n"))
    there = other.stream(b"data: x\n\n").asked
    assert there.path == "/there" and there.headers["accept"] == "text/event-stream"
    assert not {"x-key", "cookie", "authorization"} & set(there.headers)
    assert tool.finish() == ("x\n", "")


def test_redirects_have_an_end_and_stay_with_http(subscribe, server):
    tool = subscribe()
    connection = server.accept()
    for i in range(6):
        assert connection.request().path == ("/events" if i == 0 else f"/{i}")
        connection.send(answer(307, b"", extra=f"Location: /{i + 1}\r\n"))
    assert tool.finish(1)[1] == f"bugle subscribe: {server.url} answered 307 and points to " \
                                f"{server.url}/6\n"
    tool = subscribe()
    connection = server.accept()
    connection.request()
    connection.send(answer(302, b"", extra="Location: file:///etc/passwd\r\n"))
    assert re.search("not supported|disabled", tool.finish(1)[1])  # as libcurl has it


def test_no_byte_of_an_object_commands_a_terminal(subscribe, server):
    tool = subscribe("--json", "--count", "1")
    server.stream(b"event: \x7f\ndata: \x1b[31m\x7f\xc2\x9b\n\n")
    line = tool.line()
    assert json.loads(line) == {"id": None, "event": "\x7f", "data": "\x1b[31m\x7f\x9b"}
    assert all(0x20 <= ord(char) < 0x7f for char in line)
