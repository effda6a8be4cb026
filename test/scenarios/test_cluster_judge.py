# SPDX-License-Identifier: MIT
"""The judge of test/cluster: whatever a client, an answer or a node has that is not in the order
must be told, and what is in order must not."""

import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "cluster"), str(ROOT / "crash")]

from ledger import frame_of, pack  # noqa: E402
from rig_judge import MARKER, Holder, Judge  # noqa: E402

FIRST, SECOND, THIRD = pack(0, 20), pack(0, 21), pack(0, 24)
MARK = pack(MARKER, 50)


def id_of(position, epoch="a" * 12):
    return f"{epoch}-{position:016}"


class Bench:
    """A judge with one stream of everything, and two nodes whose order is given."""

    def __init__(self, **options):
        self.judge = Judge(**options)
        self.judge.sent = [100] * len(self.judge.sent)
        self.judge.last[0] = 19
        self.stream = Holder(self.judge, self.judge.audience(), "stream")

    def take(self, *pairs):
        for position, who in pairs:
            publisher, number = (who >> 40) - 1, who & (1 << 40) - 1
            self.stream.take(frame_of(publisher, number), id_of(position))

    def judged(self, order, other=None, begins=0):
        """What is wrong when this is the order."""
        parts = {"a": (begins, dict(order)), "b": (begins, dict(other or order))}
        self.judge.pass_judgement(parts, id_of(max(dict(order))))
        return dict(self.judge.wrong)


ORDER = [(1, FIRST), (2, SECOND), (3, MARK)]


def test_what_is_in_order_is_not_told():
    bench = Bench()
    bench.take(*ORDER)
    bench.judge.stands(1, FIRST, "publisher")
    assert bench.judged(ORDER) == {}


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_hole_of_a_stream_is_told(missing):
    bench = Bench()
    bench.take(*(pair for index, pair in enumerate(ORDER) if index != missing))
    assert bench.judged(ORDER) == {"hole": 1}


def test_a_hole_of_a_node_is_told():
    bench = Bench()
    bench.take(*ORDER)
    assert bench.judged(ORDER, other=[ORDER[0], ORDER[2]]) == {"hole": 1}


def test_nodes_that_differ_are_told():
    bench = Bench()
    bench.take(*ORDER)
    assert bench.judged(ORDER, other=[(1, SECOND), (2, FIRST), ORDER[2]]) == {"differs": 2}


def test_an_event_that_is_not_in_the_order_is_told():
    bench = Bench(lossy=True)
    bench.take((1, FIRST), (2, SECOND), (3, MARK))
    wrong = bench.judged([(1, FIRST), (2, THIRD), (3, MARK)])
    assert wrong == {"hole": 1}


def test_a_stream_that_was_told_holds_what_comes_after():
    bench = Bench(lossy=True, reasons=["epoch"])
    bench.take((1, FIRST), (2, SECOND))
    bench.stream.reset("epoch", id_of(1, "b" * 12))
    bench.take((2, THIRD), (3, MARK))
    assert bench.judged([(1, FIRST), (2, THIRD), (3, MARK)]) == {}


def test_a_reset_where_nothing_may_be_lost_is_told():
    bench = Bench()
    bench.stream.reset("epoch", id_of(0))
    bench.take(*ORDER)
    assert bench.judged(ORDER) == {"reset": 1}


def test_positions_that_go_back_are_told():
    bench = Bench()
    bench.take((1, FIRST), (2, SECOND), (2, SECOND), (1, FIRST), (3, MARK))
    assert bench.judged(ORDER) == {"doubled": 1, "reordered": 1}


def test_what_was_acknowledged_must_be_there():
    bench = Bench()
    bench.take((1, SECOND), (2, MARK))
    bench.judge.last[0] = 20
    bench.judge.stands(1, FIRST, "publisher")
    assert bench.judged([(1, SECOND), (2, MARK)]) == {"lost": 1}
    assert bench.judge.gone == 1


def test_what_was_acknowledged_may_be_gone_where_the_promise_says_so():
    bench = Bench(lossy=True)
    bench.take((1, SECOND), (2, MARK))
    bench.judge.stands(1, FIRST, "publisher")
    assert bench.judged([(1, SECOND), (2, MARK)]) == {}
    assert bench.judge.gone == 1


def test_what_was_acknowledged_must_not_move():
    for lossy, wrong in [(False, {"moved": 1}), (True, {})]:
        bench = Bench(lossy=lossy)
        bench.take(*ORDER)
        bench.judge.stands(2, FIRST, "publisher")
        assert bench.judged(ORDER) == wrong


def test_an_event_that_stands_twice_is_told():
    bench = Bench()
    order = [(1, FIRST), (2, FIRST), (3, MARK)]
    bench.take(*order)
    assert bench.judged(order) == {"doubled": 1, "reordered": 1}


def test_an_order_that_is_cut_below_what_was_judged_is_told():
    later = [(2, THIRD), (3, pack(MARKER, 100))]
    for lossy, more in [(False, {"lost", "reordered"}), (True, set())]:
        bench = Bench(lossy=lossy)
        bench.take(*ORDER)
        bench.judged(ORDER)
        bench.take(later[-1])  # at a position it has already
        assert bench.judged(later, begins=1).keys() == {"doubled", "hole"} | more
