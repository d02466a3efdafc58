"""One server over the simulator for the tests of statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from mcp_types import CallToolResult

from tests.served import Served, serving
from tests.simulated import Simulator
from tests.sql.things import world

HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
HTTP = httpx.Client(timeout=60, trust_env=False)


class Asked(Served):
    """A running server that is asked with one request: a client of its own for each call would take most of the time."""

    def send(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        params = {"name": f"d365fo_{tool}", "arguments": dict(arguments)}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        return CallToolResult.model_validate(HTTP.post(self.url, json=message, headers=HEADERS).json()["result"])


def asked(served: Served) -> Asked:
    return Asked(served.base_url, served.simulator, served.host)


@pytest.fixture(scope="session")
def sql_process(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process) as served:
        yield asked(served)


@pytest.fixture
def server(sql_process: Served, simulator: Simulator) -> Served:
    """The server; the simulator is as it was at the start."""
    return sql_process


@pytest.fixture(scope="module")
def things() -> Iterator[Simulator]:
    running = Simulator.start(world())
    yield running
    running.stop()
