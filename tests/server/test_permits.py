"""Whatever reaches F&O takes a permit, keeps to the request's toolsets, and tells F&O's own limits as what they are."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceTemplateReference

from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

HEADERS = {"content-type": "application/json", "accept": "application/json", "mcp-protocol-version": "2025-11-25"}
READ = {"method": "resources/read", "params": {"uri": "d365fo://entities/CustomersV3"}}
REFERENCE = {"type": "ref/resource", "uri": "d365fo://entities/{name}"}
COMPLETE = {
    "method": "completion/complete",
    "params": {"ref": REFERENCE, "argument": {"name": "name", "value": "customer"}},
}
CALL = {
    "method": "tools/call",
    "params": {"name": "d365fo_query_entities", "arguments": {"entity_name": "CustomersV3", "top": 1}},
}


def ask(served: Served, message: dict[str, Any], **headers: str) -> httpx.Response:
    body = {"jsonrpc": "2.0", "id": 1, **message}
    return httpx.post(served.url, json=body, headers={**HEADERS, **headers}, timeout=60, trust_env=False)


def deep(served: Served, **headers: str) -> httpx.Response:
    return httpx.get(f"{served.base_url}/health/deep", headers=headers, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def narrow(simulator_process: Simulator) -> Iterator[Served]:
    """A server with one permit, which has loaded what it loads late."""
    with serving(simulator_process, MCP_MAX_CONCURRENT_REQUESTS="1", MCP_REQUEST_TIMEOUT="3") as served:
        for message in (READ, COMPLETE, CALL):
            ask(served, message)
        yield served


@contextmanager
def taken(served: Served) -> Iterator[None]:
    """Let a call that F&O leaves waiting hold the only permit."""
    served.simulator.fault("/data/CustomersV3", kind="slow", seconds=30)
    before = len(served.requests("/data/customersv3"))
    holding = threading.Thread(target=ask, args=(served, CALL))
    holding.start()
    try:
        while len(served.requests("/data/customersv3")) == before:
            pass
        yield
    finally:
        holding.join()


METHODS = pytest.mark.parametrize("message", [READ, COMPLETE, CALL], ids=lambda message: str(message["method"]))


@METHODS
def test_whoever_asks_f_and_o_waits_for_a_permit(narrow: Served, simulator: Simulator, message: dict[str, Any]) -> None:
    with taken(narrow), ThreadPoolExecutor() as others:
        asked = len(simulator.log("/"))
        waiting = others.submit(ask, narrow, message)
        assert ask(narrow, {"method": "tools/list"}).status_code == 200
        time.sleep(0.5)
        assert (waiting.done(), len(simulator.log("/"))) == (False, asked)


def test_deep_health_leaves_f_and_o_alone_while_all_permits_are_taken(narrow: Served, simulator: Simulator) -> None:
    with taken(narrow):
        reply = deep(narrow)
        assert simulator.log("/api") == []
    session = reply.json()["checks"]["d365:session"][0]
    assert (reply.status_code, session["status"]) == (200, "warn")
    assert "all permits this instance has (1)" in session["output"]
    assert deep(narrow).json()["checks"]["d365:session"][0]["status"] == "pass"


@pytest.fixture(scope="module")
def served_process(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process) as served:
        yield served


@pytest.fixture
def served(served_process: Served, simulator: Simulator) -> Served:
    return served_process


def refusal(served: Served, work: Callable[[Client], Awaitable[Any]]) -> MCPError:
    async def once() -> MCPError:
        async with Client(served.url) as client:
            with pytest.raises(MCPError) as refused:
                await work(client)
            return refused.value

    return asyncio.run(once())


def reading(client: Client) -> Awaitable[Any]:
    return client.read_resource("d365fo://entities/VendorsV2")


def completing(client: Client) -> Awaitable[Any]:
    reference = ResourceTemplateReference(type="ref/resource", uri="d365fo://enumerations/{name}")
    return client.complete(reference, {"name": "name", "value": "sales status"})


@pytest.mark.parametrize("work", [reading, completing])
def test_a_throttled_resource_is_told_with_its_wait(served: Served, work: Callable[[Client], Awaitable[Any]]) -> None:
    served.simulator.fault("/(data|metadata)/", status=429, headers={"Retry-After": "60"}, times=0)
    error = refusal(served, work)
    assert error.code == -31429
    data = {"code": "throttled", "http_status": 429, "retryable": True, "retry_after": 60.0}
    assert data.items() <= error.error.data.items()


@pytest.mark.parametrize(
    ("fault", "code", "data"),
    [
        ({"status": 403}, -31500, {"code": "forbidden", "http_status": 403, "retryable": False}),
        ({"status": 503}, -31500, {"code": "unavailable", "http_status": 503, "retryable": True}),
        ({"kind": "drop"}, -31500, {"code": "unreachable", "retryable": True}),
    ],
    ids=["forbidden", "unavailable", "unreachable"],
)
@pytest.mark.parametrize("work", [reading, completing])
def test_what_f_and_o_refuses_is_no_fault_of_the_arguments(
    served: Served, work: Callable[[Client], Awaitable[Any]], fault: dict[str, Any], code: int, data: dict[str, Any]
) -> None:
    served.simulator.fault("/(data|metadata)/", times=0, **fault)
    error = refusal(served, work)
    assert error.code == code
    assert data.items() <= error.error.data.items()


def test_deep_health_tells_a_throttled_environment_from_a_failing_one(served: Served) -> None:
    served.simulator.fault("/api/services", status=429, headers={"Retry-After": "60"}, times=0)
    reply = deep(served)
    session = reply.json()["checks"]["d365:session"][0]
    assert (reply.status_code, reply.headers["retry-after"], session["status"]) == (429, "60", "fail")
    assert "HTTP 429" in session["output"] and "60 s" in session["output"]


def test_a_failure_beside_the_throttling_is_a_failure(simulator: Simulator) -> None:
    simulator.fault("/api/services", status=403, times=0)
    with serving(simulator) as served:
        assert deep(served).status_code == 503


@pytest.mark.parametrize("message", [READ, COMPLETE], ids=["read", "complete"])
def test_a_request_without_the_toolset_gets_no_resource(served: Served, message: dict[str, Any]) -> None:
    reply = ask(served, message, **{"x-mcp-toolsets": "data"})
    error = reply.json()["error"]
    assert (error["code"], error["data"]["code"]) == (-31403, "not_allowed")
    assert "x-mcp-toolsets" in error["message"]
    assert served.requests("/") == []


def test_templates_are_listed_for_those_who_may_read_them(served: Served) -> None:
    listing = {"method": "resources/templates/list"}
    assert len(ask(served, listing).json()["result"]["resourceTemplates"]) == 2
    assert ask(served, listing, **{"x-mcp-toolsets": "data"}).json()["result"]["resourceTemplates"] == []
    assert len(ask(served, listing, **{"x-mcp-toolsets": "metadata"}).json()["result"]["resourceTemplates"]) == 2


@pytest.mark.parametrize(
    ("headers", "status"), [({"host": "evil.example"}, 421), ({"origin": "https://evil.example"}, 403)]
)
def test_deep_health_is_not_for_pages_elsewhere(served: Served, headers: dict[str, str], status: int) -> None:
    assert deep(served, **headers).status_code == status
    assert served.requests("/") == []
