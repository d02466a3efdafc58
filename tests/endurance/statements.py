"""Random SELECTs, asked of d365fo_query_sql's rooms and of a database that holds every record: the answers have to agree.

    python -m tests.endurance.statements                       10,000 statements
    python -m tests.endurance.statements --statements 500 --seed 7

A seed is a series: the same number, the same statements. Ends with 1 where an answer differs.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulated import Simulator
from tests.sql.statements import Author
from tests.sql.things import KEYS, world
from tests.sql.trial import Trial, tried


def differing(statements: int, seed: int) -> list[str]:
    """Try so many statements, print how they fared, and return what is wrong."""
    simulator = Simulator.start(world())
    began = time.monotonic()
    try:
        trial = Trial(simulator, dict.fromkeys(KEYS, ()))
        wrong, counts = tried(trial, Author(seed), statements)
        trial.close()
    finally:
        simulator.stop()
    fared = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    print(f"{statements} statements, seed {seed}, in {time.monotonic() - began:.0f} s: {fared}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.endurance.statements",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--statements", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    options = parser.parse_args()
    wrong = differing(options.statements, options.seed)
    for each in wrong[:20]:
        print("WRONG:", each)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
