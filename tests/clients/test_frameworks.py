"""Agent frameworks and JSON Schema's validators take every tool whole: what a model gets of them has lost nothing."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from d365mcp.tools import ALL_TOOLS
from tests.cached import node_packages, python_environment
from tests.clients.matrix import version
from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.once

QUERY = {"entity_name": "CustomersV3", "select": ["CustomerAccount"], "top": 2}
SCRIPT = Path(__file__).with_name("frameworks.py")
# Two environments: one half of the frameworks is pinned to mcp 1.
CURRENT = (
    f"mcp=={version('Python SDK')}",
    "google-genai==3.6.1",
    f"openai-agents=={version('OpenAI Agents')}",
    f"pydantic-ai-slim[mcp]=={version('Pydantic AI')}",
)
PINNED = (
    f"mcp=={version('Python SDK (mcp<2)')}",
    f"langchain-mcp-adapters=={version('LangChain adapters')}",
    f"semantic-kernel=={version('Semantic Kernel, Python')}",
)
FRAMEWORKS = {
    "google_genai": CURRENT,
    "openai_agents_loose": CURRENT,
    "openai_agents_strict": CURRENT,
    "pydantic_ai_for_openai": CURRENT,
    "pydantic_ai_for_google": CURRENT,
    "langchain": PINNED,
    "semantic_kernel": PINNED,
}
FREE_FORM = {
    (tool.name, name)
    for tool in ALL_TOOLS
    for name, schema in tool.input_schema["properties"].items()
    if schema["type"] == "object"
}
Schema = dict[str, Any]


@pytest.fixture(scope="module")
def served(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process, MCP_READ_ONLY="false", MCP_TOOLSETS="all") as there:
        yield there


@pytest.fixture(scope="module")
def seen(served: Served) -> dict[str, Any]:
    """Return what each framework makes of the server; both environments at work at the same time."""

    def run(requirements: tuple[str, ...]) -> dict[str, Any]:
        names = [name for name, needed in FRAMEWORKS.items() if needed == requirements]
        command = [str(python_environment(*requirements)), str(SCRIPT), served.url, json.dumps(QUERY), *names]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    with ThreadPoolExecutor() as both:
        current, pinned = both.map(run, (CURRENT, PINNED))
    return {**current, **pinned}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_takes_every_tool_with_all_its_parameters(seen: dict[str, Any], framework: str) -> None:
    schemas = seen[framework]["schemas"]
    assert {name: set(schema.get("properties") or {}) for name, schema in schemas.items()} == {
        tool.name: set(tool.input_schema["properties"]) for tool in ALL_TOOLS
    }
    assert "$ref" not in json.dumps(schemas)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_leaves_free_form_objects_open(seen: dict[str, Any], framework: str) -> None:
    schemas = seen[framework]["schemas"]
    places = [schemas[tool]["properties"][name] for tool, name in FREE_FORM]
    part = schemas["d365fo_batch"]["properties"]["operations"]["items"]["properties"]
    assert set(part) == {"operation", "entity_name", "key", "data", "if_match"}
    for place in [*places, part["key"], part["data"]]:
        assert place["type"].lower() == "object"
        assert place.get("additionalProperties") in (None, {}, True)
        assert '{"' in place["description"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_gets_an_answer(seen: dict[str, Any], framework: str) -> None:
    assert len(json.loads(seen[framework]["answer"])["records"]) == 2


def test_in_strict_mode_all_but_free_form_objects_are_strict(seen: dict[str, Any]) -> None:
    having = {tool.name for tool in ALL_TOOLS if tool.input_schema["properties"]}
    free = {tool for tool, _ in FREE_FORM} | {"d365fo_batch"}
    assert set(seen["openai_agents_strict"]["strict"]) == having - free
    assert seen["openai_agents_loose"]["strict"] == []


def test_a_schema_compiles_as_strictly_as_it_can() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH")
    schemas = {f"{tool.name} takes": tool.input_schema for tool in ALL_TOOLS}
    schemas |= {f"{tool.name} returns": tool.output_schema for tool in ALL_TOOLS if tool.output_schema}
    planted = {"type": ["string", "null"], "nonsense": 1}
    command = [node, str(SCRIPT.with_name("ajv.mjs")), str(node_packages("ajv"))]
    done = subprocess.run(
        command, input=json.dumps({**schemas, "planted": planted}), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"planted in draft-07", "planted in 2020-12"}
