"""What is suggested is what the caller has: no answer names a tool, prompt or resource that is not on offer to them."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from d365mcp.server.prompts import PROMPTS
from d365mcp.tools import ALL_TOOLS
from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

NARROWED: list[dict[str, str]] = [
    {},
    {"x-mcp-readonly": "true"},
    {"x-mcp-toolsets": "data"},
    {"x-mcp-toolsets": "data", "x-mcp-readonly": "true"},
    {"x-mcp-toolsets": "metadata"},
    {"x-mcp-toolsets": "environment,performance"},
]
TOOL = re.compile(r"d365fo_\w+")
KEY = {"dataAreaId": "usmf", "CustomerAccount": "US-001"}


@pytest.fixture(scope="module")
def served(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process, MCP_READ_ONLY="false", MCP_TOOLSETS="all", D365FO_ALLOWED_ACTIONS="*") as there:
        yield there


@pytest.fixture(scope="module")
def reading(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process) as there:
        yield there


def ask(served: Served, headers: dict[str, str], method: str, **params: Any) -> Any:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(served.url, json=message, headers=headers, trust_env=False, timeout=60).json()


def offered(served: Served, headers: dict[str, str], method: str, kind: str, name: str = "name") -> set[str]:
    return {each[name] for each in ask(served, headers, method)["result"][kind]}


@pytest.mark.parametrize("headers", NARROWED, ids=str)
def test_the_close_name_of_a_tool_is_one_on_offer(served: Served, headers: dict[str, str]) -> None:
    tools = offered(served, headers, "tools/list", "tools")
    suggested = set()
    for tool in ALL_TOOLS:
        wrong = f"{tool.name}s"
        message = ask(served, headers, "tools/call", name=wrong, arguments={})["error"]["message"]
        named = set(TOOL.findall(message)) - {wrong}
        assert named <= tools
        assert (tool.name in named) == (tool.name in tools)
        suggested |= named
    assert suggested == tools


def test_a_server_that_only_reads_suggests_no_tool_that_writes(reading: Served) -> None:
    tools = offered(reading, {}, "tools/list", "tools")
    for tool in ALL_TOOLS:
        message = ask(reading, {}, "tools/call", name=f"{tool.name}s", arguments={})["error"]["message"]
        assert set(TOOL.findall(message)) - {f"{tool.name}s"} <= tools


@pytest.mark.parametrize("headers", NARROWED, ids=str)
def test_a_prompt_that_is_none_is_answered_with_those_on_offer(served: Served, headers: dict[str, str]) -> None:
    prompts = offered(served, headers, "prompts/list", "prompts")
    tools = offered(served, headers, "tools/list", "tools")
    message = ask(served, headers, "prompts/get", name="explore")["error"]["message"]
    assert {name for name in (prompt.name for prompt in PROMPTS) if name in message} == prompts
    for prompt in PROMPTS:
        answer = ask(served, headers, "prompts/get", name=prompt.name)
        assert ("result" in answer) == (prompt.name in prompts)
        if prompt.name in prompts:
            assert set(TOOL.findall(answer["result"]["messages"][0]["content"]["text"])) <= tools


def test_all_prompts_are_on_offer_where_all_they_name_is(served: Served) -> None:
    assert offered(served, {}, "prompts/list", "prompts") == {prompt.name for prompt in PROMPTS}


def test_a_server_that_only_reads_offers_no_prompt_that_leads_to_a_change(reading: Served) -> None:
    assert offered(reading, {}, "prompts/list", "prompts") == {each.name for each in PROMPTS if not each.changes_data}
    assert "result" not in ask(reading, {}, "prompts/get", name="prepare_data_change")


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.name)
def test_a_prompt_says_of_which_toolsets_its_tools_are(prompt: Any) -> None:
    by_name = {tool.name: tool for tool in ALL_TOOLS}
    named = [by_name[name] for name in TOOL.findall(prompt.text)]
    assert {tool.toolset for tool in named} <= set(prompt.toolsets)
    assert all(tool.read_only for tool in named)


@pytest.mark.parametrize("headers", NARROWED, ids=str)
@pytest.mark.parametrize("uri", ["d365fo://elsewhere/x", "d365fo://entities/", "x"])
def test_a_resource_that_is_none_is_answered_with_those_on_offer(
    served: Served, headers: dict[str, str], uri: str
) -> None:
    resources = offered(served, headers, "resources/list", "resources", "uri")
    templates = offered(served, headers, "resources/templates/list", "resourceTemplates", "uriTemplate")
    message = ask(served, headers, "resources/read", uri=uri)["error"]["message"]
    assert set(re.findall(r"d365fo://[\w/{}]+", message)) == {"d365fo://guide", *templates}
    assert resources >= {"d365fo://guide"}
    assert bool(templates) == (len(resources) > 1)


@pytest.mark.parametrize("headers", NARROWED, ids=str)
def test_the_guide_names_the_tools_on_offer_and_no_other(served: Served, headers: dict[str, str]) -> None:
    tools = offered(served, headers, "tools/list", "tools")
    whole = ask(served, {}, "resources/read", uri="d365fo://guide")["result"]["contents"][0]["text"]
    text = ask(served, headers, "resources/read", uri="d365fo://guide")["result"]["contents"][0]["text"]
    assert set(TOOL.findall(text)) == set(TOOL.findall(whole)) & tools


MISTAKES: list[tuple[str, dict[str, Any]]] = [
    ("query_entities", {"entity_name": "Qqqq"}),
    ("query_entities", {"entity_name": "CustomersV3", "select": ["Foo"]}),
    ("query_entities", {"entity_name": "CustomersV3", "select": ["*"]}),
    ("query_entities", {"entity_name": "CustomersV3", "filter": "Foo eq 1"}),
    ("query_entities", {"entity_name": "LegalEntities", "expand": ["Foo"]}),
    ("query_entities", {"entity_name": "CustomersV3", "company": "qqqq"}),
    ("update_entity_record", {"entity_name": "CustomersV3", "key": KEY, "data": {"Foo": 1}}),
    ("create_entity_record", {"entity_name": "CustomersV3", "data": {"Foo": 1, "Bar": 2}}),
    ("batch", {"operations": [{"operation": "update", "entity_name": "CustomersV3", "key": KEY, "data": {"Foo": 1}}]}),
    ("batch", {"operations": [{"operation": "delete", "entity_name": "Qqqq", "key": KEY}]}),
    ("query_sql", {"sql": "SELECT Foo FROM CustomersV3"}),
    ("query_sql", {"sql": "SELECT Foo FROM Qqqq"}),
    ("call_action", {"action": "GetApplicationVersion"}),
    ("get_entity_schema", {"entity_name": "Qqqq"}),
    ("search_actions", {"query": "version"}),
    ("get_server_performance", {"tool": "d365fo_none"}),
]


@pytest.mark.parametrize("headers", NARROWED, ids=str)
def test_the_way_out_of_a_mistake_is_one_the_caller_has(served: Served, headers: dict[str, str]) -> None:
    tools = offered(served, headers, "tools/list", "tools")
    for short, arguments in MISTAKES:
        tool = f"d365fo_{short}"
        if tool in tools:
            answer = ask(served, headers, "tools/call", name=tool, arguments=arguments)
            text = answer["result"]["content"][0]["text"]
            assert set(TOOL.findall(text)) - {"d365fo_none"} <= tools, text


def test_who_has_all_tools_is_shown_the_way(served: Served) -> None:
    for short, arguments in MISTAKES[:5]:
        answer = ask(served, {}, "tools/call", name=f"d365fo_{short}", arguments=arguments)
        assert TOOL.search(answer["result"]["content"][0]["text"]), arguments
