# SPDX-License-Identifier: MIT
"""Whoever is slow ends at a deadline that nothing moves: heads, the first and the later ones,
bodies, answers, and connections that rest.  `make driptest` does it with thousands."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

import wire
from conftest import program_path

DRIP = pathlib.Path(__file__).resolve().parent.parent / "load" / "drip.py"


@pytest.mark.long
def test_slow_heads_bodies_and_noise_by_the_hundred():
    """The program of `make driptest`, with fewer."""
    done = subprocess.run(
        [sys.executable, str(DRIP), "--sockets", str(wire.fewer(1000, 200)), "--bodies",
         str(wire.fewer(200, 50)), "--noise", str(wire.fewer(1000, 200)), "--healthy", "0"],
        env=dict(os.environ, BUGLE=program_path()), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=wire.seconds(100), check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-10000:]


def used_once(gateway):
    """A connection that has had an answer."""
    connection = gateway.raw()
    connection.send(gateway.request_bytes("GET", "/healthz"))
    assert connection.read_response().status == 200
    return connection


def drip(connection, text, pause):
    """Send a byte now and then until the other side has something to say."""
    begun = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for byte in text:
            connection.send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                data = connection.receive(timeout=pause)
                connection.buffer += data
                break
    return time.monotonic() - begun


@pytest.mark.gateway(settings={"limits.header_timeout": "1s"})
def test_slow_later_head_dies_at_an_absolute_deadline(gateway):
    """The time begins with its first byte, and no byte and no whole line begins it anew."""
    with used_once(gateway) as connection:
        wire.wait_until(lambda: gateway.stat("keepalives_timed_out") == 0, 5)
        lasted = drip(connection, gateway.request_bytes("GET", "/", [("a", "b")] * 60), 0.02)
        assert 0.7 < lasted < wire.seconds(3), f"the head was waited for {lasted:.1f} s"
        connection.read_response().problem(408)
        assert connection.read_to_end() == b""
    assert gateway.stat("heads_timed_out") == 1


@pytest.mark.gateway(settings={"limits.header_timeout": "30s", "limits.keepalive_timeout": "1s"})
def test_connection_that_rests_too_long_is_closed(gateway):
    """Between requests it costs the gateway a pool.  It ends without a word, since it has none to
    say, and the time begins anew with each answer."""
    with used_once(gateway) as connection:
        for _ in range(3):
            pause = time.monotonic() + 0.6
            wire.wait_until(lambda: time.monotonic() > pause, 5)
            connection.send(gateway.request_bytes("GET", "/healthz"))
            assert connection.read_response().status == 200
        begun = time.monotonic()
        assert connection.read_to_end() == b"" and connection.end == "closed"
        assert 0.7 < time.monotonic() - begun < wire.seconds(3)
    assert gateway.stat("keepalives_timed_out") >= 1


@pytest.mark.gateway(settings={"limits.body_timeout": "60s", "limits.body_rate": "1K"})
def test_body_below_the_least_rate_is_cut(gateway):
    """Five seconds are nobody's fault; then a trickle is refused, and a slow line is not."""
    head = gateway.request_bytes("POST", "/api/push?topic=a", [
        ("Content-Type", "text/plain"), ("Content-Length", "20000")])
    with gateway.raw() as trickle, gateway.raw() as slow_line:
        trickle.send(head)
        slow_line.send(head)
        sent, begun = 0, time.monotonic()
        while sent < 20000:
            piece = min(500, 20000 - sent)
            slow_line.send(b"x" * piece)
            sent += piece
            with contextlib.suppress(OSError):
                trickle.send(b"y")
            pause = time.monotonic() + 0.2
            wire.wait_until(lambda: time.monotonic() > pause, 5)
        assert time.monotonic() - begun > 6
        assert slow_line.read_response().status == 201
        assert trickle.read_response().problem(408)["code"] == "body_too_slow"
    stats = gateway.stats()
    assert (stats["bodies_too_slow"], stats["bodies_timed_out"]) == (1, 0)


BIG = b"x" * 3000000


@pytest.fixture
def site(tmp_path, gateway_factory):
    """Gateways with a file that does not fit into the kernel's buffers."""
    (tmp_path / "index.html").write_bytes(BIG)

    def start(settings):
        return gateway_factory(settings=settings, www=tmp_path)

    return start


def take_slowly(gateway, bytes_a_turn, pause):
    """A client that reads its answer slowly, or not at all; how long it was let."""
    with gateway.raw(receive_buffer=4096) as connection:
        connection.send(gateway.request_bytes("GET", "/"))
        begun = time.monotonic()
        while connection.end is None and time.monotonic() - begun < wire.seconds(30):
            until = time.monotonic() + pause
            if bytes_a_turn:
                connection.receive(bytes_a_turn)
            elif connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                connection.end = "reset"
            wire.wait_until(lambda: time.monotonic() > until, 5)
        assert connection.end == "reset", connection.end
        return time.monotonic() - begun


def test_answer_that_nobody_takes_is_cut_and_delays_nobody(site):
    """A large answer and a client that sleeps: others have theirs meanwhile."""
    gateway = site({"stream.stall_timeout": "2s"})
    lasted = []
    sleeper = threading.Thread(target=lambda: lasted.append(take_slowly(gateway, 0, 0.1)))
    sleeper.start()
    worst = 0
    while sleeper.is_alive():
        begun = time.monotonic()
        assert gateway.request_once("GET", "/").body == BIG
        worst = max(worst, time.monotonic() - begun)
    sleeper.join()
    assert lasted and 2 < lasted[0] < wire.seconds(10), lasted
    assert worst < wire.seconds(2), f"another client waited {worst:.2f} s"
    stats = gateway.stats()
    assert (stats["answers_too_slow"], stats["answers_stalled"]) == (0, 1)


def test_answer_that_is_taken_too_slowly_is_cut(site):
    """It would hold its connection and what it needs for as long as it likes."""
    gateway = site({"limits.answer_rate": "64K", "stream.stall_timeout": "20s"})
    lasted = take_slowly(gateway, 1024, 0.05)
    assert 5 < lasted < wire.seconds(15), lasted
    stats = gateway.stats()
    assert (stats["answers_too_slow"], stats["answers_stalled"]) == (1, 0)


def test_answer_that_is_taken_slowly_enough_comes_whole(site):
    """A poor line is no attack."""
    gateway = site({"limits.answer_rate": "1K", "stream.stall_timeout": "20s"})
    with gateway.raw(receive_buffer=16384) as connection:
        connection.send(gateway.request_bytes("GET", "/"))
        until = time.monotonic() + 7
        while time.monotonic() < until:
            connection.buffer += connection.receive(8192)
            pause = time.monotonic() + 0.2
            wire.wait_until(lambda: time.monotonic() > pause, 5)
        assert connection.read_response().body == BIG
    stats = gateway.stats()
    assert (stats["answers_too_slow"], stats["answers_stalled"]) == (0, 0)
