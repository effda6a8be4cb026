# SPDX-License-Identifier: MIT
"""permessage-deflate, with a client that speaks it: python3-websockets."""

import asyncio

import pytest

websockets = pytest.importorskip("websockets")

LONG = "the same words again and again, " * 40
SETTINGS = {"websocket.deflate": "on", "websocket.deflate_from": "200"}


def talk(gateway, talk_with, query="topic=news", **options):
    async def run():
        url = f"ws://127.0.0.1:{gateway.port}/ws?{query}"
        async with websockets.connect(url, **options) as ws:
            return await asyncio.wait_for(talk_with(ws), 20)

    return asyncio.run(run())


def extension_of(ws):
    return ws.response_headers.get("Sec-WebSocket-Extensions")


@pytest.mark.gateway(settings=SETTINGS)
def test_both_ways_are_packed_and_mean_the_same(gateway):
    async def both(ws):
        for text in ["few", LONG, "é€\U0001F600" * 300, LONG]:
            await ws.send(text)
            assert await ws.recv() == text
        return extension_of(ws)

    extension = talk(gateway, both, "topic=news&publish=news")
    assert "server_no_context_takeover" in extension
    assert "client_no_context_takeover" in extension


@pytest.mark.gateway(settings=SETTINGS)
def test_clients_with_and_without_it_have_the_same_event(gateway):
    async def both():
        url = f"ws://127.0.0.1:{gateway.port}/ws?topic=news&publish=news"
        async with websockets.connect(url) as packed, \
                websockets.connect(url, compression=None) as plain:
            assert extension_of(plain) is None
            await plain.send(LONG)
            return await asyncio.wait_for(asyncio.gather(packed.recv(), plain.recv()), 20)

    assert asyncio.run(both()) == [LONG, LONG]


def test_it_is_off_by_default(gateway):
    async def ask(ws):
        return extension_of(ws)

    assert talk(gateway, ask) is None


@pytest.mark.gateway(settings=SETTINGS)
def test_a_text_that_inflates_beyond_the_limit_ends_the_connection(gateway):
    async def bomb(ws):
        await ws.send("a" * (1 << 20))
        try:
            await ws.recv()
        except websockets.ConnectionClosed as closed:
            return closed.code

    assert talk(gateway, bomb, "topic=news&publish=news") == 1009
    assert gateway.stats()["websockets_open"] == 0
