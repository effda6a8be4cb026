# SPDX-License-Identifier: MIT
"""Tickets: a short URL parameter for one EventSource, which cannot set headers."""

import json
import re
import signal
import time

import pytest

from tokens import ADMIN, SETTINGS, Key, bearer, stats, token
from wire import request_bytes, wait_until

guarded = pytest.mark.gateway(settings=SETTINGS, workers=3)


def ask_for(gateway, wish, text=ADMIN):
    return gateway.request_once("POST", "/api/tickets", bearer(text), json.dumps(wish).encode())


def ticket_of(gateway, wish, text=ADMIN):
    response = ask_for(gateway, wish, text)
    assert response.status == 201, response
    return response.json()["ticket"]


def push(gateway, event):
    response = gateway.post(event, headers=bearer(ADMIN))
    assert response.status == 201, response
    return response.json()["id"]


def refused(gateway, ticket, last=None):
    headers = [("Last-Event-ID", last)] if last else []
    response = gateway.request_once("GET", f"/events?ticket={ticket}", headers)
    assert response.problem(401)["code"] == "invalid_token"
    assert ticket not in response.body.decode()


def place_of(stream):
    """The id that a stream shows at once, though nothing is for it yet."""
    while True:
        item = stream.next_item()
        if getattr(item, "name", None) == "checkpoint":
            return item.id


@guarded
def test_a_ticket_opens_a_stream_for_its_user_and_topics(gateway):
    ticket = ticket_of(gateway, {"user": "anna", "topics": ["orders/*"]})
    assert len(ticket) < 200 and "anna" not in ticket
    stream = gateway.stream(ticket=ticket)
    assert stream.head.get("Referrer-Policy") == "no-referrer"
    push(gateway, {"data": "other", "topic": "news"})
    push(gateway, {"data": "hers", "user": "berta", "topic": "orders/1"})
    push(gateway, {"data": "mine", "user": "anna", "topic": "orders/1"})
    push(gateway, {"data": "order", "topic": "orders/2"})
    push(gateway, {"data": "only", "user": "anna"})
    assert [event.data for event in stream.events(3)] == ["mine", "order", "only"]
    for query in ("topic=news", "topic=orders/**", "user=berta"):
        more = ticket_of(gateway, {"user": "anna", "topics": ["orders/*"]})
        gateway.request_once("GET", f"/events?ticket={more}&{query}").problem(403)


@guarded
def test_a_ticket_is_for_streams_only(gateway):
    ticket = ticket_of(gateway, {"user": "anna"})
    for method, target in (("GET", "/api/stats"), ("POST", "/api/push"), ("POST", "/api/tickets"),
                           ("GET", "/api/history")):
        gateway.request_once(method, f"{target}?ticket={ticket}").problem(401)
        gateway.request_once(method, target, bearer(ticket)).problem(401)
    gateway.request_once("GET", "/events", bearer(ticket)).problem(401)


@guarded
def test_the_browser_comes_back_and_a_thief_does_not(gateway):
    """The page's own EventSource sends the last id it has; the URL alone is worth nothing once it
    is used, whichever worker is asked."""
    ticket = ticket_of(gateway, {"user": "anna", "topics": ["a"]})
    stream = gateway.stream(ticket=ticket)
    place = place_of(stream)
    for _ in range(6):
        refused(gateway, ticket)
        refused(gateway, ticket, "nonsense")
        refused(gateway, ticket, f"{'x' * 12}-{'9' * 16}")
        refused(gateway, ticket, place[:12] + "-9999999999999999")
    first = push(gateway, {"data": "1", "topic": "a"})
    assert stream.next_event().id == first
    stream.close()
    gateway.request("GET", "/readyz")
    for number in range(2, 8):
        push(gateway, {"data": str(number), "topic": "a"})
        again = gateway.stream(ticket=ticket, resume=first)
        event = again.next_event()
        assert event.data == str(number)
        first = event.id
        again.close()


@guarded
def test_the_newer_use_ends_the_older(gateway):
    """And that is counted and logged."""
    ticket = ticket_of(gateway, {"user": "anna", "topics": ["a"]})
    older = gateway.stream(ticket=ticket)
    place = place_of(older)
    newer = gateway.stream(ticket=ticket, resume=place)
    older.read_to_end()
    assert older.end == "final chunk"
    push(gateway, {"data": "x", "topic": "a"})
    assert newer.next_event().data == "x"
    assert stats(gateway)["streams_replaced"] == 1
    gateway.wait_log("its ticket opened another stream")
    assert ticket not in gateway.log()


@guarded
def test_a_ticket_that_is_fought_over_is_revoked(gateway):
    """More than five times in a minute, of which those that come at once are one."""
    ticket = ticket_of(gateway, {"user": "anna"})
    stream = gateway.stream(ticket=ticket)
    place = place_of(stream)
    for _ in range(5):
        stream, older = gateway.stream(ticket=ticket, resume=place), stream
        older.read_to_end()
        time.sleep(0.2)
    refused(gateway, ticket, place)
    stream.read_to_end()
    refused(gateway, ticket, place)


def live_streams(gateway):
    return gateway.request("GET", "/api/streams", bearer(ADMIN)).json()["streams"]


@guarded
def test_uses_at_once_are_one_stream(gateway):
    """Whatever they show, and whichever workers they come to."""
    for round_ in range(4):
        ticket = ticket_of(gateway, {"user": f"u{round_}"})
        place = None
        if round_ % 2 == 1:
            with gateway.stream(ticket=ticket) as stream:
                place = place_of(stream)
            wait_until(lambda: not live_streams(gateway), what="the end of the first stream")
        last = [("Last-Event-ID", place)] if place else []
        wires = [gateway.raw() for _ in range(8)]
        for wire in wires:
            wire.send(request_bytes("GET", f"/events?ticket={ticket}", last))
        heads = [wire.read_head() for wire in wires]
        assert {head.status for head in heads} <= {200, 401}
        wait_until(lambda: len(live_streams(gateway)) == 1, what="one stream")
        for wire in wires:
            wire.close()
        wait_until(lambda: not live_streams(gateway), what="the end of all")


@guarded
def test_a_page_may_open_its_stream_twice(gateway):
    """As a framework has it that mounts a component, takes it down and mounts it again."""
    ticket = ticket_of(gateway, {"user": "anna"})
    with gateway.stream(ticket=ticket):
        refused(gateway, ticket)
    wait_until(lambda: not live_streams(gateway), what="the end of the first stream")
    stream = gateway.stream(ticket=ticket)
    push(gateway, {"data": "x", "user": "anna"})
    assert stream.next_event().data == "x"
    refused(gateway, ticket)


@pytest.mark.gateway(settings={**SETTINGS, "limits.tickets_per_user": 3}, workers=3)
def test_a_user_fills_no_more_than_its_share(gateway):
    anna = token("anna", subscribe=["a"])
    wish = {"topics": ["a"], "ttl": 3600}
    for _ in range(3):
        gateway.stream(ticket=ticket_of(gateway, wish, anna)).close()
    wait_until(lambda: not live_streams(gateway), what="the end of the streams")
    more = ticket_of(gateway, wish, anna)
    response = gateway.request_once("GET", f"/events?ticket={more}")
    assert response.problem(429)["code"] == "too_many_tickets_of_user"
    assert 500 < int(response.head.get("Retry-After")) <= 600  # the tickets end with the token
    # an EventSource, for which every other answer is the end
    with gateway.raw() as wire:
        wire.send(request_bytes("GET", f"/events?ticket={more}", [("Accept", "text/event-stream")]))
        assert wire.read_head().status == 200
        delay = re.search(rb"retry: ([0-9]+)\n", wire.read_to_end())
    assert 500000 < int(delay[1]) <= 601000
    gateway.stream(ticket=ticket_of(gateway, wish, token("berta", subscribe=["a"])))
    assert stats(gateway)["tickets_refused"] == 2
    wait_until(lambda: stats(gateway)["tickets_used"] == 4, what="the count of used tickets")


@pytest.mark.gateway(settings={**SETTINGS, "limits.tickets_per_user": 2}, workers=1)
def test_used_tickets_are_forgotten_for_newer_ones(gateway):
    """The one whose stream ended longest ago goes, and comes too late from then on."""
    anna = token("anna", subscribe=["a"])
    first = ticket_of(gateway, {"topics": ["a"], "ttl": 1}, anna)
    with gateway.stream(ticket=first) as stream:
        place = place_of(stream)
    wait_until(lambda: not live_streams(gateway), what="the end of the first stream")
    time.sleep(1)  # its ttl
    for _ in range(2):
        gateway.stream(ticket=ticket_of(gateway, {"topics": ["a"]}, anna))
    assert stats(gateway)["tickets_forgotten"] == 1
    refused(gateway, first, place)


@guarded
def test_a_long_user_makes_no_ticket_that_is_too_long(gateway):
    """The user of the token counts, though the body does not name it."""
    text = token("u" * 256, subscribe=["**"])
    response = ask_for(gateway, {"topics": [f"{n:064}" for n in range(16)]}, text)
    assert response.problem(422)["pointer"] == "/topics"
    fits = {"topics": [f"{n:048}" for n in range(16)]}
    stream = gateway.stream(ticket=ticket_of(gateway, fits, text))
    push(gateway, {"data": "x", "user": "u" * 256, "topic": f"{3:048}"})
    assert stream.next_event().data == "x"


@guarded
def test_the_body_of_a_wish_is_small(gateway):
    largest = {"user": "\u00e9" * 128, "topics": ["\u00e9" * 24] * 16}
    text = json.dumps(largest).replace("\u00e9", "\\u00e9")
    assert gateway.request_once("POST", "/api/tickets", bearer(ADMIN),
                                text.ljust(8192).encode()).status == 201
    large = b" " * 8193
    assert "8192" in gateway.request_once("POST", "/api/tickets", bearer(ADMIN),
                                          large).problem(413)["detail"]
    chunked = [*bearer(ADMIN), ("Transfer-Encoding", "chunked")]
    with gateway.raw() as wire:
        wire.send(request_bytes("POST", "/api/tickets", chunked) + b"2001\r\n" + large)
        assert wire.read_response().problem(413)["code"] == "body_too_large"
    deep = b"[" * 100 + b"]" * 100
    response = gateway.request_once("POST", "/api/tickets", bearer(ADMIN), deep)
    assert response.problem(400)["code"] == "json_too_deep"
    response = gateway.request_once("POST", "/api/tickets", bearer(ADMIN), b'{"user":"a"}\0')
    assert response.problem(400)["code"] == "invalid_json"


@guarded
def test_asking_for_the_head_uses_nothing_up(gateway):
    ticket = ticket_of(gateway, {"user": "anna"})
    for _ in range(3):
        assert gateway.request_once("HEAD", f"/events?ticket={ticket}").status == 200
    gateway.stream(ticket=ticket)


@guarded
def test_forged_tickets_are_refused(gateway):
    ticket = ticket_of(gateway, {"user": "anna"})
    for text in ("", "x", ticket[:-1], ticket + "A", ticket[:-1] + "*", ticket.swapcase(),
                 ADMIN, "A" * 124, ticket[:20] + ("A" if ticket[20] != "A" else "B") + ticket[21:]):
        refused(gateway, text or "%20")
    gateway.stream(ticket=ticket)


def test_a_ticket_survives_a_restart(gateway_factory, tmp_path):
    """With a store on disk: the page comes back to where it was, and gets what it missed."""
    gateway = gateway_factory(settings=SETTINGS, store=f"sqlite:{tmp_path}/history.db", workers=2)
    used = ticket_of(gateway, {"user": "anna", "topics": ["a"]})
    fresh = ticket_of(gateway, {"user": "anna", "topics": ["a"]})
    late = ticket_of(gateway, {"user": "anna", "topics": ["a"], "ttl": 1})
    before = push(gateway, {"data": "0", "topic": "a"})
    stream = gateway.stream(ticket=used)
    place = place_of(stream)
    push(gateway, {"data": "1", "topic": "a"})
    stream.close()
    gateway.kill()
    gateway.start()
    again = gateway.stream(ticket=used, resume=place)
    assert again.next_event().data == "1"
    refused(gateway, used)
    gateway.stream(ticket=fresh)
    time.sleep(1.1)  # its ttl
    refused(gateway, late)
    gateway.stream(ticket=late, resume=before)


def test_a_ticket_ends_with_the_key_that_vouched_for_it(gateway_factory, tmp_path):
    conf = tmp_path / "bugle.conf"
    other = Key("HS256", "x" * 40)
    conf.write_text(f"[auth]\nmode = token\njwt_key = {other.setting(None)}, "
                    f"{Key('HS256').setting(None)}\n")
    gateway = gateway_factory(args=["--config", str(conf)])
    admin = token(admin=True, key=other)
    used, fresh = (ticket_of(gateway, {"user": "anna"}, admin) for _ in range(2))
    stream = gateway.stream(ticket=used)
    conf.write_text(f"[auth]\nmode = token\njwt_key = {Key('HS256').setting(None)}\n")
    gateway.signal(signal.SIGHUP)
    stream.read_to_end()
    refused(gateway, fresh)


@guarded
def test_a_ticket_ends_with_the_token_it_was_made_with(gateway):
    """And not after it."""
    stream = gateway.stream(ticket=ticket_of(gateway, {"topics": ["a"]}, token(
        "anna", subscribe=["a"], ttl=2)))
    stream.read_to_end()
    assert stream.end == "final chunk"


@guarded
def test_a_user_may_have_a_ticket_for_itself(gateway):
    """A page that has a token in its memory needs no cookie."""
    text = token("anna", subscribe=["a/*"])
    stream = gateway.stream(ticket=ticket_of(gateway, {"topics": ["a/1"]}, text))
    push(gateway, {"data": "x", "user": "anna", "topic": "a/1"})
    assert stream.next_event().data == "x"
    for wish in ({"user": "berta"}, {"topics": ["b"]}, {"topics": ["a/**"]}, {"topics": ["a/1", "b"]},
                 {"user": "berta", "topics": ["a/1"]}):
        assert ask_for(gateway, wish, text).problem(403)["code"] == "missing_right", wish
    gateway.request_once("POST", "/api/tickets", (), b"{}").problem(401)


@guarded
@pytest.mark.parametrize("wish, pointer", [
    ({}, "/topics"), ({"user": ""}, "/user"), ({"user": 1}, "/user"), ({"user": None}, "/user"),
    ({"topics": []}, "/topics"), ({"topics": "a"}, "/topics"), ({"topics": ["a*"]}, "/topics"),
    ({"topics": ["a"] * 17}, "/topics"), ({"topics": ["x" * 250] * 5}, "/topics"),
    ({"user": "a", "ttl": 0}, "/ttl"), ({"user": "a", "ttl": 3601}, "/ttl"),
    ({"user": "a", "ttl": "60"}, "/ttl"), ({"user": "a", "ttl": 1.5}, "/ttl"), ({"user": "a", "other": 1}, None),
])
def test_wishes_that_make_no_sense(gateway, wish, pointer):
    assert ask_for(gateway, wish).problem(422).get("pointer") == pointer


def test_without_tokens_there_are_no_tickets(gateway):
    response = gateway.request("POST", "/api/tickets", body=b'{"user":"anna"}')
    assert response.problem(409)["code"] == "no_tickets"
