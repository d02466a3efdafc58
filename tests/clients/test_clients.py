"""Real MCP clients of both protocol eras hold the same conversation with the whole server over HTTP."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.cached import python_environment
from tests.dev_host import ROOT, DevHost
from tests.simulated import Simulator

QUERY = {"entity_name": "CustomersV3", "select": ["CustomerAccount", "OrganizationName"], "top": 2}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("d365fo_query_entities", QUERY),
    ("d365fo_get_entity_schema", {"entity_name": "Custommer"}),
]
Conversation = dict[str, Any]


@pytest.fixture(scope="module")
def url(simulator_process: Simulator) -> Iterator[str]:
    simulated = {"D365FO_BASE_URL": simulator_process.base_url, "D365FO_AUTH": "managed_identity", "MCP_AUTH": "none"}
    with DevHost(ROOT, environ={**simulated, **simulator_process.identity_environment()}) as host:
        yield f"{host.base_url}/mcp"


async def converse(url: str, mode: str) -> Conversation:
    async with Client(url, mode=mode) as client:
        tools = await client.list_tools()
        results = [await client.call_tool(name, arguments) for name, arguments in CALLS]
        return {
            "protocol_version": client.protocol_version,
            "server": client.server_info and client.server_info.name,
            "tools": [tool.name for tool in tools.tools],
            "results": [result.model_dump(mode="json", by_alias=True) for result in results],
        }


def current_sdk(url: str) -> Conversation:
    return asyncio.run(converse(url, "auto"))


def current_sdk_in_the_handshake_era(url: str) -> Conversation:
    return asyncio.run(converse(url, "legacy"))


def sdk_1_30(url: str) -> Conversation:
    python = python_environment("mcp==1.30.0")
    command = [str(python), str(Path(__file__).parent / "mcp_1_30.py"), url, json.dumps(CALLS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("client", "protocol_version"),
    [
        (current_sdk, "2026-07-28"),
        (current_sdk_in_the_handshake_era, "2025-11-25"),
        pytest.param(sdk_1_30, "2025-11-25", marks=pytest.mark.once),
    ],
)
def test_a_client_lists_tools_queries_records_and_reads_an_error(
    url: str, client: Callable[[str], Conversation], protocol_version: str
) -> None:
    told = client(url)
    assert (told["protocol_version"], told["server"]) == (protocol_version, "d365mcp")
    assert {name for name, _ in CALLS} <= set(told["tools"])
    records, mistake = told["results"]
    assert records["isError"] is False
    assert len(records["structuredContent"]["records"]) == 2
    assert json.loads(records["content"][0]["text"]) == records["structuredContent"]
    assert mistake["isError"] is True
    assert "CustomersV3" in mistake["content"][0]["text"]
