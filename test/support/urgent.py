# SPDX-License-Identifier: MIT
"""For load tools: to go before whatever else the machine runs."""

import contextlib
import subprocess


def first_to_run():
    """What makes a command run as soon as it can on a core that others use, if we may do that."""
    words = ("chrt", "--fifo", "1")
    with contextlib.suppress(OSError):
        if subprocess.run([*words, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            return words
    return ()
