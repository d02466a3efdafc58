"""What the tools cost a model that only reads the list of them."""

import json
from typing import Any

import httpx
import pytest

from d365mcp.server.auth.access import Access
from d365mcp.server.auth.callers import ANYONE
from d365mcp.server.ordinary import Prepared
from d365mcp.settings import TOOLSETS
from tests.served import Served, serving
from tests.simulated import Simulator

DEFAULT = ("data", "metadata", "environment", "performance")
# Bytes of compact JSON to a token; o200k needs more bytes for one (4.4 on lists like this).
BYTES_PER_TOKEN = 4
US_003 = {"dataAreaId": "usmf", "CustomerAccount": "US-003"}
RAISED = {"operation": "update", "entity_name": "CustomersV3", "key": US_003, "data": {"CreditLimit": 1}}


def tokens(toolsets: tuple[str, ...], *, read_only: bool) -> float:
    """Return what the longest list costs, of those that the protocol's versions have."""
    access = Access(ANYONE, frozenset(toolsets), read_only)
    prepared = Prepared()
    return max(len(prepared.tools_list(version, access)) for version in prepared.fragments["tools"]) / BYTES_PER_TOKEN


def test_the_lists_stay_within_their_budgets() -> None:
    assert tokens(DEFAULT, read_only=True) < 3000
    assert tokens(DEFAULT, read_only=False) < 4300
    assert tokens(TOOLSETS, read_only=False) < 7500


def test_the_reading_tools_of_a_first_conversation_stay_under_2000_tokens() -> None:
    first = {"query_entities", "get_entity_record", "search_entities", "get_entity_schema", "get_enumeration_fields"}
    first |= {"get_labels", "get_environment_info", "get_server_config"}
    tools = [row["tool"] for row in Prepared().fragments["tools"]["2025-11-25"]]
    listed = [tool for tool in tools if tool["name"].removeprefix("d365fo_") in first]
    assert len(listed) == 8
    assert len(json.dumps(listed, separators=(",", ":"))) / BYTES_PER_TOKEN < 2000


def test_the_instructions_tell_the_four_moves_the_company_rule_and_when_to_use_sql_in_350_tokens() -> None:
    answer = Prepared().fragments["answers"]["2025-11-25"]["initialize"]
    instructions = answer["instructions"]
    assert len(instructions.encode()) / BYTES_PER_TOKEN <= 350
    moves = ("search_entities", "get_entity_schema", "query_entities", "query_sql", "dry_run")
    places = [instructions.index(move) for move in moves]
    assert places == sorted(places)
    assert "total, count, ranking or join" in instructions
    assert "default company" in instructions


@pytest.mark.parametrize(
    ("budget", "tool", "arguments"),
    [
        (130, "query_entities", {"entity_name": "CustomersV3", "filter": "CustomerAccount eq 'US-003'"}),
        (900, "get_entity_record", {"entity_name": "CustomersV3", "key": US_003}),
        (150, "get_entity_schema", {"entity_name": "CustomersV3", "columns": "hold"}),
        (3000, "get_entity_schema", {"entity_name": "CustomersV3"}),
        (150, "get_environment_info", {"companies": ["usmf"]}),
        (600, "get_environment_info", {}),
        (60, "batch", {"operations": [RAISED, {**RAISED, "key": {**US_003, "CustomerAccount": "US-004"}}]}),
    ],
)
def test_common_answers_stay_within_their_budgets(
    catalogued: Served, budget: int, tool: str, arguments: dict[str, Any]
) -> None:
    answer = catalogued.call(tool, **arguments)
    assert len(json.dumps(answer, separators=(",", ":"), ensure_ascii=False)) / BYTES_PER_TOKEN <= budget


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
        called = httpx.post(served.url, json=ask, headers={"x-mcp-readonly": "true"}, trust_env=False, timeout=60)
        error = json.loads(called.json()["result"]["content"][0]["text"])
        assert (error["code"], "x-mcp-readonly" in error["message"]) == ("not_allowed", True)
