"""Measures the server, piece by piece, and prints one table beside a function that does nothing in the same run.

    python -m tests.benchmarks --quick                        # a look, in a minute or two
    python -m tests.benchmarks --json now.json --svg now.svg  # all of it, kept
    python -m tests.benchmarks --only throughput telemetry

Each piece is a command of its own as well: tests.benchmarks.throughput, .cold_start, .telemetry, .catalog, …
The runtime pieces need Python 3.13 with tests/requirements.txt: this one, or the one --python names.
"""

import argparse
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.chart import Bar, chart, figure
from tests.benchmarks.search import finder, questions, times
from tests.benchmarks.telemetry import LIMIT_US
from tests.dev_host import ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "d365mcp"
LEAST_QUERIES, LONGEST_MS = 250.0, 56.0
MOST_PACKAGES = 8
NOOP = "a function that does nothing"

Panels = dict[str, list[Bar]]


def measured(python: str, piece: str, *arguments: object) -> Any:
    """Run one piece in a process of its own and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "figures.json")
        command = [python, "-m", f"tests.benchmarks.{piece}", *map(str, arguments), "--json", str(kept)]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        return json.loads(kept.read_text())


def throughput(python: str, quick: bool) -> Panels:
    """Requests a second, waiting times and memory, over HTTP."""
    panels: Panels = defaultdict(list)
    callers = (1, 16) if quick else (1, 16, 64)
    for delay in (0, 50):
        rows = measured(python, "throughput", "--seconds", 1 if quick else 4, "--delay", delay, "--callers", *callers)
        bare = {row["callers"]: row for row in rows if row["case"] == NOOP}
        for row in rows:
            if row["case"] != NOOP and (delay == 0 or row["case"].startswith("query")):
                name = f"{row['case']}, {row['callers']} {'caller' if row['callers'] == 1 else 'callers'}"
                told = f"p50 {row['p50']:.1f}  p95 {row['p95']:.1f}  p99 {row['p99']:.1f} ms{goal(row, delay)}"
                panels[f"Requests a second, F&O takes {delay} ms"].append(
                    Bar(name, row["rate"], "/s", None if delay else bare[row["callers"]]["rate"], told)
                )
        if delay == 0:
            panels["Memory"] += [
                Bar("idle, nothing called yet", rows[0]["mb"], "MB"),
                Bar("under load", max(row["mb"] for row in rows), "MB"),
            ]
    return panels


def goal(row: dict[str, Any], delay: int) -> str:
    """Return how a row stands to its target, where it has one."""
    if delay != 50:
        return ""
    if row["callers"] == 16:
        return verdict(row["rate"] >= LEAST_QUERIES, f"≥ {LEAST_QUERIES:.0f}/s")
    return verdict(row["p50"] <= LONGEST_MS, f"p50 ≤ {LONGEST_MS:.0f} ms") if row["callers"] == 1 else ""


def verdict(met: bool, target: str) -> str:
    return f"  ({target}: {'met' if met else 'missed'})"


def cold_start(python: str, quick: bool) -> Panels:
    """From a new process to its first answers, and what a request costs then, in Microsoft's runtime."""
    panels: Panels = defaultdict(list)
    for row in measured(python, "cold_start", "--spawns", 3 if quick else 9):
        told = f"{row['ratio']:.1f} times the bare function"
        if "met" in row:
            told = f"{row['ratio']:.1f} times a bare client's{verdict(row['met'], 'within 1.2 times and 5 ms')}"
            name = row["case"].removeprefix("opening: ")
            panels["A client's two first requests, in a new process"].append(
                Bar(name, row["ms"], "ms", row["bare_ms"], told)
            )
        elif "us" in row:
            name = row["case"].removeprefix("steady: ")
            panels["A request in Microsoft's runtime"].append(Bar(name, row["us"], "µs", row["bare_us"], told))
        else:
            panels["From a new process to its first answer"].append(
                Bar(row["case"], row["ms"], "ms", row["bare_ms"], told)
            )
    return panels


def imports(python: str, quick: bool) -> Panels:
    """Return what importing everything costs, by package: itself, without what it imports in turn."""
    program = "from d365mcp.app import application; application.load_engine()"
    command = [python, "-X", "importtime", "-c", program]
    environ = {**os.environ, "D365FO_BASE_URL": "https://contoso.operations.dynamics.com"}
    told = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stderr
    spent: dict[str, float] = defaultdict(float)
    for own, module in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)", told):
        spent[module.partition(".")[0]] += int(own) / 1000
    dearest = sorted(spent.items(), key=lambda item: -item[1])
    bars = [Bar(name, each, "ms") for name, each in dearest[:MOST_PACKAGES]]
    rest = sum(each for _, each in dearest[MOST_PACKAGES:])
    return {"Importing everything, by package": [*bars, Bar("all others", rest, "ms")]}


def telemetry(python: str, quick: bool) -> Panels:
    """What telemetry costs a request."""
    found = measured(python, "telemetry", "--requests", 1000 if quick else 5000)
    met = verdict(found["processor_us"] <= LIMIT_US, f"≤ {LIMIT_US:.0f} µs")
    return {
        "Telemetry, for each request": [
            Bar("on the request's way", found["median_us"], "µs", told=f"p99 {found['p99_us']:.1f} µs"),
            Bar("processor time altogether", found["processor_us"], "µs", told=met.strip()),
        ]
    }


def catalog(python: str, quick: bool) -> Panels:
    """Building the catalog: until search serves, until all labels are in, and once more."""
    entities, label_ms = (400, 0) if quick else (5_000, 120)
    built = measured(python, "catalog", "--entities", entities, "--labels", 5 * entities, "--label-ms", label_ms)
    told = f"peak {built['peak_mb']:.0f} MB, file {built['file_mb']:.1f} MB, {built['runs']} runs"
    late = f"event loop late: p99 {built['loop_late_p99_ms']:.0f} ms, at most {built['loop_late_most_ms']:.0f} ms"
    return {
        f"A catalog of {entities} entities, {5 * entities} labels at {label_ms} ms": [
            Bar("searchable", built["searchable_s"], "s", told=late),
            Bar("complete", built["complete_s"], "s", told=told),
            Bar("built again", built["again_s"], "s"),
        ]
    }


def search(python: str, quick: bool) -> Panels:
    """Asking the search questions of a catalog whose names and labels are made of the questions' own words."""
    asked = " ".join(question for each in questions().values() for question in each)
    words = sorted(set(re.findall(r"[a-z]{4,}", asked.lower())))
    chance = random.Random(7)  # noqa: S311 - the same catalog every time

    def entity(number: int) -> dict[str, Any]:
        columns = [[word.title(), "String", word, False] for word in chance.sample(words, 20)]
        name = "".join(map(str.title, chance.sample(words, 3)))
        return {"name": f"{name}{number}Entity", "label": " ".join(chance.sample(words, 3)), "fields": columns}

    entities = 400 if quick else 4052
    cuts = statistics.quantiles(times(finder([entity(number) for number in range(entities)])), n=20)
    return {f"Searching {entities} entities": [Bar("a question", cuts[9], "ms", told=f"p95 {cuts[18]:.1f} ms")]}


PIECES: dict[str, Callable[[str, bool], Panels]] = {
    "throughput": throughput,
    "cold_start": cold_start,
    "imports": imports,
    "telemetry": telemetry,
    "catalog": catalog,
    "search": search,
}
IN_RUNTIME = ("cold_start",)


def runtime_python() -> str | None:
    """Return a Python that Microsoft's runtime works in: this one, or one that tests/run has made."""
    if sys.version_info >= (3, 13):
        return sys.executable
    made = sorted(CACHE.glob("python-3.13*/complete"), key=lambda path: path.stat().st_mtime)
    return str(made[-1].parent / "bin" / "python") if made else None


def measure(names: list[str], runtime: str | None, quick: bool) -> Iterator[tuple[str, Panels]]:
    for name in names:
        python = runtime if name in IN_RUNTIME else sys.executable
        if python is None:
            print(f"{name}: left out, for want of a Python 3.13 (--python).", file=sys.stderr)
            continue
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        yield name, PIECES[name](python, quick)


def table(panels: Panels) -> str:
    lines = []
    for name, bars in panels.items():
        lines += ["", f"{name:36} {'ours':>12} {'bare':>9}"]
        for bar in bars:
            bare = figure(bar.bare) if bar.bare is not None else ""
            lines.append(f"  {bar.label:34} {figure(bar.value):>8} {bar.unit:3} {bare:>9}  {bar.told}".rstrip())
    return "\n".join(lines[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="shorter and smaller: a look, no record")
    parser.add_argument(
        "--only", nargs="+", choices=PIECES, default=list(PIECES), metavar="PIECE", help=", ".join(PIECES)
    )
    parser.add_argument("--python", default=runtime_python(), help="the Python 3.13 for Microsoft's runtime")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--svg", type=Path, help="draw them here")
    options = parser.parse_args()
    panels: Panels = {}
    for _, found in measure(options.only, options.python, options.quick):
        panels |= found
    told = f"{time.strftime('%Y-%m-%d')} · Python {platform.python_version()} · {os.cpu_count()} cores · grey: a function that does nothing"
    print(table(panels))
    if options.json:
        rows = [{"panel": name, **vars(bar)} for name, bars in panels.items() for bar in bars]
        options.json.write_text(json.dumps({"measured": told, "rows": rows}, indent=1, ensure_ascii=False) + "\n")
    if options.svg:
        options.svg.write_text(chart("d365mcp, measured", told, panels), encoding="utf-8")


if __name__ == "__main__":
    main()
