"""A simulated Application Insights: settings that send to it, and what it stored, asked for in KQL."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from d365mcp.events import McpRequest, Trace
from d365mcp.settings import Settings, read_settings
from d365mcp.simulator.insights import KEY
from d365mcp.simulator.log_analytics import WORKSPACE
from d365mcp.telemetry.exporter import Pace, Telemetry, start
from tests.secret_markers import refuse_secrets
from tests.simulated import IDENTITY_HEADER, Simulator

QUICK = Pace(interval=0.05, timeout=5.0, first_pause=0.05, longest_pause=0.2)


@dataclass
class Workspace:
    """What Log Analytics knows."""

    simulator: Simulator

    def token(self, audience: str) -> str:
        reply = self.simulator.http.get(
            "/msi/token",
            params={"api-version": "2019-08-01", "resource": audience},
            headers={"X-IDENTITY-HEADER": IDENTITY_HEADER},
        )
        return str(reply.json()["access_token"])

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Run a query and return its rows by column name."""
        reply = self.simulator.http.post(
            f"/v1/workspaces/{WORKSPACE}/query",
            json={"query": query},
            headers={"Authorization": f"Bearer {self.token(self.simulator.base_url)}"},
        )
        assert reply.status_code == httpx.codes.OK, reply.text
        refuse_secrets(reply.text, "Telemetry")
        table = reply.json()["tables"][0]
        names = [column["name"] for column in table["columns"]]
        return [dict(zip(names, row, strict=True)) for row in table["rows"]]


@pytest.fixture
def workspace(simulator: Simulator) -> Workspace:
    return Workspace(simulator)


@pytest.fixture
def settings(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A server that sends its telemetry to the simulator, with a folder of its own for what cannot be sent."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return read_settings(
        {
            "D365FO_BASE_URL": "https://contoso.operations.dynamics.com",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={simulator.base_url}/",
            "MCP_LOG_ANALYTICS_WORKSPACE_ID": WORKSPACE,
            "MCP_LOG_ANALYTICS_URL": simulator.base_url,
            "WEBSITE_SITE_NAME": "func-contoso",
            "WEBSITE_INSTANCE_ID": "instance-a",
        }
    )


@pytest.fixture
def identity(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A managed identity, as App Service offers it."""
    for name, value in simulator.identity_environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def started() -> Iterator[Callable[[Settings], Telemetry]]:
    """Start telemetry at a quick pace; it is closed after the test."""
    running: list[Telemetry] = []

    def begin(settings: Settings) -> Telemetry:
        running.append(start(settings, QUICK))
        return running[-1]

    yield begin
    for each in running:
        each.close()


@pytest.fixture
def telemetry(settings: Settings, started: Callable[[Settings], Telemetry]) -> Telemetry:
    return started(settings)


HOST = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def call(tool: str = "d365fo_query_entities", **facts: Any) -> McpRequest:
    """A tool call, a successful one unless `facts` say otherwise."""
    usual = McpRequest(
        name=tool,
        method="tools/call",
        trace=Trace.continued(HOST),
        started_at=time.time() - facts.get("duration_ms", 100.0) / 1000,
        duration_ms=100.0,
        outcome="ok",
        toolset="data",
        protocol_version="2025-11-25",
        client_name="claude-ai",
        invocation_id=secrets.token_hex(8),
    )
    return usual._replace(**facts)
