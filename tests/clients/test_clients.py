"""Real MCP clients of both protocol eras hold the same conversation with the whole server over HTTP."""

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.cached import python_environment
from tests.clients.matrix import version
from tests.dev_host import ROOT, DevHost
from tests.judge import conversed
from tests.served import Served, serving
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


@dataclass
class Older:
    """A client on the Python SDK 1.30, in a process of its own."""

    process: subprocess.Popen[str]

    @classmethod
    @contextmanager
    def connected(cls, url: str) -> Iterator["Older"]:
        python = python_environment(f"mcp=={version('Python SDK (mcp<2)')}")
        command = [str(python), str(Path(__file__).parent / "mcp_1_30.py"), url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            ending = threading.Timer(60, process.kill)  # a client that an answer ended may never say so
            ending.start()
            try:
                yield cls(process)
            finally:
                ending.cancel()
                process.kill()

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the client has ended, or hung"
        return dict(json.loads(line))

    def ask(self, **asked: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.ask(tool=tool, arguments=arguments)
        return self.told()


def sdk_1_30(url: str) -> Conversation:
    with Older.connected(url) as client:
        return {**client.told(), "results": [client.call(*call) for call in CALLS]}


def c_sharp(url: str) -> Conversation:
    offer, *results = conversed(url, [{"tool": tool, "arguments": arguments} for tool, arguments in CALLS])
    read = [
        {
            "isError": result["is_error"],
            "structuredContent": result["structured"],
            "content": [{"text": result["text"]}],
        }
        for result in results
    ]
    told = {"protocol_version": offer["protocol"], "server": offer["server"].split()[0], "tools": offer["tools"]}
    return {**told, "results": read}


@pytest.mark.parametrize(
    ("client", "protocol_version"),
    [
        (current_sdk, "2026-07-28"),
        (current_sdk_in_the_handshake_era, "2025-11-25"),
        pytest.param(sdk_1_30, "2025-11-25", marks=pytest.mark.once),
        pytest.param(c_sharp, "2026-07-28", marks=pytest.mark.once),
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


BUSY = "All 1 calls this instance runs at once are taken"
SLOW = ("d365fo_query_entities", {"entity_name": "VendorsV2", "top": 1})


@contextmanager
def occupied(served: Served) -> Iterator[None]:
    """Let a call that F&O leaves waiting hold the only permit, until its own time has run out."""
    served.simulator.fault("/data/VendorsV2", kind="slow", seconds=30)
    before = len(served.requests("/data/vendorsv2"))
    with ThreadPoolExecutor() as others:
        other = others.submit(asyncio.run, called(served.url, *SLOW))
        while len(served.requests("/data/vendorsv2")) == before and not other.done():
            time.sleep(0.01)
        yield


async def called(url: str, tool: str, arguments: dict[str, Any]) -> Any:
    async with Client(url) as client:
        return await client.call_tool(tool, arguments)


def turned_away(client: Older, served: Served, **asked: Any) -> dict[str, Any]:
    """Ask while the permit is held; again where a busy machine was too slow to ask in time."""
    for _ in range(20):
        with occupied(served):
            client.ask(**asked)
            told = client.told()
        if BUSY in json.dumps(told):
            return told
    raise AssertionError("the permit always became free in time")


@pytest.mark.once
def test_a_client_on_the_sdk_1_30_is_refused_in_words_and_then_served(simulator: Simulator) -> None:
    """HTTP 503 would end it: whatever it asked then, it would wait for ever."""
    query = {"tool": "d365fo_query_entities", "arguments": QUERY}
    read = {"resource": "d365fo://entities/CustomersV3"}
    with (
        serving(simulator, MCP_MAX_CONCURRENT_REQUESTS="1", MCP_REQUEST_TIMEOUT="3") as served,
        Older.connected(served.url) as client,
    ):
        client.told()
        said = json.loads(turned_away(client, served, **query)["content"][0]["text"])
        assert (said["code"], said["retryable"], said["retry_after"]) == ("busy", True, 2)
        assert BUSY in turned_away(client, served, **read)["failed"]
        client.ask(**query)
        assert client.told()["structuredContent"]["records"]
        client.ask(**read)
        assert client.told()["contents"]


@pytest.mark.once
def test_the_c_sharp_sdk_reads_and_writes_with_a_key(simulator: Simulator) -> None:
    """Its bodies come in chunks."""
    key = {"dataAreaId": "usmf", "CustomerGroupId": "C#"}
    group = {"entity_name": "CustomerGroups", "data": {**key, "Description": "written in C#"}}
    deletion = {"operation": "delete", "entity_name": "CustomerGroups", "key": key}
    asked = [
        {"tool": "d365fo_create_entity_record", "arguments": group},
        {"tool": "d365fo_get_entity_record", "arguments": {"entity_name": "CustomerGroups", "key": key}},
        {"tool": "d365fo_batch", "arguments": {"operations": [deletion], "confirm": True}},
        {"resource": "d365fo://entities/CustomersV3"},
        {"prompt": "explore_environment", "arguments": {"subject": "order to cash"}},
    ]
    with serving(simulator, MCP_READ_ONLY="false", MCP_AUTH="function_key", FUNCTIONS_DEV_KEY="sesame") as served:
        offer, created, read, batch, resource, prompt = conversed(served.url, asked, "x-functions-key: sesame")
    assert (offer["templates"], offer["prompts"]) == (2, 4)
    assert created["structured"]["outcome"] == "created"
    assert read["structured"]["record"]["Description"] == "written in C#"
    assert batch["is_error"] is False
    assert (resource["contents"], prompt["messages"]) == (1, 1)
