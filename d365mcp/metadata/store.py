"""Which snapshot serves: a pointer in shared storage to an immutable file, and who builds the next one.

What is read there may be another version's, or damaged: then it is as if it were not there. Everything here blocks
(storage): call it from a thread.
"""

import hashlib
import math
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from d365mcp.errors import StorageError
from d365mcp.metadata.snapshot import SNAPSHOT_FORMAT
from d365mcp.storage import Blob, ChangedError, Storage, folder_of
from d365mcp.wire import read_json, write_json

T = TypeVar("T")

CONTAINER = "catalog"
WORK = "work.sqlite"
SNAPSHOT = re.compile(r"[0-9a-f]{20}\.sqlite", re.ASCII)
# A builder says at least this often that it is still there.
CLAIM_SECONDS = 120.0
# The clocks of two machines differ by less.
CLOCK_SECONDS = 300.0


class ClaimLost(StorageError):
    """Another builder has taken over: what this one made is not wanted any more."""


@dataclass(frozen=True)
class Pointer:
    """Which file serves, and what it holds. `is_whole`: nothing that was asked for is left out.

    `built_at` is when F&O's metadata was last found to be this.
    """

    file: str
    sha256: str
    bytes: int
    built_at: float
    fingerprint: str
    application_version: str
    entities: int
    languages: str
    is_whole: bool
    format: int = SNAPSHOT_FORMAT


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
    left_out: str | None = None


@dataclass(frozen=True)
class Claim:
    """Who builds, and until when they say so."""

    owner: str
    until: float


@dataclass(frozen=True)
class Ask:
    """Who asked for a build, and when."""

    asked_at: float
    by: str = ""


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
        found = _parsed_blob(Pointer, blob)
        # Its file is written and deleted by that name, in folders of ours.
        if blob and found and found.format == SNAPSHOT_FORMAT and SNAPSHOT.fullmatch(found.file):
            return found, blob.etag
        return None

    def publish(self, path: Path, facts: Mapping[str, Any]) -> Pointer:
        """Put a finished snapshot up, and let the pointer name it. Until then the old one serves.

        Raises ClaimLost where another builds by now.
        """
        self.renew_claim()
        digest = digest_of(path)
        pointer = Pointer(f"{digest[:20]}.sqlite", digest, path.stat().st_size, time.time(), **facts)
        self.storage.upload(CONTAINER, self.name(pointer.file), path)
        before = self.pointer()
        self.storage.put(CONTAINER, self.name("pointer.json"), write_json(asdict(pointer)))
        self.tidy(keep={pointer.file, before[0].file if before else ""})
        return pointer

    def confirm(self) -> None:
        """Say that the snapshot that serves is as good as a new one."""
        if found := self.pointer():
            pointer, etag = found
            with suppress(ChangedError):
                confirmed = write_json(asdict(replace(pointer, built_at=time.time())))
                self.storage.put(CONTAINER, self.name("pointer.json"), confirmed, etag=etag)

    def tidy(self, keep: set[str]) -> None:
        """Delete snapshots that neither serve nor served last."""
        for name in self.storage.names(CONTAINER, self.name("")):
            if name.endswith(".sqlite") and name.removeprefix(self.name("")) not in {*keep, WORK}:
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
        self.storage.put(CONTAINER, self.name("request.json"), write_json(asdict(Ask(asked_at, by))))
        return asked_at

    def asked_at(self) -> float:
        found = _parsed_blob(Ask, self.read("request.json"))
        return _past(found.asked_at) if found else 0.0

    def progress(self) -> Progress | None:
        found = _parsed_blob(Progress, self.read("progress.json"))
        if found is None:
            return None
        return replace(found, started_at=_past(found.started_at), updated_at=_past(found.updated_at))

    def write_progress(self, progress: Progress) -> None:
        self.storage.put(CONTAINER, self.name("progress.json"), write_json(asdict(progress)))

    def claim(self) -> bool:
        """Become the one who builds, unless another is at it; also renews the claim."""
        blob = self.read("building.json")
        held, now = _parsed_blob(Claim, blob), time.time()
        # No builder claims more than its time: what does is damaged.
        if held and held.owner != self.owner and now < held.until < now + CLAIM_SECONDS + CLOCK_SECONDS:
            return False
        mine = write_json(asdict(Claim(self.owner, now + CLAIM_SECONDS)))
        try:
            etag = blob.etag if blob else None
            self.storage.put(CONTAINER, self.name("building.json"), mine, etag=etag, new=blob is None)
        except ChangedError:
            return False
        return True

    def renew_claim(self) -> None:
        """Claim on. Raises ClaimLost where another builds by now."""
        if not self.claim():
            raise ClaimLost("Another builder has taken over.")

    def release(self) -> None:
        with suppress(StorageError):
            held = _parsed_blob(Claim, self.read("building.json"))
            if held and held.owner == self.owner:
                self.storage.delete(CONTAINER, self.name("building.json"))

    def keep_work(self, path: Path) -> None:
        """Keep an unfinished snapshot, for a later run on whichever instance. Raises ClaimLost."""
        self.renew_claim()
        self.storage.upload(CONTAINER, self.name(WORK), path)

    def take_work(self, path: Path) -> bool:
        return self.storage.download(CONTAINER, self.name(WORK), path)

    def drop_work(self) -> None:
        self.storage.delete(CONTAINER, self.name(WORK))

    def read(self, name: str) -> Blob | None:
        return self.storage.get(CONTAINER, self.name(name))

    def name(self, file: str) -> str:
        return f"{self.folder}/{file}"


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parsed_blob(kind: type[T], blob: Blob | None) -> T | None:
    """Return what a blob holds. None where a member is missing or of another type; a newer version's own are ignored."""
    try:
        found = read_json(blob.data) if blob else None
        if not isinstance(found, dict):
            return None
        known = {each.name: each.type for each in fields(kind) if each.name in found}  # type: ignore[arg-type]
        return kind(**{name: _of_type(found[name], wanted) for name, wanted in known.items()})
    except (ValueError, TypeError, OverflowError):
        return None


def _of_type(value: Any, wanted: Any) -> Any:
    """Return a value of a type. Raises ValueError where it is of another; whole numbers are fractions too."""
    if wanted is float and type(value) is int:
        value = float(value)
    is_flag = isinstance(value, bool) is (wanted is bool)
    if not isinstance(value, wanted) or not is_flag or (wanted is float and not math.isfinite(value)):
        raise ValueError(f"{value!r:.40} is no {wanted}")
    return value


def _past(seconds: float) -> float:
    """Return a date, or 0 where it lies in the future: a damaged one would stand in the way until then."""
    return seconds if 0.0 <= seconds < time.time() + CLOCK_SECONDS else 0.0
