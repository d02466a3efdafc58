"""Real agent hosts, with a scripted model in place of a real one, carry out a user's calls on the whole server."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from d365mcp.tools import ALL_TOOLS
from tests.clients.matrix import protocol
from tests.hosts.hosts import HOSTS, Home, Host
from tests.hosts.loopback import protocol_version, tapped
from tests.hosts.model import Call, Turn, playing
from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.hosts

KEY = {"dataAreaId": "usmf", "CustomerGroupId": "BYHOST"}
SCRIPT: list[Call] = [
    ("query_entities", {"entity_name": "CustomersV3", "select": ["CustomerAccount"], "top": 2}),
    ("query_sql", {"sql": "SELECT count(*) AS customers FROM CustomersV3"}),
    ("get_entity_record", {"entity_name": "CustomersV3", "key": {"dataAreaId": "usmf", "CustomerAccount": "NO-SUCH"}}),
    ("create_entity_record", {"entity_name": "CustomerGroups", "data": {**KEY, "Description": "By a host"}}),
    ("update_entity_record", {"entity_name": "CustomerGroups", "key": KEY, "data": {"Description": "Changed"}}),
    ("batch", {"operations": [{"operation": "delete", "entity_name": "CustomerGroups", "key": KEY}], "confirm": True}),
    ("query_entities", {"entity_name": "SalesOrderLinesV3", "top": 1000}),
]
RECORDS, SUM, MISTAKE, CREATED, UPDATED, DELETED, LONG = range(len(SCRIPT))


@dataclass(frozen=True)
class Played:
    """A turn that a host has played: what its model saw last, what the server got, and what F&O was asked."""

    host: Host
    turn: Turn
    messages: list[dict[str, Any]]
    writes: list[tuple[str, str]]
    printed: str

    def result(self, number: int) -> str:
        assert len(self.turn.results) == len(SCRIPT), self.printed[-2000:]
        return self.turn.results[number]


@pytest.fixture(scope="module")
def served(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process, MCP_READ_ONLY="false", MCP_TOOLSETS="all") as there:
        yield there


@pytest.fixture(scope="module", params=HOSTS, ids=lambda host: host.name)
def played(request: pytest.FixtureRequest, served: Served, tmp_path_factory: pytest.TempPathFactory) -> Played:
    host: Host = request.param
    served.simulator.reset()
    home = Path(tmp_path_factory.mktemp("home"))
    with playing(SCRIPT) as (model, model_url), tapped(served.url) as (messages, server_url):
        printed = host.run(Home(home, model_url, server_url))
    writes = [(each["method"], each["path"]) for each in served.requests() if each["method"] != "GET"]
    return Played(host, model.last, messages, writes, printed)


def test_a_host_offers_its_model_every_tool(played: Played) -> None:
    offered = {name: tool for name, tool in played.turn.tools.items() if "d365fo" in name}
    assert {tool.name for tool in ALL_TOOLS if any(name.endswith(tool.name) for name in offered)} == {
        tool.name for tool in ALL_TOOLS
    }
    assert "$ref" not in json.dumps(list(offered.values()))


def test_a_host_hands_on_answers_and_mistakes(played: Played) -> None:
    assert "CustomerAccount" in played.result(RECORDS)
    assert "customers" in played.result(SUM)
    assert "NO-SUCH" in played.result(MISTAKE)


def test_a_host_writes(played: Played) -> None:
    assert "created" in played.result(CREATED)
    assert "updated" in played.result(UPDATED)
    assert "done" in played.result(DELETED)
    assert [method for method, _ in played.writes] == ["POST", "PATCH", "POST"]


def test_a_long_answer_says_that_it_goes_on(played: Played) -> None:
    assert "next_cursor" in played.result(LONG)


def test_a_host_speaks_the_protocol_that_the_readme_says(played: Played) -> None:
    assert protocol_version(played.messages) == protocol(played.host.name)
