# SPDX-License-Identifier: MIT
"""A header's value is the same with and without blanks around it (RFC 9110 section 5.5), whoever
reads it, and what the library would misread is refused at once."""

import pytest

import test_tls
import tokens
import wire
from conftest import free_port

BLANKS = ["", " ", "\t", " \t  "]


def ask(gateway, method, target, headers, body=None):
    """With blanks as they are given."""
    with gateway.raw() as connection:
        connection.send(wire.request_bytes(method, target, headers, body,
                                           host=f"127.0.0.1:{gateway.port}"))
        return connection.read_response(method)


@pytest.mark.parametrize("blank", BLANKS, ids=repr)
def test_blanks_behind_a_value_are_no_part_of_it(gateway, blank):
    """Each of these was read in another way, or refused, with a blank behind it."""
    def with_blank(name, value):
        return [(name, f"{blank}{value}{blank}")]

    host = f"localhost:{gateway.port}"
    assert ask(gateway, "GET", "/api/stats", with_blank("Host", host)).status == 200
    assert ask(gateway, "POST", "/api/push", with_blank("Content-Type", "application/json"),
               b'{"topic":"a","data":"x"}').status == 201
    origin = with_blank("Origin", gateway.url)
    response = ask(gateway, "POST", "/api/push?topic=a", origin + [("Content-Type", "text/plain")],
                   b"x")
    assert response.status == 201
    assert response.head.get("Access-Control-Allow-Origin") == gateway.url
    keyed = with_blank("Idempotency-Key", "k1") + [("Content-Type", "text/plain")]
    first = ask(gateway, "POST", "/api/push?topic=a", keyed, b"x").json()
    plain = [("Idempotency-Key", "k1"), ("Content-Type", "text/plain")]
    assert ask(gateway, "POST", "/api/push?topic=a", plain, b"x").json()["id"] == first["id"]
    gateway.push({"topic": "a", "data": "later"})
    stream = gateway.stream("a", headers=with_blank("Last-Event-ID", first["id"]))
    assert stream.next_event().data == "later"
    codings = with_blank("Content-Encoding", "identity") + [("Content-Type", "text/plain")]
    assert ask(gateway, "POST", "/api/push?topic=a", codings, b"x").status == 201


@pytest.mark.gateway(settings={**tokens.SETTINGS, "auth.cookie": "session"})
@pytest.mark.parametrize("blank", BLANKS[1:], ids=repr)
def test_blanks_behind_credentials(gateway, blank):
    for headers in ([("Authorization", f"Bearer {tokens.ADMIN}{blank}")],
                    [("Cookie", f"session={tokens.ADMIN}{blank}")]):
        assert ask(gateway, "GET", "/api/streams", headers).status == 200, headers


@pytest.mark.gateway(settings={"server.trusted_proxies": "127.0.0.1"})
@pytest.mark.parametrize("blank", BLANKS[1:], ids=repr)
def test_blanks_behind_what_a_proxy_adds(gateway, blank):
    stream = gateway.stream("a", headers=[("X-Forwarded-For", f"192.0.2.7{blank}")])
    assert gateway.the_stream()["address"] == "192.0.2.7"
    stream.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_what_the_library_would_misread_is_refused_at_once(secure, gateway_factory, tmp_path):
    """It took `chunked ` for a body without an end, and would not wait for the 100."""
    pair, port = test_tls.Pair(tmp_path, "first"), free_port()
    gateway = gateway_factory(workers=1, settings={
        "tls.listen": f"127.0.0.1:{port}", **pair.settings()})
    context = test_tls.context_of(pair)
    for blank in BLANKS[1:]:
        for header, body in (("Transfer-Encoding: chunked", b"1\r\nx\r\n0\r\n\r\n"),
                             ("Content-Length: 1", b"x"),
                             ("Expect: 100-continue", b"")):
            request = (f"POST /api/push?topic=a HTTP/1.1\r\nHost: localhost\r\n{header}{blank}\r\n"
                       "\r\n").encode() + body
            with (test_tls.SecureWire(("127.0.0.1", port), context) if secure
                  else gateway.raw()) as connection:
                connection.send(request)
                response = connection.read_response("POST")
            assert response.status == 400, (header, blank, response)
            if not secure:
                assert "blank" in response.problem(400)["detail"]
    assert gateway.stat("events_published") == 0
