# SPDX-License-Identifier: MIT
"""No web page may publish through a developer's browser (bugle-wire(7), auth.mode=none)."""

import pytest

import wire

LOOPBACK = ["http://localhost", "http://localhost:3000", "http://127.0.0.1:5173",
            "http://127.0.0.1", "http://[::1]:8000"]
FOREIGN = [
    "null", "http://evil.example", "https://evil.example", "http://evil.example:8080",
    "http://localhost.evil.example", "http://localhost.evil.example:3000",
    "http://127.0.0.1.evil.example", "http://evil-localhost", "http://notlocalhost:3000",
    "http://localhost@evil.example", "http://localhost:3000@evil.example",
    "http://127.0.0.1evil.example", "http://127.0.0.10.evil.example", "http://[::1].evil.example",
    "http://localhost:3000.evil.example", "http://localhost:evil", "http://localhost/evil",
    "http://localhost#evil", "http://localhost?evil", "http://evil.example/localhost",
    "http://evil.example#localhost", "localhost", "localhost:3000", "//localhost", "file://",
    "http://", "http://localhost http://evil.example", "http://evil.example, http://localhost",
    "http://1270.0.1", "http://128.0.0.1", "http://[::2]", "x",
    "chrome-extension://abcdefgh", "javascript://localhost",
]
SIMPLE = [("Content-Type", "text/plain")]  # what a form can send without asking first


def push_from(gateway, origin, headers=()):
    pairs = [*SIMPLE, *headers] + ([("Origin", origin)] if origin is not None else [])
    return gateway.request_once("POST", "/api/push?topic=a", pairs, b"x")


def test_loopback_pages_and_programs_may_publish(gateway):
    """A backend sends no Origin, the gateway's own page sends its own, and a page that is being
    developed comes from some port of this machine."""
    for origin in (None, gateway.url, *LOOPBACK):
        assert push_from(gateway, origin).status == 201, origin
    assert gateway.stat("events_published") == 2 + len(LOOPBACK)


def test_foreign_pages_may_not_publish(gateway):
    """Any page in any tab can send a simple POST to 127.0.0.1: the Origin gives it away, however
    much it looks like one of ours."""
    stream = gateway.stream()
    for origin in FOREIGN:
        response = push_from(gateway, origin)
        response.problem(403)
        assert response.head.get("Access-Control-Allow-Origin") is None, response.head.raw
    assert gateway.stat("events_published") == 0
    gateway.push({"data": "end"})
    assert stream.next_event().data == "end"


def test_foreign_pages_may_not_end_streams(gateway):
    """The same for DELETE."""
    stream = gateway.stream(user="u")
    for origin in FOREIGN[:4]:
        gateway.request_once("DELETE", "/api/streams?user=u", [("Origin", origin)]).problem(403)
    assert gateway.stat("streams_open") == 1
    response = gateway.request_once("DELETE", "/api/streams?user=u", [("Origin", gateway.url)])
    assert response.status == 200, response
    stream.read_to_end()


def test_refusal_does_not_wait_for_the_body(gateway):
    """What may not be said need not be listened to."""
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes("POST", "/api/push?topic=a", [
            *SIMPLE, ("Origin", "http://evil.example"), ("Content-Length", "100000")]))
        connection.read_response().problem(403)


def test_name_that_was_rebound_to_this_machine_may_not_publish(gateway):
    """evil.example resolves to 127.0.0.1 for a moment: then Origin and Host agree, and both are
    foreign."""
    name = f"evil.example:{gateway.port}"
    with gateway.raw() as connection:
        connection.send(wire.request_bytes(
            "POST", "/api/push?topic=a", [*SIMPLE, ("Origin", f"http://{name}")], b"x", host=name))
        assert connection.read_response().problem(421)["code"] == "misdirected"
    assert gateway.stat("events_published") == 0


def test_two_origins_are_refused(gateway):
    """One was added on the way; it is not asked which."""
    response = push_from(gateway, gateway.url, [("Origin", "http://evil.example")])
    assert response.status in (400, 403), response
    assert gateway.stat("events_published") == 0


LISTED = {"auth.origins": "https://app.example,https://admin.example:8443"}


@pytest.mark.gateway(settings=LISTED)
def test_listed_origins_replace_the_default(gateway):
    """The operator's list is exact: scheme, name and port."""
    for origin in (None, gateway.url, "https://app.example", "https://admin.example:8443"):
        assert push_from(gateway, origin).status == 201, origin
    for origin in ("http://app.example", "https://app.example:8443", "https://admin.example",
                   "https://app.example.evil.example", "https://www.app.example", "null",
                   "https://app.example/", "http://localhost:3000", "https://app.exampl",
                   "https://app.examplee", "https://app.example,https://admin.example:8443"):
        push_from(gateway, origin).problem(403)


# reading across origins


@pytest.mark.parametrize("path", ["/events?topic=a", "/api/stats"])
def test_every_answer_depends_on_the_origin(gateway, path):
    """A cache must not give one page's answer to another; a foreign page cannot read any."""
    for origin, allowed in (("http://localhost:3000", True), ("http://evil.example", False),
                            ("null", False), (None, False)):
        headers = [("Origin", origin), ("Connection", "close")] if origin else []
        with gateway.raw() as connection:
            connection.send(gateway.request_bytes("GET", path, headers))
            head = connection.read_head()
        grant = head.get("Access-Control-Allow-Origin")
        assert grant == (origin if allowed else None), (origin, head.raw)
        assert "origin" in head.words("Vary"), head.raw


def preflight(gateway, path, method, origin):
    return gateway.request("OPTIONS", path, [
        ("Origin", origin), ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", "content-type,idempotency-key")])


@pytest.mark.parametrize("path, method", [("/events", "GET"), ("/api/push", "POST")])
def test_preflight_allows_what_is_listed(gateway, path, method):
    """A page of ours that sends JSON is asked about first."""
    response = preflight(gateway, path, method, "http://localhost:3000")
    assert response.status in (200, 204), response
    assert response.head.get("Access-Control-Allow-Origin") == "http://localhost:3000"
    assert method.lower() in response.head.words("Access-Control-Allow-Methods")
    assert "content-type" in response.head.words("Access-Control-Allow-Headers")
    assert not response.body


@pytest.mark.parametrize("path, method", [("/events", "GET"), ("/api/push", "POST")])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost.evil.example"])
def test_preflight_grants_nothing_to_others(gateway, path, method, origin):
    """Neither a star nor an echo of whoever asked."""
    response = preflight(gateway, path, method, origin)
    assert response.head.get("Access-Control-Allow-Origin") is None, response.head.raw
    assert response.head.get("Access-Control-Allow-Credentials") is None, response.head.raw


# by which name the gateway is asked

REBOUND = ["evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example",
           "localhost.", "0.0.0.0:{port}", "127.1", "2130706433", "xn--lcalhost-90a", "[::2]",
           "notlocalhost:{port}", "localhost-evil"]


def ask_as(gateway, host, target="/api/stats", method="GET"):
    with gateway.raw() as connection:
        connection.send(wire.request_bytes(method, target, host=host.format(port=gateway.port)))
        return connection.read_response(method)


def test_only_loopback_names_by_default(gateway):
    """A page whose name was made to lead here reads as from its own server, without an Origin."""
    for host in REBOUND:
        for target in ("/events", "/api/stats", "/", "/api/streams", "/nothing"):
            assert ask_as(gateway, host, target).problem(421)["code"] == "misdirected", host
        assert ask_as(gateway, host, "/healthz").status == 200
    for host in ("127.0.0.1:{port}", "localhost", "LOCALHOST:1", "[::1]:{port}", "127.9.9.9"):
        assert ask_as(gateway, host).status == 200, host


@pytest.mark.gateway(settings={"server.hosts": "www.example.org,api.example.org:8443"})
def test_listed_names_replace_the_default(gateway):
    for host in ("www.example.org", "WWW.EXAMPLE.ORG:8080", "api.example.org:8443"):
        assert ask_as(gateway, host).status == 200, host
    for host in ("api.example.org", "example.org", "a.www.example.org", "www.example.org.",
                 "localhost", "127.0.0.1:{port}"):
        ask_as(gateway, host).problem(421)


@pytest.mark.gateway(settings=LISTED)
def test_answers_to_listed_pages_and_to_others_do_not_mix(gateway):
    """The answer to a publish is used again for the next one; what one client's has must not
    show in another's."""
    for origin, allowed in ((None, None), ("https://app.example", "https://app.example"),
                            (None, None), ("https://app.example", "https://app.example")):
        headers = [("Origin", origin)] if origin else []
        answer = gateway.post({"topic": "a", "data": "x"}, headers=headers)
        assert answer.status == 201
        assert answer.head.get("Access-Control-Allow-Origin") == allowed
        assert answer.head.all("Cache-Control") == ["no-store"]
    ids = {gateway.push({"topic": "a", "data": "x"})["id"] for _ in range(10)}
    assert len(ids) == 10


# answers that no handler makes


LONG = "x" * 5000
UNREAD = {
    400: b"GET /healthz HTTP/1.1\r\nHost: a\r\nOrigin: %s\r\nBad Header: x\r\n\r\n",
    414: b"GET /" + LONG.encode() + b" HTTP/1.1\r\nHost: a\r\nOrigin: %s\r\n\r\n",
    431: b"GET / HTTP/1.1\r\nOrigin: %s\r\n" + b"X: y\r\n" * 80 + b"\r\n",
    501: b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nOrigin: %s \r\n\r\n",
    505: b"GET / HTTP/2.0\r\nOrigin: %s\r\n\r\n",
}


def answer_to(gateway, request):
    with gateway.raw() as connection:
        connection.send(request)
        return connection.read_response()


@pytest.mark.gateway(settings={"limits.body_bytes": "1K"})
def test_a_page_may_read_what_is_refused_before_it_is_read(gateway):
    """A listed page sees why; to any other nothing is told by name."""
    own = gateway.url.encode()
    for status, request in UNREAD.items():
        response = answer_to(gateway, request % own)
        response.problem(status)
        assert response.head.get("Access-Control-Allow-Origin") == gateway.url
        assert response.head.get("Vary") == "Origin"
        for origin in (b"http://evil.example", b"http://localhost\t.evil.example", b""):
            response = answer_to(gateway, request % origin)
            response.problem(status)
            assert response.head.get("Access-Control-Allow-Origin") is None
    chunk = b"POST /api/push HTTP/1.1\r\nHost: a\r\nOrigin: %s\r\n" \
            b"Transfer-Encoding: chunked\r\n\r\n500\r\n" + b"x" * 0x500
    response = answer_to(gateway, (chunk % own).replace(b"Host: a", b"Host: localhost"))
    response.problem(413)
    assert response.head.get("Access-Control-Allow-Origin") == gateway.url


def test_options_of_the_whole_server(gateway):
    for target, allow in (("*", "GET, HEAD, POST, DELETE, OPTIONS"), ("/", "GET, HEAD, OPTIONS")):
        response = gateway.request_once("OPTIONS", target)
        assert response.status == 204
        assert response.head.get("Allow") == allow
    assert gateway.request_once("POST", "/", [], b"").status == 405
    assert gateway.request_once("OPTIONS", "/nothing").status == 404
