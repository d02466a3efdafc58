"""The server in the test's own process, so that its event loop and its memory can be measured."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from d365mcp.app import Application
from d365mcp.settings import read_settings
from tests.simulated import Simulator

HEADERS = {"host": "localhost", "content-type": "application/json", "mcp-protocol-version": "2025-11-25"}
MB = 1024 * 1024


@dataclass
class InProcess:
    """A server that answers on a loop of the test's."""

    app: Application
    simulator: Simulator
    loop: asyncio.Runner = field(default_factory=asyncio.Runner)

    async def ask(self, tool: str, seconds: float | None = None, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool with so much time, and return its result, or its error with `is_error`."""
        params = {"name": f"d365fo_{tool}", "arguments": arguments}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        timeout = {"x-mcp-timeout": f"{seconds:g}"} if seconds else {}
        reply = await self.app.endpoint.handle("POST", {**HEADERS, **timeout}, body)
        result = json.loads(reply.body)["result"]
        return {**json.loads(result["content"][0]["text"]), "is_error": result["isError"]}

    async def sql(self, sql: str, seconds: float | None = None, **arguments: Any) -> dict[str, Any]:
        return await self.ask("query_sql", seconds, sql=sql, **arguments)

    def run_sql(self, sql: str, seconds: float | None = None, **arguments: Any) -> dict[str, Any]:
        return self.loop.run(self.sql(sql, seconds, **arguments))


@contextmanager
def in_process(simulator: Simulator, **settings: str) -> Iterator[InProcess]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in simulator.identity_environment().items():
            patch.setenv(name, value)
        environ = {"D365FO_BASE_URL": simulator.base_url, "MCP_AUTH": "none", **simulator.identity_environment()}
        server = InProcess(Application(read_settings({**environ, **settings})), simulator)
        try:
            yield server
        finally:
            server.app.databases.close()
            server.loop.close()


@dataclass
class Delays:
    """How long the event loop was kept from its work by this process."""

    most: float = 0.0


@contextmanager
def measured_delays() -> Iterator[Delays]:
    """Measure, in a running loop. Time in which others had the processor does not count: neither when this process did
    nothing, nor when the loop's thread was ready to run."""
    found = Delays()

    async def beat() -> None:
        while True:
            wall, used, queued = time.perf_counter(), time.process_time(), seconds_in_queue()
            await asyncio.sleep(0.005)
            late = time.perf_counter() - wall - 0.005 - (seconds_in_queue() - queued)
            found.most = max(found.most, min(late, time.process_time() - used))

    beating = asyncio.ensure_future(beat())
    try:
        yield found
    finally:
        beating.cancel()


def seconds_in_queue() -> float:
    """Return how long this thread has waited for a processor so far."""
    return int(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()[1]) / 1e9


def memory() -> int:
    """Return the most bytes that this process has held since the last `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def children() -> set[int]:
    """Return the processes that this one has started and that are at work."""
    found = set()
    for each in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parts = (each / "stat").read_text().rsplit(")", 1)[1].split()
            if (
                int(parts[1]) == os.getpid()
                and parts[0] != "Z"
                and b"d365mcp.sql.child" in (each / "cmdline").read_bytes()
            ):
                found.add(int(each.name))
    return found


def busy_child(seconds: float = 1.0) -> int:
    """Wait until a database process computes, by the processor time it has taken. Blocks."""
    ticks = os.sysconf("SC_CLK_TCK") * seconds
    before = {process: _ticks(process) for process in children()}
    for _ in range(600):
        time.sleep(0.05)
        for process in children():
            if _ticks(process) - before.get(process, 0) > ticks:
                return process
    raise TimeoutError("No statement is at work.")


def wait_until_gone(process: int, seconds: float = 60.0) -> None:
    """Raise TimeoutError for a process that does not end. Blocks."""
    deadline = time.monotonic() + seconds
    while process in children():
        if time.monotonic() > deadline:
            raise TimeoutError("The process is still there.")
        time.sleep(0.02)


def _ticks(process: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11])
    return 0
