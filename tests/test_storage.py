"""Shared blobs: one of several writers wins, the others learn it; the same in a folder and in Azurite."""

import asyncio
import os
import re
import stat
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from d365mcp.app import Application
from d365mcp.errors import StorageError
from d365mcp.settings import Settings
from d365mcp.storage import (
    CURSOR_KEY,
    Blob,
    ChangedError,
    FolderStorage,
    Storage,
    open_storage,
    private_folder,
    shared_key,
)
from tests.azurite import ACCOUNT, KEY, Azurite


@pytest.fixture(scope="module")
def azurite() -> Iterator[str]:
    """Azurite's connection string."""
    running = Azurite()
    yield running.connection
    running.stop()


@pytest.fixture(params=["folder", pytest.param("azurite", marks=pytest.mark.once)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return FolderStorage(tmp_path)
    return open_storage(Settings(storage_connection=request.getfixturevalue("azurite")))


@pytest.fixture
def container(request: pytest.FixtureRequest) -> str:
    return re.sub("[^a-z0-9]", "", request.node.name.lower())[:50] + str(os.getpid())


def test_what_is_written_is_read(storage: Storage, container: str) -> None:
    assert storage.get(container, "a/b") is None
    etag = storage.put(container, "a/b", b"one")
    blob = storage.get(container, "a/b")
    assert blob is not None
    assert (blob.data, blob.etag) == (b"one", etag)
    assert storage.get(container, "a/b", unless=etag) is None
    storage.put(container, "a/b", b"two")
    newer = storage.get(container, "a/b", unless=etag)
    assert newer is not None
    assert newer.data == b"two"


def test_files_go_up_and_down_whole(storage: Storage, container: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3_000_000))
    storage.upload(container, "large", source)
    assert storage.download(container, "large", target)
    assert target.read_bytes() == source.read_bytes()
    assert not storage.download(container, "absent", target)


def test_names_are_listed_by_their_beginning_and_deleted(storage: Storage, container: str) -> None:
    for name in ("a/1", "a/2", "b/1"):
        storage.put(container, name, b"x")
    assert storage.names(container, "a/") == ["a/1", "a/2"]
    storage.delete(container, "a/1")
    storage.delete(container, "a/1")
    assert storage.names(container, "") == ["a/2", "b/1"]


def test_only_one_of_many_makes_a_new_blob(storage: Storage, container: str) -> None:
    storage.put(container, "other", b"x")

    def make(number: int) -> bool:
        try:
            storage.put(container, "one", str(number).encode(), new=True)
        except ChangedError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(make, range(16))) == 1


def test_of_writers_who_read_the_same_one_wins(storage: Storage, container: str) -> None:
    storage.put(container, "count", b"0")

    def add(_: int) -> None:
        while True:
            blob = storage.get(container, "count")
            assert blob is not None
            try:
                storage.put(container, "count", str(int(blob.data) + 1).encode(), etag=blob.etag)
            except ChangedError:
                continue
            return

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, range(20)))
    blob = storage.get(container, "count")
    assert blob is not None
    assert blob.data == b"20"


def test_all_instances_seal_with_the_same_key(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: shared_key(storage, CURSOR_KEY), range(16)))
    assert len(keys) == 1
    assert len(keys.pop()) == 32


def test_a_folder_never_shows_half_a_file(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    sizes: set[int] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            if blob := storage.get("c", "x"):
                sizes.add(len(blob.data))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        storage.put("c", "x", b"x" * 200_000)
    done.set()
    reader.join()
    assert sizes <= {200_000}


def test_a_storage_that_cannot_be_used_says_why_without_its_key() -> None:
    with pytest.raises(StorageError) as wrong:
        open_storage(Settings(storage_connection="nonsense")).get("c", "x")
    assert "AzureWebJobsStorage" in wrong.value.message
    away = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint=http://127.0.0.1:9/{ACCOUNT}"
    storage = open_storage(Settings(storage_connection=away))
    storage.service._config.retry_policy.total_retries = 0  # type: ignore[attr-defined]
    with pytest.raises(StorageError) as unreachable:
        storage.get("c", "x")
    assert KEY not in str(unreachable.value.describe())


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory, which all users of a machine may write to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_local_folder_is_this_users_alone_whoever_made_it_open(temporary: Path) -> None:
    for _ in range(2):
        folder = private_folder("catalog", "contoso-1")
        assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, *list(folder.parents)[:2])] == [0o700] * 3
        folder.chmod(0o777)
        folder.parent.chmod(0o755)
    assert folder.parents[2] == temporary
    assert str(os.geteuid()) in folder.parents[1].name


@pytest.mark.parametrize("place", ["link", "file"])
def test_what_another_may_have_put_in_a_folders_place_is_not_used(temporary: Path, place: str) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    ours = temporary / f"d365mcp-{os.geteuid()}"
    if place == "link":
        ours.symlink_to(elsewhere)
    else:
        ours.write_text("")
    with pytest.raises(StorageError, match="not this user's own folder") as refused:
        open_storage(Settings())
    assert "TMPDIR" in str(refused.value.hint)
    assert not list(elsewhere.iterdir())


def test_another_users_folder_is_not_used(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / "d365mcp-12345").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(StorageError, match="not this user's own folder"):
        private_folder("catalog")


def test_blobs_without_a_storage_are_in_a_private_folder(temporary: Path) -> None:
    open_storage(Settings()).put("state", "secret", b"x")
    [root] = temporary.iterdir()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


class Hanging(FolderStorage):
    """A storage that does not answer until its gate opens."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = threading.Event()
        self.hangs = threading.Event()
        self.asked = 0

    def get(self, container: str, name: str, *, unless: str | None = None) -> Blob | None:
        self.asked += 1
        self.hangs.set()
        self.gate.wait(20)
        return super().get(container, name, unless=unless)


def test_while_the_storage_hangs_those_who_want_the_cursor_key_take_one_thread(tmp_path: Path) -> None:
    """Each taking its own, none would be left for what needs no storage: a token, a statement."""

    async def scenario() -> None:
        application = Application(Settings(storage_connection="of no account"))
        application.storage = hanging = Hanging(tmp_path)
        waiting = [asyncio.create_task(application.environment.cursor_keys()) for _ in range(100)]
        async with asyncio.timeout(10):
            await asyncio.to_thread(hanging.hangs.wait)
            await asyncio.gather(*(asyncio.to_thread(int) for _ in range(10)))
            assert hanging.asked == 1
            hanging.gate.set()
            assert len(set(await asyncio.gather(*waiting))) == 1

    asyncio.run(scenario())
