# SPDX-License-Identifier: MIT
"""Who may read and who may publish, with auth.mode=token."""

import http.server
import json
import os
import signal
import threading
import time

import pytest

import wire
from tokens import (ADMIN, API_KEY, SECRET, SETTINGS, Key, api_key_item, bearer, stats, token)

guarded = pytest.mark.gateway(settings=SETTINGS)
CHALLENGE = 'Bearer realm="bugle"'


def push(gateway, event, text=ADMIN):
    return gateway.post(event, headers=bearer(text))


def pushed(gateway, event, text=ADMIN):
    response = push(gateway, event, text)
    assert response.status == 201, response
    return response.json()


def listen(gateway, text, *topics, **options):
    return gateway.stream(*topics, headers=bearer(text) if text else (), **options)


def refused(gateway, target, headers=(), method="GET", body=None):
    return gateway.request_once(method, target, headers, body)


# credentials


@guarded
def test_nobody_gets_in_without_credentials(gateway):
    """401, and no word of an error, since there was nothing wrong with what was not there."""
    for method, target in (("GET", "/events"), ("GET", "/events?topic=a"), ("POST", "/api/push"),
                           ("GET", "/api/history"), ("GET", "/api/streams"), ("GET", "/api/stats"),
                           ("DELETE", "/api/streams?user=u"), ("DELETE", f"/api/streams/{'0' * 16}"),
                           ("POST", "/api/backup"), ("GET", "/api/evictions"), ("HEAD", "/events")):
        response = refused(gateway, target, method=method)
        assert response.status == 401, (method, target, response)
        assert response.head.get("WWW-Authenticate") == CHALLENGE
        if method != "HEAD":
            assert response.json()["code"] == "no_credentials"


@guarded
def test_health_and_the_page_are_open(gateway):
    """Also with a credential that is no good: a monitor has none, a browser an old one."""
    for headers in ((), bearer("nonsense")):
        for target in ("/healthz", "/readyz", "/"):
            assert gateway.request_once("GET", target, headers).status == 200, target


@guarded
def test_bad_credentials_do_not_become_none(gateway):
    for header in ("Bearer x", "Bearer ", "Bearer", "Basic YTpi", "bearer a.b.c", ADMIN, ""):
        response = refused(gateway, "/api/stats", [("Authorization", header)])
        assert response.status == 401, (header, response)
        assert 'error="invalid_token"' in response.head.get("WWW-Authenticate"), header


@guarded
def test_the_scheme_is_read_in_any_case(gateway):
    for scheme in ("Bearer", "bearer", "BEARER"):
        response = gateway.request_once("GET", "/api/stats", [("Authorization", f"{scheme} {ADMIN}")])
        assert response.status == 200


@guarded
def test_refusal_does_not_wait_for_the_body(gateway):
    with gateway.raw() as connection:
        connection.send(gateway.request_bytes("POST", "/api/push?topic=a", [
            ("Content-Type", "text/plain"), ("Content-Length", "100000")]))
        connection.read_response().problem(401)


# rights


@guarded
def test_looking_after_it_needs_the_admin_right(gateway):
    text = token("anna", publish=["**"], subscribe=["**"])
    for method, target in (("GET", "/api/streams"), ("GET", "/api/stats"),
                           ("DELETE", "/api/streams?user=anna"), ("POST", "/api/backup")):
        response = refused(gateway, target, bearer(text), method)
        assert response.problem(403)["code"] == "missing_right"
        assert response.head.get("WWW-Authenticate") == (
            f'{CHALLENGE}, error="insufficient_scope", scope="admin"')


PUBLISH_CASES = [
    (["orders/**"], ["orders/1"], True),
    (["orders/**"], ["orders/1/items"], True),
    (["orders/**"], ["orders"], False),
    (["orders/**"], ["news"], False),
    (["orders/*"], ["orders/1"], True),
    (["orders/*"], ["orders/1/items"], False),
    (["orders/*"], ["orders/1", "orders/2"], True),
    (["orders/*"], ["orders/1", "news"], False),
    (["orders/*", "news"], ["orders/1", "news"], True),
    (["a"], ["A"], False),
    (["a/*/c"], ["a/b/c"], True),
    (["a/*/c"], ["a/b/d"], False),
    (["*"], [], False),
    (["a", "*/**"], [], False),
    (["**"], [], True),
    (["**"], ["anything/at/all"], True),
    ([], ["a"], False),
]


@guarded
@pytest.mark.parametrize("publish, topics, allowed", PUBLISH_CASES)
def test_publishing_needs_every_topic_covered(gateway, publish, topics, allowed):
    event = {"data": "x", **({"topics": topics} if topics else {})}
    response = push(gateway, event, token(publish=publish))
    if allowed:
        assert response.status == 201, response
        return
    assert response.problem(403)["code"] == "missing_right"
    assert 'scope="publish"' in response.head.get("WWW-Authenticate")
    assert stats(gateway)["events_published"] == 0


@guarded
def test_many_rights_are_looked_at_beside_the_loop(gateway):
    """What a body costs is its bytes and what the caller's rights add."""
    deep = "/".join("a" * 31)
    event = {"topics": [f"{deep}/{i}" for i in range(16)], "data": "x" * 1000}
    few, many = [f"{deep}/*"], [f"{deep}/{i}" for i in range(64)]
    for publish, aside, topics in ((few, 0, []), (many, 1, []), (many, 2, [f"{deep}/no"])):
        event["topics"] = event["topics"][len(topics):] + topics
        response = push(gateway, event, token(publish=publish))
        assert response.status == (403 if topics else 201), response
        assert stats(gateway)["publishes_aside"] == aside
    assert stats(gateway)["requests_forbidden"] == 1


@guarded
def test_an_event_for_users_alone_needs_everything(gateway):
    """It reaches whoever is named, whatever the topics."""
    anna = {"data": "x", "user": "anna"}
    problem = push(gateway, anna, token(publish=["a/**"])).problem(403)
    assert "no topic" in problem["detail"] and "pointer" not in problem, problem
    assert "every stream" not in problem["detail"], problem
    problem = push(gateway, [{"data": "x"}], token(publish=["a/**"])).problem(403)
    assert "every stream" in problem["detail"] and problem["pointer"] == "/0", problem
    push(gateway, {"data": "x", "user": "anna", "topic": "a/b"}, token(publish=["a/**"])).json()
    pushed(gateway, {"data": "x", "user": "anna"}, token(publish=["**"]))


@guarded
def test_one_event_that_is_not_covered_stops_all(gateway):
    events = [{"data": "1", "topic": "a/1"}, {"data": "2", "topic": "b/2"}]
    response = push(gateway, events, token(publish=["a/*"]))
    problem = response.problem(403)
    assert problem["pointer"] == "/1/topic" and "b/2" in problem["detail"], problem
    assert stats(gateway)["events_published"] == 0


SUBSCRIBE_CASES = [
    (["orders/*"], "orders/1", True),
    (["orders/*"], "orders/*", True),
    (["orders/*"], "orders/**", False),
    (["orders/*"], "*/1", False),
    (["orders/*"], "orders", False),
    (["orders/*"], "**", False),
    (["orders/**"], "orders/*/items", True),
    (["orders/**"], "orders/**", True),
    (["a", "b"], "*", False),
    (["**"], "**", True),
    ([], "a", False),
]


@guarded
@pytest.mark.parametrize("subscribe, topic, allowed", SUBSCRIBE_CASES)
def test_reading_needs_every_topic_covered(gateway, subscribe, topic, allowed):
    text = token("anna", subscribe=subscribe)
    if allowed:
        listen(gateway, text, topic)
        return
    problem = refused(gateway, wire.target_of("/events", {"topic": topic}), bearer(text)).problem(403)
    assert problem["code"] == "missing_right" and topic in problem["detail"]


@guarded
def test_topics_that_are_there_look_like_those_that_are_not(gateway):
    """Whoever may not read a topic does not learn whether it has events."""
    pushed(gateway, {"data": "x", "topic": "secret/there"})
    answers = []
    for topic in ("secret/there", "secret/never"):
        response = refused(gateway, f"/events?topic={topic}&since=earliest",
                           bearer(token("eve", subscribe=["open/*"])))
        problem = response.problem(403)
        answers.append((problem["code"], problem["detail"].replace(topic, ""), response.head.names()))
    assert answers[0] == answers[1]


# who gets what


@guarded
def test_a_stream_that_names_no_topic_gets_what_it_may_read(gateway):
    stream = listen(gateway, token("anna", subscribe=["a/*", "news"]))
    for topic in ("b/1", "a/1", "secret", "a/1/2", "news"):
        pushed(gateway, {"data": topic, "topic": topic})
    pushed(gateway, {"data": "all"})
    assert [event.data for event in stream.events(3)] == ["a/1", "news", "all"]


@guarded
def test_a_token_without_patterns_gets_what_names_its_user(gateway):
    stream = listen(gateway, token("anna"))
    pushed(gateway, {"data": "topic", "topic": "a"})
    pushed(gateway, {"data": "other", "user": "berta"})
    pushed(gateway, {"data": "mine", "user": "anna"})
    pushed(gateway, {"data": "all"})
    assert [event.data for event in stream.events(2)] == ["mine", "all"]


@guarded
def test_the_user_is_the_sub_and_no_other(gateway):
    for user in ("berta", "Anna", "anna ", "ann"):
        response = refused(gateway, wire.target_of("/events", {"user": user}),
                           bearer(token("anna", subscribe=["**"])))
        assert response.problem(403)["code"] == "foreign_user"
    refused(gateway, "/events?user=anna", bearer(token(subscribe=["**"]))).problem(403)
    stream = listen(gateway, token("anna", subscribe=["**"]), user="anna")
    pushed(gateway, {"data": "mine", "user": "anna"})
    assert stream.next_event().data == "mine"


@guarded
def test_a_number_as_sub_is_its_digits(gateway):
    stream = listen(gateway, token(4711, subscribe=["**"]))
    pushed(gateway, {"data": "x", "user": 4711})
    assert stream.next_event().data == "x"


@pytest.mark.gateway(settings=SETTINGS, workers=2)
def test_a_private_event_reaches_its_user_alone(gateway):
    """Live, by every pattern, and replayed from every place: of many users one gets it."""
    users = [f"user{number}" for number in range(wire.fewer(60, 10))]
    start = pushed(gateway, {"data": "start", "topic": "t"})["id"]
    live = {user: listen(gateway, token(user, subscribe=["**"])) for user in users}
    for user in users:
        pushed(gateway, {"data": user, "user": user})
        pushed(gateway, {"data": f"t {user}", "user": user, "topic": "t/x"})
    pushed(gateway, {"data": "end"})
    for user, stream in live.items():
        assert [e.data for e in stream.events(3)] == [user, f"t {user}", "end"], user
    for options in ({"resume": start}, {"since": "earliest"}, {"since": "10m"}):
        for topics in ((), ("**",), ("t/*", "t/x", "*/x")):
            stream = listen(gateway, token(users[3], subscribe=["**"]), *topics, **options)
            seen = [e.data for e in stream.events_until("end")]
            assert [data for data in seen if data != "start"] == [
                users[3], f"t {users[3]}"], (options, topics)


@pytest.mark.gateway(settings={**SETTINGS, "auth.query_token": "on"})
def test_one_of_many_users(gateway):
    """Of thousands who listen to everything, a private event reaches one, and a token a user costs
    no more than one signature each."""
    users_n = int(os.environ.get("BUGLE_TEST_USERS") or wire.fewer(1000, 100))
    streams = gateway.stream_many(
        [{"access_token": token(f"user{number}", subscribe=["**"])} for number in range(users_n)])
    chosen = [0, users_n // 2, users_n - 1]
    for number in chosen:
        pushed(gateway, {"data": f"for {number}", "user": f"user{number}", "topic": "mail"})
    pushed(gateway, {"data": "the end"})
    wire.pump_until(streams, lambda stream: b"data: the end" in stream.payload)
    got = {number: bytes(stream.payload) for number, stream in enumerate(streams)
           if b"data: for " in stream.payload}
    assert sorted(got) == chosen
    for number in chosen:
        assert got[number].count(b"data: for ") == 1 and b"data: for %d\n" % number in got[number]
    figures = stats(gateway)
    assert figures["events_delivered"] == users_n + len(chosen)
    assert figures["tokens_verified"] <= users_n + 2


@guarded
def test_probing_finds_nothing(gateway):
    """A reader of a/* tries for b/* by pattern, by place and by history."""
    pushed(gateway, {"data": "secret", "topic": "b/1"})
    pushed(gateway, {"data": "secret", "topic": "b/1", "user": "berta"})
    first = pushed(gateway, {"data": "ours", "topic": "a/1"})["id"]
    pushed(gateway, {"data": "end", "topic": "a/2"})
    eve = token("eve", subscribe=["a/*"])
    for query in ("topic=b/1", "topic=b/*", "topic=*/1", "topic=**", "topic=*", "topic=a/**",
                  "topic=a/1&topic=b/1", "topics=b/1", "user=berta", "topic=a/1&user=berta"):
        for place in ("", "&since=earliest", f"&last_event_id={first}"):
            refused(gateway, f"/events?{query}{place}", bearer(eve)).problem(403)
    for query in ("?topic=b/1", "?topic=**", "?user=berta", "?topic=a/1&topic=b/*&last=5"):
        refused(gateway, f"/api/history{query}", bearer(eve)).problem(403)
    for query in ("", "?topic=a/*", "?user=eve", "?last=9"):
        told = gateway.request("GET", f"/api/history{query}", bearer(eve)).json()["events"]
        assert [event["data"] for event in told] == ["ours", "end"]
    stream = listen(gateway, eve, since="earliest")
    assert [event.data for event in stream.events_until("end")] == ["ours"]


# readers without a token


@pytest.mark.gateway(settings={**SETTINGS, "auth.anonymous": "public/**,news"})
def test_public_topics_are_read_by_anybody_and_private_ones_are_not(gateway):
    stream = gateway.stream()
    named = gateway.stream("public/*")
    for topic in ("private", "public/1", "news", "public/2/3"):
        pushed(gateway, {"data": topic, "topic": topic})
    pushed(gateway, {"data": "for anna", "user": "anna", "topic": "public/1"})
    pushed(gateway, {"data": "end", "topic": "public/9"})
    assert [e.data for e in stream.events_until("end")] == ["public/1", "news", "public/2/3"]
    assert [e.data for e in named.events_until("end")] == ["public/1"]
    for query in ("topic=private", "topic=**", "topic=*", "topic=public/1&topic=private"):
        response = refused(gateway, f"/events?{query}")
        assert response.problem(401)["code"] == "no_credentials", query
        assert response.head.get("WWW-Authenticate") == CHALLENGE
    refused(gateway, "/events?user=anna").problem(403)
    refused(gateway, "/events?topic=news", bearer("bad")).problem(401)
    refused(gateway, "/api/history?topic=news").problem(401)
    refused(gateway, "/api/push?topic=news", method="POST", body=b"x").problem(401)
    both = listen(gateway, token("anna", subscribe=["private"]), since="earliest")
    assert len(both.events_until("end")) == 5


@pytest.mark.gateway(settings={**SETTINGS, "auth.anonymous": "**,news/*",
                               "auth.private": "secret/**,*/internal,plain"})
def test_what_is_marked_private_is_not_public(gateway):
    everything = gateway.stream()  # of `**` too little is sure to be public, of news/* it is not
    shop = gateway.stream("shop/1", "shop/1/*")
    for topic in ("secret/1", "plain", "shop/internal", "shop/1", "shop/1/2"):
        pushed(gateway, {"data": topic, "topic": topic})
    pushed(gateway, {"data": "end", "topic": "shop/1"})
    assert [e.data for e in shop.events_until("end")] == ["shop/1", "shop/1/2"]
    pushed(gateway, {"data": "end"})
    assert [e.data for e in everything.events_until("end")] == []
    for query in ("topic=secret/1", "topic=secret/**", "topic=**", "topic=*", "topic=*/*",
                  "topic=shop/*", "topic=shop/internal", "topic=plain", "topic=shop/1&topic=plain"):
        assert refused(gateway, f"/events?{query}").problem(401)["code"] == "no_credentials", query
        refused(gateway, f"/events?{query}&since=earliest").problem(401)
    reader = token("anna", subscribe=["secret/*"])
    granted = gateway.stream("secret/1", "shop/1", since="earliest", headers=bearer(reader))
    assert granted.events_until("end")[0].data == "secret/1"


# API keys


@pytest.mark.gateway(settings={"auth.mode": "token", "auth.api_key": ",".join([
    api_key_item("shop", "publish=orders/** publish=news"),
    api_key_item("ops", "admin", "bugle_ops_abcdefghijklmnopqrstuvwxyz0123456789"),
])})
def test_api_keys_have_their_rights(gateway):
    ops = "bugle_ops_abcdefghijklmnopqrstuvwxyz0123456789"
    assert push(gateway, {"data": "x", "topic": "orders/1"}, API_KEY).status == 201
    assert push(gateway, {"data": "x", "topic": "news"}, API_KEY).status == 201
    push(gateway, {"data": "x", "topic": "other"}, API_KEY).problem(403)
    push(gateway, {"data": "x"}, API_KEY).problem(403)
    refused(gateway, "/api/stats", bearer(API_KEY)).problem(403)
    refused(gateway, "/events?topic=news", bearer(API_KEY)).problem(403)
    assert gateway.request_once("GET", "/api/stats", bearer(ops)).status == 200
    push(gateway, {"data": "x", "topic": "news"}, ops).problem(403)
    for text in (API_KEY[:-1], API_KEY + "x", API_KEY.upper(), "", "shop"):
        push(gateway, {"data": "x", "topic": "news"}, text).problem(401)


@guarded
def test_idempotency_keys_are_the_callers_own(gateway):
    """The same key of two callers is two keys; of one caller with a renewed token it is one."""
    event = {"data": "x", "topic": "t", "idempotency_key": "k" * 256}
    first = pushed(gateway, event, token("anna", publish=["**"], ttl=600))
    again = pushed(gateway, event, token("anna", publish=["**"], ttl=700))
    other = pushed(gateway, {**event, "data": "y"}, token("berta", publish=["**"]))
    assert again == {**first, "duplicate": True}
    assert other["duplicate"] is False and other["id"] != first["id"]
    push(gateway, {**event, "data": "z"}, token("anna", publish=["**"])).problem(422)
    push(gateway, {**event, "idempotency_key": "k" * 257}, token("anna", publish=["**"])).problem(422)


# cookies and URLs

COOKIE = {**SETTINGS, "auth.cookie": "bugle", "auth.origins": "https://app.example"}
LISTED = [("Origin", "https://app.example")]


def cookie(text, name="bugle"):
    return [("Cookie", f"{name}={text}")]


@pytest.mark.gateway(settings=COOKIE)
def test_a_cookie_is_a_credential(gateway):
    text = token("anna", publish=["**"], subscribe=["**"])
    stream = gateway.stream(headers=cookie(text))
    assert gateway.request_once("POST", "/api/push?topic=a", cookie(text) + LISTED, b"x").status == 201
    assert stream.next_event().data == "x"
    for headers in (cookie("x"), cookie(text) + cookie(text), cookie(""),
                    [("Cookie", f"bugle={text}; bugle=x")]):
        assert refused(gateway, "/events", headers).status in (400, 401), headers
    refused(gateway, "/events", cookie(text, "other")).problem(401)
    # a header says more than what a browser adds by itself
    refused(gateway, "/events", cookie(text) + bearer("x")).problem(401)


@pytest.mark.gateway(settings=COOKIE)
def test_a_cookie_counts_only_for_listed_pages(gateway):
    """A browser sends it along whoever asks."""
    text = token("anna", publish=["**"], subscribe=["**"], admin=True)
    for origin in (None, "https://evil.example", "https://app.example.evil.example", "null"):
        headers = cookie(text) + ([("Origin", origin)] if origin else [])
        for method, target in (("POST", "/api/push?topic=a"), ("DELETE", "/api/streams?user=x")):
            response = refused(gateway, target, headers, method, b"x" if method == "POST" else None)
            assert response.problem(403)["code"] == "foreign_origin", (origin, method)
    refused(gateway, "/events", cookie(text) + [("Origin", "https://evil.example")]).problem(403)
    assert gateway.request_once("GET", "/api/stats", cookie(text)).json()["events_published"] == 0
    answer = gateway.request_once("GET", "/api/stats", cookie(text) + LISTED)
    assert answer.head.get("Access-Control-Allow-Credentials") == "true"
    assert answer.head.get("Access-Control-Allow-Origin") == "https://app.example"


@guarded
def test_tokens_in_the_url_are_not_taken_unless_allowed(gateway):
    text = token("anna", subscribe=["**"])
    response = refused(gateway, f"/events?access_token={text}")
    assert response.problem(401)["code"] == "invalid_token"
    assert text not in response.body.decode()


@pytest.mark.gateway(settings={**SETTINGS, "auth.query_token": "on"})
def test_tokens_in_the_url_are_taken_where_allowed(gateway):
    text = token("anna", subscribe=["**"], admin=True)
    stream = gateway.stream(access_token=text)
    assert stream.head.get("Referrer-Policy") == "no-referrer"
    assert "private" in stream.head.get("Cache-Control")
    pushed(gateway, {"data": "x", "user": "anna"})
    assert stream.next_event().data == "x"
    refused(gateway, "/events?access_token=x").problem(401)
    refused(gateway, f"/api/stats?access_token={text}").problem(401)


# ends


@pytest.mark.gateway(settings=SETTINGS, workers=1)
def test_streams_end_with_their_tokens_when_daemons_come_and_go(gateway):
    """When the first is due is noted by daemon, side by side: when one stops, the last takes its
    place, and the next one that starts the place of that."""
    def open_many(ttl):
        texts = [token(f"user{i}", subscribe=["**"], ttl=ttl) for i in range(100)]
        return [listen(gateway, text) for text in texts]

    crowd = open_many(600)
    daemons = stats(gateway)["cells"]
    for stream in crowd[:80]:
        stream.close()
    wire.wait_until(lambda: stats(gateway)["cells"] < daemons, what="one of them is stopped")
    later = open_many(int(wire.seconds(5)))
    assert stats(gateway)["cells"] >= daemons
    for stream in later:
        stream.read_to_end()
        assert stream.end == "final chunk", stream.end
    assert stats(gateway)["streams_expired"] == len(later)


@guarded
def test_a_stream_ends_with_its_token(gateway):
    """With the final chunk, and soon; another one stays."""
    short = listen(gateway, token("anna", subscribe=["**"], ttl=2))
    long = listen(gateway, token("anna", subscribe=["**"], ttl=600))
    began = time.monotonic()
    short.read_to_end()
    assert short.end == "final chunk" and time.monotonic() - began < wire.seconds(7), short.end
    assert stats(gateway)["streams_expired"] == 1
    pushed(gateway, {"data": "still"})
    assert long.next_event().data == "still"
    # within the leeway it may ask, but not begin a stream that would end at once
    late = token("anna", subscribe=["**"], admin=True, ttl=-5)
    assert gateway.request_once("GET", "/api/stats", bearer(late)).status == 200
    refused(gateway, "/events", bearer(late)).problem(401)


def test_a_removed_key_ends_its_streams(gateway_factory, tmp_path):
    """By a reload; those of a key that stays are left alone."""
    stays, goes = Key("HS256"), Key("HS256", SECRET[::-1])
    conf = tmp_path / "bugle.conf"
    head = "[auth]\nmode = token\n"
    shop = api_key_item("shop", "subscribe")
    conf.write_text(f"{head}jwt_key = {stays.setting(None)}, {goes.setting(None)}\napi_key = {shop}\n")
    gateway = gateway_factory(args=["--config", str(conf)])
    kept = listen(gateway, token("a", subscribe=["**"], key=stays))
    lost = listen(gateway, token("b", subscribe=["**"], key=goes))
    lost_too = listen(gateway, API_KEY)
    # what is no good changes nothing
    conf.write_text(f"{head}jwt_key = HS256:short\n")
    gateway.signal(signal.SIGHUP)
    wire.wait_until(lambda: "reload refused" in gateway.log(), 5)
    assert stats(gateway)["streams_open"] == 3
    conf.write_text(f"{head}jwt_key = {stays.setting(None)}\n")
    gateway.signal(signal.SIGHUP)
    lost.read_to_end()
    lost_too.read_to_end()
    assert (lost.end, lost_too.end) == ("final chunk", "final chunk")
    refused(gateway, "/events", bearer(API_KEY)).problem(401)
    refused(gateway, "/events", bearer(token("b", subscribe=["**"], key=goes))).problem(401)
    pushed(gateway, {"data": "x"})
    assert kept.next_event().data == "x"


@guarded
def test_delete_ends_the_streams_of_a_user(gateway):
    first, second = (listen(gateway, token("anna", subscribe=["**"])) for _ in range(2))
    other = listen(gateway, token("berta", subscribe=["**"]))
    response = gateway.request("DELETE", "/api/streams?user=anna", bearer(ADMIN))
    assert response.json() == {"ended": 2}
    first.read_to_end()
    second.read_to_end()
    assert first.end == second.end == "final chunk"
    pushed(gateway, {"data": "x"})
    assert other.next_event().data == "x"


# key sets


class KeyServer:
    """Serves a key set, or whatever else it is told to."""

    def __init__(self):
        self.answer = (200, b"{}")
        self.asked_n = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked_n += 1
                status, body = outer.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, *jwks):
        self.answer = (200, json.dumps({"keys": list(jwks)}).encode())


@pytest.fixture
def key_server():
    server = KeyServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


def signed(key, kid, **options):
    claims = {"bugle": {"publish": ["**"], "subscribe": ["**"], "admin": True}, "sub": "a", **options}
    return key.token(claims, {"alg": key.algorithm, "kid": kid})


def test_keys_rotate(gateway_factory, key_server):
    """A token with a key that is not known has the set read again, and a key that is gone ends its
    streams; a source that fails changes nothing."""
    old, new = Key("ES256"), Key("EdDSA")
    key_server.serve(old.jwk(kid="old", use="sig", alg="ES256"))
    gateway = gateway_factory(settings={"auth.mode": "token", "auth.jwks": key_server.url,
                                        "auth.jwks_refresh": "10s"})
    stream = listen(gateway, signed(old, "old"))
    refused(gateway, "/api/stats", bearer(signed(new, "new"))).problem(401)
    key_server.answer = (500, b"")
    gateway.signal(signal.SIGHUP)
    wire.wait_until(lambda: "auth.jwks cannot be read" in gateway.log(), 10)
    assert gateway.request("GET", "/api/stats", bearer(signed(old, "old"))).status == 200
    key_server.serve(old.jwk(kid="old"), new.jwk(kid="new"))
    gateway.signal(signal.SIGHUP)

    def takes_new():
        return gateway.request_once("GET", "/api/stats", bearer(signed(new, "new"))).status == 200

    wire.wait_until(takes_new, 15, "the new key is taken")
    key_server.serve(new.jwk(kid="new"))
    gateway.signal(signal.SIGHUP)
    stream.read_to_end()
    assert stream.end == "final chunk"
    refused(gateway, "/api/stats", bearer(signed(old, "old"))).problem(401)
    figures = gateway.request("GET", "/api/stats", bearer(signed(new, "new"))).json()
    assert figures["jwks_fetched"] >= 3 and figures["jwks_failed"] >= 1


def test_a_key_set_can_be_a_file_and_has_no_secrets(gateway_factory, tmp_path):
    """A secret in a set would be known to whoever can read the set."""
    key = Key("RS256")
    path = tmp_path / "keys.json"
    secret = {"kty": "oct", "alg": "HS256", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}
    path.write_text(json.dumps({"keys": [secret, key.jwk(kid="r"), {"kty": "odd"}]}))
    gateway = gateway_factory(settings={"auth.mode": "token", "auth.jwks": str(path)})
    assert gateway.request("GET", "/api/stats", bearer(signed(key, "r"))).status == 200
    forged = Key("HS256", "0123456789abcdef0123456789abcdef")
    refused(gateway, "/api/stats", bearer(signed(forged, "r"))).problem(401)


@pytest.mark.parametrize("source", ["http://id.example/keys", "keys.json", "ftp://x/keys",
                                    "http://127.0.0.1.evil.example/k", "http://localhost@x/k"])
def test_key_sets_come_safely_or_not_at_all(bugle, source):
    done = bugle("check-config", "--set", "auth.mode=token", "--set", f"auth.jwks={source}")
    assert done.returncode == 1 and "auth.jwks" in done.stderr, done


# settings


def test_token_mode_opens_all_addresses_and_needs_a_key(bugle):
    key = ["--set", f"auth.jwt_key=HS256:{SECRET}"]
    open_to_all = ["check-config", "--listen", "0.0.0.0:8080"]
    assert bugle(*open_to_all).returncode == 1
    assert bugle(*open_to_all, "--set", "auth.mode=token", *key).returncode == 0
    done = bugle(*open_to_all, "--set", "auth.mode=token")
    assert done.returncode == 1 and "there must be a key" in done.stderr


# nothing of a secret anywhere


@pytest.mark.gateway(settings={**COOKIE, "auth.query_token": "on", "log.level": "debug"}, workers=1)
def test_no_secret_is_logged_or_answered(gateway):
    """Canaries in every place that a credential can stand in, good ones and bad ones."""
    good = token("anna", publish=["**"], subscribe=["**"], canary="CANARYcanary")
    bad = ["CANARY1.canary.canary", "CANARY2", "CANARY3" * 40, good[:-9] + "CANARY456"]
    answers = []
    for text in [good, *bad]:
        for headers in (bearer(text), cookie(text), [("Authorization", f"Basic {text}")],
                        bearer(text) + cookie(text)):
            for method, target in (("GET", "/api/stats"), ("POST", "/api/push?topic=a"),
                                   ("GET", "/api/streams"), ("DELETE", "/api/streams?user=x")):
                answers.append(gateway.request_once(
                    method, target, headers + LISTED, b"x" if method == "POST" else None))
        if text != good:
            for target in ("/events", "/api/push", "/api/stats", "/nothing"):
                answers.append(refused(gateway, f"{target}?access_token={text}&ticket={text}"))
    listen(gateway, good)
    gateway.stream(access_token=good)
    for target in ("/api/streams", "/api/stats", "/api/history"):
        answers.append(gateway.request("GET", target, bearer(ADMIN)))
    shown = gateway.log() + "".join(f"{a.head.raw} {a.body}" for a in answers)
    for part in ("CANARY", good, good.split(".")[2], good.split(".")[1], SECRET):
        assert part not in shown, part
