#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A WebSocket of python3-websockets; see client.js: client_websockets.py URL PROTOCOL..."""

import asyncio
import json
import sys

import websockets


def say(**line):
    print(json.dumps(line), flush=True)


async def obey(socket):
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        if "send" in command:
            await socket.send(command["send"])
        else:
            await socket.close(*command["close"])


async def main(url, protocols):
    async with websockets.connect(url, subprotocols=protocols or None) as socket:
        say(open={"protocol": socket.subprotocol or "", "extensions": ""})
        asyncio.ensure_future(obey(socket))
        try:
            async for text in socket:
                say(message=text)
        except websockets.ConnectionClosed:
            pass
        say(close=[socket.close_code, socket.close_reason])


if __name__ == "__main__":
    try:
        asyncio.run(asyncio.wait_for(main(sys.argv[1], sys.argv[2:]), 100))
    finally:
        sys.stdout.flush()
        sys.stdin.close()
