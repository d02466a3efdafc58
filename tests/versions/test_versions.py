"""What one version leaves in clients' hands and in the storage, another version meets: while an update rolls out both serve."""

import asyncio
import gzip
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d365mcp.metadata import snapshot
from d365mcp.settings import read_settings
from d365mcp.storage import FolderStorage, folder_of, open_storage
from d365mcp.tools import cursors
from tests.dev_host import ROOT
from tests.served import Served, serving
from tests.simulated import Simulator
from tests.versions.freeze import CALLER, HERE, SETTINGS, WORLD, seal

KEPT = sorted(path.parent for path in HERE.glob("*/cursors.json"))
CURSORS = [(path.name, each) for path in KEPT for each in json.loads((path / "cursors.json").read_text())]

pytestmark = pytest.mark.once
each_version = pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.name)
each_cursor = pytest.mark.parametrize(
    "kept", [each for _, each in CURSORS], ids=[f"{n}-{e['query']}" for n, e in CURSORS]
)


@pytest.fixture(scope="module")
def served(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process, **SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def small() -> Iterator[Simulator]:
    """An F&O with one entity, of which the catalogs are."""
    running = Simulator.start(WORLD)
    yield running
    running.stop()


def test_today_s_formats_are_kept() -> None:
    today = f"cursor-{cursors.FORMAT}-catalog-{snapshot.SNAPSHOT_FORMAT}"
    assert today in {path.name for path in KEPT}, "a format has changed: run python -m tests.versions.freeze"


@each_cursor
def test_a_cursor_opens(kept: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d365mcp.tools.cursors.time.time", lambda: kept["state"]["t"] + 60)
    assert asyncio.run(seal().open(kept["sealed"], CALLER)) == kept["state"]


@each_cursor
def test_a_cursor_goes_on(kept: dict[str, Any], served: Served) -> None:
    state = {name: value for name, value in kept["state"].items() if name != "t"}
    cursor = asyncio.run(seal(served.simulator.base_url).seal(state, CALLER))
    assert served.call("query_entities", entity_name=state["entity"], cursor=cursor)["records"]


@each_version
@pytest.mark.parametrize("later", [0, 1], ids=["as it is", "as a later version's"])
def test_a_catalog_serves_or_is_left_alone(
    kept: Path, later: int, small: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    storage = open_storage(read_settings({}))
    assert isinstance(storage, FolderStorage)
    pointer = lay(kept, later, small.base_url, storage.root / "catalog" / folder_of(small.base_url))
    small.reset()
    with serving(small, TMPDIR=str(tmp_path)) as served:
        found = served.call("search_entities", query="item")
        assert [each["entity_set"] for each in found["entities"]] == ["Items"]
        assert "Color" in str(served.call("get_entity_schema", entity_name="Items"))
    asked_live = [each for each in small.log("/") if each["path"].lower().startswith(("/metadata", "/data/$metadata"))]
    assert bool(asked_live) == (pointer["format"] != snapshot.SNAPSHOT_FORMAT)
    command = [sys.executable, "-m", "d365mcp", "catalog", "status"]
    environ = {"TMPDIR": str(tmp_path), "D365FO_BASE_URL": small.base_url, **small.identity_environment()}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def lay(kept: Path, later: int, environment_url: str, folder: Path) -> dict[str, Any]:
    """Put a kept catalog where this environment's is looked for: it says in itself whose it is."""
    folder.mkdir(parents=True)
    database = folder / "kept.sqlite"
    database.write_bytes(gzip.decompress((kept / "catalog.sqlite.gz").read_bytes()))
    number = snapshot.SNAPSHOT_FORMAT + 1 if later else json.loads((kept / "pointer.json").read_text())["format"]
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE facts SET value = ? WHERE name = 'environment'", (environment_url,))
        connection.execute(f"PRAGMA user_version = {number}")
    connection.close()
    digest = hashlib.sha256(database.read_bytes()).hexdigest()
    database.rename(folder / f"{digest[:20]}.sqlite")
    more = {"of_a_later_version": {"since": "then"}} if later else {}
    pointer = {**json.loads((kept / "pointer.json").read_text()), **more}
    pointer |= {"file": f"{digest[:20]}.sqlite", "sha256": digest, "format": number}
    (folder / "pointer.json").write_text(json.dumps(pointer))
    progress = {**json.loads((kept / "progress.json").read_text()), **more}
    (folder / "progress.json").write_text(json.dumps(progress))
    return pointer
