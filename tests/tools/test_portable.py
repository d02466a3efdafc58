"""Every client sees every tool: what `tools/list` says keeps to what all of them take."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from d365mcp.server.ordinary import HANDSHAKE_VERSIONS, MODERN_VERSION, Prepared
from d365mcp.tools import ALL_TOOLS
from tests.served import Served
from tests.tools.portable import faults

VERSIONS = sorted({*HANDSHAKE_VERSIONS, MODERN_VERSION})
TOOLS = {
    (version, row["tool"]["name"]): row["tool"]
    for version in VERSIONS
    for row in Prepared().fragments["tools"][version]
}


def test_every_version_lists_every_tool() -> None:
    assert set(TOOLS) == {(version, tool.name) for version in VERSIONS for tool in ALL_TOOLS}


@pytest.mark.parametrize(("version", "name"), TOOLS)
def test_every_client_takes_the_tool(version: str, name: str) -> None:
    assert faults(TOOLS[version, name]) == []


def test_what_a_client_is_sent_is_what_was_looked_at(writer: Served) -> None:
    sent = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in writer.tools()]
    assert {tool["name"]: tool["inputSchema"] for tool in sent} == {
        tool.name: TOOLS[MODERN_VERSION, tool.name]["inputSchema"] for tool in ALL_TOOLS
    }


Planted = Callable[[dict[str, Any]], Any]


def plant(**changes: Any) -> Planted:
    return lambda tool: tool["inputSchema"]["properties"]["operations"].update(changes)


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        (lambda tool: tool.update(name="d365fo_" + "x" * 50), "the name is too long"),
        (lambda tool: tool.update(description=""), "the description is missing"),
        (lambda tool: tool.update(description="x" * 1025), "the description is missing"),
        (lambda tool: tool["annotations"].pop("readOnlyHint"), "not all four hints"),
        (lambda tool: tool["inputSchema"].pop("properties"), "input is no object with properties"),
        (lambda tool: tool["inputSchema"].update(additionalProperties=False), "boolean additionalProperties"),
        (lambda tool: tool["inputSchema"]["required"].append("none"), "input requires none"),
        (lambda tool: tool["inputSchema"]["properties"].update(format={"type": "string"}), "input.format is called"),
        (lambda tool: tool["outputSchema"]["properties"].update(x={}), "output.x is of type None"),
        (lambda tool: tool["outputSchema"]["properties"].update(x={"type": "array"}), "output.x has no items"),
        (lambda tool: tool["outputSchema"].update({"$defs": {}}), "output has $defs"),
        (plant(type=["array", "null"]), "is of type"),
        (plant(items={}), "has no items"),
        (plant(items={"$ref": "#/$defs/Operation"}), "has $ref"),
        (plant(items={"type": "object", "description": '{"a": 1}'}), "some clients close"),
        (plant(items={"type": "object", "additionalProperties": {}}), "without an example"),
        (plant(type="integer", enum=[1, 2]), "something else than words"),
        (plant(anyOf=[{"type": "null"}]), "has anyOf"),
    ],
)
def test_a_planted_fault_is_found(planted: Planted, fault: str) -> None:
    tool = deepcopy(TOOLS["2025-11-25", "d365fo_batch"])
    planted(tool)
    assert any(fault in found for found in faults(tool))


def test_what_lies_too_deep_is_found() -> None:
    tool = deepcopy(TOOLS["2025-11-25", "d365fo_batch"])
    inner: dict[str, Any] = {"type": "string"}
    for _ in range(4):
        inner = {"type": "object", "properties": {"a": inner}}
    tool["inputSchema"]["properties"]["a"] = inner
    assert any("too deep" in found for found in faults(tool))
