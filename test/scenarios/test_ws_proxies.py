# SPDX-License-Identifier: MIT
"""WebSockets through nginx, HAProxy and Caddy: both ways, every end, and what is refused."""

import contextlib
import json

import pytest

import fronts
import wire
import ws

PROXIES = sorted(fronts.FRONTS)


@pytest.fixture(params=PROXIES)
def proxy(request, tmp_path):
    """proxy(gateway): the port of one of them in front of it."""
    with contextlib.ExitStack() as stack:
        yield lambda gateway: stack.enter_context(
            fronts.front(request.param, gateway.port, tmp_path))


def connect(gateway, port, *topics, **options):
    """A proxy may reset what it has passed on to the end."""
    opened = ws.connect(gateway, *topics, through=wire.Wire(("127.0.0.1", port)), **options)
    opened.ends = {"closed", "reset"}
    return opened


@pytest.mark.gateway(settings={"websocket.deflate": "on"})
def test_both_ways(gateway, proxy):
    """Small and large, many at once, compressed, and bugle.v1 with its ids."""
    port = proxy(gateway)
    raw = connect(gateway, port, "a", publish=["a"])
    packed = connect(gateway, port, "a", headers=[ws.OFFER])
    talks = connect(gateway, port, "a", protocol=ws.V1)
    hello = talks.next_json()
    texts = ["hello", "€" * 20000, *[f"{i}" * 50 for i in range(60)]]
    raw.send(b"".join(ws.frame(text) for text in texts))
    assert raw.texts(len(texts)) == texts
    assert packed.texts(len(texts)) == texts
    found = [talks.next_event() for _ in texts]
    assert [each["data"] for each in found] == texts
    again = connect(gateway, port, "a", protocol=ws.V1, last_event_id=found[9]["id"])
    assert hello["id"] < found[0]["id"] and again.next_json()["id"] == found[9]["id"]
    assert again.next_event() == found[10]
    raw.send(ws.frame("p", ws.PING))
    assert raw.next_frame().payload == b"p"


def test_ends(gateway, proxy):
    """Codes and reasons come through, from either side, and a client that is gone is noticed."""
    port = proxy(gateway)
    deleted = connect(gateway, port, "a", user="anna")
    wrong = connect(gateway, port, "a")
    closes = connect(gateway, port, "a")
    gone = [connect(gateway, port, "a") for _ in range(4)]
    stopped = connect(gateway, port, "a", protocol=ws.V1)
    gateway.wait_stat("websockets_open", 8)
    gateway.request("DELETE", "/api/streams?user=anna")
    assert deleted.finish(1000) == "deleted"
    wrong.send(ws.frame(b"x", ws.BINARY))
    wrong.finish(1003)
    closes.say_close(3000, "mine")
    closes.finish(3000, answer=False)
    for number, each in enumerate(gone):
        (each.wire.reset if number % 2 else each.close)()
    gateway.wait_stat("websockets_open", 1, 15)
    gateway.signal()
    word, retry = ws.word_of(stopped.finish(1001))
    assert word == "stopping" and retry > 0
    assert json.loads(stopped.last_texts[-1])["type"] == "bye"
    assert gateway.wait() == 0


def test_refused(gateway, proxy):
    """A status comes as it is, and the proxy's connections stay good."""
    port = proxy(gateway)
    behind = type("Behind", (), {"address": ("127.0.0.1", port), "port": port})
    for _ in range(3):
        for target, protocol, headers, status in (
                ("/ws?topic=", None, [], 400), ("/ws", "mqtt", [], 400),
                ("/ws", None, [("Origin", "http://evil.example")], 403)):
            assert ws.refused(behind, target, protocol, headers).status == status
        assert ws.refused(behind, "/ws?topic=hidden").status == 403
    with connect(gateway, port, "a") as opened:
        gateway.push({"topic": "a", "data": "x"})
        assert opened.next_text() == "x"
    assert gateway.stat("websockets_opened") == 1


def test_early_bytes_are_never_a_request(gateway, proxy):
    """A client that does not wait for the 101: whatever a proxy makes of it, what stands behind the
    head is never a request."""
    port = proxy(gateway)
    hidden = (b"POST /api/push?topic=hidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
              b"\r\nx")
    for more in (hidden, ws.frame("early"), hidden * 3):
        for headers in ([], [("Sec-WebSocket-Version", "8")], [("Sec-WebSocket-Key", "x")]):
            with wire.Wire(("127.0.0.1", port)) as connection:
                connection.send(ws.handshake("/ws?topic=a", None, headers) + more)
                head = connection.read_head()
                assert head.status in (101, 400, 426), head.raw
    gateway.wait_stat("websockets_open", 0, 15)
    listed = gateway.request("GET", "/api/history").json()["events"]
    assert all(event["topics"] != ["hidden"] for event in listed)
