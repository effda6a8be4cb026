# SPDX-License-Identifier: MIT
"""The scripts behind `make clusterbench`: what a group costs, the paper row, the table and the
bounds, from runs made up here.  Nothing is measured."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))

import cluster_measure  # noqa: E402
import cluster_run  # noqa: E402
import table  # noqa: E402
from cluster_rows import BOUNDS, COLUMNS, RATIOS, ROWS, Load  # noqa: E402
from cluster_servers import make_clusters  # noqa: E402
from servers import Tools  # noqa: E402

FACTORS = {"bugle": 1, "sqlite": 2, "sixteen": 1, "alone": 0.5, "nchan": 4}
# 100 groups of 10 events, for two nodes: 20 us and 5 us each as Redis counts, and 1 us of the rest
CALLS = {"evalsha": (100, 2000), "xadd": (100, 300), "xread": (200, 1000), "ping": (1, 1)}


def groups():
    return cluster_measure.groups_of(CALLS, 3300, 1000, 2)


def report(factor):
    return {"latency": {"count": 10, "p50_us": 100 * factor, "p99_us": 300 * factor},
            "answers": {"p50_us": 100 * factor, "p99_us": 200 * factor},
            "deliveries": {"lost": 0 if factor < 4 else 7},
            "window": {"events_per_s": 40000 / factor},
            "cpu": {"redis": 2 * factor, "a": 10 * factor, "b": 1 * factor},
            "redis_bytes": 200 * factor, "groups": groups(),
            "paper": cluster_measure.on_paper(groups()),
            "without": {"latency": {"p99_us": 280}}, "slower": 1.1 * factor,
            "replays": {"events_per_s": 1e6},
            "idle": {"redis": 0.1, "a": 0.2, "b": 0.3}}


def results():
    runs = {(row, server): {number: report(FACTORS[server]) for number in (1, 2, 3)}
            for row in ROWS for server in ROWS[row].servers}
    return table.Results(runs, {}, ROWS, Load)


def test_the_rest_of_the_server_is_shared_by_appends_and_reads():
    assert groups() == {"events": 10, "append_us": 21, "read_us": 6, "reads": 1}


def test_on_paper_each_node_reads_every_group():
    assert cluster_measure.on_paper(groups())["16"] == pytest.approx((21 + 16 * 6) / 10)


def test_a_server_without_appends_has_no_groups():
    assert cluster_measure.groups_of({"evalsha": (9, 9)}, 100, 1000, 2) is None
    assert cluster_measure.groups_of({}, 0, 1000, 1) is None


def test_the_table_compares_with_both():
    text = table.table(results(), COLUMNS, RATIOS)
    line = next(line for line in text.splitlines() if "events/s  " in line)
    assert line.split()[1:] == ["40,000", "20,000", "40,000", "80,000", "10,000", "0.50", "4.00"]
    assert "10,000 replays of 100 events on B; 1,000 streams on A" in text
    assert "11.70" in next(line for line in text.splitlines() if "on paper, with 16" in line)
    assert max(map(len, text.splitlines())) <= 120


def test_bounds():
    text, good = table.bounds(results(), BOUNDS)
    held = {line[14:].rsplit(":", 1)[0]: line.split()[0] for line in text.splitlines()}
    assert len(held) == len(BOUNDS) and not good
    assert held["publish, Bugle: events/s over nchan, at least 1.3"] == "holds"
    assert held["across, Bugle: deliveries lost, at most 0"] == "holds"
    assert held["replays, on disk: latency p99 beside them over without, at most 1.25"] == "FAILS"


def test_every_row_names_known_servers(tmp_path):
    known = make_clusters(None, Tools("bugle", [], tmp_path), "0")
    assert set(known) == set(COLUMNS)
    for row in ROWS.values():
        assert set(row.servers) <= set(known) and row.kind in cluster_measure.KINDS
        assert all(str(option) for option in row.options(Load()))


@pytest.mark.parametrize("args", [["--rows", "nonsense"], ["--servers", "go"], ["--table"]])
def test_wrong_usage(args, capsys):
    with pytest.raises(SystemExit) as left:
        cluster_run.parse_args(["--bugle", "bugle", *args])
    assert left.value.code == 2
    assert args[0] in capsys.readouterr().err
