# SPDX-License-Identifier: MIT
"""WebSockets inside TLS: what test_ws.py and its like look at, once more where the bytes take another
way (bugle-wire(7), WEBSOCKET)."""

import contextlib

import pytest

import test_tls
import wire
import ws
from test_tls import pairs, secure  # noqa: F401
from test_ws_ends import ends


def secure_connect(secure, *topics, protocol=None, **query):  # noqa: F811
    connection = secure.wire()
    target = ws.target_of(topics, query.pop("publish", ()), **query)
    connection.send(ws.handshake(target, protocol, host=f"localhost:{secure.port}"))
    return secure.plain.keep(ws.Socket(connection, connection.read_head()))


def test_both_ways(secure):  # noqa: F811
    """Events, publishing, large ones, one byte a record, DELETE."""
    raw = secure_connect(secure, "a", publish=["a"])
    talks = secure_connect(secure, "a", protocol=ws.V1)
    assert talks.next_json()["type"] == "hello"
    raw.text("hello")
    assert raw.next_text() == talks.next_of("event")["data"] == "hello"
    talks.json(type="publish", ref=1, events={"topic": "a", "data": "x" * 60000})
    assert raw.next_text() == "x" * 60000
    assert {talks.next_of("event", "ack")["type"] for _ in range(2)} == {"event", "ack"}
    for piece in ws.in_pieces(ws.frame("€ in pieces") + ws.frame(b"p", ws.PING)):
        raw.send(piece)
    assert raw.next_text() == "€ in pieces" and talks.next_of("event")["data"] == "€ in pieces"
    raw.send(b"".join(ws.frame(f"{i}" * 500) for i in range(40)))
    assert raw.texts(40) == [f"{i}" * 500 for i in range(40)]
    assert [talks.next_of("event")["data"] for _ in range(40)] == [f"{i}" * 500 for i in range(40)]
    for entry in secure.plain.request("GET", "/api/streams").json()["streams"]:
        secure.plain.request("DELETE", f"/api/streams/{entry['id']}")
    ends(raw, 1000, "deleted", False)
    ends(talks, 1000, "deleted", False)
    secure.plain.wait_stat("websockets_open", 0)


def test_faults_and_ends(secure):  # noqa: F811
    """The code arrives here too: mistakes, a client's Close, ends without a word, a stop."""
    for data, code in ((ws.frame("x", mask=False), 1002), (ws.frame(b"x", ws.BINARY), 1003),
                       (ws.frame(b"\xff"), 1007), (ws.frame(b"x" * 140000), 1009)):
        opened = secure_connect(secure, "a")
        with contextlib.suppress(OSError):
            opened.send(data)
        opened.finish(code)
        opened.close()
    opened = secure_connect(secure, "a")
    opened.say_close(3000, "bye")
    opened.finish(3000, answer=False)
    gone = [secure_connect(secure, "a") for _ in range(5)]
    for each in gone:
        each.close()
    secure.plain.wait_stat("websockets_open", 0)
    last = secure_connect(secure, "a")
    secure.plain.signal()
    ends(last, 1001, "stopping", True)
    assert secure.plain.wait() == 0


@pytest.mark.gateway(settings={"stream.stall_timeout": "2s", "stream.heartbeat": "60s"})
def test_stalled(secure):  # noqa: F811
    connection = secure.wire(receive_buffer=4096)
    connection.send(ws.handshake("/ws?topic=bulk", host=f"localhost:{secure.port}"))
    opened = secure.plain.keep(ws.Socket(connection, connection.read_head()))
    healthy = secure_connect(secure, "bulk")
    for _ in range(wire.fewer(150, 100)):
        secure.plain.push_text("x" * 32000, topic="bulk")
        healthy.next_text()
    secure.plain.wait_stat("streams_stalled", 1, 12)
    opened.end()
    assert secure.plain.stat("websockets_open") == 1


def test_many_come_and_go(secure):  # noqa: F811
    before = secure.plain.sockets()
    for _ in range(wire.fewer(40, 10)):
        opened = [secure_connect(secure, "a") for _ in range(5)]
        secure.plain.push({"topic": "a", "data": "x"})
        for each in opened:
            assert each.next_text() == "x"
        opened[0].say_close()
        opened[0].finish(1000, answer=False)
        for each in opened:
            each.close()
            secure.plain.streams.remove(each)
    secure.plain.wait_stat("websockets_open", 0)
    secure.plain._drop_control()
    wire.wait_until(lambda: secure.plain.sockets() <= before + 1, 10, "sockets are given back")


def test_wants_no_other_reader(secure):  # noqa: F811
    """A wss: URL at the plain port and the other way round end soon."""
    with pytest.raises(OSError):
        test_tls.SecureWire(secure.plain.address, secure.context)
    with wire.Wire(secure.address) as connection:
        connection.send(ws.handshake())
        assert connection.read_response().status == 400


def test_early_bytes(secure):  # noqa: F811
    """Sent with the head, before the 101: refused or lost, and never a request; the gateway goes
    on."""
    for early in (ws.frame("early"), b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with secure.wire() as connection:
            connection.send(ws.handshake("/ws?topic=a&publish=a", host=f"localhost:{secure.port}")
                            + early)
            head = connection.read_head()
            assert head.status in (101, 400), head.raw
            if head.status == 101:
                opened = ws.Socket(connection, head)
                opened.text("later")
                assert opened.next_text() in ("early", "later")
    good = secure_connect(secure, "a")
    secure.plain.push({"topic": "a", "data": "x"})
    assert good.next_text() == "x"


@pytest.mark.gateway(settings={"limits.body_timeout": "1s", "stream.heartbeat": "3s"})
def test_slow_messages_and_heartbeats(secure):  # noqa: F811
    """A message that drips ends it; heartbeats come."""
    opened, inside = secure_connect(secure, "a"), secure_connect(secure, "a")
    inside.send(ws.frame("half a frame")[:-3])
    inside.finish(1008)
    assert opened.next_frame().opcode == ws.PONG
    opened.send(ws.frame("p", ws.PING))
    assert opened.next_frame() == ws.Frame(ws.FIN | ws.PONG, b"p")
