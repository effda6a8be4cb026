# SPDX-License-Identifier: MIT
"""Every call of a library or of the kernel fails once, and the whole gateway runs short of address
space: nothing ends it but a line of its own, and every request has a whole answer or an end.

`make callstest` goes through all calls; here it is a few of each kind.  Built with a sanitizer it
tells what is used after whoever owned it was told that a call has failed."""

import contextlib
import mmap
import os
import signal
import socket
import ssl
import struct
import time

import pytest

import test_tls
import tokens
import wire
from conftest import build_shim, free_port

LONG = "BUGLE_TEST_CALLS" in os.environ
CALLS = 400 if LONG else 14
ROUNDS = 40
SIZES = range(76, 196, 6) if LONG else [80, 140, 146]
SIZES_OF_SIGNATURES = range(140, 196) if LONG else [147, 150, 155, 158, 159]
MEBIBYTE = 1 << 20

PUSH = b'{"topic":"a","data":"x"}'
KINDS = [("GET", "/healthz", None), ("GET", "/readyz", None), ("POST", "/api/push", PUSH),
         ("GET", "/events?topic=a", None), ("GET", "/api/history", None),
         ("GET", "/api/streams", None), ("DELETE", "/api/streams?topic=b", None),
         ("GET", "/nothing", None), ("GET", "/bad path", None), ("GET", "/", None),
         ("POST", "/api/push?topic=in-two-pieces", PUSH),
         ("POST", "/api/push", b"x" * 70000), ("POST", "/api/backup", None)]


class Shim:
    """Which call is to fail: see calls_shim.c."""

    def __init__(self, folder):
        self.library = build_shim(folder, "calls_shim")
        file = folder / "orders"
        file.write_bytes(struct.pack("ll48s", -1, 0, b""))
        with file.open("r+b") as opened:
            self.map = mmap.mmap(opened.fileno(), 64)
        self.env = {"LD_PRELOAD": str(self.library), "CALLS_SHIM_FILE": str(file),
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")
                    + ":verify_asan_link_order=0"}

    def fail_after(self, n):
        self.map[16:17] = b"\0"
        self.map[:8] = struct.pack("l", n)

    def stop(self):
        """The name of the call that has failed, or None."""
        (left,) = struct.unpack("l", self.map[:8])
        self.map[:8] = struct.pack("l", -1)
        if left >= 0:
            return None
        wire.wait_until(lambda: self.map[16] != 0, 5, "it tells which")
        return self.map[16:64].split(b"\0")[0].decode()


@pytest.fixture
def shim(tmp_path):
    return Shim(tmp_path)


def is_whole(got, method):
    head, blank, body = got.partition(b"\r\n\r\n")
    if not blank:
        return False
    if b"chunked" in head or b"event-stream" in head:
        return True
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return method == "HEAD" or not length or len(body) >= int(length[0].split(b":")[1])


def ask(gateway, kind, context=None, port=None):
    """One request: it must come to an end, one way or another.  Returns whether it was answered."""
    method, target, body = kind
    got = b""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(ConnectionError, ssl.SSLError))
        one = stack.enter_context(
            socket.create_connection(("127.0.0.1", port or gateway.port), wire.seconds(20)))
        if context:
            one = stack.enter_context(context.wrap_socket(one, server_hostname="localhost"))
        request = gateway.request_bytes(
            method, target, [("Content-Type", "application/json")] if body else [], body)
        if "pieces" in target:
            one.sendall(request[:-1])
            request = request[-1:]
            time.sleep(0.01)  # else the library finds it all at once, and need not wait for more
        one.sendall(request)
        while not is_whole(got, method) and (piece := one.recv(65536)):
            got += piece
    return is_whole(got, method)


def fail_each(gateway, shim, calls, context=None, port=None):
    """Let each of the first `calls` calls after the begin of each kind of request fail."""
    failed = set()
    for kind in KINDS:
        beyond = 0
        for n in range(calls):
            shim.fail_after(n)
            ask(gateway, kind, context, port)
            name = shim.stop()
            assert gateway.process.poll() is None, f"{name} ended it: {kind[:2]} {n}"
            failed.add(name)
            beyond = beyond + 1 if name is None else 0
            if beyond > 2:
                break
    return failed - {None}


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_every_call_may_fail_once(secure, shim, gateway_factory, tmp_path):
    pair, port = test_tls.Pair(tmp_path, "first"), free_port()
    gateway = gateway_factory(workers=1, env=shim.env, settings={
        "tls.listen": f"127.0.0.1:{port}", **pair.settings()})
    context = test_tls.context_of(pair) if secure else None
    failed = fail_each(gateway, shim, CALLS, context, port if secure else None)
    assert {"MHD_add_connection", "event_add", "recv"} <= failed
    wire.wait_until(lambda: ask(gateway, KINDS[1]), 10, "it answers again")
    assert gateway.stat("requests") > 0


@pytest.mark.skipif(wire.SLOW > 1, reason="a sanitizer takes all the address space there is")
def test_the_gateway_runs_short_of_address_space(gateway_factory):
    """From where it can just start up to what streams and large events need."""
    for size in SIZES:
        gateway = gateway_factory(workers=2, store="memory:", start=False)
        gateway.command = ["prlimit", f"--as={size * MEBIBYTE}", *gateway.command]
        gateway.start(ready=False)
        squeeze(gateway)


@pytest.mark.skipif(wire.SLOW > 1, reason="a sanitizer takes all the address space there is")
def test_signatures_in_a_short_address_space(gateway_factory, tmp_path):
    """What computes them does not survive an allocation that fails."""
    key = tokens.Key("ES256")
    shown = [tokens.bearer(tokens.token(f"u{n}", subscribe=["a"], key=key)) for n in range(150)]
    settings = {"auth.mode": "token", "auth.jwt_key": key.setting(tmp_path)}
    for size in SIZES_OF_SIGNATURES:
        gateway = start_within(size, gateway_factory, settings)
        crowd(gateway, shown, lambda gateway=gateway: socket.create_connection(gateway.address, 5))


@pytest.mark.skipif(not LONG or wire.SLOW > 1, reason="a handshake takes 10 ms, and many are needed")
def test_handshakes_in_a_short_address_space(gateway_factory, tmp_path):
    pair, port = test_tls.Pair(tmp_path, "first"), free_port()
    context = test_tls.context_of(pair)
    settings = {"tls.listen": f"127.0.0.1:{port}", **pair.settings()}

    def connect():
        return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5),
                                   server_hostname="localhost")

    for size in range(146, 164):
        crowd(start_within(size, gateway_factory, settings), [()] * 250, connect)


def start_within(size, gateway_factory, settings):
    gateway = gateway_factory(workers=2, store="memory:", start=False, settings=settings)
    gateway.command = ["prlimit", f"--as={size * MEBIBYTE}", *gateway.command]
    gateway.start(ready=False)
    wire.wait_until(lambda: is_listening(gateway), 10)
    return gateway


def crowd(gateway, each_headers, connect):
    """A stream for each; many find no memory, which ends nothing else."""
    with contextlib.ExitStack() as streams:
        for headers in each_headers:
            with contextlib.suppress(OSError):
                one = streams.enter_context(connect())
                one.sendall(gateway.request_bytes("GET", "/events?topic=a", headers))
                one.recv(1)
    status = status_of(gateway)
    assert status in (None, 1), f"{gateway.command}\n{gateway.log()}"
    if status == 1:
        gateway.process = None


def status_of(gateway):
    """None while it runs; it may have listened before it found that it cannot start."""
    if "cannot start" in gateway.log():
        gateway.wait()
    return gateway.process.poll()


def is_listening(gateway):
    if gateway.process.poll() is not None:
        return True
    with contextlib.suppress(ConnectionError):
        socket.create_connection(gateway.address).close()
        return True
    return False


def squeeze(gateway):
    """Streams and large events.  It may say that it cannot start, or that it ends; no signal may."""
    wire.wait_until(lambda: is_listening(gateway), 10)
    streams = []
    for n in range(300):
        with contextlib.suppress(OSError):
            one = socket.create_connection(gateway.address, 5)
            one.sendall(gateway.request_bytes("GET", f"/events?topic=a&user=u{n}"))
            streams.append(one)
    large = ("POST", "/api/push?topic=a", b'{"topic":"a","data":"%s"}' % (b"x" * 30000))
    for _ in range(ROUNDS):
        with contextlib.suppress(OSError):
            ask(gateway, large)
    for one in streams:
        one.close()
    status = status_of(gateway)
    if status is not None:
        assert status in (1, -signal.SIGABRT), gateway.log()
        assert "out of memory" in gateway.log() or "cannot start" in gateway.log(), gateway.log()
        gateway.process = None
