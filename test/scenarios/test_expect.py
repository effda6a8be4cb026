# SPDX-License-Identifier: MIT
"""An Expect with no body behind it, and a byte behind the head: for a library, a body phase with
nothing in it.  Whatever the route does with that, every request has its one answer."""

import contextlib
import itertools
import socket

import pytest

import test_tls
import wire
from conftest import free_port

PATHS = ["/readyz", "/healthz", "/events", "/api/push", "/api/history", "/api/stats",
         "/api/streams", "/api/streams/nobody", "/api/evictions", "/api/backup", "/api/tickets",
         "/", "/nothing"]
METHODS = ["GET", "HEAD", "POST", "DELETE"]
LENGTHS = ["", "Content-Length: 0\r\n", "Content-Length: 00\r\n"]
CASES = list(itertools.product(METHODS, PATHS, LENGTHS))
# inside TLS, where each takes 40 ms: those that wait for their answer
WAITING = [("GET", "/readyz"), ("HEAD", "/readyz"), ("POST", "/api/push"), ("GET", "/api/history"),
           ("GET", "/api/streams"), ("DELETE", "/api/streams?user=u"), ("POST", "/api/backup")]
WAITING_CASES = [(*case, length) for case in WAITING for length in LENGTHS]


def answer_to(connection, method, path, length):
    """The status of the final answer, which must be whole."""
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}"
                       f"Expect: 100-continue\r\n\r\nz".encode())
    came = b""
    while True:
        head, end, rest = came.partition(b"\r\n\r\n")
        if end and head.split(b" ")[1] == b"100":
            came = rest
            continue
        if end:
            head = wire.Head(head + end)
            is_stream = head.get("Transfer-Encoding") == "chunked"
            body_n = 0 if method == "HEAD" or is_stream else int(head.get("Content-Length") or 0)
            if len(rest) >= body_n:
                return head.status
        piece = connection.recv(65536)
        assert piece, f"{method} {path} {length!r} was closed after {came!r}"
        came += piece


def fits(method, path, status):
    """What such a request is answered, whatever became of its Expect."""
    if path == "/readyz" and method in ("GET", "HEAD"):
        return status == 200
    return status < 500


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_every_route_answers_a_byte_behind_an_expect(secure, gateway_factory, tmp_path):
    port = free_port()
    pair = test_tls.Pair(tmp_path, "first")
    gateway = gateway_factory(workers=1, settings={
        "tls.listen": f"127.0.0.1:{port}", **pair.settings()})
    context = test_tls.context_of(pair)
    address = ("127.0.0.1", port) if secure else gateway.address
    wrong = []
    for case in WAITING_CASES if secure else CASES:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection(address, wire.seconds(5)))
            if secure:
                connection = stack.enter_context(
                    context.wrap_socket(connection, server_hostname="localhost"))
            status = answer_to(connection, *case)
        if not fits(case[0], case[1], status):
            wrong.append((case, status))
    assert not wrong
    assert gateway.stat("responses_5xx") == 0
