#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Clients that read so many bytes a second and no more, for longer than any timeout.

They fall ever farther behind, from the ring to the history, and are not cut.  In the end they read
as fast as they can, and every event must be there.
"""

import contextlib
import io
import pathlib
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]

import crowd  # noqa: E402
from conftest import Gateway  # noqa: E402

# A window of some hundred bytes: what a client acknowledges follows what it reads.  With the usual
# buffers a kernel takes 60 KB at once and then nothing for as long as that lasts the reader.
RECEIVE_BUFFER = 1
SEGMENT = 536
TOPIC = "news"


class Slow:
    """Reads so many bytes a second, a little at a time."""

    def __init__(self, client, rate, begun):
        self.client, self.rate, self.begun = client, rate, begun

    def tick(self):
        due = int((time.monotonic() - self.begun) * self.rate) - self.client.bytes
        if due >= 64 and not self.client.ended:
            self.client.read(due)


def run(options, folder):
    settings = {"stream.stall_timeout": f"{options.stall_timeout}s", "stream.ring_events": 64,
                "stream.heartbeat": "60s"}
    gateway = Gateway(folder, settings, workers=1, store="memory:")
    gateway.start()
    begun = time.monotonic()
    rates = [rate for rate in options.rates for _ in range(options.clients)]
    slow = [Slow(crowd.Client(gateway.address, TOPIC, RECEIVE_BUFFER, SEGMENT), rate, begun)
            for rate in rates]
    publisher = crowd.Publisher(gateway, TOPIC, options.rate, options.size)
    while time.monotonic() < begun + options.seconds:
        publisher.tick()
        for each in slow:
            each.tick()
        time.sleep(0.01)
    behind = min(publisher.published - each.client.received for each in slow)
    read = {rate: max(each.client.bytes for each in slow if each.rate == rate)
            for rate in options.rates}
    clients = crowd.Crowd()
    for each in slow:
        if not each.client.ended:
            each.client.socket.setsockopt(1, 8, 262144)  # SO_RCVBUF, to be done with it
            clients.add(each.client)
    with contextlib.suppress(AssertionError):
        clients.run_until(lambda: all(each.client.received == publisher.published
                                      or each.client.ended for each in slow), 60, "all is read")
    stats = gateway.stats()
    clients.close()
    with contextlib.redirect_stderr(io.StringIO()):
        gateway.finish()
    return {"clients": [each.client for each in slow], "published": publisher.published,
            "behind": behind, "stats": stats, "read": read}


def faults_of(result):
    clients, stats = result["clients"], result["stats"]
    whole = sum(client.received == result["published"] and client.first == 0 and not client.wrong
                for client in clients)
    if whole != len(clients):
        yield (f"{whole} of {len(clients)} have everything,"
               f" {sum(client.ended is not None for client in clients)} were cut,"
               f" {({client.wrong for client in clients if client.wrong})}")
    if stats["streams_open"] < len(clients) or stats["resets"]:
        yield f"{stats['streams_open']} streams are open, {stats['resets']} resets"
    if result["behind"] < 65:
        yield f"only {result['behind']} events behind: that was not slow"


def parse(arguments):
    parser = crowd.parser_of(__doc__)
    parser.add_argument("--clients", type=int, default=50, help="at each rate (50)")
    parser.add_argument("--rates", type=int, nargs="+", default=[1024, 200, 60],
                        help="bytes a second that they read (1024 200 60)")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--stall-timeout", type=int, default=30, help="seconds (30)")
    parser.add_argument("--rate", type=float, default=20, help="events a second (20)")
    parser.add_argument("--size", type=int, default=1024, help="of their data (1024)")
    return crowd.parse(parser, arguments)


def main(arguments=None):
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="bugle-slow-") as folder:
        result = run(options, pathlib.Path(folder))
    print(f"{options.clients} clients at each of {options.rates} bytes/s for {options.seconds} s,"
          f" at least {result['behind']} of {result['published']} events behind,"
          f" with a stall timeout of {options.stall_timeout} s;"
          f" {sum(client.ended is not None for client in result['clients'])} cut;"
          f" {sum(client.received for client in result['clients'])} deliveries checked")
    return crowd.verdict(faults_of(result))


if __name__ == "__main__":
    sys.exit(main())
