"""Requests a second under the dev host, beside a function that does nothing in the same run.

    python -m tests.benchmarks.throughput [--seconds 4] [--callers 1 16] [--delay 0]

`--delay` is how long F&O takes for a query, in milliseconds.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.load import Measured, measure
from tests.dev_host import ROOT, DevHost

HERE = Path(__file__).parent
VERSION = {"accept": "application/json", "mcp-protocol-version": "2025-11-25"}
QUERY = {"entity_name": "CustomersV3", "select": ["CustomerAccount", "OrganizationName", "CreditLimit"], "top": 10}


def message(method: str, params: dict[str, Any] | None = None) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}).encode()


def call(tool: str, arguments: dict[str, Any]) -> bytes:
    return message("tools/call", {"name": tool, "arguments": arguments})


CASES = {
    "tools/list": message("tools/list"),
    "a tool without I/O": call("d365fo_get_server_config", {}),
    "query, top 10": call("d365fo_query_entities", QUERY),
}


@contextmanager
def immediate_fo(delay_ms: float) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.benchmarks.immediate_fo", str(delay_ms)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def run(callers: list[int], seconds: float, delay_ms: float) -> list[dict[str, Any]]:
    """Measure every case with every number of callers; each row has its ratio to the no-op of the same callers.

    `mb` is what the server's process holds after the case; the first row of the no-op has what ours holds idle.
    """
    rows: list[dict[str, Any]] = []
    with immediate_fo(delay_ms) as fo, DevHost(HERE / "noop", "--log-level", "error") as noop:
        environ = {
            "D365FO_BASE_URL": fo,
            "MCP_AUTH": "none",
            "IDENTITY_ENDPOINT": f"{fo}/msi/token",
            "IDENTITY_HEADER": "x",
        }
        with DevHost(ROOT, "--log-level", "error", environ=environ) as ours:
            for number in callers:
                base = asyncio.run(measure(f"{noop.base_url}/mcp", b"{}", {}, callers=number, seconds=seconds))
                rows.append({**row("a function that does nothing", number, base, base), "mb": resident(ours.pid)})
                for name, body in CASES.items():
                    url = f"{ours.base_url}/mcp"
                    found = asyncio.run(measure(url, body, VERSION, callers=number, seconds=seconds))
                    rows.append({**row(name, number, found, base), "mb": resident(ours.pid)})
    return rows


def resident(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def row(name: str, callers: int, found: Measured, base: Measured) -> dict[str, Any]:
    return {"case": name, "callers": callers, **vars(found), "cost": base.rate / found.rate}


def table(rows: list[dict[str, Any]]) -> str:
    head = f"{'case':32} {'callers':>7} {'req/s':>8} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'x no-op':>8}"
    return "\n".join([head, *map(line, rows)])


def line(each: dict[str, Any]) -> str:
    figures = " ".join(f"{each[name]:8.2f}" for name in ("p50", "p95", "p99", "cost"))
    return f"{each['case']:32} {each['callers']:7} {each['rate']:8.0f} {figures}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--delay", type=float, default=0)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    measured = run(options.callers, options.seconds, options.delay)
    print(table(measured))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1))
