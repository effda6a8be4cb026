# SPDX-License-Identifier: MIT
"""Heads of every size get an answer.

libmicrohttpd keeps a head, its records and the room for the answer in one pool, and in a narrow
band of sizes it neither answers nor closes.  Which pool a request needs is worked out before the
library sees it, so no size may find that band, and what has no room at all is refused.
"""

import pytest

import wire

STEP = 31


def cookie_of(size):
    return [("Cookie", "a=" + "x" * size)], ()


def cookies_of(size):
    return [("Cookie", "; ".join(f"k{i:04}=" + "v" * 42 for i in range(size // 50 + 1)))], ()


def small_cookies_of(size):
    return [("Cookie", ";".join(f"{i % 10}=1" for i in range(size // 4 + 1)))], ()


def header_of(size):
    return [("X-Long", "x" * size)], ()


def headers_of(size):
    return [(f"X-{i:02}", "v" * 200) for i in range(min(size // 206, 55))], ()


def fields_of(size):
    return [], [("topic" if i < 60 else "cb", f"t{i:03}") for i in range(min(size, 3900) // 11)]


@pytest.mark.parametrize("make", [cookie_of, cookies_of, small_cookies_of, header_of, headers_of,
                                  fields_of])
@pytest.mark.parametrize("path", ["/events", "/healthz"])
def test_a_head_of_any_size_is_answered(gateway, make, path):
    """From an ordinary request to one that is too large, in small steps: a stream or a page, or a
    clear refusal, and never silence."""
    statuses = []
    for size in range(STEP, 16500, STEP):
        headers, query = make(size)
        with gateway.raw(timeout=5) as connection:
            connection.send(gateway.request_bytes("GET", wire.target_of(path, query), headers))
            statuses.append(connection.read_head().status)
    assert set(statuses) <= {200, 400, 414, 431}, set(statuses)
    assert statuses[0] == 200
    # once too large, always too large
    refused = [status != 200 for status in statuses]
    assert refused == sorted(refused)


# limits, to the byte, for the first request of a connection and for a later one


LIMITS = {"limits.url_bytes": "1000", "limits.header_bytes": "4000", "limits.header_count": "10",
          "limits.body_bytes": "3000", "limits.json_depth": "20"}


def url_of(size):
    return b"GET /healthz?%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"x" * (size - len("/healthz?")))


def head_of(size):
    start = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


def count_of(count):
    return b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * (count - 1) + b"\r\n"


def body_of(size):
    return (b"POST /api/push?topic=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
            % (size, b"x" * size))


def chunks_of(size):
    pieces = b"".join(b"%x\r\n%s\r\n" % (n, b"x" * n) for n in (size // 2, size - size // 2))
    return (b"POST /api/push?topic=a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            + pieces + b"0\r\n\r\n")


def expectation_of(size):
    return (b"POST /api/push?topic=a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % size)


def depth_of(depth):
    body = b'{"topic":"a","data":%s%s}' % (b"[" * (depth - 1), b"]" * (depth - 1))
    return (b"POST /api/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.mark.gateway(settings=LIMITS)
@pytest.mark.parametrize("is_later", [False, True])
@pytest.mark.parametrize("make, most, good, bad", [
    (url_of, 1000, 200, 414),
    (head_of, 4000, 200, 431),
    (count_of, 10, 200, 431),
    (body_of, 3000, 201, 413),
    (chunks_of, 3000, 201, 413),
    (expectation_of, 3000, 100, 413),
    (depth_of, 20, 201, 400),
])
def test_limit_holds_to_the_byte(gateway, make, most, good, bad, is_later):
    """What is just allowed is taken, one more is refused, and how many requests came before does
    not matter."""
    for size, status in ((most, good), (most + 1, bad)):
        with gateway.raw() as connection:
            if is_later:
                connection.send(url_of(20))
                assert connection.read_response().status == 200
            connection.send(make(size))
            head = connection.read_head()
            assert head.status == status, (size, head.raw)
            if status == bad and bad != 400:
                assert connection.read_to_end() and connection.end == "closed"


@pytest.mark.gateway(settings={"limits.url_bytes": "16K", "limits.header_bytes": "24K"})
@pytest.mark.parametrize("make", [cookie_of, cookies_of, header_of, headers_of, None])
@pytest.mark.parametrize("path", ["/events", "/healthz"])
def test_a_later_head_of_any_size_is_answered(gateway, make, path):
    """The connection was given its room for the first request, which was small; the later one has
    the room it needs all the same.  None: a query that grows to what the largest URL may be."""
    statuses = []
    for size in range(STEP, 16384, 5 * STEP):
        headers, query = make(size) if make else ([], [("cb", "x" * size)])
        with gateway.raw(timeout=5) as connection:
            connection.send(gateway.request_bytes("GET", "/healthz"))
            assert connection.read_response().status == 200
            connection.send(gateway.request_bytes("GET", wire.target_of(path, query), headers))
            statuses.append(connection.read_head().status)
    assert set(statuses) <= {200, 414, 431}, set(statuses)
    assert statuses[0] == 200
    refused = [status != 200 for status in statuses]
    assert refused == sorted(refused)
    assert refused.count(False) > len(refused) // 2


def test_a_connection_serves_requests_of_all_sizes_in_turn(gateway):
    """It moves to where there is room, and stays in order; a stream can be its last request."""
    with gateway.raw() as connection:
        for size in (10, 3000, 10, 9000, 15000, 10):
            connection.send(gateway.request_bytes("GET", "/healthz", [("X", "x" * size)]))
            assert connection.read_response().json() == {"status": "ok"}
            body = b"y" * min(60000, 4 * size)
            connection.send(gateway.request_bytes("POST", "/api/push?topic=a", [], body))
            assert connection.read_response().status == 201
        connection.send(gateway.request_bytes("GET", "/events?topic=a&since=earliest"))
        stream = wire.Stream(connection, connection.read_head())
        assert len(stream.events(6)) == 6
    wire.wait_until(lambda: gateway.stat("streams_open") == 0)
    assert gateway.stat("connections_open") <= 2
