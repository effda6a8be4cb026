# SPDX-License-Identifier: MIT
"""TLS: who is let in, what a slow or hostile peer can do, new certificates, and that everything
that works on plain connections works inside it."""

import contextlib
import datetime
import ipaddress
import json
import re
import signal
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import test_handover
import test_smuggling
import wire
from conftest import free_port
from test_handover import make, manager  # noqa: F401

HANDSHAKE = b"\x16\x03\x01"
PEM = serialization.Encoding.PEM


class Pair:
    """A self-signed certificate and its key, in files of the usual kind."""

    def __init__(self, folder, name, days=30, key=None):
        self.key_object = key or ec.generate_private_key(ec.SECP256R1())
        self.certificate = folder / f"{name}.pem"
        self.key = folder / f"{name}.key"
        self.certificate.write_bytes(self.make(name, days).public_bytes(PEM))
        self.write_key(self.key, serialization.NoEncryption())

    def make(self, name, days):
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        now = datetime.datetime.utcnow()
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
                .public_key(self.key_object.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=10))
                .not_valid_after(now + datetime.timedelta(days=days))
                .add_extension(x509.SubjectAlternativeName(names), False)
                .sign(self.key_object, hashes.SHA256()))

    def write_key(self, path, encryption):
        path.touch(mode=0o600)
        path.write_bytes(self.key_object.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, encryption))

    def settings(self):
        return {"tls.certificate": self.certificate, "tls.key": self.key}


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Two certificates, of which one replaces the other."""
    folder = tmp_path_factory.mktemp("pairs")
    return Pair(folder, "first"), Pair(folder, "second")


def context_of(pair, version=None, **wanted):
    """What a careful client has: it trusts this certificate and no other."""
    context = ssl.create_default_context(cafile=pair.certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    if version:
        context.minimum_version = context.maximum_version = version
    for name, value in wanted.items():
        setattr(context, name, value)
    return context


class SecureWire(wire.Wire):
    """A connection with a session in it."""

    def __init__(self, address, context, session=None, receive_buffer=None):
        super().__init__(address, receive_buffer)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost",
                                              session=session)
        except OSError:
            self.socket.close()
            raise

    def receive(self, size=65536, timeout=None):
        try:
            return super().receive(size, timeout)
        except TimeoutError:
            raise
        except ssl.SSLError:
            self.end = "broken"
            return b""

    def reset(self):
        raise NotImplementedError


class Secure:
    """A gateway with both kinds of listeners."""

    def __init__(self, gateway_factory, pair, settings=None, **options):
        self.pair = pair
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.url = f"https://localhost:{self.port}"
        self.context = context_of(pair)
        self.plain = gateway_factory(
            settings={"tls.listen": f"127.0.0.1:{self.port}", **pair.settings(),
                      **(settings or {})}, **options)

    def wire(self, context=None, **options):
        return SecureWire(self.address, context or self.context, **options)

    def bytes(self, method, target, headers=(), body=None):
        return wire.request_bytes(method, target, headers, body, host=f"localhost:{self.port}")

    def request(self, method, target, headers=(), body=None, context=None):
        with self.wire(context) as connection:
            connection.send(self.bytes(method, target, headers, body))
            return connection.read_response(method)

    def stream(self, *topics, resume=None, receive_buffer=None, **query):
        target = wire.target_of("/events", [("topic", topic) for topic in topics]
                                + list(query.items()))
        connection = self.wire(receive_buffer=receive_buffer)
        connection.send(self.bytes("GET", target, [("Last-Event-ID", resume)] if resume else []))
        stream = wire.Stream(connection, connection.read_head())
        stream.opening = stream.greet()
        return self.plain.keep(stream)

    def stats(self, *names):
        stats = self.plain.stats()
        return tuple(stats[f"tls_{name}"] for name in names)


@pytest.fixture
def secure(request, gateway_factory, pairs):
    marker = request.node.get_closest_marker("gateway")
    return Secure(gateway_factory, pairs[0], **(marker.kwargs if marker else {}))


def test_the_load_tool_holds_streams_inside_tls(secure, bugle):
    result = bugle("bench", "--json", "--stream-url", secure.url + "/events?topic={topic}",
                   "--publish-url", secure.plain.url + "/api/push", "--streams", 5, "--events", 20,
                   "--settle", 0, "--size", 20000, timeout=60)
    report = json.loads(result.stdout)
    assert result.returncode == 0, report
    assert report["deliveries"]["received"] == 100


# who is let in


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_that_are_spoken(secure, version):
    context = context_of(secure.pair, version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secure.wire(context) as connection:
        assert connection.socket.selected_alpn_protocol() == "http/1.1"
        for _ in range(3):
            connection.send(secure.bytes("GET", "/healthz"))
            assert connection.read_response().json() == {"status": "ok"}
        cipher = connection.socket.cipher()[0]
    assert "GCM" in cipher or "CHACHA" in cipher or "CCM" in cipher
    assert secure.stats("handshakes_begun", "handshakes", "handshakes_failed") == (1, 1, 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(secure, version):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secure.wire(context_of(secure.pair, version))
    wire.wait_until(lambda: secure.stats("handshakes_failed") == (1,), 5, "it is counted")
    assert secure.stats("handshakes") == (0,)


@pytest.mark.parametrize("cipher", ["AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"])
def test_weak_ciphers_are_refused(secure, cipher):
    """Without forward secrecy, or without authenticated encryption."""
    context = context_of(secure.pair, ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secure.wire(context)


def test_sessions_are_resumed(secure):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = context_of(secure.pair, version)
        with secure.wire(context) as first:
            first.send(secure.bytes("GET", "/healthz"))
            assert first.read_response().status == 200
            session = first.socket.session
        with secure.wire(context, session=session) as second:
            second.send(secure.bytes("GET", "/healthz"))
            assert second.read_response().status == 200
            assert second.socket.session_reused, version
    assert secure.stats("handshakes", "resumed") == (4, 2)


# peers that do not speak it


def test_plain_http_is_told(secure):
    with wire.Wire(secure.address) as connection:
        connection.send(wire.request_bytes("GET", "/healthz"))
        assert "https" in connection.read_response().problem(400)["detail"]
        assert connection.read_to_end() == b""
    assert secure.stats("hellos_refused", "handshakes_begun") == (1, 0)


GARBAGE = [b"\0" * 64, b"\x16\x02\x01\x02\0\x01", b"\x16\x03\x01\0\0", b"\x16\x03\x01\xff\xff\x01",
           b"\x16\x03\x01\0\x05\x02abcd", b"\x15\x03\x01\0\x02\x02\x28", b"\x80\x2e\x01\x03\x01",
           bytes(range(255, 100, -1))]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_closed_at_the_door(secure, garbage):
    with wire.Wire(secure.address) as connection:
        connection.send(garbage)
        assert connection.read_to_end() == b""
    assert secure.stats("hellos_refused", "handshakes_begun") == (1, 0)
    assert secure.request("GET", "/healthz").status == 200


def test_a_hello_with_garbage_in_it_fails(secure):
    """It looks like one from outside."""
    with wire.Wire(secure.address) as connection:
        connection.send(HANDSHAKE + b"\x00\x40\x01\0\0\x3c" + b"\xa5" * 60)
        connection.read_to_end()
    wire.wait_until(lambda: secure.stats("handshakes_failed") == (1,), 5, "it is counted")
    assert "handshake" not in secure.plain.log()  # nothing that a stranger can fill a disk with


def test_tls_at_the_plain_port_is_refused(secure):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        SecureWire(secure.plain.address, secure.context)
    assert secure.plain.stat("heads_refused") == 1


# deadlines


class ByHand:
    """A client whose records leave when the test says so."""

    def __init__(self, address, context):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.wire = wire.Wire(address)

    def step(self):
        """Returns what has to be sent next."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.object.do_handshake()
        return self.outgoing.read()

    def finish(self, send):
        """All of the handshake, each flight sent by `send`."""
        send(self.step())
        while True:
            self.incoming.write(self.wire.receive())
            try:
                self.object.do_handshake()
                send(self.outgoing.read())
                return
            except ssl.SSLWantReadError:
                if data := self.outgoing.read():
                    send(data)


@pytest.mark.gateway(settings={"tls.handshake_timeout": "1s", "limits.header_timeout": "20s"},
                     workers=1)
def test_slow_handshakes_end_at_their_deadline(secure):
    """Nothing at all, a part of a hello, one that drips, and a hello without what follows."""
    before = secure.plain.sockets()
    clients = [ByHand(secure.address, secure.context) for _ in range(60)]
    begun = time.monotonic()
    for i, client in enumerate(clients):
        hello = client.step()
        client.wire.send([b"", hello[:3], hello[:-1], hello][i % 4])
    while time.monotonic() < begun + 0.5:
        for client in clients[1::4]:
            client.wire.send(b"\x01")
        time.sleep(0.1)
    for client in clients:
        client.wire.read_to_end()
        client.wire.close()
    wire.wait_until(lambda: secure.plain.sockets() <= before + 1, 5, "all sockets are given back")
    begun_n, done, timed_out, failed, refused = secure.stats(
        "handshakes_begun", "handshakes", "handshakes_timed_out", "handshakes_failed",
        "hellos_refused")
    assert (begun_n, done, failed) == (15, 0, 0)
    assert timed_out + refused == 60 and refused <= 15, (timed_out, refused)
    assert time.monotonic() - begun < wire.seconds(5)
    assert secure.plain.stat("connections_waiting") == 0


@pytest.mark.gateway(settings={"tls.handshake_timeout": "10s", "limits.header_timeout": "1s"})
def test_one_deadline_covers_handshake_and_head(secure):
    """A head that drips inside TLS, as the first and as a later one, renews nothing."""
    slow = ByHand(secure.address, secure.context)
    slow.wire.send(slow.step()[:10])
    first, later = secure.wire(), secure.wire()
    later.send(secure.bytes("GET", "/healthz"))
    assert later.read_response().status == 200
    begun = time.monotonic()
    for connection in (first, later):
        connection.socket.settimeout(0.05)
    ended = set()
    while len(ended) < 2:
        assert time.monotonic() - begun < wire.seconds(6), "it drips for ever"
        for connection in {first, later} - ended:
            try:
                connection.socket.send(b"G" if connection.buffer == b"" else b"x")
                if connection.socket.recv(10) == b"":
                    ended.add(connection)
            except TimeoutError:
                pass
            except OSError:
                ended.add(connection)
        time.sleep(0.05)
    slow.wire.read_to_end()
    for connection in (first, later, slow.wire):
        connection.close()
    assert secure.plain.stat("heads_timed_out") == 2
    assert secure.stats("handshakes_timed_out") == (1,)


@pytest.mark.gateway(settings={"limits.keepalive_timeout": "1s"})
def test_kept_connections_rest_and_end(secure):
    with secure.wire() as connection:
        for _ in range(2):
            connection.send(secure.bytes("GET", "/healthz"))
            assert connection.read_response().status == 200
        secure.plain.wait_stat("connections_resting", 1)
        assert connection.read_to_end() == b""
    wire.wait_until(lambda: secure.plain.stat("keepalives_timed_out") >= 1, 5, "it is counted")


# records and what is in them


def test_one_byte_at_a_time(secure):
    """The handshake in segments of one byte, then a request in records of one byte."""
    client = ByHand(secure.address, secure.context)

    def send_bytes(data):
        for i in range(len(data)):
            client.wire.send(data[i:i + 1])

    client.finish(send_bytes)
    for byte in secure.bytes("POST", "/api/push?topic=a", body=b"hello"):
        client.object.write(bytes([byte]))
        client.wire.send(client.outgoing.read())
    answer = b""
    while b"\r\n\r\n{" not in answer:
        client.incoming.write(client.wire.receive())
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:
                answer += client.object.read(65536)
    assert answer.startswith(b"HTTP/1.1 201 ")
    client.wire.close()


@pytest.mark.parametrize("head_bytes", [8000, 15500])
def test_a_next_head_may_begin_in_the_last_record_of_a_body(secure, head_bytes):
    """The library reads a part of that record, GnuTLS keeps the rest, and nothing is left on the
    socket: the cell reads on, and what comes then does not resume it once more."""
    body = json.dumps({"topic": "a", "data": "x" * 1000}).encode()
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
    head += b"y" * (16360 - len(head)) + b"\r\n\r\n"
    first_n = 16384 - 100  # the record is as long as one can be
    with secure.wire() as connection:
        request = secure.bytes("POST", "/api/push", [("Content-Type", "application/json"),
                                                      ("X-Long", "y" * head_bytes)],
                               body)
        connection.send(request[:-100])
        time.sleep(0.1)
        connection.send(request[-100:] + head[:first_n])
        assert connection.read_response("POST").status == 201
        for piece in (head[first_n:first_n + 20], head[first_n + 20:first_n + 40]):
            time.sleep(0.1)
            connection.send(piece)
        connection.send(head[first_n + 40:])
        assert connection.read_response().status in (200, 431)
    assert secure.plain.request("GET", "/healthz").status == 200


def test_renegotiation_ends_the_connection_at_most(secure):
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{secure.port}", "-tls1_2", "-quiet",
         "-no_ign_eof"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wire.wait_until(lambda: secure.stats("handshakes") == (1,), 5, "it is in")
    with contextlib.suppress(BrokenPipeError):
        client.stdin.write(b"R\n" * 3)
        client.stdin.flush()
    with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
        client.communicate(timeout=wire.seconds(2))
    client.kill()
    client.communicate()
    assert secure.stats("handshakes") == (1,)
    assert secure.request("GET", "/healthz").status == 200


class Attempt(test_smuggling.Attempt):
    """A case inside TLS."""

    def __init__(self, secure, case, way):
        self.name, self.make, self.wanted = case
        self.label = f"{way}: {self.name}"
        self.wire = secure.wire()
        self.answer = bytearray()
        self.ended = False

    def read(self):
        while not self.ended:
            data = self.try_io(lambda: self.wire.socket.recv(65536))
            if data is None:
                return
            self.answer += data
            self.ended = data == b""

    def try_io(self, action):
        try:
            return action()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except OSError:
            self.ended = True
            return None


def attempt_all(secure, is_second):
    attempts = [Attempt(secure, case, "2nd" if is_second else "1st")
                for case in test_smuggling.CASES]
    for attempt in attempts if is_second else ():
        attempt.wire.send(test_smuggling.PRELUDE)
        assert attempt.wire.read_response().json() == {"status": "ok"}, attempt.label
    for attempt in attempts:
        attempt.send()
    test_smuggling.read_all(attempts)
    for attempt in attempts:
        attempt.wire.close()
    return attempts


def test_nothing_is_smuggled_in(secure):
    """All that two readers of HTTP could part in two ways, as the first and as the second request:
    none of it is accepted, and nothing gets in inside it.  What libmicrohttpd refuses by itself it
    may refuse in words of its own."""
    attempts = attempt_all(secure, False) + attempt_all(secure, True)
    for attempt in attempts:
        print(f"{attempt.label:32} {attempt.says()}")
    assert test_smuggling.published(secure.plain, "hidden") == []
    for attempt in attempts:
        assert len(attempt.successes()) <= 1, (attempt.label, attempt.says())
        if attempt.wanted in (test_smuggling.REFUSED, test_smuggling.CODING):
            assert attempt.successes() == [], (attempt.label, attempt.says())
            # 1.0.1 closes without a word what has no version of HTTP
            assert attempt.statuses() or attempt.name in ("a TLS hello", "PROXY protocol"), (
                attempt.label, attempt.says())
            assert attempt.ended, f"{attempt.label}: open"


BAD = [
    (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    (b"GET /events HTTP/1.1\r\nHost: a\r\nLast-Event-ID: a\r\nLast-Event-ID: b\r\n\r\n", 400),
    (b"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400),
    (b"GET /events HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400),
    (b"GET /events HTTP/1.1\r\nHost: a\r\nX: y\nY: z\r\n\r\n", 400),
    (b"GET /events HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 64 + b"\r\n", 431),
    (b"GET /events?topic=" + b"x" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET /events HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 15000 + b"\r\nY: " + b"z" * 2000
     + b"\r\n\r\n", 431),
    (b"GET /events HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 60000 + b"\r\n\r\n", 431),
    (b"POST /api/push?topic=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n", 413),
]


@pytest.mark.parametrize("is_second", [False, True])
def test_limits_and_rules_of_heads(secure, is_second):
    """The answer says the same as on a plain connection, and the connection ends with it."""
    for head, status in BAD:
        with secure.wire() as connection:
            if is_second:
                connection.send(secure.bytes("GET", "/healthz"))
                assert connection.read_response().status == 200
            with contextlib.suppress(OSError):
                connection.send(head)
            response = connection.read_response()
            assert response.status == status, (head[:80], response)
            assert connection.read_to_end() == b"", head[:80]


@pytest.mark.gateway(settings={"limits.body_timeout": "1s"})
def test_a_late_body_is_told(secure):
    with secure.wire() as connection:
        connection.send(secure.bytes("POST", "/api/push?topic=a",
                                     [("Content-Length", "100")], body=b"some"))
        assert connection.read_response().problem(408)["code"] == "body_timeout"
        assert connection.read_to_end() == b""


# streams


def test_streams_live_and_resumed(secure):
    stream = secure.stream("a")
    ids = [secure.request("POST", "/api/push?topic=a", body=f"{i}".encode()).json()["id"]
           for i in range(5)]
    assert [event.id for event in stream.events(5)] == ids
    stream.close()
    again = secure.stream("a", resume=ids[1])
    assert [event.data for event in again.events(3)] == ["2", "3", "4"]
    large = "x" * 60000
    secure.plain.push({"topic": "a", "data": large})
    assert again.next_event().data == large
    (shown,) = secure.plain.request("GET", "/api/streams").json()["streams"]
    host, port = again.wire.socket.getsockname()
    assert shown["address"] == f"{host}:{port}"


def test_curl(secure):
    with subprocess.Popen(["curl", "-sSN", "--cacert", secure.pair.certificate,
                           f"{secure.url}/events?topic=a"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as client:
        secure.plain.wait_stat("streams_open", 1)
        done = subprocess.run(["curl", "-sS", "--cacert", secure.pair.certificate, "-d", "hello",
                               f"{secure.url}/api/push?topic=a"], capture_output=True, text=True,
                              check=True)
        identity = json.loads(done.stdout)["id"]
        lines = []
        while f"id: {identity}\n" not in lines:
            lines.append(client.stdout.readline())
            assert lines[-1], lines
        client.kill()
    assert "data: hello\n" in lines


@pytest.mark.gateway(settings={"stream.stall_timeout": "1s"}, workers=1)
def test_a_stalled_stream_is_evicted(secure):
    """And the one beside it loses nothing."""
    secure.stream("bulk", user="idle", receive_buffer=4096)
    healthy = secure.stream("bulk", user="busy")
    ids = secure.plain.push([{"topic": "bulk", "data": "x" * 5000} for _ in range(100)])["ids"]
    assert [event.id for event in healthy.events(100, 20)] == ids
    secure.plain.wait_stat("streams_stalled", 1, 12)
    (entry,) = secure.plain.request("GET", "/api/evictions").json()["evictions"]
    assert (entry["why"], entry["user"]) == ("stalled", "idle")
    assert entry["unacknowledged_bytes"] > 0
    secure.plain.push({"topic": "bulk", "data": "end"})
    assert healthy.next_event().data == "end"


def test_a_stream_is_ended_and_one_that_vanished_is_seen(secure):
    ended = secure.stream("a", user="u")
    gone = secure.stream("a", user="v")
    assert secure.request("DELETE", "/api/streams?user=u").json() == {"ended": 1}
    ended.read_to_end()
    assert ended.end == "final chunk"
    wire.Wire.reset(gone.wire)
    secure.plain.wait_stat("streams_open", 0)
    assert secure.plain.stat("streams_left") == 1


def test_drain_ends_streams_and_what_else_there_is(secure):
    """None keeps the stop: streams, one that rests, one whose handshake is not done."""
    streams = [secure.stream("a") for _ in range(5)]
    resting, half = secure.wire(), ByHand(secure.address, secure.context)
    resting.send(secure.bytes("GET", "/healthz"))
    assert resting.read_response().status == 200
    half.wire.send(half.step())
    wire.wait_until(lambda: secure.stats("handshakes_begun")[0] == 7, 5, "it has begun")
    secure.plain.stop()
    for stream in streams:
        stream.read_to_end()
        assert stream.end == "closed"
    for each in (resting, half.wire):
        each.read_to_end()
        each.close()


# certificates


def rewrite(pair, certificate, key):
    """As a tool that renews certificates does it."""
    pair.certificate.write_bytes(certificate)
    pair.key.write_bytes(key)


@pytest.fixture
def renewed(tmp_path, gateway_factory, pairs):
    """A gateway whose files may be changed."""
    mine = Pair(tmp_path, "mine")
    return Secure(gateway_factory, mine)


def reload(secure, line):
    count = secure.plain.log().count(line)
    secure.plain.signal(signal.SIGHUP)
    wire.wait_until(lambda: secure.plain.log().count(line) > count, 5, line)


def test_reload_swaps_the_certificate(renewed, pairs):
    """New handshakes see the new one; streams go on."""
    before = ssl.get_server_certificate(renewed.address)
    stream = renewed.stream("a")
    rewrite(renewed.pair, pairs[1].certificate.read_bytes(), pairs[1].key.read_bytes())
    reload(renewed, "settings reloaded")
    wire.wait_until(lambda: ssl.get_server_certificate(renewed.address) != before, 5,
                    "another certificate is shown")
    assert renewed.request("GET", "/healthz", context=context_of(pairs[1])).status == 200
    renewed.plain.push({"topic": "a", "data": "still here"})
    assert stream.next_event().data == "still here"
    assert "the key" not in renewed.plain.log()


def test_reload_refuses_a_bad_pair(renewed, pairs):
    """Each is told in one line, and the old one stays."""
    good = (renewed.pair.certificate.read_bytes(), renewed.pair.key.read_bytes())
    before = ssl.get_server_certificate(renewed.address)
    for certificate, key, why in [
            (pairs[1].certificate.read_bytes(), good[1], "is not the key of the certificate"),
            (b"", good[1], "there is no certificate in PEM form in it"),
            (good[0], b"nothing", "there is no private key in PEM form in it")]:
        rewrite(renewed.pair, certificate, key)
        reload(renewed, why)
        renewed.plain.wait_log("reload refused, the old settings stay")
        assert ssl.get_server_certificate(renewed.address) == before
    renewed.pair.certificate.unlink()
    reload(renewed, f"{renewed.pair.certificate}: No such file or directory")
    assert renewed.request("GET", "/healthz").status == 200
    secret = good[1].splitlines()[1].decode()
    assert secret not in renewed.plain.log()


def test_mistakes_at_the_start(bugle, pairs, tmp_path):
    """One line that names the file and says what to do."""
    def refused(*settings):
        words = [word for setting in settings for word in ("--set", setting)]
        done = bugle("serve", "--listen", f"127.0.0.1:{free_port()}", "--store", "memory:", *words)
        assert done.returncode == 1, done
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    first, second = pairs
    listen = f"tls.listen=127.0.0.1:{free_port()}"
    assert "there is no certificate" in refused(listen)
    assert "tls.key 0" in refused(listen, f"tls.certificate={first.certificate}")
    assert f"{tmp_path}/none: No such file" in refused(
        listen, f"tls.certificate={tmp_path}/none", f"tls.key={first.key}")
    assert "is not the key of" in refused(
        listen, f"tls.certificate={first.certificate}", f"tls.key={second.key}")
    good = [listen, f"tls.certificate={first.certificate}", f"tls.key={first.key}"]
    assert "from \"WRONG\" on" in refused(*good, "tls.priority=NORMAL:WRONG")
    assert "other versions than" in refused(*good, "tls.priority=NORMAL:+VERS-TLS1.1")
    assert "tls.listen is \"unix:/x\"" in refused("tls.listen=unix:/x")
    assert "others can reach 0.0.0.0:1" in refused("tls.listen=0.0.0.0:1", *good[1:])
    locked = tmp_path / "locked.key"
    first.write_key(locked, serialization.BestAvailableEncryption(b"secret"))
    assert "encrypted" in refused(listen, good[1], f"tls.key={locked}")


def test_warnings_at_the_start(gateway_factory, tmp_path):
    """They work, and an operator should know."""
    old = Pair(tmp_path, "old", days=-1)
    old.key.chmod(0o644)
    log = Secure(gateway_factory, old).plain.log()
    assert re.search(r"warn\w* +tls.certificate \S+old.pem: it expired on \d{4}-\d\d-\d\d", log), log
    assert re.search(r"warn\w* +tls.key \S+old.key: every user of this machine can read", log), log


def test_a_certificate_for_each_name(gateway_factory, pairs, tmp_path):
    """By the name that the client says."""
    other = Pair(tmp_path, "rsa", key=rsa.generate_private_key(65537, 2048))
    both = Secure(gateway_factory, pairs[0], settings={
        "tls.certificate": f"{pairs[0].certificate},{other.certificate}",
        "tls.key": f"{pairs[0].key},{other.key}"})
    assert both.request("GET", "/healthz").status == 200
    context = context_of(other, ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    assert both.request("GET", "/healthz", context=context).status == 200


# the tools, and processes that follow each other


def test_shell_tools(secure, bugle):
    where = ("--url", secure.url)
    done = bugle("publish", *where, "--ca", secure.pair.certificate, "--topic", "a", "hello")
    assert done.returncode == 0, done
    done = bugle("subscribe", *where, "--since", "earliest", "--count", 1, "--json", "a",
                 env={"BUGLE_CA": str(secure.pair.certificate)})
    assert json.loads(done.stdout)["data"] == "hello", done
    done = bugle("publish", *where, "--topic", "a", "unseen")
    assert done.returncode == 1 and "certificate" in done.stderr.lower(), done
    done = bugle("publish", *where, "--ca", "/nowhere", "--topic", "a", "unseen")
    assert done.returncode == 1 and "CA cert" in done.stderr, done


def listening_inodes(*ports):
    """Of the sockets that listen at these ports of 127.0.0.1."""
    rows = [line.split() for line in open("/proc/net/tcp")][1:]
    wanted = {f"0100007F:{port:04X}": port for port in ports}
    return {wanted[row[1]]: row[9] for row in rows if row[1] in wanted and row[3] == "0A"}


def test_a_process_that_takes_over_has_the_sockets(make, pairs):
    """The very same ones, so nobody is refused; a stream inside TLS resumes there."""
    secure = Secure(make, pairs[0])
    stream = secure.stream("a")
    first = secure.plain.push({"topic": "a", "data": "1"})["id"]
    assert stream.next_event().id == first
    before = listening_inodes(secure.port, secure.plain.port)
    assert len(before) == 2
    secure.plain._drop_control()
    old = test_handover.take_over(secure.plain)
    assert listening_inodes(secure.port, secure.plain.port) == before
    stream.read_to_end()
    second = secure.request("POST", "/api/push?topic=a", body=b"2").json()["id"]
    again = secure.stream("a", resume=first)
    assert again.next_event().id == second
    test_handover.leaves(old, secure.plain)


def test_a_service_manager_may_open_the_sockets(make, manager, pairs):
    """They are told by their address."""
    gateway = make(start=False, settings={"tls.listen": f"127.0.0.1:{manager.port}",
                                          **pairs[0].settings()})
    plain = gateway.address
    with gateway.log_path.open("ab") as log:
        gateway.process = subprocess.Popen(
            manager.command(gateway), env=gateway.env, cwd=gateway.folder,
            pass_fds=[manager.listening.fileno()], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log)
    with SecureWire(("127.0.0.1", manager.port), context_of(pairs[0])) as connection:
        connection.send(wire.request_bytes("GET", "/healthz"))
        assert connection.read_response().status == 200
    with wire.Wire(plain) as connection:
        connection.send(wire.request_bytes("GET", "/healthz"))
        assert connection.read_response().status == 200


def test_proxy_protocol_comes_before_the_hello(gateway_factory, pairs):
    port = free_port()
    secure = Secure(gateway_factory, pairs[0], settings={
        "tls.listen": f"127.0.0.1:{port}", "server.proxy_protocol": f"127.0.0.1:{port}",
        "server.trusted_proxies": "127.0.0.1"})
    client = ByHand(("127.0.0.1", port), secure.context)
    client.wire.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n")
    client.finish(client.wire.send)
    client.object.write(secure.bytes("GET", "/events?topic=a"))
    client.wire.send(client.outgoing.read())
    secure.plain.wait_stat("streams_open", 1)
    (shown,) = secure.plain.request("GET", "/api/streams").json()["streams"]
    assert shown["address"].startswith("192.0.2.7")
    client.wire.close()
