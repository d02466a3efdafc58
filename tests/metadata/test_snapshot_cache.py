"""What serves on an instance: the newest snapshot, whole, in a folder of its own, and none that served before."""

import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from d365mcp.metadata.build import Builder
from d365mcp.metadata.catalog import MetadataCatalog
from d365mcp.metadata.store import CatalogStore, folder_of
from d365mcp.storage import FolderStorage
from tests.metadata.place import Place
from tests.simulated import Simulator


def test_a_snapshot_that_serves_no_more_is_deleted(place: Place) -> None:
    async def served(builder: Builder, catalog: MetadataCatalog) -> None:
        for _ in range(3):
            assert await builder.run(fresh=True, forced=True) == "built"
            await catalog.snapshots.check()
            assert catalog.snapshots.snapshot is not None
            assert [path.name for path in local.iterdir()] == [catalog.snapshots.snapshot.path.name]
            before = catalog.snapshots.snapshot
            await catalog.search_entities("customers")
        assert before.entity("CustomersV3") is not None

    local = place.folder / "local"
    local.mkdir()
    (local / f"{'0' * 20}.sqlite").write_bytes(b"of a run long ago")
    place.work(served)


def test_nothing_but_snapshots_is_deleted(place: Place) -> None:
    others = ["notes.txt", "x.sqlite", f"{'0' * 20}.sqlite.bak", ".cache"]

    async def served(builder: Builder, catalog: MetadataCatalog) -> None:
        for name in others:
            (place.folder / "local" / name).write_bytes(b"")
        await builder.run_due("02:30")
        await catalog.snapshots.check()

    (place.folder / "local").mkdir()
    place.work(served)
    assert {path.name for path in (place.folder / "local").iterdir()} > set(others)


def test_a_catalog_that_is_found_unchanged_is_not_opened_anew(place: Place) -> None:
    async def served(builder: Builder, catalog: MetadataCatalog) -> None:
        assert await builder.run_due("02:30") == "built"
        await catalog.snapshots.check()
        snapshot, age = catalog.snapshots.snapshot, catalog.source().age_seconds
        place.set_back(2 * 86_400)
        assert await builder.run_due("02:30") == "unchanged"
        await catalog.snapshots.check()
        assert catalog.snapshots.snapshot is snapshot
        assert age is not None

    place.work(served)


def test_each_environment_has_a_private_folder_of_its_own(place: Place, small: Simulator) -> None:
    async def served(builder: Builder, catalog: MetadataCatalog) -> Any:
        catalog.snapshots.folder = None
        assert await builder.run_due("02:30") == "built"
        await catalog.snapshots.check()
        assert catalog.snapshots.snapshot is not None
        return catalog.snapshots.snapshot.path

    path: Path = place.work(served)
    assert path.parent.name == folder_of(place.base_url)
    assert folder_of(place.base_url) != folder_of(place.base_url + "/namespaces/other")
    for folder in (path.parent, path.parents[1], path.parents[2]):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert path.is_relative_to(tempfile.gettempdir())
    left = [each for each in path.parents[2].rglob("*") if each.is_file()]
    assert left == [path]  # nothing of the build is left behind


@pytest.mark.parametrize("damage", ["another format", "another environment", "no snapshot", "cut"])
def test_a_snapshot_that_is_none_of_ours_is_not_served(place: Place, damage: str) -> None:
    """Its digest may be right all the same: another version published it."""
    import sqlite3
    from contextlib import closing

    assert place.build() == "built"
    store, pointer = place.store(), place.pointer()
    path = place.folder / "foreign.sqlite"
    store.storage.download("catalog", store.name(pointer.file), path)
    with closing(sqlite3.connect(path)) as connection:
        if damage == "another format":
            connection.execute("PRAGMA user_version = 4711")
        elif damage == "another environment":
            connection.execute(
                "UPDATE facts SET value = 'https://other.operations.dynamics.com' WHERE name = 'environment'"
            )
        connection.commit()
    if damage == "no snapshot":
        path.write_bytes(b"text")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    store.claim()
    facts = {"fingerprint": "", "application_version": "", "entities": 1, "languages": "en-US", "is_whole": True}
    foreign = store.publish(path, facts)
    store.release()

    async def served(_: Builder, catalog: MetadataCatalog) -> None:
        assert await catalog.snapshots.current() is None
        assert (await catalog.entity("CustomersV3")).entity_set == "CustomersV3"
        assert not (place.folder / "local" / foreign.file).exists()

    place.work(served)
    assert place.rebuild() == "built"
    assert place.snapshot().entity("CustomersV3") is not None


def test_a_full_disk_leaves_the_catalog_that_serves(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> bool:
        raise OSError(28, "No space left on device")

    async def served(builder: Builder, catalog: MetadataCatalog) -> None:
        assert await builder.run_due("02:30") == "built"
        await catalog.snapshots.check()
        snapshot = catalog.snapshots.snapshot
        assert await builder.run(fresh=True, forced=True) == "built"
        monkeypatch.setattr(FolderStorage, "download", full)
        await catalog.snapshots.check()
        assert catalog.snapshots.snapshot is snapshot
        assert await builder.run(fresh=True, forced=True) == "failed"
        progress = CatalogStore(FolderStorage(place.folder / "shared"), place.base_url).progress()
        assert progress is not None
        assert progress.error == "The catalog's file cannot be written: No space left on device."

    place.work(served)
