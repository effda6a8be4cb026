# SPDX-License-Identifier: MIT
"""The end of a login: by the clock, by whoever looks after the gateway, and by a reload that takes
rights.  Nobody becomes nobody without being told."""

import json
import signal

import pytest

import wire
from tokens import (ADMIN, API_KEY, SECRET, SETTINGS, Key, api_key_item, bearer, stats, token)

OPEN = {**SETTINGS, "auth.anonymous": "public/**", "auth.cookie": "bugle",
        "auth.origins": "https://app.example"}


def listen(gateway, text, *topics, **options):
    return gateway.stream(*topics, headers=bearer(text), **options)


def refused(gateway, target, headers=(), status=401):
    return gateway.request_once("GET", target, headers).problem(status)


def reason_of(items):
    """What the last of them says about the end of a login; None where none does."""
    events = [item for item in items if getattr(item, "name", None) == "expired"]
    assert not events or events == items[-1:], items
    return json.loads(events[0].data)["reason"] if events else None


def expired(stream):
    """Read a stream to its orderly end, and what that says."""
    items = stream.read_to_end()
    assert stream.end == "final chunk", stream.end
    return reason_of(items)


def ticket_of(gateway, wish, text):
    answer = gateway.request_once("POST", "/api/tickets", bearer(text), json.dumps(wish).encode())
    return answer.json()["ticket"]


class Reloading:
    """A gateway whose [auth] can be rewritten."""

    def __init__(self, gateway_factory, path, **lines):
        self.path = path
        self.write(**lines)
        self.gateway = gateway_factory(args=["--config", str(path)], workers=2)
        self.refusals = 0

    def write(self, mode="token", jwt_key=f"HS256:{SECRET}", **lines):
        lines = {"mode": mode, "jwt_key": jwt_key, **lines}
        text = "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None)
        self.path.write_text(f"[auth]\n{text}" if text else "")

    def reload(self, **lines):
        self.write(**lines)
        done = self.gateway.log().count("settings reloaded")
        self.gateway.signal(signal.SIGHUP)
        wire.wait_until(lambda: self.gateway.log().count("settings reloaded") > done, 5)

    def reload_refused(self, **lines):
        self.write(**lines)
        self.gateway.signal(signal.SIGHUP)
        self.refusals += 1
        wire.wait_until(lambda: self.gateway.log().count("reload refused") == self.refusals, 5)
        return [line for line in self.gateway.log().splitlines() if "reload refused" in line][-1]


@pytest.fixture
def reloading(gateway_factory, tmp_path):
    return lambda **lines: Reloading(gateway_factory, tmp_path / "bugle.conf", **lines)


# being told


@pytest.mark.gateway(settings=OPEN)
def test_each_end_of_a_login_is_told(gateway):
    """Of a token, by DELETE; a stream that is nobody's has no login that could end."""
    short = listen(gateway, token("anna", subscribe=["**"], ttl=int(wire.seconds(3))))
    ticket = gateway.stream(ticket=ticket_of(gateway, {"user": "carl"},
                                             token("carl", ttl=int(wire.seconds(3)))))
    lost = listen(gateway, token("berta", subscribe=["**"]))
    nobodys = gateway.stream("public/1")
    gateway.request("DELETE", "/api/streams?user=berta", bearer(ADMIN)).json()
    assert expired(lost) == "deleted"
    assert expired(short) == "token" and expired(ticket) == "token"
    shown = gateway.request("GET", "/api/streams", bearer(ADMIN)).json()["streams"]
    assert len(shown) == 1
    gateway.request("DELETE", f"/api/streams/{shown[0]['id']}", bearer(ADMIN)).json()
    assert expired(nobodys) is None
    assert stats(gateway)["streams_expired"] == 2


@pytest.mark.gateway(settings=SETTINGS)
def test_the_end_comes_behind_the_frame_under_way(gateway):
    """Which stays whole, however large; the position is the client's last, and ends without one."""
    data = "x" * 60000
    stream = listen(gateway, token("anna", subscribe=["**"]), receive_buffer=4096)
    gateway.post([{"data": data, "user": "anna"}] * 16, headers=bearer(ADMIN)).json()
    wire.wait_until(lambda: stats(gateway)["events_delivered"] > 0)
    assert gateway.request("DELETE", "/api/streams?user=anna", bearer(ADMIN)).json() == {"ended": 1}
    items = stream.read_to_end()
    assert stream.end == "final chunk" and reason_of(items) == "deleted"
    assert len(items) > 1 and all(item.data == data for item in items[:-1])
    assert stream.payload.endswith(b'\n\nevent: expired\ndata: {"reason":"deleted"}\n\n')


@pytest.mark.gateway(settings=OPEN)
def test_who_wants_no_anonymous_stream_gets_none(gateway):
    refused(gateway, "/events?topic=public/1&anonymous=no")
    assert refused(gateway, "/events?anonymous=no")["code"] == "no_credentials"
    for value in ("", "No", "false", "0"):
        assert refused(gateway, f"/events?anonymous={value}",
                       status=400)["code"] == "invalid_anonymous", value
    refused(gateway, "/events?anonymous=maybe", bearer(token("anna")), 400)
    gateway.stream("public/1", anonymous="yes")
    listen(gateway, token("anna"), "public/1", anonymous="no")


@pytest.mark.gateway(settings=OPEN)
def test_a_cookie_that_is_no_good_is_not_nobody(gateway):
    """Whatever is wrong with it; one of another name is none."""
    old = token("anna", subscribe=["**"], ttl=-600)
    for value in ("", '""', "x", old, old[:-1], f'"{old}', f"{old},x", "a b", "\x80"):
        refused(gateway, "/events?topic=public/1", [("Cookie", f"bugle={value}")])
    for line in (f"a=b; bugle={old}", f"bad pair; ;=;bugle = {old} ; c", f"bugle={old}; bugle=x"):
        refused(gateway, "/events?topic=public/1", [("Cookie", line)])
    gateway.stream("public/1", headers=[("Cookie", "bugles=x; xbugle=x; Bugle=x; bugle")])


# several credentials


@pytest.mark.gateway(settings=OPEN)
def test_basic_is_for_a_proxy_in_front(gateway):
    """Beside a good cookie or ticket that counts; beside a bad one or nothing it is refused."""
    good = token("anna", subscribe=["a"])
    ticket = ticket_of(gateway, {"topics": ["a"]}, good)
    for scheme in ("Basic YTpi", "basic YTpi", "Negotiate x", 'Digest username="a"'):
        basic = [("Authorization", scheme)]
        gateway.stream("a", headers=basic + [("Cookie", f"bugle={good}")])
        refused(gateway, "/events?topic=a", basic + [("Cookie", "bugle=x")])
        refused(gateway, "/events?topic=public/1", basic)
        gateway.request_once("POST", "/api/push", basic + [("Cookie", f"bugle={good}")],
                             b"{}").problem(403)
    gateway.stream("a", headers=[("Authorization", "Basic YTpi")], ticket=ticket)
    refused(gateway, "/events?topic=a", [("Authorization", good), ("Cookie", f"bugle={good}")])


@pytest.mark.gateway(settings=OPEN)
def test_several_cookie_lines_are_one(gateway):
    """As a front end makes them of HTTP/2."""
    good = token("anna", subscribe=["a"])
    lines = [("Cookie", "a=1"), ("Cookie", f"bugle={good}"), ("Cookie", "c=3")]
    gateway.stream("a", headers=lines)
    refused(gateway, "/events?topic=a", lines + [("Cookie", "d=4; bugle=x")])


@pytest.mark.gateway(settings={"auth.allow_headers": "X-Request-Id,traceparent",
                               "auth.origins": "https://app.example"})
def test_more_headers_can_be_allowed(gateway):
    answer = gateway.request_once("OPTIONS", "/api/push", [("Origin", "https://app.example")])
    allowed = answer.head.words("Access-Control-Allow-Headers")
    assert {"x-request-id", "traceparent", "content-type"} <= {word.lower() for word in allowed}


@pytest.mark.parametrize("name", ["a b", "a:b", "x\x7f", "*", "ä", "x" * 65])
def test_only_names_of_headers_are_allowed(bugle, name):
    done = bugle("check-config", "--set", f"auth.allow_headers={name}")
    assert done.returncode == 1 and "auth.allow_headers" in done.stderr


# reloads that take


def test_a_reload_that_takes_public_topics_ends_their_streams(reloading):
    """Also of whoever has a token that does not cover them, and of tickets; others stay."""
    it = reloading(anonymous="public/**, news, old/*")
    gateway = it.gateway
    plain, holder = token("anna"), token("berta", subscribe=["public/**"])
    made = [ticket_of(gateway, {"topics": ["public/1"]}, text) for text in (plain, holder)]
    unused = [ticket_of(gateway, {"topics": ["public/1"]}, text) for text in (plain, holder)]
    ends = [gateway.stream("public/1"), gateway.stream(), gateway.stream("news", "public/*")]
    told = [listen(gateway, plain, "public/1"), gateway.stream("public/1", ticket=made[0])]
    stay = [gateway.stream("news"), listen(gateway, holder, "public/1", "news"),
            gateway.stream("public/1", ticket=made[1]), listen(gateway, plain, "news")]
    it.reload(anonymous="old/*, news, more")
    assert [expired(stream) for stream in ends] == [None] * 3
    assert [expired(stream) for stream in told] == ["key"] * 2
    refused(gateway, f"/events?topic=public/1&ticket={unused[0]}")
    gateway.stream("public/1", ticket=unused[1])
    for topic in ("public/1", "news"):
        gateway.post({"data": topic, "topic": topic}, headers=bearer(ADMIN)).json()
    assert [stream.next_event().data for stream in stay] == ["news", "public/1", "public/1", "news"]


def test_a_reload_that_makes_topics_private_ends_their_streams(reloading):
    it = reloading(anonymous="**")
    ends = [it.gateway.stream(), it.gateway.stream("a/*"), it.gateway.stream("a/1")]
    stays = it.gateway.stream("b/1")
    it.reload(anonymous="**", private="a/**")
    assert [expired(stream) for stream in ends] == [None] * 3
    it.reload(anonymous=None)
    assert expired(stays) is None


def test_a_reload_that_asks_for_another_audience_ends_streams(reloading):
    """And tickets that were made with such a token; an API key claims nothing."""
    it = reloading(audience="one", api_key=api_key_item("ops", "subscribe admin"))
    gateway = it.gateway
    ours = token("anna", subscribe=["**"], aud=["one"], iss="https://id")
    theirs = token("berta", subscribe=["**"], aud="one")
    made = [ticket_of(gateway, {"topics": ["a"]}, text) for text in (ours, theirs)]
    streams = [listen(gateway, ours), listen(gateway, theirs)]
    of_key = [listen(gateway, API_KEY),
              gateway.stream(ticket=ticket_of(gateway, {"topics": ["a"]}, API_KEY))]
    key = {"api_key": api_key_item("ops", "subscribe admin")}
    it.reload(audience="one", issuer="https://id", **key)
    assert expired(streams[1]) == "key"
    refused(gateway, f"/events?ticket={made[1]}")
    used = gateway.stream(ticket=made[0])
    it.reload(audience="two", **key)
    assert expired(streams[0]) == "key" and expired(used) == "key"
    refused(gateway, "/events", bearer(ours))
    gateway.post({"data": "x", "topic": "a"}, headers=bearer(token(
        publish=["**"], aud="two"))).json()
    assert [stream.next_event().data for stream in of_key] == ["x", "x"]


def test_a_reload_that_closes_a_way_ends_what_came_by_it(reloading):
    it = reloading(cookie="bugle", query_token="on", origins="https://a.example, https://b.example")
    text = token("anna", subscribe=["**"])
    by_cookie = it.gateway.stream(headers=[("Cookie", f"bugle={text}")])
    by_page = it.gateway.stream(headers=[("Cookie", f"bugle={text}"),
                                         ("Origin", "https://b.example")])
    by_url = it.gateway.stream(access_token=text)
    by_header = listen(it.gateway, text)
    it.reload(cookie="bugle", query_token="off", origins="https://a.example")
    assert expired(by_url) == "key" and expired(by_page) == "key"
    it.reload(cookie="other", origins="https://a.example")
    assert expired(by_cookie) == "key"
    it.gateway.post({"data": "x"}, headers=bearer(ADMIN)).json()
    assert by_header.next_event().data == "x"


def test_a_reload_is_judged_by_the_mode_that_runs(reloading):
    """Settings that would leave a guarded gateway without a key are refused, whatever mode they
    name; so are those that are no good by themselves."""
    it = reloading()
    for lines in ({"mode": None, "jwt_key": None}, {"mode": "none", "jwt_key": None},
                  {"jwt_key": None}):
        line = it.reload_refused(**lines)
        assert "auth.jwt_key" in line, line
        assert "restart" in line or lines.get("mode", "token") == "token", line
    assert "auth.mode is not" in it.reload_refused(mode=None)
    assert stats(it.gateway)["streams_open"] == 0  # the token is as good as ever
    it.reload(mode="none")
    assert stats(it.gateway)["streams_open"] == 0
    refused(it.gateway, "/api/stats")


def test_a_reload_does_not_guard_a_gateway_that_runs_open(reloading):
    it = reloading(mode="none", jwt_key=None)
    stream = it.gateway.stream()
    it.reload(mode="token", jwt_key=f"HS256:{SECRET}", anonymous="a")
    it.gateway.push({"data": "x"})
    assert stream.next_event().data == "x"
    assert "auth.mode changed: it takes effect with a restart" in it.gateway.log()


@pytest.mark.parametrize("setting", [f"jwt_key=HS256:{SECRET}", "cookie=bugle", "jwks=/keys.json",
                                     "anonymous=a", "private=a", "audience=a", "issuer=a",
                                     "api_key=" + api_key_item("a", "admin")])
def test_keys_without_a_mode_stop_the_start(bugle, setting):
    done = bugle("check-config", "--set", f"auth.{setting}")
    assert done.returncode == 1 and SECRET not in done.stderr, done
    assert f"auth.{setting.partition('=')[0]} is set, but auth.mode is not" in done.stderr
    assert bugle("check-config", "--set", f"auth.{setting}",
                 "--set", "auth.mode=none").returncode == 0


def test_keys_may_overlap_under_one_name(reloading):
    """While one replaces the other: each has its own rights, and both are one publisher."""
    new = "bugle_new_abcdefghijklmnopqrstuvwxyz0123456789"
    items = [api_key_item("shop", "publish=a subscribe"),
             api_key_item("shop", "publish subscribe", new, b"x" * 16)]
    it = reloading(api_key=", ".join(items))
    gateway = it.gateway
    event = {"data": "x", "topic": "a", "idempotency_key": "k"}
    first, again = (gateway.post(event, headers=bearer(key)).json() for key in (API_KEY, new))
    assert again == {**first, "duplicate": True}
    gateway.post({"data": "x", "topic": "b"}, headers=bearer(API_KEY)).problem(403)
    old_stream, new_stream = listen(gateway, API_KEY), listen(gateway, new)
    it.reload(api_key=items[1])
    assert expired(old_stream) == "key"
    gateway.post({"data": "y", "topic": "b"}, headers=bearer(new)).json()
    assert new_stream.next_event().data == "y"


def test_a_reload_judges_all_streams_of_a_crowd(reloading):
    """In portions, while others come and go."""
    it = reloading(anonymous="a/*, b/*", query_token="on")
    crowd = it.gateway.stream_many(
        [{"topic": f"{'ab'[i % 2]}/{i}"} for i in range(wire.fewer(600, 200))])
    for stream in crowd[::7]:
        stream.close()
    it.reload(anonymous="b/*", query_token="on")
    left = [stream for i, stream in enumerate(crowd) if i % 7]
    late = it.gateway.stream("b/late")
    gone = [stream for i, stream in enumerate(crowd) if i % 7 and i % 2 == 0]
    for stream in gone:
        assert expired(stream) is None
    wire.wait_until(lambda: stats(it.gateway)["streams_open"] == len(left) - len(gone) + 1)
    it.gateway.post({"data": "x", "topic": "b/late"}, headers=bearer(ADMIN)).json()
    assert late.next_event().data == "x"
