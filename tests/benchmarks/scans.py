"""One SELECT over many records from an F&O that takes its time for a page: read one by one, and side by side.

python -m tests.benchmarks.scans [--rows 200000] [--seconds 1] [--deep 0] [--most 1000] [--at-once 1 4]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import replace

from d365mcp.d365.companies import CompanyBound
from d365mcp.sql.answers import Limits
from d365mcp.sql.companies import CompaniesAsked
from d365mcp.sql.processes import DatabaseProcess, ProcessLimits
from d365mcp.sql.reading import Places
from tests.sql.asking import Asking
from tests.sql.standin import Standin

SQL = "SELECT Status, count(*) AS n, count(DISTINCT ItemId) AS ids, sum(Amount) AS total, min(Day), max(Serial) FROM Items GROUP BY 1 ORDER BY 1"


def measure(address: str, rows: int, at_once: list[int]) -> None:
    process = DatabaseProcess(ProcessLimits())
    limits = Limits(rows, allow_partial=False, asked=CompaniesAsked(None, False, CompanyBound()))
    asked = Asking(Standin(0), address, process, limits, seconds=300)
    asked.ask("SELECT ItemId FROM Items LIMIT 1")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = []
    for places in at_once:
        asked.limits = replace(limits, places=Places(places))
        began = time.perf_counter()
        (answer,) = asked.ask(SQL)
        answers.append(answer.rows.rows)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(
            f"{places} at once: {time.perf_counter() - began:5.2f} s, {sum(row[1] for row in answers[-1]):,} rows, "
            f"{'same' if answers[-1] == answers[0] else 'OTHER'} answer, {grown:.0f} MB more at the most, notes {answer.notes}",
            flush=True,
        )
    asked.close()
    process.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--deep", type=float, default=0.0)
    parser.add_argument("--most", type=int, default=1_000)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8])
    given = parser.parse_args()
    command = [
        sys.executable,
        "-m",
        "tests.sql.standin",
        *map(str, (given.rows, given.seconds, given.deep, given.most)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        measure(serving.stdout.readline().split()[-1], given.rows, given.at_once)
        serving.terminate()
