"""The catalog is built once for all, goes on where it stopped, and never shows half of itself."""

import gc
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from d365mcp.errors import StorageError, UnknownName
from d365mcp.events import CatalogRefreshed
from d365mcp.metadata.build import Builder, is_due
from d365mcp.metadata.catalog import MetadataCatalog
from d365mcp.metadata.snapshot import SNAPSHOT_FORMAT, Snapshot
from d365mcp.metadata.store import CONTAINER, SNAPSHOT, Progress, digest_of
from d365mcp.settings import Settings
from d365mcp.storage import open_storage
from tests.azurite import Azurite
from tests.dev_host import ROOT
from tests.metadata.conftest import placed
from tests.metadata.place import Place
from tests.simulated import Simulator


def test_a_first_build_serves_all_that_the_metadata_service_does(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = placed(simulator.base_url, simulator.identity_environment(), tmp_path, monkeypatch)

    async def compare(builder: Builder, catalog: MetadataCatalog) -> None:
        live = await catalog.entity("CustomersV3")
        assert catalog.source().kind == "metadata service"
        assert await builder.run_due("02:30") == "built"
        await catalog.snapshots.check()
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
    place.set_back(2 * 86_400)
    before = place.pointer()
    assert place.build() == "unchanged"
    assert place.pointer().file == before.file
    assert place.pointer().built_at > before.built_at  # as good as new, which deep health goes by
    assert place.rebuild() == "built"


@pytest.mark.once
def test_what_was_asked_for_is_built_although_the_run_that_began_it_was_ended(place: Place) -> None:
    """The run that goes on with it must not find that F&O has not changed, and leave it."""
    assert place.build() == "built"
    before = place.pointer()
    assert place.rebuild(seconds=0.0) == "waiting"
    assert place.build() == "built"
    assert place.pointer().built_at > before.built_at
    assert place.build() == "idle"


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.metadata.place import Place
print(Place(sys.argv[1], Path(sys.argv[2])).rebuild())
"""


@pytest.mark.once
def test_what_was_asked_for_is_built_although_the_run_that_began_it_was_killed_at_once(
    place: Place, small: Simulator
) -> None:
    assert place.build() == "built"
    before = place.pointer()
    small.reset()
    small.fault("^/metadata/DataEntities", kind="slow", seconds=30)
    command = [sys.executable, "-c", KILLED, place.base_url, str(place.folder)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **small.identity_environment()}) as process:
        while not small.log("/metadata"):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    store = place.store()
    store.storage.delete(CONTAINER, store.name("building.json"))  # or two minutes later
    assert place.progress().state == "running"
    assert place.build() == "built"
    assert place.pointer().built_at > before.built_at


@pytest.mark.once
def test_a_failed_build_is_tried_again_within_the_hour(place: Place, small: Simulator) -> None:
    small.fault("/metadata/PublicEntities", status=403)
    assert place.build() == "failed"
    assert place.build() == "idle"
    place.set_back(3_601)
    assert place.build() == "built"
    assert len(small.log("/metadata/dataentities")) == 1


@pytest.mark.once
def test_another_choice_of_languages_is_a_change(place: Place) -> None:
    assert place.build() == "built"
    place.set_back(2 * 86_400)
    place.languages = ("en-US", "de")
    assert place.build() == "built"
    assert place.snapshot().labels(["@CAT1"], "de") == {"@CAT1": "Debitoren"}


@pytest.mark.once
def test_a_build_that_runs_out_of_time_goes_on_at_the_next_tick(place: Place, small: Simulator) -> None:
    assert place.build(seconds=0.0) == "waiting"
    assert place.store().pointer() is None
    assert place.build() == "built"
    assert len(small.log("/metadata/dataentities")) == 1


@pytest.mark.once
def test_an_f_and_o_that_fails_leaves_the_old_catalog_and_an_honest_record(place: Place, small: Simulator) -> None:
    assert place.build() == "built"
    before = place.store().pointer()
    place.store().ask("june")
    small.fault("/metadata/PublicEntities", kind="cut", times=9)
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


@pytest.mark.once
@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_snapshot_that_cannot_be_fetched_is_built_anew_at_night(place: Place, damage: str) -> None:
    """Although nothing has changed in F&O: no instance could serve it."""
    assert place.build() == "built"
    store = place.store()
    blob = store.name(place.pointer().file)
    store.storage.delete(CONTAINER, blob)
    if damage == "damaged":
        store.storage.put(CONTAINER, blob, b"not sqlite")
    place.set_back(2 * 86_400)
    assert place.build() == "built"
    assert place.snapshot().entity("CustomersV3") is not None


@pytest.mark.once
def test_what_another_version_left_is_built_anew(place: Place) -> None:
    """Its snapshot, its pointer and its unfinished work."""
    assert place.build() == "built"
    store = place.store()
    old = place.folder / "old.sqlite"
    assert store.storage.download(CONTAINER, store.name(place.pointer().file), old)
    with closing(sqlite3.connect(old)) as connection:
        connection.execute(f"PRAGMA user_version = {SNAPSHOT_FORMAT - 1}")
        connection.execute("DROP TABLE labels")
    digest = digest_of(old)
    pointer = {"file": f"{digest[:20]}.sqlite", "sha256": digest, "bytes": 1, "built_at": 1.0, "fingerprint": "",
               "application_version": "", "entities": 2, "format": SNAPSHOT_FORMAT - 1}  # fmt: skip
    store.storage.upload(CONTAINER, store.name(str(pointer["file"])), old)
    store.storage.upload(CONTAINER, store.name("work.sqlite"), old)
    store.storage.put(CONTAINER, store.name("pointer.json"), json.dumps(pointer).encode())
    place.set_back(3_601)
    assert place.build() == "built"
    assert place.snapshot().labels(["@CAT1"], "en-US") == {"@CAT1": "Customers"}


@pytest.mark.once
def test_blob_storage_serves_as_a_folder_does(place: Place) -> None:
    """Built, gone on with, found unchanged, put right where it is damaged, and tidied."""
    azurite = Azurite()
    try:
        place.storage = open_storage(Settings(storage_connection=azurite.connection))
        store = place.store()
        assert place.build(seconds=0.0) == "waiting"
        assert place.build() == "built"
        place.set_back(2 * 86_400)
        assert place.build() == "unchanged"
        for _ in range(3):
            assert place.rebuild() == "built"
        blobs = [name.removeprefix(store.name("")) for name in place.storage.names(CONTAINER, store.name(""))]
        assert {"pointer.json", "progress.json", "request.json"} == {name for name in blobs if "sqlite" not in name}
        assert len([name for name in blobs if SNAPSHOT.fullmatch(name)]) == 2 == len(blobs) - 3
        for file in ("pointer.json", "progress.json", "building.json"):
            place.set_back(3_601)
            place.storage.put(CONTAINER, store.name(file), b"damaged")
            assert place.build() in ("built", "unchanged", "idle")
        assert place.snapshot().labels(["@CAT1"], "en-US") == {"@CAT1": "Customers"}

        async def served(_: Builder, catalog: MetadataCatalog) -> None:
            assert (await catalog.search_entities("customers")).hits[0].label == "Customers"

        place.work(served)
    finally:
        azurite.stop()


ENDED = """
import os, sys
from pathlib import Path
from d365mcp.metadata import build_progress
from d365mcp.metadata.loader import Loader
from d365mcp.metadata.store import CatalogStore
from d365mcp.storage import FolderStorage
from tests.metadata.place import Place

def ending(kind, name, before):
    work = getattr(kind, name)
    def end(*given, **named):
        if not before:
            work(*given, **named)
        os._exit(9)
    setattr(kind, name, end)

kind, _, name = sys.argv[3].partition(".")
ending(globals()[kind], name, sys.argv[4] == "before")
Place(sys.argv[1], Path(sys.argv[2])).rebuild()
"""
ENDS = ("Loader.write_names", "Loader.take_over_labels", "Loader.build_index", "CatalogStore.keep_work",
        "CatalogStore.publish", "CatalogStore.tidy", "CatalogStore.drop_work", "FolderStorage.upload")  # fmt: skip


@pytest.mark.once
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("end", ENDS)
def test_a_build_that_is_ended_anywhere_leaves_what_serves_and_is_gone_on_with(
    place: Place, small: Simulator, end: str, when: str
) -> None:
    assert place.build() == "built"
    command = [sys.executable, "-c", ENDED, place.base_url, str(place.folder), end, when]
    environ = {**os.environ, **small.identity_environment()}
    assert subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode == 9
    assert place.snapshot().entity("CustomersV3") is not None
    store = place.store()
    store.storage.delete(CONTAINER, store.name("building.json"))  # or two minutes later
    small.reset()
    assert place.build() in ("built", "unchanged")
    assert place.pointer().is_whole
    assert place.snapshot().labels(["@CAT1"], "en-US") == {"@CAT1": "Customers"}
    assert small.log("/metadata/labels") == []
    assert place.build() == "idle"


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
    snapshot = Snapshot(place.store().fetch(found[0], tmp_path / "local"), place.base_url)
    connection = snapshot.connection
    assert snapshot.finder.find("customers").hits
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
