# SPDX-License-Identifier: MIT
"""The ledger of the crash tests for an order that several gateways share, and that may fork.

What is acknowledged and what comes by a stream is noted as it comes.  Judgement is passed when all
is quiet: the nodes are asked for the whole order, it must be one, and everybody is held against it.

    acknowledged   stands where its answer said; where a promise allows it to be gone, it is counted
    a client       has everything of the order that is for it and nothing else, since it last was
                   told of a reset; so a fork that took something from it was told to it
    the order      has each event once, those of a publisher in its order
"""

import array
import collections
import hashlib

from ledger import PUBLISHERS, Ledger, Receiver, kind_of, unpack

KINDS = ["lost", "moved", "doubled", "reordered", "hole", "invented", "reset", "differs", "refused",
         "late"]
MARKER = PUBLISHERS - 1  # publishes what everybody gets, as the end of a part


class Judge(Ledger):
    """`lossy`: what was acknowledged may be gone; `reasons`: of resets that are in order;
    `forgetful`: so may keys, and what is repeated then stands twice."""

    def __init__(self, lossy=False, reasons=(), forgetful=False):
        super().__init__()
        self.lossy = lossy
        self.forgetful = forgetful
        self.reasons = set(reasons)
        self.keyless = set()  # publishers that repeat nothing that may be stored
        self.order = array.array("Q", [0])  # who stands at each position; 0: not known
        self.base = 0  # judged up to here
        self.base_id = None
        self.claims = []  # (position, who, by), since then
        self.resets = collections.Counter()  # by reason
        self.gone = 0  # acknowledged and not there any more
        self.elsewhere = 0  # acknowledged, and stands at another place
        self.twice = 0  # stands there a second time, as its key was gone
        self.hash = hashlib.sha256()
        self.holders = []

    # what is learned

    def position_of(self, event_id):
        epoch, _, position = event_id.partition("-")
        if len(epoch) != 12 or len(position) != 16 or not position.isdecimal():
            self.violation("invented", f"id {event_id!r}")
            return 0
        return int(position)

    def stands(self, position, who, by):
        """An answer says so."""
        self.claims.append((position, who, by))

    def advance(self):
        raise NotImplementedError("positions are judged all at once")

    def audience(self, *patterns, user=None):
        key = (patterns, user)
        if key not in self.audiences:
            audience = super().audience(*patterns, user=user)
            # each of the few kinds is looked at once
            audience.known = {}
        return self.audiences[key]

    @staticmethod
    def is_due(audience, who):
        publisher, number = unpack(who)
        key = (publisher, kind_of(number))
        due = audience.known.get(key)
        if due is None:
            due = audience.known[key] = audience.wants(*key)
        return due

    # the judgement

    def pass_judgement(self, parts, marker_id):
        """`parts`: for each node by name, where its part begins and who stands at each position
        behind that, up to the marker: all there was since the last judgement."""
        end = self.position_of(marker_id)
        former = self.order
        floor = self._take_parts(parts, end)
        changed = [position for position in range(floor + 1, self.base + 1)
                   if position > end or self.order[position] != former[position]]
        self._check_order(floor)
        self._check_claims(former, changed)
        for holder in self.holders:
            holder.judge(former, changed, end)
        self.base, self.base_id, self.newest = end, marker_id, end

    def _take_parts(self, parts, end):
        """All nodes must have the same.  Returns from where on the order is new."""
        floor = min(start for start, _ in parts.values())
        first = next(name for name, (start, _) in parts.items() if start == floor)
        own = parts[first][1]
        for name, (start, part) in parts.items():
            for position in range(start + 1, end + 1):
                if position not in part:
                    self.violation("hole", f"node {name} has nothing at {position}")
                elif part[position] != own.get(position):
                    self.violation("differs", f"{position} is {told(part[position])} at {name} and"
                                   f" {told(own.get(position))} at {first}")
            for position in part.keys() - range(start + 1, end + 1):
                self.violation("invented", f"node {name} has {told(part[position])} at {position},"
                               f" outside of {start + 1} to {end}")
        if floor < self.base and not self.lossy:
            self.violation("lost", f"the order was cut at {floor}, and went to {self.base}")
        self.order = self.order[:floor + 1]
        self.order.extend([0] * (floor + 1 - len(self.order)))
        self.order.extend(own.get(position, 0) for position in range(floor + 1, end + 1))
        self.hash.update(self.order[floor + 1:].tobytes())
        return floor

    def _check_order(self, floor):
        """Once, and those of a publisher in its order; without a loss there is none missing."""
        if floor < self.base:
            self._forget_after(floor)
        for position in range(floor + 1, len(self.order)):
            who = self.order[position]
            if not who:
                continue
            publisher, number = unpack(who)
            where = self.where[publisher]
            if number >= len(where):
                where.frombytes(bytes(8 * (number + 1024 - len(where))))
            if where[number] and self.forgetful:
                self.twice += 1
                continue
            if where[number]:
                self.violation("doubled", f"{told(who)} at {position} and {where[number]}")
            before = self.last[publisher]
            where[number] = position
            self.last[publisher] = max(number, before)
            if publisher in self.keyless:
                continue  # goes on elsewhere without an answer
            may_lack = self.lossy or publisher == MARKER
            if number <= before and self.lossy:
                # acknowledged at one node and lost; and another still had the first try
                self.elsewhere += 1
            elif number <= before or (number != before + 1 and not may_lack):
                self.violation("reordered", f"at {position} {told(who)} after {before}")

    def _forget_after(self, floor):
        for publisher, where in enumerate(self.where):
            for number, position in enumerate(where):
                if position > floor:
                    where[number] = 0
            self.last[publisher] = max((number for number, position in enumerate(where)
                                        if position), default=0)

    def _check_claims(self, former, changed):
        for position, who, by in self.claims:
            if position < len(self.order) and self.order[position] == who:
                continue
            publisher, number = unpack(who)
            where = self.where[publisher]
            if number < len(where) and where[number] and self.lossy:
                # repeated at another node, which stored it in the term that went on
                self.elsewhere += 1
            elif number < len(where) and where[number]:
                self.violation("moved", f"{by}: {told(who)} at {where[number]}, acknowledged at"
                               f" {position}")
            else:
                self._lose(position, who)
        for position in changed:
            self._lose(position, former[position])
        self.claims.clear()

    def _lose(self, position, who):
        self.gone += 1
        if not self.lossy:
            self.violation("lost", f"{told(who)}, acknowledged at {position}")

    def tell_reset(self, name, reason, event_id):
        self.resets[reason] += 1
        if reason not in self.reasons:
            self.violation("reset", f"{name}: {reason}, {event_id}")


class Holder(Receiver):
    """One subscriber across all its connections, at whatever node."""

    def __init__(self, judge, audience, name, is_judged=True):
        super().__init__(judge, audience, name)
        self.start = 0  # what it holds begins behind this
        self.held = []  # (position, who)
        self.was_reset = False
        self.resets = 0
        self.is_judged = is_judged
        self.path = []  # since the last judgement: where it was, and what it was told
        if is_judged:
            judge.holders.append(self)

    def take(self, frame, event_id):
        judge = self.ledger
        who, position = judge.identify(frame), judge.position_of(event_id)
        if not who or not position:
            return
        if position <= self.last:
            judge.violation("doubled" if position == self.last else "reordered",
                            f"{self.name}: {position} after {self.last}, {event_id}")
            return
        if self.last_id is None or self.last_id[:12] != event_id[:12]:
            self.path.append(f"gets {event_id}")
        self.last, self.last_id = position, event_id
        self.received += 1
        self.held.append((position, who))

    def reset(self, reason, event_id):
        """It cannot go on, and is told so: what it held is nothing to build on."""
        if self.is_judged:
            self.ledger.tell_reset(f"{self.name} after {self.last_id}", reason, event_id)
        self.path.append(f"after {self.last_id} is told reset {reason} {event_id}")
        self.start = self.last = self.ledger.position_of(event_id)
        self.last_id = event_id
        self.held.clear()
        self.was_reset = True
        self.resets += 1

    def has(self, position, who):
        """Whether it has come as far: this is the newest it has, or it was told to go on there."""
        if not self.held:
            return self.was_reset and self.start >= position
        return self.held[-1] == (position, who)

    def judge(self, former, changed, end):
        judge = self.ledger
        if not self.was_reset:
            for position in changed:
                if judge.is_due(self.audience, former[position]):
                    judge.violation("hole", f"{self.name}: {position} is another event now, and it"
                                    " was not told")
                    break
        due = {position: judge.order[position] for position in range(self.start + 1, end + 1)
               if judge.order[position] and judge.is_due(self.audience, judge.order[position])}
        came = dict(self.held)
        if due != came:
            self._tell_difference(due, came)
        self.start, self.was_reset = end, False
        self.path.clear()
        self.held.clear()

    def _tell_difference(self, due, came):
        self.ledger.words.append(f"the path of {self.name}: {'; '.join(self.path)}")
        for position in sorted(due.keys() - came.keys()):
            self.ledger.violation("hole", f"{self.name}: {position} never came, after {self.start}")
        for position in sorted(came.keys() - due.keys()):
            self.ledger.violation("invented", f"{self.name}: {told(came[position])} at {position}"
                                  " is not in the order, or not for it, and it was not told")
        for position in sorted(due.keys() & came.keys()):
            if due[position] != came[position]:
                self.ledger.violation("hole", f"{self.name}: {position} is"
                                      f" {told(due[position])}, and {told(came[position])} came")


def told(who):
    return "nothing" if not who else "{} {}".format(*unpack(who))
