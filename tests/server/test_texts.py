"""Prompts, resources and completion, through a real client."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceTemplateReference

from tests.served import Served, serving
from tests.simulated import Simulator


@pytest.fixture(scope="module")
def served(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process) as there:
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


@pytest.mark.parametrize(("name", "arguments"), [("nope", {}), ("answer_business_question", {})])
def test_a_wrong_prompt_or_argument_is_named(served: Served, name: str, arguments: dict[str, str]) -> None:
    assert refused(served, lambda client: client.get_prompt(name, arguments)).code == -32602


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
