# SPDX-License-Identifier: MIT
"""The clients of the crash tests, at any node: they try another when one does not answer, and
streams go on there with the last id they have."""

import json
import random
import socket
import struct
import time

import load
import wire
from ledger import USERS, pack
from rig_judge import MARKER, Holder

HEARTBEAT_SECONDS = 3  # the least that a gateway takes
SILENCE_SECONDS = 10  # then a stream comes again, at another node
ANSWER_SECONDS = 15  # longer than any answer may take
BUSY_SECONDS = 0.03
UNKNOWN = ["log_lost", "log_unconfirmed"]  # it may be stored
MARK_STEP = 50  # of numbers whose kind is for everybody


class Answer:
    """What came of one request to publish."""

    __slots__ = ("node", "begun", "ended", "status", "code")

    def __init__(self, node, begun, ended, status, code):
        self.node, self.begun, self.ended = node, begun, ended
        self.status, self.code = status, code

    @property
    def seconds(self):
        return self.ended - self.begun


class Roving:
    """Beside load.Client: takes a node of `world` for each connection, its own if it has one."""

    patience = 0

    def settle_at(self, world, own=None):
        self.world = world
        self.own = own
        self.node = own or random.choice(world.nodes)
        self.touched = time.monotonic()
        self.is_open = False
        self.silences = 0  # connections that were given up

    def begin(self):
        self.is_open = True
        super().begin()

    def lost(self):
        self.is_open = False
        super().lost()

    def connect(self):
        if self.socket or self.closed:
            return
        self.node = self.own or random.choice(self.world.nodes)
        self.address = self.node.address
        self.touched = time.monotonic()
        super().connect()

    def _ready(self, mask):
        self.touched = time.monotonic()
        super()._ready(mask)

    def is_stuck(self, now):
        return self.socket is not None and now - self.touched > self.patience

    def look(self, now):
        if self.is_stuck(now):
            self.silences += 1
            self.drop()


class RovingPublisher(Roving, load.Publisher):
    """Those that the judge has as keyless have no keys, and publish anew what is not stored, as the
    answer says, and nothing else: such an event never stands twice."""

    def __init__(self, world, index, pause, run, own=None):
        super().__init__(world.loop, None, world.judge, index, pause, run)
        self.durability = world.durability
        self.with_keys = index not in world.judge.keyless
        self.begun = 0
        self.patience = wire.seconds(ANSWER_SECONDS)
        self.settle_at(world, own)

    def is_stuck(self, now):
        return bool(self.numbers) and super().is_stuck(now)

    def _end(self):
        if self.socket:  # what the kernel still has must not come to a node later
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        super()._end()

    def begin(self):
        self.answer = b""
        self.is_open = True
        if not self.waiting:
            super().begin()

    def _rested(self):
        self.waiting = False
        if self.is_open:
            super()._rested()

    def _transmit(self):
        self.touched = time.monotonic()
        super()._transmit()

    def _answered(self, response):
        busy = response.status in load.BUSY
        code = json.loads(response.body)["code"] if busy else ""
        self.world.answers.append(
            Answer(self.node, self.begun, time.monotonic(), response.status, code))
        if code in UNKNOWN and not self.with_keys:
            self.numbers = []
            self._again_in(BUSY_SECONDS)
            return
        super()._answered(response)
        if busy and not self.own and random.random() < 0.3:
            self.drop()

    def send(self, data):
        self.begun = time.monotonic()
        super().send(data)

    def _again_in(self, delay):
        super()._again_in(max(delay, BUSY_SECONDS) if self.numbers else delay)

    def resume(self):
        self.stopping = False
        self._go_on()


class Marker(RovingPublisher):
    """Publishes one event for everybody when it is told to."""

    def __init__(self, world, run):
        super().__init__(world, MARKER, 0, run)
        self.stopping = True
        self.number = 0
        self.marked_id = None

    def mark(self):
        self.number += MARK_STEP
        self.ledger.sent[self.index] = self.number
        self.numbers = [self.number]
        self.tries = 0
        self.request = self._compose()
        if self.is_open:
            self._transmit()
        else:
            self.connect()

    @property
    def who(self):
        return pack(self.index, self.number)

    def _acknowledged(self, answer):
        self.marked_id = answer.get("id") or answer["ids"][0]
        super()._acknowledged(answer)


class RovingSubscriber(Roving, load.Subscriber):
    def __init__(self, world, receiver, own=None, stays=False):
        super().__init__(world.loop, None, receiver)
        self.stays = stays
        self.patience = wire.seconds(SILENCE_SECONDS)
        self.settle_at(world, own)

    def is_stuck(self, now):
        return not self.stays and super().is_stuck(now)

    def begin(self):
        path = self.receiver.path
        path.append(f"at {self.node.name} after {self.receiver.last_id}")
        super().begin()

    def reset(self, block, event_id):
        if event_id is None:
            super().reset(block, event_id)
            return
        data = block.partition(b"\ndata: ")[2].partition(b"\n")[0]
        self.receiver.reset(json.loads(data)["reason"], event_id)


class Oracle:
    """All that one node has behind an id, over streams that get every event between them."""

    QUERIES = [(("**",), f"u{user}") for user in range(USERS)] + [((), None)]

    def __init__(self, world, node, after_id):
        judge = world.judge
        self.streams = []
        for patterns, user in self.QUERIES:
            holder = Holder(judge, judge.audience(*patterns, user=user), f"order of {node.name}",
                            is_judged=False)
            if after_id:
                holder.last_id = after_id
                holder.start = holder.last = judge.position_of(after_id)
            stream = RovingSubscriber(world, holder, own=node)
            stream.connect()
            self.streams.append(stream)

    def part(self, judge):
        """(where it begins, who stands at each position behind)"""
        part = {}
        for stream in self.streams:
            for position, who in stream.receiver.held:
                if part.setdefault(position, who) != who:
                    judge.violation("differs", f"{stream.receiver.name}: {position} is one event"
                                    " for some and another for others")
        return min(stream.receiver.start for stream in self.streams), part

    def close(self):
        for stream in self.streams:
            stream.close()
