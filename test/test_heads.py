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
    return [], [("topic" if i < 60 else "other", f"t{i:03}") for i in range(min(size, 3900) // 11)]


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
