"""Builds a catalog as the timer does, from an F&O of full size, and measures what its users and operators wait for.

    python -m tests.benchmarks.catalog                       # 5,000 entities, 27,000 labels at 120 ms each: five minutes
    python -m tests.benchmarks.catalog --label-ms 0          # what of it is ours
    python -m tests.benchmarks.catalog --kills 5             # the same, and killed every minute on the way

Bars: searchable after 60 s, complete after at most two runs of 300 s, the second build under 15 s; a build that is
killed goes on where it was.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d365mcp.app import Application
from d365mcp.metadata.build import Builder
from d365mcp.metadata.store import CatalogStore
from d365mcp.settings import read_settings
from d365mcp.storage import FolderStorage
from tests.dev_host import ROOT
from tests.large_fo import Running, large_fo

SEARCHABLE_SECONDS, MOST_RUNS, AGAIN_SECONDS = 60.0, 2, 15.0
TICK_SECONDS = 0.01


@dataclass
class Measured:
    """What a build took, in seconds; how late the event loop was beside it."""

    searchable: float = 0.0
    complete: float = 0.0
    runs: int = 0
    delays: list[float] = field(default_factory=list)


def builder(fo: Running, folder: Path) -> Builder:
    """Return the server's own builder, with the times its timer has."""
    settings = read_settings({"D365FO_BASE_URL": fo.base_url, "MCP_AUTH": "none"})
    application = Application(settings)
    made = application.environment.builder
    made.store = CatalogStore(FolderStorage(folder), fo.base_url)
    return made


async def measure(made: Builder, *, asked: bool) -> Measured:
    """Run until nothing is left to do."""
    measured, began = Measured(), time.perf_counter()
    if asked:
        made.store.ask("benchmark")
    before = made.store.pointer()

    async def watch() -> None:
        while True:
            at = time.perf_counter()
            await asyncio.sleep(TICK_SECONDS)
            measured.delays.append(time.perf_counter() - at - TICK_SECONDS)

    def look() -> None:
        while made.store.pointer() == before:
            time.sleep(0.1)
        measured.searchable = time.perf_counter() - began

    beside = [asyncio.create_task(watch()), asyncio.create_task(asyncio.to_thread(look))]
    outcome = "waiting"
    while outcome == "waiting":
        measured.runs += 1
        outcome = await made.run_due("02:30")
        print(f"run {measured.runs}: {outcome} after {time.perf_counter() - began:.0f} s", file=sys.stderr)
    measured.complete = time.perf_counter() - began
    await beside[1]
    beside[0].cancel()
    if outcome != "built":
        raise SystemExit(f"The build ended as {outcome}: {made.store.progress()}")
    return measured


def kill_on_the_way(fo: Running, folder: Path, times: int, every: float) -> None:
    """Begin to build in a process of its own, and kill it, over and over."""
    program = (
        "import asyncio, sys; from pathlib import Path; from tests.benchmarks import catalog; "
        "from tests.large_fo import Running; "
        "made = catalog.builder(Running(sys.argv[1], None), Path(sys.argv[2])); asyncio.run(made.run_due('02:30'))"
    )
    for number in range(times):
        command = [sys.executable, "-c", program, fo.base_url, str(folder)]
        with subprocess.Popen(command, cwd=ROOT) as process:
            try:
                process.wait(every)
            except subprocess.TimeoutExpired:
                process.kill()
        print(f"killed {number + 1} times, {len(fo.asked_labels())} labels asked for", file=sys.stderr)
        store = CatalogStore(FolderStorage(folder), fo.base_url)
        store.storage.delete("catalog", store.name("building.json"))  # or two minutes later


async def run(fo: Running, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    made = builder(fo, folder)
    if options.kills:
        await asyncio.to_thread(kill_on_the_way, fo, folder, options.kills, options.every)
    first = await measure(made, asked=False)
    asked = len(fo.asked_labels())
    again = await measure(made, asked=True)
    found = made.store.pointer()
    delays = sorted(first.delays + again.delays)
    return {
        "searchable_s": first.searchable,
        "complete_s": first.complete,
        "runs": first.runs,
        "again_s": again.complete,
        "labels_asked_for": asked,
        "left_out": getattr(made.store.progress(), "left_out", None),
        "loop_late_p99_ms": delays[int(len(delays) * 0.99)] * 1000,
        "loop_late_most_ms": delays[-1] * 1000,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "file_mb": found[0].bytes / 1e6 if found else 0.0,
    }


def verdict(figures: dict[str, Any]) -> str:
    """Say which bars are met."""
    bars = {
        f"searchable after {SEARCHABLE_SECONDS:.0f} s": figures["searchable_s"] <= SEARCHABLE_SECONDS,
        f"complete after {MOST_RUNS} runs": figures["runs"] <= MOST_RUNS,
        f"built again in {AGAIN_SECONDS:.0f} s": figures["again_s"] <= AGAIN_SECONDS,
    }
    return "\n".join(f"{'met   ' if met else 'missed'} {bar}" for bar, met in bars.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=5_000)
    parser.add_argument("--properties", type=int, default=42)
    parser.add_argument("--labels", type=int, default=27_000)
    parser.add_argument("--label-ms", type=float, default=120.0)
    parser.add_argument("--failing-labels", type=int, default=0, help="of a hundred")
    parser.add_argument("--kills", type=int, default=0, help="kill the build so often before it may come to its end")
    parser.add_argument("--every", type=float, default=60.0, help="seconds from one kill to the next")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    given = {
        name: getattr(options, name) for name in ("entities", "properties", "labels", "label_ms", "failing_labels")
    }
    with large_fo(**given) as fo, tempfile.TemporaryDirectory() as folder:
        os.environ |= fo.environment()
        figures = asyncio.run(run(fo, options, Path(folder)))
    print(
        "\n".join(
            f"{name:18} {value if not isinstance(value, float) else round(value, 1)}" for name, value in figures.items()
        )
    )
    if not options.kills:
        print(verdict(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
