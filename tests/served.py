"""The whole server as a client sees it: the dev host in a process of its own, spoken to by a real MCP client over HTTP."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client
from mcp_types import CallToolResult, Tool

from tests.dev_host import ROOT, DevHost
from tests.secret_markers import refuse_secrets
from tests.simulated import Simulator

Result = dict[str, Any]


@dataclass
class Served:
    """A running server."""

    base_url: str
    simulator: Simulator
    host: DevHost

    @property
    def url(self) -> str:
        return f"{self.base_url}/mcp"

    def send(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Call a tool as a client does, and return all it gets."""

        async def once() -> CallToolResult:
            async with Client(self.url) as client:
                return await client.call_tool(f"d365fo_{tool}", dict(arguments))

        result = asyncio.run(once())
        refuse_secrets(result.model_dump_json(), f"The answer of {tool}")
        return result

    def call(self, tool: str, /, **arguments: Any) -> Result:
        """Call a tool that must succeed; its text says the same as its structured content."""
        result = self.send(tool, arguments)
        text = getattr(result.content[0], "text", "")
        assert not result.is_error, text
        assert json.loads(text) == result.structured_content
        return dict(result.structured_content or {})

    def refuse(self, tool: str, /, **arguments: Any) -> Result:
        """Call a tool that must fail, and return its error."""
        result = self.send(tool, arguments)
        assert result.is_error, result.structured_content
        return dict(json.loads(getattr(result.content[0], "text", "")))

    def tools(self) -> list[Tool]:
        async def once() -> list[Tool]:
            async with Client(self.url) as client:
                return (await client.list_tools()).tools

        return asyncio.run(once())

    def requests(self, path: str = "/data") -> list[dict[str, Any]]:
        """Return what F&O was asked since the last reset, the first first."""
        return self.simulator.log(path)


def each_part(batch: Mapping[str, Any]) -> list[Result]:
    """Return what a batch says of each operation, in their order; those that are alike stand together in it."""
    found = {
        number: part
        for part in batch["parts"]
        for start, _, end in (each.partition("-") for each in part["numbers"].split(", "))
        for number in range(int(start), int(end or start) + 1)
    }
    assert sorted(found) == list(range(1, len(found) + 1)), batch
    return [found[number] for number in sorted(found)]


def build_catalog(simulator: Simulator, folder: Path | str, **settings: str) -> None:
    """Build the simulator's catalog in a folder, by the operator's command; a server with this TMPDIR serves it."""
    given = {"D365FO_BASE_URL": simulator.base_url, "TMPDIR": str(folder), **simulator.identity_environment()}
    command = [sys.executable, "-m", "d365mcp", "catalog", "build"]
    environ = {**os.environ, **given, **settings}
    subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True)


@contextmanager
def serving(simulator: Simulator, **settings: str) -> Iterator[Served]:
    """Start a server with these settings over the simulator."""
    environ = {
        "D365FO_BASE_URL": simulator.base_url,
        "D365FO_AUTH": "managed_identity",
        "MCP_AUTH": "none",
        **simulator.identity_environment(),
        **settings,
    }
    with DevHost(ROOT, environ=environ) as host:
        yield Served(host.base_url, simulator, host)
