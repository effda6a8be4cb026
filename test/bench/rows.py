# SPDX-License-Identifier: MIT
"""What is measured: for each row the load, the servers in turn, the figures, and what the gateway
is held to."""

import dataclasses

# As the columns are called.
TITLES = {"bugle": "Bugle", "sqlite": "on disk", "one-worker": "1 worker",
          "two-workers": "2 workers", "all": "all", "half": "half",
          "events": "SSE", "sockets": "WebSocket", "tls": "TLS",
          "sixteen": "16 nodes", "alone": "alone",
          "nchan": "nchan", "go": "Go hub", "floor": "floor"}
PEERS = ("bugle", "nchan", "go", "floor")
STORES = ("bugle", "sqlite", "nchan", "go", "floor")
TRANSPORTS = ("events", "sockets", "floor")


@dataclasses.dataclass(frozen=True)
class Load:
    """How much of it: `some` streams are a busy page, `many` a crowd."""

    some: int = 1000
    many: int = 15000
    seconds: float = 5  # of a measured window
    beat: float = 15    # of a window over idle streams: a whole heartbeat
    settle: float = 5   # of quiet once the streams of a private topic each stand


@dataclasses.dataclass(frozen=True)
class Figure:
    """One line of the table: where the number stands in the JSON and how it is shown."""

    label: str
    path: tuple
    digits: int = 0
    scale: float = 1
    compared: bool = True  # ratios make sense
    best: str = "least"    # or "most": which end is the good one


LATENCY = (Figure("latency p50, ms", ("latency", "p50_us"), 3, 1e-3),
           Figure("latency p99, ms", ("latency", "p99_us"), 3, 1e-3))
DELIVERY = Figure("CPU a delivery, us", ("server", "cpu_us_per_delivery"), 2)
EVENT = Figure("CPU an event, us", ("server", "cpu_us_per_event"), 1)
LOST = Figure("deliveries lost", ("deliveries", "lost"), compared=False)
DELIVERED = Figure("deliveries/s", ("window", "deliveries_per_s"), best="most")
PUBLISHED = Figure("events/s", ("window", "events_per_s"), best="most")
THROUGHPUT = Figure("GB a second of CPU", ("server", "bytes_per_cpu_s"), 2, 1e-9, best="most")
CONNECT = Figure("CPU a connection, us", ("server", "cpu_us_per_connect"), 1)
CLOSE = Figure("CPU a close, us", ("server", "cpu_us_per_close"), 1)
FIRST_BYTES = Figure("first bytes p99, ms", ("first_bytes", "p99_us"), 1, 1e-3)
LIVE = Figure("live latency p99, ms", ("live", "latency", "p99_us"), 3, 1e-3)
ANSWER = Figure("answer p99, ms", ("answers", "p99_us"), 2, 1e-3)
BUSY = Figure("CPU, % of a core", ("server", "cpu_percent"), 2)
MEMORY = Figure("private memory a stream, KiB", ("server", "private_per_stream"), 2, 1 / 1024)


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    title: str  # {some}, {many} and {half} are filled in
    servers: tuple
    figures: tuple
    options: object  # Load -> options of `bugle bench`; for "turns" and "pages" by server
    kind: str = "plain"  # or "fastest", "private", "storm", "spread", "turns", "pages": measure.py


@dataclasses.dataclass(frozen=True)
class Part:
    """What a server has while several stand at once and are published to in turns."""

    streams: tuple  # options for who holds them
    events: tuple   # and for who publishes
    reach: int      # how many streams get an event


def row(name, title, servers, figures, options, kind="plain"):
    return Row(name, title, servers, figures, options, kind)


def crowd(streams, *more):
    return ("--streams", streams, "--topics", streams, *more)


UNTOUCHED = ("--idle", "--settle", 3, "--seconds", 1)


TO_ANY = ("--random", "--rate", 500)


def targeted(streams, load):
    return crowd(streams, *TO_ANY, "--settle", load.settle, "--warmup", 2)


def targeted_part(streams):
    return Part(crowd(streams), ("--topics", streams, *TO_ANY), 1)


def broadcast_part(streams):
    return Part(("--streams", streams), ("--rate", 50), streams)


def transports_parts(streams):
    """The same broadcast to the streams of each, which are WebSockets but for the first."""
    part = broadcast_part(streams)
    sockets = dataclasses.replace(part, streams=(*part.streams, "--ws"))
    return {name: part if name == "events" else sockets for name in TRANSPORTS}


def large(load, size, rate):
    """Less often than small events: nchan is to keep up."""
    return ("--streams", load.some, "--size", size, "--rate", rate, "--warmup", 1)


def pages(load):
    """The waits are for a server to be done with what the load tool has done."""
    return ("--streams", load.some, "--idle", "--settle", 0.2, "--seconds", 0.05, "--close", 0.4)


def storm(load):
    """From many addresses: with few of its ports left the kernel takes longer to find one for the
    load tool than the server takes for the connection."""
    return ("--streams", load.many, "--connecting", load.many, "--source-addresses", 64, "--idle",
            "--settle", 0.5, "--seconds", 0.1)


def cookie(size):
    return "Cookie: session=" + "x" * size


ROWS = {row.name: row for row in (
    row("broadcast", "{some} streams, one topic, 50 events/s", PEERS,
        (DELIVERY, *LATENCY, LOST),
        lambda load: ("--streams", load.some, "--rate", 50, "--warmup", 2)),
    row("fastest", "{some} streams, one topic, as fast as it goes with nothing lost", PEERS,
        (DELIVERED, DELIVERY, LATENCY[1],
         Figure("lost when not held back, %", ("unbridled", "lost_percent"), 1, compared=False)),
        lambda load: ("--streams", load.some, "--rate", "max", "--connections", 32), "fastest"),
    row("crowd", "{many} streams, one topic, 5 events/s", PEERS,
        (DELIVERY, *LATENCY, LOST),
        lambda load: ("--streams", load.many, "--rate", 5, "--warmup", 1)),
    row("large", "{some} streams, one topic, 20 events/s of 10 KB", PEERS,
        (DELIVERY, THROUGHPUT, LATENCY[1], LOST), lambda load: large(load, 10000, 20)),
    row("huge", "{some} streams, one topic, 4 events/s of 60 KB", PEERS,
        (DELIVERY, THROUGHPUT, LATENCY[1], LOST), lambda load: large(load, 60000, 4)),
    row("targeted", "{many} streams, a topic each, 500 events/s", STORES,
        (EVENT, *LATENCY, LOST), lambda load: targeted(load.many, load)),
    row("half", "{half} streams, a topic each, 500 events/s", STORES,
        (EVENT, *LATENCY, LOST), lambda load: targeted(load.many // 2, load)),
    row("doubled", "{many} streams and {half}, a topic each, both at once, 500 events/s in turns",
        ("all", "half"), (EVENT,),
        lambda load: {"all": targeted_part(load.many), "half": targeted_part(load.many // 2)},
        "turns"),
    row("idle", "{many} idle streams with a heartbeat every 15 s", PEERS, (MEMORY, BUSY),
        lambda load: crowd(load.many, "--idle", "--settle", 3, "--seconds", load.beat)),
    row("cookies", "{many} idle streams that asked with 1.5 KB of cookies", PEERS[:3], (MEMORY,),
        lambda load: crowd(load.many, *UNTOUCHED, "--header", cookie(1500))),
    row("heads", "{many} idle streams that asked with 15 KB of cookies", PEERS[:3], (MEMORY,),
        lambda load: crowd(load.many, *UNTOUCHED, "--header", cookie(15000))),
    row("publish", "64 connections publish single events, each answered with an id", STORES,
        (PUBLISHED, EVENT, ANSWER),
        lambda load: ("--publish-only", "--rate", "max", "--connections", 64)),
    row("batches", "8 connections publish 100 events a request", ("bugle", "sqlite", "floor"),
        (PUBLISHED, dataclasses.replace(EVENT, digits=2), ANSWER),
        lambda load: ("--publish-only", "--rate", "max", "--connections", 8, "--batch", 100)),
    row("pages", "{some} streams come, until their first bytes, and go; servers at once, in turns",
        PEERS, (CONNECT, CLOSE), lambda load: dict.fromkeys(PEERS, pages(load)), "pages"),
    row("storm", "{many} streams come at once, while one has live events", PEERS,
        (FIRST_BYTES, LIVE), storm, "storm"),
    row("workers", "{some} streams, one topic, 50 events/s, server and load on both cores",
        ("one-worker", "two-workers"),
        (DELIVERY, LATENCY[1], Figure("in the fullest, %", ("spread", "percent"), 1,
                                      compared=False)),
        lambda load: ("--streams", load.some, "--rate", 50, "--warmup", 2), "spread"),
    row("shared", "{some} streams on one worker and on two, on both cores, both at once, in turns",
        ("one-worker", "two-workers"), (DELIVERY,),
        lambda load: dict.fromkeys(("one-worker", "two-workers"), broadcast_part(load.some)),
        "turns"),
    row("ws-broadcast", "{some} WebSockets, one topic, 50 events/s", PEERS,
        (DELIVERY, *LATENCY, LOST),
        lambda load: ("--ws", "--streams", load.some, "--rate", 50, "--warmup", 2)),
    row("ws-messages", "{some} WebSockets of bugle.v1, one topic, 50 events/s", ("bugle",),
        (DELIVERY, *LATENCY, LOST),
        lambda load: ("--ws", "--ws-protocol", "bugle.v1", "--streams", load.some, "--rate", 50,
                      "--warmup", 2)),
    row("ws-turns", "{some} streams of each, all at once, 50 events/s in turns", TRANSPORTS,
        (DELIVERY,), lambda load: transports_parts(load.some), "turns"),
    row("ws-targeted", "{many} WebSockets, a topic each, 500 events/s", PEERS,
        (EVENT, *LATENCY, LOST), lambda load: ("--ws", *targeted(load.many, load))),
    row("ws-idle", "{many} idle WebSockets with a heartbeat every 15 s", PEERS[:3], (MEMORY, BUSY),
        lambda load: crowd(load.many, "--ws", "--idle", "--settle", 3, "--seconds", load.beat)),
    row("tls-idle", "{some} idle streams inside TLS", ("tls",), (MEMORY, CONNECT),
        lambda load: ("--streams", load.some, *UNTOUCHED)),
    row("ws-tls-idle", "{some} idle WebSockets inside TLS", ("tls",), (MEMORY, CONNECT),
        lambda load: ("--ws", "--streams", load.some, *UNTOUCHED)),
    row("ws-texts", "64 WebSockets publish single texts, each comes back", STORES[:4],
        (PUBLISHED, EVENT, ANSWER),
        lambda load: ("--publish-only", "--ws-publish", "raw", "--topics", 64, "--rate", "max",
                      "--connections", 64)),
    row("ws-publish", "64 WebSockets of bugle.v1 publish single events, each answered with an id",
        STORES[:2], (PUBLISHED, EVENT, ANSWER),
        lambda load: ("--publish-only", "--ws-publish", "v1", "--rate", "max", "--connections",
                      64)),
    row("private", "a private event while {many} others get a broadcast", PEERS,
        (*LATENCY, Figure("latency max, ms", ("latency", "max_us"), 3, 1e-3), LOST),
        lambda load: ("--streams", load.many, "--rate", 5, "--warmup", 1), "private"),
)}


@dataclasses.dataclass(frozen=True)
class Bound:
    """What the gateway is held to: a median, or a ratio when it is compared with another server
    or with itself in another row."""

    row: str
    figure: Figure
    limit: float
    server: str = "bugle"
    to: str = None      # the server it is compared with
    to_row: str = None  # the row it is compared with; None: its own

    def says(self):
        what = f"{self.row}, {TITLES[self.server]}: {self.figure.label}"
        if self.to or self.to_row:
            what += f" over {self.to_row or TITLES[self.to]}"
        word = "at least" if self.figure.best == "most" else "at most"
        limit = f"{self.limit:,.2f}".rstrip("0").rstrip(".")
        return f"{what}, {word} {limit}"


BOUNDS = (
    Bound("broadcast", DELIVERY, 1.15, to="floor"),
    Bound("broadcast", DELIVERY, 0.78, to="nchan"),
    Bound("fastest", DELIVERED, 8, to="nchan"),
    Bound("fastest", DELIVERED, 1500000),
    Bound("crowd", LATENCY[1], 1 / 3, to="nchan"),
    Bound("crowd", DELIVERY, 1.15, to="floor"),
    Bound("large", DELIVERY, 1.25, to="floor"),
    Bound("large", DELIVERY, 0.7, to="nchan"),
    Bound("huge", THROUGHPUT, 1.5),
    Bound("targeted", EVENT, 1.2, to="nchan"),
    Bound("targeted", LATENCY[1], 1, to="nchan"),
    Bound("targeted", LATENCY[0], 0.25),
    Bound("targeted", LATENCY[0], 1.2, server="sqlite"),
    Bound("targeted", EVENT, 1.1, to_row="half"),
    Bound("doubled", EVENT, 1.1, server="all", to="half"),
    Bound("targeted", LATENCY[0], 1.1, to_row="half"),
    Bound("idle", MEMORY, 6),
    Bound("idle", BUSY, 1.5),
    Bound("cookies", MEMORY, 7),
    Bound("publish", PUBLISHED, 0.7, to="nchan"),
    Bound("publish", PUBLISHED, 20000, server="sqlite"),
    Bound("batches", PUBLISHED, 1000000),
    Bound("batches", PUBLISHED, 220000, server="sqlite"),
    Bound("pages", CONNECT, 1.25, to="nchan"),
    Bound("pages", CLOSE, 1.3, to="nchan"),
    Bound("storm", FIRST_BYTES, 250),
    Bound("storm", LIVE, 1),
    Bound("workers", DELIVERY, 1.05, server="two-workers", to="one-worker"),
    Bound("shared", DELIVERY, 1.05, server="two-workers", to="one-worker"),
    Bound("ws-broadcast", DELIVERY, 0.5, to="go"),
    Bound("ws-turns", DELIVERY, 1.1, server="sockets", to="events"),
    Bound("ws-turns", DELIVERY, 1.15, server="sockets", to="floor"),
    Bound("ws-idle", MEMORY, 1.25),
    Bound("ws-tls-idle", MEMORY, 18, server="tls"),
    Bound("ws-texts", PUBLISHED, 10000),
    Bound("ws-publish", PUBLISHED, 10000),
    Bound("private", LATENCY[1], 10),
)
