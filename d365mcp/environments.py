"""One F&O environment as an object: its client, catalog, cursors and bounds. Each part is built once, when first used."""

import asyncio
import math
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from d365mcp.events import Listener
from d365mcp.settings import Settings, margin
from d365mcp.singleflight import SingleFlight, shared_property

if TYPE_CHECKING:
    from d365mcp.d365.client import D365Client
    from d365mcp.metadata.build import Builder
    from d365mcp.metadata.catalog import MetadataCatalog
    from d365mcp.metadata.snapshot_cache import SnapshotCache
    from d365mcp.metadata.store import CatalogStore
    from d365mcp.storage import Storage
    from d365mcp.tools.cursors import CursorSeal

# A run of the catalog's build takes no longer; Consumption ends a function after ten minutes.
LONGEST_BUILD_SECONDS = 600.0
# While the storage hangs, each look-up of the cursor key holds a thread.
CURSOR_KEY_SECONDS = 120.0


class Environment:
    """One F&O environment. `settings` say where it is, who we are there, and what may be done in it.

    `storage` opens what all instances share; it imports Azure's SDK, so it is never called on the event loop.
    """

    def __init__(self, settings: Settings, storage: "Callable[[], Storage]", emit: Listener) -> None:
        self.settings = settings
        self.storage = storage
        self.emit = emit
        self.process_cursor_key = secrets.token_bytes(32)
        self.shared_cursor_key: SingleFlight[bytes] = SingleFlight(CURSOR_KEY_SECONDS, keep=math.inf)

    @shared_property
    def client(self) -> "D365Client":
        from d365mcp.d365.auth import TokenSource
        from d365mcp.d365.client import D365Client
        from d365mcp.d365.http import D365Http

        others = None
        if self.settings.has_shared_storage:
            from d365mcp.d365.shared_throttling import SharedThrottling

            others = SharedThrottling(self.storage, self.settings.base_url)
        return D365Client(D365Http(self.settings, TokenSource(self.settings), self.emit, others))

    @shared_property
    def catalog(self) -> "MetadataCatalog":
        from d365mcp.metadata.catalog import MetadataCatalog

        return MetadataCatalog(self.client, self.snapshots)

    @shared_property
    def snapshots(self) -> "SnapshotCache":
        from d365mcp.metadata.snapshot_cache import SnapshotCache

        return SnapshotCache(self.open_store, self.settings.catalog_revalidate)

    def open_store(self) -> "CatalogStore":
        from d365mcp.metadata.store import CatalogStore

        return CatalogStore(self.storage(), self.settings.base_url)

    @shared_property
    def builder(self) -> "Builder":
        from d365mcp.metadata.build import Builder
        from d365mcp.metadata.own_loop import GRACE_SECONDS

        limit = min(self.settings.host.function_timeout or LONGEST_BUILD_SECONDS, LONGEST_BUILD_SECONDS)
        limit -= margin(limit) + GRACE_SECONDS
        asking = limit * 0.75
        return Builder(self.open_store(), self.client, self.settings.languages, self.emit, asking, spare=limit - asking)

    @shared_property
    def cursors(self) -> "CursorSeal":
        from d365mcp.tools.cursors import CursorSeal

        return CursorSeal(self.settings.base_url, self.cursor_keys)

    async def cursor_keys(self) -> Sequence[bytes]:
        """Return the keys of continuation cursors: the operator's, those all instances share, or one of this process."""
        if self.settings.cursor_keys:
            return self.settings.cursor_keys
        if not self.settings.has_shared_storage:
            return (self.process_cursor_key,)
        return (await self.shared_cursor_key.get("", self._read_cursor_key),)

    async def _read_cursor_key(self) -> bytes:
        from d365mcp.storage import CURSOR_KEY, shared_key

        return await asyncio.to_thread(lambda: shared_key(self.storage(), CURSOR_KEY))
