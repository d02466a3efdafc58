"""From a new process to its first answers, and what a request costs then, in Microsoft's own runtime (Python 3.13).

    python3.13 -m tests.benchmarks.cold_start [--spawns 9] [--only-clients] [--json FILE]

Each figure stands beside a function that does nothing, measured in the same run. Bytecode is on disk, as deployed. The two
requests a client opens with stand beside those of a client that says nothing of itself: within `GOAL` of it.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.throughput import CASES, VERSION, immediate_fo, message
from tests.clients.dialects import DIALECTS, PLAIN, Case, Dialect
from tests.dev_host import ROOT
from tests.functions_runtime import Call, FunctionsRuntime

HERE = Path(__file__).parent
NOOP = HERE / "noop"
LOADED_SECONDS = 4.0  # after its first answer a process has loaded the rest
HANDSHAKE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}
FIRSTS = {
    "initialize": message("initialize", HANDSHAKE),
    "tools/list": message("tools/list"),
    "first tool without I/O": CASES["a tool without I/O"],
    "first query, immediate F&O": CASES["query, top 10"],
}


# What a client's two first requests may take: so many times those of a client that says nothing, and so many ms more.
GOAL = (1.2, 5.0)


def call(body: bytes, headers: Mapping[str, str] = VERSION) -> Call:
    named = {"host": "localhost", "content-type": "application/json", "accept": "application/json, text/event-stream"}
    return Call("mcp", "POST", "http://localhost/mcp", {**named, **headers}, body=body.decode())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def first_answer(app: Path, body: bytes) -> dict[str, float]:
    """Load the app, get its first answer, and say what that took: run in a process of its own."""
    runtime = await FunctionsRuntime.start(app)
    answer = await runtime.invoke(call(body))
    if answer.status != 200 or '"isError":true' in answer.body:
        raise RuntimeError(answer.body or answer.error)
    return {"answered": time.time(), "modules": len(sys.modules), "mb": resident() / 1e6}


async def opening(app: Path, cases: list[Case]) -> dict[str, float]:
    """Load the app and answer what a client sends first: run in a process of its own."""
    runtime = await FunctionsRuntime.start(app)
    calls = [call(json.dumps(message).encode(), headers) for message, headers in cases]
    began = time.perf_counter()
    answers = [await runtime.invoke(each) for each in calls]
    took = time.perf_counter() - began
    if any(answer.status != 200 or '"result":' not in answer.body for answer in answers):
        raise RuntimeError([answer.body or answer.error for answer in answers])
    return {"ms": took * 1000, "modules": len(sys.modules), "mb": resident() / 1e6}


async def steady(app: Path, body: bytes, count: int = 3000) -> float:
    """Return the median cost of a request in microseconds, once all is loaded.

    The loop turns between two requests, as a worker's does: else what came late would never load, and timers pile up.
    """
    runtime = await FunctionsRuntime.start(app)
    asked = call(body)
    await runtime.invoke_bare(asked)
    await asyncio.sleep(LOADED_SECONDS)
    times = []
    for _ in range(200 + count):
        began = time.perf_counter()
        await runtime.invoke_bare(asked)
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0)
    return statistics.median(times[200:]) * 1e6


def spawn(kind: str, app: Path, body: bytes, environ: dict[str, str]) -> dict[str, float]:
    """Run one measurement in a new process; a first answer's time counts from before the process was started."""
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.cold_start", kind, str(app)],
        input=body,
        cwd=ROOT,
        env=environ,
        capture_output=True,
        timeout=120,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "ms": (found["answered"] - began) * 1000} if "answered" in found else found


def medians(spawns: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in spawns) for name in ("ms", "modules", "mb")}


def clients(spawns: int, environ: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Measure what each client opens with, turn by turn with one that says nothing of itself."""

    def once(dialect: Dialect) -> dict[str, float]:
        return spawn("opening", ROOT, json.dumps(dialect.opening()).encode(), environ)

    once(PLAIN)  # writes bytecode
    for name, dialect in DIALECTS.items():
        turns = [(once(PLAIN), once(dialect)) for _ in range(spawns)]
        bare, ours = medians([one for one, _ in turns]), medians([other for _, other in turns])
        ratio, met = ours["ms"] / bare["ms"], ours["ms"] <= GOAL[0] * bare["ms"] + GOAL[1]
        yield {
            "case": f"opening: {name}",
            **ours,
            "bare_ms": bare["ms"],
            "ratio": ratio,
            "bare_mb": bare["mb"],
            "met": met,
        }


def run(spawns: int, *, only_clients: bool = False) -> list[dict[str, Any]]:
    """Measure every case, turn by turn with the no-op, so that a noisy moment hits both."""
    with immediate_fo(0) as fo:
        environ = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "D365FO_BASE_URL": fo,
            "MCP_AUTH": "none",
            "IDENTITY_ENDPOINT": f"{fo}/msi/token",
            "IDENTITY_HEADER": "x",
        }
        rows = list(clients(spawns, environ))
        if only_clients:
            return rows
        for body in (b"{}", *FIRSTS.values()):  # the first run of each writes bytecode
            spawn("first", NOOP if body == b"{}" else ROOT, body, environ)
        for name, body in FIRSTS.items():
            turns = [(spawn("first", NOOP, b"{}", environ), spawn("first", ROOT, body, environ)) for _ in range(spawns)]
            bare, ours = medians([one for one, _ in turns]), medians([other for _, other in turns])
            rows.append(
                {"case": name, **ours, "bare_ms": bare["ms"], "ratio": ours["ms"] / bare["ms"], "bare_mb": bare["mb"]}
            )
        for name in ("tools/list", "a tool without I/O", "query, top 10"):
            bare = spawn("steady", NOOP, b"{}", environ)
            ours = spawn("steady", ROOT, CASES[name], environ)
            rows.append(
                {"case": f"steady: {name}", "us": ours["us"], "bare_us": bare["us"], "ratio": ours["us"] / bare["us"]}
            )
    return rows


def show(row: dict[str, Any]) -> str:
    if "us" in row:
        return f"{row['case']:32} {row['us']:8.0f} µs {row['bare_us']:8.0f} µs bare {row['ratio']:6.2f}x"
    return (
        f"{row['case']:32} {row['ms']:8.1f} ms {row['bare_ms']:8.1f} ms bare {row['ratio']:6.2f}x "
        f"{row['modules']:6.0f} modules {row['mb']:6.0f} MB ({row['bare_mb']:.0f} bare)"
        f"{'' if row.get('met', True) else '  GOAL MISSED'}"
    )


def main() -> None:
    if sys.argv[1:2] == ["first"]:
        print(json.dumps(asyncio.run(first_answer(Path(sys.argv[2]), sys.stdin.buffer.read()))))
        sys.stdout.flush()
        os._exit(0)  # what loads in the background would only delay the end
    if sys.argv[1:2] == ["opening"]:
        print(json.dumps(asyncio.run(opening(Path(sys.argv[2]), json.load(sys.stdin)))), flush=True)
        os._exit(0)
    if sys.argv[1:2] == ["steady"]:
        print(json.dumps({"us": asyncio.run(steady(Path(sys.argv[2]), sys.stdin.buffer.read()))}), flush=True)
        os._exit(0)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spawns", type=int, default=9)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--only-clients", action="store_true", help="only what clients open with")
    options = parser.parse_args()
    rows = run(options.spawns, only_clients=options.only_clients)
    print("\n".join(map(show, rows)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
