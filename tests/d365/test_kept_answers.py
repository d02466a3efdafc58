"""Look-ups that many share: nobody gets another's deadline, and who comes first is not who decides."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from d365mcp.app import Application
from d365mcp.d365.auth import TokenSource
from d365mcp.d365.client import D365Client
from d365mcp.d365.http import D365Http
from d365mcp.errors import DeadlineExceeded, NotFound
from d365mcp.events import Operation, Trace, working_on
from d365mcp.metadata.catalog import MetadataCatalog
from d365mcp.metadata.snapshot_cache import SnapshotCache
from d365mcp.metadata.store import CatalogStore
from d365mcp.settings import read_settings
from d365mcp.storage import FolderStorage
from tests.served import serving
from tests.simulated import Simulator
from tests.test_singleflight import in_threads

HEADERS = {"accept": "application/json", "mcp-protocol-version": "2025-11-25"}
LOOKUPS: dict[str, Callable[[MetadataCatalog], Awaitable[Any]]] = {
    "session": lambda catalog: catalog.client.session(),
    "entity": lambda catalog: catalog.entity("CustomersV3"),
    "list of all entities": lambda catalog: catalog.summaries(),
    "search": lambda catalog: catalog.search_entities("customer"),
    "enumeration": lambda catalog: catalog.enumeration("NoYes"),
    "search for enumerations": lambda catalog: catalog.search_others("yes", "enumeration", 5),
    "label": lambda catalog: catalog.labels_kept.get("@SYS1", lambda: catalog.client.label("@SYS1", "en-us")),
}


@pytest.fixture(autouse=True)
def identity(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in simulator.identity_environment().items():
        monkeypatch.setenv(name, value)


def run(simulator: Simulator, work: Callable[[MetadataCatalog], Awaitable[Any]], tmp_path: Any) -> Any:
    async def scenario() -> Any:
        settings = read_settings({"D365FO_BASE_URL": simulator.base_url})
        client = D365Client(D365Http(settings, TokenSource(settings), lambda event: None))
        store = CatalogStore(FolderStorage(tmp_path), settings.base_url)
        try:
            return await work(MetadataCatalog(client, SnapshotCache(lambda: store, 60.0)))
        finally:
            await client.aclose()

    return asyncio.run(scenario())


async def within(seconds: float, call: Callable[[], Awaitable[Any]]) -> Any:
    """Make a call as a request that has so much time left."""
    with working_on(Operation(Trace.continued(None), time.monotonic() + seconds)):
        return await call()


@pytest.mark.parametrize("name", LOOKUPS)
def test_who_has_little_time_left_leaves_the_look_up_to_those_who_have_more(
    simulator: Simulator, tmp_path: Any, name: str
) -> None:
    async def two(catalog: MetadataCatalog) -> None:
        await catalog.client.services()  # the token is there
        before = len(simulator.log("/"))
        simulator.control(latency_ms=1200)
        look_up = LOOKUPS[name]
        hurried = asyncio.create_task(within(0.5, lambda: look_up(catalog)))
        await asyncio.sleep(0.05)
        patient = asyncio.create_task(within(20.0, lambda: look_up(catalog)))
        with pytest.raises(DeadlineExceeded):
            await hurried
        assert not patient.done()
        assert await patient
        assert await within(1.0, lambda: look_up(catalog))  # from what is kept
        assert len(simulator.log("/")) - before == 1

    run(simulator, two, tmp_path)


def test_two_kinds_of_names_are_two_look_ups(simulator: Simulator, tmp_path: Any) -> None:
    """A link's target is known by its public name alone; whoever asks for a set of that name gets no answer of its."""

    async def two(catalog: MetadataCatalog) -> None:
        simulator.control(latency_ms=100)
        linked = asyncio.create_task(within(20.0, lambda: catalog.public_entity("CustomersV3")))
        await asyncio.sleep(0.02)
        found = await within(20.0, lambda: catalog.entity("CustomersV3"))
        assert found.entity_set == "CustomersV3"
        with pytest.raises(NotFound):
            await linked

    run(simulator, two, tmp_path)


def test_the_token_too_is_left_to_those_who_have_more_time(simulator: Simulator, tmp_path: Any) -> None:
    async def two(catalog: MetadataCatalog) -> None:
        simulator.fault("/msi", kind="slow", seconds=1.5)
        hurried = asyncio.create_task(within(0.3, catalog.client.session))
        await asyncio.sleep(0.05)
        patient = asyncio.create_task(within(20.0, catalog.client.services))
        with pytest.raises(DeadlineExceeded):
            await hurried
        assert await patient

    run(simulator, two, tmp_path)
    assert len(simulator.log("/msi")) == 1


@pytest.mark.once
def test_a_caller_who_joins_has_all_of_their_own_time(simulator: Simulator) -> None:
    """The same through the server: what the first call began ends with its deadline, the second asks again."""
    params = {"name": "d365fo_get_entity_schema", "arguments": {"entity_name": "VendorsV2"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}

    async def both(url: str) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(headers=HEADERS, timeout=60, trust_env=False) as http:
            first = asyncio.create_task(http.post(url, json=message))
            await asyncio.sleep(2.0)
            second = asyncio.create_task(http.post(url, json=message))
            return [dict((await each).json()["result"]) for each in (first, second)]

    with serving(simulator, MCP_REQUEST_TIMEOUT="3") as served:
        while served.send("get_entity_schema", {"entity_name": "CustomersV3"}).is_error:
            pass  # what is imported late may take longer than a request may
        simulator.fault("/metadata/", kind="slow", seconds=4)
        first, second = asyncio.run(both(served.url))
    assert "deadline_exceeded" in first["content"][0]["text"]
    assert second["isError"] is False


def test_threads_that_meet_build_one_client(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer's thread and the one that loads meet at a cold start."""
    settings = read_settings({"D365FO_BASE_URL": simulator.base_url})
    slowly = D365Http.__init__
    monkeypatch.setattr(D365Http, "__init__", lambda self, *given: (time.sleep(0.05), slowly(self, *given))[1])
    application = Application(settings)
    environment = application.environment
    shared = [(environment, name) for name in ("client", "snapshots", "catalog", "cursors")]
    for owner, name in (*shared, (application, "storage"), (application, "statistics")):
        found = in_threads(8, lambda owner=owner, name=name: getattr(owner, name))  # type: ignore[misc]
        assert len({id(each) for each in found}) == 1
