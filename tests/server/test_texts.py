"""Prompts, resources and completion, through a real client."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceTemplateReference

from d365mcp.server.prompts import PROMPTS, Prompt
from d365mcp.server.resources import guide
from d365mcp.tools import ALL_TOOLS
from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike


@pytest.fixture(scope="module")
def served(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process, MCP_READ_ONLY="false") as there:
        yield there


def ask(served: Served, work: Callable[[Client], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with Client(served.url) as client:
            return await work(client)

    return asyncio.run(run())


def test_the_four_jobs_users_start_with_are_prompts(served: Served) -> None:
    listed = ask(served, lambda client: client.list_prompts())
    assert [prompt.name for prompt in listed.prompts] == [
        "explore_environment",
        "answer_business_question",
        "prepare_data_change",
        "check_slow_integration",
    ]
    asked = {"question": "Who owes us most?", "company": "usmf"}
    got = ask(served, lambda client: client.get_prompt("answer_business_question", asked))
    assert "Who owes us most?" in got.messages[0].content.text


def refused(served: Served, work: Callable[[Client], Awaitable[Any]]) -> MCPError:
    async def expecting(client: Client) -> MCPError:
        with pytest.raises(MCPError) as error:
            await work(client)
        return error.value

    error: MCPError = ask(served, expecting)
    return error


@pytest.mark.parametrize(("name", "arguments"), [("nope", {}), ("answer_business_question", {"subject": "x"})])
def test_a_wrong_prompt_or_argument_is_named(served: Served, name: str, arguments: dict[str, str]) -> None:
    error = refused(served, lambda client: client.get_prompt(name, arguments))
    assert error.code == -32602
    assert "explore_environment" in error.message or "It takes question, company." in error.message


@pytest.mark.parametrize("blank", [None, {}, "", " "])
@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.name)
def test_a_bare_prompt_asks_the_person(served: Served, prompt: Prompt, blank: Any) -> None:
    """Hosts send slash commands without arguments."""
    first = next(iter(prompt.arguments))
    given = {first: blank} if isinstance(blank, str) else blank
    got = ask(served, lambda client: client.get_prompt(prompt.name, given))
    rest = prompt.filled({first: "(not said)"})
    assert got.messages[0].content.text == f"First ask me: {prompt.question} Wait for my answer, then go on.\n\n{rest}"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"question": None, "company": None}, None),
        ({"question": "null", "sessionId": "1"}, None),
        (
            {"question": "Who owes most?", "company": None},
            "Answer from Finance & Operations: Who owes most?\nCompany: (not said).",
        ),
        (
            {"question": "x", "company": "", "toolCallId": "1"},
            "Answer from Finance & Operations: x\nCompany: (not said).",
        ),
        ({"question": 2026, "company": "usmf"}, "Answer from Finance & Operations: 2026\nCompany: usmf."),
    ],
)
def test_a_prompt_s_arguments_are_read_as_hosts_send_them(
    served: Served, sent: dict[str, Any], said: str | None
) -> None:
    message = {"name": "answer_business_question", "arguments": sent}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": message}
    answer = httpx.post(served.url, json=asked, trust_env=False, timeout=60).json()
    text = answer["result"]["messages"][0]["content"]["text"]
    assert text.startswith(said or "First ask me: What do you want to know")


def test_no_prompt_requires_an_argument(served: Served) -> None:
    """Clients that check it would not send the bare command."""
    listed = ask(served, lambda client: client.list_prompts())
    assert not any(argument.required for prompt in listed.prompts for argument in prompt.arguments)


def test_the_guide_and_the_most_used_entities_are_resources(served: Served) -> None:
    listed = ask(served, lambda client: client.list_resources()).resources
    assert listed[0].uri == "d365fo://guide"
    guide = ask(served, lambda client: client.read_resource("d365fo://guide")).contents[0]
    assert (guide.mime_type, guide.mime_type) == ("text/markdown", listed[0].mime_type)
    assert "d365fo_search_entities" in guide.text
    assert len(listed) > 10
    for resource in listed[1:]:
        read = ask(served, lambda client, uri=resource.uri: client.read_resource(uri)).contents[0]
        assert json.loads(read.text)["entity_set"] == resource.name == resource.uri.rpartition("/")[2]
        assert (resource.mime_type, bool(resource.title)) == (read.mime_type, True)


def test_the_guide_names_only_what_there_is() -> None:
    text = guide(frozenset())
    named = set(re.findall(r"d365fo_\w+", text))
    assert named and named <= {tool.name for tool in ALL_TOOLS}
    taken = {name for tool in ALL_TOOLS for name in tool.input_schema["properties"]}
    quoted = {word for word in re.findall(r"`(\w+)`", text) if word.islower() and not word.startswith("d365fo_")}
    told = {"notes", "left_out", "next_cursor", "code", "message", "hint", "retryable", "d365_messages", "usmf"}
    assert quoted - told <= taken


def test_schemas_are_resources(served: Served) -> None:
    templates = ask(served, lambda client: client.list_resource_templates())
    assert {each.uri_template for each in templates.resource_templates} == {
        "d365fo://entities/{name}",
        "d365fo://enumerations/{name}",
    }
    entity = ask(served, lambda client: client.read_resource("d365fo://entities/CustomersV3"))
    assert '"CustomerAccount"' in entity.contents[0].text
    enumeration = ask(served, lambda client: client.read_resource("d365fo://enumerations/NoYes"))
    assert '"Yes"' in enumeration.contents[0].text


def test_an_unknown_resource_is_told_with_close_names(served: Served) -> None:
    unknown = refused(served, lambda client: client.read_resource("d365fo://entities/Custommers"))
    assert "CustomersV3" in unknown.message
    elsewhere = refused(served, lambda client: client.read_resource("d365fo://elsewhere/x"))
    assert "No such resource" in elsewhere.message


def test_names_are_completed(served: Served) -> None:
    reference = ResourceTemplateReference(type="ref/resource", uri="d365fo://entities/{name}")
    done = ask(served, lambda client: client.complete(reference, {"name": "name", "value": "customer"}))
    assert "CustomersV3" in done.completion.values
    enumerations = ResourceTemplateReference(type="ref/resource", uri="d365fo://enumerations/{name}")
    done = ask(served, lambda client: client.complete(enumerations, {"name": "name", "value": "sales status"}))
    assert "SalesStatus" in done.completion.values
