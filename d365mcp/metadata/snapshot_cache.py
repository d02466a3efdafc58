"""The snapshot an instance has at hand: downloaded once, looked after in the background, never waited for twice."""

import asyncio
import logging
import math
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from d365mcp.errors import StorageError
from d365mcp.metadata.snapshot import Snapshot
from d365mcp.metadata.store import CONTAINER, SNAPSHOT, CatalogStore, Pointer
from d365mcp.singleflight import SingleFlight
from d365mcp.storage import private_folder

log = logging.getLogger(__name__)

# The first caller on a new instance waits this long for the snapshot, then is served without.
FIRST_SECONDS = 8.0
# A snapshot of some tens of megabytes is downloaded within; the next look-up begins anew.
CHECK_SECONDS = 180.0
LEFT_OVER_SECONDS = 3600.0


class SnapshotCache:
    """Keeps the newest snapshot open. `open_store` may be slow: it is called in a thread."""

    def __init__(self, open_store: Callable[[], CatalogStore], revalidate: float) -> None:
        self.open_store = open_store
        self.revalidate = revalidate
        self.folder: Path | None = None  # a private one where none is given
        self.store: CatalogStore | None = None
        self.snapshot: Snapshot | None = None
        self.pointer: Pointer | None = None
        self.etag: str | None = None
        self.checked = -math.inf
        self.flights: SingleFlight[None] = SingleFlight(CHECK_SECONDS)

    async def current(self) -> Snapshot | None:
        """Return the snapshot, or None where there is none yet. Waits for the very first only."""
        if time.monotonic() - self.checked > self.revalidate:
            checking = self.flights.begin("", self.check)
            if self.checked == -math.inf:
                await asyncio.wait({checking}, timeout=FIRST_SECONDS)
        return self.snapshot

    async def check(self) -> None:
        """Look whether there is a newer snapshot, and change over to it."""
        try:
            await asyncio.to_thread(self.renew)
        except (StorageError, OSError, sqlite3.Error) as problem:
            log.warning("The catalog could not be looked up: %s", problem)
        except Exception:  # in the background nobody else would see it
            log.exception("The catalog could not be looked up.")
        finally:
            self.checked = time.monotonic()

    def renew(self) -> None:
        store = self.store = self.store or self.open_store()
        found = store.pointer(unless=self.etag)
        if found is None:
            return
        pointer, etag = found
        if self.pointer is None or pointer.file != self.pointer.file:
            self.serve(store, pointer)
        self.pointer, self.etag = pointer, etag

    def serve(self, store: CatalogStore, pointer: Pointer) -> None:
        """Change over to a snapshot, and delete those that serve no more."""
        folder = self.folder or private_folder(CONTAINER, store.folder)
        path = store.fetch(pointer, folder)
        try:
            # Calls under way may still read the old one: it is closed when the last of them lets go of it.
            self.snapshot = Snapshot(path, store.environment_url)
        except StorageError:
            with suppress(PermissionError):
                path.unlink(missing_ok=True)
            raise
        delete_others(folder, path)


def delete_others(folder: Path, serving: Path) -> None:
    """Delete the snapshots that serve no more, and what a killed process left of a download.

    What is still read cannot be deleted on Windows: it goes when the next snapshot takes over.
    """
    for path in folder.iterdir():
        is_old_snapshot = SNAPSHOT.fullmatch(path.name) and path != serving
        is_left_over = path.name.startswith(".") and time.time() - path.stat().st_mtime > LEFT_OVER_SECONDS
        if is_old_snapshot or is_left_over:
            with suppress(PermissionError):
                path.unlink(missing_ok=True)
