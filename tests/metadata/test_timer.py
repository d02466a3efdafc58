"""The timer's call: it never fails for what it reads, it ends in time, and the server goes on answering meanwhile."""

import asyncio
import datetime
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from d365mcp.app import Application
from d365mcp.metadata import own_loop
from d365mcp.metadata.build import Builder, is_due
from d365mcp.metadata.catalog import MetadataCatalog
from d365mcp.metadata.store import CONTAINER, CatalogStore, Pointer, Progress
from d365mcp.settings import read_settings
from d365mcp.storage import FolderStorage
from tests.large_fo import Running, large_fo
from tests.metadata.conftest import placed
from tests.metadata.place import Place

DAMAGED = [
    b"",
    b"{",
    b"null",
    b"5",
    b"[]",
    b'"running"',
    b"{}",
    b"\xff\xfe\x00",
    b"NaN",
    b"[" * 100_000,
    b'{"state": 5, "started_at": "yesterday"}',
    b'{"state": "running", "started_at": null}',
    b'{"state": "running", "started_at": NaN}',
    b'{"state": "done", "started_at": 1e300, "updated_at": 1e300}',
    b'{"state": "done", "started_at": ' + b"9" * 400 + b"}",
    b'{"state": "resting", "phase": {"of": "a newer version"}, "started_at": 5.0, "updated_at": 5}',
    b'{"owner": 5, "until": "tomorrow"}',
    b'{"owner": "another", "until": 1e300}',
    b'{"owner": "another", "until": Infinity, "version": 9}',
    b'{"owner": ["another"], "until": 99999999999}',
    b'{"asked_at": "now"}',
    b'{"asked_at": 1e300}',
    b'{"asked_at": true}',
    b'{"file": "../../etc/passwd"}',
]
FILES = ("progress.json", "building.json", "request.json", "pointer.json")


@pytest.mark.parametrize("file", FILES)
def test_what_is_damaged_or_of_a_newer_version_never_fails_the_timer(place: Place, file: str) -> None:
    store = place.store()
    assert place.build() == "built"
    for damaged in DAMAGED:
        place.set_back(3_601)  # without a catalog, a build is tried every hour
        store.storage.put(CONTAINER, store.name(file), damaged)
        assert place.build() in ("built", "unchanged", "idle"), damaged
        assert place.build() == "idle", damaged  # it is put right, and not built over and over
    assert place.snapshot().entity("CustomersV3") is not None


NAMES = [
    "../../../outside.sqlite",
    "/outside.sqlite",
    "..",
    "",
    "work.sqlite",
    "0123456789abcdef0123.sqlite/../../outside",
    "0123456789abcdef0123.sqlite\n",
    "0123456789ABCDEF0123.sqlite",
    "0123456789abcdef012.sqlite",
    "\u0660123456789abcdef0123.sqlite",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_pointer_to_another_place_is_not_followed(place: Place, name: str) -> None:
    """Not for reading, not for writing, and above all not for deleting what is no snapshot."""
    assert place.build() == "built"
    pointer, store = place.pointer(), place.store()
    outside = place.folder / "outside.sqlite"
    outside.write_bytes(b"precious")
    (place.folder / "local").mkdir()
    (place.folder / "local" / "work.sqlite").write_bytes(b"precious")
    changed = {**asdict(pointer), "file": name}
    store.storage.put(CONTAINER, store.name("pointer.json"), json.dumps(changed).encode())
    with suppress(OSError):
        shutil.copyfile(outside, place.folder / "shared" / CONTAINER / store.name(name))

    async def served(_: Builder, catalog: MetadataCatalog) -> None:
        assert await catalog.snapshots.current() is None

    place.work(served)
    assert store.pointer() is None
    assert place.rebuild() == "built"
    assert outside.read_bytes() == (place.folder / "local" / "work.sqlite").read_bytes() == b"precious"


def test_a_server_that_is_not_set_up_builds_nothing() -> None:
    application = Application(read_settings({"MCP_CATALOG_SCHEDULE": "nightly"}))
    assert asyncio.run(application.build_due()) == "idle"


def test_a_schedule_in_either_form_is_kept(place: Place) -> None:
    def at(text: str) -> float:
        return datetime.datetime.fromisoformat(f"{text}+00:00").timestamp()

    pointer = Pointer("", "", 0, 0.0, "", "", 0, "", True)
    progress = Progress("done", started_at=at("2026-11-24T02:31:00"), updated_at=at("2026-11-24T02:31:00"))
    for schedule in ("02:30", "2:30"):
        assert not is_due(schedule, pointer, progress, at("2026-11-25T02:29:00"))
        assert is_due(schedule, pointer, progress, at("2026-11-25T02:31:00"))


@pytest.mark.once
@pytest.mark.parametrize("stalling", ["the list", "the entities", "labels"])
def test_a_build_ends_in_time_whatever_stalls(
    slow_place: Place, fo: Running, stalling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d365mcp.metadata.loader.ENTITY_LIST_SECONDS", 0.5)
    fo.set(
        **{"the list": {"list_stalls": True}, "the entities": {"stall_after": 5}, "labels": {"label_ms": 60_000}}[
            stalling
        ]
    )
    began = time.monotonic()
    assert slow_place.build(seconds=2.0) == ("failed" if stalling == "the list" else "waiting")
    assert time.monotonic() - began < 8
    assert slow_place.store().claim()  # nobody builds any more


class Hanging(FolderStorage):
    """A storage that does not take files until its gate opens."""

    gate = threading.Event()

    def upload(self, container: str, name: str, source: Path) -> None:
        self.gate.wait(30)
        super().upload(container, name, source)


@pytest.mark.once
def test_the_timers_call_ends_although_the_storage_hangs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_loop, "GRACE_SECONDS", 0.5)

    async def run(builder: Builder, _: object) -> str:
        builder.store = CatalogStore(Hanging(place.folder / "shared"), place.base_url)
        builder.spare = 0.5
        return await builder.run_due("02:30")

    began = time.monotonic()
    assert place.work(run, seconds=1.0) == "waiting"
    assert time.monotonic() - began < 6
    Hanging.gate.set()
    while (outcome := place.build()) == "busy":  # until the thread that was given up has come to its end
        time.sleep(0.1)
    assert outcome == "built"


@pytest.fixture(scope="module")
def many() -> Iterator[Running]:
    with large_fo(entities=600, properties=60, labels=400) as running:
        yield running


@pytest.mark.once
def test_the_server_answers_while_the_catalog_is_built_and_first_searched(
    many: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop's own thread does next to nothing of it, however busy the machine is."""
    place = placed(many.base_url, many.environment(), tmp_path, monkeypatch)

    async def measured(builder: Builder, catalog: MetadataCatalog) -> tuple[float, list[float]]:
        late: list[float] = []

        async def tick() -> None:
            while True:
                before = time.perf_counter()
                await asyncio.sleep(0.01)
                late.append(time.perf_counter() - before - 0.01)

        ticking = asyncio.create_task(tick())
        own, all_threads = time.thread_time(), time.process_time()
        assert await builder.run_due("02:30") == "built"
        await catalog.snapshots.check()
        await asyncio.gather(*(catalog.search_entities("barket corlin", limit=100) for _ in range(8)))
        own, all_threads = time.thread_time() - own, time.process_time() - all_threads
        ticking.cancel()
        return own / all_threads, sorted(late)

    share, late = place.work(measured)
    assert share < 0.2
    assert late[int(len(late) * 0.95)] < 0.1


@pytest.mark.once
def test_damaged_work_is_not_gone_on_with_for_ever(place: Place) -> None:
    assert place.build(seconds=0.0) == "waiting"
    store = place.store()
    path = place.folder / "shared" / CONTAINER / store.name("work.sqlite")
    body = bytearray(path.read_bytes())
    body[8192:] = b"\x55" * (len(body) - 8192)
    path.write_bytes(body)
    outcomes = [place.build()]
    if outcomes == ["failed"]:
        place.set_back(3_601)
        outcomes.append(place.build())
    assert outcomes[-1] == "built"
