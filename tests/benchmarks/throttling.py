"""Several instances against one F&O that throttles: how many requests it turns away, and what is done meanwhile.

    python -m tests.benchmarks.throttling [--seconds 30] [--callers 16] [--at-once 20] [--before CHECKOUT]

Each instance is a dev host of its own. They share Azurite, or nothing. "Never throttled" are instances that may send no more
than F&O bears, so it is the best there is. `--before` measures another version of this server beside it.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.azurite import Azurite
from tests.benchmarks.load import Connection, request_bytes
from tests.benchmarks.throughput import CASES, VERSION
from tests.dev_host import ROOT, DevHost
from tests.simulated import Simulator

INSTANCES = 4
QUERY = CASES["query, top 10"]


@dataclass(frozen=True)
class Case:
    """A fleet of instances: of which version, with which settings, and what its callers put up with."""

    name: str
    app: Path
    settings: dict[str, str]


@dataclass(frozen=True)
class Found:
    """What callers got, and what F&O had to turn away."""

    case: str
    rate: float  # answers a second
    slowest: float  # of the instances' rates, by their mean
    failed: int
    throttled: int
    first_second: int  # of the throttled


@contextmanager
def fleet(simulator: Simulator, case: Case) -> Iterator[list[str]]:
    """Start the instances, and call each until it has all that it loads late."""
    environ = {
        "D365FO_BASE_URL": simulator.base_url,
        "MCP_AUTH": "none",
        **simulator.identity_environment(),
        **case.settings,
    }
    with ExitStack() as stack:
        hosts = [
            stack.enter_context(
                DevHost(case.app, "--log-level", "error", environ={**environ, "PYTHONPATH": str(case.app)})
            )
            for _ in range(INSTANCES)
        ]
        yield [f"{host.base_url}/mcp" for host in hosts]


async def load(urls: list[str], callers: int, seconds: float) -> tuple[dict[str, int], int]:
    """Let so many callers of each instance ask again and again; return the answers by instance, and the errors."""
    answers, failed = dict.fromkeys(urls, 0), 0

    async def work(url: str, until: float) -> None:
        nonlocal failed
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        connection = Connection(reader, writer, request_bytes(url, QUERY, VERSION))
        while time.monotonic() < until:
            body = await connection.once()
            if b'"isError":true' in body:
                failed += 1
            else:
                answers[url] += 1
        writer.close()

    until = time.monotonic() + seconds
    await asyncio.gather(*(work(url, until) for url in urls for _ in range(callers)))
    return answers, failed


def measure(simulator: Simulator, case: Case, options: argparse.Namespace) -> Found:
    simulator.reset()
    with fleet(simulator, case) as urls:
        asyncio.run(load(urls, 1, 2.0))
        simulator.reset()
        throttle = {"at_once": options.at_once, "retry_after": options.retry_after}
        simulator.control(throttle=throttle, latency_ms=options.latency)
        began, clock = time.time(), time.monotonic()
        answers, failed = asyncio.run(load(urls, options.callers, options.seconds))
        took = time.monotonic() - clock
    throttled = [entry["time"] - began for entry in simulator.log("/") if entry["status"] == 429]
    rate = sum(answers.values()) / took
    slowest = min(answers.values()) / took / (rate / INSTANCES)
    return Found(case.name, rate, slowest, failed, len(throttled), sum(at < 1 for at in throttled))


def cases(storage: str, before: Path | None, at_once: int) -> Iterator[Case]:
    shared = {"AzureWebJobsStorage": storage}
    yield Case("never throttled", ROOT, {"MCP_CONNECTION_POOL_SIZE": str(at_once // INSTANCES)})
    if before:
        yield Case("before", before, shared)
    yield Case("without storage", ROOT, {})
    yield Case("shared", ROOT, shared)


def table(rows: list[Found]) -> str:
    head = f"{'case':18} {'calls/s':>8} {'of the best':>11} {'slowest':>8} {'failed':>7} {'429s':>6} {'in 1st s':>8}"
    best = max(row.rate for row in rows)
    return "\n".join([head, *(line(row, best) for row in rows)])


def line(row: Found, best: float) -> str:
    shares = f"{row.rate / best:11.0%} {row.slowest:8.0%}"
    return f"{row.case:18} {row.rate:8.1f} {shares} {row.failed:7} {row.throttled:6} {row.first_second:8}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--callers", type=int, default=16, help="of each instance")
    parser.add_argument("--at-once", type=int, default=20, help="what F&O bears")
    parser.add_argument("--retry-after", type=int, default=1)
    parser.add_argument("--latency", type=int, default=1000, help="of F&O, in milliseconds")
    parser.add_argument("--before", type=Path, help="a checkout of another version")
    parser.add_argument("--only", nargs="+", help="these cases alone")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    simulator, storage = Simulator.start(), Azurite()
    try:
        wanted = [
            case
            for case in cases(storage.connection, options.before, options.at_once)
            if not options.only or case.name in options.only
        ]
        rows = [measure(simulator, case, options) for case in wanted]
    finally:
        storage.stop()
        simulator.stop()
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([vars(row) for row in rows], indent=1))
