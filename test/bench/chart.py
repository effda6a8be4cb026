# SPDX-License-Identifier: MIT
"""The figures as a picture: small bar charts, one a figure, in one SVG that suits light and dark
pages.  Only text and rectangles; the fonts are the viewer's."""

import dataclasses
import math
from xml.sax.saxutils import escape

from rows import BUSY, DELIVERED, DELIVERY, EVENT, LATENCY, MEMORY, PUBLISHED

WIDTH, MARGIN, GAP = 960, 28, 36
PANEL_WIDTH = (WIDTH - 2 * MARGIN - GAP) // 2
TOP, HEAD, BAR, STEP, AXIS, BETWEEN = 108, 50, 18, 25, 38, 26
NAMES = {"bugle": "Bugle", "sqlite": "Bugle, on disk", "nchan": "nginx + nchan", "go": "Go hub",
         "floor": "bare send()"}
LABEL_WIDTH, VALUE_WIDTH = 106, 74
TICKS = 4

STYLE = """\
    svg { --page: #ffffff; --ink: #1c2430; --soft: #5b6675; --line: #dfe3e9;
          --bugle: #c2410c; --disk: #ea8a4e; --peer: #8593a6; --floor: #c9d0da; }
    @media (prefers-color-scheme: dark) {
      svg { --page: #12161c; --ink: #e8ecf2; --soft: #9aa6b5; --line: #2b333e;
            --bugle: #f97316; --disk: #b9693a; --peer: #66748a; --floor: #3c4756; }
    }
    text { font-family: system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif;
           font-size: 12px; fill: var(--ink); }
    .page { fill: var(--page); }
    .name { font-size: 20px; font-weight: 600; }
    .title { font-size: 14px; font-weight: 600; }
    .soft { fill: var(--soft); }
    .ours { font-weight: 600; }
    .line { stroke: var(--line); stroke-width: 1; }
    .bugle { fill: var(--bugle); } .sqlite { fill: var(--disk); }
    .nchan, .go { fill: var(--peer); } .floor { fill: var(--floor); }
"""


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    row: str
    figure: object
    unit: str
    servers: tuple = ("bugle", "nchan", "go", "floor")
    about: str = None  # a shorter word than the row's title


STORES = ("bugle", "sqlite", "nchan", "go", "floor")
PANELS = (
    Panel("CPU to deliver one event", "broadcast", DELIVERY, "microseconds"),
    Panel("Deliveries a second, nothing lost", "fastest", DELIVERED, "deliveries/s",
          about="{some} streams, one topic"),
    Panel("The slowest 1 % of a broadcast", "crowd", LATENCY[1], "p99, ms"),
    Panel("A private event during a broadcast", "private", LATENCY[1], "p99, ms",
          about="to one stream, while {many} others are served"),
    Panel("CPU to publish and deliver an event to one", "targeted", EVENT, "microseconds", STORES),
    Panel("Publishing, each event answered", "publish", PUBLISHED, "events/s", STORES,
          "64 connections, nobody listens"),
    Panel("Memory of an idle stream", "idle", MEMORY, "KiB, private"),
    Panel("CPU to keep idle streams", "idle", BUSY, "% of a core"),
)


def text(x, y, words, kind="", anchor="start"):
    return (f'  <text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">'
            f"{escape(words)}</text>\n")


def nice_step(most):
    """The distance of ticks: 1, 2 or 5 times a power of ten."""
    rough = most / TICKS
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def short(value):
    """A number as short as it can be compared."""
    if value >= 999500:
        return f"{value / 1e6:.3g}M"
    if value >= 99950:
        return f"{value / 1e3:.0f}k"
    if value >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.1 else f"{value:.2g}"


def axis(x, y, width, height, most, unit):
    """Grid lines over the bars' height, a number under each, and what they count."""
    step = nice_step(most)
    out = ""
    for i in range(int(most / step + 1.001)):
        at = x + width * i * step / most
        out += (f'  <line x1="{at:.1f}" y1="{y:.1f}" x2="{at:.1f}" y2="{y + height:.1f}" '
                'class="line"/>\n')
        out += text(at, y + height + 15, short(i * step) if i else "0", "soft", "middle")
    return out + text(x + width, y + height + 30, unit, "soft", "end")


def bar(x, y, width, server, value, most):
    """A server's name, its bar and its figure; only words when there is none."""
    ours = "ours" if server in ("bugle", "sqlite") else ""
    name = text(x - 8, y + 13, NAMES[server], ours, "end")
    if value is None:
        return name + text(x + 6, y + 13, "no figure", "soft")
    length = max(width * value / most, 1)
    return (name + f'  <rect x="{x:.1f}" y="{y:.1f}" width="{length:.1f}" height="{BAR}" rx="2" '
            f'class="{server}"/>\n' + text(x + length + 6, y + 13, short(value), ours))


def panel(x, y, what, results):
    """One chart."""
    found = {server: results.median(what.row, server, what.figure) for server in what.servers}
    values = [value for value in found.values() if value is not None]
    better = "longer is better" if what.figure.best == "most" else "shorter is better"
    out = text(x, y + 14, what.title, "title")
    about = results.fill(what.about) if what.about else results.title(what.row)
    out += text(x, y + 32, f"{about}; {better}", "soft")
    if not values:
        return out + text(x, y + HEAD + 14, "not measured", "soft")
    most = max(values) or 1
    left, width = x + LABEL_WIDTH, PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH
    height = STEP * len(what.servers)
    out += axis(left, y + HEAD - 4, width, height, most, what.unit)
    for i, (server, value) in enumerate(found.items()):
        out += bar(left, y + HEAD + i * STEP, width, server, value, most)
    return out


def panel_height(what):
    return HEAD + STEP * len(what.servers) + AXIS


def draw(results):
    """The SVG as text."""
    body, y = "", TOP
    for i in range(0, len(PANELS), 2):
        pair = PANELS[i:i + 2]
        for j, what in enumerate(pair):
            body += panel(MARGIN + j * (PANEL_WIDTH + GAP), y, what, results)
        y += max(map(panel_height, pair)) + BETWEEN
    machine = results.machine
    about = "; ".join(filter(None, (machine.get("processor"), machine.get("system"),
                                    machine.get("date"))))
    head = text(MARGIN, 40, "Bugle beside its peers", "name")
    head += text(MARGIN, 61, "Medians; one core for the server, another for the load", "soft")
    head += text(MARGIN, 78, about, "soft")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" '
            f'height="{y}" role="img" aria-label="Bugle compared with nginx and nchan, a hub in '
            f'Go, and a bare send()">\n  <style>\n{STYLE}  </style>\n'
            f'  <rect width="{WIDTH}" height="{y}" class="page"/>\n{head}{body}</svg>\n')
