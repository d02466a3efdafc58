"""What the tools cost a model that only reads the list of them."""

import json

from d365mcp.server.callers import ANYONE, Access
from d365mcp.server.prepared import Prepared
from d365mcp.settings import TOOLSETS

DEFAULT = ("data", "metadata", "environment", "performance")
# Bytes of compact JSON to a token; o200k needs more bytes for one (4.4 on lists like this).
BYTES_PER_TOKEN = 4


def tokens(toolsets: tuple[str, ...], *, read_only: bool) -> float:
    access = Access(ANYONE, frozenset(toolsets), read_only)
    return len(Prepared().tools_list("2025-11-25", access)) / BYTES_PER_TOKEN


def test_the_default_list_stays_under_4000_tokens_with_writes_on() -> None:
    assert tokens(DEFAULT, read_only=False) < 4000
    assert tokens(DEFAULT, read_only=True) < 2800


def test_everything_stays_under_6000_tokens() -> None:
    assert tokens(TOOLSETS, read_only=False) < 6000


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
