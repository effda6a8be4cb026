# SPDX-License-Identifier: MIT
"""The scripts behind `make bench`: medians, ratios, the table, the bounds and the chart, from runs
made up here.  Nothing is measured."""

import collections
import contextlib
import json
import pathlib
import sys
import xml.etree.ElementTree

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))

import chart  # noqa: E402
import measure  # noqa: E402
import run  # noqa: E402
import table  # noqa: E402
from rows import BOUNDS, ROWS  # noqa: E402
from servers import Tools, make_servers  # noqa: E402

# Each server has a factor on all its figures.
FACTORS = {"bugle": 1, "sqlite": 2, "one-worker": 1, "two-workers": 1, "all": 1, "half": 1,
           "events": 1, "sockets": 1, "tls": 1,
           "nchan": 4, "go": 5, "floor": 0.5}


def report(factor):
    """What `bugle bench --json` prints, as far as the table looks at it."""
    return {
        "latency": {"count": 100, "p50_us": 200 * factor, "p99_us": 4000 * factor,
                    "max_us": 9000 * factor},
        "answers": {"p99_us": 1500 * factor},
        "deliveries": {"expected": 100, "lost": 0},
        "window": {"events_per_s": 50000 * factor, "deliveries_per_s": 2000000 * factor},
        "server": {"cpu_us_per_connect": 30 * factor, "cpu_us_per_close": 20 * factor,
                   "bytes_per_cpu_s": 2e9 / factor,
                   "cpu_us_per_delivery": 3 * factor, "cpu_us_per_event": 80 * factor,
                   "cpu_percent": 1.25 * factor, "private_per_stream": 5120 * factor},
        "spread": {"percent": 50.0},
        "unbridled": {"lost_percent": 0.0},
        "first_bytes": {"count": 100, "p99_us": 60000 * factor},
        "live": {"latency": {"count": 100, "p99_us": 500 * factor}},
    }


def runs(rounds=5, noise=lambda number: 1):
    return {(row, server): {number: report(FACTORS[server] * noise(number))
                            for number in range(1, rounds + 1)}
            for row in ROWS for server in ROWS[row].servers}


MACHINE = {"date": "2026-01-02", "processor": "A processor, 2 cores", "memory": "4 GiB",
           "system": "A system", "versions": ["bugle 1", "nginx 2"],
           "load": {"some": 1000, "many": 15000, "seconds": 5, "beat": 15}}


def complete(**more):
    return table.Results(runs(**more), MACHINE)


def cells(text, label, title):
    """The cells of the line with this label in the part of the table with this title."""
    lines = text.split("\n")
    at = next(i for i, line in enumerate(lines) if line.startswith(title))
    line = next(line for line in lines[at + 1:] if line.startswith("  " + label))
    return line.removeprefix("  " + label).split()


def test_a_line_has_medians_and_ratios():
    text = table.table(complete())
    assert cells(text, "CPU a delivery, us", "1,000 streams, one topic, 50") == [
        "3.00", "12.00", "15.00", "1.50", "0.25", "2.00"]
    assert cells(text, "CPU an event, us", "15,000 streams, a topic each") == [
        "80.0", "160.0", "320.0", "400.0", "40.0", "0.25", "2.00"]
    assert cells(text, "private memory a stream, KiB", "15,000 idle streams with a h")[0] == "5.00"
    assert "7,500 streams, a topic each" in text
    assert cells(text, "GB a second of CPU", "1,000 streams, one topic, 4 events")[0] == "2.00"
    assert cells(text, "live latency p99, ms", "15,000 streams come at once")[0] == "0.500"


def test_a_median_is_not_a_mean():
    results = complete(noise=lambda number: 100 if number == 3 else 1)
    figure = ROWS["broadcast"].figures[0]
    assert results.median("broadcast", "bugle", figure) == 3


def test_what_slows_a_round_cancels_out_of_its_ratio():
    results = complete(noise=lambda number: number)
    figure = ROWS["broadcast"].figures[0]
    assert results.ratio("broadcast", "bugle", figure, "nchan") == pytest.approx(0.25)


def test_a_server_that_was_not_measured_is_a_dash():
    found = runs()
    del found["crowd", "go"]
    text = table.table(table.Results(found, MACHINE))
    assert cells(text, "CPU a delivery, us", "15,000 streams, one topic")[2] == "-"


def test_a_figure_that_is_missing_is_a_dash():
    found = runs(rounds=1)
    found["crowd", "go"][1]["server"] = None
    text = table.table(table.Results(found, MACHINE))
    assert cells(text, "CPU a delivery, us", "15,000 streams, one topic")[2] == "-"


def test_a_latency_of_nothing_is_a_dash():
    found = runs(rounds=1)
    found["crowd", "go"][1]["latency"] = {"count": 0, "p50_us": 0, "p99_us": 0}
    text = table.table(table.Results(found, MACHINE))
    assert cells(text, "latency p99, ms", "15,000 streams, one topic")[2] == "-"


def test_results_are_read_and_rounds_go_on(tmp_path):
    (tmp_path / "machine.json").write_text(json.dumps(MACHINE))
    for number in (1, 2):
        for server in ("bugle", "nchan"):
            path = tmp_path / f"broadcast.{server}.{number}.json"
            path.write_text(json.dumps(report(FACTORS[server])))
    results = table.Results.read(tmp_path)
    assert results.machine == MACHINE and results.load.many == 15000
    assert results.next_round("broadcast") == 3 and results.next_round("crowd") == 1
    assert results.rounds("broadcast") == 0  # of the servers that are missing
    assert cells(table.table(results), "CPU a delivery, us", "1,000 streams, one topic, 50") == [
        "3.00", "12.00", "-", "-", "0.25"]


def test_bounds_hold_and_fail():
    text, good = table.bounds(complete())
    assert not good
    lines = text.splitlines()
    assert len(lines) == len(BOUNDS)
    held = {says: line.split()[0] for line in lines for says in [line[14:].rsplit(":", 1)[0]]}
    assert held["broadcast, Bugle: CPU a delivery, us over nchan, at most 0.78"] == "holds"
    assert held["broadcast, Bugle: CPU a delivery, us over floor, at most 1.15"] == "FAILS"
    assert held["fastest, Bugle: deliveries/s, at least 1,500,000"] == "holds"
    assert held["fastest, Bugle: deliveries/s over nchan, at least 8"] == "FAILS"


def test_a_bound_between_rows_is_at_most():
    results = complete()
    for bound in BOUNDS:
        if bound.to_row:
            assert table.held(results, bound) == 1
            assert "at most" in bound.says()


def test_a_bound_without_runs_is_not_held():
    text, good = table.bounds(table.Results({}, MACHINE))
    assert good and text.count("not measured") == len(BOUNDS)


def test_documents_need_every_row(tmp_path, capsys):
    found = runs()
    del found["crowd", "go"]
    run.write_documents(table.Results(found, MACHINE), tmp_path)
    assert not list(tmp_path.iterdir()) and "not all of crowd" in capsys.readouterr().err
    run.write_documents(complete(), tmp_path)
    text = (tmp_path / "benchmarks.txt").read_text()
    assert "A processor, 2 cores" in text and "nginx 2" in text and "5 rounds" in text
    assert max(map(len, text.splitlines())) <= 110
    assert (tmp_path / "benchmarks.svg").read_text().startswith("<svg")


def test_rows_with_more_rounds_are_named():
    assert "were more" not in table.document(complete())
    found = runs(rounds=1)
    found.update((key, run) for key, run in runs(rounds=3).items() if key[0] == "targeted")
    text = table.document(table.Results(found, MACHINE))
    assert "Medians of one round" in text
    assert "Of some rows there were more: 3 of targeted.\n" in text


def test_a_quick_run_leaves_the_documents_alone(tmp_path, capsys):
    load = {"some": 500, "many": 3000, "seconds": 2, "beat": 6}
    run.write_documents(table.Results(runs(), {**MACHINE, "load": load}), tmp_path)
    assert not list(tmp_path.iterdir()) and "quick" in capsys.readouterr().err


def test_the_chart_has_a_bar_for_each_measured_server():
    svg = xml.etree.ElementTree.fromstring(chart.draw(complete()))
    bars = [rect.get("class") for rect in svg.iter("{http://www.w3.org/2000/svg}rect")]
    expected = sum(len(panel.servers) for panel in chart.PANELS)
    assert len(bars) == expected + 1  # and the page
    words = [word.text for word in svg.iter("{http://www.w3.org/2000/svg}text")]
    for panel in chart.PANELS:
        assert panel.title in words and panel.unit in words


def test_the_longest_bar_is_the_largest_figure():
    svg = xml.etree.ElementTree.fromstring(chart.draw(complete()))
    bars = [rect for rect in svg.iter("{http://www.w3.org/2000/svg}rect")]
    first = bars[1:1 + len(chart.PANELS[0].servers)]
    wide = {rect.get("class"): float(rect.get("width")) for rect in first}
    assert wide["bugle"] / wide["go"] == pytest.approx(1 / 5, abs=0.01)
    assert wide["go"] == max(wide.values())


def test_a_server_without_a_figure_has_no_bar():
    found = runs()
    del found["crowd", "go"]
    assert chart.draw(table.Results(found, MACHINE)).count("no figure") == 1


def test_a_chart_of_nothing_says_so():
    text = chart.draw(table.Results({}, MACHINE))
    assert text.count("not measured") == len(chart.PANELS)


@pytest.mark.parametrize("most, step", [(10, 5), (0.9, 0.5), (40, 10), (41, 20), (2000000, 500000)])
def test_ticks_are_round_numbers(most, step):
    assert chart.nice_step(most) == pytest.approx(step)


@pytest.mark.parametrize("value, text", [
    (3, "3"), (6.128, "6.13"), (123.4, "123"), (1234, "1,234"), (999.9, "1,000"), (0.0707, "0.071"),
    (123456, "123k"), (999999, "1M"), (5536981, "5.54M"),
])
def test_numbers_of_a_chart_are_short(value, text):
    assert chart.short(value) == text


def test_every_row_names_known_servers():
    known = make_servers(Tools("bugle", [], "."), "0", "1")
    for row in ROWS.values():
        assert set(row.servers) <= set(known)
        options = row.options(run.QUICK)
        if row.kind in measure.TURNS:
            assert set(options) == set(row.servers)
            continue
        assert row.kind in measure.KINDS
        assert all(str(option) for option in options)


@pytest.mark.parametrize("args", [["--rows", "nonsense"], ["--servers", "apache"], ["--table"]])
def test_wrong_usage(args, capsys):
    with pytest.raises(SystemExit) as left:
        run.parse_args(["--bugle", "bugle", *args])
    assert left.value.code == 2
    assert args[0] in capsys.readouterr().err


class Held:
    """Stands for the load tool against a server that loses above 400 events a second."""

    commands = []

    def __init__(self, server, load_cpu, options):
        self.options = list(map(str, options))
        Held.commands.append(self.options)

    def run(self):
        rates = [self.options[i + 1] for i, word in enumerate(self.options) if word == "--rate"]
        rate = 1000 if rates[-1] == "max" else float(rates[-1])
        lost = max(0, rate - 400)
        return {"good": lost == 0, "deliveries": {"expected": rate, "lost": lost},
                "window": {"events_per_s": rate, "deliveries_per_s": rate}}


def test_the_highest_rate_without_losses_is_found(monkeypatch):
    monkeypatch.setattr(measure, "Bench", Held)
    result = measure.fastest(None, "1", ["--rate", "max"], run.QUICK)
    assert result["good"] and 360 < result["window"]["events_per_s"] <= 400
    assert result["unbridled"]["lost_percent"] == pytest.approx(60)


class Standing:
    """Stands for the load tool against servers that stand at once: an event costs `us` of each."""

    us = {"all": 300, "half": 200}
    seen = []
    bad = lost = None

    def __init__(self, server, load_cpu, options):
        self.server = server
        self.load_cpu = load_cpu
        self.options = list(map(str, options))

    @contextlib.contextmanager
    def holding(self):
        assert "--idle" in self.options and "--streams" in self.options
        Standing.seen.append(("holds", self.server.name))
        yield lambda: self.server.name != Standing.lost
        Standing.seen.append(("leaves", self.server.name))

    def run(self):
        assert "--publish-only" in self.options and "--streams" not in self.options
        Standing.seen.append(("turn", self.server.name))
        good = len(Standing.seen) != Standing.bad
        return {"good": good, "window": {"events": 10},
                "server": {"cpu_us": 10 * self.us[self.server.name]}}


class Idle:
    """A server that is no process."""

    def __init__(self, name, cpus="0"):
        self.name = name
        self.cpus = cpus

    def start(self):
        Standing.seen.append(("start", self.name))

    def stop(self):
        Standing.seen.append(("stop", self.name))


@pytest.fixture
def standing(monkeypatch):
    monkeypatch.setattr(measure, "Bench", Standing)
    monkeypatch.setattr(Standing, "seen", [])
    return monkeypatch


def in_turns():
    return measure.measure_in_turns(ROWS["doubled"], [Idle("all"), Idle("half")], "1", run.QUICK)


class Visits:
    """Stands for the load tool whose streams come and go: the first turn of a server is dear."""

    seen = []
    bad = None

    def __init__(self, server, load_cpu, options):
        self.name, self.options = server.name, list(map(str, options))

    def run(self):
        assert "--close" in self.options and "--idle" in self.options
        first = self.name not in Visits.seen
        Visits.seen.append(self.name)
        us = 30 if first else 20
        return {"good": len(Visits.seen) != Visits.bad,
                "server": {"cpu_us_per_connect": us, "cpu_us_per_close": us / 2}}


@pytest.mark.parametrize("bad", [None, 3])
def test_streams_come_and_go_in_turns(standing, bad):
    standing.setattr(measure, "Bench", Visits)
    standing.setattr(Visits, "seen", [])
    standing.setattr(Visits, "bad", bad)
    servers = [Idle("bugle"), Idle("nchan")]
    results = measure.measure_in_turns(ROWS["pages"], servers, "1", run.QUICK)
    assert Standing.seen == [("start", "bugle"), ("start", "nchan"), ("stop", "nchan"),
                             ("stop", "bugle")]
    assert Visits.seen[:3] == ["bugle", "nchan", "nchan"]
    if bad:
        assert results == {}
        return
    assert Visits.seen.count("bugle") == Visits.seen.count("nchan") == 4
    for result in results.values():
        assert result["server"] == {"cpu_us_per_connect": 22.5, "cpu_us_per_close": 11.25}


class Storming:
    """Stands for the load tool, once with the live events and once with the storm."""

    live = {"good": True, "latency": {"p99_us": 400}}

    def __init__(self, server, load_cpu, options, extra="", first=()):
        self.live_one = extra == "7"

    @contextlib.contextmanager
    def holding(self):
        assert self.live_one
        yield lambda: Storming.live

    def run(self, begun, phase):
        assert not self.live_one and phase == "settling"
        begun()
        return {"good": True, "first_bytes": {"p99_us": 9}}


def test_live_events_are_measured_for_as_long_as_a_storm(monkeypatch):
    monkeypatch.setattr(measure, "Bench", Storming)
    result = measure.storm(None, "1", [], run.QUICK)
    assert result["live"]["latency"]["p99_us"] == 400 and result["first_bytes"]["p99_us"] == 9
    monkeypatch.setattr(Storming, "live", None)
    assert measure.storm(None, "1", [], run.QUICK) is None


@pytest.mark.usefixtures("standing")
def test_servers_that_stand_at_once_take_turns():
    results = in_turns()
    assert {name: result["server"]["cpu_us_per_event"] for name, result in results.items()} == {
        "all": 300, "half": 200}
    assert results["all"]["events"] == results["half"]["events"] == 40
    both, end = ["all", "half"], ("leaves", "stop")
    assert Standing.seen[:4] == [(what, name) for name in both for what in ("start", "holds")]
    assert [name for what, name in Standing.seen if what == "turn"] == 2 * [*both, *both[::-1]]
    assert Standing.seen[-4:] == [(what, name) for name in both[::-1] for what in end]


def test_a_turn_that_fails_leaves_no_figures_and_no_server(standing):
    standing.setattr(Standing, "bad", 7)
    assert in_turns() == {}
    assert Standing.seen[-1] == ("stop", "all") and ("stop", "half") in Standing.seen


def test_streams_that_are_lost_leave_no_figures(standing):
    standing.setattr(Standing, "lost", "all")
    assert in_turns() == {}


class Printing(measure.Bench):
    """A program of a line or two in place of the load tool."""

    def __init__(self, program):
        self.command = [sys.executable, "-c", program]
        self.last_words = collections.deque()

    def start(self):
        self.process = super().start()
        return self.process


HOLDS = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: (print('{"good": %s}'), sys.exit()))
print("1 s measuring 5 streams", file=sys.stderr, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("program, good", [
    (HOLDS % "true", True), (HOLDS % "false", False),
    ("import sys; print('no server', file=sys.stderr)", False),
    ("import sys; print(' measuring ', file=sys.stderr); print('{\"good\": true}')", False),
])
def test_streams_are_held_until_let_go(program, good):
    bench = Printing(program)
    with bench.holding() as let_go:
        if "pause" not in program:
            bench.process.wait()
        assert bool(let_go()) == good


@pytest.mark.parametrize("cpus, load", [("0", "1"), ("0,1", "0,1"), ("10", "1")])
def test_the_load_has_the_cores_that_it_shares(cpus, load):
    assert measure.Contender(Idle("all", cpus), "1", None).cpus == load
