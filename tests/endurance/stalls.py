"""Runs tests as on a machine that is busy with something else: all their processes stop now and then.

    python -m tests.endurance.stalls tests/server -m "not hosts"    any arguments of pytest
    python -m tests.endurance.stalls tests/d365 -m once

More than half of the time nothing of theirs runs, up to three seconds at a stretch. What fails here alone has a deadline
that a busy machine misses. Ends as pytest does.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil

# Seconds: those in which all goes on, and those in which nothing does.
RUNNING, STOPPED = (0.4, 2.0), (0.4, 3.0)


def send(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def stall(main: psutil.Process, chance: random.Random) -> None:
    """Stop a process and all it has started for a while."""
    whole = [main, *main.children(recursive=True)]
    send(whole, signal.SIGSTOP)
    time.sleep(chance.uniform(*STOPPED))
    send(whole[::-1], signal.SIGCONT)


def main(arguments: Sequence[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-c", "tests/pytest.ini", "-p", "no:cacheprovider", *arguments]
    tests = subprocess.Popen(command)
    chance = random.Random(7)  # noqa: S311 - the same stalls every time
    while True:
        try:
            return tests.wait(chance.uniform(*RUNNING))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(psutil.NoSuchProcess):
                stall(psutil.Process(tests.pid), chance)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
