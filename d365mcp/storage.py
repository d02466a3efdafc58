"""Small shared blobs and snapshots: Blob Storage, or a folder where none is configured. Knows no catalog.

Both compare and swap by ETag, so that of several writers one wins and the others learn it. Everything here blocks: call
it from a thread.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from d365mcp.errors import StorageError
from d365mcp.settings import Settings

# Azurite, and storage accounts of sovereign clouds, lag behind what the SDK would ask for.
API_VERSION = "2025-11-05"
STATE = "state"
# Keys that all instances share, each made once, by the instance that comes first.
CURSOR_KEY = "cursor-key"
AUDIT_KEY = "audit-key"
# On Windows a file can be neither replaced nor deleted while another has it open, which the storage's own readers do briefly.
IN_USE_SECONDS = 5.0
LOCK_SECONDS = 30.0

T = TypeVar("T")


class ChangedError(StorageError):
    """Another writer was first: the blob is not what the caller thought it was."""

    code = "storage_changed"


@dataclass(frozen=True)
class Blob:
    """A blob's content, and the ETag that tells this content from another."""

    data: bytes
    etag: str


class Storage(ABC):
    """Blobs by container and name."""

    @abstractmethod
    def get(self, container: str, name: str, *, unless: str | None = None) -> Blob | None:
        """Return a blob; None where there is none, or where its ETag is still `unless`. Raises StorageError."""

    @abstractmethod
    def put(self, container: str, name: str, data: bytes, *, etag: str | None = None, new: bool = False) -> str:
        """Write a blob and return its ETag: only over the one with `etag`, or, with `new`, only where there is none.

        Raises ChangedError where another was faster, StorageError for anything else.
        """

    @abstractmethod
    def upload(self, container: str, name: str, source: Path) -> None:
        """Write a blob from a file, whatever was there."""

    @abstractmethod
    def download(self, container: str, name: str, target: Path) -> bool:
        """Write a blob to a file; False where there is none."""

    @abstractmethod
    def names(self, container: str, prefix: str) -> list[str]:
        """Return the names that begin so."""

    @abstractmethod
    def delete(self, container: str, name: str) -> None:
        """Delete a blob, where there is one."""


class FolderStorage(Storage):
    """Blobs as files: for one machine. Files appear whole or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, container: str, name: str, *, unless: str | None = None) -> Blob | None:
        try:
            data = _once_free(self.path(container, name).read_bytes)
        except FileNotFoundError:
            return None
        blob = Blob(data, etag_of(data))
        return None if blob.etag == unless else blob

    def put(self, container: str, name: str, data: bytes, *, etag: str | None = None, new: bool = False) -> str:
        path = self.path(container, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(path):
            if new or etag is not None:
                there = self.get(container, name)
                if (there is not None) if new else (there is None or there.etag != etag):
                    raise ChangedError(f"{name} was written by another meanwhile.")
            self._replace(path, lambda target: target.write_bytes(data))
        return etag_of(data)

    def upload(self, container: str, name: str, source: Path) -> None:
        path = self.path(container, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._replace(path, lambda target: shutil.copyfile(source, target))

    def download(self, container: str, name: str, target: Path) -> bool:
        try:
            _once_free(lambda: shutil.copyfile(self.path(container, name), target))
        except FileNotFoundError:
            return False
        return True

    def names(self, container: str, prefix: str) -> list[str]:
        base = self.root / container
        found = (path for path in base.rglob("*") if path.is_file() and not path.name.startswith("."))
        return sorted(name for path in found if (name := path.relative_to(base).as_posix()).startswith(prefix))

    def delete(self, container: str, name: str) -> None:
        _once_free(lambda: self.path(container, name).unlink(missing_ok=True))

    def path(self, container: str, name: str) -> Path:
        return self.root / container / name

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """Keep other processes from writing this file meanwhile. SQLite's is the one lock of files Python has everywhere."""
        import sqlite3  # not before it is needed: a cold start should not pay for it

        file = path.with_name(f".{path.name}.lock")
        with contextlib.closing(sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None)) as lock:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as problem:
                raise StorageError(f"{path} cannot be locked ({problem}).") from None
            yield

    def _replace(self, path: Path, write: Callable[[Path], Any]) -> None:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            write(partial)
            _once_free(lambda: os.replace(partial, path))
        finally:
            partial.unlink(missing_ok=True)


class BlobStorage(Storage):
    """Blobs in Azure Blob Storage, by connection string or by identity."""

    def __init__(self, service: Any) -> None:
        self.service = service  # azure.storage.blob.BlobServiceClient

    def get(self, container: str, name: str, *, unless: str | None = None) -> Blob | None:
        from azure.core import MatchConditions
        from azure.core.exceptions import HttpResponseError

        condition = {"etag": unless, "match_condition": MatchConditions.IfModified} if unless else {}
        with _azure_errors_translated():
            try:
                stream = self.blob(container, name).download_blob(**condition)
                return Blob(stream.readall(), stream.properties.etag)
            except HttpResponseError as problem:
                if problem.status_code in (304, 404):
                    return None
                raise

    def put(self, container: str, name: str, data: bytes, *, etag: str | None = None, new: bool = False) -> str:
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

        condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}
        with _azure_errors_translated():
            try:
                written = self.blob(container, name).upload_blob(data, overwrite=not new, **condition)
            except ResourceNotFoundError:
                if etag is not None:
                    raise ChangedError(f"{name} was deleted meanwhile.") from None
                self.create(container)
                return self.put(container, name, data, new=new)
            except (ResourceExistsError, ResourceModifiedError):
                raise ChangedError(f"{name} was written by another meanwhile.") from None
        return str(written["etag"])

    def upload(self, container: str, name: str, source: Path) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        with _azure_errors_translated(), source.open("rb") as data:
            try:
                self.blob(container, name).upload_blob(data, overwrite=True, max_concurrency=4)
            except ResourceNotFoundError:
                self.create(container)
                data.seek(0)
                self.blob(container, name).upload_blob(data, overwrite=True, max_concurrency=4)

    def download(self, container: str, name: str, target: Path) -> bool:
        from azure.core.exceptions import ResourceNotFoundError

        with _azure_errors_translated(), target.open("wb") as out:
            try:
                self.blob(container, name).download_blob(max_concurrency=4).readinto(out)
            except ResourceNotFoundError:
                return False
        return True

    def names(self, container: str, prefix: str) -> list[str]:
        from azure.core.exceptions import ResourceNotFoundError

        with _azure_errors_translated():
            try:
                found = self.service.get_container_client(container).list_blob_names(name_starts_with=prefix)
                return sorted(found)
            except ResourceNotFoundError:
                return []

    def delete(self, container: str, name: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        with _azure_errors_translated(), contextlib.suppress(ResourceNotFoundError):
            self.blob(container, name).delete_blob()

    def blob(self, container: str, name: str) -> Any:
        return self.service.get_blob_client(container, name)

    def create(self, container: str) -> None:
        from azure.core.exceptions import ResourceExistsError

        with contextlib.suppress(ResourceExistsError):
            self.service.create_container(container)


def _once_free(work: Callable[[], T]) -> T:
    """Do what another's open file stands in the way of, again until it is closed. Raises StorageError after a while."""
    end = time.monotonic() + IN_USE_SECONDS
    while True:
        try:
            return work()
        except PermissionError as problem:
            if time.monotonic() >= end:
                raise StorageError(f"{problem.filename} is in use by another program, or may not be changed.") from None
        time.sleep(0.01)


@contextlib.contextmanager
def _azure_errors_translated() -> Iterator[None]:
    """Turn what the SDK raises into StorageError, without the request's secrets."""
    from azure.core.exceptions import AzureError, HttpResponseError

    try:
        yield
    except HttpResponseError as problem:
        hint = "The app's identity needs the role Storage Blob Data Owner." if problem.status_code == 403 else None
        raise StorageError(f"The storage refused (HTTP {problem.status_code}).", hint=hint) from None
    except AzureError as problem:
        raise StorageError(f"The storage cannot be reached ({type(problem).__name__}).") from None


def private_folder(*names: str) -> Path:
    """Return a folder below the temporary directory that is this user's alone, made where it is not there yet.

    Raises StorageError where another user made one of that name: what they put there would be taken for ours. On Windows
    the temporary directory itself is the user's alone.
    """
    folder = Path(tempfile.gettempdir())
    geteuid = getattr(os, "geteuid", None)
    owner = geteuid() if geteuid else None
    for name in ("d365mcp" if owner is None else f"d365mcp-{owner}", *names):
        folder /= name
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or owner not in (None, found.st_uid):
            hint = "Remove it, or set TMPDIR to a folder that is this user's alone."
            raise StorageError(f"{folder} is not this user's own folder, and is not used.", hint=hint)
        if owner is not None and stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    return folder


def etag_of(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def open_storage(settings: Settings, retries: int = 3) -> Storage:
    """Return the storage the settings name, else a private folder. Imports Azure's SDK: slow."""
    if not settings.has_shared_storage:
        return FolderStorage(private_folder("storage"))
    from azure.storage.blob import BlobServiceClient

    # The SDK's own pauses between attempts begin at 15 seconds, each with a thread that does nothing else.
    quick: dict[str, Any] = {
        "api_version": API_VERSION,
        "retry_total": retries,
        "initial_backoff": 1,
        "increment_base": 2,
        "connection_timeout": 10,
        "read_timeout": 30,
    }
    if settings.storage_blob_uri:
        from azure.identity import ManagedIdentityCredential

        credential = ManagedIdentityCredential(client_id=settings.storage_client_id or None)
        return BlobStorage(BlobServiceClient(settings.storage_blob_uri, credential=credential, **quick))
    try:
        return BlobStorage(BlobServiceClient.from_connection_string(settings.storage_connection, **quick))
    except ValueError:
        raise StorageError("AzureWebJobsStorage is not a connection string.") from None


def folder_of(environment_url: str) -> str:
    """Return an environment's folder: readable, and never the same for two."""
    readable = re.sub(r"[^a-z0-9]+", "-", environment_url.partition("://")[2]).strip("-")[:60]
    return f"{readable}-{hashlib.sha256(environment_url.encode()).hexdigest()[:8]}"


def shared_key(storage: Storage, name: str) -> bytes:
    """Return the key of this name that all instances share: made once, by the instance that comes first."""
    found = storage.get(STATE, name)
    if found is None:
        with contextlib.suppress(ChangedError):
            storage.put(STATE, name, secrets.token_bytes(32), new=True)
        found = storage.get(STATE, name)
    if found is None:
        raise StorageError(f"The shared {name} could neither be read nor made.")
    return found.data
