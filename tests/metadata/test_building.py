"""The catalog is built once for all, goes on where it stopped, and never shows half of itself."""

import asyncio
import gc
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from d365mcp.d365.auth import TokenSource
from d365mcp.d365.client import D365Client
from d365mcp.d365.http import D365Http
from d365mcp.errors import StorageError, UnknownName
from d365mcp.events import CatalogRefreshed, Event
from d365mcp.metadata.building import Builder, is_due
from d365mcp.metadata.catalog import MetadataCatalog
from d365mcp.metadata.keeper import SnapshotKeeper
from d365mcp.metadata.snapshot import Snapshot
from d365mcp.metadata.store import CONTAINER, CatalogStore, Progress
from d365mcp.settings import read_settings
from d365mcp.storage import FolderStorage
from tests.simulated import Simulator


class Place:
    """One environment's catalog in a folder, and instances that build it and serve from it."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.simulator = simulator
        self.folder = folder
        self.events: list[Event] = []

    def store(self) -> CatalogStore:
        return CatalogStore(FolderStorage(self.folder / "shared"), self.simulator.base_url)

    def work(self, work: Callable[[Builder, MetadataCatalog], Awaitable[Any]], seconds: float = 60.0) -> Any:
        async def run() -> Any:
            settings = read_settings({"D365FO_BASE_URL": self.simulator.base_url})
            client = D365Client(D365Http(settings, TokenSource(settings), lambda event: None))
            keeper = SnapshotKeeper(self.store, revalidate=0.0)
            keeper.folder = self.folder / "local"
            builder = Builder(self.store(), client, ("en-US",), self.events.append, seconds)
            try:
                return await work(builder, MetadataCatalog(client, keeper))
            finally:
                await client.aclose()

        return asyncio.run(run())

    def build(self, seconds: float = 60.0) -> str:
        return str(self.work(lambda builder, _: builder.run_due("02:30"), seconds))


@pytest.fixture
def place(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in simulator.identity_environment().items():
        monkeypatch.setenv(name, value)
    return Place(simulator, tmp_path)


def test_a_first_build_serves_all_that_the_metadata_service_does(place: Place) -> None:
    async def compare(builder: Builder, catalog: MetadataCatalog) -> None:
        live = await catalog.entity("CustomersV3")
        assert catalog.source().kind == "metadata service"
        assert await builder.run_due("02:30") == "built"
        await catalog.keeper.check()
        kept = await catalog.entity("customerv3")
        assert (kept.entity_set, kept.properties, kept.key) == (live.entity_set, live.properties, live.key)
        assert (kept.aot_name, kept.enumerations["NoYes"].members[1].name) == ("CustCustomerV3Entity", "Yes")
        assert catalog.source().kind == "snapshot"
        assert (await catalog.labels(["@SYS1"], "en-US"))[0] == {"@SYS1": "Account"}
        with pytest.raises(UnknownName, match="CustomersV3"):
            await catalog.entity("Custommers")

    place.work(compare)
    event = place.events[-1]
    assert isinstance(event, CatalogRefreshed)
    assert event.outcome == "built"


@pytest.mark.once
def test_an_unchanged_environment_is_not_built_again_unless_asked(place: Place) -> None:
    assert place.build() == "built"
    assert place.build() == "idle"
    before = place.store().progress()
    assert before is not None
    place.store().tell(Progress(**{**vars(before), "started_at": time.time() - 2 * 86_400}))
    assert place.build() == "unchanged"
    place.store().ask("june")
    assert place.build() == "built"


@pytest.mark.once
def test_a_build_that_runs_out_of_time_goes_on_at_the_next_tick(place: Place) -> None:
    assert place.build(seconds=0.0) == "waiting"
    assert place.store().pointer() is None
    labels = len(place.simulator.log("/metadata/DataEntities".lower()))
    assert place.build() == "built"
    assert len(place.simulator.log("/metadata/dataentities")) == labels
    assert place.store().progress() is not None


@pytest.mark.once
def test_an_f_and_o_that_fails_leaves_the_old_catalog_and_an_honest_record(place: Place) -> None:
    assert place.build() == "built"
    before = place.store().pointer()
    place.store().ask("june")
    place.simulator.fault("/metadata/PublicEntities", kind="cut", times=9)
    assert place.build() == "failed"
    progress = place.store().progress()
    assert progress is not None
    assert (progress.state, bool(progress.error)) == ("failed", True)
    assert place.store().pointer() == before


def test_of_two_builders_one_works(place: Place) -> None:
    assert place.store().claim()
    assert place.build() == "busy"


@pytest.mark.once
def test_a_killed_builders_claim_runs_out(place: Place) -> None:
    dead = place.store()
    dead.claim()
    name = dead.name("building.json")
    dead.storage.put(CONTAINER, name, json.dumps({"owner": dead.owner, "until": time.time() - 1}).encode())
    assert place.build() == "built"


@pytest.mark.once
def test_a_damaged_download_is_fetched_again_and_a_damaged_blob_is_refused(place: Place, tmp_path: Path) -> None:
    place.build()
    store = place.store()
    found = store.pointer()
    assert found is not None
    local = store.fetch(found[0], tmp_path / "local")
    local.write_bytes(b"half")
    assert store.fetch(found[0], tmp_path / "local").stat().st_size == found[0].bytes
    local.unlink()
    store.storage.put(CONTAINER, store.name(found[0].file), b"not sqlite")
    with pytest.raises(StorageError, match="damaged"):
        store.fetch(found[0], tmp_path / "local")


def test_a_foreign_or_half_written_file_is_not_opened(tmp_path: Path) -> None:
    half, foreign = tmp_path / "half.sqlite", tmp_path / "foreign.sqlite"
    half.write_bytes(b"SQLite format 3\x00" + b"\x00" * 50)
    with closing(sqlite3.connect(foreign)) as other:
        other.execute("CREATE TABLE facts (name, value)")
    for path in (half, foreign, tmp_path / "none.sqlite"):
        with pytest.raises(StorageError):
            Snapshot(path, "https://contoso.operations.dynamics.com")


def test_a_snapshot_is_closed_when_nobody_reads_it_any_more(place: Place, tmp_path: Path) -> None:
    place.build()
    found = place.store().pointer()
    assert found is not None
    snapshot = Snapshot(place.store().fetch(found[0], tmp_path / "local"), place.simulator.base_url)
    connection = snapshot.connection
    assert snapshot.finder.find("customers")
    del snapshot
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


@pytest.mark.parametrize(
    ("started", "due"),
    [("2026-11-24T02:30:01", False), ("2026-11-24T02:29:59", True), ("2026-11-25T01:00:00", False)],
)
def test_a_build_is_due_once_a_night(started: str, due: bool) -> None:
    def at(text: str) -> float:
        import datetime

        return datetime.datetime.fromisoformat(f"{text}+00:00").timestamp()

    progress = Progress("done", started_at=at(started), updated_at=at(started))
    now = at("2026-11-25T02:00:00")
    assert is_due("02:30", object(), progress, now) is due  # type: ignore[arg-type]
