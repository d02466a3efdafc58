"""Which snapshot serves: a pointer in shared storage to an immutable file, and who builds the next one.

Everything here blocks (storage): call it from a thread.
"""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d365mcp.errors import StorageError
from d365mcp.metadata.snapshot import FORMAT
from d365mcp.storage import ChangedError, Storage

CONTAINER = "catalog"
# A builder says at least this often that it is still there.
CLAIM_SECONDS = 120.0


@dataclass(frozen=True)
class Pointer:
    """Which file serves, and what it holds."""

    file: str
    sha256: str
    bytes: int
    built_at: float
    fingerprint: str
    application_version: str
    entities: int
    format: int = FORMAT


@dataclass(frozen=True)
class Progress:
    """How the last build goes or went: `state` is running, waiting, done, unchanged or failed."""

    state: str
    stage: str = ""
    done: int = 0
    total: int | None = None
    started_at: float = 0.0
    updated_at: float = 0.0
    error: str | None = None


class CatalogStore:
    """One environment's place in the shared storage."""

    def __init__(self, storage: Storage, environment_url: str) -> None:
        self.storage = storage
        self.environment_url = environment_url
        self.folder = folder_of(environment_url)
        self.owner = secrets.token_hex(8)

    def pointer(self, *, unless: str | None = None) -> tuple[Pointer, str] | None:
        """Return the pointer and its ETag; None where there is none, or none newer, or of another format."""
        blob = self.storage.get(CONTAINER, self.name("pointer.json"), unless=unless)
        with suppress(ValueError, TypeError):
            found = Pointer(**json.loads(blob.data)) if blob else None
            if blob and found and found.format == FORMAT:
                return found, blob.etag
        return None

    def publish(self, path: Path, facts: Mapping[str, Any]) -> Pointer:
        """Put a finished snapshot up, and let the pointer show it. Until then the old one serves."""
        digest = digest_of(path)
        pointer = Pointer(f"{digest[:20]}.sqlite", digest, path.stat().st_size, time.time(), **facts)
        self.storage.upload(CONTAINER, self.name(pointer.file), path)
        before = self.pointer()
        self.storage.put(CONTAINER, self.name("pointer.json"), dumped(asdict(pointer)))
        self.tidy(keep={pointer.file, before[0].file if before else ""})
        return pointer

    def tidy(self, keep: set[str]) -> None:
        """Delete snapshots that neither serve nor served last."""
        for name in self.storage.names(CONTAINER, self.name("")):
            if name.endswith(".sqlite") and name.removeprefix(self.name("")) not in {*keep, "work.sqlite"}:
                self.storage.delete(CONTAINER, name)

    def fetch(self, pointer: Pointer, folder: Path) -> Path:
        """Return the pointer's file in a local folder, downloaded and checked where it is not there yet.

        Raises StorageError when it is missing, or damaged twice.
        """
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / pointer.file
        if target.exists() and digest_of(target) == pointer.sha256:
            return target
        for _ in range(2):
            partial = folder / f".{secrets.token_hex(6)}"
            try:
                there = self.storage.download(CONTAINER, self.name(pointer.file), partial)
                if there and digest_of(partial) == pointer.sha256:
                    partial.replace(target)
                    return target
            finally:
                partial.unlink(missing_ok=True)
        raise StorageError("The catalog's file is missing or damaged in the storage: build it anew.")

    def ask(self, by: str) -> float:
        """Leave the request for a build, for whoever's timer comes next."""
        asked_at = time.time()
        self.storage.put(CONTAINER, self.name("request.json"), dumped({"asked_at": asked_at, "by": by}))
        return asked_at

    def asked_at(self) -> float:
        return float(self.read("request.json").get("asked_at", 0.0))

    def progress(self) -> Progress | None:
        found = self.read("progress.json")
        return Progress(**found) if found else None

    def tell(self, progress: Progress) -> None:
        self.storage.put(CONTAINER, self.name("progress.json"), dumped(asdict(progress)))

    def claim(self) -> bool:
        """Become the one who builds, unless another is at it; also renews the claim."""
        blob = self.storage.get(CONTAINER, self.name("building.json"))
        held = json.loads(blob.data) if blob else {}
        if held.get("owner") not in (None, self.owner) and held.get("until", 0.0) > time.time():
            return False
        mine = dumped({"owner": self.owner, "until": time.time() + CLAIM_SECONDS})
        try:
            etag = blob.etag if blob else None
            self.storage.put(CONTAINER, self.name("building.json"), mine, etag=etag, new=blob is None)
        except ChangedError:
            return False
        return True

    def release(self) -> None:
        with suppress(StorageError):
            if self.read("building.json").get("owner") == self.owner:
                self.storage.delete(CONTAINER, self.name("building.json"))

    def keep_work(self, path: Path) -> None:
        """Keep an unfinished snapshot, for a later run on whichever instance."""
        self.storage.upload(CONTAINER, self.name("work.sqlite"), path)

    def take_work(self, path: Path) -> bool:
        return self.storage.download(CONTAINER, self.name("work.sqlite"), path)

    def drop_work(self) -> None:
        self.storage.delete(CONTAINER, self.name("work.sqlite"))

    def read(self, name: str) -> dict[str, Any]:
        blob = self.storage.get(CONTAINER, self.name(name))
        try:
            found = json.loads(blob.data) if blob else {}
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}

    def name(self, file: str) -> str:
        return f"{self.folder}/{file}"


def folder_of(environment_url: str) -> str:
    """Return an environment's folder: readable, and never the same for two."""
    readable = re.sub(r"[^a-z0-9]+", "-", environment_url.partition("://")[2]).strip("-")[:60]
    return f"{readable}-{hashlib.sha256(environment_url.encode()).hexdigest()[:8]}"


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dumped(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
