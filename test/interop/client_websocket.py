#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A WebSocket of python3-websocket; see client.js: client_websocket.py URL PROTOCOL..."""

import json
import os
import sys
import threading

import websocket


def say(**line):
    print(json.dumps(line), flush=True)


def on_open(app):
    say(open={"protocol": app.sock.getsubprotocol() or "", "extensions": ""})
    threading.Thread(target=obey, args=[app], daemon=True).start()


def on_close(_, code, reason):
    say(close=[code, reason or ""])


def obey(app):
    for line in sys.stdin:
        command = json.loads(line)
        if "send" in command:
            app.send(command["send"])
        else:
            app.close(status=command["close"][0], reason=command["close"][1].encode())


if __name__ == "__main__":
    websocket.WebSocketApp(
        sys.argv[1], subprotocols=sys.argv[2:] or None, on_open=on_open, on_close=on_close,
        on_message=lambda _, text: say(message=text)).run_forever()
    os._exit(0)  # a thread waits for more lines
