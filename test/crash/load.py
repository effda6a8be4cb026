# SPDX-License-Identifier: MIT
"""Publishers and subscribers over raw sockets, all in one loop.

They do as good clients do when the gateway is gone: come again, a publisher with the same request
until it is answered, a subscriber with its last id.  The gateway may die at any moment.
"""

import heapq
import itertools
import json
import random
import selectors
import socket
import time

import wire
from ledger import PUBLISHERS, USERS, Receiver, address, kind_of, name_of, pack, text_of

RETRY_SECONDS = (0.005, 0.04)
SIZES = [1, 1, 1, 2, 5, 20, 60]
BUSY = (503, 507)


class Loop:
    """Sockets and timers of one thread."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.timers = []
        self.order = itertools.count()

    def later(self, delay, call):
        heapq.heappush(self.timers, (time.monotonic() + delay, next(self.order), call))

    def watch(self, file, events, call):
        self.selector.register(file, events, call)

    def change(self, file, events, call):
        self.selector.modify(file, events, call)

    def forget(self, file):
        self.selector.unregister(file)

    def turn(self, wait):
        """Serve what is due, and wait so long for more."""
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            heapq.heappop(self.timers)[2]()
        if self.timers:
            wait = min(wait, max(0, self.timers[0][0] - now))
        for key, mask in self.selector.select(wait):
            key.data(mask)

    def run(self, seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.turn(left)


class Client:
    """A connection that comes again: `request()` is sent, `data()` gets what is answered, and
    `lost()` is told of the end."""

    def __init__(self, loop, address):
        self.loop = loop
        self.address = address
        self.socket = None
        self.outgoing = b""
        self.connections = 0
        self.closed = False

    def connect(self):
        if self.socket or self.closed:
            return
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(self.address)
        self.loop.watch(self.socket, selectors.EVENT_WRITE, self._connected)

    def _connected(self, _):
        if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.drop()
            return
        self.connections += 1
        self.loop.change(self.socket, selectors.EVENT_READ, self._ready)
        self.begin()

    def begin(self):
        raise NotImplementedError

    def data(self, data):
        raise NotImplementedError

    def lost(self):
        """The connection ended, at whatever place."""

    def send(self, data):
        self.outgoing += data
        self._flush()

    def _flush(self):
        try:
            self.outgoing = self.outgoing[self.socket.send(self.outgoing):]
        except BlockingIOError:
            pass
        except OSError:
            self.drop()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.outgoing else 0)
        if self.loop.selector.get_key(self.socket).events != wanted:
            self.loop.change(self.socket, wanted, self._ready)

    def _ready(self, mask):
        if mask & selectors.EVENT_WRITE:
            self._flush()
        if self.socket is None or not mask & selectors.EVENT_READ:
            return
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.data(data)
        else:
            self.drop()

    def drop(self, delay=None):
        """End this connection and come again a little later."""
        self._end()
        if not self.closed:
            self.loop.later(random.uniform(*RETRY_SECONDS) if delay is None else delay,
                            self.connect)

    def _end(self):
        if self.socket is None:
            return
        self.loop.forget(self.socket)
        self.socket.close()
        self.socket = None
        self.outgoing = b""
        self.lost()

    def close(self):
        self.closed = True
        self._end()


class Publisher(Client):
    """Sends its numbers one request after the other, each until it is acknowledged; without keys
    each once."""

    def __init__(self, loop, address, ledger, index, pause, run):
        super().__init__(loop, address)
        self.ledger = ledger
        self.index = index
        self.pause = pause
        self.run = run
        self.next = 1
        self.numbers = []  # under way
        self.request = b""
        self.tries = 0
        self.answer = b""
        self.repeats = self.duplicates = self.refused = 0
        self.waiting = False
        self.stopping = False
        self.durability = "disk"  # that answers must have
        self.with_keys = ledger.with_keys

    @property
    def idle(self):
        return not self.numbers

    def begin(self):
        self.answer = b""
        if self.numbers:
            self._transmit()
        else:
            self._go_on()

    def lost(self):
        if self.numbers and not self.with_keys:
            self.numbers = []

    def _go_on(self):
        if self.stopping or self.waiting or self.numbers or self.socket is None:
            return
        count = random.choice(SIZES)
        self.numbers = list(range(self.next, self.next + count))
        self.next += count
        self.ledger.sent[self.index] = self.next - 1
        self.tries = 0
        self.request = self._compose()
        self._transmit()

    def _transmit(self):
        self.tries += 1
        self.repeats += self.tries > 1
        self.send(self.request)

    def _event(self, number):
        topics, users = address(self.index, kind_of(number))
        event = {"data": text_of(self.index, number)}
        for names, one, many in [(topics, "topic", "topics"), (users, "user", "users")]:
            if len(names) == 1:
                event[one] = names[0]
            elif names:
                event[many] = names
        if name_of(number) != "message":
            event["event"] = name_of(number)
        return event

    def _key(self, number):
        return f"{self.run}-{self.index}-{number}"

    def _compose(self):
        headers = [("Content-Type", "application/json")]
        events = [self._event(number) for number in self.numbers]
        if self.with_keys:
            if len(events) == 1 and self.numbers[0] % 2:
                headers.append(("Idempotency-Key", f'"{self._key(self.numbers[0])}"'))
            else:
                for event, number in zip(events, self.numbers):
                    event["idempotency_key"] = self._key(number)
        single = len(events) == 1 and self.numbers[0] % 3
        body = json.dumps(events[0] if single or len(headers) > 1 else events).encode()
        return wire.request_bytes("POST", "/api/push", headers, body)

    def data(self, data):
        self.answer += data
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return
        head = wire.Head(head + end)
        if len(body) < int(head.get("Content-Length")):
            return
        self.answer = b""
        self._answered(wire.Response(head, body))
        if "close" in head.words("Connection"):
            self.drop()

    def _answered(self, response):
        if response.status in BUSY:
            response.problem(*BUSY)
            self.refused += 1
            self._again_in(0.01)
            return
        if response.status != 201:
            self.ledger.violation("refused", f"publisher {self.index}: {response}")
        else:
            self._acknowledged(response.json())
        self.numbers = []
        self._again_in(random.uniform(0, 2 * self.pause))

    def _again_in(self, delay):
        self.waiting = True
        self.loop.later(delay, self._rested)

    def _rested(self):
        self.waiting = False
        if self.socket is None:
            return
        if self.numbers:
            self._transmit()
        else:
            self._go_on()

    def _acknowledged(self, answer):
        ids = answer.get("ids") or [answer["id"]]
        flags = answer["duplicates"] if "ids" in answer else [answer["duplicate"]]
        flags = flags or [False] * len(ids)
        ledger = self.ledger
        if len(ids) != len(self.numbers) or answer["durability"] != self.durability:
            ledger.violation("refused", f"publisher {self.index}: an odd answer {answer}")
            return
        if any(flags) != all(flags) or (self.tries == 1 and any(flags)):
            ledger.violation("doubled", f"publisher {self.index}: {self.tries} tries, {answer}")
        for number, event_id in zip(self.numbers, ids):
            ledger.stands(ledger.position_of(event_id), pack(self.index, number),
                          f"publisher {self.index}")
        self.duplicates += sum(map(bool, flags))
        ledger.acknowledged += len(ids)


class Subscriber(Client):
    """A stream that goes on after its last id, parsed to the byte."""

    def __init__(self, loop, address, receiver, since="earliest"):
        super().__init__(loop, address)
        self.receiver = receiver
        self.version = random.choice(["1.1", "1.1", "1.0"])
        self.since = since
        self.head = self.coding = None
        self.rest = b""
        self.greeted = False
        self.refused = 0

    def begin(self):
        query, headers = self.receiver.audience.query(), [("Accept", "text/event-stream")]
        if self.receiver.last_id:
            headers.append(("Last-Event-ID", self.receiver.last_id))
        else:
            query.append(("since", self.since))
        self.head, self.rest, self.greeted = None, b"", False
        self.send(wire.request_bytes("GET", wire.target_of("/events", query), headers,
                                     version=self.version))

    def data(self, data):
        if self.head is None:
            self.rest += data
            head, end, data = self.rest.partition(b"\r\n\r\n")
            if not end:
                return
            self.head, self.rest = wire.Head(head + end), b""
            if self.head.status != 200:
                self.refused += 1
                self.drop()
                return
            chunked = self.head.get("Transfer-Encoding") == "chunked"
            self.coding = wire.Dechunker() if chunked else wire.Identity()
        payload = self.coding.feed(data)
        if payload:
            self.feed(bytes(payload))

    def feed(self, payload):
        receiver = self.receiver
        *blocks, self.rest = (self.rest + payload).split(b"\n\n")
        for block in blocks:
            if block[:1] in b":r":
                block = self._greeting(block)
            frame, mark, event_id = block.rpartition(b"\nid: ")
            if frame.startswith(b"event: checkpoint\n"):
                receiver.pass_to(event_id.decode())
            elif frame.startswith(b"event: reset\n") or not mark:
                self.reset(block, event_id.decode() if mark else None)
            else:
                receiver.take(frame, event_id.decode())

    def reset(self, block, event_id):
        """The stream says so, or it is a block without an id, which nothing here sends."""
        self.receiver.ledger.violation("reset", f"{self.receiver.name}: {block!r}")
        if event_id:
            self.receiver.last_id = event_id

    def _greeting(self, block):
        """Comments, and the one retry behind the first of them."""
        while block[:1] == b":":
            block = block.partition(b"\n")[2]
            if not self.greeted:
                self.greeted = True
                assert block.startswith(b"retry: "), block
                block = block.partition(b"\n")[2]
        return block


def start_publishers(loop, where, ledger, pause, run):
    publishers = [Publisher(loop, where, ledger, index, pause, run) for index in range(PUBLISHERS)]
    for publisher in publishers:
        publisher.connect()
    return publishers


def start_subscribers(loop, where, ledger, queries):
    """One for each of the pairs of patterns and user."""
    subscribers = []
    for index, (patterns, user) in enumerate(queries):
        receiver = Receiver(ledger, ledger.audience(*patterns, user=user), f"socket {index}")
        subscribers.append(Subscriber(loop, where, receiver))
        subscribers[-1].connect()
    return subscribers


def queries_of(count):
    """Exact topics, patterns and users, so many in all, those that get everything few."""
    each = [((f"t/{index}",), None) for index in range(PUBLISHERS)] * 3
    each += [((f"t/{index}",), f"u{index % USERS}") for index in range(PUBLISHERS)]
    each += [(("nothing",), f"u{user}") for user in range(USERS)] * 2
    each += [(("t/*/deep",), None), (("all/*", "t/3/*"), "u1"), (("all/**",), None)] * 2
    rare = [(("t/**",), None), ((), "u2"), (("t/*",), "u0"), ((), None)]
    return (rare + [each[index % len(each)] for index in range(count)])[:count]
