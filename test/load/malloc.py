#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every allocation fails once: the Nth after a request of each kind has begun, N = 0, 1, 2 ...

test/support/malloc_shim.c, loaded before the C library, makes one allocation fail, in whichever thread it
happens.  For each kind of request and each N the gateway must be there afterwards, every request must
have had an answer or the end of its connection, and what was acknowledged must be in the history.
The one exception is told by the gateway itself: without the few bytes to pass on what it has
acknowledged it says so in its log and aborts; then too nothing that was acknowledged may be lost.
Prints counts; the exit status is 0 if all of that held.
"""

import argparse
import collections
import contextlib
import mmap
import os
import pathlib
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / each) for each in ("scenarios", "support"))]

import tokens  # noqa: E402
import wire  # noqa: E402
from conftest import Gateway  # noqa: E402

NEVER = -1
ANSWER_S = 10
ABORT = "out of memory where failure cannot be handled"
WEBSOCKET = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
             ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
BEYOND = 3  # tries that were over before their allocation, after which a kind is done


def frame(first, payload):
    """Masked with zeros."""
    return bytes((first, 0x80 | len(payload))) + bytes(4) + payload if len(payload) < 126 else \
        bytes((first, 0x80 | 126)) + len(payload).to_bytes(2, "big") + bytes(4) + payload


class Shim:
    """What is to fail: see malloc_shim.c."""

    def __init__(self, folder):
        self.library = folder / "malloc_shim.so"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run([*compiler, "-shared", "-fPIC", "-O2", "-o", self.library,
                        HERE.parent / "support" / "malloc_shim.c"], check=True)
        self.file = folder / "orders"
        self.file.write_bytes(struct.pack("ll", NEVER, 0))
        with self.file.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 16)

    def env(self):
        return {"LD_PRELOAD": str(self.library), "MALLOC_SHIM_FILE": str(self.file)}

    def fail_after(self, n):
        self.map[:8] = struct.pack("l", n)

    @contextlib.contextmanager
    def at_rest(self):
        """What happens meanwhile goes well."""
        before = self.map[:8]
        self.stop()
        yield
        self.map[:8] = before

    def stop(self):
        """Returns whether the allocation has failed."""
        (left,) = struct.unpack("l", self.map[:8])
        self.map[:8] = struct.pack("l", NEVER)
        return left < 0


class Bench:
    def __init__(self, folder, store):
        self.shim = Shim(folder)
        self.gateway = Gateway(folder, {"history.max_events": "1000000", **tokens.SETTINGS},
                               store=store, env=self.shim.env())
        self.in_memory = store == "memory:"
        self.gateway.start()
        self.sent = 0
        self.acknowledged = {}
        self.aborts = self.restarts = 0
        self.faults = []
        self.answers = collections.Counter()

    def fault(self, what):
        self.faults.append(what)
        print(f"  FAULT: {what}")

    def ask(self, method, target, headers=(), body=None, stream=False):
        """One request on a connection of its own.  The status and the body, or None without a whole
        answer; a connection that stays open without one is a fault."""
        if not any(name == "Authorization" for name, _ in headers) and "ticket=" not in target:
            headers = [*headers, *tokens.bearer(tokens.ADMIN)]
        data = self.gateway.request_bytes(method, target, headers, body)
        with socket.socket() as one:
            one.settimeout(ANSWER_S)
            got = b""
            with contextlib.suppress(ConnectionError):
                one.connect(self.gateway.address)
                one.sendall(data)
                try:
                    while not self._whole(got, stream, method) and (piece := one.recv(65536)):
                        got += piece
                except TimeoutError:
                    self.fault(f"{method} {target}: no answer and no end; so far {got[:200]!r}")
                    return None
        if not self._whole(got, stream, method):
            self.answers["cut"] += 1
            return None
        self.answers[int(got[9:12])] += 1
        return int(got[9:12]), got.partition(b"\r\n\r\n")[2]

    @staticmethod
    def _whole(got, stream, method):
        head, blank, body = got.partition(b"\r\n\r\n")
        if not blank:
            return False
        if method == "HEAD" or head.startswith(b"HTTP/1.1 204"):
            return True
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if length:
            return len(body) >= int(length[0].split(b":")[1])
        return stream and b"\nretry: " in body

    # what is asked; each publishes or reads in its own way

    def push(self, count=1, key=False, text=False, ephemeral=False):
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        events = [{"topic": "a", "data": {"n": number}, "event": "e"}
                  for number in numbers]
        for number, event in zip(numbers, events):
            if key:
                event["idempotency_key"] = f"key-{number}"
            if ephemeral:
                event["ephemeral"] = True
        if text:
            self._acknowledge(numbers, self.ask(
                "POST", "/api/push?topic=a&event=e", [("Content-Type", "text/plain")],
                b'{"n":%d}' % numbers[0]))
            return
        body = wire.json.dumps(events if count > 1 else events[0]).encode()
        answer = self.ask("POST", "/api/push", [("Content-Type", "application/json")], body)
        if not ephemeral:
            self._acknowledge(numbers, answer)

    def _acknowledge(self, numbers, answer):
        if answer and answer[0] not in (201, 503):
            self.fault(f"a sound publish was refused for good: {answer}")
        if not answer or answer[0] != 201:
            return
        said = wire.json.loads(answer[1])
        for number, event_id in zip(numbers, said.get("ids") or [said["id"]]):
            self.acknowledged[number] = event_id

    def large(self):
        self.sent += 1
        self.ask("POST", "/api/push?topic=large&ephemeral=true", [("Content-Type", "text/plain")],
                 b"x" * 60000)

    def long_text(self):
        """A string of JSON that grows the parser's buffer to 32 KiB; no plain body."""
        body = wire.json.dumps({"topic": "large", "ephemeral": True, "data": "x" * 30000 + "\n"})
        answer = self.ask("POST", "/api/push", [("Content-Type", "application/json")],
                          body.encode())
        if answer and answer[0] not in (201, 503):
            self.fault(f"a sound publish was refused for good: {answer}")

    def stream(self, query):
        self.ask("GET", "/events?" + query, stream=True)

    def token(self):
        """One that the gateway has not seen."""
        self.sent += 1
        fresh = tokens.token(f"u{self.sent}", admin=True)
        answer = self.ask("GET", "/api/evictions", tokens.bearer(fresh))
        if answer and answer[0] not in (200, 503):
            self.fault(f"a sound token was refused for good: {answer}")

    def make_ticket(self):
        self.sent += 1
        answer = self.ask("POST", "/api/tickets", [("Content-Type", "application/json")],
                          b'{"user":"u%d","topics":["a"]}' % self.sent)
        if answer and answer[0] not in (201, 503):
            self.fault(f"a sound ticket was refused for good: {answer}")
        return wire.json.loads(answer[1])["ticket"] if answer and answer[0] == 201 else None

    def use_ticket(self):
        with self.shim.at_rest():
            ticket = self.make_ticket()
        answer = self.ask("GET", f"/events?ticket={ticket}", stream=True)
        if answer and answer[0] not in (200, 503):
            self.fault(f"a sound ticket was refused for good: {answer}")

    def websocket(self, query="topic=b", text=b"", protocol=None):
        """Open one, say something, close, and read to the end.  The texts that came, or None."""
        headers = [*WEBSOCKET, *tokens.bearer(tokens.ADMIN)]
        if protocol:
            headers.append(("Sec-WebSocket-Protocol", protocol))
        data = self.gateway.request_bytes("GET", f"/ws?{query}", headers)
        got = b""
        with socket.socket() as one, contextlib.suppress(ConnectionError):
            one.settimeout(ANSWER_S)
            try:
                one.connect(self.gateway.address)
                one.sendall(data)
                while b"\r\n\r\n" not in got and (piece := one.recv(65536)):
                    got += piece
                if got.startswith(b"HTTP/1.1 101"):
                    one.sendall(frame(0x81, text) + frame(0x89, b"ping") + frame(0x88, b"\x03\xe8"))
                    while piece := one.recv(65536):
                        got += piece
            except TimeoutError:
                self.fault(f"/ws?{query}: no answer and no end; so far {got[:200]!r}")
                return None
        self.answers[int(got[9:12]) if got else "cut"] += 1
        return got.partition(b"\r\n\r\n")[2]

    def websocket_publish(self):
        number = self.sent
        self.sent += 1
        event = {"topic": "a", "data": {"n": number}, "event": "e"}
        said = self.websocket("topic=b", wire.json.dumps(
            {"type": "publish", "ref": 1, "events": event}).encode(), "bugle.v1") or b""
        begin, end = said.find(b'{"type":"ack"'), said.find(b"}", said.find(b'{"type":"ack"'))
        if 0 <= begin < end:
            self.acknowledged[number] = wire.json.loads(said[begin:end + 1])["id"]

    KINDS = {
        "websocket": lambda self: self.websocket("topic=b&publish=b", b"a text"),
        "websocket_replay": lambda self: self.websocket("topic=a&since=earliest", b"", "bugle.v1"),
        "websocket_publish": websocket_publish,
        "websocket_subscribe": lambda self: self.websocket(
            "topic=b", b'{"type":"subscribe","ref":"1","topics":["t/1/*","t/2"]}', "bugle.v1"),
        "push": lambda self: self.push(),
        "push_text": lambda self: self.push(text=True),
        "push_array": lambda self: self.push(20),
        "push_keys": lambda self: self.push(3, key=True),
        "push_long": lambda self: self.long_text(),
        "push_ephemeral": lambda self: self.push(ephemeral=True),
        "push_large": large,
        "stream": lambda self: self.stream("topic=a"),
        "stream_many": lambda self: self.stream(
            "&".join(f"topic=t/{i}/*" for i in range(20)) + "&user=u"),
        "stream_replay": lambda self: self.stream("topic=a&since=earliest"),
        "stream_head": lambda self: self.ask("HEAD", "/events"),
        "history": lambda self: self.ask("GET", "/api/history?topic=a&limit=20"),
        "stats": lambda self: self.ask("GET", "/api/stats"),
        "streams": lambda self: self.ask("GET", "/api/streams"),
        "end_streams": lambda self: self.ask("DELETE", "/api/streams?user=nobody"),
        "backup": lambda self: self.ask("POST", "/api/backup"),
        "health": lambda self: self.ask("GET", "/healthz"),
        "ready": lambda self: self.ask("GET", "/readyz"),
        "page": lambda self: self.ask("GET", "/"),
        "options": lambda self: self.ask("OPTIONS", "/api/push"),
        "nothing": lambda self: self.ask("GET", "/nothing"),
        "token": token,
        "ticket": lambda self: self.make_ticket(),
        "ticket_stream": use_ticket,
        "bad_json": lambda self: self.ask(
            "POST", "/api/push", [("Content-Type", "application/json")], b"[1,"),
    }

    def rounds(self, kind, most, first):
        """Let the Nth allocation fail; returns how many did."""
        beyond = failed = 0
        for n in range(first, most):
            self.shim.fail_after(n)
            self.KINDS[kind](self)
            reached = self.shim.stop()
            failed += reached
            self.push()  # what was acknowledged before must stand behind all that fails after it
            beyond = 0 if reached else beyond + 1
            self.look_after(f"{kind}, allocation {n}")
            if beyond == BEYOND:
                break
        return failed

    def look_after(self, what):
        status = self.gateway.process.poll()
        if status is None:
            answer = self.ask("GET", "/healthz")
            if not answer or answer[0] != 200:
                status = self._await_end()
                if status is None:
                    self.fault(f"{what}: the gateway does not answer: {answer}")
                    return
        if status is None:
            return
        if status == -signal.SIGABRT and ABORT in self.gateway.log():
            self.aborts += 1
            print(f"  {what}: {self.gateway.log().strip().splitlines()[-1]}")
        else:
            self.fault(f"{what}: exit status {status}\n{self.gateway.log()[-2000:]}")
        self.restart()

    def _await_end(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.gateway.process.wait(2)
        return None

    def restart(self):
        if self.in_memory:
            self.acknowledged.clear()
        self.gateway.log_path.rename(self.gateway.log_path.with_suffix(f".{self.restarts}"))
        self.restarts += 1
        self.gateway.start()

    def count_lost(self):
        """Everything acknowledged is in the history, under its id."""
        found, after = {}, None
        while True:
            target = "/api/history?limit=1000" + (f"&after={after}" if after else "")
            listing = self.gateway.request("GET", target, tokens.bearer(tokens.ADMIN)).json()
            for event in listing["events"]:
                if event["topics"] == ["a"]:
                    found[event["id"]] = event["data"]
            if not listing["more"]:
                break
            after = listing["next"]
        return sum(found.get(event_id) != f'{{"n":{number}}}'
                   for number, event_id in self.acknowledged.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--allocations", type=int, default=500, help="N goes up to this")
    parser.add_argument("--first", type=int, default=0, help="and begins here")
    parser.add_argument("--kinds", default=",".join(Bench.KINDS))
    parser.add_argument("--store", default="sqlite", choices=["sqlite", "memory"])
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bugle-malloc-"))
    store = f"sqlite:{folder}/h.db" if args.store == "sqlite" else "memory:"
    bench = Bench(folder, store)
    try:
        failed = 0
        for kind in args.kinds.split(","):
            bench.answers.clear()
            count = bench.rounds(kind, args.allocations, args.first)
            failed += count
            print(f"{kind}: {count} allocations failed, answers {dict(bench.answers)}", flush=True)
        lost = bench.count_lost()
        print(f"{failed} failures, {len(bench.faults)} faults, {bench.aborts} documented aborts, "
              f"{len(bench.acknowledged)} events acknowledged, {lost} lost")
    finally:
        bench.shim.stop()
        bench.gateway.finish()
        shutil.rmtree(folder, ignore_errors=True)
    good = not bench.faults and lost == 0 and failed > 0
    print("passed" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
