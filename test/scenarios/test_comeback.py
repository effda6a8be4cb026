# SPDX-License-Identifier: MIT
"""kill -9 with many clients who come again at once; `make comebacktest` does it with 15,000."""

import sys

import conftest
import wire

sys.path.insert(0, str(conftest.SOURCE / "test" / "load"))

import comeback  # noqa: E402


def test_everybody_is_back_without_a_gap_after_a_kill(tmp_path):
    clients = wire.fewer(500, 100)
    report = comeback.come_back(tmp_path, clients, rate=20, before_s=0.5, pinned=False)
    comeback.show(report)
    assert report["back"] == clients, report
    assert report["status"] == 0, report
    for fault in ("refused", "gaps", "duplicates", "resets", "other_epochs", "streams_refused"):
        assert report[fault] == 0, report
