"""What the tools cost a model that only reads the list of them."""

import json

import httpx
import pytest

from d365mcp.server.auth.access import Access
from d365mcp.server.auth.callers import ANYONE
from d365mcp.server.ordinary import Prepared
from d365mcp.settings import TOOLSETS
from tests.served import serving
from tests.simulated import Simulator

DEFAULT = ("data", "metadata", "environment", "performance")
# Bytes of compact JSON to a token; o200k needs more bytes for one (4.4 on lists like this).
BYTES_PER_TOKEN = 4


def tokens(toolsets: tuple[str, ...], *, read_only: bool) -> float:
    """Return what the longest list costs, of those that the protocol's versions have."""
    access = Access(ANYONE, frozenset(toolsets), read_only)
    prepared = Prepared()
    return max(len(prepared.tools_list(version, access)) for version in prepared.fragments["tools"]) / BYTES_PER_TOKEN


def test_the_default_list_stays_under_4000_tokens_with_writes_on() -> None:
    assert tokens(DEFAULT, read_only=False) < 4000
    assert tokens(DEFAULT, read_only=True) < 2800


def test_everything_stays_under_5000_tokens() -> None:
    assert tokens(TOOLSETS, read_only=False) < 5000


def test_the_reading_tools_of_a_first_conversation_stay_under_2000_tokens() -> None:
    first = {"query_entities", "get_entity_record", "search_entities", "get_entity_schema", "get_enumeration_fields"}
    first |= {"get_labels", "get_environment_info", "get_server_config"}
    tools = [row["tool"] for row in Prepared().fragments["tools"]["2025-11-25"]]
    shown = [tool for tool in tools if tool["name"].removeprefix("d365fo_") in first]
    assert len(shown) == 8
    assert len(json.dumps(shown, separators=(",", ":"))) / BYTES_PER_TOKEN < 2000


def test_the_instructions_are_short() -> None:
    answer = Prepared().fragments["answers"]["2025-11-25"]["initialize"]
    assert len(answer["instructions"]) < 1200


@pytest.mark.parametrize("tool", ["d365fo_reset_performance_stats", "d365fo_sync_metadata"])
def test_what_writes_nothing_to_f_and_o_is_on_offer_unless_the_request_only_reads(
    simulator: Simulator, tool: str
) -> None:
    with serving(simulator, MCP_TOOLSETS="all") as served:
        ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}

        def names(**headers: str) -> set[str]:
            listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            reply = httpx.post(served.url, json=listing, headers=headers, trust_env=False)
            return {each["name"] for each in reply.json()["result"]["tools"]}

        assert tool in names()
        assert tool not in names(**{"x-mcp-readonly": "true"})
        called = httpx.post(served.url, json=ask, headers={"x-mcp-readonly": "true"}, trust_env=False, timeout=30)
        error = json.loads(called.json()["result"]["content"][0]["text"])
        assert (error["code"], "x-mcp-readonly" in error["message"]) == ("not_allowed", True)
