"""The snapshot an instance has at hand: downloaded once, looked after in the background, never waited for twice."""

import asyncio
import logging
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from d365mcp.errors import StorageError
from d365mcp.metadata.snapshot import Snapshot
from d365mcp.metadata.store import CatalogStore, Pointer
from d365mcp.singleflight import SingleFlight

log = logging.getLogger(__name__)

# The first caller on a new instance waits this long for the snapshot, then is served without.
FIRST_SECONDS = 8.0
# A snapshot of some tens of megabytes is downloaded within; the next look-up begins anew.
CHECK_SECONDS = 180.0


class SnapshotKeeper:
    """Keeps the newest snapshot open. `open_store` may be slow: it is called in a thread."""

    def __init__(self, open_store: Callable[[], CatalogStore], revalidate: float) -> None:
        self.open_store = open_store
        self.revalidate = revalidate
        self.folder = Path(tempfile.gettempdir()) / "d365mcp-catalog"
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
        except StorageError as problem:
            log.warning("The catalog could not be looked up: %s", problem.message)
        except Exception:  # in the background nobody else would see it
            log.exception("The catalog could not be looked up.")
        finally:
            self.checked = time.monotonic()

    def renew(self) -> None:
        if self.store is None:
            self.store = self.open_store()
        found = self.store.pointer(unless=self.etag)
        if found is None:
            return
        pointer, etag = found
        path = self.store.fetch(pointer, self.folder)
        try:
            snapshot = Snapshot(path, self.store.environment_url)
        except StorageError:
            path.unlink(missing_ok=True)
            raise
        # Calls under way may still read the old one: it is closed when the last of them lets go of it.
        self.snapshot, self.pointer, self.etag = snapshot, pointer, etag
