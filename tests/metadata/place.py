"""One environment's catalog in a folder, and instances that build it and serve from it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from d365mcp.d365.auth import TokenSource
from d365mcp.d365.client import D365Client
from d365mcp.d365.http import D365Http
from d365mcp.events import Event
from d365mcp.metadata.build import Builder
from d365mcp.metadata.catalog import MetadataCatalog
from d365mcp.metadata.snapshot import Snapshot
from d365mcp.metadata.snapshot_cache import SnapshotCache
from d365mcp.metadata.store import CatalogStore, Pointer, Progress
from d365mcp.settings import read_settings
from d365mcp.storage import FolderStorage, Storage


class Place:
    """A place to build at. What it is asked for is done as on an instance of its own each time."""

    def __init__(self, base_url: str, folder: Path, languages: tuple[str, ...] = ("en-US",)) -> None:
        self.base_url = base_url
        self.folder = folder
        self.languages = languages
        self.events: list[Event] = []
        self.storage: Storage = FolderStorage(folder / "shared")

    def store(self) -> CatalogStore:
        return CatalogStore(self.storage, self.base_url)

    def work(self, work: Callable[[Builder, MetadataCatalog], Awaitable[Any]], seconds: float = 60.0) -> Any:
        async def run() -> Any:
            settings = read_settings({"D365FO_BASE_URL": self.base_url})
            client = D365Client(D365Http(settings, TokenSource(settings), lambda event: None))
            snapshots = SnapshotCache(self.store, revalidate=0.0)
            snapshots.folder = self.folder / "local"
            builder = Builder(self.store(), client, self.languages, self.events.append, seconds)
            try:
                return await work(builder, MetadataCatalog(client, snapshots))
            finally:
                await client.aclose()

        return asyncio.run(run())

    def build(self, seconds: float = 60.0) -> str:
        """Build if a build is due."""
        return str(self.work(lambda builder, _: builder.run_due("02:30"), seconds))

    def rebuild(self, seconds: float = 60.0) -> str:
        """Build because a person asked for it."""
        self.store().ask("june")
        return self.build(seconds)

    def pointer(self) -> Pointer:
        found = self.store().pointer()
        assert found is not None
        return found[0]

    def progress(self) -> Progress:
        found = self.store().progress()
        assert found is not None
        return found

    def snapshot(self) -> Snapshot:
        return Snapshot(self.store().fetch(self.pointer(), self.folder / "looked-at"), self.base_url)

    def set_back(self, seconds: float, **changes: Any) -> None:
        """Let the last build lie back so long."""
        progress = self.progress()
        back = {"started_at": progress.started_at - seconds, "updated_at": progress.updated_at - seconds}
        self.store().write_progress(replace(progress, **back, **changes))
