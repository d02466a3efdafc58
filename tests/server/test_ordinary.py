"""Prepared answers say exactly what the SDK says, and leave to it all they do not know."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from d365mcp.app import Application
from d365mcp.events import McpRequest
from d365mcp.lazy import Lazy
from d365mcp.server.auth.access import Access
from d365mcp.server.auth.callers import ANYONE
from d365mcp.server.endpoint import Endpoint
from d365mcp.server.messages import Reply
from d365mcp.server.ordinary import MOST_LISTS, Prepared
from d365mcp.settings import TOOLSETS, read_settings
from tests.clients.dialects import DIALECTS, Dialect
from tests.dev_host import ROOT
from tests.server.mutations import Case, cases

# All of them with D365MCP_MUTATIONS=50000.
COUNT = int(os.environ.get("D365MCP_MUTATIONS", "5000"))
BASE = {"host": "localhost", "content-type": "application/json", "accept": "application/json, text/event-stream"}
SETTINGS = read_settings({"D365FO_BASE_URL": "https://contoso.operations.dynamics.com", "MCP_READ_ONLY": "false"})


class Counting(Prepared):
    """Counts what it answers."""

    given = 0

    def answer(self, message: Any, headers: Any, access: Any) -> Reply | None:
        reply = super().answer(message, headers, access)
        self.given += reply is not None
        return reply


def endpoint(prepared: Prepared | None) -> Endpoint:
    engine = Application(SETTINGS).load_engine()
    return Endpoint(SETTINGS, Lazy(lambda: engine), lambda event: None, prepared)


async def answered(there: Endpoint, case: Case) -> Reply:
    body, headers = case
    return await there.handle("POST", {**BASE, **headers}, body)


def meaning(reply: Reply) -> Any:
    return reply.status, dict(reply.headers), json.loads(reply.body) if reply.body else None


@pytest.mark.once
def test_mutated_requests_get_the_same_answer_both_ways() -> None:
    async def compare() -> float:
        prepared = Counting()
        fast, slow = endpoint(prepared), endpoint(None)
        for case in cases(COUNT, seed=20261125):
            one, other = await answered(fast, case), await answered(slow, case)
            assert meaning(one) == meaning(other), case
        return prepared.given / COUNT

    assert 0.1 < asyncio.run(compare()) < 0.6


@pytest.mark.parametrize("narrowed", [{}, {"x-mcp-readonly": "true"}, {"x-mcp-toolsets": "data"}], ids=str)
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_narrowed_list_of_prompts_is_what_the_sdk_lists(dialect: Dialect, narrowed: dict[str, str]) -> None:
    async def compare() -> int:
        prepared = Counting()
        message, headers = dialect.case("prompts/list", dialect.listing)
        case = (json.dumps(message).encode(), {**headers, **narrowed})
        one, other = await answered(endpoint(prepared), case), await answered(endpoint(None), case)
        assert meaning(one) == meaning(other)
        return prepared.given

    assert asyncio.run(compare()) == 1


def test_ordinary_requests_are_answered_without_the_sdk() -> None:
    """A prepared answer needs no engine: one that cannot load proves it."""

    def unloadable() -> Any:
        raise ModuleNotFoundError("no such package", name="mcp")

    async def ask() -> list[Reply]:
        there = Endpoint(SETTINGS, Lazy(unloadable), lambda event: None, Prepared())
        version = {"mcp-protocol-version": "2025-11-25"}
        ordinary = [
            {
                "method": "initialize",
                "params": {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"roots": {"listChanged": True}},
                    "clientInfo": {"name": "c", "version": "1"},
                },
            },
            {"method": "ping"},
            {"method": "tools/list"},
            {"method": "tools/list", "params": {}},
        ]
        bodies = [json.dumps({"jsonrpc": "2.0", "id": 1, **each}).encode() for each in ordinary]
        return [await answered(there, (body, version)) for body in bodies]

    assert [reply.status for reply in asyncio.run(ask())] == [200] * 4


def test_one_loading_serves_all_who_wait() -> None:
    loads = []
    engine = Application(SETTINGS).load_engine()

    def load() -> Any:
        loads.append(1)
        return engine

    async def ask() -> list[Reply]:
        there = Endpoint(SETTINGS, Lazy(load), lambda event: None, None)
        case = (json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode(), {})
        return list(await asyncio.gather(*(answered(there, case) for _ in range(30))))

    assert {reply.status for reply in asyncio.run(ask())} == {200}
    assert len(loads) == 1


LIGHT = """
import os, sys, asyncio, json
def installed():
    files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    names = [name.split(".") for name, file in files.items() if "site-packages" in file]
    return {".".join(parts[:2] if parts[0] == "azure" else parts[:1]) for parts in names}
before = installed()
import function_app
from d365mcp.app import application
headers = {"host": "localhost", "content-type": "application/json", "mcp-protocol-version": "2025-11-25"}
body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
async def ask():
    application.endpoint.arm = lambda: None
    return await application.endpoint.handle("POST", headers, body)
assert str(asyncio.run(ask()).status) == os.environ["STATUS"]
heavy = ["sqlite3", "d365mcp.tools", "d365mcp.d365"]
print(json.dumps([*sorted(installed() - before), *(name for name in heavy if name in sys.modules)]))
"""


@pytest.mark.parametrize(("mode", "status"), [("none", 200), ("jwt", 401), ("easy_auth", 401)])
def test_a_cold_start_loads_nothing_heavy_before_and_for_a_first_answer(mode: str, status: int) -> None:
    """The first answer is prepared, or tells to sign in: what checks tokens loads while somebody does.

    Of what is installed it takes azure-functions, what that brings, and what reads JSON: under a millisecond.
    """
    environ = {
        **os.environ,
        "D365FO_BASE_URL": "https://contoso.operations.dynamics.com",
        "MCP_AUTH": mode,
        "STATUS": str(status),
    }
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == ["azure.functions", "jiter", "markupsafe", "werkzeug"]


OPENING = """
import asyncio, json, sys
from d365mcp.app import application
async def asked(message, headers):
    named = {"host": "localhost", "content-type": "application/json", "accept": "text/event-stream, application/json"}
    reply = await application.endpoint.handle("POST", {**named, **headers}, json.dumps(message).encode())
    answer = json.loads(reply.body)
    return reply.status == 200 and "result" in answer and not answer["result"].get("isError")
async def ask():
    application.endpoint.arm = lambda: None
    application.endpoint.engine.load = lambda: 1 / 0
    for client, cases in json.load(sys.stdin).items():
        for message, headers in cases:
            if not await asked(message, headers):
                yield client, message["method"]
async def all():
    return [each async for each in ask()]
refused = asyncio.run(all())
print(json.dumps([refused, [name for name in ("mcp", "mcp_types") if name in sys.modules]]))
"""


def test_no_client_needs_the_sdk_to_connect_list_the_tools_and_call_one() -> None:
    """As they were recorded, progress tokens and all that they say of themselves included."""
    called = ("d365fo_get_server_config", {})
    asked = {name: [*dialect.opening(), dialect.call(*called)] for name, dialect in DIALECTS.items()}
    done = subprocess.run(
        [sys.executable, "-c", OPENING],
        cwd=ROOT,
        env={**os.environ, "D365FO_BASE_URL": "https://contoso.operations.dynamics.com", "MCP_AUTH": "none"},
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == [[], []]


def test_a_client_of_a_version_to_come_is_offered_the_latest_without_the_sdk() -> None:
    def unloadable() -> Any:
        raise ModuleNotFoundError("no such package", name="mcp")

    message, headers = replace(DIALECTS["mcporter 0.12"], version="2027-01-01").first()
    there = Endpoint(SETTINGS, Lazy(unloadable), None, Prepared())
    reply = asyncio.run(answered(there, (json.dumps(message).encode(), headers)))
    assert json.loads(reply.body)["result"]["protocolVersion"] == "2025-11-25"


def test_only_so_many_lists_are_kept() -> None:
    prepared = Prepared()
    for number in range(2 ** len(TOOLSETS)):
        toolsets = frozenset(name for place, name in enumerate(TOOLSETS) if number >> place & 1)
        assert prepared.tools_list("2025-11-25", Access(ANYONE, toolsets, read_only=True))
    assert len(prepared.lists) <= MOST_LISTS < number


def test_events_tell_prepared_answers_too() -> None:
    events: list[McpRequest] = []

    async def ask() -> None:
        app = Application(SETTINGS)
        there = Endpoint(SETTINGS, Lazy(app.load_engine), events.append, Prepared())  # type: ignore[arg-type]
        there.arm = lambda: None  # type: ignore[assignment]
        await answered(there, (json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode(), {}))

    asyncio.run(ask())
    (event,) = events
    assert (event.name, event.outcome, event.cold_start) == ("tools/list", "ok", True)
    assert event.bytes > 1000


FIRST_CALL = """
import sys, asyncio, json, importlib.metadata
import function_app
from d365mcp.app import application
importlib.metadata.distributions = None  # pydantic would look there for plugins
headers = {"host": "localhost", "content-type": "application/json", "mcp-protocol-version": "2025-11-25"}
call = {"name": "d365fo_get_server_config", "arguments": {}}
body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).encode()
async def ask():
    application.endpoint.arm = lambda: None
    return await application.endpoint.handle("POST", headers, body)
assert b'"isError":false' in asyncio.run(ask()).body
print(json.dumps(sorted(sys.modules)))
"""
# What single tools alone need, and what reaches F&O.
NOT_FOR_ALL = """
aiohttp azure.identity email.policy httpx mcp sqlglot
d365mcp.d365.batch d365mcp.metadata.search d365mcp.sql.plan d365mcp.telemetry.statistics
"""


def test_a_first_call_loads_nothing_that_other_tools_alone_need() -> None:
    environ = {**os.environ, "D365FO_BASE_URL": "https://contoso.operations.dynamics.com", "MCP_AUTH": "none"}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert set(NOT_FOR_ALL.split()).isdisjoint(json.loads(done.stdout))
