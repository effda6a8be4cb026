#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""One flipped bit, or a cut, somewhere in the file of a store, under the real program.

It may refuse to start, with one clear line.  If it starts, nothing that it serves is anything but
what was published, whatever is missing is told by a reset before the next event comes, and no
place in the order is given to another event.
"""

import argparse
import collections
import contextlib
import io
import os
import pathlib
import random
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / each) for each in ("scenarios", "support"))]

import wire  # noqa: E402
from conftest import REPORTS, Gateway  # noqa: E402
from crash import takes_keys  # noqa: E402
from ledger import PUBLISHERS, address, frame_of, is_for, kind_of, name_of, text_of  # noqa: E402

EVENTS = 3000
BATCH = 50
QUERIES = [((), None), (("**",), "u1"), (("t/3",), None), (("t/*/deep", "all/x"), None),
           (("nothing",), "u2")]


class Damage:
    """A sound store to damage copies of, and what is in it."""

    def __init__(self, folder):
        self.folder = folder
        self.sound = folder / "sound.db"
        self.path = folder / "h.db"
        self.gateway = Gateway(folder, store=f"sqlite:{self.path}", workers=1)
        self.published = {}  # by id: publisher and number
        self.fates = collections.Counter()
        self.with_keys = takes_keys()
        self._fill()

    def _fill(self):
        self.gateway.start()
        for first in range(0, EVENTS, BATCH):
            batch = [(index % PUBLISHERS, index // PUBLISHERS + 1)
                     for index in range(first, first + BATCH)]
            ids = self.gateway.push([self._event(*each) for each in batch])["ids"]
            self.published.update(zip(ids, batch))
        self.gateway.stop()
        shutil.copy(self.path, self.sound)
        self.bytes = self.sound.read_bytes()

    def _event(self, publisher, number):
        topics, users = address(publisher, kind_of(number))
        event = {"data": text_of(publisher, number), "event": name_of(number)}
        event.update({"topics": topics} if topics else {}, **({"users": users} if users else {}))
        if self.with_keys:
            event["idempotency_key"] = f"{publisher}-{number}"
        return event

    # one damage

    def strike(self):
        """Damage the file somewhere.  What was done, in words."""
        for path in self.folder.glob("h.db*"):
            path.unlink()
        content = bytearray(self.bytes)
        at = random.randrange(random.choice([100, 8192] + [len(content)] * 8))
        if random.random() < 0.1:
            del content[at + 1:]  # an empty file is a new store
            what = f"cut behind {at}"
        else:
            bit = random.randrange(8)
            content[at] ^= 1 << bit
            what = f"bit {bit} of byte {at} flipped"
        self.path.write_bytes(content)
        return what

    def round(self):
        what = self.strike()
        self.gateway.log_path.unlink(missing_ok=True)
        try:
            fate = self._fate()
        except (AssertionError, OSError) as failure:
            raise AssertionError(f"{what}: {failure}\n{self.gateway.log()[-3000:]}") from failure
        finally:
            if self.gateway.process:
                self.gateway.kill()
        self.fates[fate] += 1

    def _fate(self):
        self.gateway.start(ready=False)
        if not self._starts():
            lines = [line for line in self.gateway.log().splitlines() if "cannot start" in line]
            status, self.gateway.process = self.gateway.wait(), None
            assert status == 1 and len(lines) == 1, f"left with {status}"
            return "refused"
        told = [self._read(patterns, user) for patterns, user in QUERIES]
        self._publish()
        assert self.gateway.process.poll() is None, "it is gone"
        assert not REPORTS.search(self.gateway.log())
        return max(told)

    def _starts(self):
        def is_decided():
            with contextlib.suppress(ConnectionError, AssertionError):
                return self.gateway.process.poll() is not None or self.gateway._is_ready()

        wire.wait_until(is_decided, 20, "it starts or leaves")
        return self.gateway.process.poll() is None

    def _read(self, patterns, user):
        """Everything a stream gets; its fate: whole, or told of a loss."""
        due = [id for id, (publisher, number) in self.published.items()
               if is_for(patterns, user, *address(publisher, kind_of(number)))]
        query = [("topic", pattern) for pattern in patterns] + ([("user", user)] if user else [])
        stream = wire.open_stream(
            self.gateway.address, wire.target_of("/events", [*query, ("since", "earliest")]))
        with contextlib.closing(stream):
            response = self.gateway.post({"data": "end", "ephemeral": True})
            assert response.status == 201, response
            return self._compare(stream, due)

    def _compare(self, stream, due):
        fate, index = "sound", 0
        while True:
            event = stream.next_event()
            if event.data == "end":
                break
            if event.name == "reset":
                assert event.json()["reason"] in ("damaged", "expired"), event
                fate = "told: a reset"
                while index < len(due) and due[index] <= event.id:
                    index += 1
                continue
            assert event.id in self.published, f"invented: {event}"
            assert event.raw.startswith(frame_of(*self.published[event.id]) + b"\nid: "), event
            if index == 0 and event.id != due[0] and self._trimmed() >= due[0]:
                index = due.index(event.id)  # the beginning is gone, as that of an old store is
                fate = "told: a later beginning"
            assert index < len(due) and event.id == due[index], (
                f"silently lost: {due[index:index + 3]} before {event.id}")
            index += 1
        if index < len(due):
            assert self._trimmed() >= due[-1], f"silently lost: {due[index:][:3]}"
        return fate

    def _trimmed(self):
        """The id before the oldest that there still is, as a stream with an old id is told."""
        first = min(self.published)
        with contextlib.closing(wire.open_stream(
                self.gateway.address, wire.target_of("/events", [("topic", "**")]),
                [("Last-Event-ID", f"{first.partition('-')[0]}-{0:016}")])) as stream:
            event = stream.next_event()
            if event.name != "reset":
                return ""
            return event.id

    def _publish(self):
        """What is new gets a new id, what is repeated with its key the one it has; or neither."""
        response = self.gateway.post({"data": "new"})
        if response.status == 201:
            assert response.json()["id"] > max(self.published), "an id is used twice"
        else:
            response.problem(503, 507)
        if not self.with_keys:
            return
        for event_id, event in random.sample(sorted(self.published.items()), 20):
            response = self.gateway.post(self._event(*event))
            if response.status != 201:
                response.problem(503, 507)
                return
            answer = response.json()
            assert answer["duplicate"] and answer["id"] == event_id, f"stored again: {answer}"

    def close(self):
        with contextlib.redirect_stderr(io.StringIO()):
            self.gateway.finish()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--flips", type=int, default=300, help="damages (300)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--bugle", help="the program ($BUGLE)")
    options = parser.parse_args(arguments)
    if options.bugle:
        os.environ["BUGLE"] = options.bugle
    random.seed(options.seed)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="bugle-damage-") as folder:
        damage = Damage(pathlib.Path(folder))
        with contextlib.closing(damage):
            for number in range(options.flips):
                try:
                    damage.round()
                except AssertionError as failure:
                    failed += 1
                    print(f"damage {number + 1}: {failure}")
    fates = ", ".join(f"{count} {fate}" for fate, count in sorted(damage.fates.items()))
    print(f"seed {options.seed}: {options.flips} damages: {fates}; {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
