# SPDX-License-Identifier: MIT
"""Looking after it: health, numbers, live streams, the page (bugle-wire(7))."""

import json
import re

import pytest

import conftest
import wire


def listed(response):
    """The list of streams in an answer, bare or as a member of an object."""
    assert response.status == 200, response
    found = response.json()
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        assert len(lists) == 1, found
        found = lists[0]
    return found


def count_in(response):
    """How many streams an answer says were ended."""
    assert response.status == 200, response
    numbers = [value for value in response.json().values() if type(value) is int]
    assert len(numbers) == 1, response
    return numbers[0]


# health


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_told_to_get_and_head(gateway, path):
    """Load balancers use either."""
    assert gateway.request("GET", path).status == 200
    assert gateway.request("HEAD", path).status == 200
    response = gateway.request("POST", path, body=b"")
    assert response.status == 405, response
    assert "get" in response.head.words("Allow")


def test_probe_is_never_stored_and_never_seen(gateway):
    """/readyz sends an event of the gateway's own through the real path.  No stream may see it,
    nor may it take a place in the history that a client's event would need."""
    streams = [gateway.stream(), gateway.stream("**"), gateway.stream("*/**")]
    for _ in range(20):
        assert gateway.request("GET", "/readyz").status == 200
    stats = gateway.stats()
    assert (stats["events_published"], stats["history_events"]) == (0, 0), stats
    gateway.push({"data": "x"})
    assert [stream.next_event().data for stream in streams] == ["x"] * 3


# numbers


def test_stats_name_every_number_of_the_table(gateway):
    """A dashboard reads them by name: one flat object of whole numbers."""
    header = (conftest.SOURCE / "include" / "base" / "stats.h").read_text()
    names = set(re.findall(r"^    row\([A-Z0-9_]+, ([a-z0-9_]+), ", header, re.MULTILINE))
    assert len(names) > 20
    response = gateway.request("GET", "/api/stats")
    assert response.head.get("Content-Type").split(";")[0] == "application/json"
    stats = response.json()
    assert names <= set(stats), names - set(stats)
    assert all(type(stats[name]) is int and stats[name] >= 0 for name in names), stats


def test_stats_count_what_happened(gateway):
    """The numbers of a small day, exact."""
    streams = [gateway.stream("a"), gateway.stream("a"), gateway.stream("b")]
    gateway.push([{"topic": "a", "data": "x"}] * 3)
    gateway.push({"topic": "b", "data": "y", "ephemeral": True})
    gateway.post({"topic": "a"}).problem(422)
    for stream, count in zip(streams, (3, 3, 1)):
        stream.events(count)
    streams[2].close()
    gateway.wait_stat("streams_open", 2)
    gateway.wait_stat("history_events", 3)
    expected = {
        "streams_opened": 3, "streams_open": 2, "streams_left": 1, "events_published": 3,
        "events_ephemeral": 1, "events_delivered": 7, "publishes_refused": 1, "history_events": 3,
        "streams_stalled": 0, "resets": 0,
    }
    stats = gateway.stats()
    assert {name: stats[name] for name in expected} == expected
    assert stats["bytes_delivered"] >= sum(len(stream.body) for stream in streams)
    assert stats["history_bytes"] > 0
    assert stats["connections_open"] >= 3


# streams


def test_streams_are_listed_with_what_they_asked_for(gateway):
    """An operator looks who is there."""
    gateway.stream("a", "b/*", user="u")
    gateway.stream()
    found = listed(gateway.request("GET", "/api/streams"))
    assert len(found) == 2
    by_user = {entry.get("user"): entry for entry in found}
    assert set(by_user["u"]["topics"]) == {"a", "b/*"}
    assert "127.0.0.1" in by_user["u"]["address"]
    assert len({str(entry["id"]) for entry in found}) == 2
    assert all("state" in entry and "position" in entry for entry in found), found
    assert any("age" in name for name in found[0]), found
    assert any("lag" in name for name in found[0]), found


def test_streams_can_be_filtered_and_limited(gateway):
    """Among thousands an operator looks for one user or one topic."""
    gateway.stream_many([{"topic": f"t{i % 2}", "user": f"u{i % 3}"} for i in range(12)])
    for query, count in ({}, 12), ({"user": "u1"}, 4), ({"topic": "t0"}, 6), (
            {"user": "u1", "topic": "t0"}, 2), ({"user": "nobody"}, 0), ({"limit": 5}, 5):
        found = listed(gateway.request("GET", wire.target_of("/api/streams", query)))
        assert len(found) == count, query
        if "user" in query:
            assert all(entry["user"] == query["user"] for entry in found)


def test_list_of_streams_is_valid_whatever_they_are_called(gateway):
    """Names may hold quotes and markup; the list is JSON all the same."""
    name = '"><script>alert(1)</script>\\'
    gateway.stream(name, user=name)
    (entry,) = listed(gateway.request("GET", "/api/streams"))
    assert (entry["user"], entry["topics"]) == (name, [name])


def test_deleted_stream_ends_with_the_final_chunk(gateway):
    """An operator ends one stream: it alone, and in the way that says "that was all"."""
    other = gateway.stream("a")
    stream = gateway.stream("a", user="u")
    (entry,) = listed(gateway.request("GET", "/api/streams?user=u"))
    assert count_in(gateway.request("DELETE", f"/api/streams/{entry['id']}")) == 1
    stream.read_to_end()
    assert stream.end == "final chunk"
    gateway.wait_stat("streams_open", 1)
    assert gateway.stat("streams_ended") == 1
    gateway.push({"topic": "a", "data": "x"})
    assert other.next_event().data == "x"
    assert gateway.request("DELETE", f"/api/streams/{entry['id']}").status == 404


def test_streams_of_a_user_are_ended_together(gateway):
    """A user was locked out: every stream of theirs ends, on whichever worker, and nobody
    else's."""
    streams = gateway.stream_many([{"user": "uv"[i % 2]} for i in range(20)])
    assert count_in(gateway.request("DELETE", "/api/streams?user=u")) == 10
    for stream in streams[::2]:
        stream.read_to_end()
        assert stream.end == "final chunk"
    gateway.wait_stat("streams_open", 10)
    gateway.push({"data": "x"})
    assert [stream.next_event().data for stream in streams[1::2]] == ["x"] * 10
    assert count_in(gateway.request("DELETE", "/api/streams?user=u")) == 0


@pytest.mark.parametrize("target", ["/api/streams", "/api/streams?user=", "/api/streams?usr=u",
                                    "/api/streams?user=u&topc=b", "/api/streams?user=u&user=v",
                                    "/api/streams?user[]=u", "/api/streams?user%00=u",
                                    "/api/streams/", "/api/streams/x", "/api/streams/-1",
                                    "/api/streams/99999999999999999999", "/api/streams/1x"])
def test_mistyped_delete_ends_nothing(gateway, target):
    """The worst reading of a mistake would be "all of them"."""
    gateway.stream("a")
    gateway.stream("a", user="u")
    gateway.request("DELETE", target).problem(400, 404, 405, 422)
    assert gateway.stat("streams_open") == 2


@pytest.mark.parametrize("method, target", [
    ("GET", "/api/streams?usr=u"), ("GET", "/api/streams?user=u&user=v"),
    ("GET", "/api/evictions?user=u"), ("GET", "/api/evictions?limt=1"), ("GET", "/api/stats?x=1"),
    ("DELETE", "/api/streams/0123456789abcdef?user=u"), ("POST", "/api/backup?name=x"),
])
def test_mistyped_question_is_told(gateway, method, target):
    """A list that is longer than what was asked for looks like an answer."""
    body = b"" if method == "POST" else None
    problem = gateway.request(method, target, body=body).problem(400)
    assert problem["code"] in ("unknown_parameter", "repeated_parameter"), problem


# the page and everything else


@pytest.fixture
def site(tmp_path):
    """A folder with a page, and beside it something that is nobody's business."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>Page</title>")
    (tmp_path / "secret.html").write_text("secret")
    return folder


def test_page_stands_at_the_root(gateway_factory, site):
    """What the newcomer opens first."""
    gateway = gateway_factory(www=site)
    response = gateway.request("GET", "/")
    assert response.status == 200, response
    assert response.body == (site / "index.html").read_bytes()
    assert response.head.get("Content-Type").lower().replace(" ", "") == "text/html;charset=utf-8"
    assert response.head.get("X-Content-Type-Options") == "nosniff", response.head.raw
    head = gateway.request("HEAD", "/")
    assert head.status == 200
    assert head.head.get("Content-Length") == str(len(response.body))


@pytest.mark.parametrize("target", [
    "/../secret.html", "/%2e%2e/secret.html", "/..%2fsecret.html", "/..%5csecret.html",
    "/x/../../secret.html", "//secret.html", "/./../secret.html", "/%2e%2e%2fsecret.html%00.html",
    "/index.html/../../secret.html", "/etc/passwd", "//etc/passwd",
])
def test_nothing_beside_the_page_can_be_had(gateway_factory, site, target):
    """The server gives out its page and no other file of the machine."""
    gateway = gateway_factory(www=site)
    response = gateway.request_once("GET", target)
    assert response.status in (400, 403, 404), response
    assert b"secret" not in response.body.replace(target.encode(), b""), response


@pytest.mark.parametrize("path", ["/nope", "/api/nope", "/events/", "/events/x", "/healthz/x",
                                  "/favicon.ico.map", "/api/stats/x", "/API/stats"])
def test_what_is_not_there_is_not_found(gateway, path):
    """An address that nobody wrote down is a 404, under /api one that programs can read."""
    response = gateway.request("GET", path)
    assert response.status == 404, response
    if path.startswith("/api/"):
        response.problem(404)


def test_numbers_are_told_while_much_goes_on(gateway):
    """The monitor works when it is needed: a thousand streams, publishing, and a look at them."""
    gateway.stream_many([{"topic": "a", "user": f"u{i}"} for i in range(wire.fewer(1000, 100))])
    for i in range(20):
        gateway.push({"topic": "a", "data": i})
        response = gateway.request("GET", "/api/streams?limit=1000")
        assert len(listed(response)) == wire.fewer(1000, 100)
        json.loads(gateway.request("GET", "/api/stats").body)
