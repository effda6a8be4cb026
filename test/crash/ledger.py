# SPDX-License-Identifier: MIT
"""What was published, what was acknowledged, and who is to receive it.

The whole content of an event follows from who published it and its number there, so nothing about
it needs to be kept but its place: an array says who stands at a position, another where a number
stands.  Receivers are cursors into the positions that are for them.  A million events cost some
tens of megabytes, however many receivers there are.
"""

import array
import bisect
import collections

PUBLISHERS = 16
USERS = 4
KINDS = 50
FILLS = 120
SHOWN = 20  # violations that are told in words
CACHE_FRAMES = 50_000


def user_of(publisher, step=0):
    return f"u{(publisher + step) % USERS}"


def kind_of(number):
    return number * 7 % KINDS


def address(publisher, kind):
    """To whom a publisher sends its events of a kind: topics and users."""
    own = f"t/{publisher}"
    if kind < 1:
        return [], []
    if kind < 5:
        return [], [user_of(publisher)]
    if kind < 10:
        return [own], [user_of(publisher), user_of(publisher, 1)]
    if kind < 15:
        return [f"{own}/deep"], []
    if kind < 20:
        return [own, "all/x"], []
    return [own], []


def text_of(publisher, number):
    """Its data; some has more than one line, some more than ASCII."""
    fill = "x" * ((number * 7919 + publisher * 31) % FILLS)
    if number % 13 == 0:
        fill += "é—✓"
    if number % 17 == 0:
        fill += "\n" + fill
    return f"{publisher} {number} {fill}"


def name_of(number):
    return "tick" if number % 11 == 0 else "message"


def frame_of(publisher, number):
    """Its bytes on a stream, up to the id."""
    name = name_of(number)
    lines = [] if name == "message" else [f"event: {name}"]
    lines += [f"data: {line}" for line in text_of(publisher, number).split("\n")]
    return "\n".join(lines).encode()


def pack(publisher, number):
    """Who published it and as which number, as one: 0 is nobody's."""
    return (publisher + 1) << 40 | number


def unpack(who):
    return (who >> 40) - 1, who & (1 << 40) - 1


def is_for(patterns, user, topics, users):
    """The rule of the contract, in its simplest words."""
    if users and user not in users:
        return False
    return not topics or not patterns or any(
        matches(pattern.split("/"), topic.split("/")) for pattern in patterns for topic in topics)


def matches(pattern, topic):
    if pattern[-1:] == ["**"]:
        return len(topic) >= len(pattern) and matches(pattern[:-1], topic[:len(pattern) - 1])
    return len(pattern) == len(topic) and all(
        one in ("*", other) for one, other in zip(pattern, topic))


class Audience:
    """All streams with the same query, and the positions that are for them."""

    def __init__(self, patterns, user):
        self.patterns = patterns
        self.user = user
        self.positions = array.array("Q")

    def __repr__(self):
        return f"{'+'.join(self.patterns) or 'all'}{'@' + self.user if self.user else ''}"

    def wants(self, publisher, kind):
        return is_for(self.patterns, self.user, *address(publisher, kind))

    def query(self):
        return [("topic", pattern) for pattern in self.patterns] + (
            [("user", self.user)] if self.user else [])


class Ledger:
    """`with_keys`: a publisher goes on only when an event is acknowledged, so its numbers have no
    gaps; without, what lost its answer may be there or not."""

    def __init__(self, with_keys=True):
        self.with_keys = with_keys
        self.epoch = None
        self.who = array.array("Q", [0])  # at each position
        self.where = [array.array("Q", [0]) for _ in range(PUBLISHERS)]  # is each number
        self.sent = [0] * PUBLISHERS  # the highest number
        self.last = [0] * PUBLISHERS  # the number of each that stands highest so far
        self.known = 0  # all positions up to here are known
        self.newest = 0  # acknowledged or seen
        self.acknowledged = 0
        self.audiences = {}
        self.routes = None
        self.frames = {}
        self.wrong = collections.Counter()
        self.words = []

    def violation(self, kind, text):
        self.wrong[kind] += 1
        if len(self.words) < SHOWN:
            self.words.append(f"{kind}: {text}")

    # who gets what

    def audience(self, *patterns, user=None):
        """The one of this query; new ones hear of all there was."""
        key = (patterns, user)
        if key not in self.audiences:
            self.audiences[key] = audience = Audience(patterns, user)
            for position in range(1, self.known + 1):
                publisher, number = unpack(self.who[position])
                if audience.wants(publisher, kind_of(number)):
                    audience.positions.append(position)
            self.routes = None
        return self.audiences[key]

    def _make_routes(self):
        return [[[audience.positions for audience in self.audiences.values()
                  if audience.wants(publisher, kind)] for kind in range(KINDS)]
                for publisher in range(PUBLISHERS)]

    # what is learned

    def position_of(self, event_id):
        """The number in an id, whose form and epoch must be right; 0 if not."""
        epoch, _, position = event_id.partition("-")
        self.epoch = self.epoch or epoch
        if epoch != self.epoch or len(position) != 16 or not position.isdecimal():
            self.violation("reset", f"id {event_id!r}, where the epoch is {self.epoch}")
            return 0
        return int(position)

    def identify(self, frame):
        """Who published what has these bytes; 0 if nobody did."""
        who = self.frames.get(frame)
        if who is None:
            who = self._identify(frame)
            if len(self.frames) >= CACHE_FRAMES:
                self.frames.clear()
            self.frames[frame] = who
        return who

    def _identify(self, frame):
        words = frame.partition(b"data: ")[2].split(b" ", 2)
        if len(words) == 3 and words[0].isdigit() and words[1].isdigit():
            publisher, number = int(words[0]), int(words[1])
            known = publisher < PUBLISHERS and 0 < number <= self.sent[publisher]
            if known and frame == frame_of(publisher, number):
                return pack(publisher, number)
        self.violation("invented", f"nobody published {frame[:200]!r}")
        return 0

    def stands(self, position, who, by):
        """Somebody says that this event has this position: it must be so for everybody."""
        if position > self.newest:
            self.newest = position
            if position >= len(self.who):
                self.who.frombytes(bytes(8 * (position + 4096 - len(self.who))))
        publisher, number = unpack(who)
        where = self.where[publisher]
        if number >= len(where):
            where.frombytes(bytes(8 * (number + 1024 - len(where))))
        if self.who[position] not in (0, who):
            self.violation("lost", f"{by}: position {position} is {publisher} {number}, and was"
                           f" {unpack(self.who[position])}")
        elif where[number] not in (0, position):
            self.violation("doubled", f"{by}: {publisher} {number} at {position}, and at"
                           f" {where[number]} before")
        self.who[position] = who
        where[number] = position

    def advance(self):
        """Go on to the first position of which nobody has said anything."""
        if self.routes is None:
            self.routes = self._make_routes()
        while self.known < self.newest and self.who[self.known + 1]:
            self.known += 1
            publisher, number = unpack(self.who[self.known])
            before = self.last[publisher]
            if number <= before or (self.with_keys and number != before + 1):
                self.violation("reordered", f"publisher {publisher}: {number} after {before}")
            self.last[publisher] = number
            for positions in self.routes[publisher][kind_of(number)]:
                positions.append(self.known)


class Receiver:
    """One subscriber across all its connections: each event once, in order, none left out."""

    def __init__(self, ledger, audience, name, after=0):
        self.ledger = ledger
        self.audience = audience
        self.name = f"{name} {audience}"
        self.last = after  # the position it would go on after
        self.last_id = None
        self.cursor = bisect.bisect_right(audience.positions, after)
        self.fresh = []  # received, and not compared yet
        self.received = 0

    def take(self, frame, event_id):
        """An event has come: its bytes up to the id, and that."""
        ledger = self.ledger
        who = ledger.identify(frame)
        position = ledger.position_of(event_id)
        if not who or not position:
            return
        if position <= self.last:
            kind = "doubled" if position == self.last else "reordered"
            ledger.violation(kind, f"{self.name}: {position} after {self.last}")
            return
        # what everybody knows already costs one comparison
        if position > ledger.newest or ledger.who[position] != who:
            ledger.stands(position, who, self.name)
        self.last = position
        self.last_id = event_id
        self.received += 1
        self.fresh.append(position)

    def pass_to(self, event_id):
        """A checkpoint: nothing up to there is outstanding."""
        position = self.ledger.position_of(event_id)
        if position < self.last:
            self.ledger.violation("reordered", f"{self.name}: a checkpoint at {position} after"
                                  f" {self.last}")
        self.last = max(position, self.last)
        self.last_id = event_id

    def settle(self):
        """Compare what came with what was to come, as far as all positions are known."""
        n = bisect.bisect_right(self.fresh, self.ledger.known)
        if n == 0:
            return
        due = self.audience.positions[self.cursor:self.cursor + n]
        came = array.array("Q", self.fresh[:n])
        if due != came:
            self._tell(due, came)
        self.cursor = bisect.bisect_right(self.audience.positions, came[-1])
        del self.fresh[:n]

    def _tell(self, due, came):
        upto = bisect.bisect_right(self.audience.positions, came[-1])
        due = set(self.audience.positions[self.cursor:upto])
        for position in sorted(due - set(came)):
            self.ledger.violation("lost", f"{self.name}: {position} never came")
        for position in sorted(set(came) - due):
            self.ledger.violation("invented", f"{self.name}: {position} was not for it")

    def is_done(self):
        """Whether it has all there is so far."""
        self.settle()
        return not self.fresh and self.cursor == len(self.audience.positions)

    def miss(self):
        """At the end: what did not come any more is lost."""
        left = self.audience.positions[self.cursor:]
        for position in left:
            self.ledger.violation("lost", f"{self.name}: {position} never came")
